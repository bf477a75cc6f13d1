// Hand-written kernels: a body between a standard prologue and epilogue.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "tests/conformance/device.h"

namespace ptxops::conformance {

// Registers that every body finds declared; `in`, `out`, `tid`, `lane`, `warp`, `cta`, `rank` (in the
// cluster), `index` (of the thread in the grid) and `mine` (out + 4 * index) are set. r0-r31 .b32, d0-d15
// .b64, h0-h7 .b16, p0-p7 .pred.
struct Body {
  std::string text;
  std::string module;      // declarations in front of the kernel: functions, variables
  std::string directives;  // of the entry: ".maxntid 128, 1, 1"
  Shape shape;
  std::vector<uint32_t> input;
  size_t output_words = 32;
  const char* version = "8.6";
};

std::string kernel_text(const Body& body);

// Runs the body; output words start as 0xA5A5A5A5. A fault is a test failure and gives an empty vector.
std::vector<uint32_t> run_body(const Body& body);

// Runs a body that must fault with a text containing `expected`. Skipped on a GPU.
void expect_fault(const Body& body, const std::string& expected);

inline constexpr uint32_t kPoisonWord = 0xA5A5A5A5u;

// `count` random words, seeded by `purpose` and the run's seed.
std::vector<uint32_t> random_words(size_t count, uint64_t purpose);

}  // namespace ptxops::conformance
