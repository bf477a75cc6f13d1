#include "tests/mutants/origin.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <stdexcept>

#include "driver/jit/source.h"

namespace ptxops::mutants {
namespace {

std::vector<std::string> split_lines(std::string_view text) {
  std::vector<std::string> lines;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    lines.emplace_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

std::string trim(std::string s) {
  s.erase(0, s.find_first_not_of(" \t"));
  s.erase(s.find_last_not_of(" \t") + 1);
  return s;
}

// A template's line without directive mark and comment.
std::string essence(std::string line) {
  line = trim(std::move(line));
  if (line.starts_with("//%")) line = trim(line.substr(3));
  return trim(line.substr(0, line.find("//")));
}

class Files {
 public:
  const std::string& line(const std::string& file, int number) {
    auto [it, fresh] = files_.try_emplace(file);
    if (fresh) {
      const auto text = jit::read_source(file);
      if (!text) throw std::runtime_error("no such kernel file: " + file);
      for (std::string& l : split_lines(*text)) it->second.push_back(essence(std::move(l)));
    }
    return it->second.at(static_cast<size_t>(number - 1));
  }

 private:
  std::map<std::string, std::vector<std::string>> files_;
};

bool is_label(const std::string& line) {
  return line.size() > 1 && line.back() == ':' && std::all_of(line.begin(), line.end() - 1, [](char c) {
           return std::isalnum(static_cast<unsigned char>(c)) || c == '_';
         });
}

std::string stem(const std::string& file) {
  const size_t slash = file.rfind('/') + 1;  // npos + 1 is 0
  return file.substr(slash, file.rfind('.') - slash);
}

}  // namespace

std::vector<std::string> origins(const jit::Expansion& expansion) {
  Files files;
  std::vector<std::string> out(1);
  std::string label = "entry";
  int number = 0;
  for (const std::string& text : split_lines(expansion.ptx)) {
    const jit::LineMap::Location at = expansion.lines.locate(++number);
    if (at.line == 0) {
      out.emplace_back();
      continue;
    }
    if (at.stack.empty() && is_label(trim(text))) label = text.substr(0, text.rfind(':'));
    std::string origin = files.line(at.file, at.line);
    for (const auto& call : at.stack) origin += " < " + files.line(call.file, call.line);
    out.push_back(
        fmt::format("{} @ {}:{}", origin, stem(at.stack.empty() ? at.file : at.stack.back().file), label));
  }
  return out;
}

}  // namespace ptxops::mutants
