#include "tests/fuzz/mutator.h"

#include <algorithm>
#include <cctype>
#include <string_view>
#include <vector>

namespace ptxops::fuzz {
namespace {

constexpr std::string_view kNumbers[] = {"0",
                                         "1",
                                         "-1",
                                         "2",
                                         "31",
                                         "32",
                                         "64",
                                         "127",
                                         "128",
                                         "255",
                                         "256",
                                         "1024",
                                         "65535",
                                         "65536",
                                         "232448",
                                         "1048576",
                                         "16777216",
                                         "2147483647",
                                         "-2147483648",
                                         "4294967295",
                                         "4294967296",
                                         "1099511627776",
                                         "9223372036854775807",
                                         "-9223372036854775808",
                                         "18446744073709551615",
                                         "0x7fffffffffffffff",
                                         "0f7FC00000",
                                         "0d7FF0000000000000",
                                         "1e308"};
constexpr std::string_view kWrappers[] = {"()", "{}", "[]", "<>", "\"\"", "{{}}"};

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '%' || c == '$';
}

// Words, runs of blanks, single other characters.
std::vector<std::string_view> tokens_of(std::string_view text) {
  std::vector<std::string_view> tokens;
  for (size_t at = 0; at < text.size();) {
    size_t end = at + 1;
    if (is_word(text[at]))
      while (end < text.size() && is_word(text[end])) ++end;
    else if (text[at] == ' ')
      while (end < text.size() && text[end] == ' ') ++end;
    tokens.push_back(text.substr(at, end - at));
    at = end;
  }
  return tokens;
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size() - 1) + 1;
    lines.push_back(text.substr(at, end - at));
    at = end;
  }
  return lines;
}

std::string join(const std::vector<std::string_view>& pieces) {
  std::string text;
  for (const std::string_view p : pieces) text += p;
  return text;
}

void mutate_pieces(std::vector<std::string_view>& pieces, const std::vector<std::string_view>& others,
                   Random& random) {
  const auto at = [&](size_t i) { return pieces.begin() + static_cast<std::ptrdiff_t>(i); };
  const size_t i = random.below(pieces.size());
  switch (random.below(5)) {
    case 0:  // remove a few
      pieces.erase(at(i), at(std::min(pieces.size(), i + 1 + random.below(4))));
      break;
    case 1:  // repeat one, now and then often
      pieces.insert(at(i), random.one_in(8) ? 1 + random.below(200) : 1, std::string_view(pieces[i]));
      break;
    case 2:
      std::swap(pieces[i], pieces[random.below(pieces.size())]);
      break;
    case 3:
      pieces[i] = random.pick(others);
      break;
    case 4:
      pieces.insert(at(i), random.pick(others));
      break;
  }
}

}  // namespace

std::string mutate_text(const std::string& text, const std::string& other, Random& random) {
  if (text.empty()) return other;
  const std::string_view source = other.empty() ? text : other;
  if (random.one_in(3)) {
    auto lines = lines_of(text);
    mutate_pieces(lines, lines_of(source), random);
    return join(lines);
  }
  auto tokens = tokens_of(text);
  const auto others = tokens_of(source);
  for (size_t n = 1 + random.below(3); n > 0 && !tokens.empty(); --n) {
    const size_t i = random.below(tokens.size());
    switch (random.below(4)) {
      case 0: {  // a number, preferably in the place of one
        size_t k = i;
        for (size_t tries = 0; tries < tokens.size(); ++tries, k = (k + 1) % tokens.size())
          if (std::isdigit(static_cast<unsigned char>(tokens[k][0]))) break;
        tokens[k] = random.pick(kNumbers);
        break;
      }
      case 1: {  // brackets around a few
        const std::string_view w = random.pick(kWrappers);
        const auto to = static_cast<std::ptrdiff_t>(std::min(tokens.size(), i + 1 + random.below(6)));
        tokens.insert(tokens.begin() + to, w.substr(w.size() / 2));
        tokens.insert(tokens.begin() + static_cast<std::ptrdiff_t>(i), w.substr(0, w.size() / 2));
        break;
      }
      default:
        mutate_pieces(tokens, others, random);
    }
  }
  return join(tokens);
}

std::string mutate_bytes(const std::string& bytes, Random& random) {
  std::string out = bytes;
  for (size_t n = 1 + random.below(4); n > 0; --n) {
    const size_t at = random.below(out.size() + 1);
    switch (random.below(4)) {
      case 0:
        out.erase(at, 1 + random.below(8));
        break;
      case 1:
        if (at < out.size()) out[at] = static_cast<char>(random.bits());
        break;
      case 2:
        out.insert(at, 1 + random.below(8), static_cast<char>(random.bits()));
        break;
      case 3:
        if (!out.empty()) out.insert(at, out.substr(random.below(out.size()), random.below(32)));
        break;
    }
  }
  return out;
}

}  // namespace ptxops::fuzz
