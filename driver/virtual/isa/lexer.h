// Tokens of PTX text: views into it, one at a time, with one token of look-ahead.
#pragma once

#include <cstdint>
#include <string_view>

namespace ptxops::virt::isa {

struct Token {
  enum class Kind : uint8_t {
    end,
    name,       // identifier, including a leading % or $ or _
    directive,  // .name, .shared::cta: `text` includes the dot
    number,     // literal as written
    string,     // "..." without the quotes
    punct,      // one of the operators; two characters for << >> <= >= == != && ||
    bad,        // a character that PTX does not have
  };
  Kind kind = Kind::end;
  std::string_view text;
  uint32_t line = 0;

  bool is(std::string_view s) const { return text == s && kind != Kind::string; }
  bool is(char c) const { return kind == Kind::punct && text.size() == 1 && text[0] == c; }
};

class Lexer {
 public:
  explicit Lexer(std::string_view text) : p_(text.data()), end_(p_ + text.size()) { advance(); }

  const Token& peek() const { return token_; }
  Token take() {
    Token t = token_;
    advance();
    return t;
  }
  // After a name token was peeked: the name extended by all its modifiers, "mad.lo.s32"; empty if spaces
  // part them (the caller then joins directive tokens). Consumes it.
  Token take_opcode();
  // The first character after the peeked token, blanks skipped on the same line.
  char next_char() const;
  // Skips the rest of the line that the peeked token stands on.
  void skip_line();

 private:
  void advance();
  void skip_blanks();

  const char* p_;
  const char* end_;
  uint32_t line_ = 1;
  Token token_;
};

}  // namespace ptxops::virt::isa
