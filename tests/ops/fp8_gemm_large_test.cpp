// Full N and K of DeepSeek-V3's expert GEMMs with every awkward group size. Two oracles in FP64: the product
// of the dequantised inputs (per-row bound) and that of the values before quantisation (DeepGEMM's
// calc_diff).
#include <tbb/parallel_for.h>

#include <array>
#include <bit>
#include <cmath>
#include <random>

#include "tests/ops/device.h"
#include "tests/support/formats.h"
#include "tests/support/random_seed.h"

namespace ptxops::test {
namespace {

// A row's relative error. Inside a 128-block the tensor core truncates each of 32 products and the running
// sum to 14 bits; over a row of random data this leaves 1.3e-4 of its norm (measured on the exact rule), and
// BF16 rounding 1.7e-3 in all. The bounds are two to four times that; a wrong scale in one block of 56
// exceeds both.
constexpr double kRowBound[] = {4e-3, 5e-4};  // BF16, FP32
constexpr double kDifference = 1e-3;

struct Operand {  // rows x k, quantised in blocks of `block_rows` x 128
  int rows, k, block_rows;
  std::vector<float> exact;
  std::vector<uint8_t> q;
  std::vector<float> scale;  // [ceil(rows/block_rows)][k/128]
  Operand(int rows, int k, int block_rows, uint64_t purpose) : rows(rows), k(k), block_rows(block_rows) {
    exact.resize(size_t(rows) * k), q.resize(exact.size());
    const size_t kblocks = k / 128, rblocks = (rows + block_rows - 1) / block_rows;
    scale.resize(rblocks * kblocks);
    const uint64_t seed = random_engine(purpose)();
    tbb::parallel_for(size_t{0}, rblocks, [&](size_t rb) {
      std::mt19937_64 random(seed + rb);
      std::normal_distribution<float> normal;
      const size_t first = rb * block_rows, last = std::min<size_t>(first + block_rows, rows);
      for (size_t i = first * k; i < last * k; ++i) exact[i] = normal(random);
      for (size_t kb = 0; kb < kblocks; ++kb) {
        float amax = 1e-4f;
        for (size_t r = first; r < last; ++r)
          for (size_t i = 0; i < 128; ++i) amax = std::max(amax, std::abs(exact[r * k + kb * 128 + i]));
        scale[rb * kblocks + kb] = amax / 448;
        for (size_t r = first; r < last; ++r)
          for (size_t i = 0; i < 128; ++i)
            q[r * k + kb * 128 + i] = to_e4m3(exact[r * k + kb * 128 + i] * (448 / amax));
      }
    });
  }
};

struct Sums {
  double xy = 0, squares = 0, worst_row = 0;
};

void check(int form, int n, int k, const std::vector<int>& sizes, int out, uint64_t purpose) {
  const int groups = static_cast<int>(sizes.size()), kblocks = k / 128, nblocks = (n + 127) / 128;
  const bool masked = form == PTXOPS_GEMM_GROUPED_MASKED;
  const int max_m = *std::max_element(sizes.begin(), sizes.end()) + 1;
  std::vector<int32_t> table;
  std::vector<std::pair<int, int>> where;  // of each computed row: group, row of A
  int rows = 0;
  for (int g = 0; g < groups; ++g) {
    table.push_back(masked ? sizes[g] : rows);
    for (int r = 0; r < sizes[g]; ++r) where.push_back({g, rows + r});
    rows += masked ? max_m : sizes[g];
  }
  if (!masked) table.push_back(rows);
  const Operand a(rows, k, 1, purpose), b(groups * n, k, 128, purpose + 1);
  const int m = masked ? max_m : rows, ld = (m + 3) / 4 * 4, slabs = masked ? groups : 1;
  std::vector<float> sfa(size_t(slabs) * kblocks * ld);
  for (int s = 0; s < slabs; ++s)
    for (int kb = 0; kb < kblocks; ++kb)
      for (int r = 0; r < m; ++r)
        sfa[(size_t(s) * kblocks + kb) * ld + r] = a.scale[(size_t(s) * m + r) * kblocks + kb];
  ASSERT_EQ(n % 128, 0);
  const std::vector<float>& sfb = b.scale;  // [groups*n/128][kblocks] is [groups][n/128][kblocks]
  ASSERT_EQ(sfb.size(), size_t(groups) * nblocks * kblocks);

  ptxopsFp8GemmDesc_t desc = PTXOPS_FP8_GEMM_DESC_INITIALIZER;
  desc.form = form, desc.m = m, desc.n = n, desc.k = k, desc.groups = form == PTXOPS_GEMM_DENSE ? 1 : groups;
  desc.ld_sfa = ld, desc.out_type = out;
  Plan plan;
  ASSERT_OK(ptxopsFp8GemmPlanCreate(context(), &desc, &plan.handle));
  ASSERT_OK(ptxopsPlanPrepare(plan.handle));
  const size_t size = out == PTXOPS_F32 ? 4 : 2;
  const DeviceMemory d_a(a.q), d_b(b.q), d_sfa(sfa), d_sfb(sfb), d_d(size_t(rows) * n * size), d_table(table);
  ptxopsFp8GemmArgs_t args = PTXOPS_FP8_GEMM_ARGS_INITIALIZER;
  args.a = d_a.address(), args.b = d_b.address(), args.sfa = d_sfa.address(), args.sfb = d_sfb.address();
  args.d = d_d.address(), args.groups = form == PTXOPS_GEMM_DENSE ? 0 : d_table.address();
  ASSERT_OK(ptxopsFp8GemmRun(plan.handle, &args, 0, 0, nullptr));
  ASSERT_OK(ptxopsStreamSynchronize(context(), nullptr));
  const std::vector<uint8_t> bytes = d_d.read<uint8_t>();
  const auto result = [&](size_t i) -> double {
    uint32_t bits = 0;
    std::memcpy(&bits, &bytes[i * size], size);
    return std::bit_cast<float>(size == 4 ? bits : bits << 16);
  };

  // A sample of the rows keeps FP64 affordable: of each group the first, the last and every 16th.
  std::vector<std::pair<int, int>> sample;
  for (size_t i = 0; i < where.size(); ++i)
    if (i == 0 || i + 1 == where.size() || where[i - 1].first != where[i].first ||
        where[i + 1].first != where[i].first || i % 16 == 0)
      sample.push_back(where[i]);
  std::vector<Sums> sums(sample.size());
  tbb::parallel_for(size_t{0}, sample.size(), [&](size_t s) {
    const auto [g, row] = sample[s];
    std::vector<double> left(k), exact_left(k);
    for (int i = 0; i < k; ++i) {
      left[i] = from_e4m3(a.q[size_t(row) * k + i]) * a.scale[size_t(row) * kblocks + i / 128];
      exact_left[i] = a.exact[size_t(row) * k + i];
    }
    static const std::array<float, 256> decode = [] {
      std::array<float, 256> t{};
      for (int i = 0; i < 256; ++i) t[i] = from_e4m3(static_cast<uint8_t>(i));
      return t;
    }();
    double difference = 0, norm = 0;
    for (int column = 0; column < n; ++column) {
      const size_t right = size_t(g) * n + column;
      double dequantised = 0, exact = 0;
      for (int kb = 0; kb < kblocks; ++kb) {
        double part = 0;
        for (int i = kb * 128; i < kb * 128 + 128; ++i) {
          part += left[i] * decode[b.q[right * k + i]];
          exact += exact_left[i] * b.exact[right * k + i];
        }
        dequantised += part * sfb[(size_t(g) * nblocks + column / 128) * kblocks + kb];
      }
      const double x = result(size_t(row) * n + column);
      if (!std::isfinite(x)) {
        sums[s].worst_row = INFINITY;
        return;
      }
      difference += (x - dequantised) * (x - dequantised);
      norm += dequantised * dequantised;
      sums[s].xy += x * exact;
      sums[s].squares += x * x + exact * exact;
    }
    sums[s].worst_row = std::sqrt(difference / norm);
  });
  Sums all;
  for (const Sums& s : sums) {
    all.xy += s.xy, all.squares += s.squares;
    all.worst_row = std::max(all.worst_row, s.worst_row);
  }
  std::printf("n %d k %d form %d out %d: %zu of %zu rows, worst row error %.2e, calc_diff %.2e\n", n, k, form,
              out, sample.size(), where.size(), all.worst_row, 1 - 2 * all.xy / all.squares);
  EXPECT_LT(all.worst_row, kRowBound[out]);
  EXPECT_LT(1 - 2 * all.xy / all.squares, kDifference);
  for (int g = 0; masked && g < groups; ++g) {  // rows beyond the count keep the poison
    for (size_t i = (size_t(g) * m + sizes[g]) * n * size; i < size_t(g + 1) * m * n * size; ++i)
      ASSERT_EQ(bytes[i], 0xff);
  }
}

TEST(Fp8GemmLarge, GateUpContiguous) {
  check(PTXOPS_GEMM_GROUPED_CONTIGUOUS, 4096, 7168, {129, 0, 1, 64}, PTXOPS_BF16, 1000);
}
TEST(Fp8GemmLarge, DownContiguousAllSizes) {
  check(PTXOPS_GEMM_GROUPED_CONTIGUOUS, 7168, 2048, {0, 300, 1, 63, 7, 128, 64, 127, 65, 129}, PTXOPS_BF16,
        1010);
}
TEST(Fp8GemmLarge, DownMaskedFp32) {
  check(PTXOPS_GEMM_GROUPED_MASKED, 7168, 2048, {65, 0, 7, 129}, PTXOPS_F32, 1020);
}
TEST(Fp8GemmLarge, Dense) {
  check(PTXOPS_GEMM_DENSE, 2176, 7168, {130}, PTXOPS_BF16, 1030);
  check(PTXOPS_GEMM_DENSE, 7168, 16384, {1}, PTXOPS_F32, 1040);
}

}  // namespace
}  // namespace ptxops::test
