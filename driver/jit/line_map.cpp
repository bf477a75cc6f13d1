#include "driver/jit/line_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <stdexcept>

namespace ptxops::jit {
namespace {

void put(std::string& out, uint32_t value) { out.append(reinterpret_cast<const char*>(&value), sizeof value); }

void put(std::string& out, const std::vector<std::string>& strings) {
  put(out, static_cast<uint32_t>(strings.size()));
  for (const std::string& s : strings) {
    put(out, static_cast<uint32_t>(s.size()));
    out += s;
  }
}

template <typename T>
void put_array(std::string& out, const std::vector<T>& values) {
  put(out, static_cast<uint32_t>(values.size()));
  out.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

struct Reader {
  std::string_view bytes;

  std::string_view take(size_t n) {
    if (n > bytes.size()) throw std::runtime_error("line map: truncated");
    const auto piece = bytes.substr(0, n);
    bytes.remove_prefix(n);
    return piece;
  }
  uint32_t number() {
    uint32_t value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  std::vector<std::string> strings() {
    std::vector<std::string> out;
    for (uint32_t n = number(); n > 0; --n) out.emplace_back(take(number()));
    return out;
  }
  template <typename T>
  std::vector<T> array() {
    const size_t n = number();
    const auto piece = take(n * sizeof(T));
    std::vector<T> out(n);
    if (n) std::memcpy(out.data(), piece.data(), piece.size());
    return out;
  }
};

}  // namespace

uint32_t LineMap::add_file(std::string path) {
  files_.push_back(std::move(path));
  return static_cast<uint32_t>(files_.size() - 1);
}

uint32_t LineMap::add_macro(std::string_view name) {
  const auto it = std::find(macros_.begin(), macros_.end(), name);
  if (it != macros_.end()) return static_cast<uint32_t>(it - macros_.begin());
  macros_.emplace_back(name);
  return static_cast<uint32_t>(macros_.size() - 1);
}

uint32_t LineMap::add_call(std::string_view macro, uint32_t file, uint32_t line, uint32_t parent) {
  calls_.push_back({add_macro(macro), file, line, parent});
  return static_cast<uint32_t>(calls_.size() - 1);
}

LineMap::Location LineMap::locate(int ptx_line) const {
  if (ptx_line < 1 || ptx_line > line_count()) return {};
  const Line& line = lines_[static_cast<size_t>(ptx_line - 1)];
  Location location{files_[line.file], static_cast<int>(line.line), {}};
  for (uint32_t c = line.call; c != kNoCall; c = calls_[c].parent)
    location.stack.push_back({macros_[calls_[c].macro], files_[calls_[c].file], static_cast<int>(calls_[c].line)});
  return location;
}

std::string LineMap::describe(int ptx_line) const {
  const Location at = locate(ptx_line);
  if (at.line == 0) return {};
  std::string text = fmt::format("{}:{}", at.file, at.line);
  for (size_t i = 0; i < at.stack.size(); ++i)
    text += fmt::format("{}in {}, called at {}:{}", i ? ", " : " (", at.stack[i].macro, at.stack[i].file,
                        at.stack[i].line);
  if (!at.stack.empty()) text += ")";
  return text;
}

std::string LineMap::remap_log(std::string_view log) const {
  constexpr std::string_view kWord = "line ";
  std::string out;
  for (size_t pos = 0; pos < log.size();) {
    const size_t found = log.find(kWord, pos);
    if (found == log.npos) return out.append(log.substr(pos));
    const char* begin = log.data() + found + kWord.size();
    int number = 0;
    const auto [end, error] = std::from_chars(begin, log.data() + log.size(), number);
    const bool word_start = found == 0 || !isalnum(static_cast<unsigned char>(log[found - 1]));
    const std::string place = error == std::errc() && word_start ? describe(number) : std::string();
    out.append(log.substr(pos, found - pos));
    if (place.empty()) {
      out.append(kWord);
      pos = found + kWord.size();
    } else {
      out += fmt::format("{} [ptx line {}]", place, number);
      pos = static_cast<size_t>(end - log.data());
    }
  }
  return out;
}

void LineMap::serialize(std::string& out) const {
  put(out, files_);
  put(out, macros_);
  put_array(out, calls_);
  put_array(out, lines_);
}

LineMap LineMap::deserialize(std::string_view bytes) {
  Reader reader{bytes};
  LineMap map;
  map.files_ = reader.strings();
  map.macros_ = reader.strings();
  map.calls_ = reader.array<CallSite>();
  map.lines_ = reader.array<Line>();
  if (!reader.bytes.empty()) throw std::runtime_error("line map: trailing bytes");
  for (size_t i = 0; i < map.calls_.size(); ++i) {
    const CallSite& c = map.calls_[i];
    // A parent precedes its child: chains end.
    if (c.macro >= map.macros_.size() || c.file >= map.files_.size() || (c.parent != kNoCall && c.parent >= i))
      throw std::runtime_error("line map: bad call site");
  }
  for (const Line& l : map.lines_)
    if (l.file >= map.files_.size() || (l.call != kNoCall && l.call >= map.calls_.size()))
      throw std::runtime_error("line map: bad line");
  return map;
}

}  // namespace ptxops::jit
