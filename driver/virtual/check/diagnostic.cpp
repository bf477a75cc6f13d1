#include "driver/virtual/check/diagnostic.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <vector>

namespace ptxops::virt {
namespace {

using enum Level;  // the names of policy.def

constexpr Rule kRules[] = {
#define DIAGNOSTIC(code, slug, level, title, remedy, reason) {#code, slug, level, title, remedy, reason},
#include "driver/virtual/check/policy.def"
#undef DIAGNOSTIC
};

std::string_view trim(std::string_view s) {
  const size_t first = s.find_first_not_of(" \t\r");
  if (first == s.npos) return {};
  return s.substr(first, s.find_last_not_of(" \t\r") - first + 1);
}

// Lines `CODE = error|pedantic|off`; # begins a comment.
void override_from(const char* path, std::vector<Level>& levels) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error(fmt::format("PTXOPS_CHECK_POLICY: cannot read \"{}\"", path));
  std::string text;
  for (int number = 1; std::getline(file, text); ++number) {
    std::string_view line = text;
    line = trim(line.substr(0, line.find('#')));
    if (line.empty()) continue;
    const size_t equals = line.find('=');
    const std::string_view code = trim(line.substr(0, equals));
    const std::string_view level = equals == line.npos ? "" : trim(line.substr(equals + 1));
    size_t index = 0;
    while (index < std::size(kRules) && kRules[index].code != code) ++index;
    if (index == std::size(kRules))
      throw std::runtime_error(
          fmt::format("{}:{}: expected the code of a diagnostic, got \"{}\"", path, number, code));
    if (level != "error" && level != "pedantic" && level != "off")
      throw std::runtime_error(fmt::format("{}:{}: expected error, pedantic or off for {}, got \"{}\"", path,
                                           number, code, level));
    levels[index] = level == "error" ? error : level == "pedantic" ? pedantic : off;
  }
}

std::vector<bool> read_policy() {
  std::vector<Level> levels;
  for (const Rule& r : kRules) levels.push_back(r.level);
  if (const char* path = std::getenv("PTXOPS_CHECK_POLICY"); path && *path) override_from(path, levels);
  bool strict = false;
  if (const char* text = std::getenv("PTXOPS_CHECK_PEDANTIC"); text && *text) {
    const std::string_view value = text;
    if (value != "0" && value != "1")
      throw std::runtime_error(fmt::format("PTXOPS_CHECK_PEDANTIC: expected 0 or 1, got \"{}\"", value));
    strict = value == "1";
  }
  std::vector<bool> on;
  for (const Level level : levels) on.push_back(level == error || (strict && level == pedantic));
  return on;
}

std::string who(const Site& s) {
  std::string text = fmt::format("CTA ({},{},{})", s.cta[0], s.cta[1], s.cta[2]);
  if (s.warp >= 0) text += fmt::format(" warp {}", s.warp);
  if (s.lane >= 0) text += fmt::format(" lane {}", s.lane);
  if (!s.thread.empty()) text += fmt::format(" thread {}", s.thread);
  return text;
}

// Bytes of the UTF-8 sequence that `s` begins with; 0: none.
size_t utf8_length(std::string_view s) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(s[i]); };
  const size_t length = byte(0) < 0x80 ? 1 : byte(0) < 0xC2 ? 0 : byte(0) < 0xE0 ? 2 : byte(0) < 0xF0 ? 3 : 4;
  if (length > s.size() || byte(0) > 0xF4) return 0;
  for (size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xC0) != 0x80) return 0;
  return length;
}

// A source line may hold any bytes; what is not UTF-8 is taken as Latin-1.
std::string quoted(std::string_view s) {
  std::string out = "\"";
  while (!s.empty()) {
    const char c = s.front();
    const size_t length = utf8_length(s);
    if (c == '"' || c == '\\')
      (out += '\\') += c;
    else if (length == 0 || static_cast<unsigned char>(c) < 0x20)
      out += fmt::format("\\u{:04x}", static_cast<unsigned char>(c));
    else
      out += s.substr(0, length);
    s.remove_prefix(std::max<size_t>(length, 1));
  }
  return out += '"';
}

}  // namespace

const Rule& rule(Diagnostic id) {
  return kRules[static_cast<size_t>(id)];
}

bool reported(Diagnostic id) {
  static const std::vector<bool> on = read_policy();
  return on[static_cast<size_t>(id)];
}

std::string to_text(const Finding& f) {
  const Rule& r = rule(f.id);
  std::string text = fmt::format("{} {}: {}", r.code, r.slug, f.what.empty() ? r.title : f.what);
  if (!f.kernel.empty()) text += fmt::format("\n  kernel {}", f.kernel);
  for (int i = 0; i < f.site_count; ++i) {
    const Site& s = f.sites[i];
    text += fmt::format("\n  {} {}", who(s), s.action);
    if (!s.proxy.empty()) text += fmt::format(" ({} proxy)", s.proxy);
    text += fmt::format("\n    line {}", s.line);
    if (!s.place.empty()) text += fmt::format(" ({})", s.place);
    text += fmt::format(": {}", s.source);
  }
  if (!f.missing.empty()) text += fmt::format("\n  missing: {}", f.missing);
  return text + fmt::format("\n  remedy: {}", r.remedy);
}

std::string to_json(const Finding& f) {
  const Rule& r = rule(f.id);
  std::string json =
      fmt::format(R"({{"id":{},"slug":{},"title":{},"what":{},"kernel":{},"sites":[)", quoted(r.code),
                  quoted(r.slug), quoted(r.title), quoted(f.what), quoted(f.kernel));
  for (int i = 0; i < f.site_count; ++i) {
    const Site& s = f.sites[i];
    json += fmt::format(
        R"({}{{"cta":[{},{},{}],"warp":{},"lane":{},"line":{},"source":{},"place":{},"action":{},"proxy":{}}})",
        i ? "," : "", s.cta[0], s.cta[1], s.cta[2], s.warp, s.lane, s.line, quoted(s.source), quoted(s.place),
        quoted(s.action), quoted(s.proxy));
  }
  return json + fmt::format(R"(],"missing":{},"remedy":{}}})", quoted(f.missing), quoted(r.remedy));
}

}  // namespace ptxops::virt
