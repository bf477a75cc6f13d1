#include "driver/virtual/async/matrix_operand.h"

#include <fmt/format.h>

#include <cstring>

namespace ptxops::virt {

std::string MatrixDescriptor::set(uint64_t bits) {
  constexpr uint64_t kFields = 0x3FFFull | 0x3FFFull << 16 | 0x3FFFull << 32 | 7ull << 49 | 3ull << 62;
  if (bits & ~kFields)
    return fmt::format("matrix descriptor {:#018x} has reserved bits {:#x} set", bits, bits & ~kFields);
  start = static_cast<uint32_t>(bits & 0x3FFF) << 4;
  lbo = static_cast<uint32_t>(bits >> 16 & 0x3FFF) << 4;
  sbo = static_cast<uint32_t>(bits >> 32 & 0x3FFF) << 4;
  base_offset = static_cast<uint32_t>(bits >> 49 & 7);
  constexpr TensorMapSwizzle kModes[] = {TensorMapSwizzle::kNone, TensorMapSwizzle::k128B,
                                         TensorMapSwizzle::k64B, TensorMapSwizzle::k32B};
  swizzle = kModes[bits >> 62];
  // Lines after which the pattern repeats: 2, 4 or 8 of 128 bytes.
  const uint32_t repeat = swizzle_bytes(swizzle) / 16;
  if (base_offset >= repeat)
    return fmt::format("matrix descriptor {:#018x} has base offset {}: expected less than {}", bits,
                       base_offset, repeat);
  return {};
}

bool gather_blocks(const MatrixDescriptor& d, const std::byte* smem, uint32_t begin, uint32_t end,
                   uint32_t first_row, uint32_t rows, bool split_pairs, std::byte* out) {
  // The swizzle looks at address bits below 8 lines of its width.
  const uint32_t period = d.swizzle == TensorMapSwizzle::kNone ? 16 : 8 * swizzle_bytes(d.swizzle);
  if (d.sbo % period || first_row % 8 || rows % 8) return false;
  const uint32_t from = first_row / 8 * d.sbo, steps = rows / 8 * d.sbo - d.sbo;
  uint32_t chunk[16];  // of the first block, in the order of `out`
  for (uint32_t r = 0; r < 8; ++r)
    for (uint32_t half = 0; half < 2; ++half) {
      const uint32_t offset = k_major_offset(d, split_pairs ? r % 4 * 2 + r / 4 : r, 16 * half);
      // Addresses that wrap around are left to the general gather.
      if (d.start + offset + from + steps > 0x3FFFF - period) return false;
      const uint32_t address = chunk_address(d, offset) + from;
      if (address < begin || address + steps + 16 > end) return false;
      chunk[2 * r + half] = address;
    }
  for (uint32_t block = 0; block < rows / 8; ++block)
    for (uint32_t i = 0; i < 16; ++i, out += 16) std::memcpy(out, smem + chunk[i] + block * d.sbo, 16);
  return true;
}

void transpose_8x8(const std::byte* const* line, std::byte* const* out) {
  using V16 = uint16_t __attribute__((vector_size(16)));
  using V32 = uint32_t __attribute__((vector_size(16)));
  using V64 = uint64_t __attribute__((vector_size(16)));
  V16 a[8];
  for (int i = 0; i < 8; ++i) std::memcpy(&a[i], line[i], 16);
  V32 b[8];  // pairs of lines interleaved: elements 0..3, then 4..7
  for (int i = 0; i < 4; ++i) {
    b[2 * i] = (V32)__builtin_shufflevector(a[2 * i], a[2 * i + 1], 0, 8, 1, 9, 2, 10, 3, 11);
    b[2 * i + 1] = (V32)__builtin_shufflevector(a[2 * i], a[2 * i + 1], 4, 12, 5, 13, 6, 14, 7, 15);
  }
  V64 c[8];  // four lines interleaved, two elements each
  for (int i = 0; i < 2; ++i)
    for (int j = 0; j < 2; ++j) {
      c[4 * i + 2 * j] = (V64)__builtin_shufflevector(b[4 * i + j], b[4 * i + 2 + j], 0, 4, 1, 5);
      c[4 * i + 2 * j + 1] = (V64)__builtin_shufflevector(b[4 * i + j], b[4 * i + 2 + j], 2, 6, 3, 7);
    }
  for (int j = 0; j < 4; ++j) {
    const V64 even = __builtin_shufflevector(c[j], c[4 + j], 0, 2),
              odd = __builtin_shufflevector(c[j], c[4 + j], 1, 3);
    std::memcpy(out[2 * j], &even, 16);
    std::memcpy(out[2 * j + 1], &odd, 16);
  }
}

}  // namespace ptxops::virt
