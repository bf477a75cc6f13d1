// All forms, layouts and outputs on small shapes: bit-equal to the model, nothing else written.
#include <random>

#include "tests/ops/device.h"
#include "tests/ops/gemm_model.h"
#include "tests/support/formats.h"
#include "tests/support/random_seed.h"

namespace ptxops::test {
namespace {

constexpr int kGroupSizes[] = {0, 1, 7, 63, 64, 65, 127, 128, 129, 300};

struct Case {
  int form, layout, out, n, k;
  std::vector<int> sizes;  // rows of each group; DENSE: one
  int padding = 0;         // ROW_MAP: rows of -1 behind each group
  int ldd_extra = 0;
};

void run_case(const Case& c, uint64_t purpose) {
  auto random = random_engine(purpose);
  const int groups = static_cast<int>(c.sizes.size());
  const int max_m = *std::max_element(c.sizes.begin(), c.sizes.end()) + 3;
  std::vector<int32_t> offsets{0}, map, counts(c.sizes.begin(), c.sizes.end());
  std::vector<int> group_of, place;  // of each row of A; group -1: not computed
  for (int g = 0; g < groups; ++g) {
    const int slab = c.form == PTXOPS_GEMM_GROUPED_MASKED ? max_m : c.sizes[g] + c.padding;
    for (int r = 0; r < slab; ++r) {
      group_of.push_back(r < c.sizes[g] ? g : -1);
      map.push_back(group_of.back());
      place.push_back(c.form == PTXOPS_GEMM_GROUPED_MASKED ? r : static_cast<int>(group_of.size()) - 1);
    }
    offsets.push_back(static_cast<int32_t>(group_of.size()));
  }
  const int rows = static_cast<int>(group_of.size()), kblocks = c.k / 128, nblocks = (c.n + 127) / 128;
  const int m = c.form == PTXOPS_GEMM_GROUPED_MASKED ? max_m : rows;
  const int ld_sfa = (std::max(m, 1) + 3) / 4 * 4 + 4, ldd = c.n + c.ldd_extra;
  const int slabs = c.form == PTXOPS_GEMM_GROUPED_MASKED ? groups : 1;

  // Every finite e4m3 value, with a bias to large exponents as quantised data have it.
  const auto element = [&] {
    const uint8_t b = static_cast<uint8_t>(random());
    return (b & 0x7f) == 0x7f ? uint8_t{0x38} : b;
  };
  std::uniform_real_distribution<float> scale(0.001f, 3.0f);
  std::vector<uint8_t> a(size_t(rows) * c.k), b(size_t(groups) * c.n * c.k);
  for (auto& v : a) v = element();
  for (auto& v : b) v = element();
  std::vector<float> sfa(size_t(slabs) * kblocks * ld_sfa), sfb(size_t(groups) * nblocks * kblocks);
  for (auto& v : sfa) v = scale(random);
  for (auto& v : sfb) v = scale(random);

  ptxopsFp8GemmDesc_t desc = PTXOPS_FP8_GEMM_DESC_INITIALIZER;
  desc.form = c.form, desc.group_layout = c.layout, desc.m = m, desc.n = c.n, desc.k = c.k;
  desc.groups = c.form == PTXOPS_GEMM_DENSE ? 1 : groups;
  desc.ld_sfa = ld_sfa, desc.ldd = ldd, desc.out_type = c.out, desc.sm_count = 8, desc.weights_static = 1;
  Plan plan;
  ASSERT_OK(ptxopsFp8GemmPlanCreate(context(), &desc, &plan.handle));
  ASSERT_OK(ptxopsPlanPrepare(plan.handle));
  size_t workspace_bytes = 0;
  ASSERT_OK(ptxopsPlanGetWorkspaceSize(plan.handle, &workspace_bytes));
  const size_t size = c.out == PTXOPS_F32 ? 4 : 2;
  const DeviceMemory d_a(a), d_b(b), d_sfa(sfa), d_sfb(sfb), d_d(size_t(rows) * ldd * size),
      d_groups(c.form == PTXOPS_GEMM_GROUPED_MASKED ? counts
               : c.layout == PTXOPS_GROUPS_ROW_MAP  ? map
                                                    : offsets),
      workspace(std::max<size_t>(workspace_bytes, 16));
  ptxopsFp8GemmArgs_t args = PTXOPS_FP8_GEMM_ARGS_INITIALIZER;
  args.a = d_a.address(), args.b = d_b.address(), args.sfa = d_sfa.address(), args.sfb = d_sfb.address();
  args.d = d_d.address();
  args.groups = c.form == PTXOPS_GEMM_DENSE ? 0 : d_groups.address();
  ASSERT_OK(ptxopsFp8GemmRun(plan.handle, &args, workspace_bytes ? workspace.address() : 0, workspace_bytes,
                             nullptr));
  ASSERT_OK(ptxopsStreamSynchronize(context(), nullptr));

  const std::vector<uint8_t> out = d_d.read<uint8_t>();
  int wrong = 0;
  for (int row = 0; row < rows && wrong < 5; ++row)
    for (int n = 0; n < ldd && wrong < 5; ++n) {
      const int g = group_of[row];
      const uint8_t* got = &out[(size_t(row) * ldd + n) * size];
      uint32_t actual = 0, expected = size == 4 ? 0xffffffffu : 0xffffu;  // poison: not written
      std::memcpy(&actual, got, size);
      if (g >= 0 && n < c.n) {
        std::vector<float> row_scales(kblocks), column_scales(kblocks);
        for (int kb = 0; kb < kblocks; ++kb) {
          row_scales[kb] = sfa[(size_t(slabs > 1 ? g : 0) * kblocks + kb) * ld_sfa + place[row]];
          column_scales[kb] = sfb[(size_t(g) * nblocks + n / 128) * kblocks + kb];
        }
        const float value = gemm_element(&a[size_t(row) * c.k], &b[(size_t(g) * c.n + n) * c.k], row_scales,
                                         column_scales, c.k);
        if (size == 4)
          std::memcpy(&expected, &value, 4);
        else
          expected = to_bf16(value);
      }
      if (actual != expected) {
        ++wrong;
        ADD_FAILURE() << "row " << row << " (group " << g << ") column " << n << ": got 0x" << std::hex
                      << actual << ", expected 0x" << expected;
      }
    }
}

std::vector<int> random_sizes(int groups, int most, uint64_t purpose) {
  auto random = random_engine(purpose);
  std::vector<int> sizes;
  while (static_cast<int>(sizes.size()) < groups) {
    const int s = kGroupSizes[random() % std::size(kGroupSizes)];
    if (s <= most) sizes.push_back(s);
  }
  return sizes;
}

TEST(Fp8GemmExact, Dense) {
  uint64_t purpose = 100;
  for (int out : {PTXOPS_BF16, PTXOPS_F32})
    for (int m : {1, 7, 64, 129}) run_case({PTXOPS_GEMM_DENSE, 0, out, 136, 128, {m}, 0, 8}, ++purpose);
}
TEST(Fp8GemmExact, DenseNarrowAndDeep) {
  run_case({PTXOPS_GEMM_DENSE, 0, PTXOPS_BF16, 8, 1152, {9}}, 150);
  run_case({PTXOPS_GEMM_DENSE, 0, PTXOPS_F32, 264, 128, {65}}, 151);
}
TEST(Fp8GemmExact, ContiguousOffsets) {
  for (int out : {PTXOPS_BF16, PTXOPS_F32})
    run_case({PTXOPS_GEMM_GROUPED_CONTIGUOUS, PTXOPS_GROUPS_OFFSETS, out, 72, 256,
              random_sizes(7, 129, 201 + out)},
             210 + out);
  run_case({PTXOPS_GEMM_GROUPED_CONTIGUOUS,
            PTXOPS_GROUPS_OFFSETS,
            PTXOPS_BF16,
            40,
            128,
            {0, 1, 63, 0, 64, 65, 127, 128, 129, 300, 0}},
           220);
}
TEST(Fp8GemmExact, ContiguousRowMap) {
  for (int out : {PTXOPS_BF16, PTXOPS_F32})
    run_case({PTXOPS_GEMM_GROUPED_CONTIGUOUS, PTXOPS_GROUPS_ROW_MAP, out, 80, 256,
              random_sizes(6, 129, 301 + out), 5},
             310 + out);
}
TEST(Fp8GemmExact, Masked) {
  for (int out : {PTXOPS_BF16, PTXOPS_F32})
    run_case({PTXOPS_GEMM_GROUPED_MASKED, 0, out, 72, 256, random_sizes(5, 129, 401 + out)}, 410 + out);
}

// Tables that lie: the kernel clamps them, and never leaves the rows of A and D.
TEST(Fp8GemmExact, CorruptTablesStayInside) {
  const int m = 100, n = 64, k = 128, groups = 3;
  const std::vector<uint8_t> a(size_t(m) * k, 0x38), b(size_t(groups) * n * k, 0x38);
  const std::vector<float> sfa(size_t(k / 128) * 100, 1), sfb(groups, 1);
  const std::vector<std::vector<int32_t>> tables = {{-5, 40, 1000000, 20}, {90, 10, 2147483647, -2147483647}};
  ptxopsFp8GemmDesc_t desc = PTXOPS_FP8_GEMM_DESC_INITIALIZER;
  desc.form = PTXOPS_GEMM_GROUPED_CONTIGUOUS, desc.m = m, desc.n = n, desc.k = k, desc.groups = groups,
  desc.sm_count = 4;
  Plan plan;
  ASSERT_OK(ptxopsFp8GemmPlanCreate(context(), &desc, &plan.handle));
  ASSERT_OK(ptxopsPlanPrepare(plan.handle));
  for (const auto& table : tables) {
    const DeviceMemory d_a(a), d_b(b), d_sfa(sfa), d_sfb(sfb), d_d(size_t(m) * n * 2), d_groups(table);
    ptxopsFp8GemmArgs_t args = PTXOPS_FP8_GEMM_ARGS_INITIALIZER;
    args.a = d_a.address(), args.b = d_b.address(), args.sfa = d_sfa.address(), args.sfb = d_sfb.address();
    args.d = d_d.address(), args.groups = d_groups.address();
    ASSERT_OK(ptxopsFp8GemmRun(plan.handle, &args, 0, 0, nullptr));
    ASSERT_OK(ptxopsStreamSynchronize(context(), nullptr));
  }
}

}  // namespace
}  // namespace ptxops::test
