// A kernel template, parsed: statements, expressions with resolved names, macros, head. Internal to the text
// layer; users call expander.h and head.h. A Template owns its text and is immutable after parsing, so any
// number of threads may expand it at once.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "driver/jit/expression.h"
#include "driver/jit/template_error.h"

namespace ptxops::jit {

// A loaded file. One that is included twice is two sources: their include trails differ.
struct Source {
  std::string path;
  std::string text;
  std::optional<Where> included_from;
};

// A piece of an output line.
struct Segment {
  enum class Kind : uint8_t { kLiteral, kInteger, kArg, kRegs, kHex, kF32 };
  Kind kind;
  bool prefix_is_arg = false;    // kRegs: the prefix is macro argument `arg`
  uint32_t arg = 0;              // kArg, kRegs
  std::string_view text = {};    // kLiteral: the text; kRegs: the prefix
  Expr first = {}, second = {};  // kInteger, kHex, kF32: first; kRegs: [first, second)
};
// Consecutive segments in Template::segments.
struct SegmentRange {
  uint32_t begin = 0, count = 0;
};

struct Statement;
using Block = std::vector<Statement>;
struct Branch {
  std::optional<Expr> condition;  // none: else
  Where where;
  Block block;
};
struct Statement {
  enum class Kind : uint8_t { kText, kLet, kFor, kIf, kCall, kError, kRequire };
  Kind kind;
  bool global_slot = true;  // kLet, kFor: slot is in the kernel's frame, not the macro's
  Where where = {};
  uint32_t slot = 0;                    // kLet, kFor: target; kCall: macro index
  SegmentRange text = {};               // kText, kError, kRequire (message)
  Expr expr[3] = {};                    // kLet, kRequire: [0]; kFor: low, high, step
  std::vector<Branch> branches = {};    // kIf; kFor: one
  std::vector<SegmentRange> args = {};  // kCall
  const Binding* scope = nullptr;       // kCall: what the arguments' names mean
};

struct Macro {
  std::string_view name;
  Where where = {};
  uint32_t arity = 0;
  uint32_t locals = 0;  // slots of its frame
  Block body = {};
};

struct ParamDecl {
  std::string name;
  std::string domain_text = {};
  std::vector<int64_t> domain = {};  // in the order written, no duplicates
  Where where = {};
  uint32_t slot = 0;  // in the kernel's frame
};
struct NoteDecl {
  std::string name;
  Expr expr = {};
  Where where = {};
};
struct ContractLine {
  std::string kind;  // smem, role, cost
  std::string text;
  Where where;
};
// One step of the head, in file order.
struct HeadStep {
  enum class Kind : uint8_t { kLet, kRequire, kNote };
  Kind kind;
  uint32_t index;  // slot, require or note number
  Expr expr;
  uint32_t param_count;  // only the first so many params are read, directly or through lets
  Where where;
};
struct RequireDecl {
  Expr expr;
  SegmentRange message;
  Where where;
};

struct Template {
  std::string name;
  std::vector<std::unique_ptr<Source>> sources;
  std::deque<Binding> bindings;
  ExprPool pool;
  std::vector<Segment> segments;
  std::vector<Macro> macros;
  std::vector<ParamDecl> params;
  std::vector<RequireDecl> requirements;
  std::vector<NoteDecl> notes;
  std::vector<ContractLine> contract;
  std::vector<HeadStep> head;
  uint32_t global_slots = 0;
  Block body;

  const std::string& path() const { return sources.front()->path; }
  // "\n  included from FILE:LINE" for each include above this position.
  std::string include_trail(Where where) const;
  [[noreturn]] void fail(Where where, const std::string& message, const std::string& trail = "") const;
};

// Throws TemplateError. `path` is a path below ptx/ (see source.h).
std::shared_ptr<const Template> parse_template(const std::string& path);
// The same for text at hand; includes still come from read_source().
std::shared_ptr<const Template> parse_template_text(const std::string& path, std::string text);

// If the line is a directive, what follows its "//%"; else nullopt.
std::optional<std::string_view> directive_of(std::string_view line);

}  // namespace ptxops::jit
