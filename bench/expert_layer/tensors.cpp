#include "bench/expert_layer/tensors.h"

#include <tbb/parallel_for.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

namespace ptxops::demo {

float bf16_to_float(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

uint16_t float_to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float e4m3_to_float(uint8_t bits) {
  const int exponent = bits >> 3 & 15, mantissa = bits & 7;
  float magnitude;
  if (exponent == 15 && mantissa == 7)
    magnitude = NAN;
  else if (exponent == 0)
    magnitude = std::ldexp(static_cast<float>(mantissa), -9);
  else
    magnitude = std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
  return bits & 0x80 ? -magnitude : magnitude;
}

uint64_t Random::next() {
  uint64_t z = (state += 0x9E3779B97F4A7C15u);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}
float Random::uniform() {
  return (static_cast<float>(next() >> 40) + 0.5f) * 0x1p-24f;
}
float Random::normal() {
  return std::sqrt(-2 * std::log(uniform())) * std::cos(6.2831853f * uniform());
}

std::vector<uint16_t> random_bf16(size_t count, float deviation, uint64_t seed) {
  std::vector<uint16_t> out(count);
  Random random(seed);
  for (uint16_t& v : out) v = float_to_bf16(random.normal() * deviation);
  return out;
}

double BlockScaledMatrix::at(int g, int row, int column) const {
  const size_t blocks_k = static_cast<size_t>(k) / 128, blocks_n = (static_cast<size_t>(n) + 127) / 128;
  return static_cast<double>(e4m3_to_float(elements[(static_cast<size_t>(g) * n + row) * k + column])) *
         scales[(g * blocks_n + row / 128) * blocks_k + column / 128];
}

namespace {

// e4m3 of a normal variable with deviation 112 (four deviations reach 448), by its quantile: drawing from
// this table with 16 random bits costs less than computing one.
const std::array<uint8_t, 65536>& normal_quantiles() {
  static const std::array<uint8_t, 65536> table = [] {
    std::array<float, 127> magnitudes;
    for (int b = 0; b < 127; ++b) magnitudes[b] = e4m3_to_float(static_cast<uint8_t>(b));
    std::vector<float> samples(65536);
    Random random(42);
    for (float& s : samples) s = random.normal() * 112;
    std::array<uint8_t, 65536> t;
    for (size_t i = 0; i < t.size(); ++i) {
      const float m = std::min(std::abs(samples[i]), 448.0f);
      const auto above = std::lower_bound(magnitudes.begin(), magnitudes.end() - 1, m);
      const bool lower = above != magnitudes.begin() && m - *(above - 1) < *above - m;
      t[i] = static_cast<uint8_t>((lower ? above - 1 : above) - magnitudes.begin()) |
             (samples[i] < 0 ? 0x80 : 0);
    }
    return t;
  }();
  return table;
}

}  // namespace

BlockScaledMatrix random_matrix(int groups, int n, int k, float deviation, uint64_t seed) {
  BlockScaledMatrix m;
  m.groups = groups, m.n = n, m.k = k;
  m.elements.resize(static_cast<size_t>(groups) * n * k);
  m.scales.resize(static_cast<size_t>(groups) * ((n + 127) / 128) * (k / 128));
  const auto& table = normal_quantiles();
  const size_t rows = static_cast<size_t>(groups) * n;
  tbb::parallel_for(size_t{0}, rows, [&](size_t row) {
    Random random(seed ^ (row + 1) * 0xD1342543DE82EF95u);
    uint8_t* out = m.elements.data() + row * k;
    for (int i = 0; i < k; i += 4) {
      uint64_t r = random.next();
      for (int j = 0; j < 4; ++j, r >>= 16) out[i + j] = table[r & 0xffff];
    }
  });
  Random random(seed ^ 0x5ca1e5);
  for (float& s : m.scales) s = deviation / 112 * (0.5f + random.uniform());
  return m;
}

}  // namespace ptxops::demo
