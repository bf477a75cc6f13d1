// How ALU handlers see a lane: C++ types for the PTX types, and their image in the register frame.
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

#include "driver/virtual/exec/op.h"

// Semantics are small functions that must vanish into the lane loops of every SIMD target.
#define PTXOPS_ALU __attribute__((always_inline)) static inline

namespace ptxops::virt::alu {

using i128 = __int128;
using u128 = unsigned __int128;

// Values whose arithmetic is done by numerics/ on their bits.
struct F16 {
  uint16_t bits;
};
struct BF16 {
  uint16_t bits;
};
struct F16x2 {
  uint32_t bits;
};
struct BF16x2 {
  uint32_t bits;
};

// Storage of one lane: 4 or 8 bytes, zero-extended.
template <class T>
using LaneBits = std::conditional_t<(sizeof(T) > 4), uint64_t, uint32_t>;

template <class T>
PTXOPS_ALU T from_lane(LaneBits<T> bits) {
  if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(bits);
  } else if constexpr (sizeof(T) == 2) {
    return T{static_cast<uint16_t>(bits)};
  } else {
    return std::bit_cast<T>(bits);
  }
}

template <class T>
PTXOPS_ALU LaneBits<T> to_lane(T value) {
  if constexpr (std::is_integral_v<T>) {
    return static_cast<LaneBits<T>>(static_cast<std::make_unsigned_t<T>>(value));
  } else if constexpr (sizeof(T) == 2) {
    return value.bits;
  } else {
    return std::bit_cast<LaneBits<T>>(value);
  }
}

inline constexpr uint32_t kNanF32 = 0x7fffffffu;  // the only NaN that f32 arithmetic returns
inline constexpr uint16_t kNanF16 = 0x7fffu;      // the same for f16 and bf16

}  // namespace ptxops::virt::alu
