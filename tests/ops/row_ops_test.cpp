// Quantisers, gather and scatter through the C ABI; the formulas of their heads recomputed on the host.
#include <bit>
#include <cmath>
#include <random>

#include "tests/ops/device.h"
#include "tests/support/formats.h"
#include "tests/support/random_seed.h"

namespace ptxops::test {
namespace {

std::vector<uint16_t> random_bf16(size_t n, uint64_t purpose) {
  auto random = random_engine(purpose);
  std::normal_distribution<float> normal;
  std::vector<uint16_t> out(n);
  for (auto& v : out) v = to_bf16(normal(random) * std::ldexp(1.0f, static_cast<int>(random() % 9) - 4));
  return out;
}

void expect_quantised(const std::vector<float>& x, const uint8_t* q, float scale, const char* what) {
  float amax = 0;
  for (float v : x) amax = std::max(amax, std::abs(v));
  const float a = std::max(amax, 1e-4f);
  EXPECT_EQ(std::bit_cast<uint32_t>(scale), std::bit_cast<uint32_t>(a / 448)) << what;
  const float inverse = 448 / a;
  for (size_t i = 0; i < x.size(); ++i) ASSERT_EQ(q[i], to_e4m3(x[i] * inverse)) << what << " element " << i;
}

TEST(Quantize, GatherSkipsAndZeroRows) {
  const int source = 9, m = 37, k = 384, ld = 40;
  auto x = random_bf16(size_t(source) * k, 1);
  for (int i = 0; i < k; ++i) x[3 * k + i] = 0;
  auto random = random_engine(2);
  std::vector<int32_t> index(m);
  for (auto& i : index) i = static_cast<int32_t>(random() % 11) - 1;  // -1 and 9 lie outside
  index[0] = 3;
  ptxopsQuantizeDesc_t desc = PTXOPS_QUANTIZE_DESC_INITIALIZER;
  desc.m = m, desc.k = k, desc.source_rows = source, desc.ld_sf = ld;
  Plan plan;
  ASSERT_OK(ptxopsQuantizePlanCreate(context(), &desc, &plan.handle));
  ASSERT_OK(ptxopsPlanPrepare(plan.handle));
  const DeviceMemory d_x(x), d_index(index), d_q(size_t(m) * k), d_sf(size_t(k / 128) * ld * 4);
  ptxopsQuantizeArgs_t args = PTXOPS_QUANTIZE_ARGS_INITIALIZER;
  args.x = d_x.address(), args.q = d_q.address(), args.sf = d_sf.address(),
  args.row_index = d_index.address();
  ASSERT_OK(ptxopsQuantizeRun(plan.handle, &args, nullptr));
  const auto q = d_q.read<uint8_t>();
  const auto sf = d_sf.read<float>();
  for (int r = 0; r < m; ++r)
    for (int kb = 0; kb < k / 128; ++kb) {
      const float scale = sf[size_t(kb) * ld + r];
      const uint8_t* row = &q[size_t(r) * k + kb * 128];
      if (index[r] < 0 || index[r] >= source) {
        EXPECT_EQ(std::bit_cast<uint32_t>(scale), 0xffffffffu);
        for (int i = 0; i < 128; ++i) ASSERT_EQ(row[i], 0xff);
        continue;
      }
      std::vector<float> block(128);
      for (int i = 0; i < 128; ++i) block[i] = from_bf16(x[size_t(index[r]) * k + kb * 128 + i]);
      expect_quantised(block, row, scale, "quantize");
    }
}

// ex2.approx is within 2 ulp, so a product may round to the neighbouring e4m3 value: compare with a
// tolerance.
TEST(SwigluQuantize, GroupsWithCounts) {
  const int groups = 3, m = 10, width = 256, ld = 12;
  const std::vector<int32_t> counts = {10, 0, 7};
  const auto x = random_bf16(size_t(groups) * m * 2 * width, 3);
  ptxopsSwigluQuantizeDesc_t desc = PTXOPS_SWIGLU_QUANTIZE_DESC_INITIALIZER;
  desc.m = m, desc.width = width, desc.groups = groups, desc.ld_sf = ld;
  Plan plan;
  ASSERT_OK(ptxopsSwigluQuantizePlanCreate(context(), &desc, &plan.handle));
  ASSERT_OK(ptxopsPlanPrepare(plan.handle));
  const DeviceMemory d_x(x), d_counts(counts), d_q(size_t(groups) * m * width),
      d_sf(size_t(groups) * (width / 128) * ld * 4);
  ptxopsSwigluQuantizeArgs_t args = PTXOPS_SWIGLU_QUANTIZE_ARGS_INITIALIZER;
  args.x = d_x.address(), args.q = d_q.address(), args.sf = d_sf.address(), args.counts = d_counts.address();
  ASSERT_OK(ptxopsSwigluQuantizeRun(plan.handle, &args, nullptr));
  const auto q = d_q.read<uint8_t>();
  const auto sf = d_sf.read<float>();
  for (int g = 0; g < groups; ++g)
    for (int r = 0; r < m; ++r)
      for (int kb = 0; kb < width / 128; ++kb) {
        const size_t row = size_t(g) * m + r;
        const float scale = sf[(size_t(g) * (width / 128) + kb) * ld + r];
        if (r >= counts[g]) {
          EXPECT_EQ(std::bit_cast<uint32_t>(scale), 0xffffffffu);
          continue;
        }
        double amax = 0;
        std::vector<double> h(128);
        for (int i = 0; i < 128; ++i) {
          const double gate = from_bf16(x[row * 2 * width + kb * 128 + i]),
                       up = from_bf16(x[row * 2 * width + width + kb * 128 + i]);
          h[i] = gate / (1 + std::exp(-gate)) * up;
          amax = std::max(amax, std::abs(h[i]));
        }
        EXPECT_NEAR(scale * 448, std::max(amax, 1e-4), 1e-5 * amax + 1e-9);
        // Half a step of e4m3 is 2^-4 of the value, or 2^-10 scale units near zero; the margin covers the
        // FP32 steps.
        for (int i = 0; i < 128; ++i)
          ASSERT_NEAR(from_e4m3(q[row * width + kb * 128 + i]) * double(scale), h[i],
                      std::abs(h[i]) * 0x1.01p-4 + scale * 0x1.01p-10);
      }
}

TEST(GatherRows, CopiesAndLeavesAlone) {
  const int m = 21, source = 6, hidden = 2056;
  const auto x = random_bf16(size_t(source) * hidden, 4);
  auto random = random_engine(5);
  std::vector<int32_t> index(m);
  for (auto& i : index) i = static_cast<int32_t>(random() % 8) - 1;
  ptxopsGatherRowsDesc_t desc = PTXOPS_GATHER_ROWS_DESC_INITIALIZER;
  desc.m = m, desc.source_rows = source, desc.hidden = hidden;
  Plan plan;
  ASSERT_OK(ptxopsGatherRowsPlanCreate(context(), &desc, &plan.handle));
  ASSERT_OK(ptxopsPlanPrepare(plan.handle));
  const DeviceMemory d_x(x), d_index(index), d_y(size_t(m) * hidden * 2);
  ptxopsGatherRowsArgs_t args = PTXOPS_GATHER_ROWS_ARGS_INITIALIZER;
  args.x = d_x.address(), args.row_index = d_index.address(), args.y = d_y.address();
  ASSERT_OK(ptxopsGatherRowsRun(plan.handle, &args, nullptr));
  const auto y = d_y.read<uint16_t>();
  for (int r = 0; r < m; ++r)
    for (int i = 0; i < hidden; ++i) {
      const bool inside = index[r] >= 0 && index[r] < source;
      ASSERT_EQ(y[size_t(r) * hidden + i], inside ? x[size_t(index[r]) * hidden + i] : 0xffff)
          << r << " " << i;
    }
}

TEST(WeightedScatter, SumsInSlotOrder) {
  for (int out : {PTXOPS_BF16, PTXOPS_F32}) {
    const int tokens = 11, rows = 17, hidden = 2056, top_k = 9;
    const auto y = random_bf16(size_t(rows) * hidden, 6);
    auto random = random_engine(7 + out);
    std::uniform_real_distribution<float> uniform(-1, 1);
    std::vector<int32_t> row(size_t(tokens) * top_k);
    std::vector<float> weight(row.size());
    for (auto& r : row) r = static_cast<int32_t>(random() % (rows + 3)) - 2;
    for (int j = 0; j < top_k; ++j) row[4 * top_k + j] = -1;  // a token without local experts
    for (auto& w : weight) w = uniform(random);
    ptxopsWeightedScatterDesc_t desc = PTXOPS_WEIGHTED_SCATTER_DESC_INITIALIZER;
    desc.tokens = tokens, desc.rows = rows, desc.hidden = hidden, desc.top_k = top_k, desc.out_type = out;
    Plan plan;
    ASSERT_OK(ptxopsWeightedScatterPlanCreate(context(), &desc, &plan.handle));
    ASSERT_OK(ptxopsPlanPrepare(plan.handle));
    const size_t size = out == PTXOPS_F32 ? 4 : 2;
    const DeviceMemory d_y(y), d_row(row), d_weight(weight), d_out(size_t(tokens) * hidden * size);
    ptxopsWeightedScatterArgs_t args = PTXOPS_WEIGHTED_SCATTER_ARGS_INITIALIZER;
    args.y = d_y.address(), args.row = d_row.address(), args.weight = d_weight.address(),
    args.out = d_out.address();
    ASSERT_OK(ptxopsWeightedScatterRun(plan.handle, &args, nullptr));
    const auto bytes = d_out.read<uint8_t>();
    for (int t = 0; t < tokens; ++t)
      for (int h = 0; h < hidden; ++h) {
        float sum = 0;
        for (int j = 0; j < top_k; ++j) {
          const int32_t r = row[t * top_k + j];
          if (r >= 0 && r < rows)
            sum = std::fma(weight[t * top_k + j], from_bf16(y[size_t(r) * hidden + h]), sum);
        }
        uint32_t got = 0;
        std::memcpy(&got, &bytes[(size_t(t) * hidden + h) * size], size);
        ASSERT_EQ(got, size == 4 ? std::bit_cast<uint32_t>(sum) : to_bf16(sum)) << t << " " << h;
      }
  }
}

}  // namespace
}  // namespace ptxops::test
