// cvt: between float formats, and between floats and integers. Values travel as raw bits (Bits<F>); f32 and
// f64 also come as float and double where that is the natural type. Pure functions, safe in vectorised lane
// loops.
#pragma once

#include <cmath>
#include <limits>

#include "driver/virtual/numerics/formats.h"
#include "driver/virtual/numerics/soft_float.h"

namespace ptxops::virt::numerics {

// ---- widening: exact; NaN becomes f32's canonical NaN ----

// Any format of at most 16 bits to f32. The multiplication rebiases the exponent and normalises subnormals at
// once.
template <Format F>
PTXOPS_NUMERICS std::uint32_t widen_to_f32(Bits<F> x) {
  constexpr FormatSpec s = spec(F);
  constexpr std::uint32_t sign_bit = 1u << (s.width() - 1);
  const std::uint32_t magnitude = x & (sign_bit - 1);
  const std::uint32_t sign = static_cast<std::uint32_t>(x & sign_bit) << (32 - s.width());
  if constexpr (F == Format::bf16) {
    const std::uint32_t r = static_cast<std::uint32_t>(x) << 16;
    return magnitude > 0x7F80 ? 0x7FFFFFFFu : r;
  } else {
    constexpr std::uint32_t largest = static_cast<std::uint32_t>(soft::largest_finite(F));
    constexpr float scale = std::bit_cast<float>(static_cast<std::uint32_t>(127 + 127 - s.bias()) << 23);
    const float value = std::bit_cast<float>(magnitude << (23 - s.fraction_bits)) * scale;
    const std::uint32_t finite = std::bit_cast<std::uint32_t>(value) | sign;
    const bool is_inf = s.has_inf && magnitude == largest + 1;
    return magnitude <= largest ? finite : is_inf ? 0x7F800000u | sign : 0x7FFFFFFFu;
  }
}

template <Format F>
PTXOPS_NUMERICS float to_float(Bits<F> x) {
  if constexpr (F == Format::f32 || F == Format::tf32)
    return std::bit_cast<float>(x);
  else
    return std::bit_cast<float>(widen_to_f32<F>(x));
}

// ---- narrowing f32 -> smaller, round to nearest even, branch-free ----

template <Format To, FloatMode M = FloatMode{}>
PTXOPS_NUMERICS Bits<To> narrow_rn(float value) {
  constexpr FormatSpec s = spec(To);
  constexpr int shift = 23 - s.fraction_bits;
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t u = bits & 0x7FFFFFFFu;
  std::uint32_t r = (u + ((u >> shift) & 1) + ((1u << (shift - 1)) - 1)) >> shift;
  if constexpr (s.exponent_bits < 8) {
    r -= static_cast<std::uint32_t>(127 - s.bias()) << s.fraction_bits;
    // Adding 2^(23 + e_min - P) rounds at the subnormal quantum; the low bits of the sum are the result.
    constexpr std::uint32_t magic = static_cast<std::uint32_t>(127 + 23 + s.min_exponent() - s.fraction_bits)
                                    << 23;
    const float sum = std::bit_cast<float>(u) + std::bit_cast<float>(magic);
    r = u < static_cast<std::uint32_t>(127 + s.min_exponent()) << 23
            ? std::bit_cast<std::uint32_t>(sum) - magic
            : r;
  }
  constexpr auto largest = static_cast<std::uint32_t>(soft::largest_finite(To));
  constexpr auto overflow = M.satfinite ? largest : static_cast<std::uint32_t>(soft::infinity(To, false));
  constexpr auto nan = static_cast<std::uint32_t>(canonical_nan(To));
  r = r > largest ? overflow : r;
  if constexpr (M.ftz) r = r < (1u << s.fraction_bits) ? 0 : r;
  r |= (bits >> 31) << (s.width() - 1);
  if constexpr (M.relu || M.sat) r = bits >> 31 ? 0 : r;
  if constexpr (M.sat) {
    constexpr auto one = static_cast<std::uint32_t>(s.bias()) << s.fraction_bits;
    r = r > one ? one : r;
    return static_cast<Bits<To>>(u > 0x7F800000u ? 0 : r);
  }
  return static_cast<Bits<To>>(u > 0x7F800000u ? nan : r);
}

// ---- any format to any format ----

// Runtime formats and modes: cvt{.rnd}{.ftz}{.sat}{.relu}{.satfinite}.to.from on raw bits.
constexpr std::uint64_t convert(Format to, Format from, const FloatMode& mode, std::uint64_t bits) {
  // .ftz concerns f32 only: an f32 operand, and an f32 result.
  const bool flush_in = mode.ftz && from == Format::f32;
  FloatMode out = mode;
  out.ftz = mode.ftz && to == Format::f32;
  return soft::pack(to, out, soft::unpack(from, flush_in ? soft::flush(from, bits) : bits));
}

template <Format To, Format From, FloatMode M = FloatMode{}>
PTXOPS_NUMERICS Bits<To> convert(Bits<From> bits) {
  constexpr int to_width = spec(To).width(), from_width = spec(From).width();
  constexpr bool plain = !M.ftz && !M.sat && !M.relu && !M.satfinite;
  // Only bf16 has values that are subnormal in f32.
  constexpr bool widens = !M.sat && !M.relu && !M.satfinite && !(M.ftz && From == Format::bf16);
  if constexpr (To == Format::f32 && from_width <= 16 && widens) {
    return widen_to_f32<From>(bits);
  } else if constexpr (To == Format::f64 && From == Format::f32 && plain) {
    const float x = std::bit_cast<float>(bits);
    return x == x ? std::bit_cast<std::uint64_t>(static_cast<double>(x)) : canonical_nan(Format::f64);
  } else if constexpr (To == Format::f32 && From == Format::f64 && plain && M.round == Round::rn) {
    const double x = std::bit_cast<double>(bits);
    return x == x ? std::bit_cast<std::uint32_t>(static_cast<float>(x)) : 0x7FFFFFFFu;
  } else if constexpr (to_width <= 16 && M.round == Round::rn && (from_width <= 16 || From == Format::f32)) {
    // An exact f32 in between; .ftz there concerns the operand alone.
    constexpr FloatMode mode{M.round, false, M.sat, M.relu, M.satfinite};
    std::uint32_t f32;
    if constexpr (From == Format::f32)
      f32 = M.ftz ? static_cast<std::uint32_t>(soft::flush(From, bits)) : bits;
    else
      f32 = widen_to_f32<From>(bits);
    return narrow_rn<To, mode>(std::bit_cast<float>(f32));
  } else {
    return static_cast<Bits<To>>(convert(To, From, M, bits));
  }
}

// ---- packed pairs: the first operand goes to the upper half ----

template <Format To, FloatMode M = FloatMode{}>
PTXOPS_NUMERICS auto pack2(float upper, float lower) {
  const auto hi = convert<To, Format::f32, M>(std::bit_cast<std::uint32_t>(upper));
  const auto lo = convert<To, Format::f32, M>(std::bit_cast<std::uint32_t>(lower));
  using Pair = std::conditional_t<spec(To).width() == 8, std::uint16_t, std::uint32_t>;
  return static_cast<Pair>(static_cast<Pair>(hi) << spec(To).width() | lo);
}

// e4m3x2/e5m2x2 -> f16x2, and back; halves keep their places.
template <Format To, Format From, FloatMode M = FloatMode{}>
PTXOPS_NUMERICS auto convert2(std::uint32_t pair) {
  constexpr int from = spec(From).width(), to = spec(To).width();
  using Pair = std::conditional_t<to == 8, std::uint16_t, std::uint32_t>;
  const auto lo = convert<To, From, M>(static_cast<Bits<From>>(pair));
  const auto hi = convert<To, From, M>(static_cast<Bits<From>>(pair >> from));
  return static_cast<Pair>(static_cast<Pair>(hi) << to | lo);
}

// ---- float -> integer ----

// rni, rzi, rmi, rpi are rn, rz, rm, rp here.
template <Round R>
PTXOPS_NUMERICS double round_to_integral(double x) {
  static_assert(R != Round::rna);
  if constexpr (R == Round::rn) return __builtin_nearbyint(x);
  if constexpr (R == Round::rz) return __builtin_trunc(x);
  if constexpr (R == Round::rm) return __builtin_floor(x);
  return __builtin_ceil(x);
}

// cvt.rXi.INT.float: out-of-range values clamp. NaN gives 0, or 2^(width-1) where either side has 64 bits.
template <class Int, Format From, Round R, bool kFtz = false>
PTXOPS_NUMERICS Int to_int(Bits<From> bits) {
  double x;
  if constexpr (From == Format::f64)
    x = std::bit_cast<double>(bits);
  else
    x = to_float<From>(kFtz && From == Format::f32 ? static_cast<Bits<From>>(soft::flush(From, bits)) : bits);
  using Limits = std::numeric_limits<Int>;
  constexpr bool wide = sizeof(Int) == 8;
  constexpr Int of_nan =
      wide || From == Format::f64 ? static_cast<Int>(Int{1} << (8 * sizeof(Int) - 1)) : Int{0};
  const double y = round_to_integral<R>(x);
  constexpr double low = static_cast<double>(Limits::min());
  constexpr double above =
      wide ? (Limits::is_signed ? 0x1p63 : 0x1p64) : static_cast<double>(Limits::max()) + 1;
  const bool is_nan = x != x, is_low = y < low, is_high = y >= above;
  const auto inside = static_cast<Int>(is_nan | is_low | is_high ? 0 : y);
  return is_nan ? of_nan : is_low ? Limits::min() : is_high ? Limits::max() : inside;
}

// cvt.rXi.float.float: to an integral value of the same format, -0 and NaN rules as any conversion.
template <Format F, Round R, FloatMode M = FloatMode{}>
PTXOPS_NUMERICS Bits<F> round_integral(Bits<F> bits) {
  const auto in = M.ftz ? static_cast<Bits<F>>(soft::flush(F, bits)) : bits;
  double x;
  if constexpr (F == Format::f64)
    x = std::bit_cast<double>(in);
  else
    x = to_float<F>(in);
  const std::uint64_t y = std::bit_cast<std::uint64_t>(round_to_integral<R>(x));
  return static_cast<Bits<F>>(convert(F, Format::f64, M, y));
}

// ---- integer -> float ----

template <Format To, class Int, FloatMode M = FloatMode{}>
PTXOPS_NUMERICS Bits<To> from_int(Int value) {
  constexpr bool plain = !M.sat && !M.relu && !M.satfinite;
  if constexpr (To == Format::f64 && plain && (M.round == Round::rn || sizeof(Int) < 8)) {
    return std::bit_cast<std::uint64_t>(static_cast<double>(value));
  } else if constexpr (To == Format::f32 && plain && (M.round == Round::rn || sizeof(Int) < 4)) {
    return std::bit_cast<std::uint32_t>(static_cast<float>(value));
  } else {
    const bool negative = value < 0;
    const auto magnitude = static_cast<std::uint64_t>(value);
    return static_cast<Bits<To>>(soft::pack(
        To, M,
        value == 0 ? soft::Number{}
                   : soft::Number{soft::Kind::finite, negative, 0, negative ? 0 - magnitude : magnitude}));
  }
}

}  // namespace ptxops::virt::numerics
