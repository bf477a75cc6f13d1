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
