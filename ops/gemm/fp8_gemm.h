// The FP8 GEMM op: describe -> check -> choose -> launch.
#pragma once

#include "autotune/gemm_model.h"
#include "driver/client/tensor_map.h"
#include "ops/plan.h"

namespace ptxops::ops {

class Fp8GemmPlan final : public ptxopsPlan_st {
 public:
  static constexpr const char* kOp = "fp8_gemm";

  // `desc` has passed complete().
  Fp8GemmPlan(ptxopsContext_st& context, const ptxopsFp8GemmDesc_t& desc);

  void prepare() override;
  size_t workspace_bytes() const override;
  std::string explain() const override;
  const char* op() const override { return kOp; }
  void run(const ptxopsFp8GemmArgs_t& args, ptxopsDevicePtr_t workspace, size_t bytes, ptxopsStream_t stream);

  // Everything a run derives from its arguments and may reuse while they stay the same.
  struct Maps {
    abi::CUtensorMap a, b, sfa, d;
  };

 private:
  void check_args(const ptxopsFp8GemmArgs_t& args, ptxopsDevicePtr_t workspace, size_t bytes,
                  ptxopsStream_t stream) const;
  void encode(const ptxopsFp8GemmArgs_t& args, Maps& maps) const;

  ptxopsFp8GemmDesc_t desc_;
  int sm_count_;
  autotune::GemmShape shape_;
  const autotune::GemmConfig* config_;
  uint32_t raster_, flags_;
  PreparedLaunch gemm_, row_map_;
};

// The descriptor with its defaults filled in. Throws StatusError for an illegal one.
ptxopsFp8GemmDesc_t complete(const ptxopsFp8GemmDesc_t* desc);

}  // namespace ptxops::ops
