// Row gather and weighted scatter of a mixture-of-experts layer.
#include "ops/row_op.h"

namespace ptxops::ops {
namespace {

constexpr uint32_t kThreads = 256;
constexpr int64_t kGatherRowsPerCta = 8, kGatherBytesPerCta = 4096, kScatterColumnsPerCta = 2048;

ptxopsGatherRowsDesc_t complete(const ptxopsGatherRowsDesc_t* in) {
  const ptxopsGatherRowsDesc_t defaults = PTXOPS_GATHER_ROWS_DESC_INITIALIZER;
  const ptxopsGatherRowsDesc_t d = read_struct("desc", in, defaults);
  check_range("desc.m", d.m, 0, kMaxExtent - 256);
  check_range("desc.source_rows", d.source_rows, 0, kMaxExtent);
  check_range("desc.hidden", d.hidden, 8, kMaxGridY * kGatherBytesPerCta / 2);
  check_multiple("desc.hidden", d.hidden, 8);
  return d;
}

ptxopsWeightedScatterDesc_t complete(const ptxopsWeightedScatterDesc_t* in) {
  const ptxopsWeightedScatterDesc_t defaults = PTXOPS_WEIGHTED_SCATTER_DESC_INITIALIZER;
  const ptxopsWeightedScatterDesc_t d = read_struct("desc", in, defaults);
  check_range("desc.tokens", d.tokens, 0, kMaxExtent);
  check_range("desc.rows", d.rows, 0, kMaxExtent);
  check_range("desc.hidden", d.hidden, 8, kMaxGridY * kScatterColumnsPerCta);
  check_multiple("desc.hidden", d.hidden, 8);
  check_range("desc.top_k", d.top_k, 1, 32);
  check_range("desc.out_type", d.out_type, PTXOPS_BF16, PTXOPS_F32);
  return d;
}

class GatherRowsPlan final : public RowOpPlan {
 public:
  static constexpr const char* kOp = "gather_rows";
  GatherRowsPlan(ptxopsContext_st& context, const ptxopsGatherRowsDesc_t& d)
      : RowOpPlan(context, "moe/gather_rows.ptx", {},
                  {u32(ceil_div(d.m, kGatherRowsPerCta)), u32(ceil_div(d.hidden * 2, kGatherBytesPerCta)), 1},
                  kThreads),
        desc_(d) {}
  const char* op() const override { return kOp; }

  void run(const ptxopsGatherRowsArgs_t& args, ptxopsStream_t stream) {
    check_once(args, stream, [&] {
      check_tensor("args.x", args.x);
      check_tensor("args.row_index", args.row_index, 4);
      check_tensor("args.y", args.y);
    });
    const uint64_t stride = static_cast<uint64_t>(desc_.hidden) * 2;
    launch(stream, args.x, args.y, args.row_index, u32(desc_.m), u32(desc_.source_rows),
           static_cast<uint32_t>(stride), stride, stride);
  }

 private:
  ptxopsGatherRowsDesc_t desc_;
};

class WeightedScatterPlan final : public RowOpPlan {
 public:
  static constexpr const char* kOp = "weighted_scatter";
  WeightedScatterPlan(ptxopsContext_st& context, const ptxopsWeightedScatterDesc_t& d)
      : RowOpPlan(context, "moe/weighted_scatter.ptx", {{"OUT", d.out_type}},
                  {u32(d.tokens), u32(ceil_div(d.hidden, kScatterColumnsPerCta)), 1}, kThreads),
        desc_(d) {}
  const char* op() const override { return kOp; }

  void run(const ptxopsWeightedScatterArgs_t& args, ptxopsStream_t stream) {
    check_once(args, stream, [&] {
      check_tensor("args.y", args.y);
      check_tensor("args.row", args.row, 4);
      check_tensor("args.weight", args.weight, 4);
      check_tensor("args.out", args.out);
    });
    const uint32_t hidden = u32(desc_.hidden);
    launch(stream, args.y, args.row, args.weight, args.out, u32(desc_.top_k), hidden, u32(desc_.rows), hidden,
           hidden);
  }

 private:
  ptxopsWeightedScatterDesc_t desc_;
};

}  // namespace
}  // namespace ptxops::ops

using namespace ptxops::ops;

extern "C" {

ptxopsStatus_t ptxopsGatherRowsCheck(const ptxopsGatherRowsDesc_t* desc) {
  return guarded([&] { complete(desc); });
}
ptxopsStatus_t ptxopsGatherRowsPlanCreate(ptxopsContext_t context, const ptxopsGatherRowsDesc_t* desc,
                                          ptxopsPlan_t* plan) {
  return create_plan<GatherRowsPlan>(context, plan, [&] { return complete(desc); });
}
ptxopsStatus_t ptxopsGatherRowsRun(ptxopsPlan_t plan, const ptxopsGatherRowsArgs_t* args,
                                   ptxopsStream_t stream) {
  const ptxopsGatherRowsArgs_t defaults = PTXOPS_GATHER_ROWS_ARGS_INITIALIZER;
  return run_plan<GatherRowsPlan>(plan, args, defaults, stream);
}

ptxopsStatus_t ptxopsWeightedScatterCheck(const ptxopsWeightedScatterDesc_t* desc) {
  return guarded([&] { complete(desc); });
}
ptxopsStatus_t ptxopsWeightedScatterPlanCreate(ptxopsContext_t context,
                                               const ptxopsWeightedScatterDesc_t* desc, ptxopsPlan_t* plan) {
  return create_plan<WeightedScatterPlan>(context, plan, [&] { return complete(desc); });
}
ptxopsStatus_t ptxopsWeightedScatterRun(ptxopsPlan_t plan, const ptxopsWeightedScatterArgs_t* args,
                                        ptxopsStream_t stream) {
  const ptxopsWeightedScatterArgs_t defaults = PTXOPS_WEIGHTED_SCATTER_ARGS_INITIALIZER;
  return run_plan<WeightedScatterPlan>(plan, args, defaults, stream);
}

}  // extern "C"
