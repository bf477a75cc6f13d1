// BF16, FP16 and e4m3 for the oracles: bits to values and the nearest bits to a value, from the formats'
// definitions. Shares no code with the library or the virtual device.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace ptxops::test {

// The value nearest to a finite x, ties to even, that has `bits` significant bits, fewer below
// 2^least_exponent.
inline double rounded(double x, int bits, int least_exponent) {
  if (x == 0) return x;
  const int exponent = std::max(std::ilogb(x), least_exponent);
  return std::ldexp(std::rint(std::ldexp(x, bits - 1 - exponent)), exponent - bits + 1);
}

namespace formats {

// A magnitude that has been rounded, not above the largest: its exponent and mantissa fields.
inline int fields(double magnitude, int mantissa_bits, int least_exponent) {
  const int exponent = std::max(magnitude == 0 ? least_exponent : std::ilogb(magnitude), least_exponent);
  const int units =
      static_cast<int>(std::ldexp(magnitude, mantissa_bits - exponent));  // subnormal: below 2^mantissa_bits
  return ((exponent - least_exponent) << mantissa_bits) + units;
}
// The value of finite fields.
inline double value(int fields, int mantissa_bits, int least_exponent) {
  const int exponent = fields >> mantissa_bits, mantissa = fields & ((1 << mantissa_bits) - 1);
  return std::ldexp(exponent ? mantissa + (1 << mantissa_bits) : mantissa,
                    std::max(exponent - 1, 0) + least_exponent - mantissa_bits);
}

}  // namespace formats

inline float from_bf16(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}
// NaN becomes the canonical 0x7fff of PTX.
inline uint16_t to_bf16(double x) {
  if (std::isnan(x)) return 0x7fff;
  const uint16_t sign = std::signbit(x) ? 0x8000 : 0;
  const double magnitude = std::isinf(x) ? x : rounded(x, 8, -126);
  if (std::fabs(magnitude) >= 0x1p128) return sign | 0x7f80;
  return sign | static_cast<uint16_t>(formats::fields(std::fabs(magnitude), 7, -126));
}

inline double from_f16(uint16_t bits) {
  constexpr double kInf = std::numeric_limits<double>::infinity(),
                   kNaN = std::numeric_limits<double>::quiet_NaN();
  const int magnitude = bits & 0x7fff;
  const double v = magnitude > 0x7c00    ? kNaN
                   : magnitude == 0x7c00 ? kInf
                                         : formats::value(magnitude, 10, -14);
  return bits & 0x8000 ? -v : v;
}
inline uint16_t to_f16(double x) {
  if (std::isnan(x)) return 0x7fff;
  const uint16_t sign = std::signbit(x) ? 0x8000 : 0;
  const double magnitude = std::fabs(std::isinf(x) ? x : rounded(x, 11, -14));
  return sign | static_cast<uint16_t>(magnitude >= 0x1p16 ? 0x7c00 : formats::fields(magnitude, 10, -14));
}

// Not of the NaN codes 0x7f and 0xff.
inline double from_e4m3(uint8_t code) {
  const double v = formats::value(code & 0x7f, 3, -6);
  return code & 0x80 ? -v : v;
}
// Saturates at 448; NaN becomes 0x7f.
inline uint8_t to_e4m3(double x) {
  if (std::isnan(x)) return 0x7f;
  const uint8_t sign = std::signbit(x) ? 0x80 : 0;
  const double magnitude = std::min(std::fabs(std::isinf(x) ? 448 : rounded(x, 4, -6)), 448.0);
  return sign | static_cast<uint8_t>(formats::fields(magnitude, 3, -6));
}

}  // namespace ptxops::test
