// The box of a tensor copy: which global rows it covers and where they lie in shared memory. Pure geometry
// and data movement; faults and time are the business of tensor_copy.cpp.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "driver/virtual/memory/tensor_map.h"

namespace ptxops::virt {

// Swizzle of shared memory: the 16-byte chunk index within a 128-byte line is XORed with line number bits.
// Address bits 4.. ^= bits 7.., as many as the mode says.
inline uint32_t swizzle(uint32_t address, TensorMapSwizzle mode) {
  const uint32_t bits = static_cast<uint32_t>(mode);  // none 0, 32B 1, 64B 2, 128B 3
  return address ^ (address >> 3 & (((1u << bits) - 1) << 4));
}
inline uint32_t swizzle_bytes(TensorMapSwizzle mode) {
  return 16u << static_cast<uint32_t>(mode);
}

// One row of a box: elements that are contiguous in global memory.
struct BoxRow {
  uint64_t address = 0;  // of the first element inside the tensor
  uint32_t offset = 0;   // of the row's first element (inside or not) from the box's start in shared memory
  uint32_t first = 0, count = 0;  // elements inside the tensor: [first, first + count) of the row
};

struct TensorBox {
  TensorMap map;
  int32_t start[5] = {};   // coordinates
  uint32_t count[5] = {};  // elements of the box in shared memory, by dimension
  uint32_t element = 0;    // bytes
  uint32_t row_bytes = 0;  // of a row in shared memory
  uint32_t rows = 0;
  uint32_t bytes() const { return row_bytes * rows; }

  // From a map and coordinates; a reason why this device cannot copy such a box, or empty.
  std::string set(const TensorMap& map, const int32_t* coordinates, int dimensions);

  // Calls f(const BoxRow&) for every row, in shared memory order.
  template <class F>
  void for_rows(F f) const {
    const int64_t begin = start[0] < 0 ? -int64_t{start[0]} : 0;
    const int64_t end = std::min<int64_t>(count[0], static_cast<int64_t>(map.dim(0)) - start[0]);
    const bool any = begin < end;
    uint32_t index[5] = {};
    const int rank = map.rank();
    for (uint32_t r = 0; r < rows; ++r) {
      BoxRow row;
      row.offset = r * row_bytes;
      bool inside = any;
      uint64_t address = map.global_address;
      for (int d = 1; d < rank; ++d) {
        const int64_t g = int64_t{start[d]} + int64_t{index[d]} * map.element_stride[d];
        if (g < 0 || g >= static_cast<int64_t>(map.dim(d))) inside = false;
        address += static_cast<uint64_t>(g) * map.global_stride[d - 1];
      }
      if (inside) {
        row.first = static_cast<uint32_t>(begin);
        row.count = static_cast<uint32_t>(end - begin);
        row.address = address + static_cast<uint64_t>(start[0] + begin) * element;
      }
      f(row);
      for (int d = 1; d < rank; ++d) {
        if (++index[d] < count[d]) break;
        index[d] = 0;
      }
    }
  }

  // Moves the whole box between global memory and the CTA's shared memory; `base` is the shared address of
  // the box and smem[a] the byte at shared address a. Bytes outside the tensor: loads fill them, stores leave
  // them alone.
  void load(std::byte* smem, uint32_t base) const;
  void store(const std::byte* smem, uint32_t base) const;
  // Instead of storing, calls reduce(global, source, elements) for each row.
  void reduce(const std::byte* smem, uint32_t base,
              void (*reduce)(std::byte* p, const std::byte* source, uint32_t count)) const;
};

}  // namespace ptxops::virt
