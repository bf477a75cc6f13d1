// The MLA decode op: describe -> check -> choose -> launch.
#pragma once

#include "autotune/mla_model.h"
#include "driver/client/tensor_map.h"
#include "ops/plan.h"

namespace ptxops::ops {

// Limits of the tables and of the workspace, see ptx/mla/README.md. Offsets into the workspace, in bytes.
struct MlaTables {
  int64_t max_pieces = 0, max_slots = 0, max_merges = 0;
  size_t part_begin = 0, pieces = 0, merge_count = 0, merges = 0, flags = 0, partial_lse = 0, partial_o = 0;
  size_t bytes = 0;
};

class MlaDecodePlan final : public ptxopsPlan_st {
 public:
  static constexpr const char* kOp = "mla_decode";

  // `desc` has passed complete().
  MlaDecodePlan(ptxopsContext_st& context, const ptxopsMlaDecodeDesc_t& desc);

  void prepare() override;
  size_t workspace_bytes() const override { return tables_.bytes; }
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
  int sm_count_;
  autotune::MlaShape shape_;
  autotune::MlaConfig config_;
  MlaTables tables_;
  PreparedLaunch schedule_, decode_, combine_;
};

// The descriptor with its defaults filled in. Throws StatusError for an illegal one.
ptxopsMlaDecodeDesc_t complete(const ptxopsMlaDecodeDesc_t* desc);

}  // namespace ptxops::ops
