#include "tests/driver/virtual/check/expression.h"

#include <fmt/format.h>

#include <cctype>
#include <stdexcept>

namespace ptxops::virt::testing {
namespace {

int64_t s8(const std::vector<uint32_t>& words, uint64_t byte) {
  return static_cast<int8_t>(words.at(byte / 4) >> byte % 4 * 8);
}

// Row and byte of K within core matrices of 8 x 16 bytes.
uint64_t in_core_matrices(uint64_t row, uint64_t k) {
  return row / 8 * 256 + k / 16 * 128 + row % 8 * 16 + k % 16;
}

int64_t mma(const std::vector<uint32_t>& words, uint64_t r, uint64_t a, uint64_t b) {
  const uint64_t thread = r / 4, lane = thread % 32;
  const uint64_t row = thread / 32 * 16 + lane / 4 + r % 4 / 2 * 8, column = lane % 4 * 2 + r % 2;
  int64_t sum = 0;
  for (uint64_t k = 0; k < 32; ++k)
    sum += s8(words, a + in_core_matrices(row, k)) * s8(words, b + in_core_matrices(column, k));
  return sum;
}

class Evaluator {
 public:
  Evaluator(const std::string& text, const Buffers& buffers, uint64_t i)
      : text_(text), buffers_(buffers), i_(i) {}
  uint64_t whole() {
    const uint64_t value = binary(0);
    if (peek() != '\0') fail("an operator");
    return value;
  }

 private:
  struct Operator {
    const char* text;
    int rank;
  };
  static constexpr Operator kOperators[] = {{"|", 1}, {"^", 2}, {"&", 3}, {"<<", 5}, {">>", 5}, {"<", 4},
                                            {"+", 6}, {"-", 6}, {"*", 7}, {"/", 7},  {"%", 7}};

  uint64_t binary(int rank) {
    uint64_t left = primary();
    while (const Operator* op = next_operator(rank)) {
      at_ += std::string(op->text).size();
      const uint64_t right = binary(op->rank);
      left = apply(op->text, left, right);
    }
    return left;
  }
  const Operator* next_operator(int rank) {
    peek();
    for (const Operator& op : kOperators)
      if (text_.compare(at_, std::string(op.text).size(), op.text) == 0)
        return op.rank > rank ? &op : nullptr;
    return nullptr;
  }
  uint64_t apply(const std::string& op, uint64_t a, uint64_t b) {
    if ((op == "/" || op == "%") && b == 0) fail("a divisor that is not 0");
    if (op == "<<") return a << b;
    if (op == ">>") return a >> b;
    switch (op[0]) {
      case '|':
        return a | b;
      case '^':
        return a ^ b;
      case '&':
        return a & b;
      case '<':
        return a < b;
      case '+':
        return a + b;
      case '-':
        return a - b;
      case '*':
        return a * b;
      case '/':
        return a / b;
      default:
        return a % b;
    }
  }
  uint64_t primary() {
    const char c = peek();
    if (c == '(') return expect('('), enclosed(')');
    if (std::isdigit(static_cast<unsigned char>(c))) {
      size_t used = 0;
      const uint64_t value = std::stoull(text_.substr(at_), &used, 0);
      at_ += used;
      return value;
    }
    const std::string name = identifier();
    if (name == "i") return i_;
    if (name == "j") return j_;
    if (name == "sum") {
      expect('(');
      const uint64_t n = binary(0), before = j_;
      expect(',');
      const size_t body = at_;
      if (n == 0) fail("a sum of one term or more");
      uint64_t total = 0;
      for (j_ = 0; j_ < n; ++j_) at_ = body, total += binary(0);
      j_ = before;
      expect(')');
      return total;
    }
    if (name == "mma") {
      expect('(');
      const auto& words = buffer(identifier());
      expect(',');
      const uint64_t r = binary(0);
      uint64_t a = 0, b = 2048;
      if (peek() == ',') expect(','), b = binary(0);
      if (peek() == ',') expect(','), a = binary(0);
      expect(')');
      return static_cast<uint64_t>(mma(words, r, a, b));
    }
    if (name == "dot") {
      expect('(');
      const auto& a = buffer(identifier());
      const uint64_t row = (expect(','), binary(0));
      expect(',');
      const auto& b = buffer(identifier());
      const uint64_t column = (expect(','), binary(0)), k = (expect(','), enclosed(')'));
      int64_t total = 0;
      for (uint64_t j = 0; j < k; ++j) total += s8(a, row * k + j) * s8(b, column * k + j);
      return static_cast<uint64_t>(total);
    }
    const auto& words = buffer(name);
    expect('[');
    return words.at(enclosed(']'));
  }

  char peek() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  void expect(char c) {
    if (peek() != c) fail(std::string(1, c));
    ++at_;
  }
  uint64_t enclosed(char end) {
    const uint64_t value = binary(0);
    expect(end);
    return value;
  }
  std::string identifier() {
    std::string name;
    for (peek();
         at_ < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[at_])) || text_[at_] == '_');)
      name += text_[at_++];
    if (name.empty()) fail("a name");
    return name;
  }
  const std::vector<uint32_t>& buffer(const std::string& name) {
    const auto found = buffers_.find(name);
    if (found == buffers_.end()) fail("the name of a buffer instead of \"" + name + "\"");
    return found->second;
  }
  [[noreturn]] void fail(const std::string& expected) const {
    throw std::runtime_error(fmt::format("\"{}\" at {}: expected {}", text_, at_, expected));
  }

  const std::string& text_;
  const Buffers& buffers_;
  uint64_t i_, j_ = 0;
  size_t at_ = 0;
};

}  // namespace

uint32_t evaluate(const std::string& expression, const Buffers& buffers, uint64_t i) {
  return static_cast<uint32_t>(Evaluator(expression, buffers, i).whole());
}

}  // namespace ptxops::virt::testing
