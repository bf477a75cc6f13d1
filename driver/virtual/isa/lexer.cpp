#include "driver/virtual/isa/lexer.h"

#include <array>

namespace ptxops::virt::isa {
namespace {

enum : uint8_t { kNameStart = 1, kNamePart = 2, kDigit = 4 };

constexpr std::array<uint8_t, 256> kClass = [] {
  std::array<uint8_t, 256> c{};
  for (int i = 'a'; i <= 'z'; ++i) c[i] = kNameStart | kNamePart;
  for (int i = 'A'; i <= 'Z'; ++i) c[i] = kNameStart | kNamePart;
  for (int i = '0'; i <= '9'; ++i) c[i] = kNamePart | kDigit;
  c['_'] = c['$'] = kNameStart | kNamePart;
  return c;
}();

bool is(char ch, uint8_t mask) {
  return kClass[static_cast<unsigned char>(ch)] & mask;
}

}  // namespace

void Lexer::skip_blanks() {
  while (p_ < end_) {
    char c = *p_;
    if (c == '\n') {
      ++line_;
      ++p_;
    } else if (c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v') {
      ++p_;
    } else if (c == '/' && p_ + 1 < end_ && p_[1] == '/') {
      while (p_ < end_ && *p_ != '\n') ++p_;
    } else if (c == '/' && p_ + 1 < end_ && p_[1] == '*') {
      p_ += 2;
      while (p_ < end_ && !(*p_ == '*' && p_ + 1 < end_ && p_[1] == '/')) {
        if (*p_ == '\n') ++line_;
        ++p_;
      }
      p_ = p_ < end_ ? p_ + 2 : end_;
    } else {
      return;
    }
  }
}

void Lexer::advance() {
  skip_blanks();
  const char* start = p_;
  token_.line = line_;
  auto finish = [&](Token::Kind kind) {
    token_.kind = kind;
    token_.text = {start, static_cast<size_t>(p_ - start)};
  };
  if (p_ >= end_) return finish(Token::Kind::end);
  char c = *p_;
  auto next_is = [&](uint8_t mask) { return p_ + 1 < end_ && is(p_[1], mask); };
  if (is(c, kNameStart) || (c == '%' && next_is(kNameStart))) {
    ++p_;
    while (p_ < end_ && is(*p_, kNamePart)) ++p_;
    return finish(Token::Kind::name);
  }
  if (is(c, kDigit)) {
    ++p_;
    bool hex = c == '0' && p_ < end_ &&
               (*p_ == 'x' || *p_ == 'X' || *p_ == 'f' || *p_ == 'F' || *p_ == 'd' || *p_ == 'D');
    while (p_ < end_) {
      if (is(*p_, kNamePart) || (!hex && *p_ == '.' && next_is(kDigit)))
        ++p_;
      else if (!hex && *p_ == '.' && !next_is(kNameStart))
        ++p_;  // "1."
      else if (!hex && (*p_ == '-' || *p_ == '+') && (p_[-1] == 'e' || p_[-1] == 'E'))
        ++p_;
      else
        break;
    }
    return finish(Token::Kind::number);
  }
  if (c == '.' && next_is(kNamePart)) {
    ++p_;
    while (p_ < end_) {
      if (is(*p_, kNamePart))
        ++p_;
      else if (*p_ == ':' && p_ + 2 < end_ && p_[1] == ':' && is(p_[2], kNamePart))
        p_ += 2;
      else
        break;
    }
    return finish(Token::Kind::directive);
  }
  if (c == '"') {
    ++p_;
    while (p_ < end_ && *p_ != '"' && *p_ != '\n') p_ += (*p_ == '\\' && p_ + 1 < end_) ? 2 : 1;
    if (p_ > end_) p_ = end_;
    token_.kind = Token::Kind::string;
    token_.text = {start + 1, static_cast<size_t>(p_ - start - 1)};
    if (p_ < end_ && *p_ == '"') ++p_;
    return;
  }
  static constexpr std::string_view kPunct = "{}[](),;:=<>+-*/%&|^~!?@.";
  if (kPunct.find(c) == kPunct.npos) {
    ++p_;
    return finish(Token::Kind::bad);
  }
  ++p_;
  if (p_ < end_) {
    char d = *p_;
    if ((c == d && (c == '<' || c == '>' || c == '&' || c == '=')) ||
        (d == '=' && (c == '<' || c == '>' || c == '!')) || (c == '|' && d == '|')) {
      ++p_;
    }
  }
  finish(Token::Kind::punct);
}

Token Lexer::take_opcode() {
  Token t = token_;
  while (p_ < end_) {
    if (is(*p_, kNamePart) || (*p_ == '.' && p_ + 1 < end_ && is(p_[1], kNamePart)))
      ++p_;
    else if (*p_ == ':' && p_ + 2 < end_ && p_[1] == ':' && is(p_[2], kNamePart))
      p_ += 2;
    else
      break;
  }
  t.text = {t.text.data(), static_cast<size_t>(p_ - t.text.data())};
  advance();
  return t;
}

char Lexer::next_char() const {
  const char* p = p_;
  while (p < end_ && (*p == ' ' || *p == '\t')) ++p;
  return p < end_ ? *p : '\0';
}

void Lexer::skip_line() {
  // The look-ahead may already stand on a later line: then nothing is left to skip.
  uint32_t line = token_.line;
  while (token_.kind != Token::Kind::end && token_.line == line) advance();
}

}  // namespace ptxops::virt::isa
