// Names for the conversions of numerics/ that ALU handlers use.
#pragma once

#include "driver/virtual/exec/alu_types.h"
#include "driver/virtual/numerics/convert.h"

namespace ptxops::virt::alu {

PTXOPS_ALU uint32_t bits_of(float v) {
  return std::bit_cast<uint32_t>(v);
}

using numerics::Format;
PTXOPS_ALU float f32_from_f16(uint16_t h) {
  return numerics::to_float<Format::f16>(h);
}
PTXOPS_ALU float f32_from_bf16(uint16_t h) {
  return numerics::to_float<Format::bf16>(h);
}
PTXOPS_ALU float f32_from_e4m3(uint8_t b) {
  return numerics::to_float<Format::e4m3>(b);
}
PTXOPS_ALU float f32_from_e5m2(uint8_t b) {
  return numerics::to_float<Format::e5m2>(b);
}

inline constexpr numerics::FloatMode kSatfinite{.satfinite = true};
PTXOPS_ALU uint16_t f16_from_f32(float v) {
  return numerics::narrow_rn<Format::f16>(v);
}
PTXOPS_ALU uint16_t bf16_from_f32(float v) {
  return numerics::narrow_rn<Format::bf16>(v);
}
PTXOPS_ALU uint8_t e4m3_from_f32(float v) {
  return numerics::narrow_rn<Format::e4m3, kSatfinite>(v);
}
PTXOPS_ALU uint8_t e5m2_from_f32(float v) {
  return numerics::narrow_rn<Format::e5m2, kSatfinite>(v);
}

}  // namespace ptxops::virt::alu
