// BF16 rows -> e4m3 with 1 x 128 scales, with or without SwiGLU before.
#include "ops/row_op.h"

namespace ptxops::ops {
namespace {

constexpr uint32_t kThreads = 256, kBlocksPerCta = 8;
// Rows of a warp: 16 keep more loads in flight, 4 fill the device when rows are few.
int64_t rows_per_warp(int64_t rows) {
  return rows >= 2048 ? 16 : 4;
}

driver::Dim3 grid_of(int64_t m, int64_t groups, int64_t columns, int64_t rows_of_warp) {
  return {u32(groups * ceil_div(m, rows_of_warp)), u32(ceil_div(columns / 128, kBlocksPerCta)), 1};
}

// Defaults and checks that both descriptors share.
void complete_rows(int64_t m, int64_t columns, const char* columns_name, int64_t groups, int64_t& ld_sf) {
  check_range("desc.m", m, 0, kMaxExtent - 256);
  check_range(columns_name, columns, 128, kMaxGridY * kBlocksPerCta * 128);
  check_multiple(columns_name, columns, 128);
  check_range("desc.groups", groups, 1, 65536);
  check_range("desc.groups * desc.m", checked_product("desc.groups * desc.m", groups, m), 0, kMaxExtent);
  if (ld_sf == 0) ld_sf = std::max<int64_t>(4, round_up(m, 4));
  check_range("desc.ld_sf", ld_sf, std::max<int64_t>(m, 1), kMaxExtent);
  check_multiple("desc.ld_sf", ld_sf, 4);
}

void complete_stride(int64_t& ldx, int64_t columns) {
  if (ldx == 0) ldx = columns;
  check_range("desc.ldx", ldx, columns, kMaxExtent);
  check_multiple("desc.ldx", ldx, 8);
}

ptxopsQuantizeDesc_t complete(const ptxopsQuantizeDesc_t* in) {
  const ptxopsQuantizeDesc_t defaults = PTXOPS_QUANTIZE_DESC_INITIALIZER;
  ptxopsQuantizeDesc_t d = read_struct("desc", in, defaults);
  complete_rows(d.m, d.k, "desc.k", d.groups, d.ld_sf);
  complete_stride(d.ldx, d.k);
  if (d.source_rows == 0) d.source_rows = d.groups * d.m;
  check_range("desc.source_rows", d.source_rows, 0, kMaxExtent);
  return d;
}

ptxopsSwigluQuantizeDesc_t complete(const ptxopsSwigluQuantizeDesc_t* in) {
  const ptxopsSwigluQuantizeDesc_t defaults = PTXOPS_SWIGLU_QUANTIZE_DESC_INITIALIZER;
  ptxopsSwigluQuantizeDesc_t d = read_struct("desc", in, defaults);
  complete_rows(d.m, d.width, "desc.width", d.groups, d.ld_sf);
  complete_stride(d.ldx, 2 * d.width);
  return d;
}

class QuantizePlan final : public RowOpPlan {
 public:
  static constexpr const char* kOp = "quantize_1x128";
  QuantizePlan(ptxopsContext_st& context, const ptxopsQuantizeDesc_t& d)
      : RowOpPlan(context, "gemm/quantize_1x128.ptx", {{"ROWS", rows_per_warp(d.groups * d.m)}},
                  grid_of(d.m, d.groups, d.k, rows_per_warp(d.groups * d.m)), kThreads),
        desc_(d) {}
  const char* op() const override { return kOp; }

  void run(const ptxopsQuantizeArgs_t& args, ptxopsStream_t stream) {
    check_once(args, stream, [&] {
      check_tensor("args.x", args.x);
      check_tensor("args.q", args.q);
      check_tensor("args.sf", args.sf);
      check_optional("args.row_index", args.row_index, 4);
      check_optional("args.counts", args.counts, 4);
    });
    launch(stream, args.x, args.q, args.sf, args.row_index, args.counts, u32(desc_.source_rows), u32(desc_.m),
           u32(desc_.k), u32(desc_.ldx), u32(desc_.ld_sf));
  }

 private:
  ptxopsQuantizeDesc_t desc_;
};

class SwigluQuantizePlan final : public RowOpPlan {
 public:
  static constexpr const char* kOp = "swiglu_quantize_1x128";
  SwigluQuantizePlan(ptxopsContext_st& context, const ptxopsSwigluQuantizeDesc_t& d)
      : RowOpPlan(context, "gemm/swiglu_quantize_1x128.ptx", {{"ROWS", rows_per_warp(d.groups * d.m)}},
                  grid_of(d.m, d.groups, d.width, rows_per_warp(d.groups * d.m)), kThreads),
        desc_(d) {}
  const char* op() const override { return kOp; }

  void run(const ptxopsSwigluQuantizeArgs_t& args, ptxopsStream_t stream) {
    check_once(args, stream, [&] {
      check_tensor("args.x", args.x);
      check_tensor("args.q", args.q);
      check_tensor("args.sf", args.sf);
      check_optional("args.counts", args.counts, 4);
    });
    launch(stream, args.x, args.q, args.sf, args.counts, u32(desc_.m), u32(desc_.width), u32(desc_.ldx),
           u32(desc_.ld_sf));
  }

 private:
  ptxopsSwigluQuantizeDesc_t desc_;
};

}  // namespace
}  // namespace ptxops::ops

using namespace ptxops::ops;

extern "C" {

ptxopsStatus_t ptxopsQuantizeCheck(const ptxopsQuantizeDesc_t* desc) {
  return guarded([&] { complete(desc); });
}
ptxopsStatus_t ptxopsQuantizePlanCreate(ptxopsContext_t context, const ptxopsQuantizeDesc_t* desc,
                                        ptxopsPlan_t* plan) {
  return create_plan<QuantizePlan>(context, plan, [&] { return complete(desc); });
}
ptxopsStatus_t ptxopsQuantizeRun(ptxopsPlan_t plan, const ptxopsQuantizeArgs_t* args, ptxopsStream_t stream) {
  const ptxopsQuantizeArgs_t defaults = PTXOPS_QUANTIZE_ARGS_INITIALIZER;
  return run_plan<QuantizePlan>(plan, args, defaults, stream);
}

ptxopsStatus_t ptxopsSwigluQuantizeCheck(const ptxopsSwigluQuantizeDesc_t* desc) {
  return guarded([&] { complete(desc); });
}
ptxopsStatus_t ptxopsSwigluQuantizePlanCreate(ptxopsContext_t context, const ptxopsSwigluQuantizeDesc_t* desc,
                                              ptxopsPlan_t* plan) {
  return create_plan<SwigluQuantizePlan>(context, plan, [&] { return complete(desc); });
}
ptxopsStatus_t ptxopsSwigluQuantizeRun(ptxopsPlan_t plan, const ptxopsSwigluQuantizeArgs_t* args,
                                       ptxopsStream_t stream) {
  const ptxopsSwigluQuantizeArgs_t defaults = PTXOPS_SWIGLU_QUANTIZE_ARGS_INITIALIZER;
  return run_plan<SwigluQuantizePlan>(plan, args, defaults, stream);
}

}  // extern "C"
