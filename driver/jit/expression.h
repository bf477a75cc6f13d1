// Integer expressions of the PTX text layer: parsed once, names resolved at parse time, evaluated many times.
// 64-bit; overflow, division by zero and out-of-range shifts are errors.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace ptxops::jit {

// Position in a template: which loaded file (index into Template::sources) and its line, from 1.
struct Where {
  uint32_t source = 0;
  uint32_t line = 0;
};

// One visible name. Scopes are chains of bindings; a chain is never changed, only extended.
struct Binding {
  enum class Kind : uint8_t {
    kGlobal,  // slot of the kernel's own frame: params, lets, loop variables
    kLocal,   // slot of the frame of the macro being expanded
    kArg,     // text argument of the macro being expanded
    kUid,     // the number of this macro expansion
  };
  std::string_view name;
  Kind kind;
  uint32_t slot;
  Where where;
  const Binding* parent;
};
const Binding* find_binding(const Binding* scope, std::string_view name);

// A message without position; the template parser and the expander add file, line and stack.
class ExpressionError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

enum class Op : uint8_t {
  kConst,
  kGlobal,
  kLocal,
  kArg,
  kUid,
  kNeg,
  kNot,
  kBitNot,
  kMul,
  kDiv,
  kMod,
  kAdd,
  kSub,
  kShl,
  kShr,
  kLt,
  kLe,
  kGt,
  kGe,
  kEq,
  kNe,
  kBitAnd,
  kBitXor,
  kBitOr,
  kAnd,
  kOr,
  kSelect,
  kMin,
  kMax,
  kCeilDiv,
  kLog2,
  kAlign,
};

// Nodes of many expressions; an Expr names its root. Children precede their parent.
struct ExprNode {
  Op op;
  uint32_t a, b, c;  // children (operators) or slot (names, in a)
  int64_t value;     // kConst
};
using ExprPool = std::vector<ExprNode>;
struct Expr {
  uint32_t root = 0;
  std::string_view text;  // as written, for messages
};

// What the leaves read. `macro_arg` yields the integer that a macro's text argument spells.
class EvalContext {
 public:
  const int64_t* globals = nullptr;
  const int64_t* locals = nullptr;
  int64_t uid = 0;
  virtual int64_t macro_arg(uint32_t index) const;

 protected:
  ~EvalContext() = default;
};
int64_t evaluate(const ExprPool& pool, uint32_t root, const EvalContext& context);

// Cursor over one directive or one {{…}}. All methods throw ExpressionError.
class Parser {
 public:
  Parser(std::string_view text, const Binding* scope, ExprPool& pool)
      : text_(text), scope_(scope), pool_(pool), first_(pool.size()) {}

  Expr expression();                    // the longest expression from here
  std::string_view identifier();        // expects one
  std::string_view string_literal();    // "…", no escapes
  bool accept(std::string_view token);  // punctuation
  bool accept_word(std::string_view word);
  void expect(std::string_view token);
  void expect_end();  // only blanks or a trailing // comment remain
  bool at_end();
  char peek();  // next non-blank character, 0 at the end
  std::string_view rest() const { return text_.substr(pos_); }
  std::string_view since(size_t begin) const { return text_.substr(begin, pos_ - begin); }
  size_t position() const { return pos_; }
  void seek(size_t pos) { pos_ = pos; }
  const Binding* scope() const { return scope_; }

 private:
  uint32_t ternary();
  uint32_t binary(int min_precedence);
  uint32_t unary();
  uint32_t primary();
  uint32_t call(std::string_view name);
  uint32_t name(std::string_view name);
  uint32_t push(Op op, int64_t value);
  uint32_t push(Op op, uint32_t slot);
  uint32_t push(Op op, std::initializer_list<uint32_t> children);
  void skip_blanks();

  std::string_view text_;
  size_t pos_ = 0;
  const Binding* scope_;
  ExprPool& pool_;
  size_t first_;              // node of this parser in the pool
  std::vector<int> heights_;  // of the trees below this parser's nodes
  int depth_ = 0;
};

bool is_identifier(std::string_view text);
std::string_view trim(std::string_view text);

}  // namespace ptxops::jit
