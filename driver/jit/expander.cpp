#include "driver/jit/expander.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <charconv>

#include "driver/jit/template.h"

namespace ptxops::jit {
namespace {

// Beyond these a template is wrong, not large.
constexpr size_t kMaxOutput = size_t{8} << 20;
constexpr int64_t kMaxSteps = 2'000'000;
constexpr int64_t kMaxRegs = 1024;
constexpr size_t kMaxArgument = size_t{1} << 16;
constexpr int kMaxCallDepth = 32;

// What an expansion may still cost. A step is a statement, or the work on some characters of text.
class Budget {
 public:
  static constexpr size_t kCharacters = 64;
  bool spend(size_t characters) {
    steps_ += 1 + static_cast<int64_t>(characters / kCharacters);
    return steps_ <= kMaxSteps;
  }
  static std::string exceeded() { return fmt::format("more than {} steps", kMaxSteps); }

 private:
  int64_t steps_ = 0;
};

// One macro expansion, or the kernel itself. Lives on the call stack; callers outlive callees.
class Frame final : public EvalContext {
 public:
  Frame(const Template& t, const Frame* caller, Budget& budget)
      : depth(caller ? caller->depth + 1 : 0), t_(t), caller_(caller), budget_(budget) {}

  int64_t macro_arg(uint32_t index) const override {
    const std::string& text = args[index];
    // The argument may name arguments of the caller, and these of its caller. Parsing is the expensive part.
    constexpr size_t kParsing = 8;
    if (!budget_.spend(kParsing * (Budget::kCharacters + text.size())))
      throw ExpressionError(Budget::exceeded());
    try {
      ExprPool pool;
      Parser p(text, scope, pool);
      const Expr e = p.expression();
      p.expect_end();
      return evaluate(pool, e.root, *caller_);
    } catch (const ExpressionError& e) {
      throw ExpressionError(fmt::format("macro argument '{}' is not an integer here: {}", text, e.what()));
    }
  }

  const int depth;
  std::vector<std::string> args;
  std::vector<int64_t> slots;
  const Binding* scope = nullptr;  // names that the arguments' text may use
  std::string_view macro;
  Where called_at;
  uint32_t call = LineMap::kNoCall;

  std::string trail() const {
    std::string text;
    for (const Frame* f = this; f->caller_; f = f->caller_)
      text += fmt::format("\n  in macro {}, called at {}:{}", f->macro, t_.sources[f->called_at.source]->path,
                          f->called_at.line);
    return text;
  }

 private:
  const Template& t_;
  const Frame* caller_;
  Budget& budget_;
};

class Expander {
 public:
  Expander(const Template& t, Expansion& out) : t_(t), out_(out), globals_(t.global_slots) {
    for (const auto& source : t.sources) out_.lines.add_file(source->path);
    out_.ptx.reserve(t.sources.front()->text.size() * 4);
  }

  void run(const Params& params) {
    bind_params(params);
    Frame frame(t_, nullptr, budget_);
    frame.globals = frame.locals = globals_.data();
    block(t_.body, frame);
    for (const NoteDecl& n : t_.notes) out_.notes[n.name] = value(n.expr, frame, n.where);
  }

 private:
  void bind_params(const Params& params) {
    for (const auto& [name, value] : params) {
      bool known = false;
      for (const ParamDecl& p : t_.params) known |= p.name == name;
      if (!known)
        t_.fail({0, 1}, fmt::format("kernel {} has no parameter '{}' (given {})", t_.name, name, value));
    }
    for (const ParamDecl& p : t_.params) {
      const auto it = params.find(p.name);
      if (it == params.end())
        t_.fail(p.where,
                fmt::format("parameter '{}' is missing: expected a value in {}", p.name, p.domain_text));
      if (std::find(p.domain.begin(), p.domain.end(), it->second) == p.domain.end())
        t_.fail(p.where, fmt::format("{} = {} is not in its domain {}", p.name, it->second, p.domain_text));
      globals_[p.slot] = it->second;
    }
  }

  void spend(size_t characters, const Frame& frame, Where where) {
    if (!budget_.spend(characters)) t_.fail(where, Budget::exceeded(), frame.trail());
  }

  int64_t value(const Expr& e, const Frame& frame, Where where) {
    spend(e.text.size(), frame, where);
    try {
      return evaluate(t_.pool, e.root, frame);
    } catch (const ExpressionError& error) {
      t_.fail(where, error.what(), frame.trail());
    }
  }

  void set(const Statement& s, Frame& frame, int64_t value) {
    (s.global_slot ? globals_ : frame.slots)[s.slot] = value;
  }

  void block(const Block& statements, Frame& frame) {
    for (const Statement& s : statements) {
      spend(0, frame, s.where);
      switch (s.kind) {
        case Statement::Kind::kText:
          text_line(s, frame);
          break;
        case Statement::Kind::kLet:
          set(s, frame, value(s.expr[0], frame, s.where));
          break;
        case Statement::Kind::kFor:
          loop(s, frame);
          break;
        case Statement::Kind::kIf:
          for (const Branch& b : s.branches) {
            if (b.condition && !value(*b.condition, frame, b.where)) continue;
            block(b.block, frame);
            break;
          }
          break;
        case Statement::Kind::kCall:
          call(s, frame);
          break;
        case Statement::Kind::kError:
          t_.fail(s.where, text_of(s.text, frame, s.where), frame.trail());
        case Statement::Kind::kRequire:
          if (!value(s.expr[0], frame, s.where))
            t_.fail(s.where, fmt::format("{}: required {}, given {}", text_of(s.text, frame, s.where),
                                         s.expr[0].text, describe_params()));
          break;
      }
    }
  }

  void loop(const Statement& s, Frame& frame) {
    const int64_t low = value(s.expr[0], frame, s.where), high = value(s.expr[1], frame, s.where);
    const int64_t step = value(s.expr[2], frame, s.where);
    if (step <= 0) t_.fail(s.where, fmt::format("step {} is not positive", step), frame.trail());
    for (int64_t i = low; i < high;) {
      spend(0, frame, s.where);
      set(s, frame, i);
      block(s.branches[0].block, frame);
      if (__builtin_add_overflow(i, step, &i)) break;
    }
  }

  void call(const Statement& s, Frame& caller) {
    const Macro& m = t_.macros[s.slot];
    Frame frame(t_, &caller, budget_);
    if (frame.depth > kMaxCallDepth)
      t_.fail(s.where, fmt::format("macro calls nest deeper than {}", kMaxCallDepth), caller.trail());
    for (const SegmentRange& arg : s.args) {
      frame.args.push_back(text_of(arg, caller, s.where));
      if (frame.args.back().size() > kMaxArgument)
        t_.fail(s.where, fmt::format("a macro argument exceeds {} characters", kMaxArgument), caller.trail());
      spend(frame.args.back().size(), caller, s.where);
    }
    frame.slots.resize(m.locals);
    frame.globals = globals_.data();
    frame.locals = frame.slots.data();
    frame.uid = uid_++;
    frame.scope = s.scope;
    frame.macro = m.name;
    frame.called_at = s.where;
    frame.call = out_.lines.add_call(m.name, s.where.source, s.where.line, caller.call);
    block(m.body, frame);
  }

  void text_line(const Statement& s, Frame& frame) {
    append(out_.ptx, s.text, frame, s.where);
    out_.ptx += '\n';
    out_.lines.add_line(s.where.source, s.where.line, frame.call);
  }

  std::string text_of(const SegmentRange& range, const Frame& frame, Where where) {
    std::string text;
    append(text, range, frame, where);
    return text;
  }

  static void append_integer(std::string& out, int64_t value) {
    char digits[24];
    out.append(digits, std::to_chars(digits, digits + sizeof digits, value).ptr);
  }

  void append(std::string& out, const SegmentRange& range, const Frame& frame, Where where) {
    for (uint32_t i = range.begin; i < range.begin + range.count; ++i) {
      const Segment& s = t_.segments[i];
      if (out.size() > kMaxOutput) t_.fail(where, "the expansion exceeds 8 MiB", frame.trail());
      switch (s.kind) {
        case Segment::Kind::kLiteral:
          out += s.text;
          break;
        case Segment::Kind::kArg:
          out += frame.args[s.arg];
          break;
        case Segment::Kind::kInteger:
          append_integer(out, value(s.first, frame, where));
          break;
        case Segment::Kind::kRegs:
          append_regs(out, s, frame, where);
          break;
        case Segment::Kind::kHex: {
          const int64_t v = value(s.first, frame, where);
          if (v < 0) t_.fail(where, fmt::format("hex() of a negative value: {}", v), frame.trail());
          out += fmt::format("{:#x}", v);
          break;
        }
        case Segment::Kind::kF32: {
          const int64_t v = value(s.first, frame, where);
          const float f = static_cast<float>(v);
          // The difference of an int64 and its nearest float is exact in long double.
          if (static_cast<long double>(f) != static_cast<long double>(v))
            t_.fail(where, fmt::format("f32({}): not exact in 24 bits", v), frame.trail());
          out += fmt::format("0f{:08X}", std::bit_cast<uint32_t>(f));
          break;
        }
      }
    }
  }

  void append_regs(std::string& out, const Segment& s, const Frame& frame, Where where) {
    const int64_t low = value(s.first, frame, where), high = value(s.second, frame, where);
    if (low < 0 || high < low || high - low > kMaxRegs)
      t_.fail(
          where,
          fmt::format("regs(): expected 0 <= low <= high <= low + {}, got {} and {}", kMaxRegs, low, high),
          frame.trail());
    const std::string_view prefix = s.prefix_is_arg ? std::string_view(frame.args[s.arg]) : s.text;
    for (int64_t r = low; r < high; ++r) {
      if (r != low) out += ", ";
      out += prefix;
      append_integer(out, r);
    }
  }

  std::string describe_params() const {
    std::string text;
    for (const ParamDecl& p : t_.params)
      text += fmt::format("{}{} = {}", text.empty() ? "" : ", ", p.name, globals_[p.slot]);
    return text;
  }

  const Template& t_;
  Expansion& out_;
  std::vector<int64_t> globals_;
  Budget budget_;
  int64_t uid_ = 0;
};

}  // namespace

Expansion expand(const Template& t, const Params& params) {
  Expansion out;
  out.kernel = t.name;
  Expander(t, out).run(params);
  return out;
}

Expansion expand(const std::string& path, const Params& params) {
  return expand(*parse_template(path), params);
}

}  // namespace ptxops::jit
