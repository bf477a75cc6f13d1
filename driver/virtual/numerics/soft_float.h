// Floating point in integers: every format, every rounding, one rounding per operation. The executor's fast
// paths are shortcuts of this; what has no shortcut calls it.
#pragma once

#include <algorithm>
#include <cstdint>

#include "driver/virtual/numerics/formats.h"

namespace ptxops::virt::numerics::soft {

__extension__ using Wide = unsigned __int128;

enum class Kind : std::uint8_t { zero, finite, inf, nan };

// value = (-1)^negative * magnitude * 2^exponent. Bit 0 of an inexact magnitude is "jammed": set if anything
// below it was lost. Operations leave at least 60 bits, so that jamming never reaches a rounding position.
struct Number {
  Kind kind = Kind::zero;
  bool negative = false;
  int exponent = 0;
  Wide magnitude = 0;
};

constexpr int width_of(Wide m) {
  const auto high = static_cast<std::uint64_t>(m >> 64);
  return high ? 64 + std::bit_width(high) : std::bit_width(static_cast<std::uint64_t>(m));
}

constexpr Wide shift_right_jam(Wide m, int shift) {
  if (shift <= 0) return m;
  if (shift >= 128) return m != 0;
  return (m >> shift) | static_cast<Wide>((m & ((Wide{1} << shift) - 1)) != 0);
}

constexpr Number unpack(Format f, std::uint64_t bits) {
  const FormatSpec s = spec(f);
  bits >>= s.storage_shift;
  const std::uint64_t fraction = bits & ((std::uint64_t{1} << s.fraction_bits) - 1);
  const int field_max = (1 << s.exponent_bits) - 1;
  const int field = static_cast<int>(bits >> s.fraction_bits) & field_max;
  const bool negative = (bits >> (s.width() - 1)) & 1;
  if (field == field_max) {
    if (s.has_inf) return {fraction ? Kind::nan : Kind::inf, negative, 0, fraction};
    if (fraction == (std::uint64_t{1} << s.fraction_bits) - 1) return {Kind::nan, negative, 0, fraction};
  }
  const std::uint64_t magnitude = field ? fraction | std::uint64_t{1} << s.fraction_bits : fraction;
  if (magnitude == 0) return {Kind::zero, negative, 0, 0};
  return {Kind::finite, negative, std::max(field, 1) - s.bias() - s.fraction_bits, magnitude};
}

constexpr std::uint64_t flush(Format f, std::uint64_t bits) {
  const FormatSpec s = spec(f);
  const std::uint64_t stored = bits >> s.storage_shift;
  const bool field_zero = ((stored >> s.fraction_bits) & ((1u << s.exponent_bits) - 1)) == 0;
  return field_zero ? bits & (std::uint64_t{1} << (s.width() - 1 + s.storage_shift)) : bits;
}

constexpr std::uint64_t with_sign(Format f, bool negative, std::uint64_t magnitude_bits) {
  const FormatSpec s = spec(f);
  return (magnitude_bits | (negative ? std::uint64_t{1} << (s.width() - 1) : 0)) << s.storage_shift;
}

constexpr std::uint64_t largest_finite(Format f) {
  const FormatSpec s = spec(f);
  const std::uint64_t inf = ((std::uint64_t{1} << s.exponent_bits) - 1) << s.fraction_bits;
  return s.has_inf ? inf - 1 : (inf | ((std::uint64_t{1} << s.fraction_bits) - 1)) - 1;
}

constexpr std::uint64_t infinity(Format f, bool negative) {
  const FormatSpec s = spec(f);
  if (!s.has_inf) return canonical_nan(f);
  return with_sign(f, negative, ((std::uint64_t{1} << s.exponent_bits) - 1) << s.fraction_bits);
}

constexpr bool rounds_up(Round r, bool negative, bool odd, Wide rest, Wide half) {
  switch (r) {
    case Round::rn:
      return rest > half || (rest == half && odd);
    case Round::rna:
      return rest >= half;
    case Round::rz:
      return false;
    case Round::rm:
      return negative && rest != 0;
    case Round::rp:
      return !negative && rest != 0;
  }
  return false;
}

// magnitude / 2^shift, rounded to an integer of at most 64 bits.
constexpr std::uint64_t shift_right_round(Round r, bool negative, Wide magnitude, int shift) {
  if (shift <= 0) return static_cast<std::uint64_t>(magnitude << -shift);
  const Wide m = shift > 126 ? shift_right_jam(magnitude, shift - 2) : magnitude;
  const int n = std::min(shift, 126);
  const int s = shift > 126 ? 2 : n;
  const Wide kept = m >> s;
  return static_cast<std::uint64_t>(kept) +
         rounds_up(r, negative, static_cast<bool>(kept & 1), m & ((Wide{1} << s) - 1), Wide{1} << (s - 1));
}

constexpr std::uint64_t apply_clamps(Format f, const FloatMode& mode, std::uint64_t bits) {
  const Number n = unpack(f, bits);
  if (mode.sat) {
    if (n.kind == Kind::nan || n.negative) return 0;
    const auto one = static_cast<std::uint64_t>(spec(f).bias())
                     << (spec(f).fraction_bits + spec(f).storage_shift);
    return std::min(bits, one);
  }
  if (mode.relu) {
    if (n.kind == Kind::nan) return canonical_nan(f);
    if (n.negative) return 0;
  }
  return bits;
}

constexpr std::uint64_t pack(Format f, const FloatMode& mode, const Number& n) {
  const FormatSpec s = spec(f);
  std::uint64_t bits = 0;
  if (n.kind == Kind::nan) {
    bits = canonical_nan(f);
  } else if (n.kind == Kind::zero) {
    bits = with_sign(f, n.negative, 0);
  } else if (n.kind == Kind::inf) {
    bits = mode.satfinite ? with_sign(f, n.negative, largest_finite(f)) : infinity(f, n.negative);
  } else {
    int e = std::max(width_of(n.magnitude) - 1 + n.exponent, s.min_exponent());
    const int shift = e - s.fraction_bits - n.exponent;
    std::uint64_t kept = shift_right_round(mode.round, n.negative, n.magnitude, shift);
    if (kept >> (s.fraction_bits + 1)) {
      kept >>= 1;
      ++e;
    }
    const std::uint64_t hidden = std::uint64_t{1} << s.fraction_bits;
    const std::uint64_t field = kept >= hidden ? static_cast<std::uint64_t>(e + s.bias()) : 0;
    const std::uint64_t packed = field << s.fraction_bits | (kept & (hidden - 1));
    if (e > s.max_exponent() || packed > largest_finite(f)) {
      const bool away = mode.round == Round::rn || mode.round == Round::rna ||
                        mode.round == (n.negative ? Round::rm : Round::rp);
      bits = away && !mode.satfinite ? infinity(f, n.negative) : with_sign(f, n.negative, largest_finite(f));
    } else {
      bits = with_sign(f, n.negative, packed);
      if (mode.ftz) bits = flush(f, bits);
    }
  }
  return mode.sat || mode.relu ? apply_clamps(f, mode, bits) : bits;
}

constexpr Number nan() {
  return {Kind::nan, false, 0, 0};
}

// Exact for magnitudes up to 64 bits.
constexpr Number multiply(const Number& a, const Number& b) {
  if (a.kind == Kind::nan || b.kind == Kind::nan) return nan();
  const bool negative = a.negative != b.negative;
  if (a.kind == Kind::inf || b.kind == Kind::inf)
    return a.kind == Kind::zero || b.kind == Kind::zero ? nan() : Number{Kind::inf, negative, 0, 0};
  if (a.kind == Kind::zero || b.kind == Kind::zero) return {Kind::zero, negative, 0, 0};
  return {Kind::finite, negative, a.exponent + b.exponent, a.magnitude * b.magnitude};
}

constexpr Number normalised(Number n, int width) {
  const int shift = width - width_of(n.magnitude);
  n.magnitude <<= shift;
  n.exponent -= shift;
  return n;
}

// Exact but for a jammed bit far below any rounding position (operands up to 106 bits).
constexpr Number add(const Number& a, const Number& b, Round r) {
  if (a.kind == Kind::nan || b.kind == Kind::nan) return nan();
  if (a.kind == Kind::inf || b.kind == Kind::inf) {
    if (a.kind == b.kind && a.negative != b.negative) return nan();
    return a.kind == Kind::inf ? a : b;
  }
  const bool zero_sign = r == Round::rm;  // sign of an exact zero from opposite signs
  if (a.kind == Kind::zero && b.kind == Kind::zero)
    return {Kind::zero, a.negative == b.negative ? a.negative : zero_sign, 0, 0};
  if (a.kind == Kind::zero) return b;
  if (b.kind == Kind::zero) return a;
  Number x = normalised(a, 126), y = normalised(b, 126);
  if (x.exponent < y.exponent) std::swap(x, y);
  y.magnitude = shift_right_jam(y.magnitude, x.exponent - y.exponent);
  if (x.negative == y.negative) return {Kind::finite, x.negative, x.exponent, x.magnitude + y.magnitude};
  if (x.magnitude == y.magnitude) return {Kind::zero, zero_sign, 0, 0};
  if (x.magnitude > y.magnitude) return {Kind::finite, x.negative, x.exponent, x.magnitude - y.magnitude};
  return {Kind::finite, y.negative, x.exponent, y.magnitude - x.magnitude};
}

constexpr Number divide(const Number& a, const Number& b) {
  if (a.kind == Kind::nan || b.kind == Kind::nan) return nan();
  const bool negative = a.negative != b.negative;
  if (a.kind == Kind::inf) return b.kind == Kind::inf ? nan() : Number{Kind::inf, negative, 0, 0};
  if (b.kind == Kind::inf) return {Kind::zero, negative, 0, 0};
  if (b.kind == Kind::zero) return a.kind == Kind::zero ? nan() : Number{Kind::inf, negative, 0, 0};
  if (a.kind == Kind::zero) return {Kind::zero, negative, 0, 0};
  const Number x = normalised(a, 126), y = normalised(b, 53);
  const Wide q = x.magnitude / y.magnitude, rest = x.magnitude % y.magnitude;
  return {Kind::finite, negative, x.exponent - y.exponent, q | static_cast<Wide>(rest != 0)};
}

constexpr Number square_root(const Number& a) {
  if (a.kind == Kind::nan || a.kind == Kind::zero) return a;
  if (a.negative) return nan();
  if (a.kind == Kind::inf) return a;
  Number x = normalised(a, 126);
  if (x.exponent & 1) {
    x.magnitude >>= 1;  // bit 0 is clear: the operand had at most 53 bits
    ++x.exponent;
  }
  Wide root = 0, rest = x.magnitude;
  for (Wide bit = Wide{1} << 124; bit != 0; bit >>= 2) {
    if (rest >= root + bit) {
      rest -= root + bit;
      root = (root >> 1) + bit;
    } else {
      root >>= 1;
    }
  }
  return {Kind::finite, false, x.exponent / 2, root | static_cast<Wide>(rest != 0)};
}

constexpr Number operand(Format f, const FloatMode& mode, std::uint64_t bits) {
  return unpack(f, mode.ftz ? flush(f, bits) : bits);
}

}  // namespace ptxops::virt::numerics::soft
