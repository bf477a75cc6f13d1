#include "tests/conformance/reference.h"

#include <cstring>
#include <string_view>

namespace ptxops::conformance {
namespace {

using Wide = unsigned __int128;
constexpr int kQuadMantissa = 112, kQuadBias = 16383;

Wide to_bits(Quad v) {
  Wide bits;
  std::memcpy(&bits, &v, 16);
  return bits;
}
Quad from_bits(Wide bits) {
  Quad v;
  std::memcpy(&v, &bits, 16);
  return v;
}
Quad make(bool negative, Wide exponent, Wide mantissa) {
  return from_bits(Wide{negative} << 127 | exponent << kQuadMantissa | mantissa);
}
int exponent_field(Quad v) {
  return static_cast<int>(to_bits(v) >> kQuadMantissa & 0x7fff);
}
Wide mantissa_field(Quad v) {
  return to_bits(v) & ((Wide{1} << kQuadMantissa) - 1);
}

// 2^n, |n| < 16000.
Quad power(int n) {
  return make(false, static_cast<Wide>(n + kQuadBias), 0);
}

// Does rounding `kept` (lowest bit `odd`) go away from zero? `rest` in halves of a unit: below 0, 1 = exactly
// half ...
bool rounds_up(Round round, bool negative, bool odd, bool above_half, bool exactly_half, bool inexact) {
  switch (round) {
    case Round::nearest_even:
      return above_half || (exactly_half && odd);
    case Round::nearest_away:
      return above_half || exactly_half;
    case Round::toward_zero:
      return false;
    case Round::down:
      return negative && inexact;
    case Round::up:
      return !negative && inexact;
  }
  return false;
}

}  // namespace

Round round_from(const char* begin, const char* end) {
  const std::string_view t(begin, static_cast<size_t>(end - begin));
  if (t == "rz" || t == "rzi") return Round::toward_zero;
  if (t == "rm" || t == "rmi") return Round::down;
  if (t == "rp" || t == "rpi") return Round::up;
  if (t == "rna") return Round::nearest_away;
  return Round::nearest_even;
}

const Format* format_of(virt::isa::Type type) {
  using virt::isa::Type;
  switch (type) {
    case Type::f16:
      return &kF16;
    case Type::bf16:
      return &kBf16;
    case Type::f32:
      return &kF32;
    case Type::f64:
      return &kF64;
    case Type::e4m3:
      return &kE4m3;
    case Type::e5m2:
      return &kE5m2;
    default:
      return nullptr;
  }
}

bool is_nan(Quad v) {
  return exponent_field(v) == 0x7fff && mantissa_field(v) != 0;
}
bool is_inf(Quad v) {
  return exponent_field(v) == 0x7fff && mantissa_field(v) == 0;
}
bool is_negative(Quad v) {
  return to_bits(v) >> 127 != 0;
}

uint64_t sign_bit(const Format& f) {
  return uint64_t{1} << (f.exponent_bits + f.mantissa_bits);
}

bool is_nan(const Format& f, uint64_t bits) {
  const uint64_t exponent = bits >> f.mantissa_bits & ((uint64_t{1} << f.exponent_bits) - 1);
  const uint64_t mantissa = bits & ((uint64_t{1} << f.mantissa_bits) - 1);
  const bool top = exponent == (uint64_t{1} << f.exponent_bits) - 1;
  return f.e4m3 ? top && mantissa == (uint64_t{1} << f.mantissa_bits) - 1 : top && mantissa != 0;
}

bool is_subnormal(const Format& f, uint64_t bits) {
  const uint64_t exponent = bits >> f.mantissa_bits & ((uint64_t{1} << f.exponent_bits) - 1);
  return exponent == 0 && (bits & ((uint64_t{1} << f.mantissa_bits) - 1)) != 0;
}

uint64_t canonical_nan(const Format& f) {
  return (uint64_t{1} << (f.exponent_bits + f.mantissa_bits)) - 1;  // all ones but the sign
}

Quad decode(const Format& f, uint64_t bits) {
  const bool negative = bits & sign_bit(f);
  const int exponent = static_cast<int>(bits >> f.mantissa_bits & ((uint64_t{1} << f.exponent_bits) - 1));
  const uint64_t mantissa = bits & ((uint64_t{1} << f.mantissa_bits) - 1);
  if (is_nan(f, bits)) return make(negative, 0x7fff, Wide{1} << (kQuadMantissa - 1));
  if (!f.e4m3 && exponent == (1 << f.exponent_bits) - 1) return make(negative, 0x7fff, 0);
  const int shift = 1 - f.bias() - f.mantissa_bits;
  Quad v = exponent == 0
               ? static_cast<Quad>(mantissa) * power(shift)
               : static_cast<Quad>(mantissa | uint64_t{1} << f.mantissa_bits) * power(shift + exponent - 1);
  return negative ? -v : v;
}

uint64_t encode(const Format& f, Quad value, int sticky, Round round) {
  const bool negative = is_negative(value);
  const uint64_t sign = negative ? sign_bit(f) : 0;
  if (is_nan(value)) return canonical_nan(f);
  const uint64_t max_exponent = (uint64_t{1} << f.exponent_bits) - 1;
  const uint64_t infinity = f.e4m3 ? canonical_nan(f) : max_exponent << f.mantissa_bits;
  const uint64_t largest = infinity - 1;
  if (is_inf(value)) return sign | infinity;
  if (exponent_field(value) == 0) {  // zero (quad subnormals do not occur)
    if (sticky == 0) return sign;
    const bool away = rounds_up(round, sticky < 0, false, false, false, true);
    return (sticky < 0 ? sign_bit(f) : 0) | uint64_t{away};
  }
  // The magnitude as an integer of 113 bits, extended by 8 for the sticky remainder.
  Wide magnitude = (mantissa_field(value) | Wide{1} << kQuadMantissa) << 8;
  if (sticky != 0) magnitude += (sticky > 0) == !negative ? 1 : -1;
  const int exponent = exponent_field(value) - kQuadBias;  // of the leading bit at 112 + 8
  int drop = kQuadMantissa + 8 - f.mantissa_bits;
  const int min_exponent = 1 - f.bias();
  if (exponent < min_exponent) drop += min_exponent - exponent;
  Wide kept = 0;
  bool above_half = false, exactly_half = false, inexact = true;
  if (drop <= 122) {
    kept = magnitude >> drop;
    const Wide rest = magnitude & ((Wide{1} << drop) - 1), half = Wide{1} << (drop - 1);
    above_half = rest > half;
    exactly_half = rest == half;
    inexact = rest != 0;
  }
  if (rounds_up(round, negative, kept & 1, above_half, exactly_half, inexact)) ++kept;
  const int field = exponent < min_exponent ? 0 : exponent + f.bias() - 1;
  // `kept` has its leading one in place for normals: adding it to the field carries correctly.
  const Wide packed = (static_cast<Wide>(field) << f.mantissa_bits) + kept;
  if (packed >= infinity) {
    const bool to_infinity = round == Round::nearest_even || round == Round::nearest_away ||
                             (round == Round::up && !negative) || (round == Round::down && negative);
    return sign | (to_infinity ? infinity : largest);
  }
  return sign | static_cast<uint64_t>(packed);
}

Sum exact_add(Quad a, Quad b) {
  const Quad s = a + b;
  if (is_nan(s) || is_inf(s)) return {s, 0};
  // Knuth's two-sum: the error of the rounded sum is itself exact.
  const Quad bb = s - a;
  const Quad error = (a - (s - bb)) + (b - bb);
  return {s, error > 0 ? 1 : error < 0 ? -1 : 0};
}

Quad to_integral(Quad value, Round round) {
  if (is_nan(value) || is_inf(value)) return value;
  const int exponent = exponent_field(value) - kQuadBias;
  if (exponent >= kQuadMantissa) return value;
  const bool negative = is_negative(value);
  const Quad magnitude = negative ? -value : value;
  Wide kept = 0;
  bool above_half = false, exactly_half = false, inexact = magnitude != 0;
  if (exponent >= -1) {
    const Wide bits = mantissa_field(value) | Wide{1} << kQuadMantissa;
    const int drop = kQuadMantissa - exponent;
    kept = drop > kQuadMantissa ? 0 : bits >> drop;
    const Wide rest = bits & ((Wide{1} << drop) - 1), half = Wide{1} << (drop - 1);
    above_half = rest > half;
    exactly_half = rest == half;
    inexact = rest != 0;
  }
  if (rounds_up(round, negative, kept & 1, above_half, exactly_half, inexact)) ++kept;
  const Quad result = static_cast<Quad>(kept);
  return negative ? -result : result;
}

}  // namespace ptxops::conformance
