// e4m3 and bf16 on the host, random numbers that are the same everywhere, and the quantisation rule: what the
// oracles of the kernels are made of.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

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

inline uint16_t bf16(float x) {  // nearest even; finite x
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  return static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}
inline float from_bf16(uint16_t x) {
  return std::bit_cast<float>(static_cast<uint32_t>(x) << 16);
}

inline double from_e4m3(uint8_t x) {  // finite x
  const int exponent = x >> 3 & 15, mantissa = x & 7;
  const double magnitude = exponent ? std::ldexp(8 + mantissa, exponent - 10) : std::ldexp(mantissa, -9);
  return x & 0x80 ? -magnitude : magnitude;
}
// Nearest even, saturating at 448; finite x.
inline uint8_t e4m3(double x) {
  const uint8_t sign = std::signbit(x) ? 0x80 : 0;
  const double magnitude = std::fabs(x);
  if (magnitude >= 448) return sign | 0x7E;
  int exponent = -6;
  if (magnitude >= 0x1p-6) exponent = std::ilogb(magnitude);
  // magnitude in units of the last place, rounded to nearest even by rint; a carry moves into the exponent
  const int units = static_cast<int>(std::rint(std::ldexp(magnitude, 3 - exponent)));
  return sign | static_cast<uint8_t>(((exponent + 7) << 3) + units - 8);
}

inline std::vector<uint16_t> random_bf16(size_t count, uint64_t seed) {
  Random random{seed};
  std::vector<uint16_t> values(count);
  for (uint16_t& v : values)
    v = bf16(static_cast<float>((random.unit() * 2 - 1) *
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
  for (int i = 0; i < 128; ++i) block.q[i] = e4m3(x[i] * inverse);
  return block;
}

}  // namespace ptxops::test
