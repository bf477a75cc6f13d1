// What the FP8 GEMM must return, bit for bit: the tensor core's published rule for each k32 step, FP32
// promotion for each 128-block, one rounding to BF16. Independent of the library and of the virtual device.
#pragma once

#include <cstdint>
#include <vector>

namespace ptxops::test {

// Sum over 128-blocks of one output element. a, b: k bytes of e4m3; sfa, sfb: one scale a block.
float gemm_element(const uint8_t* a, const uint8_t* b, const std::vector<float>& sfa,
                   const std::vector<float>& sfb, int k);

}  // namespace ptxops::test
