// ptxops-mutants: breaks every kernel of ptx/ in every way that the operators know, and tells which of the
// faults the checker finds.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <fstream>

#include "tests/mutants/report.h"

int main(int argc, char** argv) {
  using namespace ptxops::mutants;
  Options options;
  std::string json, write_ptx, equivalents_path = PTXOPS_MUTANTS_FOLDER "/equivalent.txt";
  bool list = false, quiet = false;
  CLI::App app(
      "Mutation table of the checker. Exit status 1: a survivor that is not on the list of equivalents, a "
      "mutant of "
      "the classes that must be complete without its right id, or a crash of the virtual device.");
  app.add_flag("--sample", options.sample, "a fixed spread, checked runs only");
  app.add_option("--kernel", options.kernel, "only configurations whose name contains this");
  app.add_option("--class", options.fault_class,
                 "only this class (--list names them), or 'synchronisation': all but those of values");
  app.add_option("--only", options.only, "only the mutant with this number, in full");
  app.add_option("--write-ptx", write_ptx, "with --only: write its text to this file");
  app.add_flag("--every-copy", options.every_copy,
               "mutate every copy of an unrolled line, not just the first and the last");
  app.add_option("--seed", options.seed, "of the random data")->capture_default_str();
  app.add_option("--jobs", options.limits.at_once, "processes at a time")->capture_default_str();
  app.add_option("--json", json, "write every mutant and the scores to this file");
  app.add_option("--equivalents", equivalents_path, "the list of equivalent mutants");
  app.add_flag("--list", list,
               "list classes with their ids and reasons, and the number of mutants; run nothing");
  app.add_flag("--quiet", quiet, "the table alone, without the mutants that are not as they should be");
  CLI11_PARSE(app, argc, argv);

  try {
    Equivalents equivalents(equivalents_path), limits(PTXOPS_MUTANTS_FOLDER "/limits.txt");
    Harness harness(options);
    if (harness.results().empty()) {
      fmt::print(stderr, "no mutant of kernel \"{}\", class \"{}\"\n", options.kernel, options.fault_class);
      return 2;
    }
    if (!write_ptx.empty()) {
      if (harness.results().size() != 1) throw std::runtime_error("--write-ptx needs --only");
      std::ofstream(write_ptx) << harness.text_of(harness.results().front());
    }
    if (list) {
      for (const ClassInfo& c : kClasses) {
        size_t count = 0;
        for (const Result& r : harness.results()) count += info(r.mutant.fault).name == c.name;
        fmt::print("{} ({} mutants): {}\n  ids: {}\n  {}\n", c.name, count, c.title, c.ids, c.why);
      }
      return 0;
    }
    fmt::print("seed {}; {} mutants of {} configurations\n", options.seed, harness.results().size(),
               harness.subjects().size());
    if (const std::vector<std::string> wrong = harness.run_originals(); !wrong.empty()) {
      for (const std::string& w : wrong) fmt::print("UNCHANGED {}\n", w);
      return 1;
    }
    for (const std::string& path : harness.kernels_without_case()) fmt::print("NO CASE for {}\n", path);
    const bool bar = isatty(STDERR_FILENO);
    harness.run(equivalents, [&](size_t done, size_t total) {
      if (!bar) return;
      const size_t filled = 40 * done / total;
      fmt::print(stderr, "\r[{:=<{}}{:<{}}] {} of {} runs", "", filled, "", 40 - filled, done, total);
      if (done == total) fmt::print(stderr, "\r{:<80}\r", "");
    });
    const std::vector<Result>& results = harness.results();
    if (options.only) {
      fmt::print("{}", describe(results.front()));
      return 0;
    }
    if (!quiet) fmt::print("{}\n", exceptions(results));
    fmt::print("{}", table(results));
    if (!json.empty()) std::ofstream(json) << to_json(results);

    bool good = true;
    for (const Result& r : results) {
      const bool counts =
          r.verdict != Verdict::right && r.verdict != Verdict::equivalent && r.verdict != Verdict::refused;
      const bool certain = info(r.mutant.fault).kind == ClassKind::certain;
      if (counts && (certain || r.verdict == Verdict::survivor || r.verdict == Verdict::crashed) &&
          limits.find(r.mutant.op, r.subject->of->name, place(*r.subject, r.mutant)) < 0) {
        fmt::print("UNEXPECTED {}: {}", kVerdictNames[static_cast<size_t>(r.verdict)], describe(r));
        good = false;
      }
    }
    if (!options.sample && !harness.kernels_without_case().empty()) good = false;
    const bool complete = !options.sample && options.kernel.empty() && options.fault_class.empty();
    if (complete)
      for (const auto& [list, name] : {std::pair{&equivalents, "equivalent"}, {&limits, "limit"}})
        for (const std::string& record : list->unused()) {
          fmt::print("no mutant matches the {} {}\n", name, record);
          good = false;
        }
    return good ? 0 : 1;
  } catch (const std::exception& e) {
    fmt::print(stderr, "ptxops-mutants: {}\n", e.what());
    return 2;
  }
}
