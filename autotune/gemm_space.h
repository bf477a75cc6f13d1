// The space of FP8 GEMM configurations, read once from the kernel's head.
#pragma once

#include <cstdint>
#include <vector>

#include "driver/jit/head.h"

namespace ptxops::autotune {

inline constexpr const char* kFp8GemmPath = "gemm/fp8_gemm.ptx";

// One legal combination of the template's parameters, with the notes that choosing and launching need.
struct GemmConfig {
  int32_t form = 0, out = 0;         // FORM and OUT of the kernel
  int32_t block_m = 0, block_n = 0;  // tile, elements
  int32_t cluster = 1, stages = 0;
  int32_t threads = 0, smem_bytes = 0, math_warpgroups = 1;
  int32_t a_box_rows = 0;  // rows of A that one CTA of a cluster loads
  int32_t d_box_cols = 0, d_swizzle_bytes = 0;
  jit::Params params() const;
};

class GemmSpace {
 public:
  // Parses the head and enumerates its domain: some milliseconds, once per process. Throws
  // jit::TemplateError.
  static const GemmSpace& get();

  // The configurations of one form and output type, in the head's order.
  const std::vector<GemmConfig>& configs(int form, int out) const { return by_kind_[form][out]; }
  const jit::KernelHead& head() const { return head_; }

 private:
  GemmSpace();
  jit::KernelHead head_;
  std::vector<GemmConfig> by_kind_[3][2];
};

}  // namespace ptxops::autotune
