// Argument checks; every message names the argument, the expected and the actual value.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>

#include "ops/status.h"

namespace ptxops::ops {

inline constexpr int64_t kMaxExtent = (int64_t{1} << 31) - 1;  // kernels count rows and columns in 32 bits
inline constexpr int64_t kMaxGridY = 65535;

// Copies the caller's struct: one of an older, shorter version leaves the rest at the INITIALIZER's values;
// one of a newer version may ask for what this library does not know.
template <class T>
T read_struct(const char* name, const T* in, const T& defaults) {
  if (!in) fail(PTXOPS_INVALID_ARGUMENT, "{}: expected a pointer to a struct, got NULL", name);
  if (in->magic != PTXOPS_MAGIC)
    fail(PTXOPS_INVALID_ARGUMENT, "{}: expected magic 0x{:08x}, got 0x{:08x}; start from the INITIALIZER",
         name, PTXOPS_MAGIC, in->magic);
  if (in->size < offsetof(T, version) + sizeof(in->version) || in->size > sizeof(T) || in->size % 4 != 0)
    fail(PTXOPS_INVALID_ARGUMENT, "{}.size: expected {} (or an older version's), got {}", name, sizeof(T),
         in->size);
  if (in->version == 0 || in->version > defaults.version)
    fail(PTXOPS_INVALID_ARGUMENT, "{}.version: expected {} (or an older one), got {}", name, defaults.version,
         in->version);
  T out = defaults;
  std::memcpy(static_cast<void*>(&out), in, in->size);
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
inline void expect_zero(const char* name, int64_t value, const char* when) {
  if (value != 0) fail(PTXOPS_INVALID_ARGUMENT, "{}: expected 0 {}, got {}", name, when, value);
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
// One of the strides of a tensor that is written, and how many steps of it there are.
struct Axis {
  const char* name;
  int64_t stride, extent;
};
// Refuses strides by which two of the rows of `unit` elements overlap: each stride, from the smallest, steps
// over all that the smaller ones span.
template <size_t N>
void check_disjoint(int64_t unit, std::array<Axis, N> axes) {
  std::sort(axes.begin(), axes.end(), [](const Axis& a, const Axis& b) { return a.stride < b.stride; });
  uint64_t span = static_cast<uint64_t>(unit);
  for (const Axis& a : axes) {
    if (a.extent <= 1) continue;
    const uint64_t stride = static_cast<uint64_t>(a.stride);
    if (stride < span)
      fail(PTXOPS_INVALID_ARGUMENT, "{}: expected at least {}, or rows overlap, got {}", a.name, span,
           a.stride);
    span += stride * static_cast<uint64_t>(a.extent - 1);
  }
}
inline int64_t round_up(int64_t value, int64_t to) {
  return (value + to - 1) / to * to;
}
inline int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

}  // namespace ptxops::ops
