#include "ops/mla/mla_decode.h"

#include <algorithm>
#include <vector>

namespace ptxops::ops {
namespace {

autotune::MlaShape shape_of(const ptxopsMlaDecodeDesc_t& d, int64_t sm_count) {
  autotune::MlaShape s = model_shape(d, sm_count);
  s.type = d.type == PTXOPS_F16 ? 1 : 0;
  s.merge = d.merge == PTXOPS_MLA_MERGE_SEPARATE ? autotune::MlaMerge::kSeparate
            : d.merge == PTXOPS_MLA_MERGE_FUSED  ? autotune::MlaMerge::kFused
                                                 : autotune::MlaMerge::kAny;
  return s;
}

}  // namespace

MlaDecodePlan::MlaDecodePlan(ptxopsContext_st& context, const ptxopsMlaDecodeDesc_t& desc)
    : ptxopsPlan_st(context),
      desc_(desc),
      shape_(shape_of(desc, expect_sm_count(context, desc.sm_count))),
      config_(autotune::rank(shape_).front().config),
      split_(split_shape(desc, shape_, config_)) {}

void MlaDecodePlan::prepare() {
  split_.prepare(context);
  decode_.prepare(context, autotune::kMlaDecodePath, config_.params, launch_shape(config_));
}

void MlaDecodePlan::check_args(const ptxopsMlaDecodeArgs_t& args, ptxopsDevicePtr_t workspace, size_t bytes,
                               ptxopsStream_t stream) const {
  const auto tensor = [&](const char* name, ptxopsDevicePtr_t p, uint64_t alignment) {
    check_pointer(name, p, alignment);
    check_device(context, name, p);
  };
  const auto rope = [&](const char* name, ptxopsDevicePtr_t p) {
    if (desc_.separate_rope)
      tensor(name, p, 16);
    else if (p)
      fail(PTXOPS_INVALID_ARGUMENT, "{}: expected 0 without desc.separate_rope, got 0x{:x}", name, p);
  };
  tensor("args.q", args.q, 16);
  rope("args.q_rope", args.q_rope);
  tensor("args.cache", args.cache, 16);
  rope("args.cache_rope", args.cache_rope);
  tensor("args.page_table", args.page_table, 4);
  tensor("args.lengths", args.lengths, 4);
  tensor("args.out", args.out, 16);
  tensor("args.lse", args.lse, 4);
  if (args.flags) tensor("args.flags", args.flags, 4);
  check_workspace(context, workspace, bytes, workspace_bytes());
  check_stream(context, stream);
}

void MlaDecodePlan::encode(const ptxopsMlaDecodeArgs_t& args, Maps& maps) const {
  if (config_.gather) return;
  const driver::Driver& driver = context.driver_context.driver();
  driver::TiledTensor t;
  t.type = shape_.type ? abi::CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : abi::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
  t.swizzle = abi::CU_TENSOR_MAP_SWIZZLE_128B;
  t.l2_promotion = abi::CU_TENSOR_MAP_L2_PROMOTION_L2_256B;
  const auto page = static_cast<uint64_t>(desc_.page_size), pages = static_cast<uint64_t>(desc_.pages);
  // [64 columns][tokens][8 chunks of 64 columns][pages]: a box is a tile of 128-byte rows for each chunk
  t.rank = 4;
  t.address = args.cache;
  t.dim[0] = 64, t.dim[1] = page, t.dim[2] = 8, t.dim[3] = pages;
  t.stride[0] = static_cast<uint64_t>(desc_.cache_token) * 2, t.stride[1] = 128;
  t.stride[2] = static_cast<uint64_t>(desc_.cache_page) * 2;
  t.box[0] = 64, t.box[1] = u32(config_.latent_box_rows), t.box[2] = u32(config_.latent_box_chunks),
  t.box[3] = 1;
  encode_tiled(driver, t, maps.latent);
  t.rank = 3;
  t.address = desc_.separate_rope ? args.cache_rope : args.cache + 512 * 2;
  t.dim[0] = 64, t.dim[1] = page, t.dim[2] = pages;
  t.stride[0] = static_cast<uint64_t>(desc_.cache_rope_token) * 2;
  t.stride[1] = static_cast<uint64_t>(desc_.cache_rope_page) * 2;
  t.box[0] = 64, t.box[1] = u32(config_.rope_box_rows), t.box[2] = 1;
  encode_tiled(driver, t, maps.rope);
}

void MlaDecodePlan::run(const ptxopsMlaDecodeArgs_t& args, ptxopsDevicePtr_t workspace, size_t bytes,
                        ptxopsStream_t stream) {
  if (!decode_.ready() || !split_.ready())
    fail(PTXOPS_NOT_PREPARED, "plan: expected a prepared plan; call ptxopsPlanPrepare first");
  if (desc_.batch == 0) return;
  const CurrentContext current(context);
  Maps& maps = remember_run<Maps>(id, WorkspaceCall<ptxopsMlaDecodeArgs_t>(args, workspace, bytes, stream),
                                  [&](Maps& made) {
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
  uint64_t q = args.q, q_request = bytes_of(desc_.q_request, 2), q_token = bytes_of(desc_.q_token, 2),
           q_head = bytes_of(desc_.q_head, 2);
  uint64_t qr = desc_.separate_rope ? args.q_rope : args.q + 512 * 2,
           qr_request = bytes_of(desc_.q_rope_request, 2), qr_token = bytes_of(desc_.q_rope_token, 2),
           qr_head = bytes_of(desc_.q_rope_head, 2);
  uint64_t page_table = args.page_table, table_request = bytes_of(desc_.table_request, 4);
  uint32_t s_q = u32(desc_.s_q), h_q = u32(desc_.h_q), pages = u32(desc_.pages);
  float scale_log2 = static_cast<float>(desc_.softmax_scale * 1.4426950408889634);
  uint64_t arrivals = workspace + tables.arrivals;
  uint64_t cache = args.cache, cache_page = bytes_of(desc_.cache_page, 2),
           cache_token = bytes_of(desc_.cache_token, 2);
  uint64_t rope_cache = desc_.separate_rope ? args.cache_rope : args.cache + 512 * 2,
           rope_page = bytes_of(desc_.cache_rope_page, 2), rope_token = bytes_of(desc_.cache_rope_token, 2);
  uint32_t page_size = u32(desc_.page_size);
  // The kernel's first parameters say where the keys are: tensor maps, or addresses and strides.
  constexpr size_t kKeys = 7, kRest = 29;
  void* keys[kKeys] = {&cache, &cache_page, &cache_token, &rope_cache, &rope_page, &rope_token, &page_size};
  size_t count = kKeys;
  if (!config_.gather) keys[0] = &maps.latent, keys[1] = &maps.rope, count = 2;
  void* rest[kRest] = {&q,          &q_request,   &q_token,     &q_head,        &qr,          &qr_request,
                       &qr_token,   &qr_head,     &o.out,       &o.out_batch,   &o.out_token, &o.out_head,
                       &o.lse,      &o.lse_batch, &o.lse_token, &o.lse_head,    &partial_o,   &partial_lse,
                       &part_begin, &pieces,      &page_table,  &table_request, &flags_out,   &arrivals,
                       &s_q,        &h_q,         &pages,       &o.flags,       &scale_log2};
  void* parameters[kKeys + kRest];
  std::copy_n(rest, kRest, std::copy_n(keys, count, parameters));
  check_launch(context, "mla_decode", decode_.launch().try_run(s, parameters));
  split_.combine(context, s, workspace, 0, o);
}

std::string MlaDecodePlan::explain() const {
  const std::vector<autotune::MlaRanked> ranked = autotune::rank(shape_);
  std::string text = fmt::format(
      "mla_decode {}: {} requests of {} tokens x {} heads, pages of {} tokens, at most {} a request, {} SMs\n"
      "keys: {}\n"
      "splits: {}; at most {} partial results, workspace {} bytes\n"
      "merge: {}\n"
      "choice by the analytic model; cycles, of a block of 64 keys and of the merges of a run, are modelled, "
      "never measured\n"
      "rank cluster tiles parts  smem    tensor shared L2     DRAM   block  SMs busy merge    cycles\n",
      shape_.type ? "FP16" : "BF16", desc_.batch, desc_.s_q, desc_.h_q, desc_.page_size, desc_.max_pages,
      shape_.sm_count, config_.gather ? "gathered one by one, cp.async" : "boxes of TMA",
      split_rule(desc_.split_tokens), split_.tables().max_slots, split_.tables().bytes,
      split_.tables().max_merges == 0
          ? std::string("none, no request can be split")
          : fmt::format("{}, {}; {} splits a request by the batch's size",
                        config_.fused ? "fused into the attention kernel" : "separate, mla_combine",
                        desc_.merge ? "as desc.merge says" : "the model's choice",
                        ranked.front().cost.splits));
  int place = 0;
  for (const autotune::MlaRanked& r : ranked) {
    ++place;
    text += fmt::format(
        "{}{:<3} {:<7} {:<5} {:<6} {:<7} {:<6.0f} {:<6.0f} {:<6.0f} {:<6.0f} {:<6.0f} {:<8} {:<8} {:.0f}\n",
        place, place == 1 ? "*" : "", r.config.cluster, r.config.tiles, r.config.parts, r.config.smem_bytes,
        r.cost.tensor, r.cost.shared, r.cost.l2, r.cost.dram, r.cost.block,
        fmt::format("{:.0f}%", 100 * r.cost.occupied), r.config.fused ? "fused" : "separate", r.cost.merge);
  }
  return text;
}

}  // namespace ptxops::ops

using namespace ptxops::ops;

extern "C" {

ptxopsStatus_t ptxopsMlaDecodePlanCreate(ptxopsContext_t context, const ptxopsMlaDecodeDesc_t* desc,
                                         ptxopsPlan_t* plan) {
  return create_plan<MlaDecodePlan>(context, plan, [&] { return complete(desc); });
}

ptxopsStatus_t ptxopsMlaDecodeRun(ptxopsPlan_t plan, const ptxopsMlaDecodeArgs_t* args,
                                  ptxopsDevicePtr_t workspace, size_t workspace_bytes,
                                  ptxopsStream_t stream) {
  return guarded([&] {
    MlaDecodePlan& p = expect_plan<MlaDecodePlan>(plan);
    const ptxopsMlaDecodeArgs_t defaults = PTXOPS_MLA_DECODE_ARGS_INITIALIZER;
    p.run(read_struct("args", args, defaults), workspace, workspace_bytes, stream);
  });
}

}  // extern "C"
