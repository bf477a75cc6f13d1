// A wgmma operand in shared memory: the 64-bit matrix descriptor, and the gather of its bytes into the packed
// K-major rows of 32 bytes that numerics::mma takes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "driver/virtual/async/tensor_box.h"

namespace ptxops::virt {

inline constexpr uint32_t kOperandRow = 32;  // bytes of K one instruction reads

struct MatrixDescriptor {
  uint32_t start = 0;         // shared address of the first byte
  uint32_t lbo = 0, sbo = 0;  // leading and stride byte offsets
  uint32_t base_offset = 0;   // 128-byte lines by which the swizzle pattern is shifted
  TensorMapSwizzle swizzle = TensorMapSwizzle::kNone;

  // The fields of `bits`; a reason why they are illegal, or empty.
  std::string set(uint64_t bits);
};

// Byte offset from the descriptor's start, before swizzling, of byte `k_byte` (0..31) of row `row` (along M
// or N), K-major.
inline uint32_t k_major_offset(const MatrixDescriptor& d, uint32_t row, uint32_t k_byte) {
  if (d.swizzle == TensorMapSwizzle::kNone)
    return row / 8 * d.sbo + row % 8 * 16 + k_byte / 16 * d.lbo + k_byte % 16;
  return row / 8 * d.sbo + row % 8 * swizzle_bytes(d.swizzle) + k_byte;
}
// The same, MN-major (2-byte elements): byte `row_byte` along M or N of the line with index `k`.
inline uint32_t mn_major_offset(const MatrixDescriptor& d, uint32_t row_byte, uint32_t k) {
  if (d.swizzle == TensorMapSwizzle::kNone)
    return row_byte / 16 * d.sbo + row_byte % 16 + k % 8 * 16 + k / 8 * d.lbo;
  const uint32_t s = swizzle_bytes(d.swizzle);
  return row_byte % s + row_byte / s * d.lbo + k % 8 * s + k / 8 * d.sbo;
}

// Shared address of the 16-byte chunk that holds this offset: the swizzle acts on absolute addresses, its row
// phase counted from where the pattern starts.
inline uint32_t chunk_address(const MatrixDescriptor& d, uint32_t offset) {
  const uint32_t address = (d.start + offset) & 0x3FFFF;
  const uint32_t phase = address - (d.base_offset << 7);
  return (address ^ (swizzle(phase, d.swizzle) ^ phase)) & ~15u;
}

// Copies rows [first_row, first_row + rows) of the operand to `out`, 32 bytes each. `row_order`: rows of each
// block of 8 in the order 0,2,4,6,1,3,5,7 (see wgmma.cpp). `check(address)` is called for each 16-byte chunk
// first and stops the gather by returning false; then the result is false.
template <class Check>
bool gather_k_major(const MatrixDescriptor& d, const std::byte* smem, uint32_t first_row, uint32_t rows,
                    bool split_pairs, std::byte* out, Check check) {
  for (uint32_t r = 0; r < rows; ++r) {
    const uint32_t in_block = r % 8;
    const uint32_t row =
        first_row + r - in_block + (split_pairs ? in_block % 4 * 2 + in_block / 4 : in_block);
    for (uint32_t half = 0; half < kOperandRow; half += 16) {
      const uint32_t address = chunk_address(d, k_major_offset(d, row, half));
      if (!check(address)) return false;
      __builtin_memcpy(out + r * kOperandRow + half, smem + address, 16);
    }
  }
  return true;
}

// gather_k_major without a check for each chunk, where one for all will do: every block of 8 rows looks like
// the first one, and everything read lies in [begin, end). False, and nothing is promised of `out`,
// otherwise.
bool gather_blocks(const MatrixDescriptor& d, const std::byte* smem, uint32_t begin, uint32_t end,
                   uint32_t first_row, uint32_t rows, bool split_pairs, std::byte* out);

// The 8 x 8 block of 2-byte elements whose lines (constant k) are at `line[0..7]`, transposed: out[r] gets
// the r-th element of every line, 16 bytes.
void transpose_8x8(const std::byte* const* line, std::byte* const* out);

template <class Check>
bool gather_mn_major(const MatrixDescriptor& d, const std::byte* smem, uint32_t first_row, uint32_t rows,
                     bool split_pairs, std::byte* out, Check check) {
  for (uint32_t r = 0; r < rows; r += 8) {
    for (uint32_t k = 0; k < 16; k += 8) {
      const std::byte* lines[8];
      std::byte* targets[8];
      for (uint32_t i = 0; i < 8; ++i) {
        const uint32_t address = chunk_address(d, mn_major_offset(d, (first_row + r) * 2, k + i));
        if (!check(address)) return false;
        lines[i] = smem + address;
        const uint32_t place = split_pairs ? i / 2 + i % 2 * 4 : i;
        targets[i] = out + (r + place) * kOperandRow + k * 2;
      }
      transpose_8x8(lines, targets);
    }
  }
  return true;
}

}  // namespace ptxops::virt
