// The FP8 MLA decode op: describe -> check -> choose -> launch.
#pragma once

#include "driver/client/tensor_map.h"
#include "ops/mla/paged_decode.h"

namespace ptxops::ops {

class MlaDecodeE4m3Plan final : public ptxopsPlan_st {
 public:
  static constexpr const char* kOp = "mla_decode_e4m3";

  // `desc` has passed complete().
  MlaDecodeE4m3Plan(ptxopsContext_st& context, const ptxopsMlaDecodeE4m3Desc_t& desc);

  void prepare() override;
  size_t workspace_bytes() const override { return split_.tables().bytes; }
  std::string explain() const override;
  const char* op() const override { return kOp; }
  void run(const ptxopsMlaDecodeE4m3Args_t& args, ptxopsDevicePtr_t workspace, size_t bytes,
           ptxopsStream_t stream);

  struct Maps {
    abi::CUtensorMap latent, rope;
  };

 private:
  void check_args(const ptxopsMlaDecodeE4m3Args_t& args, ptxopsDevicePtr_t workspace, size_t bytes,
                  ptxopsStream_t stream) const;
  void encode(const ptxopsMlaDecodeE4m3Args_t& args, Maps& maps) const;

  ptxopsMlaDecodeE4m3Desc_t desc_;
  autotune::MlaShape shape_;
  autotune::MlaConfig config_;
  SplitKv split_;
  PreparedLaunch decode_;
};

// The descriptor with its defaults filled in. Throws StatusError for an illegal one.
ptxopsMlaDecodeE4m3Desc_t complete(const ptxopsMlaDecodeE4m3Desc_t* desc);

}  // namespace ptxops::ops
