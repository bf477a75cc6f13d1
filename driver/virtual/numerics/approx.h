// ex2, lg2, rcp, rsqrt, sqrt, sin, cos, tanh and div .approx. NVIDIA documents only error bounds for them, so
// here they are the exact value, evaluated in double and rounded once, with PTX's table of special cases. A
// Perturbation moves each result within its documented bound, so that tests can show that a kernel does not
// lean on the last bit. Pure functions: the same inputs give the same bits on every machine (no contraction,
// no libm in ex2 and lg2).
#pragma once

#include <cstdint>

#include "driver/virtual/numerics/float_ops.h"

namespace ptxops::virt::numerics {

// enabled: each result moves by a share, in [-1, 1], of what its bound leaves beside the final rounding. The
// share is a hash of seed, operation and operands: the same operands always give the same result. Zeros,
// subnormals, infinities and NaNs stay as they are.
struct Perturbation {
  bool enabled = false;
  std::uint64_t seed = 0;
};

enum class Approx : std::uint8_t { ex2, lg2, rcp, rsqrt, sqrt, sin, cos, tanh, div };

namespace detail {

// 2^x for |x| <= 1100. Relative error below 2^-50.
PTXOPS_NUMERICS double exp2_double(double x) {
  constexpr double kShift = 0x1.8p52;
  const double n = (x + kShift) - kShift;           // nearest integer
  const double f = (x - n) * 0x1.62e42fefa39efp-1;  // * ln 2, |f| < 0.347
  double p = 1.0 / 6227020800;
  p = p * f + 1.0 / 479001600;
  p = p * f + 1.0 / 39916800;
  p = p * f + 1.0 / 3628800;
  p = p * f + 1.0 / 362880;
  p = p * f + 1.0 / 40320;
  p = p * f + 1.0 / 5040;
  p = p * f + 1.0 / 720;
  p = p * f + 1.0 / 120;
  p = p * f + 1.0 / 24;
  p = p * f + 1.0 / 6;
  p = p * f + 0.5;
  p = p * f + 1;
  p = p * f + 1;
  // n is in the low bits of its shifted form; two factors keep the scale normal down to 2^-1100.
  const auto exponent = static_cast<std::int64_t>(std::bit_cast<std::uint64_t>(n + kShift) << 12) >> 12;
  const std::int64_t half = exponent >> 1;
  const double s0 = std::bit_cast<double>(static_cast<std::uint64_t>(half + 1023) << 52);
  const double s1 = std::bit_cast<double>(static_cast<std::uint64_t>(exponent - half + 1023) << 52);
  return p * s0 * s1;
}

// log2 of a positive normal double. Error below 2^-48 relative to the larger of the result and the distance
// from 1.
PTXOPS_NUMERICS double log2_double(double x) {
  const auto bits = std::bit_cast<std::uint64_t>(x);
  // Significand in [sqrt(1/2), sqrt(2)).
  const std::uint64_t offset = bits - 0x3FE6A09E667F3BCDu;
  const auto exponent = static_cast<std::int64_t>(offset) >> 52;
  const double m = std::bit_cast<double>(bits - (static_cast<std::uint64_t>(exponent) << 52));
  const double s = (m - 1) / (m + 1), z = s * s;  // |s| < 0.1716
  double p = 1.0 / 25;
  p = p * z + 1.0 / 23;
  p = p * z + 1.0 / 21;
  p = p * z + 1.0 / 19;
  p = p * z + 1.0 / 17;
  p = p * z + 1.0 / 15;
  p = p * z + 1.0 / 13;
  p = p * z + 1.0 / 11;
  p = p * z + 1.0 / 9;
  p = p * z + 1.0 / 7;
  p = p * z + 1.0 / 5;
  p = p * z + 1.0 / 3;
  const double log = s * 2.8853900817779268 + s * z * p * 2.8853900817779268;  // 2 / ln 2
  return static_cast<double>(exponent) + log;
}

// Share in [-1, 1] for one result.
PTXOPS_NUMERICS double share(const Perturbation& p, Approx op, std::uint64_t operands) {
  std::uint64_t h = operands + 0x9E3779B97F4A7C15u * (p.seed + static_cast<std::uint64_t>(op) + 1);
  h = (h ^ (h >> 30)) * 0xBF58476D1CE4E5B9u;
  h = (h ^ (h >> 27)) * 0x94D049BB133111EBu;
  h ^= h >> 31;
  return static_cast<double>(static_cast<std::int64_t>(h)) * 0x1p-63;
}

// Spacing of format F around y.
template <Format F>
PTXOPS_NUMERICS double ulp(double y) {
  constexpr FormatSpec s = spec(F);
  const auto field = static_cast<int>(std::bit_cast<std::uint64_t>(y) >> 52 & 0x7FF) - 1023;
  const int e = field < s.min_exponent() ? s.min_exponent() : field;
  return std::bit_cast<double>(static_cast<std::uint64_t>(e - s.fraction_bits + 1023) << 52);
}

// `bound`: the documented absolute error at y.
template <Format F>
PTXOPS_NUMERICS double perturbed(const Perturbation& p, Approx op, std::uint64_t operands, double y,
                                 double bound) {
  double spare = bound - ulp<F>(y) / 2;
  constexpr double least =
      std::bit_cast<double>(static_cast<std::uint64_t>(spec(F).min_exponent() + 1023) << 52);
  const bool movable = p.enabled && spare > 0 && y - y == 0 && __builtin_fabs(y) >= least;
  if (!movable) return y;
  const double part = share(p, op, operands);
  // Moved into the next binade, rounding costs half of a larger ulp.
  const double wider = ulp<F>(y + spare * part);
  if (wider > ulp<F>(y)) spare = bound - wider / 2;
  return spare > 0 ? y + spare * part : y;
}

template <Format F, bool kFtz>
PTXOPS_NUMERICS Bits<F> approx_result(double y) {
  constexpr FloatMode mode{.ftz = kFtz};
  if constexpr (F == Format::f32)
    return finish<F, mode>(std::bit_cast<std::uint32_t>(static_cast<float>(y)));
  else
    return half_result<F, mode>(y);
}

inline constexpr double kInfinity = __builtin_inf();
inline constexpr double kNan = __builtin_nan("");

// sin, cos, tanh of a finite value (libm).
double sin_double(double x);
double cos_double(double x);
double tanh_double(double x);

}  // namespace detail

// ex2.approx{.ftz}.{f32,f16,bf16}. Bounds: 2 ulp; relative 2^-9.9 (f16), 2^-7 (bf16).
template <Format F, bool kFtz>
PTXOPS_NUMERICS Bits<F> ex2_approx(Bits<F> a, const Perturbation& p = {}) {
  const double x = detail::load<F, FloatMode{.ftz = kFtz}>(a);
  const bool above = x > 1000, below = x < -1000;  // both already far outside every format
  const double clamped = above ? 1000 : below ? -1000 : x;
  double y = detail::exp2_double(clamped == clamped ? clamped : 0);
  if (p.enabled) {
    const double bound =
        F == Format::f32 ? 2 * detail::ulp<F>(y) : y * (F == Format::f16 ? 0x1p-10 * 1.07 : 0x1p-7);
    y = clamped == 0 ? 1 : detail::perturbed<F>(p, Approx::ex2, a, y, bound);
  }
  return detail::approx_result<F, kFtz>(x == x ? y : detail::kNan);
}

// lg2.approx{.ftz}.f32. Bound: absolute 2^-22 for 0.5 < a < 2, relative 2^-22 elsewhere.
template <bool kFtz>
PTXOPS_NUMERICS std::uint32_t lg2_approx(std::uint32_t a, const Perturbation& p = {}) {
  const double x = detail::load<Format::f32, FloatMode{.ftz = kFtz}>(a);
  const bool is_positive = x > 0, usable = is_positive & (x < detail::kInfinity);
  double y = detail::log2_double(usable ? x : 1);
  if (p.enabled) {
    const double bound = x > 0.5 && x < 2 ? 0x1p-22 : __builtin_fabs(y) * 0x1p-22;
    y = detail::perturbed<Format::f32>(p, Approx::lg2, a, y, bound);
  }
  const double special = x == 0 ? -detail::kInfinity : is_positive ? detail::kInfinity : detail::kNan;
  return detail::approx_result<Format::f32, kFtz>(usable ? y : special);
}

// rcp.approx{.ftz}.f32. Bound: 1 ulp.
template <bool kFtz>
PTXOPS_NUMERICS std::uint32_t rcp_approx(std::uint32_t a, const Perturbation& p = {}) {
  const double x = detail::load<Format::f32, FloatMode{.ftz = kFtz}>(a);
  double y = 1 / x;
  if (p.enabled) y = detail::perturbed<Format::f32>(p, Approx::rcp, a, y, detail::ulp<Format::f32>(y));
  return detail::approx_result<Format::f32, kFtz>(y);
}

// rsqrt.approx{.ftz}.f32. Bound: relative 2^-22.9.
template <bool kFtz>
PTXOPS_NUMERICS std::uint32_t rsqrt_approx(std::uint32_t a, const Perturbation& p = {}) {
  const double x = detail::load<Format::f32, FloatMode{.ftz = kFtz}>(a);
  double y = 1 / __builtin_sqrt(x < 0 ? detail::kNan : x);
  if (p.enabled) y = detail::perturbed<Format::f32>(p, Approx::rsqrt, a, y, y * 0x1.11p-23);
  return detail::approx_result<Format::f32, kFtz>(y);
}

// sqrt.approx{.ftz}.f32. Bound: relative 2^-23.
template <bool kFtz>
PTXOPS_NUMERICS std::uint32_t sqrt_approx(std::uint32_t a, const Perturbation& p = {}) {
  const double x = detail::load<Format::f32, FloatMode{.ftz = kFtz}>(a);
  double y = __builtin_sqrt(x < 0 ? detail::kNan : x);
  if (p.enabled) y = detail::perturbed<Format::f32>(p, Approx::sqrt, a, y, y * 0x1p-23);
  return detail::approx_result<Format::f32, kFtz>(y);
}

// sin.approx, cos.approx{.ftz}.f32. Bound: absolute 2^-20.5 in [-2 pi, 2 pi], 2^-14.7 in [-100 pi, 100 pi];
// none is documented further out, where nothing is perturbed.
template <Approx kOp, bool kFtz>
PTXOPS_NUMERICS std::uint32_t trig_approx(std::uint32_t a, const Perturbation& p = {}) {
  static_assert(kOp == Approx::sin || kOp == Approx::cos);
  const double x = detail::load<Format::f32, FloatMode{.ftz = kFtz}>(a);
  const double size = __builtin_fabs(x);
  if (!(size < detail::kInfinity)) return 0x7FFFFFFFu;
  double y = kOp == Approx::sin ? detail::sin_double(x) : detail::cos_double(x);
  if (p.enabled) {
    const double bound = size <= 6.283185307179586   ? 0x1p-21 * 1.41
                         : size <= 314.1592653589793 ? 0x1p-15 * 1.23
                                                     : 0;
    y = detail::perturbed<Format::f32>(p, kOp, a, y, bound);
  }
  return detail::approx_result<Format::f32, kFtz>(y);
}

// tanh.approx.{f32,f16,bf16}. Bound: relative 2^-11 (f32), absolute 2^-10.987 (f16), relative 2^-8 (bf16).
template <Format F>
PTXOPS_NUMERICS Bits<F> tanh_approx(Bits<F> a, const Perturbation& p = {}) {
  const double x = detail::load<F, FloatMode{}>(a);
  double y = detail::tanh_double(x);
  if (p.enabled) {
    const double size = __builtin_fabs(y);
    const double bound = F == Format::f32 ? size * 0x1p-11 : F == Format::f16 ? 0x1p-11 : size * 0x1p-8;
    y = detail::perturbed<F>(p, Approx::tanh, a, y, bound);
  }
  return detail::approx_result<F, false>(y);
}

// div.approx{.ftz}.f32 (kFull false) and div.full{.ftz}.f32. Bound: 2 ulp. div.approx multiplies by a
// reciprocal that underflows for |b| > 2^126: the result is then a zero, or NaN for an infinite a.
template <bool kFtz, bool kFull>
PTXOPS_NUMERICS std::uint32_t div_approx(std::uint32_t a, std::uint32_t b, const Perturbation& p = {}) {
  const double x = detail::load<Format::f32, FloatMode{.ftz = kFtz}>(a);
  const double z = detail::load<Format::f32, FloatMode{.ftz = kFtz}>(b);
  double y = x / z;
  if (p.enabled) {
    const std::uint64_t operands = static_cast<std::uint64_t>(a) << 32 | b;
    y = detail::perturbed<Format::f32>(p, Approx::div, operands, y, 2 * detail::ulp<Format::f32>(y));
  }
  if constexpr (!kFull) {
    const double size = __builtin_fabs(z);
    const bool vanishes = (size > 0x1p126) & (size < detail::kInfinity);
    const double zero = x * __builtin_copysign(0.0, z);
    y = vanishes ? zero : y;
  }
  return detail::approx_result<Format::f32, kFtz>(y);
}

}  // namespace ptxops::virt::numerics
