// Semantics of f32 and f64 arithmetic (PTX ISA 9.7.3) that IEEE 754 fixes, one lane at a time. They round as the
// host's rounding mode says. f32 results that are NaN are the canonical one; f64 NaNs keep their payload.
#pragma once

#include <cmath>

#include "driver/virtual/exec/alu_types.h"

namespace ptxops::virt::alu {

// Subnormals become zero of the same sign.
PTXOPS_ALU float flush(float v) { return std::fabs(v) < 0x1p-126f ? std::copysign(0.0f, v) : v; }
PTXOPS_ALU float canonical(float v) { return v == v ? v : std::bit_cast<float>(kNanF32); }
PTXOPS_ALU double canonical(double v) { return v; }
// .sat: to [+0, 1], NaN to +0.
template <class T> PTXOPS_ALU T saturate(T v) { return v > T{0} ? (v < T{1} ? v : T{1}) : T{0}; }

template <bool kFtz, class T>
PTXOPS_ALU T in(T v) {
  if constexpr (kFtz) return flush(v);
  else return v;
}
template <bool kFtz, bool kSat, class T>
PTXOPS_ALU T out(T v) {
  v = canonical(v);
  if constexpr (kFtz) v = flush(v);
  if constexpr (kSat) v = saturate(v);
  return v;
}

template <class T, bool kFtz, bool kSat> struct FAdd {
  PTXOPS_ALU T apply(T a, T b) { return out<kFtz, kSat>(in<kFtz>(a) + in<kFtz>(b)); }
};
template <class T, bool kFtz, bool kSat> struct FSub {
  PTXOPS_ALU T apply(T a, T b) { return out<kFtz, kSat>(in<kFtz>(a) - in<kFtz>(b)); }
};
template <class T, bool kFtz, bool kSat> struct FMul {
  PTXOPS_ALU T apply(T a, T b) { return out<kFtz, kSat>(in<kFtz>(a) * in<kFtz>(b)); }
};
template <class T, bool kFtz, bool kSat> struct FFma {
  PTXOPS_ALU T apply(T a, T b, T c) {
    if constexpr (sizeof(T) == 4) {
      return out<kFtz, kSat>(__builtin_fmaf(in<kFtz>(a), in<kFtz>(b), in<kFtz>(c)));
    } else {
      return __builtin_fma(a, b, c);
    }
  }
};
template <class T, bool kFtz, bool> struct FDiv {
  PTXOPS_ALU T apply(T a, T b) { return out<kFtz, false>(in<kFtz>(a) / in<kFtz>(b)); }
};
template <class T, bool kFtz, bool> struct FRcp {
  PTXOPS_ALU T apply(T a) { return out<kFtz, false>(T{1} / in<kFtz>(a)); }
};
template <class T, bool kFtz, bool> struct FSqrt {
  PTXOPS_ALU T apply(T a) { return out<kFtz, false>(std::sqrt(in<kFtz>(a))); }
};

template <class T> PTXOPS_ALU LaneBits<T> sign_of(T v) {
  return std::bit_cast<LaneBits<T>>(v) & (LaneBits<T>{1} << (8 * sizeof(T) - 1));
}
template <class T> PTXOPS_ALU T quiet_nan() {
  return std::bit_cast<T>(sizeof(T) == 4 ? LaneBits<T>{kNanF32} : static_cast<LaneBits<T>>(0x7fffffffffffffffu));
}

// A NaN operand loses against a number unless kNan; -0 is less than +0. kXorSign: of the magnitudes, with the
// product's sign.
template <class T, bool kMax, bool kFtz, bool kNan, bool kXorSign> struct FMinMax {
  PTXOPS_ALU T apply(T a, T b) {
    using Bits = LaneBits<T>;
    a = in<kFtz>(a);
    b = in<kFtz>(b);
    const Bits sign = sign_of(a) ^ sign_of(b);
    if constexpr (kXorSign) {
      a = std::fabs(a);
      b = std::fabs(b);
    }
    // Of equal values the one with (max: without) the sign bit: only zeros differ.
    const Bits both = kMax ? std::bit_cast<Bits>(a) & std::bit_cast<Bits>(b)
                           : std::bit_cast<Bits>(a) | std::bit_cast<Bits>(b);
    const bool a_wins = kMax ? a > b : a < b;
    T r = a == b ? std::bit_cast<T>(both) : a_wins ? a : b;
    const bool a_nan = a != a, b_nan = b != b;
    r = b_nan ? a : r;
    const bool is_nan = kNan ? (a_nan | b_nan) : (a_nan & b_nan);
    if constexpr (kXorSign) r = std::bit_cast<T>(std::bit_cast<Bits>(r) | sign);
    return is_nan ? quiet_nan<T>() : r;
  }
};

template <class T, bool kFtz> struct FAbs {
  PTXOPS_ALU T apply(T a) { return std::fabs(in<kFtz>(a)); }
};
template <class T, bool kFtz> struct FNeg {
  PTXOPS_ALU T apply(T a) { return -in<kFtz>(a); }
};
// The magnitude of b with the sign of a.
template <class T> struct FCopysign {
  PTXOPS_ALU T apply(T a, T b) { return std::copysign(b, a); }
};

enum class FloatTest : uint8_t { finite, infinite, number, notanumber, normal, subnormal };
template <FloatTest kTest, class T> struct Testp {
  PTXOPS_ALU bool apply(T a) {
    constexpr T infinity = std::numeric_limits<T>::infinity(), smallest = std::numeric_limits<T>::min();
    const T m = std::fabs(a);
    switch (kTest) {
      case FloatTest::finite: return m < infinity;
      case FloatTest::infinite: return m == infinity;
      case FloatTest::number: return a == a;
      case FloatTest::notanumber: return a != a;
      case FloatTest::normal: return (m >= smallest) & (m < infinity);
      case FloatTest::subnormal: return (m > 0) & (m < smallest);
    }
    return false;
  }
};

}  // namespace ptxops::virt::alu
