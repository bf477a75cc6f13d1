// Oracles: the C++ compiler for precedence and meaning, 128-bit arithmetic for random trees.
#include "driver/jit/expression.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <random>
#include <string>

namespace ptxops::jit {
namespace {

struct NoNames final : EvalContext {};

int64_t eval(const std::string& text) {
  ExprPool pool;
  Parser parser(text, nullptr, pool);
  const Expr e = parser.expression();
  parser.expect_end();
  return evaluate(pool, e.root, NoNames());
}

std::string error_of(const std::string& text) {
  try {
    return "value " + std::to_string(eval(text));
  } catch (const ExpressionError& e) {
    return e.what();
  }
}

struct Case {
  const char* text;
  int64_t value;
};
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wparentheses"
#pragma GCC diagnostic ignored "-Wbool-operation"
#pragma GCC diagnostic ignored "-Wint-in-bool-context"
// The same characters, read by the compiler.
#define CASE(expression)      \
  Case {                      \
#expression, (expression) \
  }
constexpr Case kCases[] = {
    CASE(1 + 2 * 3),
    CASE((1 + 2) * 3),
    CASE(10 - 4 - 3),
    CASE(100 / 7 / 2),
    CASE(100 % 7 * 3),
    CASE(-7 / 2),
    CASE(-7 % 3),
    CASE(1 << 4 + 1),
    CASE(256 >> 2 >> 1),
    CASE(-256 >> 3),
    CASE(7 & 3 == 3),
    CASE((7 & 3) == 3),
    CASE(6 ^ 3 & 1),
    CASE(6 | 3 ^ 5),
    CASE(1 | 2 && 0),
    CASE(1 || 0 && 0),
    CASE((1 || 0) && 0),
    CASE(~5 + 1),
    CASE(!0 + !7),
    CASE(- -4),
    CASE(!!9),
    CASE(3 < 4 == 1),
    CASE(3 <= 3),
    CASE(4 >= 5),
    CASE(4 > 3 > 0),
    CASE(5 != 5),
    CASE(1 ? 2 : 3),
    CASE(0 ? 2 : 3),
    CASE(0   ? 1
         : 0 ? 2
             : 3),
    CASE(1 ? 0 ? 4 : 5 : 6),
    CASE(2 + 1 ? 8 : 9),
    CASE(0x1F + 0xff),
    CASE(1 << 3 << 2),
    CASE(5 - -3),
    CASE(2 * -3),
    CASE(1 - 2 + 3),
    CASE(9223372036854775807),
    CASE(-9223372036854775807 - 1),
    CASE(1 == 2 ? 3 : 4 + 5),
    CASE(8 / 2 * 4),
};
#pragma GCC diagnostic pop

TEST(Expression, AgreesWithTheCompiler) {
  for (const Case& c : kCases) EXPECT_EQ(eval(c.text), c.value) << c.text;
}

TEST(Expression, Functions) {
  EXPECT_EQ(eval("min(3, -4)"), -4);
  EXPECT_EQ(eval("max(3, 2 + 2)"), 4);
  EXPECT_EQ(eval("ceil_div(129, 128)"), 2);
  EXPECT_EQ(eval("ceil_div(128, 128)"), 1);
  EXPECT_EQ(eval("ceil_div(0, 128)"), 0);
  EXPECT_EQ(eval("ceil_div(-1, 4)"), 0);
  EXPECT_EQ(eval("align(1, 16)"), 16);
  EXPECT_EQ(eval("align(32, 16)"), 32);
  EXPECT_EQ(eval("align(-5, 4)"), -4);
  EXPECT_EQ(eval("log2(1)"), 0);
  EXPECT_EQ(eval("log2(4096)"), 12);
}

TEST(Expression, UnreachedSidesAreNotEvaluated) {
  EXPECT_EQ(eval("0 && 1 / 0"), 0);
  EXPECT_EQ(eval("1 || 1 / 0"), 1);
  EXPECT_EQ(eval("1 ? 5 : 1 / 0"), 5);
}

TEST(Expression, Errors) {
  EXPECT_EQ(error_of("1 / 0"), "division by zero in 1 / 0");
  EXPECT_EQ(error_of("7 % (3 - 3)"), "division by zero in 7 % 0");
  EXPECT_EQ(error_of("9223372036854775807 + 1"), "64-bit overflow in 9223372036854775807 + 1");
  EXPECT_EQ(error_of("(-9223372036854775807 - 1) / -1"), "64-bit overflow in -9223372036854775808 / -1");
  EXPECT_EQ(error_of("-(-9223372036854775807 - 1)"), "64-bit overflow in 0 - -9223372036854775808");
  EXPECT_EQ(error_of("1 << 63"), "64-bit overflow in 1 << 63");
  EXPECT_EQ(error_of("1 << 64"), "shift count 64 is outside 0..63");
  EXPECT_EQ(error_of("1 >> -1"), "shift count -1 is outside 0..63");
  EXPECT_EQ(error_of("9223372036854775808"), "'9223372036854775808' is not a 64-bit integer");
  EXPECT_EQ(error_of("12ab"), "'12ab' is not a 64-bit integer");
  EXPECT_EQ(error_of("0x"), "'0x' is not a 64-bit integer");
  EXPECT_EQ(error_of("log2(12)"), "log2(12): expected a power of two");
  EXPECT_EQ(error_of("log2(0)"), "log2(0): expected a power of two");
  EXPECT_EQ(error_of("ceil_div(1, 0)"), "ceil_div(1, 0): the second argument must be positive");
  EXPECT_EQ(error_of("align(1, -8)"), "align(1, -8): the second argument must be positive");
  EXPECT_EQ(error_of("foo"), "unknown name 'foo'");
  EXPECT_EQ(error_of("foo(1)"), "unknown function 'foo'");
  EXPECT_EQ(error_of("uid"), "'uid' has a value only inside a macro");
  EXPECT_EQ(error_of("1 + hex(2)"), "hex() gives text: it can only stand alone between {{ and }}");
  EXPECT_EQ(error_of("(1 + 2"), "expected ')' at the end of '(1 + 2'");
  EXPECT_EQ(error_of("1 +"), "expected an expression at the end of '1 +'");
  EXPECT_EQ(error_of("1 ? 2"), "expected ':' at the end of '1 ? 2'");
  EXPECT_EQ(error_of("min(1)"), "expected ',' before ')'");
  EXPECT_EQ(error_of("1 2"), "unexpected '2'");
  EXPECT_EQ(error_of(""), "expected an expression at the end of ''");
  EXPECT_EQ(error_of("$"), "expected an expression before '$'");
  EXPECT_EQ(error_of(std::string(5000, '(')), "expression is nested too deeply");
}

// A random tree, written with every parenthesis; nullopt where the true value does not exist in 64 bits.
struct Tree {
  std::string text;
  std::optional<int64_t> value;
};

class Generator {
 public:
  explicit Generator(uint64_t seed) : random_(seed) {}

  Tree tree(int depth) {
    if (depth == 0 || pick(8) == 0) return leaf();
    static constexpr const char* kOps[] = {"+", "-", "*",  "/", "%",  "<<", ">>", "&",  "|",
                                           "^", "<", "<=", ">", ">=", "==", "!=", "&&", "||"};
    const Tree a = tree(depth - 1), b = tree(depth - 1);
    const std::string op = kOps[pick(std::size(kOps))];
    Tree result{"(" + a.text + " " + op + " " + b.text + ")", std::nullopt};
    if (a.value && (op == "&&" || op == "||") && (op == "&&") == (*a.value == 0)) {
      result.value = *a.value != 0;
    } else if (a.value && b.value) {
      result.value = apply(*a.value, op, *b.value);
    }
    return result;
  }

 private:
  size_t pick(size_t n) { return random_() % n; }

  Tree leaf() {
    static constexpr int64_t kEdges[] = {0, 1, 2, 31, 63, 64, 127, 4096, std::numeric_limits<int64_t>::max()};
    const int64_t v =
        pick(2) ? kEdges[pick(std::size(kEdges))] : static_cast<int64_t>(random_() >> (1 + pick(62)));
    if (pick(4) == 0) return {"(-" + std::to_string(v) + ")", -v};
    return {std::to_string(v), v};
  }

  static std::optional<int64_t> apply(__int128 a, const std::string& op, __int128 b) {
    __int128 r;
    if (op == "+")
      r = a + b;
    else if (op == "-")
      r = a - b;
    else if (op == "*")
      r = a * b;
    else if (op == "/" || op == "%") {
      if (b == 0) return std::nullopt;
      r = a / b;
      if (op == "%" && r <= std::numeric_limits<int64_t>::max()) r = a - r * b;
    } else if (op == "<<" || op == ">>") {
      if (b < 0 || b > 63) return std::nullopt;
      r = op == ">>" ? a >> b : a * (static_cast<__int128>(1) << b);
    } else if (op == "&")
      r = a & b;
    else if (op == "|")
      r = a | b;
    else if (op == "^")
      r = a ^ b;
    else if (op == "<")
      r = a < b;
    else if (op == "<=")
      r = a <= b;
    else if (op == ">")
      r = a > b;
    else if (op == ">=")
      r = a >= b;
    else if (op == "==")
      r = a == b;
    else if (op == "!=")
      r = a != b;
    else if (op == "&&")
      r = a && b;
    else
      r = a || b;
    if (r > std::numeric_limits<int64_t>::max() || r < std::numeric_limits<int64_t>::min())
      return std::nullopt;
    return static_cast<int64_t>(r);
  }

  std::mt19937_64 random_;
};

TEST(Expression, RandomTreesAgreeWith128BitArithmetic) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Generator generator(seed);
  int values = 0, errors = 0;
  for (int i = 0; i < 20000; ++i) {
    const Tree t = generator.tree(4);
    if (t.value) {
      ASSERT_EQ(error_of(t.text), "value " + std::to_string(*t.value)) << t.text;
      ++values;
    } else {
      ASSERT_THROW(eval(t.text), ExpressionError) << t.text;
      ++errors;
    }
  }
  EXPECT_GT(values, 1000);
  EXPECT_GT(errors, 1000);
}

}  // namespace
}  // namespace ptxops::jit
