// Constant expressions (PTX ISA 4.5): C operators over 64-bit integers, and floating literals.
#include <bit>
#include <charconv>
#include <cstdlib>

#include "driver/virtual/isa/parser.h"

namespace ptxops::virt::isa {
namespace {

int precedence(std::string_view op) {
  if (op == "*" || op == "/" || op == "%") return 10;
  if (op == "+" || op == "-") return 9;
  if (op == "<<" || op == ">>") return 8;
  if (op == "<" || op == "<=" || op == ">" || op == ">=") return 7;
  if (op == "==" || op == "!=") return 6;
  if (op == "&") return 5;
  if (op == "^") return 4;
  if (op == "|") return 3;
  if (op == "&&") return 2;
  if (op == "||") return 1;
  return 0;
}

Constant integer_constant(int64_t i, bool is_unsigned) {
  Constant c;
  c.i = i;
  c.is_unsigned = is_unsigned;
  return c;
}

Constant double_constant(double f) {
  Constant c;
  c.is_float = true;
  c.f = f;
  c.bits = std::bit_cast<uint64_t>(f);
  return c;
}

}  // namespace

Constant Parser::constant_number(const Token& t) {
  std::string_view s = t.text;
  auto malformed = [&]() -> Constant { fail_at(t.line, "Malformed number '{}'", s); };
  auto parse_unsigned = [&](std::string_view digits, int base) -> Constant {
    bool is_unsigned = !digits.empty() && (digits.back() == 'U' || digits.back() == 'u');
    if (is_unsigned) digits.remove_suffix(1);
    uint64_t v = 0;
    auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), v, base);
    if (digits.empty() || status == std::errc::invalid_argument || end != digits.data() + digits.size())
      return malformed();
    if (status == std::errc::result_out_of_range)
      fail_at(t.line, "Integer constant '{}' does not fit 64 bits", s);
    return integer_constant(static_cast<int64_t>(v), is_unsigned || v > INT64_MAX);
  };
  if (s.size() >= 2 && s[0] == '0') {
    std::string_view digits = s.substr(2);
    switch (s[1]) {
      case 'x':
      case 'X':
        return parse_unsigned(digits, 16);
      case 'b':
      case 'B':
        return parse_unsigned(digits, 2);
      case 'f':
      case 'F':
      case 'd':
      case 'D': {
        bool single = s[1] == 'f' || s[1] == 'F';
        uint64_t v = 0;
        auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), v, 16);
        if (digits.size() != (single ? 8u : 16u) || status != std::errc{} ||
            end != digits.data() + digits.size()) {
          return malformed();
        }
        if (!single) return double_constant(std::bit_cast<double>(v));
        Constant c = double_constant(std::bit_cast<float>(static_cast<uint32_t>(v)));
        c.float_type = Type::f32;
        c.bits = v;
        return c;
      }
      default:
        break;
    }
  }
  if (s.find_first_of(".eE") != s.npos) {
    double v = 0;
    auto [end, status] = std::from_chars(s.data(), s.data() + s.size(), v);
    if (status != std::errc{} || end != s.data() + s.size()) return malformed();
    return double_constant(v);
  }
  return s.size() > 1 && s[0] == '0' && s[1] != 'U' ? parse_unsigned(s.substr(1), 8) : parse_unsigned(s, 10);
}

Constant Parser::constant_unary() {
  Token t = lexer_.peek();
  if (t.kind == Token::Kind::number) return constant_number(lexer_.take());
  if (t.is("WARP_SZ")) {
    lexer_.take();
    return integer_constant(32, false);
  }
  const Nesting nesting(*this, t.line);
  if (t.is('(')) {
    lexer_.take();
    if (lexer_.peek().is(".s64") || lexer_.peek().is(".u64")) {  // cast
      bool is_unsigned = lexer_.take().is(".u64");
      expect(')', "cast");
      Constant c = constant_unary();
      if (c.is_float) {
        if (!(c.f >= -0x1p63 && c.f < 0x1p63)) fail_at(t.line, "{} does not fit 64 bits", c.f);
        c = integer_constant(static_cast<int64_t>(c.f), is_unsigned);
      }
      c.is_unsigned = is_unsigned;
      return c;
    }
    Constant c = constant();
    expect(')', "constant expression");
    return c;
  }
  if (t.is('-') || t.is('+') || t.is('~') || t.is('!')) {
    lexer_.take();
    Constant c = constant_unary();
    if (t.is('+')) return c;
    if (t.is('-')) {
      if (!c.is_float)
        return integer_constant(static_cast<int64_t>(0 - static_cast<uint64_t>(c.i)),
                                c.is_unsigned && c.i != INT64_MIN);
      Type type = c.float_type;
      uint64_t bits = c.bits ^ (type == Type::f32 ? uint64_t{1} << 31 : uint64_t{1} << 63);
      c = double_constant(-c.f);
      c.float_type = type;
      c.bits = bits;
      return c;
    }
    if (c.is_float) fail_at(t.line, "Operator '{}' needs an integer constant", t.text);
    return t.is('~') ? integer_constant(~c.i, c.is_unsigned) : integer_constant(!c.i, false);
  }
  fail_at(t.line, "Constant expected near '{}'", t.text);
}

Constant Parser::constant_binary(int min_precedence) {
  Constant a = constant_unary();
  while (lexer_.peek().kind == Token::Kind::punct) {
    Token op = lexer_.peek();
    int p = precedence(op.text);
    if (p == 0 || p < min_precedence) break;
    lexer_.take();
    Constant b = constant_binary(p + 1);
    std::string_view o = op.text;
    if (a.is_float || b.is_float) {
      double x = a.is_float ? a.f : static_cast<double>(a.i), y = b.is_float ? b.f : static_cast<double>(b.i);
      if (o == "+")
        a = double_constant(x + y);
      else if (o == "-")
        a = double_constant(x - y);
      else if (o == "*")
        a = double_constant(x * y);
      else if (o == "/")
        a = double_constant(x / y);
      else
        fail_at(op.line, "Operator '{}' needs integer constants", o);
      continue;
    }
    bool u = a.is_unsigned || b.is_unsigned;
    uint64_t x = static_cast<uint64_t>(a.i), y = static_cast<uint64_t>(b.i);
    if ((o == "/" || o == "%") && y == 0) fail_at(op.line, "Division by zero in a constant expression");
    auto less = [&] { return u ? x < y : a.i < b.i; };
    uint64_t r = 0;
    if (o == "*")
      r = x * y;
    else if (o == "/")
      r = u || b.i == -1 ? (u ? x / y : 0 - x) : static_cast<uint64_t>(a.i / b.i);
    else if (o == "%")
      r = u || b.i == -1 ? (u ? x % y : 0) : static_cast<uint64_t>(a.i % b.i);
    else if (o == "+")
      r = x + y;
    else if (o == "-")
      r = x - y;
    else if (o == "<<")
      r = y < 64 ? x << y : 0;
    else if (o == ">>")
      r = a.is_unsigned ? (y < 64 ? x >> y : 0) : static_cast<uint64_t>(a.i >> (y < 64 ? y : 63));
    else if (o == "<")
      r = less();
    else if (o == "<=")
      r = less() || x == y;
    else if (o == ">")
      r = !less() && x != y;
    else if (o == ">=")
      r = !less();
    else if (o == "==")
      r = x == y;
    else if (o == "!=")
      r = x != y;
    else if (o == "&")
      r = x & y;
    else if (o == "^")
      r = x ^ y;
    else if (o == "|")
      r = x | y;
    else if (o == "&&")
      r = x && y;
    else if (o == "||")
      r = x || y;
    if (p == 8) u = a.is_unsigned;
    if (p == 7 || p == 6 || p <= 2) u = false;
    a = integer_constant(static_cast<int64_t>(r), u);
  }
  return a;
}

Constant Parser::constant_ternary() {
  Constant c = constant_binary(1);
  if (!lexer_.peek().is('?')) return c;
  const Nesting nesting(*this, lexer_.peek().line);
  lexer_.take();
  Constant yes = constant();
  expect(':', "constant expression");
  Constant no = constant();
  return c.is_float ? (c.f != 0 ? yes : no) : (c.i ? yes : no);
}

int64_t Parser::integer(const char* what, int64_t min, int64_t max) {
  uint32_t line = lexer_.peek().line;
  Constant c = constant();
  if (c.is_float) fail_at(line, "{} must be an integer", what);
  if (c.i < min || c.i > max || (c.is_unsigned && c.i < 0)) {
    fail_at(line, "{} is {}; expected to be in range [{}..{}]", what, c.i, min, max);
  }
  return c.i;
}

}  // namespace ptxops::virt::isa
