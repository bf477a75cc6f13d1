#include "tests/driver/virtual/check/twin.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <stdexcept>

namespace ptxops::virt::testing {
namespace {

constexpr std::string_view kMark = "//!";

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

// What follows `//! key`, or null.
const char* after(const std::string& line, std::string_view key) {
  const size_t start = line.find_first_not_of(' ');
  const std::string mark = fmt::format("{} {}", kMark, key);
  return start != line.npos && line.compare(start, mark.size(), mark) == 0
             ? line.c_str() + start + mark.size()
             : nullptr;
}

std::vector<uint32_t> numbers(const std::string& text) {
  std::vector<uint32_t> out;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, ',');)
    out.push_back(static_cast<uint32_t>(std::stoul(part, nullptr, 0)));
  return out;
}
Dim3 dim3(const std::string& text) {
  const auto n = numbers(text);
  return {n.at(0), n.size() > 1 ? n[1] : 1, n.size() > 2 ? n[2] : 1};
}

template <class T>
T named(const std::map<std::string, T>& names, const std::string& name) {
  const auto found = names.find(name);
  if (found == names.end()) throw std::runtime_error("unknown word \"" + name + "\"");
  return found->second;
}

class Words {
 public:
  explicit Words(const std::string& text) : in_(text) {}
  std::string next() {
    std::string word;
    if (!(in_ >> word)) throw std::runtime_error("a word is missing");
    return word;
  }
  bool more(std::string& word) { return static_cast<bool>(in_ >> word); }

 private:
  std::istringstream in_;
};

Twin::Launch launch(Words words) {
  Twin::Launch l;
  for (std::string word; words.more(word);) {
    if (word == "grid")
      l.grid = dim3(words.next());
    else if (word == "block")
      l.block = dim3(words.next());
    else if (word == "cluster")
      l.cluster = dim3(words.next());
    else if (word == "smem")
      l.smem = static_cast<uint32_t>(std::stoul(words.next()));
    else if (word == "programmatic")
      l.programmatic = true;
    else
      l.entry = word;
  }
  return l;
}

Twin::Parameter buffer(Words words) {
  Twin::Parameter p;
  p.name = words.next();
  p.words = static_cast<uint32_t>(std::stoul(words.next()));
  p.bytes = 4 * p.words;
  p.fill = named<Twin::Fill>({{"random", Twin::Fill::random},
                              {"zero", Twin::Fill::zero},
                              {"ones", Twin::Fill::ones},
                              {"fresh", Twin::Fill::fresh}},
                             words.next());
  for (std::string word; words.more(word);) {
    if (word == "bytes")
      p.bytes = static_cast<uint32_t>(std::stoul(words.next()));
    else
      p.place = named<Twin::Place>(
          {{"host", Twin::Place::host}, {"peer", Twin::Place::peer}, {"freed", Twin::Place::freed}}, word);
  }
  return p;
}

Twin::Parameter map(Words words) {
  Twin::Parameter p;
  p.kind = Twin::Parameter::Kind::map;
  p.name = words.next();
  TensorMap& m = p.map;
  for (int d = 0; d < 5; ++d) m.global_dim[d] = m.box_dim[d] = m.element_stride[d] = 1;
  std::string word = words.next();
  if (word != "of") throw std::runtime_error("expected \"of BUFFER\"");
  p.of = words.next();
  m.type = named<TensorMapType>({{"u8", TensorMapType::kU8},
                                 {"u16", TensorMapType::kU16},
                                 {"u32", TensorMapType::kU32},
                                 {"s32", TensorMapType::kS32},
                                 {"bf16", TensorMapType::kBF16},
                                 {"f32", TensorMapType::kF32}},
                                words.next());
  while (words.more(word)) {
    if (word == "dims") {
      const auto n = numbers(words.next());
      m.rank_minus_1 = static_cast<uint8_t>(n.size() - 1);
      for (size_t d = 0; d < n.size(); ++d) m.global_dim[d] = n[d];
      uint64_t stride = element_bytes(m.type);
      for (size_t d = 0; d + 1 < n.size(); ++d) m.global_stride[d] = stride *= n[d];
    } else if (word == "box") {
      const auto n = numbers(words.next());
      for (size_t d = 0; d < n.size(); ++d) m.box_dim[d] = n[d];
    } else if (word == "swizzle") {
      m.swizzle = named<TensorMapSwizzle>(
          {{"32", TensorMapSwizzle::k32B}, {"64", TensorMapSwizzle::k64B}, {"128", TensorMapSwizzle::k128B}},
          words.next());
    } else if (word == "interleave") {
      m.interleave = named<TensorMapInterleave>(
          {{"16", TensorMapInterleave::k16B}, {"32", TensorMapInterleave::k32B}}, words.next());
    } else if (word == "global") {
      p.in_global = true;
    } else {
      throw std::runtime_error("unknown word \"" + word + "\"");
    }
  }
  return p;
}

Twin::Expectation expectation(const std::string& text) {
  Twin::Expectation e;
  const size_t open = text.find('['), close = text.find(']'), equals = text.find('=');
  if (open == text.npos || close == text.npos || equals == text.npos || equals < close)
    throw std::runtime_error("expected BUFFER[i] = EXPRESSION");
  e.buffer = text.substr(0, open);
  e.buffer.erase(0, e.buffer.find_first_not_of(' '));
  e.expression = text.substr(equals + 1);
  const std::string index = text.substr(open + 1, close - open - 1);
  if (index == "i") {
    e.last = UINT32_MAX;  // until the end
  } else {
    const size_t dots = index.find("..");
    e.first = static_cast<uint32_t>(std::stoul(index));
    e.last = dots == index.npos ? e.first : static_cast<uint32_t>(std::stoul(index.substr(dots + 2)));
  }
  return e;
}

}  // namespace

std::string Twin::expand(Variant variant) const {
  const char* key = variant == Variant::bad ? "bad:" : "good:";
  std::string out;
  for (const std::string& line : lines_of(text)) {
    const char* own = after(line, key);
    out += (own ? own : line) + std::string("\n");
  }
  return out;
}

std::set<uint32_t> Twin::lines_here(Variant variant) const {
  std::set<uint32_t> here;
  uint32_t number = 0;
  for (const std::string& line : lines_of(expand(variant)))
    if (++number; line.find("//! here") != line.npos && !after(line, "good:") && !after(line, "bad:"))
      here.insert(number);
  return here;
}

Twin read_twin(const std::string& path) {
  Twin t;
  t.name = std::filesystem::path(path).stem().string();
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  t.text = text.str();
  uint32_t number = 0;
  bool twins = false;
  for (const std::string& line : lines_of(t.text)) {
    ++number;
    const char* rest;
    try {
      if ((rest = after(line, "launch")))
        t.launches.push_back(launch(Words(rest)));
      else if ((rest = after(line, "buffer")))
        t.parameters.push_back(buffer(Words(rest)));
      else if ((rest = after(line, "map")))
        t.parameters.push_back(map(Words(rest)));
      else if ((rest = after(line, "value"))) {
        Words words(rest);
        t.parameters.push_back({});
        t.parameters.back().kind = Twin::Parameter::Kind::value;
        t.parameters.back().name = words.next();
        t.parameters.back().value = std::stoull(words.next(), nullptr, 0);
      } else if ((rest = after(line, "expect")))
        t.expectations.push_back(expectation(rest));
      else if ((rest = after(line, "also")))
        t.also.insert(Words(rest).next());
      else if (after(line, "ptxas refuses bad"))
        t.ptxas_refuses_bad = true;
      else if (after(line, "bad:") || after(line, "good:"))
        twins = true;
      else if (line.find(kMark) != line.npos && line.find("//! here") == line.npos)
        throw std::runtime_error("unknown directive");
    } catch (const std::exception& e) {
      throw std::runtime_error(fmt::format("{}:{}: {}: {}", path, number, e.what(), line));
    }
  }
  if (t.launches.empty()) throw std::runtime_error(path + ": no //! launch");
  if (twins) t.code = t.name.substr(0, t.name.find('-'));
  return t;
}

std::vector<std::string> files_of(const std::string& folder, const std::string& suffix) {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.path().extension() == suffix) files.push_back(entry.path().string());
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace ptxops::virt::testing
