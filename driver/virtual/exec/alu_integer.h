// Integer semantics (PTX ISA chapter 9.7.1 and 9.7.2), one lane at a time. All are total: no input traps.
#pragma once

#include <limits>

#include "driver/virtual/exec/alu_types.h"

namespace ptxops::virt::alu {

// Integer with twice the bits and the same signedness.
template <class T>
struct WideOf;
template <>
struct WideOf<uint16_t> {
  using type = uint32_t;
};
template <>
struct WideOf<int16_t> {
  using type = int32_t;
};
template <>
struct WideOf<uint32_t> {
  using type = uint64_t;
};
template <>
struct WideOf<int32_t> {
  using type = int64_t;
};
template <>
struct WideOf<uint64_t> {
  using type = u128;
};
template <>
struct WideOf<int64_t> {
  using type = i128;
};
template <class T>
using Wide = typename WideOf<T>::type;
template <class T>
using Unsigned = std::make_unsigned_t<T>;
template <class T>
inline constexpr int kBits = 8 * sizeof(T);

// Wrapping arithmetic; through uint64_t so that 16-bit operands are not promoted to a signed product.
template <class T>
PTXOPS_ALU T wrap_add(T a, T b) {
  return static_cast<T>(Unsigned<T>(a) + Unsigned<T>(b));
}
template <class T>
PTXOPS_ALU T wrap_sub(T a, T b) {
  return static_cast<T>(Unsigned<T>(a) - Unsigned<T>(b));
}
template <class T>
PTXOPS_ALU T wrap_mul(T a, T b) {
  using U = std::conditional_t<(sizeof(T) > 4), uint64_t, uint32_t>;
  return static_cast<T>(U(Unsigned<T>(a)) * U(Unsigned<T>(b)));
}
template <class T>
PTXOPS_ALU T high_mul(T a, T b) {
  return static_cast<T>((Wide<T>(a) * Wide<T>(b)) >> kBits<T>);
}

template <class T>
PTXOPS_ALU T saturated(int64_t v) {
  constexpr int64_t lo = std::numeric_limits<T>::min(), hi = std::numeric_limits<T>::max();
  return static_cast<T>(v < lo ? lo : v > hi ? hi : v);
}

template <class T>
struct Add {
  PTXOPS_ALU T apply(T a, T b) { return wrap_add(a, b); }
};
template <class T>
struct Sub {
  PTXOPS_ALU T apply(T a, T b) { return wrap_sub(a, b); }
};
struct AddSat {
  PTXOPS_ALU int32_t apply(int32_t a, int32_t b) { return saturated<int32_t>(int64_t{a} + b); }
};
struct SubSat {
  PTXOPS_ALU int32_t apply(int32_t a, int32_t b) { return saturated<int32_t>(int64_t{a} - b); }
};

template <class T>
struct MulLo {
  PTXOPS_ALU T apply(T a, T b) { return wrap_mul(a, b); }
};
template <class T>
struct MulHi {
  PTXOPS_ALU T apply(T a, T b) { return high_mul(a, b); }
};
template <class T>
struct MulWide {
  PTXOPS_ALU Wide<T> apply(T a, T b) { return Wide<T>(a) * Wide<T>(b); }
};
template <>
struct MulWide<uint16_t> {
  PTXOPS_ALU uint32_t apply(uint16_t a, uint16_t b) { return uint32_t{a} * uint32_t{b}; }
};
template <class T>
struct MadLo {
  PTXOPS_ALU T apply(T a, T b, T c) { return wrap_add(wrap_mul(a, b), c); }
};
template <class T>
struct MadHi {
  PTXOPS_ALU T apply(T a, T b, T c) { return wrap_add(high_mul(a, b), c); }
};
template <class T>
struct MadWide {
  PTXOPS_ALU Wide<T> apply(T a, T b, Wide<T> c) { return wrap_add<Wide<T>>(MulWide<T>::apply(a, b), c); }
};
struct MadHiSat {
  PTXOPS_ALU int32_t apply(int32_t a, int32_t b, int32_t c) {
    return saturated<int32_t>(int64_t{high_mul(a, b)} + c);
  }
};

// 24-bit operands (the upper 8 bits are ignored), 48-bit product: lo is bits 0..31, hi is bits 16..47.
PTXOPS_ALU int64_t product24(int32_t a, int32_t b) {
  return int64_t{int32_t(uint32_t(a) << 8) >> 8} * (int32_t(uint32_t(b) << 8) >> 8);
}
PTXOPS_ALU int64_t product24(uint32_t a, uint32_t b) {
  return static_cast<int64_t>(uint64_t{a & 0xffffffu} * (b & 0xffffffu));
}
template <class T>
struct Mul24Lo {
  PTXOPS_ALU T apply(T a, T b) { return static_cast<T>(product24(a, b)); }
};
template <class T>
struct Mul24Hi {
  PTXOPS_ALU T apply(T a, T b) { return static_cast<T>(product24(a, b) >> 16); }
};
template <class T>
struct Mad24Lo {
  PTXOPS_ALU T apply(T a, T b, T c) { return wrap_add(Mul24Lo<T>::apply(a, b), c); }
};
template <class T>
struct Mad24Hi {
  PTXOPS_ALU T apply(T a, T b, T c) { return wrap_add(Mul24Hi<T>::apply(a, b), c); }
};
struct Mad24HiSat {
  PTXOPS_ALU int32_t apply(int32_t a, int32_t b, int32_t c) {
    return saturated<int32_t>((product24(a, b) >> 16) + c);
  }
};

template <class T>
struct Sad {
  PTXOPS_ALU T apply(T a, T b, T c) { return wrap_add(c, a < b ? wrap_sub(b, a) : wrap_sub(a, b)); }
};

// Division by zero is unspecified by PTX: all ones, and the dividend as remainder. The most negative number
// divided by -1 wraps. 32 bits and less go through doubles: exact, and it vectorises.
template <class T>
struct Div {
  PTXOPS_ALU T apply(T a, T b) {
    if constexpr (sizeof(T) <= 4) {
      const double q = static_cast<double>(a) / static_cast<double>(b == 0 ? T{1} : b);
      return b == 0 ? static_cast<T>(~T{0}) : static_cast<T>(static_cast<int64_t>(q));
    } else {
      if (b == 0) return static_cast<T>(~T{0});
      if constexpr (std::is_signed_v<T>) {
        if (b == -1) return wrap_sub(T{0}, a);
      }
      return static_cast<T>(a / b);
    }
  }
};
template <class T>
struct Rem {
  PTXOPS_ALU T apply(T a, T b) { return b == 0 ? a : wrap_sub(a, wrap_mul(Div<T>::apply(a, b), b)); }
};

template <class T>
struct Min {
  PTXOPS_ALU T apply(T a, T b) { return a < b ? a : b; }
};
template <class T>
struct Max {
  PTXOPS_ALU T apply(T a, T b) { return a < b ? b : a; }
};
template <class T>
struct MinRelu {
  PTXOPS_ALU T apply(T a, T b) { return Max<T>::apply(Min<T>::apply(a, b), 0); }
};
template <class T>
struct MaxRelu {
  PTXOPS_ALU T apply(T a, T b) { return Max<T>::apply(Max<T>::apply(a, b), 0); }
};
template <class T>
struct Neg {
  PTXOPS_ALU T apply(T a) { return wrap_sub(T{0}, a); }
};
template <class T>
struct Abs {
  PTXOPS_ALU T apply(T a) { return a < 0 ? wrap_sub(T{0}, a) : a; }
};

// Two 16-bit lanes in one register.
template <template <class> class S, class T>
struct Halves {
  PTXOPS_ALU uint32_t apply(uint32_t a, uint32_t b) {
    const uint32_t lo = static_cast<uint16_t>(S<T>::apply(static_cast<T>(a), static_cast<T>(b)));
    const uint32_t hi = static_cast<uint16_t>(S<T>::apply(static_cast<T>(a >> 16), static_cast<T>(b >> 16)));
    return lo | hi << 16;
  }
};
template <class T>
struct NegHalves {
  PTXOPS_ALU uint32_t apply(uint32_t a) { return ((0u - a) & 0xffffu) | (0u - (a & 0xffff0000u)); }
};

// ---- Bits
// ---------------------------------------------------------------------------------------------------

template <class T>
struct Popc {
  PTXOPS_ALU uint32_t apply(T a) { return static_cast<uint32_t>(std::popcount(a)); }
};
template <class T>
struct Clz {
  PTXOPS_ALU uint32_t apply(T a) { return static_cast<uint32_t>(std::countl_zero(a)); }
};
// Position of the most significant bit that is not a copy of the sign; ~0 if there is none.
template <class T>
struct Bfind {
  PTXOPS_ALU uint32_t apply(T a) {
    const auto u = static_cast<Unsigned<T>>(std::is_signed_v<T> && a < 0 ? ~a : a);
    return static_cast<uint32_t>(kBits<T> - 1 - std::countl_zero(u));
  }
};
template <class T>
struct BfindShift {
  PTXOPS_ALU uint32_t apply(T a) {
    const uint32_t at = Bfind<T>::apply(a);
    return at == ~0u ? ~0u : kBits<T> - 1 - at;
  }
};
template <class T>
struct Brev {
  PTXOPS_ALU T apply(T a) {
    uint64_t v = a;
    v = (v >> 1 & 0x5555555555555555u) | (v & 0x5555555555555555u) << 1;
    v = (v >> 2 & 0x3333333333333333u) | (v & 0x3333333333333333u) << 2;
    v = (v >> 4 & 0x0f0f0f0f0f0f0f0fu) | (v & 0x0f0f0f0f0f0f0f0fu) << 4;
    return static_cast<T>(__builtin_bswap64(v) >> (64 - kBits<T>));
  }
};

// ~0 shifted left by n, n any value.
template <class U>
PTXOPS_ALU U ones_from(uint32_t n) {
  return n >= kBits<U> ? U{0} : static_cast<U>(~U{0} << (n & (kBits<U> - 1)));
}
// Field of `len` bits at `pos`, both taken modulo 256; beyond the register it reads the sign (or zero).
template <class T>
struct Bfe {
  PTXOPS_ALU T apply(T a, uint32_t b, uint32_t c) {
    using U = Unsigned<T>;
    const uint32_t pos = b & 0xff, len = c & 0xff;
    const uint32_t msb = kBits<T> - 1;
    const U shifted = pos > msb ? U{0} : static_cast<U>(static_cast<U>(a) >> (pos & msb));
    const uint32_t in_register = pos > msb ? 0 : kBits<T> - pos;
    const uint32_t taken = len < in_register ? len : in_register;
    const U above = ones_from<U>(taken);
    const uint32_t sign_at = pos + len - 1 < msb ? pos + len - 1 : msb;
    const bool sign = std::is_signed_v<T> && len != 0 && (static_cast<U>(a) >> sign_at & 1);
    return static_cast<T>((shifted & ~above) | (sign ? above : U{0}));
  }
};
template <class U>
struct Bfi {
  PTXOPS_ALU U apply(U a, U b, uint32_t c, uint32_t d) {
    const uint32_t pos = c & 0xff, len = d & 0xff, msb = kBits<U> - 1;
    if (pos > msb) return b;
    const U field = static_cast<U>(~ones_from<U>(len) << (pos & msb));
    return static_cast<U>((b & ~field) | ((a << (pos & msb)) & field));
  }
};
template <bool kClamp>
struct Bmsk {
  PTXOPS_ALU uint32_t apply(uint32_t a, uint32_t b) {
    if (kClamp && a >= 32) return 0;
    const uint32_t from = a & 31, to = from + (b & 31);
    const uint32_t above = (kClamp && b >= 32) ? 0 : ones_from<uint32_t>(to);
    return ones_from<uint32_t>(from) & ~above;
  }
};
template <bool kClamp, bool kSigned>
struct Szext {
  PTXOPS_ALU uint32_t apply(uint32_t a, uint32_t b) {
    if (kClamp && b >= 32) return a;
    const uint32_t n = b & 31, above = ~0u << n;
    const bool sign = kSigned && n != 0 && (a >> ((n - 1) & 31) & 1);
    return (a & ~above) | (sign ? above : 0);
  }
};
// The |offset|-th set bit from `base` upwards (offset > 0) or downwards, `base` included; ~0 if there is
// none.
struct Fns {
  PTXOPS_ALU uint32_t apply(uint32_t mask, uint32_t base, int32_t offset) {
    if (base > 31) return ~0u;
    if (offset == 0) return (mask >> base & 1) ? base : ~0u;
    uint32_t left = offset < 0 ? 0u - static_cast<uint32_t>(offset) : static_cast<uint32_t>(offset);
    const int step = offset < 0 ? -1 : 1;
    for (int at = static_cast<int>(base); at >= 0 && at < 32; at += step) {
      if ((mask >> at & 1) && --left == 0) return static_cast<uint32_t>(at);
    }
    return ~0u;
  }
};

template <class A>
using ByteOf = std::conditional_t<std::is_signed_v<A>, int8_t, uint8_t>;
template <class A>
using HalfOf = std::conditional_t<std::is_signed_v<A>, int16_t, uint16_t>;
template <class A, class B>
struct Dp4a {
  PTXOPS_ALU uint32_t apply(uint32_t a, uint32_t b, uint32_t c) {
    for (int i = 0; i < 32; i += 8) {
      c += static_cast<uint32_t>(int32_t{static_cast<ByteOf<A>>(a >> i)} *
                                 int32_t{static_cast<ByteOf<B>>(b >> i)});
    }
    return c;
  }
};
template <class A, class B, bool kHi>
struct Dp2a {
  PTXOPS_ALU uint32_t apply(uint32_t a, uint32_t b, uint32_t c) {
    if (kHi) b >>= 16;
    for (int i = 0; i < 2; ++i) {
      c += static_cast<uint32_t>(int32_t{static_cast<HalfOf<A>>(a >> (16 * i))} *
                                 int32_t{static_cast<ByteOf<B>>(b >> (8 * i))});
    }
    return c;
  }
};

}  // namespace ptxops::virt::alu
