// MLA decode over 656-byte tokens, dense or sparse: describe -> check -> choose -> launch.
#pragma once

#include "ops/mla/split_kv.h"

namespace ptxops::ops {

class MlaDecodeFp8Plan final : public ptxopsPlan_st {
 public:
  static constexpr const char* kOp = "mla_decode_fp8";

  // `desc` has passed complete().
  MlaDecodeFp8Plan(ptxopsContext_st& context, const ptxopsMlaDecodeFp8Desc_t& desc);

  void prepare() override;
  size_t workspace_bytes() const override { return split_.tables().bytes; }
  std::string explain() const override;
  const char* op() const override { return kOp; }
  void run(const ptxopsMlaDecodeFp8Args_t& args, ptxopsDevicePtr_t workspace, size_t bytes,
           ptxopsStream_t stream);

 private:
  void check_args(const ptxopsMlaDecodeFp8Args_t& args, ptxopsDevicePtr_t workspace, size_t bytes,
                  ptxopsStream_t stream) const;

  ptxopsMlaDecodeFp8Desc_t desc_;
  int64_t sm_count_, tiles_, parts_;
  SplitKv split_;
  PreparedLaunch decode_;
};

// The descriptor with its defaults filled in. Throws StatusError for an illegal one.
ptxopsMlaDecodeFp8Desc_t complete(const ptxopsMlaDecodeFp8Desc_t* desc);

}  // namespace ptxops::ops
