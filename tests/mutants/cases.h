// What is mutated: a configuration of a kernel, with problems to run it on and oracles that know the results.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "driver/jit/expander.h"
#include "tests/mutants/device.h"

namespace ptxops::mutants {

// Lines of a kernel that work together: those whose origin (origin.h) contains the text. A line may serve
// several.
struct Protocol {
  std::string text, name;
};

using Notes = std::map<std::string, int64_t, std::less<>>;

struct Case {
  std::string name;  // "fp8_gemm/dense 128x96"
  std::string path;
  jit::Params params;
  std::vector<Protocol> protocols;
  // Each runs the kernel once and returns how the results differ from the oracle's; empty: they do not. The
  // oracle has computed before: what runs after is the device. Throws driver::Error where the device stops.
  std::vector<std::function<std::string(const Device&, const Notes&)>> problems;
};

// `seed` of all random data.
std::vector<Case> all_cases(uint64_t seed);
void add_gemm_cases(std::vector<Case>& cases, uint64_t seed);
void add_mla_cases(std::vector<Case>& cases, uint64_t seed);
void add_row_cases(std::vector<Case>& cases, uint64_t seed);

}  // namespace ptxops::mutants
