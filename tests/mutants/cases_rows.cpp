// The kernels without shared memory: quantisers, gather, weighted scatter, row map.
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "tests/mutants/cases.h"
#include "tests/ptx/numbers.h"

namespace ptxops::mutants {
namespace {

using test::ceil_div;
using test::Random;

uint32_t note(const Notes& notes, const char* name) {
  return static_cast<uint32_t>(notes.at(name));
}

void add(std::vector<Case>& cases, const std::string& name, const std::string& path,
         const jit::Params& params, std::function<std::string(const Device&, const Notes&)> problem) {
  // One protocol: there is one thing that goes on.
  cases.push_back({name, path, params, {{"", "kernel"}}, {std::move(problem)}});
}

void add_quantize(std::vector<Case>& cases, uint64_t seed) {
  constexpr int k = 128 * 3, ld_src = k + 8, src_rows = 20, group_rows = 18, groups = 4, ld_scale = 20,
                kblocks = k / 128;
  const std::vector<uint16_t> src = test::random_bf16(size_t(src_rows) * ld_src, seed);
  std::vector<int32_t> index(groups * group_rows);
  const std::vector<int32_t> counts = {1000, -3, 7, 18};
  Random random{seed + 1};
  for (int32_t& i : index) i = static_cast<int32_t>(random.between(-1, src_rows));
  const std::vector<uint8_t> poison(size_t(groups) * group_rows * k, 0xEE);
  const std::vector<float> poison_scales(size_t(groups) * kblocks * ld_scale, -7);
  std::vector<uint8_t> expected = poison;
  std::vector<float> expected_scales = poison_scales;
  for (int g = 0; g < groups; ++g)
    for (int r = 0; r < std::clamp(counts[g], 0, group_rows); ++r) {
      const int row = g * group_rows + r, source = index[row];
      if (source < 0 || source >= src_rows) continue;
      for (int kb = 0; kb < kblocks; ++kb) {
        float x[128];
        for (int i = 0; i < 128; ++i) x[i] = test::from_bf16(src[size_t(source) * ld_src + kb * 128 + i]);
        const test::QuantizedBlock block = test::quantized(x);
        std::copy_n(block.q, 128, &expected[size_t(row) * k + kb * 128]);
        expected_scales[(size_t(g) * kblocks + kb) * ld_scale + r] = block.scale;
      }
    }
  add(cases, "quantize_1x128/indexed, counted", "gemm/quantize_1x128.ptx", {{"ROWS", 4}},
      [=](const Device& device, const Notes& notes) {
        Memory memory(device);
        const uint64_t in = memory.input(src), rows = memory.input(index), limits = memory.input(counts),
                       dst = memory.output(poison), scales = memory.output(poison_scales);
        memory.prime();
        driver::Launch launch(device.kernel(), {.grid = {groups * ceil_div(group_rows, note(notes, "rows")),
                                                         ceil_div(kblocks, note(notes, "blocks_per_cta"))},
                                                .block = {note(notes, "threads")},
                                                .programmatic = true});
        launch(nullptr, in, dst, scales, rows, limits, uint32_t(src_rows), uint32_t(group_rows), uint32_t(k),
               uint32_t(ld_src), uint32_t(ld_scale));
        device.context().synchronize();
        const std::string q = memory.compare("dst", dst, expected);
        return q.empty() ? memory.compare("scales", scales, expected_scales) : q;
      });
}

// ex2.approx leaves the values uncertain by some ulp: q may differ by one step of e4m3, the scale by 1e-5.
void add_swiglu(std::vector<Case>& cases, uint64_t seed) {
  constexpr int width = 128 * 2, ld_in = 2 * width + 8, m = 21, ld_scale = 24, kblocks = width / 128;
  const std::vector<uint16_t> in = test::random_bf16(size_t(m) * ld_in, seed);
  const std::vector<int32_t> count = {19};
  std::vector<double> h(size_t(m) * width);
  for (int r = 0; r < m; ++r)
    for (int c = 0; c < width; ++c) {
      const double g = test::from_bf16(in[size_t(r) * ld_in + c]),
                   u = test::from_bf16(in[size_t(r) * ld_in + width + c]);
      h[size_t(r) * width + c] = g / (1 + std::exp(-g)) * u;
    }
  add(cases, "swiglu_quantize_1x128/counted", "gemm/swiglu_quantize_1x128.ptx", {{"ROWS", 16}},
      [=](const Device& device, const Notes& notes) -> std::string {
        std::vector<uint8_t> q(size_t(m) * width + 4 - size_t(m) * width % 4, 0xEE);
        std::vector<float> s(size_t(kblocks) * ld_scale, -7);
        Memory memory(device);
        const uint64_t source = memory.input(in), limit = memory.input(count), dst = memory.output(q),
                       scales = memory.output(s);
        memory.prime();
        driver::Launch launch(device.kernel(), {.grid = {ceil_div(m, note(notes, "rows")),
                                                         ceil_div(kblocks, note(notes, "blocks_per_cta"))},
                                                .block = {note(notes, "threads")},
                                                .programmatic = true});
        launch(nullptr, source, dst, scales, limit, uint32_t(m), uint32_t(width), uint32_t(ld_in),
               uint32_t(ld_scale));
        device.context().synchronize();
        for (const std::string& stray :
             {memory.download(dst, q.data(), q.size()), memory.download(scales, s.data(), 4 * s.size())})
          if (!stray.empty()) return "swiglu" + stray;
        for (int r = 0; r < ld_scale; ++r)
          for (int kb = 0; kb < kblocks; ++kb) {
            const float scale = s[size_t(kb) * ld_scale + r];
            if (r >= count[0]) {
              if (scale != -7) return fmt::format("scale of row {} written", r);
              continue;
            }
            const double* x = &h[size_t(r) * width + kb * 128];
            double amax = 1e-4;
            for (int i = 0; i < 128; ++i) amax = std::max(amax, std::fabs(x[i]));
            if (!(std::fabs(scale - amax / 448) <= 1e-5 * scale))
              return fmt::format("scale of row {} differs", r);
            for (int i = 0; i < 128; ++i) {
              const uint8_t have = q[size_t(r) * width + kb * 128 + i], want = test::to_e4m3(x[i] / scale);
              if (std::abs((have & 0x7F) - (want & 0x7F)) > 1) return fmt::format("row {} differs", r);
            }
          }
        for (size_t i = size_t(count[0]) * width; i < q.size(); ++i)
          if (q[i] != 0xEE) return "a row beyond the count is written";
        return {};
      });
}

void add_gather(std::vector<Case>& cases, uint64_t seed) {
  constexpr int src_rows = 10, rows = 12, row_bytes = 4096 + 512 + 48, src_stride = row_bytes + 16,
                dst_stride = row_bytes + 32;
  std::vector<uint8_t> src(size_t(src_rows) * src_stride);
  Random random{seed};
  for (uint8_t& v : src) v = static_cast<uint8_t>(random.next());
  std::vector<int32_t> index(rows);
  for (int32_t& i : index) i = static_cast<int32_t>(random.between(-2, src_rows + 1));
  const std::vector<uint8_t> poison(size_t(rows) * dst_stride, 0xEE);
  std::vector<uint8_t> expected = poison;
  for (int r = 0; r < rows; ++r)
    if (index[r] >= 0 && index[r] < src_rows)
      std::copy_n(&src[size_t(index[r]) * src_stride], row_bytes, &expected[size_t(r) * dst_stride]);
  add(cases, "gather_rows/", "moe/gather_rows.ptx", {}, [=](const Device& device, const Notes& notes) {
    Memory memory(device);
    const uint64_t in = memory.input(src), from = memory.input(index), dst = memory.output(poison);
    memory.prime();
    driver::Launch launch(device.kernel(), {.grid = {ceil_div(rows, note(notes, "rows_per_cta")),
                                                     ceil_div(row_bytes, note(notes, "bytes_per_cta"))},
                                            .block = {note(notes, "threads")},
                                            .programmatic = true});
    launch(nullptr, in, dst, from, uint32_t(rows), uint32_t(src_rows), uint32_t(row_bytes),
           uint64_t(src_stride), uint64_t(dst_stride));
    device.context().synchronize();
    return memory.compare("dst", dst, expected);
  });
}

void add_scatter(std::vector<Case>& cases, uint64_t seed) {
  constexpr int tokens = 4, topk = 11, columns = 264, y_rows = 12, ld_y = columns + 8, ld_out = columns + 16;
  const std::vector<uint16_t> y = test::random_bf16(size_t(y_rows) * ld_y, seed);
  Random random{seed + 1};
  std::vector<int32_t> row(tokens * topk);
  std::vector<float> weight(tokens * topk);
  for (int32_t& r : row) r = static_cast<int32_t>(random.between(-3, y_rows));
  for (float& w : weight) w = static_cast<float>(random.unit());
  const std::vector<uint16_t> poison(size_t(tokens) * ld_out, 0xEEEE);
  std::vector<uint16_t> expected = poison;
  for (int t = 0; t < tokens; ++t)
    for (int c = 0; c < columns; ++c) {
      float sum = 0;
      for (int j = 0; j < topk; ++j)
        if (const int r = row[t * topk + j]; r >= 0 && r < y_rows)
          sum = std::fma(weight[t * topk + j], test::from_bf16(y[size_t(r) * ld_y + c]), sum);
      expected[size_t(t) * ld_out + c] = test::to_bf16(sum);
    }
  add(cases, "weighted_scatter/", "moe/weighted_scatter.ptx", {{"OUT", 0}},
      [=](const Device& device, const Notes& notes) {
        Memory memory(device);
        const uint64_t in = memory.input(y), rows = memory.input(row), weights = memory.input(weight),
                       out = memory.output(poison);
        memory.prime();
        driver::Launch launch(device.kernel(),
                              {.grid = {uint32_t(tokens), ceil_div(columns, note(notes, "columns_per_cta"))},
                               .block = {note(notes, "threads")},
                               .programmatic = true});
        launch(nullptr, in, rows, weights, out, uint32_t(topk), uint32_t(columns), uint32_t(y_rows),
               uint32_t(ld_y), uint32_t(ld_out));
        device.context().synchronize();
        return memory.compare("out", out, expected);
      });
}

// Two laps of the CTA's 4096 rows; groups that are cleared by one thread and found by another.
void add_row_map(std::vector<Case>& cases, uint64_t seed) {
  constexpr int m = 4096 + 1000, groups = 1100;
  Random random{seed};
  std::vector<int32_t> map(m, -1), begin(groups, 0), end(groups, 0);
  for (int r = 3, g = groups - 1; r < m && g >= 0; g -= static_cast<int>(random.between(1, 9))) {
    const int length = std::min<int>(m - r, static_cast<int>(random.between(1, 40)));
    std::fill_n(map.begin() + r, length, g);
    begin[g] = r;
    end[g] = r += length;
    r += static_cast<int>(random.between(0, 3));
  }
  const std::vector<int32_t> poison(groups, 77);
  add(cases, "row_map_to_groups/", "gemm/row_map_to_groups.ptx", {},
      [=](const Device& device, const Notes& notes) {
        Memory memory(device);
        const uint64_t in = memory.input(map), begins = memory.output(poison), ends = memory.output(poison);
        memory.prime();
        driver::Launch launch(device.kernel(),
                              {.grid = {1}, .block = {note(notes, "threads")}, .programmatic = true});
        launch(nullptr, in, begins, ends, uint32_t(m), uint32_t(groups));
        device.context().synchronize();
        const std::string b = memory.compare("group_begin", begins, begin);
        return b.empty() ? memory.compare("group_end", ends, end) : b;
      });
}

}  // namespace

void add_row_cases(std::vector<Case>& cases, uint64_t seed) {
  add_quantize(cases, seed + 101);
  add_swiglu(cases, seed + 102);
  add_gather(cases, seed + 103);
  add_scatter(cases, seed + 104);
  add_row_map(cases, seed + 105);
}

std::vector<Case> all_cases(uint64_t seed) {
  std::vector<Case> cases;
  add_gemm_cases(cases, seed);
  add_row_cases(cases, seed);
  add_mla_cases(cases, seed);
  return cases;
}

}  // namespace ptxops::mutants
