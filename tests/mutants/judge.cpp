#include "tests/mutants/judge.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <stdexcept>

namespace ptxops::mutants {
namespace {

std::set<std::string> protocols_of(const Subject& subject, int first, int last) {
  std::set<std::string> names;
  for (int line = first; line <= last && line < static_cast<int>(subject.origins.size()); ++line)
    for (const Protocol& p : subject.of->protocols)
      if (!subject.origins[static_cast<size_t>(line)].empty() &&
          subject.origins[static_cast<size_t>(line)].find(p.text) != std::string::npos)
        names.insert(p.name);
  return names;
}

bool lists(std::string_view ids, const std::string& id) {
  return !id.empty() && fmt::format(" {} ", ids).find(fmt::format(" {} ", id)) != std::string::npos;
}

}  // namespace

Finding parse_finding(const std::string& json) {
  Finding f;
  // Quotes in texts are escaped: the keys are found as they stand.
  if (const size_t at = json.find("\"id\":\""); at != json.npos) {
    const size_t begin = at + 6;
    f.id = json.substr(begin, json.find('"', begin) - begin);
  }
  // Its sites; of a deadlock, every warp that waits.
  for (const std::string key : {"\"line\":", " at line "})
    for (size_t at = json.find(key); at != json.npos; at = json.find(key, at + 1)) {
      const int line = std::atoi(json.c_str() + at + key.size());
      if (std::find(f.lines.begin(), f.lines.end(), line) == f.lines.end()) f.lines.push_back(line);
    }
  return f;
}

std::string place(const Subject& subject, const Mutant& m) {
  const std::string& origin = subject.origins.at(static_cast<size_t>(m.line));
  return m.copies > 1 ? fmt::format("{} (copy {} of {})", origin, m.copy, m.copies) : origin;
}

bool right_place(const Subject& subject, const Mutant& m, const std::vector<int>& lines) {
  const std::set<std::string> mine = protocols_of(subject, m.line, m.last_line);
  for (const int line : lines) {
    if (line < 1) continue;
    if ((line >= m.line && line <= m.last_line) || line == m.moved_to ||
        std::find(m.readers.begin(), m.readers.end(), line) != m.readers.end())
      return true;
    for (const std::string& name : protocols_of(subject, line, line))
      if (mine.contains(name)) return true;
  }
  return false;
}

Equivalents::Equivalents(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot read " + path);
  std::string text;
  bool inside = false;
  for (int number = 1; std::getline(file, text); ++number) {
    if (text.starts_with('#')) continue;
    if (text.empty()) {
      inside = false;
      continue;
    }
    if (!inside) records_.emplace_back();
    inside = true;
    Record& r = records_.back();
    const size_t colon = text.find(": ");
    const std::string key = text.substr(0, colon), value = colon == text.npos ? "" : text.substr(colon + 2);
    std::string* field = key == "operator"  ? &r.op
                         : key == "case"    ? &r.name
                         : key == "at"      ? &r.place
                         : key == "because" ? &r.reason
                                            : nullptr;
    if (!field || value.empty() || !field->empty())
      throw std::runtime_error(fmt::format(
          "{}:{}: expected operator, case, at, because, once each, got \"{}\"", path, number, text));
    *field = value;
  }
  for (const Record& r : records_)
    if (r.op.empty() || r.name.empty() || r.place.empty() || r.reason.empty())
      throw std::runtime_error(
          fmt::format("{}: a record is incomplete: operator \"{}\", case \"{}\", at \"{}\"", path, r.op,
                      r.name, r.place));
}

int Equivalents::find(const std::string& op, const std::string& name, const std::string& place) {
  for (size_t i = 0; i < records_.size(); ++i) {
    Record& r = records_[i];
    const auto matches = [](const std::string& pattern, const std::string& value) {
      // A bracket is an address here, not a set.
      std::string escaped;
      for (const char c : pattern) (c == '[' || c == ']' ? escaped += '\\' : escaped) += c;
      return fnmatch(escaped.c_str(), value.c_str(), 0) == 0;
    };
    if (!matches(r.op, op) || !matches(r.name, name) || !matches(r.place, place)) continue;
    r.used = true;
    return static_cast<int>(i);
  }
  return -1;
}

std::vector<std::string> Equivalents::unused() const {
  std::vector<std::string> out;
  for (const Record& r : records_)
    if (!r.used) out.push_back(fmt::format("{} | {} | {}", r.op, r.name, r.place));
  return out;
}

Verdict judge(const Subject& subject, const Mutant& m, const Outcome& checked, Equivalents& equivalents) {
  switch (checked.kind) {
    case Outcome::Kind::right:
      return equivalents.find(m.op, subject.of->name, place(subject, m)) >= 0 ? Verdict::equivalent
                                                                              : Verdict::survivor;
    case Outcome::Kind::wrong:
    case Outcome::Kind::timeout:
      return Verdict::result;
    case Outcome::Kind::refused:
      return Verdict::refused;
    case Outcome::Kind::crashed:
      return Verdict::crashed;
    case Outcome::Kind::fault:
      break;
  }
  const Finding f = parse_finding(checked.finding);
  if (!lists(info(m.fault).ids, f.id)) return Verdict::other_id;
  return right_place(subject, m, f.lines) ? Verdict::right : Verdict::elsewhere;
}

}  // namespace ptxops::mutants
