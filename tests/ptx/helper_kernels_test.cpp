// Quantisers, gather, weighted scatter and row map against host code that follows the formulas of their
// heads.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "tests/ptx/device.h"

namespace ptxops::test {
namespace {

using driver::Launch;
using driver::LaunchShape;

TEST(Quantize1x128, IsBitExactWithIndexGroupsAndCounts) {
  const driver::Context::Guard current(context());
  const int k = 128 * 11, ld_src = k + 16, src_rows = 50, group_rows = 37, groups = 3, ld_scale = 40,
            kblocks = k / 128;
  std::vector<uint16_t> src = random_bf16(size_t(src_rows) * ld_src, 7);
  std::fill_n(src.begin() + 3 * ld_src, 128, 0);  // an all-zero block: the floor
  src[4 * ld_src + 5] = to_bf16(300.0f);
  std::vector<int32_t> index(groups * group_rows), counts = {1000, -3, 20};
  Random random{9};
  for (int32_t& i : index)
    i = static_cast<int32_t>(random.between(-1, src_rows));  // -1 and src_rows: skipped
  const Input<uint16_t> device_src(src);
  const Input<int32_t> device_index(index), device_counts(counts);
  for (const int rows : {4, 16})
    for (const bool indexed : {false, true})
      for (const bool counted : {false, true}) {
        SCOPED_TRACE(fmt::format("ROWS={} indexed={} counted={}", rows, indexed, counted));
        const LoadedKernel loaded("gemm/quantize_1x128.ptx", {{"ROWS", rows}});
        std::vector<uint8_t> expected(size_t(groups) * group_rows * k, 0xEE);
        std::vector<float> expected_scales(size_t(groups) * kblocks * ld_scale, -7);
        const Guarded<uint8_t> dst(expected);
        const Guarded<float> scales(expected_scales);
        Launch launch(loaded.kernel, {.grid = {groups * ceil_div(group_rows, rows),
                                               ceil_div(kblocks, loaded.note("blocks_per_cta"))},
                                      .block = {loaded.note("threads")}});
        launch(nullptr, device_src.address(), dst.address(), scales.address(),
               indexed ? device_index.address() : uint64_t(0),
               counted ? device_counts.address() : uint64_t(0), uint32_t(src_rows), uint32_t(group_rows),
               uint32_t(k), uint32_t(ld_src), uint32_t(ld_scale));
        context().synchronize();
        for (int g = 0; g < groups; ++g)
          for (int r = 0; r < (counted ? std::clamp(counts[g], 0, group_rows) : group_rows); ++r) {
            const int row = g * group_rows + r, source = indexed ? index[row] : row;
            if (source < 0 || source >= src_rows) continue;
            for (int kb = 0; kb < kblocks; ++kb) {
              float x[128];
              for (int i = 0; i < 128; ++i) x[i] = from_bf16(src[size_t(source) * ld_src + kb * 128 + i]);
              const QuantizedBlock block = quantized(x);
              std::copy_n(block.q, 128, &expected[size_t(row) * k + kb * 128]);
              expected_scales[(size_t(g) * kblocks + kb) * ld_scale + r] = block.scale;
            }
          }
        EXPECT_EQ(dst.download(), expected);
        EXPECT_EQ(scales.download(), expected_scales);
      }
}

// ex2.approx leaves the values uncertain by some ulp: q may differ by one step of e4m3, the scale by 1e-5.
TEST(SwigluQuantize1x128, IsCloseToExact) {
  const driver::Context::Guard current(context());
  const int width = 128 * 9, ld_in = 2 * width + 8, m = 45, ld_scale = 48, kblocks = width / 128;
  const std::vector<uint16_t> in = random_bf16(size_t(m) * ld_in, 21);
  const std::vector<int32_t> count = {41};
  const Input<uint16_t> device_in(in);
  const Input<int32_t> device_count(count);
  for (const int rows : {4, 16}) {
    const LoadedKernel loaded("gemm/swiglu_quantize_1x128.ptx", {{"ROWS", rows}});
    const std::vector<uint8_t> poison(size_t(m) * width, 0xEE);
    const std::vector<float> poison_scales(size_t(kblocks) * ld_scale, -7);
    const Guarded<uint8_t> dst(poison);
    const Guarded<float> scales(poison_scales);
    Launch launch(loaded.kernel,
                  {.grid = {ceil_div(m, rows), ceil_div(kblocks, loaded.note("blocks_per_cta"))},
                   .block = {loaded.note("threads")}});
    launch(nullptr, device_in.address(), dst.address(), scales.address(), device_count.address(), uint32_t(m),
           uint32_t(width), uint32_t(ld_in), uint32_t(ld_scale));
    context().synchronize();
    const std::vector<uint8_t> q = dst.download();
    const std::vector<float> s = scales.download();
    int different = 0;
    for (int r = 0; r < m; ++r)
      for (int kb = 0; kb < kblocks; ++kb) {
        const float scale = s[size_t(kb) * ld_scale + r];
        if (r >= count[0]) {
          ASSERT_EQ(scale, -7);
          for (int i = 0; i < 128; ++i) ASSERT_EQ(q[size_t(r) * width + kb * 128 + i], 0xEE);
          continue;
        }
        double amax = 0, h[128];
        for (int i = 0; i < 128; ++i) {
          const double g = from_bf16(in[size_t(r) * ld_in + kb * 128 + i]),
                       u = from_bf16(in[size_t(r) * ld_in + width + kb * 128 + i]);
          h[i] = g / (1 + std::exp(-g)) * u;
          amax = std::max(amax, std::fabs(h[i]));
        }
        ASSERT_NEAR(scale, std::max(amax, 1e-4) / 448, 1e-5 * scale);
        for (int i = 0; i < 128; ++i) {
          const uint8_t have = q[size_t(r) * width + kb * 128 + i], want = to_e4m3(h[i] / scale);
          different += have != want;
          ASSERT_LE(std::abs((have & 0x7F) - (want & 0x7F)), 1) << "row " << r << " column " << kb * 128 + i;
        }
      }
    EXPECT_LT(different, count[0] * width / 500);
    for (int kb = 0; kb < kblocks; ++kb)
      for (int r = m; r < ld_scale; ++r) EXPECT_EQ(s[size_t(kb) * ld_scale + r], -7);
  }
}

TEST(GatherRows, CopiesAndSkips) {
  const driver::Context::Guard current(context());
  const int src_rows = 20, rows = 33, row_bytes = 4096 + 512 + 48, src_stride = row_bytes + 16,
            dst_stride = row_bytes + 32;
  std::vector<uint8_t> src(size_t(src_rows) * src_stride), expected(size_t(rows) * dst_stride, 0xEE);
  Random random{31};
  for (uint8_t& v : src) v = static_cast<uint8_t>(random.next());
  std::vector<int32_t> index(rows);
  for (int32_t& i : index) i = static_cast<int32_t>(random.between(-2, src_rows + 1));
  const Input<uint8_t> device_src(src);
  const Guarded<uint8_t> dst(expected);
  const Input<int32_t> device_index(index);
  const LoadedKernel loaded("moe/gather_rows.ptx", {});
  Launch launch(loaded.kernel, {.grid = {ceil_div(rows, loaded.note("rows_per_cta")),
                                         ceil_div(row_bytes, loaded.note("bytes_per_cta"))},
                                .block = {loaded.note("threads")}});
  launch(nullptr, device_src.address(), dst.address(), device_index.address(), uint32_t(rows),
         uint32_t(src_rows), uint32_t(row_bytes), uint64_t(src_stride), uint64_t(dst_stride));
  context().synchronize();
  for (int r = 0; r < rows; ++r)
    if (index[r] >= 0 && index[r] < src_rows)
      std::copy_n(&src[size_t(index[r]) * src_stride], row_bytes, &expected[size_t(r) * dst_stride]);
  EXPECT_EQ(dst.download(), expected);
}

TEST(WeightedScatter, IsBitExactInSlotOrder) {
  const driver::Context::Guard current(context());
  const int tokens = 13, columns = 2048 + 264, y_rows = 40, ld_y = columns + 8, ld_out = columns + 16;
  const std::vector<uint16_t> y = random_bf16(size_t(y_rows) * ld_y, 41);
  const Input<uint16_t> device_y(y);
  for (const int topk : {1, 6, 8, 11})
    for (const int out : {0, 1}) {
      SCOPED_TRACE(fmt::format("topk={} OUT={}", topk, out));
      Random random{static_cast<uint64_t>(topk)};
      std::vector<int32_t> row(tokens * topk);
      std::vector<float> weight(tokens * topk);
      for (int32_t& r : row) r = static_cast<int32_t>(random.between(-3, y_rows));
      for (float& w : weight) w = static_cast<float>(random.unit());
      std::vector<uint32_t> expected_f32(size_t(tokens) * ld_out, 0xEEEEEEEE);
      std::vector<uint16_t> expected_bf16(size_t(tokens) * ld_out, 0xEEEE);
      const Input<int32_t> device_row(row);
      const Input<float> device_weight(weight);
      const Guarded<uint32_t> out_f32(expected_f32);
      const Guarded<uint16_t> out_bf16(expected_bf16);
      const LoadedKernel loaded("moe/weighted_scatter.ptx", {{"OUT", out}});
      Launch launch(loaded.kernel,
                    {.grid = {uint32_t(tokens), ceil_div(columns, loaded.note("columns_per_cta"))},
                     .block = {loaded.note("threads")}});
      launch(nullptr, device_y.address(), device_row.address(), device_weight.address(),
             out ? out_f32.address() : out_bf16.address(), uint32_t(topk), uint32_t(columns),
             uint32_t(y_rows), uint32_t(ld_y), uint32_t(ld_out));
      context().synchronize();
      for (int t = 0; t < tokens; ++t)
        for (int c = 0; c < columns; ++c) {
          float sum = 0;
          for (int j = 0; j < topk; ++j) {
            const int r = row[t * topk + j];
            if (r >= 0 && r < y_rows)
              sum = std::fma(weight[t * topk + j], from_bf16(y[size_t(r) * ld_y + c]), sum);
          }
          expected_f32[size_t(t) * ld_out + c] = std::bit_cast<uint32_t>(sum);
          expected_bf16[size_t(t) * ld_out + c] = to_bf16(sum);
        }
      if (out)
        EXPECT_EQ(out_f32.download(), expected_f32);
      else
        EXPECT_EQ(out_bf16.download(), expected_bf16);
    }
}

TEST(RowMapToGroups, FindsTheRuns) {
  const driver::Context::Guard current(context());
  const LoadedKernel loaded("gemm/row_map_to_groups.ptx", {});
  for (const int m : {1, 2, 3, 5, 127, 128, 4096, 4097, 9001}) {
    SCOPED_TRACE(m);
    const int groups = 1100;
    Random random{static_cast<uint64_t>(m)};
    std::vector<int32_t> map(m, -1), begin(groups, 0), end(groups, 0);
    std::vector<int> order(groups);
    std::iota(order.begin(), order.end(), 0);
    for (int i = groups - 1; i > 0; --i) std::swap(order[i], order[random.between(0, i)]);
    int next = 0;
    for (int r = static_cast<int>(random.between(0, 2)); r < m && next < groups;) {
      const int g = order[next++], length = std::min<int>(m - r, static_cast<int>(random.between(1, 40)));
      std::fill_n(map.begin() + r, length, g);
      begin[g] = r;
      end[g] = r + length;
      r += length + static_cast<int>(random.between(0, 1)) * static_cast<int>(random.between(0, 9));
    }
    if (map.back() == -1) map.back() = groups;  // out of range: no group
    if (m == 128) {                             // group 0 up to the end of a warp's rows
      std::fill(map.begin(), map.end(), 0);
      std::fill(begin.begin(), begin.end(), 0);
      std::fill(end.begin(), end.end(), 0);
      end[0] = m;
    }
    const std::vector<int32_t> poison(groups, 77);
    const Input<int32_t> device_map(map);
    const Guarded<int32_t> device_begin(poison), device_end(poison);
    Launch launch(loaded.kernel, {.grid = {1}, .block = {loaded.note("threads")}});
    launch(nullptr, device_map.address(), device_begin.address(), device_end.address(), uint32_t(m),
           uint32_t(groups));
    context().synchronize();
    EXPECT_EQ(device_begin.download(), begin);
    EXPECT_EQ(device_end.download(), end);
  }
}

}  // namespace
}  // namespace ptxops::test
