// Semantics of logic, shift and byte permutation (PTX ISA 9.7.8, prmt), one lane at a time.
#pragma once

#include "driver/virtual/exec/alu_types.h"

namespace ptxops::virt::alu {

template <class T>
struct And {
  PTXOPS_ALU T apply(T a, T b) { return a & b; }
};
template <class T>
struct Or {
  PTXOPS_ALU T apply(T a, T b) { return a | b; }
};
template <class T>
struct Xor {
  PTXOPS_ALU T apply(T a, T b) { return a ^ b; }
};
template <class T>
struct Not {
  PTXOPS_ALU T apply(T a) { return static_cast<T>(~a); }
};
template <class T>
struct Cnot {
  PTXOPS_ALU T apply(T a) { return a == 0; }
};

// Shift amounts beyond the width clamp: zeros, or copies of the sign.
template <class T>
struct Shl {
  PTXOPS_ALU T apply(T a, uint32_t n) {
    constexpr uint32_t bits = 8 * sizeof(T);
    return n >= bits ? T{0} : static_cast<T>(a << (n & (bits - 1)));
  }
};
template <class T>
struct Shr {
  PTXOPS_ALU T apply(T a, uint32_t n) {
    constexpr uint32_t bits = 8 * sizeof(T);
    if constexpr (std::is_signed_v<T>) return static_cast<T>(a >> (n >= bits ? bits - 1 : n));
    return n >= bits ? T{0} : static_cast<T>(a >> (n & (bits - 1)));
  }
};

// Funnel shift of b:a; the upper word of a left shift, the lower word of a right shift.
template <bool kLeft, bool kClamp>
struct Shf {
  PTXOPS_ALU uint32_t apply(uint32_t a, uint32_t b, uint32_t c) {
    const uint32_t n = kClamp ? (c < 32 ? c : 32) : c & 31;
    const uint64_t v = uint64_t{b} << 32 | a;
    return static_cast<uint32_t>(kLeft ? (v << n) >> 32 : v >> n);
  }
};

PTXOPS_ALU uint32_t choose(uint32_t select, uint32_t one, uint32_t zero) {
  return zero ^ (select & (one ^ zero));
}

// The truth table is op.f; its bit 4a + 2b + c is the result.
struct Lop3 {
  PTXOPS_ALU uint32_t apply(const Op& op, uint32_t a, uint32_t b, uint32_t c) {
    const uint32_t t = op.f;
    const auto bit = [t](int i) __attribute__((always_inline)) {
      return 0u - (t >> i & 1);
    };
    const uint32_t low = choose(b, choose(c, bit(3), bit(2)), choose(c, bit(1), bit(0)));
    const uint32_t high = choose(b, choose(c, bit(7), bit(6)), choose(c, bit(5), bit(4)));
    return choose(a, high, low);
  }
};

// Picks four of the eight bytes of b:a. The selector has a nibble for each result byte: the byte's number,
// and bit 3 to replicate its sign. The special modes look their selector up by the two low bits of c.
enum class PrmtMode : uint8_t { any, f4e, b4e, rc8, ecl, ecr, rc16 };
template <PrmtMode kMode>
struct Prmt {
  static constexpr uint64_t kSelectors = kMode == PrmtMode::f4e    ? 0x6543'5432'4321'3210
                                         : kMode == PrmtMode::b4e  ? 0x0123'7012'6701'5670
                                         : kMode == PrmtMode::rc8  ? 0x3333'2222'1111'0000
                                         : kMode == PrmtMode::ecl  ? 0x3333'3222'3211'3210
                                         : kMode == PrmtMode::ecr  ? 0x3210'2210'1110'0000
                                         : kMode == PrmtMode::rc16 ? 0x3232'1010'3232'1010
                                                                   : 0;
  PTXOPS_ALU uint32_t apply(uint32_t a, uint32_t b, uint32_t c) {
    const uint64_t v = uint64_t{b} << 32 | a;
    const auto selector =
        kMode == PrmtMode::any ? c : static_cast<uint32_t>(kSelectors >> ((c & 3) * 16)) & 0xffffu;
    uint32_t r = 0;
    for (int i = 0; i < 4; ++i) {
      const uint32_t s = selector >> (4 * i);
      const auto byte = static_cast<uint32_t>(v >> ((s & 7) * 8)) & 0xff;
      const uint32_t sign = 0xffu & (0u - (byte >> 7));
      r |= ((s & 8) ? sign : byte) << (8 * i);
    }
    return r;
  }
};

}  // namespace ptxops::virt::alu
