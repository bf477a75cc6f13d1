#include "driver/jit/line_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <stdexcept>

#include "driver/jit/serial.h"

namespace ptxops::jit {
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
    location.stack.push_back(
        {macros_[calls_[c].macro], files_[calls_[c].file], static_cast<int>(calls_[c].line)});
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

void LineMap::write(Writer& out) const {
  for (const auto* names : {&files_, &macros_}) {
    out.number(names->size());
    for (const std::string& name : *names) out.text(name);
  }
  out.array(calls_).array(lines_);
}

LineMap LineMap::read(Reader& in) {
  LineMap map;
  for (auto* names : {&map.files_, &map.macros_})
    for (uint64_t n = in.number(); n > 0; --n) names->emplace_back(in.text());
  map.calls_ = in.array<CallSite>();
  map.lines_ = in.array<Line>();
  for (size_t i = 0; i < map.calls_.size(); ++i) {
    const CallSite& c = map.calls_[i];
    // A parent precedes its child: chains end.
    if (c.macro >= map.macros_.size() || c.file >= map.files_.size() ||
        (c.parent != kNoCall && c.parent >= i))
      throw std::runtime_error("line map: bad call site");
  }
  for (const Line& l : map.lines_)
    if (l.file >= map.files_.size() || (l.call != kNoCall && l.call >= map.calls_.size()))
      throw std::runtime_error("line map: bad line");
  return map;
}

}  // namespace ptxops::jit
