// Copies and fills: the work that moves bytes without a kernel. A transfer is checked when it is issued (its
// ranges lie in live allocations) and again when it runs (nobody freed them in between: that faults the
// context).
#pragma once

#include <cstdint>

#include "driver/virtual/api/runtime.h"

namespace ptxops::virt {

// A box of bytes: `depth` slices of `height` rows of `width` bytes. Pitches in bytes; slice_pitch only with
// depth > 1.
struct Box {
  uint64_t address = 0;   // of the first byte
  bool on_device = true;  // false: plain host memory, which is not tracked
  uint64_t row_pitch = 0, slice_pitch = 0;
};

struct Transfer {
  Box to, from;
  uint64_t width = 0, height = 1, depth = 1;
};

// Fills the boxes `target.to` with elements of `bytes` (1, 2, 4); widths in bytes.
struct Fill {
  Transfer target;
  uint32_t value = 0, bytes = 1;
};

// With unified addressing, a pointer is device memory where an allocation of ours holds it, or held it until
// it was freed; else host memory.
bool is_device_address(uint64_t address);

// Throw CUDA_ERROR_INVALID_VALUE unless the ranges lie in live allocations and pitches fit.
void check(const Transfer& transfer);
Fill make_fill(uint64_t address, uint64_t pitch, uint32_t value, uint32_t bytes, uint64_t width,
               uint64_t height);
Transfer transfer_of(const abi::CUDA_MEMCPY2D* box);
Transfer transfer_of(const abi::CUDA_MEMCPY3D* box);
inline bool is_empty(const Transfer& t) {
  return t.width == 0 || t.height == 0 || t.depth == 0;
}

// What a unit of work does: ends with work.finish().
void run(Work& work, const Transfer& transfer, Context& context);
void run(Work& work, const Fill& fill, Context& context);
Work::Place place_of(const Transfer& transfer);

// Issues the copy to the stream. `wait`: returns when done (host memory that the caller may reuse, or
// unpinned).
void copy(const StreamRef& stream, const Transfer& transfer, bool wait);

// Fills `height` rows of `width` elements of `bytes` (1, 2, 4) with `value`.
void fill(const StreamRef& stream, uint64_t address, uint64_t pitch, uint32_t value, uint32_t bytes,
          uint64_t width, uint64_t height);

// Is [address, +bytes) pinned host, managed or device memory, so that a copy may run after the call returns?
bool is_known_memory(uint64_t address, uint64_t bytes);

// Throws CUDA_ERROR_INVALID_VALUE unless the range lies in one live allocation.
void check_range(const char* what, uint64_t address, uint64_t bytes);

}  // namespace ptxops::virt
