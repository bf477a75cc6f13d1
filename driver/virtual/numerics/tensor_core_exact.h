// The rule itself, one output element in integers: align to the largest exponent, truncate, sum exactly,
// round once.
#pragma once

#include <cstdint>

#include "driver/virtual/numerics/tensor_core.h"

namespace ptxops::virt::numerics {

// F: fraction bits kept below the largest exponent.
constexpr int mma_fraction_bits(MmaType t) {
  return t == MmaType::e4m3 || t == MmaType::e5m2 ? 13 : 25;
}
// Fraction bits of an f32 result: FP8 sums leave the tensor core as "E8M13".
constexpr int mma_f32_result_bits(MmaType t) {
  return t == MmaType::e4m3 || t == MmaType::e5m2 ? 13 : 23;
}
// The common exponent never falls below these (only sums far below the smallest normal result can tell).
inline constexpr int kMinExponentF32 = -133;
inline constexpr int kMinExponentF16 = -21;

// One D element from one row of A and one of B (32 B each). `c` and the result are raw f32/f16/s32 bits.
std::uint32_t mma_element(const MmaShape& shape, const std::byte* a_row, const std::byte* b_row,
                          std::uint32_t c);

}  // namespace ptxops::virt::numerics
