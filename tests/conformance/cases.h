// Rows whose kernels are written by hand: what they need, and what they must give.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tests/conformance/device.h"
#include "tests/conformance/form.h"

namespace ptxops::conformance {

// One hand-written case. `rows`: the table's row ids it covers.
struct WrittenCase {
  std::string chapter, name;
  std::vector<isa::Id> rows;
  std::function<void()> run;  // asserts with GoogleTest
};

// All of them; files add theirs through a WrittenCases object at namespace scope.
std::vector<WrittenCase>& written_cases();

struct WrittenCases {
  explicit WrittenCases(std::vector<WrittenCase> cases) {
    for (WrittenCase& c : cases) written_cases().push_back(std::move(c));
  }
};

// The text of tests/conformance/<path>; throws std::runtime_error when it cannot be read.
std::string read_case(const std::string& path);

}  // namespace ptxops::conformance
