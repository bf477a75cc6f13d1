// add, sub, mul, fma, div, rcp, sqrt, min, max on f16, bf16, f32 and f64: IEEE, rounded once, with PTX's
// modifiers. Raw bits in and out. f16, bf16 and f32 results that are NaN are the canonical NaN; an f64 NaN is
// quiet, and under round-to-nearest keeps the first NaN operand's payload. Pure functions, safe in vectorised
// lane loops; rounding to nearest is native arithmetic.
#pragma once

#include <cmath>

#include "driver/virtual/numerics/convert.h"
#include "driver/virtual/numerics/formats.h"
#include "driver/virtual/numerics/soft_float.h"

namespace ptxops::virt::numerics {

template <Format F>
PTXOPS_NUMERICS bool is_nan(Bits<F> x) {
  constexpr FormatSpec s = spec(F);
  return (x & ((Bits<F>{1} << (s.width() - 1)) - 1)) > static_cast<Bits<F>>(soft::infinity(F, false));
}

// Subnormal -> zero of its sign.
template <Format F>
PTXOPS_NUMERICS Bits<F> flushed(Bits<F> x) {
  constexpr FormatSpec s = spec(F);
  constexpr auto exponent = static_cast<Bits<F>>(soft::infinity(F, false));
  constexpr auto sign = static_cast<Bits<F>>(Bits<F>{1} << (s.width() - 1));
  return (x & exponent) == 0 ? static_cast<Bits<F>>(x & sign) : x;
}

// f32 result as PTX leaves it: canonical NaN.
PTXOPS_NUMERICS float canonical(float x) {
  return x == x ? x : std::bit_cast<float>(0x7FFFFFFFu);
}

namespace detail {

enum class Op : std::uint8_t { add, sub, mul, fma, div, sqrt };

// The correctly rounded result of any format, rounding and modifier, in integers.
constexpr std::uint64_t soft_op(Op op, Format f, const FloatMode& m, std::uint64_t a, std::uint64_t b,
                                std::uint64_t c) {
  const soft::Number x = soft::operand(f, m, a), y = soft::operand(f, m, b);
  switch (op) {
    case Op::add:
      return soft::pack(f, m, soft::add(x, y, m.round));
    case Op::sub: {
      soft::Number minus = y;
      minus.negative = !minus.negative;
      return soft::pack(f, m, soft::add(x, minus, m.round));
    }
    case Op::mul:
      return soft::pack(f, m, soft::multiply(x, y));
    case Op::fma:
      return soft::pack(f, m, soft::add(soft::multiply(x, y), soft::operand(f, m, c), m.round));
    case Op::div:
      return soft::pack(f, m, soft::divide(x, y));
    case Op::sqrt:
      return soft::pack(f, m, soft::square_root(x));
  }
  return 0;
}

// sat, relu, ftz and the canonical NaN, on the bits of a rounded result.
template <Format F, FloatMode M>
PTXOPS_NUMERICS Bits<F> finish(Bits<F> r) {
  constexpr FormatSpec s = spec(F);
  constexpr auto sign = static_cast<Bits<F>>(Bits<F>{1} << (s.width() - 1));
  const bool nan = is_nan<F>(r);
  if constexpr (M.ftz) r = flushed<F>(r);
  if constexpr (M.sat) {
    constexpr auto one = static_cast<Bits<F>>(static_cast<Bits<F>>(s.bias()) << s.fraction_bits);
    r = r & sign ? 0 : r > one ? one : r;
    return nan ? 0 : r;
  }
  if constexpr (M.relu) r = r & sign ? 0 : r;
  if constexpr (F == Format::f64 && !M.relu) return r;
  return nan ? static_cast<Bits<F>>(canonical_nan(F)) : r;
}

// p + c in double, rounded to odd at 53 bits (p, c exact): a later rounding to at most 51 bits is then the
// only one.
PTXOPS_NUMERICS double add_to_odd(double p, double c) {
  const double s = p + c;
  const double t = s - p;
  const double error = (p - (s - t)) + (c - t);
  const auto bits = std::bit_cast<std::uint64_t>(s);
  const bool lost = error > 0 || error < 0;
  const std::uint64_t step = (error > 0) == (s > 0) ? 1 : ~std::uint64_t{0};
  return std::bit_cast<double>(lost && !(bits & 1) ? bits + step : bits);
}

// double -> float, rounded to odd.
PTXOPS_NUMERICS float to_float_odd(double d) {
  const float f = static_cast<float>(d);
  const auto bits = std::bit_cast<std::uint32_t>(f);
  const double back = static_cast<double>(f);
  const bool lost = back > d || back < d;
  const std::uint32_t step = (__builtin_fabs(d) > __builtin_fabs(back)) ? 1 : ~0u;
  return std::bit_cast<float>(lost && !(bits & 1) ? bits + step : bits);
}

template <Format F, FloatMode M>
PTXOPS_NUMERICS float load(Bits<F> x) {
  return to_float<F>(M.ftz ? flushed<F>(x) : x);
}

// f16 and bf16 results from an exact or odd-rounded double.
template <Format F, FloatMode M>
PTXOPS_NUMERICS Bits<F> half_result(double d) {
  return finish<F, M>(narrow_rn<F>(to_float_odd(d)));
}

template <Op O, Format F, FloatMode M>
PTXOPS_NUMERICS Bits<F> operate(Bits<F> a, Bits<F> b, Bits<F> c) {
  static_assert(F == Format::f16 || F == Format::bf16 || F == Format::f32 || F == Format::f64);
  constexpr bool half = F == Format::f16 || F == Format::bf16;
  if constexpr (M.round != Round::rn || M.satfinite || (half && (O == Op::div || O == Op::sqrt))) {
    return static_cast<Bits<F>>(soft_op(O, F, M, a, b, c));
  } else if constexpr (half) {
    const double x = load<F, M>(a), y = load<F, M>(b);
    if constexpr (O == Op::add) return half_result<F, M>(add_to_odd(x, y));
    if constexpr (O == Op::sub) return half_result<F, M>(add_to_odd(x, -y));
    if constexpr (O == Op::mul) return half_result<F, M>(x * y);
    if constexpr (O == Op::fma) return half_result<F, M>(add_to_odd(x * y, load<F, M>(c)));
  } else {
    using T = std::conditional_t<F == Format::f64, double, float>;
    const auto in = [](Bits<F> v) { return std::bit_cast<T>(M.ftz ? flushed<F>(v) : v); };
    T r{};
    if constexpr (O == Op::add) r = in(a) + in(b);
    if constexpr (O == Op::sub) r = in(a)-in(b);
    if constexpr (O == Op::mul) r = in(a)*in(b);
    if constexpr (O == Op::div) r = in(a) / in(b);
    if constexpr (O == Op::fma && F == Format::f32) r = __builtin_fmaf(in(a), in(b), in(c));
    if constexpr (O == Op::fma && F == Format::f64) r = __builtin_fma(in(a), in(b), in(c));
    if constexpr (O == Op::sqrt && F == Format::f32) r = __builtin_sqrtf(in(a));
    if constexpr (O == Op::sqrt && F == Format::f64) r = __builtin_sqrt(in(a));
    Bits<F> bits = std::bit_cast<Bits<F>>(r);
    if constexpr (F == Format::f64) {
      // Which operand's NaN the machine returns depends on the order the compiler picks. Ours: the first,
      // quieted.
      constexpr Bits<F> quiet = Bits<F>{1} << 51;
      if constexpr (O == Op::fma) bits = in(c) == in(c) ? bits : c | quiet;
      if constexpr (O != Op::sqrt) bits = in(b) == in(b) ? bits : b | quiet;
      bits = in(a) == in(a) ? bits : a | quiet;
    }
    return finish<F, M>(bits);
  }
}

}  // namespace detail

template <Format F, FloatMode M = FloatMode{}>
PTXOPS_NUMERICS Bits<F> add(Bits<F> a, Bits<F> b) {
  return detail::operate<detail::Op::add, F, M>(a, b, 0);
}
template <Format F, FloatMode M = FloatMode{}>
PTXOPS_NUMERICS Bits<F> sub(Bits<F> a, Bits<F> b) {
  return detail::operate<detail::Op::sub, F, M>(a, b, 0);
}
template <Format F, FloatMode M = FloatMode{}>
PTXOPS_NUMERICS Bits<F> mul(Bits<F> a, Bits<F> b) {
  return detail::operate<detail::Op::mul, F, M>(a, b, 0);
}
template <Format F, FloatMode M = FloatMode{}>
PTXOPS_NUMERICS Bits<F> fma(Bits<F> a, Bits<F> b, Bits<F> c) {
  return detail::operate<detail::Op::fma, F, M>(a, b, c);
}
template <Format F, FloatMode M = FloatMode{}>
PTXOPS_NUMERICS Bits<F> div(Bits<F> a, Bits<F> b) {
  return detail::operate<detail::Op::div, F, M>(a, b, 0);
}
template <Format F, FloatMode M = FloatMode{}>
PTXOPS_NUMERICS Bits<F> rcp(Bits<F> a) {
  constexpr auto one = static_cast<Bits<F>>(static_cast<Bits<F>>(spec(F).bias()) << spec(F).fraction_bits);
  return detail::operate<detail::Op::div, F, M>(one, a, 0);
}
template <Format F, FloatMode M = FloatMode{}>
PTXOPS_NUMERICS Bits<F> sqrt(Bits<F> a) {
  return detail::operate<detail::Op::sqrt, F, M>(a, 0, 0);
}

// min/max: -0 < +0. One NaN: the other operand, unless `nan` (.NaN); two: the canonical NaN.
// xorsign_abs: magnitudes compared, sign of the result is the xor of the operands'.
struct MinMaxMode {
  bool max = false;
  bool nan = false;
  bool xorsign_abs = false;
  bool ftz = false;
};

template <Format F, MinMaxMode M>
PTXOPS_NUMERICS Bits<F> min_max(Bits<F> a, Bits<F> b) {
  constexpr auto sign = static_cast<Bits<F>>(Bits<F>{1} << (spec(F).width() - 1));
  constexpr auto nan = static_cast<Bits<F>>(canonical_nan(F));
  if constexpr (M.ftz) {
    a = flushed<F>(a);
    b = flushed<F>(b);
  }
  const bool a_nan = is_nan<F>(a), b_nan = is_nan<F>(b);
  const auto result_sign = static_cast<Bits<F>>((a ^ b) & sign);
  if constexpr (M.xorsign_abs) {
    a = static_cast<Bits<F>>(a & ~sign);
    b = static_cast<Bits<F>>(b & ~sign);
  }
  // Bits to an order in which floats compare as integers, -0 below +0.
  const auto order = [](Bits<F> x) { return static_cast<Bits<F>>(x & sign ? ~x : x | sign); };
  const bool a_less = order(a) < order(b);
  Bits<F> r = a_less != M.max ? a : b;
  if constexpr (!M.nan) r = a_nan ? b : b_nan ? a : r;
  if constexpr (M.xorsign_abs) r = static_cast<Bits<F>>(r | result_sign);
  const bool any = M.nan ? a_nan || b_nan : a_nan && b_nan;
  return any ? nan : r;
}

template <Format F, MinMaxMode M = MinMaxMode{}>
PTXOPS_NUMERICS Bits<F> min(Bits<F> a, Bits<F> b) {
  return min_max<F, MinMaxMode{false, M.nan, M.xorsign_abs, M.ftz}>(a, b);
}
template <Format F, MinMaxMode M = MinMaxMode{}>
PTXOPS_NUMERICS Bits<F> max(Bits<F> a, Bits<F> b) {
  return min_max<F, MinMaxMode{true, M.nan, M.xorsign_abs, M.ftz}>(a, b);
}

}  // namespace ptxops::virt::numerics
