#include "tests/ops/gemm_model.h"

#include <bit>
#include <cmath>

#include "tests/support/tensor_core_oracle.h"

namespace ptxops::test {

float gemm_element(const uint8_t* a, const uint8_t* b, const std::vector<float>& sfa,
                   const std::vector<float>& sfb, int k) {
  const DotSpec spec{.a = "e4m3", .b = "e4m3", .d = "f32"};
  float total = 0;
  for (int block = 0; block < k / 128; ++block) {
    uint32_t partial = 0;
    for (int step = 0; step < 4; ++step) {
      const int at = block * 128 + step * 32;
      partial = tensor_core_dot(spec, {a + at, a + at + 32}, {b + at, b + at + 32}, partial, step > 0);
    }
    const float scale = sfa[block] * sfb[block];
    total = std::fma(std::bit_cast<float>(partial), scale, total);
  }
  return total;
}

}  // namespace ptxops::test
