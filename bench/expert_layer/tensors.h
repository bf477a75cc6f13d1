// Random model data and the small number formats, on the host.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ptxops::demo {

float bf16_to_float(uint16_t bits);
uint16_t float_to_bf16(float value);  // round to nearest even; NaN stays NaN
float e4m3_to_float(uint8_t bits);

// splitmix64: a stream for each (seed, index), so that threads need not share one.
struct Random {
  explicit Random(uint64_t seed) : state(seed) {}
  uint64_t next();
  float uniform();  // (0, 1)
  float normal();
  uint64_t state;
};

// BF16 values of a normal distribution.
std::vector<uint16_t> random_bf16(size_t count, float deviation, uint64_t seed);

// A block-scaled e4m3 matrix [groups][n][k]: elements normal with their largest near 448, one scale for 128 x
// 128, such that the dequantised elements have about `deviation`.
struct BlockScaledMatrix {
  int groups = 0, n = 0, k = 0;
  std::vector<uint8_t> elements;
  std::vector<float> scales;  // [groups][ceil(n/128)][k/128]
  double at(int g, int row, int column) const;
};
BlockScaledMatrix random_matrix(int groups, int n, int k, float deviation, uint64_t seed);

}  // namespace ptxops::demo
