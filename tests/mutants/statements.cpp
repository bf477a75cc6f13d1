#include "tests/mutants/statements.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <stdexcept>

namespace ptxops::mutants {
namespace {

bool name_char(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '$' || c == '%';
}

// The text with comments replaced by spaces: same places, same lines.
std::string without_comments(std::string_view ptx) {
  std::string out(ptx);
  for (size_t i = 0; i + 1 < out.size(); ++i) {
    if (out[i] != '/') continue;
    if (out[i + 1] == '/') {
      while (i < out.size() && out[i] != '\n') out[i++] = ' ';
    } else if (out[i + 1] == '*') {
      const size_t end = std::min(out.find("*/", i + 2), out.size() - 2) + 2;
      for (; i < end; ++i)
        if (out[i] != '\n') out[i] = ' ';
    }
  }
  return out;
}

std::string_view trim(std::string_view s) {
  const size_t first = s.find_first_not_of(" \t\r\n");
  if (first == s.npos) return {};
  return s.substr(first, s.find_last_not_of(" \t\r\n") - first + 1);
}

std::vector<std::string> split_operands(std::string_view text) {
  std::vector<std::string> out;
  int depth = 0;
  size_t begin = 0;
  for (size_t i = 0; i <= text.size(); ++i) {
    const char c = i < text.size() ? text[i] : ',';
    if (c == '{' || c == '[' || c == '(' || c == '<') ++depth;
    if (c == '}' || c == ']' || c == ')' || c == '>') --depth;
    if (c != ',' || (depth > 0 && i < text.size())) continue;
    if (const std::string_view operand = trim(text.substr(begin, i - begin)); !operand.empty())
      out.emplace_back(operand);
    begin = i + 1;
  }
  return out;
}

// Fills guard, opcode and operands from the statement's text without its semicolon.
void split(std::string_view text, Statement& s) {
  text = trim(text);
  const auto word = [&] {
    const size_t end = std::min(text.find_first_of(" \t\r\n"), text.size());
    const std::string_view w = text.substr(0, end);
    text = trim(text.substr(end));
    return std::string(w);
  };
  if (text.starts_with('@')) s.guard = word();
  s.opcode = word();
  s.kind = s.opcode.starts_with('.') ? Statement::Kind::declaration : Statement::Kind::instruction;
  if (s.kind == Statement::Kind::declaration)
    while (text.starts_with('.')) word();  // types, alignment
  s.operands = split_operands(text);
}

}  // namespace

std::vector<Statement> parse_body(std::string_view ptx) {
  const std::string text = without_comments(ptx);
  const size_t entry = text.find(".entry");
  if (entry == text.npos) throw std::invalid_argument("no .entry in the PTX");
  size_t at = text.find('{', std::min(text.find(')', entry), text.size()));
  if (at == text.npos) throw std::invalid_argument("the .entry has no body");
  int line = 1 + static_cast<int>(std::count(text.begin(), text.begin() + static_cast<long>(at), '\n'));

  std::vector<Statement> out;
  int depth = 0;
  do {
    if (std::isspace(static_cast<unsigned char>(text[at]))) {
      line += text[at++] == '\n';
      continue;
    }
    Statement s;
    s.begin = at;
    s.line = line;
    if (text[at] == '{' || text[at] == '}') {
      depth += text[at] == '{' ? 1 : -1;
      s.kind = text[at] == '{' ? Statement::Kind::open : Statement::Kind::close;
      s.end = at + 1;
    } else {
      size_t name_end = at;
      while (name_end < text.size() && name_char(text[name_end])) ++name_end;
      size_t colon = name_end;
      while (colon < text.size() && text[colon] == ' ') ++colon;
      if (name_end > at && colon < text.size() && text[colon] == ':') {
        s.kind = Statement::Kind::label;
        s.opcode = text.substr(at, name_end - at);
        s.end = colon + 1;
      } else {
        const size_t semicolon = text.find(';', at);
        if (semicolon == text.npos) throw std::invalid_argument("the body of the .entry does not end");
        split(std::string_view(text).substr(at, semicolon - at), s);
        s.end = semicolon + 1;
      }
    }
    line += static_cast<int>(
        std::count(text.begin() + static_cast<long>(at), text.begin() + static_cast<long>(s.end), '\n'));
    s.last_line = line;
    at = s.end;
    out.push_back(std::move(s));
  } while (depth > 0 && at < text.size());
  if (depth > 0) throw std::invalid_argument("the body of the .entry does not end");
  return out;
}

std::vector<std::string> names_in(std::string_view text) {
  std::vector<std::string> out;
  for (size_t i = 0; i < text.size();) {
    if (!name_char(text[i])) {
      ++i;
      continue;
    }
    size_t end = i;
    while (end < text.size() && name_char(text[end])) ++end;
    if (!std::isdigit(static_cast<unsigned char>(text[i]))) out.emplace_back(text.substr(i, end - i));
    i = end;
  }
  return out;
}

std::string apply_edits(std::string_view text, std::vector<Edit> edits) {
  std::stable_sort(edits.begin(), edits.end(),
                   [](const Edit& a, const Edit& b) { return a.begin < b.begin; });
  std::string out;
  size_t at = 0;
  for (const Edit& e : edits) {
    if (e.begin < at || e.end < e.begin || e.end > text.size())
      throw std::invalid_argument(fmt::format("edit of {}..{} after {}", e.begin, e.end, at));
    out.append(text.substr(at, e.begin - at)).append(e.text);
    at = e.end;
  }
  return out.append(text.substr(at));
}

std::string blank(std::string_view piece) {
  return std::string(static_cast<size_t>(std::count(piece.begin(), piece.end(), '\n')), '\n');
}

std::string flatten(std::string_view piece) {
  std::string out;
  for (const char c : without_comments(piece)) {
    const bool space = std::isspace(static_cast<unsigned char>(c));
    if (!space)
      out += c;
    else if (!out.empty() && out.back() != ' ')
      out += ' ';
  }
  return std::string(trim(out));
}

}  // namespace ptxops::mutants
