// The MLA decode op: describe -> check -> choose -> launch.
#pragma once

#include "driver/client/tensor_map.h"
#include "ops/mla/paged_decode.h"

namespace ptxops::ops {

class MlaDecodePlan final : public ptxopsPlan_st {
 public:
  static constexpr const char* kOp = "mla_decode";

  // `desc` has passed complete().
  MlaDecodePlan(ptxopsContext_st& context, const ptxopsMlaDecodeDesc_t& desc);

  void prepare() override;
  size_t workspace_bytes() const override { return split_.tables().bytes; }
  std::string explain() const override;
  const char* op() const override { return kOp; }
  void run(const ptxopsMlaDecodeArgs_t& args, ptxopsDevicePtr_t workspace, size_t bytes,
           ptxopsStream_t stream);

  struct Maps {
    abi::CUtensorMap latent, rope;
  };

 private:
  void check_args(const ptxopsMlaDecodeArgs_t& args, ptxopsDevicePtr_t workspace, size_t bytes,
                  ptxopsStream_t stream) const;
  void encode(const ptxopsMlaDecodeArgs_t& args, Maps& maps) const;

  ptxopsMlaDecodeDesc_t desc_;
  autotune::MlaShape shape_;
  autotune::MlaConfig config_;
  SplitKv split_;
  PreparedLaunch decode_;
};

// The descriptor with its defaults filled in. Throws StatusError for an illegal one.
ptxopsMlaDecodeDesc_t complete(const ptxopsMlaDecodeDesc_t* desc);

}  // namespace ptxops::ops
