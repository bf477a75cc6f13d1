#include "ops/mla/mla_decode_e4m3.h"

namespace ptxops::ops {
namespace {

autotune::MlaShape shape_of(const ptxopsMlaDecodeE4m3Desc_t& d, int64_t sm_count) {
  autotune::MlaShape s = model_shape(d, sm_count);
  s.e4m3 = true;
  s.type = d.out_type == PTXOPS_F16 ? 1 : 0;
  return s;
}

}  // namespace

MlaDecodeE4m3Plan::MlaDecodeE4m3Plan(ptxopsContext_st& context, const ptxopsMlaDecodeE4m3Desc_t& desc)
    : ptxopsPlan_st(context),
      desc_(desc),
      shape_(shape_of(desc, expect_sm_count(context, desc.sm_count))),
      config_(autotune::rank(shape_).front().config),
      split_(split_shape(desc, shape_, config_)) {}

void MlaDecodeE4m3Plan::prepare() {
  split_.prepare(context);
  decode_.prepare(context, autotune::kMlaDecodeE4m3Path, config_.params, launch_shape(config_));
}

void MlaDecodeE4m3Plan::check_args(const ptxopsMlaDecodeE4m3Args_t& args, ptxopsDevicePtr_t workspace,
                                   size_t bytes, ptxopsStream_t stream) const {
  const auto tensor = [&](const char* name, ptxopsDevicePtr_t p, uint64_t alignment) {
    check_pointer(name, p, alignment);
    check_device(context, name, p);
  };
  tensor("args.q", args.q, 16);
  tensor("args.cache", args.cache, 16);
  if (args.descale_q) tensor("args.descale_q", args.descale_q, 4);
  if (args.descale_k) tensor("args.descale_k", args.descale_k, 4);
  tensor("args.page_table", args.page_table, 4);
  tensor("args.lengths", args.lengths, 4);
  tensor("args.out", args.out, 16);
  tensor("args.lse", args.lse, 4);
  if (args.flags) tensor("args.flags", args.flags, 4);
  check_workspace(context, workspace, bytes, workspace_bytes());
  check_stream(context, stream);
}

void MlaDecodeE4m3Plan::encode(const ptxopsMlaDecodeE4m3Args_t& args, Maps& maps) const {
  const driver::Driver& driver = context.driver_context.driver();
  driver::TiledTensor t;
  t.type = abi::CU_TENSOR_MAP_DATA_TYPE_UINT8;
  t.swizzle = abi::CU_TENSOR_MAP_SWIZZLE_128B;
  t.l2_promotion = abi::CU_TENSOR_MAP_L2_PROMOTION_L2_256B;
  const auto page = static_cast<uint64_t>(desc_.page_size), pages = static_cast<uint64_t>(desc_.pages);
  const auto token_stride = static_cast<uint64_t>(desc_.cache_token),
             page_stride = static_cast<uint64_t>(desc_.cache_page);
  // [128 columns][tokens][4 chunks of 128 columns][pages]: a box is a tile of 128-byte rows for each chunk
  t.rank = 4;
  t.address = args.cache;
  t.dim[0] = 128, t.dim[1] = page, t.dim[2] = 4, t.dim[3] = pages;
  t.stride[0] = token_stride, t.stride[1] = 128, t.stride[2] = page_stride;
  t.box[0] = 128, t.box[1] = u32(config_.latent_box_rows), t.box[2] = u32(config_.latent_box_chunks),
  t.box[3] = 1;
  encode_tiled(driver, t, maps.latent);
  t.swizzle = abi::CU_TENSOR_MAP_SWIZZLE_64B;
  t.rank = 3;
  t.address = args.cache + 512;
  t.dim[0] = 64, t.dim[1] = page, t.dim[2] = pages;
  t.stride[0] = token_stride, t.stride[1] = page_stride;
  t.box[0] = 64, t.box[1] = u32(config_.rope_box_rows), t.box[2] = 1;
  encode_tiled(driver, t, maps.rope);
}

void MlaDecodeE4m3Plan::run(const ptxopsMlaDecodeE4m3Args_t& args, ptxopsDevicePtr_t workspace, size_t bytes,
                            ptxopsStream_t stream) {
  if (!decode_.ready() || !split_.ready())
    fail(PTXOPS_NOT_PREPARED, "plan: expected a prepared plan; call ptxopsPlanPrepare first");
  if (desc_.batch == 0) return;
  const CurrentContext current(context);
  Maps& maps = remember_run<Maps>(
      id, WorkspaceCall<ptxopsMlaDecodeE4m3Args_t>(args, workspace, bytes, stream), [&](Maps& made) {
        check_args(args, workspace, bytes, stream);
        encode(args, made);
      });
  const abi::CUstream s = reinterpret_cast<abi::CUstream>(stream);
  const SplitKv::Tables& tables = split_.tables();
  uint64_t flags_out = args.flags ? args.flags : workspace + tables.flags;
  split_.schedule(context, s, workspace, args.lengths, flags_out);

  SplitKvOutput o = split_output(args, desc_);
  if (config_.tiles <= config_.cluster) o.flags |= kReadOnce;
  uint64_t partial_o = workspace + tables.partial_o, partial_lse = workspace + tables.partial_lse,
           part_begin = workspace + tables.part_begin, pieces = workspace + tables.pieces;
  uint64_t q = args.q, q_request = bytes_of(desc_.q_request, 1), q_token = bytes_of(desc_.q_token, 1),
           q_head = bytes_of(desc_.q_head, 1);
  uint64_t descale_q = args.descale_q, descale_k = args.descale_k;
  uint64_t page_table = args.page_table, table_request = bytes_of(desc_.table_request, 4);
  uint32_t s_q = u32(desc_.s_q), h_q = u32(desc_.h_q), pages = u32(desc_.pages);
  float scale_log2 =
            static_cast<float>(1.4426950408889634 * desc_.softmax_scale * desc_.descale_q * desc_.descale_k),
        out_scale = desc_.descale_k;
  void* parameters[] = {&maps.latent, &maps.rope,   &q,           &q_request,     &q_token,     &q_head,
                        &descale_q,   &descale_k,   &o.out,       &o.out_batch,   &o.out_token, &o.out_head,
                        &o.lse,       &o.lse_batch, &o.lse_token, &o.lse_head,    &partial_o,   &partial_lse,
                        &part_begin,  &pieces,      &page_table,  &table_request, &flags_out,   &s_q,
                        &h_q,         &pages,       &o.flags,     &scale_log2,    &out_scale};
  check_launch(context, "mla_decode_e4m3", decode_.launch().try_run(s, parameters));
  split_.combine(context, s, workspace, 0, o);
}

std::string MlaDecodeE4m3Plan::explain() const {
  std::string text = fmt::format(
      "mla_decode_e4m3, output {}: {} requests of {} tokens x {} heads, pages of {} tokens, at most {} a "
      "request, {} SMs\n"
      "splits: {}; at most {} partial results, workspace {} bytes\n"
      "choice by the analytic model; cycles of a block of 64 keys are modelled, never measured\n"
      "rank cluster tiles parts  smem    tensor shared L2     DRAM   block  SMs busy\n",
      shape_.type ? "FP16" : "BF16", desc_.batch, desc_.s_q, desc_.h_q, desc_.page_size, desc_.max_pages,
      shape_.sm_count, split_rule(desc_.split_tokens), split_.tables().max_slots, split_.tables().bytes);
  int place = 0;
  for (const autotune::MlaRanked& r : autotune::rank(shape_)) {
    ++place;
    text += fmt::format(
        "{}{:<3} {:<7} {:<5} {:<6} {:<7} {:<6.0f} {:<6.0f} {:<6.0f} {:<6.0f} {:<6.0f} {:.0f}%\n", place,
        place == 1 ? "*" : "", r.config.cluster, r.config.tiles, r.config.parts, r.config.smem_bytes,
        r.cost.tensor, r.cost.shared, r.cost.l2, r.cost.dram, r.cost.block, 100 * r.cost.occupied);
  }
  return text;
}

}  // namespace ptxops::ops

using namespace ptxops::ops;

extern "C" {

ptxopsStatus_t ptxopsMlaDecodeE4m3PlanCreate(ptxopsContext_t context, const ptxopsMlaDecodeE4m3Desc_t* desc,
                                             ptxopsPlan_t* plan) {
  return create_plan<MlaDecodeE4m3Plan>(context, plan, [&] { return complete(desc); });
}

ptxopsStatus_t ptxopsMlaDecodeE4m3Run(ptxopsPlan_t plan, const ptxopsMlaDecodeE4m3Args_t* args,
                                      ptxopsDevicePtr_t workspace, size_t workspace_bytes,
                                      ptxopsStream_t stream) {
  return guarded([&] {
    MlaDecodeE4m3Plan& p = expect_plan<MlaDecodeE4m3Plan>(plan);
    const ptxopsMlaDecodeE4m3Args_t defaults = PTXOPS_MLA_DECODE_E4M3_ARGS_INITIALIZER;
    p.run(read_struct("args", args, defaults), workspace, workspace_bytes, stream);
  });
}

}  // extern "C"
