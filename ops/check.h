// Argument checks; every message names the argument, the expected and the actual value.
#pragma once

#include <cstddef>
#include <cstring>

#include "ops/status.h"

namespace ptxops::ops {

inline constexpr int64_t kMaxExtent = (int64_t{1} << 31) - 1;  // kernels count rows and columns in 32 bits

// Copies the caller's struct into `out`: one of an older, shorter version leaves the rest at the
// INITIALIZER's values.
template <class T>
T read_struct(const char* name, const T* in, const T& defaults) {
  if (!in) fail(PTXOPS_INVALID_ARGUMENT, "{}: expected a pointer to a struct, got NULL", name);
  if (in->magic != PTXOPS_MAGIC)
    fail(PTXOPS_INVALID_ARGUMENT, "{}: expected magic 0x{:08x}, got 0x{:08x}; start from the INITIALIZER",
         name, PTXOPS_MAGIC, in->magic);
  if (in->size < offsetof(T, version) + sizeof(in->version) || in->size > 4096)
    fail(PTXOPS_INVALID_ARGUMENT, "{}.size: expected {} (or an older version's), got {}", name, sizeof(T),
         in->size);
  T out = defaults;
  std::memcpy(static_cast<void*>(&out), in, in->size < sizeof(T) ? in->size : sizeof(T));
  return out;
}

inline void check_range(const char* name, int64_t value, int64_t low, int64_t high) {
  if (value < low || value > high)
    fail(PTXOPS_INVALID_ARGUMENT, "{}: expected {} .. {}, got {}", name, low, high, value);
}
inline void check_multiple(const char* name, int64_t value, int64_t of) {
  if (value % of != 0)
    fail(PTXOPS_INVALID_ARGUMENT, "{}: expected a multiple of {}, got {}", name, of, value);
}
inline void check_pointer(const char* name, ptxopsDevicePtr_t value, uint64_t alignment) {
  if (value == 0) fail(PTXOPS_INVALID_ARGUMENT, "{}: expected a device address, got NULL", name);
  if (value % alignment != 0)
    fail(PTXOPS_INVALID_ARGUMENT, "{}: expected alignment {} bytes, got 0x{:x}", name, alignment, value);
}
// Product of extents in bytes or elements, refused where it leaves 63 bits.
inline int64_t checked_product(const char* name, int64_t a, int64_t b) {
  int64_t product;
  if (__builtin_mul_overflow(a, b, &product))
    fail(PTXOPS_INVALID_ARGUMENT, "{}: {} * {} overflows 64 bits", name, a, b);
  return product;
}
inline int64_t round_up(int64_t value, int64_t to) {
  return (value + to - 1) / to * to;
}
inline int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

}  // namespace ptxops::ops
