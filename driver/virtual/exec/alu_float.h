// Semantics of f32 and f64 arithmetic (PTX ISA 9.7.3) for lane loops: those of numerics/, on the C++ types.
// They round as the host's rounding mode says.
#pragma once

#include <cmath>
#include <limits>

#include "driver/virtual/exec/alu_types.h"
#include "driver/virtual/numerics/float_ops.h"

namespace ptxops::virt::alu {

using numerics::canonical;
using numerics::FloatMode;
using numerics::Format;
template <class T>
inline constexpr Format kFormat = sizeof(T) == 4 ? Format::f32 : Format::f64;
template <class T>
PTXOPS_ALU LaneBits<T> raw(T v) {
  return std::bit_cast<LaneBits<T>>(v);
}
template <class T>
PTXOPS_ALU T cooked(LaneBits<T> bits) {
  return std::bit_cast<T>(bits);
}

// Subnormals become zero of the same sign.
PTXOPS_ALU float flush(float v) {
  return cooked<float>(numerics::flushed<Format::f32>(raw(v)));
}

template <class T, FloatMode M>
struct FAdd {
  PTXOPS_ALU T apply(T a, T b) { return cooked<T>(numerics::add<kFormat<T>, M>(raw(a), raw(b))); }
};
template <class T, FloatMode M>
struct FSub {
  PTXOPS_ALU T apply(T a, T b) { return cooked<T>(numerics::sub<kFormat<T>, M>(raw(a), raw(b))); }
};
template <class T, FloatMode M>
struct FMul {
  PTXOPS_ALU T apply(T a, T b) { return cooked<T>(numerics::mul<kFormat<T>, M>(raw(a), raw(b))); }
};
template <class T, FloatMode M>
struct FFma {
  PTXOPS_ALU T apply(T a, T b, T c) {
    return cooked<T>(numerics::fma<kFormat<T>, M>(raw(a), raw(b), raw(c)));
  }
};
template <class T, FloatMode M>
struct FDiv {
  PTXOPS_ALU T apply(T a, T b) { return cooked<T>(numerics::div<kFormat<T>, M>(raw(a), raw(b))); }
};
template <class T, FloatMode M>
struct FRcp {
  PTXOPS_ALU T apply(T a) { return cooked<T>(numerics::rcp<kFormat<T>, M>(raw(a))); }
};
template <class T, FloatMode M>
struct FSqrt {
  PTXOPS_ALU T apply(T a) { return cooked<T>(numerics::sqrt<kFormat<T>, M>(raw(a))); }
};
template <class T, numerics::MinMaxMode M>
struct FMinMax {
  PTXOPS_ALU T apply(T a, T b) { return cooked<T>(numerics::min_max<kFormat<T>, M>(raw(a), raw(b))); }
};
template <class T, FloatMode M>
struct FAbs {
  PTXOPS_ALU T apply(T a) { return std::fabs(M.ftz ? cooked<T>(numerics::flushed<kFormat<T>>(raw(a))) : a); }
};
template <class T, FloatMode M>
struct FNeg {
  PTXOPS_ALU T apply(T a) { return -(M.ftz ? cooked<T>(numerics::flushed<kFormat<T>>(raw(a))) : a); }
};
// The magnitude of b with the sign of a.
template <class T>
struct FCopysign {
  PTXOPS_ALU T apply(T a, T b) { return std::copysign(b, a); }
};

enum class FloatTest : uint8_t { finite, infinite, number, notanumber, normal, subnormal };
template <FloatTest kTest, class T>
struct Testp {
  PTXOPS_ALU bool apply(T a) {
    constexpr T infinity = std::numeric_limits<T>::infinity(), smallest = std::numeric_limits<T>::min();
    const T m = std::fabs(a);
    switch (kTest) {
      case FloatTest::finite:
        return m < infinity;
      case FloatTest::infinite:
        return m == infinity;
      case FloatTest::number:
        return a == a;
      case FloatTest::notanumber:
        return a != a;
      case FloatTest::normal:
        return (m >= smallest) & (m < infinity);
      case FloatTest::subnormal:
        return (m > 0) & (m < smallest);
    }
    return false;
  }
};

}  // namespace ptxops::virt::alu
