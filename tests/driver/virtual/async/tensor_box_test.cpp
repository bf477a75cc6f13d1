// The geometry of tensor copies against the formulas of the PTX ISA, element by element.
#include "driver/virtual/async/tensor_box.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "tests/support/random_seed.h"

namespace ptxops::virt {
namespace {

// Where the ISA's swizzle tables put the 16-byte chunk `chunk` of the 128-byte line `line`.
uint32_t table_chunk(uint32_t line, uint32_t chunk, TensorMapSwizzle mode) {
  switch (mode) {
    case TensorMapSwizzle::k32B:
      return chunk ^ (line % 2);
    case TensorMapSwizzle::k64B:
      return chunk ^ (line % 4);
    case TensorMapSwizzle::k128B:
      return chunk ^ (line % 8);
    default:
      return chunk;
  }
}

struct Case {
  TensorMap map{};
  int32_t start[5] = {};
  std::vector<uint8_t> global;
};

Case random_case(std::mt19937_64& rng) {
  auto pick = [&](int64_t low, int64_t high) {
    return low + static_cast<int64_t>(rng() % uint64_t(high - low + 1));
  };
  Case c;
  TensorMap& m = c.map;
  m.rank_minus_1 = static_cast<uint8_t>(pick(0, 4));
  const int rank = m.rank();
  constexpr TensorMapType kTypes[] = {TensorMapType::kU8, TensorMapType::kBF16, TensorMapType::kF32,
                                      TensorMapType::kF64};
  m.type = kTypes[pick(0, 3)];
  m.swizzle = static_cast<TensorMapSwizzle>(pick(0, 3));
  m.fill = is_float(m.type) && pick(0, 1) ? TensorMapFill::kNan : TensorMapFill::kZero;
  const uint32_t e = element_bytes(m.type);
  for (int d = 0; d < 5; ++d) m.global_dim[d] = m.box_dim[d] = m.element_stride[d] = 1;
  m.box_dim[0] = m.swizzle == TensorMapSwizzle::kNone ? static_cast<uint32_t>(16 * pick(1, 4)) / e
                                                      : (16u << static_cast<int>(m.swizzle)) / e;
  if (m.box_dim[0] == 0) m.box_dim[0] = 16 / e;
  uint64_t pitch = 0;
  for (int d = 0; d < rank; ++d) {
    m.global_dim[d] = static_cast<uint32_t>(pick(1, d ? 9 : 80));
    if (d) {
      m.box_dim[d] = static_cast<uint32_t>(pick(1, 6));
      m.element_stride[d] = static_cast<uint32_t>(pick(1, 3));
      m.global_stride[d - 1] = pitch;
    }
    const uint64_t extent = d ? pitch * m.global_dim[d] : uint64_t{m.global_dim[0]} * e;
    pitch = (extent + 15) / 16 * 16 + 16 * static_cast<uint64_t>(pick(0, 2));
    c.start[d] = static_cast<int32_t>(pick(-4, m.global_dim[d] + 1));
  }
  c.global.resize(pitch + 64);
  for (auto& b : c.global) b = static_cast<uint8_t>(rng());
  m.global_address = reinterpret_cast<uint64_t>(c.global.data());
  return c;
}

// Walks all elements of the box by the formulas; f(shared address, byte offset in global or -1 outside).
template <class F>
void by_formula(const Case& c, uint32_t base, F f) {
  const TensorMap& m = c.map;
  const uint32_t e = element_bytes(m.type);
  uint32_t n[5];
  for (int d = 0; d < 5; ++d)
    n[d] = d == 0 ? m.box_dim[0] : (m.box_dim[d] + m.element_stride[d] - 1) / m.element_stride[d];
  for (uint32_t i4 = 0; i4 < n[4]; ++i4)
    for (uint32_t i3 = 0; i3 < n[3]; ++i3)
      for (uint32_t i2 = 0; i2 < n[2]; ++i2)
        for (uint32_t i1 = 0; i1 < n[1]; ++i1)
          for (uint32_t i0 = 0; i0 < n[0]; ++i0) {
            const uint32_t i[5] = {i0, i1, i2, i3, i4};
            int64_t at = 0;
            bool inside = true;
            for (int d = 0; d < m.rank(); ++d) {
              const int64_t g = c.start[d] + int64_t{i[d]} * (d ? m.element_stride[d] : 1);
              inside = inside && g >= 0 && g < static_cast<int64_t>(m.global_dim[d]);
              at += g * static_cast<int64_t>(d ? m.global_stride[d - 1] : e);
            }
            const uint32_t linear = e * (i0 + n[0] * (i1 + n[1] * (i2 + n[2] * (i3 + n[3] * i4))));
            const uint32_t address = base + linear, line = address / 128, chunk = address % 128 / 16;
            f(line * 128 + table_chunk(line, chunk, m.swizzle) * 16 + address % 16, inside ? at : -1);
          }
}

bool set(const Case& c, TensorBox& box) {
  const std::string why = box.set(c.map, c.start, c.map.rank());
  EXPECT_EQ(why, "");
  return why.empty();
}

TEST(TensorBox, RandomLoadsPutEveryElementWhereTheFormulaSays) {
  auto rng = test::random_engine(1);
  for (int round = 0; round < 400; ++round) {
    const Case c = random_case(rng);
    TensorBox box;
    ASSERT_TRUE(set(c, box));
    const uint32_t base = 1024 + 128 * static_cast<uint32_t>(rng() % 9), e = box.element;
    std::vector<uint8_t> smem(base + box.bytes() + 4096, 0xA5), expected = smem;
    uint32_t bytes = 0;
    by_formula(c, base, [&](uint32_t address, int64_t at) {
      bytes += e;
      for (uint32_t b = 0; b < e; ++b)
        expected[address + b] = at >= 0                              ? c.global[static_cast<size_t>(at) + b]
                                : c.map.fill == TensorMapFill::kZero ? 0
                                : b == e - 1                         ? 0x7F
                                                                     : 0xFF;
    });
    EXPECT_EQ(box.bytes(), bytes);
    box.load(reinterpret_cast<std::byte*>(smem.data()), base);
    ASSERT_EQ(smem, expected) << "round " << round;
  }
}

TEST(TensorBox, RandomStoresChangeExactlyTheElementsInside) {
  auto rng = test::random_engine(2);
  for (int round = 0; round < 400; ++round) {
    Case c = random_case(rng);
    for (auto& s : c.start) s = std::max(s, 0);
    TensorBox box;
    ASSERT_TRUE(set(c, box));
    const uint32_t base = 1024;
    std::vector<uint8_t> smem(base + box.bytes() + 4096);
    for (auto& b : smem) b = static_cast<uint8_t>(rng());
    std::vector<uint8_t> expected = c.global;
    by_formula(c, base, [&](uint32_t address, int64_t at) {
      if (at >= 0) std::memcpy(&expected[static_cast<size_t>(at)], &smem[address], box.element);
    });
    box.store(reinterpret_cast<const std::byte*>(smem.data()), base);
    ASSERT_EQ(c.global, expected) << "round " << round;
  }
}

// 64 x 64 bf16 tile with value 64*row + col, 128-byte swizzle: the word of (r, c) is at r*128 +
// ((c/8)^(r%8))*16 + (c%8)*2 from a 1024-byte boundary.
TEST(TensorBox, Swizzle128WorkedExample) {
  std::vector<uint16_t> global(64 * 64);
  for (uint32_t i = 0; i < global.size(); ++i) global[i] = static_cast<uint16_t>(i);
  Case c;
  c.map.type = TensorMapType::kBF16;
  c.map.rank_minus_1 = 1;
  c.map.swizzle = TensorMapSwizzle::k128B;
  c.map.global_address = reinterpret_cast<uint64_t>(global.data());
  for (int d = 0; d < 5; ++d) c.map.global_dim[d] = c.map.box_dim[d] = c.map.element_stride[d] = 1;
  c.map.global_dim[0] = c.map.global_dim[1] = c.map.box_dim[0] = c.map.box_dim[1] = 64;
  c.map.global_stride[0] = 128;
  TensorBox box;
  ASSERT_TRUE(set(c, box));
  std::vector<uint8_t> smem(2048 + 8192);
  box.load(reinterpret_cast<std::byte*>(smem.data()), 2048);
  for (uint32_t r = 0; r < 64; ++r)
    for (uint32_t col = 0; col < 64; ++col) {
      uint16_t value;
      std::memcpy(&value, &smem[2048 + r * 128 + ((col / 8) ^ (r % 8)) * 16 + col % 8 * 2], 2);
      ASSERT_EQ(value, 64 * r + col);
    }
}

TEST(TensorBox, RefusesWhatSm90CannotDo) {
  auto rng = test::random_engine(3);
  Case c = random_case(rng);
  TensorBox box;
  EXPECT_NE(box.set(c.map, c.start, c.map.rank() % 5 + 1), "");
  c.map.interleave = TensorMapInterleave::k16B;
  EXPECT_NE(box.set(c.map, c.start, c.map.rank()), "");
}

}  // namespace
}  // namespace ptxops::virt
