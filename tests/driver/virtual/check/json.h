// A strict reader of JSON (RFC 8259), as another program's would be: throws std::runtime_error at what is
// not.
#pragma once

#include <cctype>
#include <cstdlib>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace ptxops::virt::testing {

struct Json {
  enum class Kind { null, boolean, number, string, array, object } kind = Kind::null;
  std::string text;  // of a string, decoded
  double number = 0;
  std::vector<Json> items;
  std::map<std::string, Json> members;

  const Json& operator[](const std::string& name) const {
    const auto found = members.find(name);
    if (found == members.end()) throw std::runtime_error("JSON: no member \"" + name + "\"");
    return found->second;
  }
};

class JsonReader {
 public:
  static Json read(std::string_view text) {
    JsonReader reader(text);
    Json value = reader.value();
    if (!reader.left_.empty()) reader.fail("text behind the value");
    return value;
  }

 private:
  explicit JsonReader(std::string_view text) : left_(text) {}

  [[noreturn]] void fail(const std::string& why) const {
    throw std::runtime_error("JSON: " + why + " at \"" + std::string(left_.substr(0, 40)) + "\"");
  }
  char next() {
    if (left_.empty()) fail("unexpected end");
    const char c = left_.front();
    left_.remove_prefix(1);
    return c;
  }
  bool skip(char c) {
    if (left_.empty() || left_.front() != c) return false;
    left_.remove_prefix(1);
    return true;
  }
  void expect(char c) {
    if (!skip(c)) fail(std::string("expected ") + c);
  }
  bool skip(std::string_view word) {
    if (!left_.starts_with(word)) return false;
    left_.remove_prefix(word.size());
    return true;
  }

  // The writer puts no white space between tokens.
  Json value() {
    Json v;
    if (skip("null")) return v;
    if (skip("true") || skip("false")) {
      v.kind = Json::Kind::boolean;
    } else if (!left_.empty() && left_.front() == '"') {
      v.kind = Json::Kind::string, v.text = string();
    } else if (skip('[')) {
      v.kind = Json::Kind::array;
      if (skip(']')) return v;
      do v.items.push_back(value());
      while (skip(','));
      expect(']');
    } else if (skip('{')) {
      v.kind = Json::Kind::object;
      if (skip('}')) return v;
      do {
        const std::string name = string();
        expect(':');
        if (!v.members.emplace(name, value()).second) fail("\"" + name + "\" twice");
      } while (skip(','));
      expect('}');
    } else {
      v.kind = Json::Kind::number, v.number = number();
    }
    return v;
  }
  double number() {
    size_t length = 0;
    while (length < left_.size() && (std::isdigit(static_cast<unsigned char>(left_[length])) ||
                                     std::string_view("+-.eE").find(left_[length]) != std::string_view::npos))
      ++length;
    const std::string digits(left_.substr(0, length));
    char* end = nullptr;
    const double number = std::strtod(digits.c_str(), &end);
    if (digits.empty() || *end) fail("expected a value");
    left_.remove_prefix(length);
    return number;
  }
  std::string string() {
    expect('"');
    std::string out;
    for (char c = next(); c != '"'; c = next()) {
      if (static_cast<unsigned char>(c) < 0x20) fail("control character in a string");
      if (c == '\\') {
        escape(out);
      } else {
        out += c;
        follow(out, static_cast<unsigned char>(c));
      }
    }
    return out;
  }
  // The rest of a UTF-8 sequence.
  void follow(std::string& out, unsigned char first) {
    const int more = first < 0x80 ? 0 : first >= 0xC2 && first < 0xE0 ? 1 : (first & 0xF0) == 0xE0 ? 2 : 3;
    if (first >= 0x80 && (first < 0xC2 || first > 0xF4)) fail("not UTF-8");
    for (int i = 0; i < more; ++i) {
      const char c = next();
      if ((static_cast<unsigned char>(c) & 0xC0) != 0x80) fail("not UTF-8");
      out += c;
    }
  }
  void escape(std::string& out) {
    const char c = next();
    static constexpr std::string_view kNames = "\"\\/bfnrt", kValues = "\"\\/\b\f\n\r\t";
    if (c != 'u') {
      const size_t at = kNames.find(c);
      if (at == kNames.npos) fail("unknown escape");
      out += kValues[at];
      return;
    }
    std::string digits;
    for (int i = 0; i < 4; ++i) digits += next();
    char* end = nullptr;
    const unsigned long code = std::strtoul(digits.c_str(), &end, 16);
    if (*end) fail("bad \\u");
    if (code < 0x80) {
      out += static_cast<char>(code);
    } else if (code < 0x800) {
      out += static_cast<char>(0xC0 | code >> 6);
      out += static_cast<char>(0x80 | (code & 63));
    } else {
      out += static_cast<char>(0xE0 | code >> 12);
      out += static_cast<char>(0x80 | (code >> 6 & 63));
      out += static_cast<char>(0x80 | (code & 63));
    }
  }

  std::string_view left_;
};

}  // namespace ptxops::virt::testing
