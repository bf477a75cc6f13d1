// Random numbers that are the same everywhere, and the quantisation rule: what the oracles of the kernels are
// made of.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "tests/support/formats.h"

namespace ptxops::test {

// Deterministic 64-bit generator (splitmix64).
struct Random {
  uint64_t state;
  uint64_t next() {
    uint64_t z = (state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  int64_t between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(next() % static_cast<uint64_t>(high - low + 1));
  }
  double unit() { return static_cast<double>(next() >> 11) * 0x1p-53; }  // [0, 1)
};

inline std::vector<uint16_t> random_bf16(size_t count, uint64_t seed) {
  Random random{seed};
  std::vector<uint16_t> values(count);
  for (uint16_t& v : values)
    v = to_bf16(static_cast<float>((random.unit() * 2 - 1) *
                                   std::ldexp(1.0, static_cast<int>(random.between(-6, 6)))));
  return values;
}

inline uint32_t ceil_div(uint64_t a, uint64_t b) {
  return static_cast<uint32_t>((a + b - 1) / b);
}

// The rule of common/fp8.ptx on one block.
struct QuantizedBlock {
  float scale;
  uint8_t q[128];
};
inline QuantizedBlock quantized(const float* x) {
  float amax = 0;
  for (int i = 0; i < 128; ++i) amax = std::max(amax, std::fabs(x[i]));
  const float a = std::max(amax, 1e-4f), inverse = 448.0f / a;
  QuantizedBlock block{.scale = a / 448.0f, .q = {}};
  for (int i = 0; i < 128; ++i) block.q[i] = to_e4m3(x[i] * inverse);
  return block;
}

}  // namespace ptxops::test
