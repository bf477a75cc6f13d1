#include "driver/jit/expression.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <limits>

namespace ptxops::jit {
namespace {

// Of brackets while parsing; of the tree, which a chain of operators deepens on its left side as well.
constexpr int kMaxDepth = 200;
constexpr int kMaxHeight = 256;

bool is_word_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_word(char c) {
  return is_word_start(c) || is_digit(c);
}
bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r';
}

struct BinaryOp {
  std::string_view token;
  int precedence;
  Op op;
};
// Longer tokens first, so that a prefix does not win.
constexpr std::array<BinaryOp, 18> kBinaryOps = {{
    {"<<", 8, Op::kShl},
    {">>", 8, Op::kShr},
    {"<=", 7, Op::kLe},
    {">=", 7, Op::kGe},
    {"==", 6, Op::kEq},
    {"!=", 6, Op::kNe},
    {"&&", 2, Op::kAnd},
    {"||", 1, Op::kOr},
    {"*", 10, Op::kMul},
    {"/", 10, Op::kDiv},
    {"%", 10, Op::kMod},
    {"+", 9, Op::kAdd},
    {"-", 9, Op::kSub},
    {"<", 7, Op::kLt},
    {">", 7, Op::kGt},
    {"&", 5, Op::kBitAnd},
    {"^", 4, Op::kBitXor},
    {"|", 3, Op::kBitOr},
}};

struct Function {
  std::string_view name;
  int arity;
  Op op;
};
constexpr std::array<Function, 5> kFunctions = {{
    {"min", 2, Op::kMin},
    {"max", 2, Op::kMax},
    {"ceil_div", 2, Op::kCeilDiv},
    {"log2", 1, Op::kLog2},
    {"align", 2, Op::kAlign},
}};

[[noreturn]] void overflow(std::string_view op, int64_t a, int64_t b) {
  throw ExpressionError(fmt::format("64-bit overflow in {} {} {}", a, op, b));
}

int64_t divide(int64_t a, int64_t b, std::string_view op) {
  if (b == 0) throw ExpressionError(fmt::format("division by zero in {} {} 0", a, op));
  if (a == std::numeric_limits<int64_t>::min() && b == -1) overflow(op, a, b);
  return op == "%" ? a % b : a / b;
}

int64_t shift(int64_t a, int64_t b, bool left) {
  if (b < 0 || b > 63) throw ExpressionError(fmt::format("shift count {} is outside 0..63", b));
  if (!left) return a >> b;
  const int64_t shifted = static_cast<int64_t>(static_cast<uint64_t>(a) << b);
  if ((shifted >> b) != a) overflow("<<", a, b);
  return shifted;
}

// Round a up to a multiple of b: shared by ceil_div and align.
int64_t quotient_up(int64_t a, int64_t b, std::string_view function) {
  if (b <= 0)
    throw ExpressionError(fmt::format("{}({}, {}): the second argument must be positive", function, a, b));
  return a / b + (a % b > 0 ? 1 : 0);
}

int64_t binary_value(Op op, int64_t a, int64_t b) {
  int64_t r = 0;
  switch (op) {
    case Op::kMul:
      if (__builtin_mul_overflow(a, b, &r)) overflow("*", a, b);
      return r;
    case Op::kAdd:
      if (__builtin_add_overflow(a, b, &r)) overflow("+", a, b);
      return r;
    case Op::kSub:
      if (__builtin_sub_overflow(a, b, &r)) overflow("-", a, b);
      return r;
    case Op::kDiv:
      return divide(a, b, "/");
    case Op::kMod:
      return divide(a, b, "%");
    case Op::kShl:
      return shift(a, b, true);
    case Op::kShr:
      return shift(a, b, false);
    case Op::kLt:
      return a < b;
    case Op::kLe:
      return a <= b;
    case Op::kGt:
      return a > b;
    case Op::kGe:
      return a >= b;
    case Op::kEq:
      return a == b;
    case Op::kNe:
      return a != b;
    case Op::kBitAnd:
      return a & b;
    case Op::kBitXor:
      return a ^ b;
    case Op::kBitOr:
      return a | b;
    case Op::kMin:
      return std::min(a, b);
    case Op::kMax:
      return std::max(a, b);
    case Op::kCeilDiv:
      return quotient_up(a, b, "ceil_div");
    case Op::kAlign: {
      const int64_t q = quotient_up(a, b, "align");
      if (__builtin_mul_overflow(q, b, &r)) overflow("*", q, b);
      return r;
    }
    default:
      throw std::logic_error("binary_value: not a binary operator");
  }
}

}  // namespace

const Binding* find_binding(const Binding* scope, std::string_view name) {
  for (; scope; scope = scope->parent)
    if (scope->name == name) return scope;
  return nullptr;
}

bool is_identifier(std::string_view text) {
  return !text.empty() && is_word_start(text[0]) && std::all_of(text.begin(), text.end(), is_word);
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

int64_t EvalContext::macro_arg(uint32_t) const {
  throw std::logic_error("macro argument outside a macro");
}

int64_t evaluate(const ExprPool& pool, uint32_t root, const EvalContext& context) {
  const ExprNode& n = pool[root];
  switch (n.op) {
    case Op::kConst:
      return n.value;
    case Op::kGlobal:
      return context.globals[n.a];
    case Op::kLocal:
      return context.locals[n.a];
    case Op::kArg:
      return context.macro_arg(n.a);
    case Op::kUid:
      return context.uid;
    case Op::kNeg: {
      const int64_t a = evaluate(pool, n.a, context);
      if (a == std::numeric_limits<int64_t>::min()) overflow("-", 0, a);
      return -a;
    }
    case Op::kNot:
      return !evaluate(pool, n.a, context);
    case Op::kBitNot:
      return ~evaluate(pool, n.a, context);
    case Op::kAnd:
      return evaluate(pool, n.a, context) && evaluate(pool, n.b, context);
    case Op::kOr:
      return evaluate(pool, n.a, context) || evaluate(pool, n.b, context);
    case Op::kSelect:
      return evaluate(pool, evaluate(pool, n.a, context) ? n.b : n.c, context);
    case Op::kLog2: {
      const int64_t a = evaluate(pool, n.a, context);
      if (a <= 0 || (a & (a - 1))) throw ExpressionError(fmt::format("log2({}): expected a power of two", a));
      return std::countr_zero(static_cast<uint64_t>(a));
    }
    default:
      break;
  }
  const int64_t a = evaluate(pool, n.a, context);
  return binary_value(n.op, a, evaluate(pool, n.b, context));
}

void Parser::skip_blanks() {
  while (pos_ < text_.size() && is_blank(text_[pos_])) ++pos_;
}

bool Parser::at_end() {
  skip_blanks();
  return pos_ == text_.size() || text_.substr(pos_, 2) == "//";
}

char Parser::peek() {
  return at_end() ? '\0' : text_[pos_];
}

bool Parser::accept(std::string_view token) {
  if (at_end() || text_.substr(pos_, token.size()) != token) return false;
  pos_ += token.size();
  return true;
}

bool Parser::accept_word(std::string_view word) {
  if (at_end() || text_.substr(pos_, word.size()) != word) return false;
  if (pos_ + word.size() < text_.size() && is_word(text_[pos_ + word.size()])) return false;
  pos_ += word.size();
  return true;
}

void Parser::expect(std::string_view token) {
  if (accept(token)) return;
  throw ExpressionError(at_end() ? fmt::format("expected '{}' at the end of '{}'", token, trim(text_))
                                 : fmt::format("expected '{}' before '{}'", token, rest()));
}

void Parser::expect_end() {
  if (!at_end()) throw ExpressionError(fmt::format("unexpected '{}'", rest()));
}

std::string_view Parser::identifier() {
  if (at_end() || !is_word_start(text_[pos_]))
    throw ExpressionError(at_end() ? "expected a name at the end of the line"
                                   : fmt::format("expected a name before '{}'", rest()));
  const size_t begin = pos_;
  while (pos_ < text_.size() && is_word(text_[pos_])) ++pos_;
  return text_.substr(begin, pos_ - begin);
}

std::string_view Parser::string_literal() {
  if (peek() != '"') throw ExpressionError("expected a \"quoted text\"");
  const size_t end = text_.find('"', pos_ + 1);
  if (end == text_.npos) throw ExpressionError("unterminated \"quoted text\"");
  const auto literal = text_.substr(pos_ + 1, end - pos_ - 1);
  pos_ = end + 1;
  return literal;
}

uint32_t Parser::push(Op op, int64_t value) {
  pool_.push_back({op, 0, 0, 0, value});
  heights_.resize(pool_.size() - first_, 1);
  return static_cast<uint32_t>(pool_.size() - 1);
}

uint32_t Parser::push(Op op, uint32_t slot) {
  const uint32_t node = push(op, int64_t{0});
  pool_[node].a = slot;
  return node;
}

uint32_t Parser::push(Op op, std::initializer_list<uint32_t> children) {
  const uint32_t node = push(op, int64_t{0});
  uint32_t* const places[] = {&pool_[node].a, &pool_[node].b, &pool_[node].c};
  int below = 0;
  size_t n = 0;
  for (const uint32_t child : children) {
    *places[n++] = child;
    below = std::max(below, heights_[child - first_]);
  }
  heights_.back() = below + 1;
  if (below >= kMaxHeight) throw ExpressionError("expression is too long");
  return node;
}

Expr Parser::expression() {
  skip_blanks();
  const size_t begin = pos_;
  const uint32_t root = ternary();
  return {root, trim(text_.substr(begin, pos_ - begin))};
}

uint32_t Parser::ternary() {
  const uint32_t condition = binary(1);
  if (!accept("?")) return condition;
  if (++depth_ > kMaxDepth) throw ExpressionError("expression is nested too deeply");
  const uint32_t yes = ternary();
  expect(":");
  const uint32_t no = ternary();
  --depth_;
  return push(Op::kSelect, {condition, yes, no});
}

uint32_t Parser::binary(int min_precedence) {
  uint32_t left = unary();
  for (;;) {
    if (at_end()) return left;
    const auto here = text_.substr(pos_);
    const auto found = std::find_if(kBinaryOps.begin(), kBinaryOps.end(),
                                    [&](const BinaryOp& b) { return here.starts_with(b.token); });
    if (found == kBinaryOps.end() || found->precedence < min_precedence) return left;
    pos_ += found->token.size();
    const uint32_t right = binary(found->precedence + 1);
    left = push(found->op, {left, right});
  }
}

uint32_t Parser::unary() {
  if (++depth_ > kMaxDepth) throw ExpressionError("expression is nested too deeply");
  uint32_t node;
  if (accept("-")) {
    node = push(Op::kNeg, {unary()});
  } else if (accept("~")) {
    node = push(Op::kBitNot, {unary()});
  } else if (accept("!")) {
    node = push(Op::kNot, {unary()});
  } else {
    node = primary();
  }
  --depth_;
  return node;
}

uint32_t Parser::primary() {
  if (accept("(")) {
    const uint32_t inner = ternary();
    expect(")");
    return inner;
  }
  if (at_end()) throw ExpressionError(fmt::format("expected an expression at the end of '{}'", trim(text_)));
  if (text_.substr(pos_, 2) == "{{") throw ExpressionError("'{{' inside an expression: write the name alone");
  if (is_digit(text_[pos_])) {
    const bool hex = text_.substr(pos_, 2) == "0x" || text_.substr(pos_, 2) == "0X";
    const char* begin = text_.data() + pos_ + (hex ? 2 : 0);
    const char* end = text_.data() + text_.size();
    int64_t value = 0;
    const auto [stop, error] = std::from_chars(begin, end, value, hex ? 16 : 10);
    size_t next = static_cast<size_t>(stop - text_.data());
    if (error != std::errc() || (next < text_.size() && is_word(text_[next]))) {
      while (next < text_.size() && is_word(text_[next])) ++next;
      throw ExpressionError(fmt::format("'{}' is not a 64-bit integer", text_.substr(pos_, next - pos_)));
    }
    pos_ = next;
    return push(Op::kConst, value);
  }
  if (!is_word_start(text_[pos_]))
    throw ExpressionError(fmt::format("expected an expression before '{}'", rest()));
  const auto word = identifier();
  return accept("(") ? call(word) : name(word);
}

uint32_t Parser::call(std::string_view function) {
  const auto found = std::find_if(kFunctions.begin(), kFunctions.end(),
                                  [&](const Function& f) { return f.name == function; });
  if (found == kFunctions.end()) {
    if (function == "regs" || function == "hex" || function == "f32")
      throw ExpressionError(
          fmt::format("{}() gives text: it can only stand alone between {{{{ and }}}}", function));
    throw ExpressionError(fmt::format("unknown function '{}'", function));
  }
  uint32_t args[2] = {0, 0};
  for (int i = 0; i < found->arity; ++i) {
    if (i) expect(",");
    args[i] = ternary();
  }
  expect(")");
  return found->arity == 1 ? push(found->op, {args[0]}) : push(found->op, {args[0], args[1]});
}

uint32_t Parser::name(std::string_view word) {
  const Binding* binding = find_binding(scope_, word);
  if (!binding) {
    if (word == "uid") throw ExpressionError("'uid' has a value only inside a macro");
    throw ExpressionError(fmt::format("unknown name '{}'", word));
  }
  switch (binding->kind) {
    case Binding::Kind::kGlobal:
      return push(Op::kGlobal, binding->slot);
    case Binding::Kind::kLocal:
      return push(Op::kLocal, binding->slot);
    case Binding::Kind::kArg:
      return push(Op::kArg, binding->slot);
    case Binding::Kind::kUid:
      return push(Op::kUid, uint32_t{0});
  }
  throw std::logic_error("unknown binding kind");
}

}  // namespace ptxops::jit
