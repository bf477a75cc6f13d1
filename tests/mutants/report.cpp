#include "tests/mutants/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

namespace ptxops::mutants {
namespace {

struct Row {
  std::array<int, std::size(kVerdictNames)> verdicts{};
  int total = 0, unchecked = 0, by_results = 0;

  void count(const Result& r) {
    ++verdicts[static_cast<size_t>(r.verdict)];
    ++total;
    if (!counts(r) || !r.unchecked) return;
    ++unchecked;
    by_results += caught_by_results(*r.unchecked);
  }
  static bool counts(const Result& r) {
    return r.verdict != Verdict::equivalent && r.verdict != Verdict::refused;
  }
  int operator[](Verdict v) const { return verdicts[static_cast<size_t>(v)]; }
};

constexpr const char* kLine = "{:<58}{:>9}{:>9}{:>11}{:>7}{:>8}{:>11}{:>12}{:>10}{:>10}\n";

std::string line(const std::string& title, const Row& row) {
  const int counted = row.total - row[Verdict::equivalent] - row[Verdict::refused];
  const auto percent = [](int part, int whole) {
    return whole ? fmt::format("{:.1f} %", 100.0 * part / whole) : std::string("-");
  };
  return fmt::format(kLine, title, counted, row[Verdict::right], row[Verdict::elsewhere],
                     row[Verdict::other_id] + row[Verdict::crashed], row[Verdict::result],
                     row[Verdict::survivor], row[Verdict::equivalent], percent(row[Verdict::right], counted),
                     percent(row.by_results, row.unchecked));
}

std::string quoted(const std::string& s) {
  std::string out = "\"";
  for (const char c : s) {
    if (c == '"' || c == '\\')
      (out += '\\') += c;
    else if (static_cast<unsigned char>(c) < 0x20)
      out += fmt::format("\\u{:04x}", static_cast<unsigned char>(c));
    else
      out += c;
  }
  return out += '"';
}

constexpr const char* kOutcomeNames[] = {"right", "wrong", "fault", "refused", "timeout", "crashed"};
const char* name(Outcome::Kind kind) {
  return kOutcomeNames[static_cast<size_t>(kind)];
}

std::string headline(const Result& r) {
  return fmt::format("#{} {}: {}{}{} (line {})", r.number, r.subject->of->name, r.mutant.op,
                     r.mutant.detail.empty() ? "" : ": ", r.mutant.detail, r.mutant.line);
}
}  // namespace

Score score(const std::vector<Result>& results, const std::vector<ClassKind>& kinds) {
  Score s;
  for (const Result& r : results) {
    if (!Row::counts(r) || std::find(kinds.begin(), kinds.end(), info(r.mutant.fault).kind) == kinds.end())
      continue;
    ++s.counted;
    s.right += r.verdict == Verdict::right;
    s.by_results += r.unchecked && caught_by_results(*r.unchecked);
  }
  return s;
}

std::string table(const std::vector<Result>& results) {
  std::string out =
      fmt::format(kLine, "", "", "right", "right id", "other", "result", "", "", "right", "results");
  out += fmt::format(kLine, "class", "mutants", "id", "elsewhere", "id", "only", "survivors", "equivalent",
                     "id", "alone");
  const std::pair<ClassKind, const char*> kinds[] = {
      {ClassKind::certain, "to be killed to the last one"},
      {ClassKind::checked, "other faults of synchronisation"},
      {ClassKind::value, "legal programs that compute something else"}};
  Row synchronisation, all;
  for (const auto& [kind, title] : kinds) {
    Row sum;
    out += fmt::format("-- {}\n", title);
    for (size_t c = 0; c < std::size(kClasses); ++c) {
      if (kClasses[c].kind != kind) continue;
      Row row;
      for (const Result& r : results)
        if (r.mutant.fault == static_cast<FaultClass>(c)) {
          row.count(r);
          sum.count(r);
          all.count(r);
          if (kind != ClassKind::value) synchronisation.count(r);
        }
      if (row.total) out += line(std::string(kClasses[c].title), row);
    }
    out += line("   together", sum);
  }
  out += line("all faults of synchronisation", synchronisation);
  out += line("all mutants", all);
  if (all[Verdict::refused])
    out += fmt::format("{} more are no programs (the loader refuses them)\n", all[Verdict::refused]);
  if (all[Verdict::crashed])
    out += fmt::format("{} CRASHED the virtual device (counted under other id)\n", all[Verdict::crashed]);
  return out;
}

std::string exceptions(const std::vector<Result>& results) {
  std::map<std::pair<Verdict, std::string>, std::vector<const Result*>> groups;
  for (const Result& r : results)
    if (r.verdict != Verdict::right && r.verdict != Verdict::equivalent && r.verdict != Verdict::refused)
      groups[{r.verdict, fmt::format("{} / {}", info(r.mutant.fault).name, r.mutant.op)}].push_back(&r);
  std::string out;
  for (const auto& [key, members] : groups) {
    out += fmt::format("{}: {} ({})\n", kVerdictNames[static_cast<size_t>(key.first)], key.second,
                       members.size());
    for (const Result* r : members) {
      const Finding f = parse_finding(r->checked.finding);
      out += fmt::format("  {}\n      at {}\n", headline(*r), place(*r->subject, r->mutant));
      if (!f.id.empty())
        out += fmt::format("      {} at {}\n", f.id, fmt::join(f.lines, ", "));
      else if (!r->checked.text.empty())
        out += fmt::format("      {}\n", r->checked.text.substr(0, 160));
    }
  }
  return out;
}

std::string to_json(const std::vector<Result>& results) {
  std::string out;
  const auto figures = [&](const char* key, const std::vector<ClassKind>& kinds) {
    const Score s = score(results, kinds);
    return fmt::format("\"{}\":{{\"mutants\":{},\"right\":{},\"results\":{}}}", key, s.counted, s.right,
                       s.by_results);
  };
  out += fmt::format("{{{},\n{},\n{},\n\"mutants\":[", figures("certain", {ClassKind::certain}),
                     figures("synchronisation", {ClassKind::certain, ClassKind::checked}),
                     figures("all", {ClassKind::certain, ClassKind::checked, ClassKind::value}));
  for (const Result& r : results) {
    const Finding f = parse_finding(r.checked.finding);
    out += fmt::format(
        "{}\n{{\"number\":{},\"case\":{},\"class\":{},\"operator\":{},\"detail\":{},\"line\":{},\"place\":{}"
        ",\"verdict\":{},"
        "\"id\":{},\"lines\":[{}],\"text\":{},\"unchecked\":{}}}",
        &r == &results.front() ? "" : ",", r.number, quoted(r.subject->of->name),
        quoted(std::string(info(r.mutant.fault).name)), quoted(r.mutant.op), quoted(r.mutant.detail),
        r.mutant.line, quoted(place(*r.subject, r.mutant)),
        quoted(kVerdictNames[static_cast<size_t>(r.verdict)]), quoted(f.id), fmt::join(f.lines, ","),
        quoted(r.checked.text), r.unchecked ? quoted(name(r.unchecked->kind)) : "null");
  }
  return out + "\n]}\n";
}

std::string describe(const Result& r) {
  std::string out =
      fmt::format("{}\nat {}\nclass {}: acceptable are {}\nverdict: {}\nchecked: {} {}\n", headline(r),
                  place(*r.subject, r.mutant), info(r.mutant.fault).name, info(r.mutant.fault).ids,
                  kVerdictNames[static_cast<size_t>(r.verdict)], name(r.checked.kind), r.checked.text);
  if (r.unchecked) out += fmt::format("unchecked: {} {}\n", name(r.unchecked->kind), r.unchecked->text);
  for (const int site : parse_finding(r.checked.finding).lines)
    if (site > 0 && site < static_cast<int>(r.subject->origins.size()))
      out += fmt::format("site: line {}: {}\n", site, r.subject->origins[static_cast<size_t>(site)]);
  return out;
}

}  // namespace ptxops::mutants
