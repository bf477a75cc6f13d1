// Names for the conversions of numerics/ that ALU handlers use, and exact intermediate results of 16-bit arithmetic.
#pragma once

#include "driver/virtual/exec/alu_types.h"
#include "driver/virtual/numerics/convert.h"

namespace ptxops::virt::alu {

PTXOPS_ALU uint32_t bits_of(float v) { return std::bit_cast<uint32_t>(v); }

using numerics::Format;
PTXOPS_ALU float f32_from_f16(uint16_t h) { return numerics::to_float<Format::f16>(h); }
PTXOPS_ALU float f32_from_bf16(uint16_t h) { return numerics::to_float<Format::bf16>(h); }
PTXOPS_ALU float f32_from_e4m3(uint8_t b) { return numerics::to_float<Format::e4m3>(b); }
PTXOPS_ALU float f32_from_e5m2(uint8_t b) { return numerics::to_float<Format::e5m2>(b); }

inline constexpr numerics::FloatMode kSatfinite{.satfinite = true};
PTXOPS_ALU uint16_t f16_from_f32(float v) { return numerics::narrow_rn<Format::f16>(v); }
PTXOPS_ALU uint16_t bf16_from_f32(float v) { return numerics::narrow_rn<Format::bf16>(v); }
PTXOPS_ALU uint8_t e4m3_from_f32(float v) { return numerics::narrow_rn<Format::e4m3, kSatfinite>(v); }
PTXOPS_ALU uint8_t e5m2_from_f32(float v) { return numerics::narrow_rn<Format::e5m2, kSatfinite>(v); }

// Subnormal f16 to zero of its sign.
PTXOPS_ALU uint16_t flush_f16(uint16_t h) { return (h & 0x7c00u) == 0 ? h & 0x8000u : h; }

// ---- Exact results on their way to a narrow format --------------------------------------------------------------
// Rounding to odd keeps what a second rounding, to at least two bits less, must know.

// v, rounded to odd.
PTXOPS_ALU float odd_f32(double v) {
  const auto f = static_cast<float>(v);
  const double back = f;
  const uint32_t u = bits_of(f) - static_cast<uint32_t>(__builtin_fabs(back) > __builtin_fabs(v));
  const bool inexact = (back < v) | (back > v);
  return inexact ? std::bit_cast<float>(u | 1) : f;
}
// a + b, rounded to odd.
PTXOPS_ALU double odd_sum(double a, double b) {
  const double s = a + b, bb = s - a;
  const double error = (a - (s - bb)) + (b - bb);
  const auto u = std::bit_cast<uint64_t>(s);
  const bool inexact = (error < 0) | (error > 0);
  const uint64_t away = u + 1, toward = u - 1;
  const uint64_t odd = (u & 1) ? u : ((error > 0) == (s > 0) ? away : toward);
  return inexact ? std::bit_cast<double>(odd) : s;
}

}  // namespace ptxops::virt::alu
