// The mutants of all cases, run and judged.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tests/mutants/judge.h"

namespace ptxops::mutants {

struct Options {
  // Only configurations whose name contains `kernel`; only this class, or "synchronisation". Empty: all.
  std::string kernel, fault_class;
  size_t only = 0;  // only this mutant's number; 0: all
  bool every_copy =
      false;            // mutate each copy of an unrolled or expanded line, not just the first and the last
  bool sample = false;  // one of each operator and case class, and no unchecked runs
  ProcessLimits limits;
  uint64_t seed = 1;

  bool takes(const ClassInfo& c) const {
    if (fault_class == "synchronisation") return c.kind != ClassKind::value;
    return fault_class.empty() || fault_class == c.name;
  }
};

struct Result {
  size_t number;  // from 1, the same for the same kernels and operators
  const Subject* subject;
  Mutant mutant;
  Verdict verdict = Verdict::survivor;
  Outcome checked;
  std::optional<Outcome> unchecked;  // the same without the checker: what results alone tell
};

class Harness {
 public:
  // Expands and mutates. Throws what the expander throws.
  explicit Harness(const Options& options);

  // The unchanged kernels, with and without the checker; returns what is wrong with them, which must be
  // nothing.
  std::vector<std::string> run_originals();
  void run(Equivalents& equivalents, const std::function<void(size_t done, size_t total)>& progress);

  // Kernels of ptx/ that nothing here mutates.
  std::vector<std::string> kernels_without_case() const;
  const std::vector<Result>& results() const { return results_; }
  const std::vector<Subject>& subjects() const { return subjects_; }
  std::string text_of(const Result& result) const {
    return apply_edits(result.subject->expansion.ptx, result.mutant.edits);
  }

 private:
  Options options_;
  std::vector<Case> cases_;
  std::vector<Subject> subjects_;
  std::vector<Result> results_;
};

// Whether results alone would have told: they differ, or the device stopped for a reason that hardware knows
// too, or the kernel did not end.
bool caught_by_results(const Outcome& unchecked);

}  // namespace ptxops::mutants
