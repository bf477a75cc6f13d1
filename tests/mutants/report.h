// The table, the list of what was not killed as it should be, and the same for programs.
#pragma once

#include <string>
#include <vector>

#include "tests/mutants/harness.h"

namespace ptxops::mutants {

std::string table(const std::vector<Result>& results);
// Every mutant without the right verdict, by verdict and operator.
std::string exceptions(const std::vector<Result>& results);
// One JSON object, a line for each mutant: what the figures are made of.
std::string to_json(const std::vector<Result>& results);
// A mutant, its report and its outcomes, in full.
std::string describe(const Result& result);

// Survivors and right kills of some classes. Refused texts and equivalents are not counted.
struct Score {
  int counted = 0, right = 0, by_results = 0;
};
Score score(const std::vector<Result>& results, const std::vector<ClassKind>& kinds);

}  // namespace ptxops::mutants
