// Reference arithmetic for the oracles, independent of the virtual device: formats decoded to and rounded
// from 113-bit binary floating point with a sticky remainder.
#pragma once

#include <cstdint>

#include "driver/virtual/isa/types.h"

namespace ptxops::conformance {

using Quad = __float128;

enum class Round { nearest_even, toward_zero, down, up, nearest_away };
// "rn" "rz" "rm" "rp" "rna", or "" for nearest even; also the integer ones "rni" ...
Round round_from(const char* begin, const char* end);
template <class String>
Round round_of(const String& token) {
  return round_from(token.data(), token.data() + token.size());
}

struct Format {
  int exponent_bits, mantissa_bits;
  bool e4m3 = false;  // no infinity; only the all-ones pattern is NaN
  int bias() const { return (1 << (exponent_bits - 1)) - 1; }
  int bits() const { return 1 + exponent_bits + mantissa_bits; }
};
inline constexpr Format kF16{5, 10}, kBf16{8, 7}, kTf32{8, 10}, kF32{8, 23}, kF64{11, 52};
inline constexpr Format kE4m3{4, 3, true}, kE5m2{5, 2};

// nullptr for types that are no single float.
const Format* format_of(virt::isa::Type type);

Quad decode(const Format& format, uint64_t bits);  // NaN and infinity included
bool is_nan(const Format& format, uint64_t bits);
bool is_subnormal(const Format& format, uint64_t bits);
uint64_t canonical_nan(const Format& format);
uint64_t sign_bit(const Format& format);
bool is_nan(Quad value);
bool is_inf(Quad value);
bool is_negative(Quad value);  // sign bit

// `value` (+ an infinitesimal of the sign of `sticky`) rounded to `format`; overflow as IEEE 754 says.
uint64_t encode(const Format& format, Quad value, int sticky = 0, Round round = Round::nearest_even);

// Exact sum: the rounded quad, and the sign of what it lost.
struct Sum {
  Quad value;
  int sticky;
};
Sum exact_add(Quad a, Quad b);

// `value` rounded to an integer.
Quad to_integral(Quad value, Round round);

}  // namespace ptxops::conformance
