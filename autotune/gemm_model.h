// The analytic cost model of the FP8 GEMM: which configuration, for any shape and SM count, without
// measuring. Deterministic, no I/O. Its cycles are modelled, from published Hopper figures; it ranks, it does
// not predict.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "autotune/gemm_space.h"

namespace ptxops::autotune {

struct GemmShape {
  int form = 0, out = 0;  // of the kernel: 0 dense, 1 contiguous, 2 masked; 0 BF16, 1 FP32
  int64_t m = 0;          // rows to compute in all: dense m, grouped: groups * expected rows
  int64_t n = 0, k = 0;
  int64_t groups = 1;
  int64_t rows_per_group = 0;  // expected
  int sm_count = 132;          // SMs that the plan may use
};

// Modelled cycles of one launch, by what bounds it.
struct GemmCost {
  double cycles = 0;                                                  // of the launch
  double tensor = 0, shared = 0, l2 = 0, promotion = 0, latency = 0;  // of one k-block of one tile
  double fixed = 0;                                                   // of one tile: prologue and epilogue
  int64_t tiles = 0, waves = 0;
  double dram = 0;  // lower bound of the launch by memory traffic
};

GemmCost estimate(const GemmConfig& config, const GemmShape& shape);

struct Ranked {
  const GemmConfig* config = nullptr;
  GemmCost cost;
};
// The `most` best configurations, cheapest first; ties go to the least tensor-core work, then the head's
// order.
std::vector<Ranked> rank(const GemmShape& shape, size_t most);

// The best of them. Throws std::invalid_argument when the space has none (cannot happen for the shipped
// kernel).
const GemmConfig& choose(const GemmShape& shape);

}  // namespace ptxops::autotune
