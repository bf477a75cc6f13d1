// What a legal FP8 GEMM is.
#include "ops/gemm/fp8_gemm.h"

namespace ptxops::ops {

ptxopsFp8GemmDesc_t complete(const ptxopsFp8GemmDesc_t* in) {
  const ptxopsFp8GemmDesc_t defaults = PTXOPS_FP8_GEMM_DESC_INITIALIZER;
  ptxopsFp8GemmDesc_t d = read_struct("desc", in, defaults);
  check_range("desc.form", d.form, PTXOPS_GEMM_DENSE, PTXOPS_GEMM_GROUPED_MASKED);
  check_range("desc.group_layout", d.group_layout, PTXOPS_GROUPS_OFFSETS, PTXOPS_GROUPS_ROW_MAP);
  check_range("desc.m", d.m, 0, kMaxExtent - 256);
  check_range("desc.n", d.n, 8, kMaxExtent - 256);
  check_multiple("desc.n", d.n, 8);
  check_range("desc.k", d.k, 128, kMaxExtent - 256);
  check_multiple("desc.k", d.k, 128);
  check_range("desc.groups", d.groups, 1, 65536);
  if (d.form == PTXOPS_GEMM_DENSE && d.groups != 1)
    fail(PTXOPS_INVALID_ARGUMENT, "desc.groups: expected 1 for a dense GEMM, got {}", d.groups);
  check_range("desc.out_type", d.out_type, PTXOPS_BF16, PTXOPS_F32);
  check_range("desc.weights_static", d.weights_static, 0, 1);
  if (d.sm_count != 0)
    check_range("desc.sm_count", d.sm_count, 2, 1024), check_multiple("desc.sm_count", d.sm_count, 2);
  const int64_t size = d.out_type == PTXOPS_F32 ? 4 : 2;
  if (d.ldd == 0) d.ldd = d.n;
  check_range("desc.ldd", d.ldd, d.n, kMaxExtent);
  if (d.ldd * size % 16 != 0)
    fail(PTXOPS_INVALID_ARGUMENT,
         "desc.ldd: expected rows of a multiple of 16 bytes, got {} elements of {} bytes", d.ldd, size);
  if (d.ld_sfa == 0) d.ld_sfa = std::max<int64_t>(4, round_up(d.m, 4));
  check_range("desc.ld_sfa", d.ld_sfa, std::max<int64_t>(d.m, 1), kMaxExtent);
  check_multiple("desc.ld_sfa", d.ld_sfa, 4);
  check_range("desc.expected_m", d.expected_m, 0, kMaxExtent);
  if (d.expected_m == 0)
    d.expected_m = d.form == PTXOPS_GEMM_GROUPED_CONTIGUOUS ? std::max<int64_t>(1, ceil_div(d.m, d.groups))
                                                            : std::max<int64_t>(1, d.m);
  // Tensor maps address rows and columns with 32-bit coordinates and 40-bit strides.
  const int64_t slabs = d.form == PTXOPS_GEMM_GROUPED_MASKED ? d.groups : 1;
  check_range("desc.groups * desc.n", checked_product("desc.groups * desc.n", d.groups, d.n), 1, kMaxExtent);
  check_range("desc.groups * desc.m", checked_product("desc.groups * desc.m", slabs, d.m), 0, kMaxExtent);
  check_range("desc.groups * desc.k / 128", slabs * (d.k / 128), 1, kMaxExtent);
  checked_product("bytes of B", checked_product("bytes of B", d.groups, d.n), d.k);
  checked_product("bytes of D", checked_product("bytes of D", slabs * d.m, d.ldd), size);
  return d;
}

}  // namespace ptxops::ops

using ptxops::ops::complete;
using ptxops::ops::fail;
using ptxops::ops::guarded;

extern "C" {

ptxopsStatus_t ptxopsFp8GemmCheck(const ptxopsFp8GemmDesc_t* desc) {
  return guarded([&] { complete(desc); });
}

ptxopsStatus_t ptxopsFp8GemmCheckOffsets(const ptxopsFp8GemmDesc_t* desc, const int32_t* offsets) {
  return guarded([&] {
    const ptxopsFp8GemmDesc_t d = complete(desc);
    if (!offsets)
      fail(PTXOPS_INVALID_ARGUMENT, "offsets: expected {} integers in host memory, got NULL", d.groups + 1);
    if (offsets[0] < 0) fail(PTXOPS_INVALID_ARGUMENT, "offsets[0]: expected at least 0, got {}", offsets[0]);
    for (int64_t g = 0; g < d.groups; ++g) {
      if (offsets[g + 1] < offsets[g])
        fail(PTXOPS_INVALID_ARGUMENT, "offsets[{}]: expected at least offsets[{}] = {}, got {}", g + 1, g,
             offsets[g], offsets[g + 1]);
      if (offsets[g + 1] > d.m)
        fail(PTXOPS_INVALID_ARGUMENT, "offsets[{}]: expected at most desc.m = {}, got {}", g + 1, d.m,
             offsets[g + 1]);
    }
  });
}

ptxopsStatus_t ptxopsFp8GemmCheckCounts(const ptxopsFp8GemmDesc_t* desc, const int32_t* counts) {
  return guarded([&] {
    const ptxopsFp8GemmDesc_t d = complete(desc);
    if (!counts)
      fail(PTXOPS_INVALID_ARGUMENT, "counts: expected {} integers in host memory, got NULL", d.groups);
    for (int64_t g = 0; g < d.groups; ++g)
      if (counts[g] < 0 || counts[g] > d.m)
        fail(PTXOPS_INVALID_ARGUMENT, "counts[{}]: expected 0 .. desc.m = {}, got {}", g, d.m, counts[g]);
  });
}

}  // extern "C"
