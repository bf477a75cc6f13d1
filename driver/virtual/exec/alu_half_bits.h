// f16 and bf16 to f32: exact, and free of branches so that lane loops vectorise.
#pragma once

#include "driver/virtual/exec/alu_types.h"

namespace ptxops::virt::alu {

PTXOPS_ALU float f32_from_f16(uint16_t h) {
  const uint32_t magnitude = (h & 0x7fffu) << 13;
  const uint32_t scaled = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) * 0x1p112f);
  const uint32_t special = magnitude | 0x7f800000u;  // infinity, NaN
  return std::bit_cast<float>((magnitude >= 0x0f800000u ? special : scaled) | (h & 0x8000u) << 16);
}
PTXOPS_ALU float f32_from_bf16(uint16_t h) { return std::bit_cast<float>(uint32_t{h} << 16); }

// Subnormal f16 to zero of its sign.
PTXOPS_ALU uint16_t flushed_f16(uint16_t h) { return (h & 0x7c00u) == 0 ? h & 0x8000u : h; }

}  // namespace ptxops::virt::alu
