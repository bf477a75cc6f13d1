// What a block of 64 keys costs in MLA decode over an FP8 cache, by what bounds it. Modelled, from published
// Hopper figures and the counts in the kernel's head.
#pragma once

#include <cstdint>

namespace ptxops::autotune {

inline constexpr const char* kMlaDecodeFp8Path = "mla/mla_decode_fp8.ptx";

struct MlaFp8Cost {
  int64_t threads = 0, smem_bytes = 0;
  double tensor = 0, shared = 0, issue = 0, l2 = 0, dram = 0;  // cycles on one SM
  double block = 0;                                            // the largest of them
};
// rows: of a request. sm_count: SMs that the plan may use.
MlaFp8Cost mla_fp8_cost(bool sparse, int64_t rows, int64_t sm_count);

}  // namespace ptxops::autotune
