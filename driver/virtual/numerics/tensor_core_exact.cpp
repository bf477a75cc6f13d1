#include "driver/virtual/numerics/tensor_core_exact.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

namespace ptxops::virt::numerics {
namespace {

enum class Kind : std::uint8_t { finite, inf, nan };

// |value| = significand * 2^(exponent - fraction_bits); subnormals keep the format's least exponent.
struct Decoded {
  std::uint32_t significand;
  int exponent;
  bool negative;
  Kind kind;
};

struct Format {
  int exponent_bits, fraction_bits;
  bool has_inf;  // false: e4m3, where only the all-ones pattern is NaN
};

constexpr Format kF32{8, 23, true};
constexpr Format kF16{5, 10, true};

constexpr Format format_of(MmaType t) {
  switch (t) {
    case MmaType::bf16:
      return {8, 7, true};
    case MmaType::tf32:
      return {8, 10, true};  // after the low 13 bits are dropped
    case MmaType::e4m3:
      return {4, 3, false};
    case MmaType::e5m2:
      return {5, 2, true};
    default:
      return kF16;
  }
}

Decoded decode(const Format& f, std::uint32_t bits) {
  const std::uint32_t fraction = bits & ((1u << f.fraction_bits) - 1);
  const int field_max = (1 << f.exponent_bits) - 1;
  const int field = static_cast<int>(bits >> f.fraction_bits) & field_max;
  const bool negative = (bits >> (f.fraction_bits + f.exponent_bits)) & 1;
  const int bias = field_max >> 1;
  Kind kind = Kind::finite;
  if (field == field_max) {
    if (f.has_inf)
      kind = fraction ? Kind::nan : Kind::inf;
    else if (fraction == (1u << f.fraction_bits) - 1)
      kind = Kind::nan;
  }
  const std::uint32_t hidden = field ? 1u << f.fraction_bits : 0;
  return {fraction | hidden, std::max(field, 1) - bias, negative, kind};
}

std::uint32_t element_bits(MmaType t, const std::byte* row, int k) {
  if (t == MmaType::tf32) {
    std::uint32_t v;
    std::memcpy(&v, row + 4 * k, 4);
    return v >> 13;
  }
  if (t == MmaType::f16 || t == MmaType::bf16) {
    std::uint16_t v;
    std::memcpy(&v, row + 2 * k, 2);
    return v;
  }
  return static_cast<std::uint32_t>(row[k]);
}

// magnitude * 2^shift, truncated.
std::uint64_t shift_truncate(std::uint64_t magnitude, int shift) {
  if (shift >= 0) return magnitude << shift;
  return shift <= -64 ? 0 : magnitude >> -shift;
}

struct Result {
  Format format;
  int fraction_bits;  // kept, <= format.fraction_bits
  bool nearest;       // round to nearest even, else toward zero
};

std::uint32_t infinity(const Format& f, bool negative) {
  const std::uint32_t field = (1u << f.exponent_bits) - 1;
  return (field | (negative ? 1u << f.exponent_bits : 0)) << f.fraction_bits;
}

// sum * 2^scale, rounded once.
std::uint32_t round_result(const Result& r, std::int64_t sum, int scale) {
  if (sum == 0) return 0;
  const bool negative = sum < 0;
  const auto magnitude = static_cast<std::uint64_t>(negative ? -sum : sum);
  const int bias = (1 << (r.format.exponent_bits - 1)) - 1;
  int e = std::max(static_cast<int>(std::bit_width(magnitude)) - 1 + scale, 1 - bias);
  const int shift = scale - (e - r.fraction_bits);
  std::uint64_t kept = shift_truncate(magnitude, shift);
  if (r.nearest && shift < 0 && shift > -64) {
    const std::uint64_t rest = magnitude - (kept << -shift), half = std::uint64_t{1} << (-shift - 1);
    if (rest > half || (rest == half && (kept & 1))) ++kept;
    if (kept >> (r.fraction_bits + 1)) {
      kept >>= 1;
      ++e;
    }
  }
  if (e > bias) return infinity(r.format, negative);
  const std::uint64_t hidden = std::uint64_t{1} << r.fraction_bits;
  const std::uint32_t field = kept >= hidden ? static_cast<std::uint32_t>(e + bias) : 0;
  const auto fraction = static_cast<std::uint32_t>(kept & (hidden - 1))
                        << (r.format.fraction_bits - r.fraction_bits);
  const std::uint32_t sign = negative ? 1u << (r.format.exponent_bits + r.format.fraction_bits) : 0;
  return sign | (field << r.format.fraction_bits) | fraction;
}

std::uint32_t float_element(const MmaShape& s, const std::byte* a_row, const std::byte* b_row,
                            std::uint32_t c_bits) {
  const Format fa = format_of(s.a), fb = format_of(s.b);
  const Format fd = s.d == AccType::f16 ? kF16 : kF32;
  const std::uint32_t canonical_nan = (1u << (fd.exponent_bits + fd.fraction_bits)) - 1;
  const int fraction = mma_fraction_bits(s.a);

  Decoded terms[33];  // products first, then c
  int fractions[33];
  int count = 0, top = s.d == AccType::f16 ? kMinExponentF16 : kMinExponentF32;
  bool plus_inf = false, minus_inf = false;
  const auto add = [&](const Decoded& t, int fraction_bits) {
    if (t.kind == Kind::inf) {
      (t.negative ? minus_inf : plus_inf) = true;
    } else if (t.significand != 0) {
      top = std::max(top, t.exponent);
      fractions[count] = fraction_bits;
      terms[count++] = t;
    }
  };

  for (int k = 0; k < s.k; ++k) {
    const Decoded a = decode(fa, element_bits(s.a, a_row, k));
    const Decoded b = decode(fb, element_bits(s.b, b_row, k));
    if (a.kind == Kind::nan || b.kind == Kind::nan) return canonical_nan;
    const bool any_inf = a.kind == Kind::inf || b.kind == Kind::inf;
    const std::uint32_t significand = a.significand * b.significand;
    if (any_inf && significand == 0) return canonical_nan;  // 0 * Inf
    add({significand, a.exponent + b.exponent, (a.negative != b.negative) != (s.negate_a != s.negate_b),
         any_inf ? Kind::inf : Kind::finite},
        fa.fraction_bits + fb.fraction_bits);
  }
  if (s.accumulate) {
    const Decoded c = decode(fd, c_bits);
    if (c.kind == Kind::nan) return canonical_nan;
    add(c, fd.fraction_bits);
  }
  if (plus_inf && minus_inf) return canonical_nan;
  if (plus_inf || minus_inf) return infinity(fd, minus_inf);

  std::int64_t sum = 0;
  for (int i = 0; i < count; ++i) {
    const std::uint64_t t =
        shift_truncate(terms[i].significand, fraction - fractions[i] + terms[i].exponent - top);
    sum += terms[i].negative ? -static_cast<std::int64_t>(t) : static_cast<std::int64_t>(t);
  }
  const Result result =
      s.d == AccType::f16 ? Result{kF16, 10, true} : Result{kF32, mma_f32_result_bits(s.a), false};
  return round_result(result, sum, top - fraction);
}

std::uint32_t integer_element(const MmaShape& s, const std::byte* a_row, const std::byte* b_row,
                              std::uint32_t c) {
  std::int64_t sum = s.accumulate ? static_cast<std::int32_t>(c) : 0;
  const auto value = [](MmaType t, std::byte x) -> std::int64_t {
    return t == MmaType::s8 ? static_cast<std::int8_t>(x) : static_cast<std::int64_t>(x);
  };
  for (int i = 0; i < kMmaRowBytes; ++i) {
    if (s.a == MmaType::b1)
      sum += std::popcount(static_cast<std::uint8_t>(a_row[i] & b_row[i]));
    else
      sum += value(s.a, a_row[i]) * value(s.b, b_row[i]);
  }
  if (s.satfinite)
    sum = std::clamp<std::int64_t>(sum, std::numeric_limits<std::int32_t>::min(),
                                   std::numeric_limits<std::int32_t>::max());
  return static_cast<std::uint32_t>(sum);
}

}  // namespace

std::uint32_t mma_element(const MmaShape& s, const std::byte* a_row, const std::byte* b_row,
                          std::uint32_t c) {
  return s.d == AccType::s32 ? integer_element(s, a_row, b_row, c) : float_element(s, a_row, b_row, c);
}

}  // namespace ptxops::virt::numerics
