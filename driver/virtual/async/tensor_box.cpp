#include "driver/virtual/async/tensor_box.h"

#include <fmt/format.h>

#include <cstring>

namespace ptxops::virt {
namespace {

constexpr uint32_t kMaxRowBytes = 256 * 8;

// Copies between a swizzled row at shared address `at` and `row`, by 16-byte chunks. `at` is a multiple
// of 16.
inline void put_row(std::byte* smem, uint32_t at, const std::byte* row, uint32_t bytes,
                    TensorMapSwizzle mode) {
  if (mode == TensorMapSwizzle::kNone) {
    std::memcpy(smem + at, row, bytes);
    return;
  }
  // A row never leaves its 128-byte line, so one XOR serves all its chunks.
  const uint32_t flip = swizzle(at, mode) ^ at;
  for (uint32_t k = 0; k < bytes; k += 16) {
    const uint32_t chunk = at + k;
    std::memcpy(smem + ((chunk ^ flip) & ~15u), row + k, 16);
  }
}
inline void get_row(const std::byte* smem, uint32_t at, std::byte* row, uint32_t bytes,
                    TensorMapSwizzle mode) {
  if (mode == TensorMapSwizzle::kNone) {
    std::memcpy(row, smem + at, bytes);
    return;
  }
  const uint32_t flip = swizzle(at, mode) ^ at;
  for (uint32_t k = 0; k < bytes; k += 16) std::memcpy(row + k, smem + ((at + k) ^ flip), 16);
}

// What loads put where the tensor has no elements. NaN: a quiet NaN with all mantissa bits set (the pattern
// is not documented).
void fill(std::byte* p, uint32_t count, const TensorMap& map) {
  const uint32_t e = element_bytes(map.type);
  if (map.fill == TensorMapFill::kZero) {
    std::memset(p, 0, uint64_t{count} * e);
    return;
  }
  for (uint32_t i = 0; i < count; ++i) {
    std::memset(p + i * e, 0xFF, e);
    p[i * e + e - 1] = std::byte{0x7F};
  }
}

}  // namespace

std::string TensorBox::set(const TensorMap& m, const int32_t* coordinates, int dimensions) {
  map = m;
  element = element_bytes(m.type);
  if (element == 0) return fmt::format("element type code {} is unknown", static_cast<int>(m.type));
  if (m.rank() != dimensions)
    return fmt::format("the instruction has {} dimensions, the tensor map {}", dimensions, m.rank());
  if (m.interleave != TensorMapInterleave::kNone) return "interleaved tensor maps are not implemented";
  if (m.swizzle > TensorMapSwizzle::k128B)
    return fmt::format("swizzle mode {} does not exist on sm_90", static_cast<int>(m.swizzle));
  rows = 1;
  for (int d = 0; d < 5; ++d) {
    start[d] = d < dimensions ? coordinates[d] : 0;
    count[d] = 1;
    if (d >= dimensions) continue;
    const uint32_t stride =
        d == 0 ? 1 : m.element_stride[d];  // dimension 0 is always dense without interleave
    if (m.box_dim[d] < 1 || m.box_dim[d] > 256 || stride < 1 || stride > 8)
      return fmt::format("box {} with element stride {} in dimension {}: expected 1..256 and 1..8",
                         m.box_dim[d], stride, d);
    count[d] = (m.box_dim[d] + stride - 1) / stride;
    if (d) rows *= count[d];
  }
  row_bytes = count[0] * element;
  if (row_bytes % 16)
    return fmt::format("a row of the box has {} bytes: expected a multiple of 16", row_bytes);
  const uint32_t width = swizzle_bytes(m.swizzle);
  if (m.swizzle != TensorMapSwizzle::kNone && row_bytes != width)
    return fmt::format(
        "a row of {} bytes with a {}-byte swizzle: only rows as wide as the swizzle are implemented",
        row_bytes, width);
  return {};
}

void TensorBox::load(std::byte* smem, uint32_t base) const {
  for_rows([&](const BoxRow& row) {
    const uint32_t at = base + row.offset;
    const std::byte* source = reinterpret_cast<const std::byte*>(row.address);
    if (row.count == count[0]) {
      put_row(smem, at, source, row_bytes, map.swizzle);
      return;
    }
    std::byte whole[kMaxRowBytes];
    fill(whole, count[0], map);
    if (row.count) std::memcpy(whole + row.first * element, source, uint64_t{row.count} * element);
    put_row(smem, at, whole, row_bytes, map.swizzle);
  });
}

void TensorBox::store(const std::byte* smem, uint32_t base) const {
  for_rows([&](const BoxRow& row) {
    if (row.count == 0) return;
    std::byte* target = reinterpret_cast<std::byte*>(row.address);
    if (row.count == count[0]) {
      get_row(smem, base + row.offset, target, row_bytes, map.swizzle);
      return;
    }
    std::byte whole[kMaxRowBytes];
    get_row(smem, base + row.offset, whole, row_bytes, map.swizzle);
    std::memcpy(target, whole + row.first * element, uint64_t{row.count} * element);
  });
}

void TensorBox::reduce(const std::byte* smem, uint32_t base,
                       void (*reduce)(std::byte*, const std::byte*, uint32_t)) const {
  for_rows([&](const BoxRow& row) {
    if (row.count == 0) return;
    alignas(16) std::byte whole[kMaxRowBytes];
    get_row(smem, base + row.offset, whole, row_bytes, map.swizzle);
    reduce(reinterpret_cast<std::byte*>(row.address), whole + row.first * element, row.count);
  });
}

}  // namespace ptxops::virt
