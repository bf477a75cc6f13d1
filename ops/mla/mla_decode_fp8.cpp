#include "ops/mla/mla_decode_fp8.h"

#include <algorithm>

#include "autotune/mla_fp8_model.h"

namespace ptxops::ops {
namespace {

constexpr int64_t kRowTile = 64;
SplitKv::Shape split_shape(const ptxopsMlaDecodeFp8Desc_t& d, int64_t parts, int64_t sm_count) {
  SplitKv::Shape s;
  s.requests = d.sparse ? d.batch * d.s_q : d.batch;
  s.per_length = d.sparse && !d.lengths_per_token ? d.s_q : 1;
  s.per_batch = d.sparse ? d.s_q : 1;
  s.tokens = d.sparse ? 1 : d.s_q;
  s.heads = d.h_q;
  s.capacity = d.sparse ? d.top_k : d.max_pages * d.page_size;
  s.split_tokens = d.split_tokens, s.max_total_tokens = d.max_total_tokens;
  s.parts = parts, s.sm_count = sm_count;
  return s;
}

int64_t rows_of(const ptxopsMlaDecodeFp8Desc_t& d) {
  return d.sparse ? d.h_q : d.s_q * d.h_q;
}

}  // namespace

MlaDecodeFp8Plan::MlaDecodeFp8Plan(ptxopsContext_st& context, const ptxopsMlaDecodeFp8Desc_t& desc)
    : ptxopsPlan_st(context),
      desc_(desc),
      sm_count_(expect_sm_count(context, desc.sm_count)),
      tiles_(ceil_div(rows_of(desc), kRowTile)),
      parts_(std::max<int64_t>(1, sm_count_ / tiles_)),
      split_(split_shape(desc, parts_, sm_count_)) {}

void MlaDecodeFp8Plan::prepare() {
  split_.prepare(context);
  const autotune::MlaFp8Cost cost = autotune::mla_fp8_cost(desc_.sparse != 0, rows_of(desc_), sm_count_);
  driver::LaunchShape shape;
  shape.grid = {u32(tiles_), u32(parts_), 1};
  shape.block.x = u32(cost.threads);
  shape.dynamic_shared_bytes = u32(cost.smem_bytes);
  shape.programmatic = true;
  decode_.prepare(context, autotune::kMlaDecodeFp8Path, {{"SPARSE", desc_.sparse}}, shape);
}

void MlaDecodeFp8Plan::check_args(const ptxopsMlaDecodeFp8Args_t& args, ptxopsDevicePtr_t workspace,
                                  size_t bytes, ptxopsStream_t stream) const {
  const auto tensor = [&](const char* name, ptxopsDevicePtr_t p, uint64_t alignment) {
    check_pointer(name, p, alignment);
    check_device(context, name, p);
  };
  tensor("args.q", args.q, 16);
  tensor("args.cache", args.cache, 16);
  tensor("args.keys", args.keys, 4);
  if (!desc_.sparse || args.lengths) tensor("args.lengths", args.lengths, 4);
  if (args.sink) tensor("args.sink", args.sink, 4);
  tensor("args.out", args.out, 16);
  tensor("args.lse", args.lse, 4);
  if (args.flags) tensor("args.flags", args.flags, 4);
  check_workspace(context, workspace, bytes, workspace_bytes());
  check_stream(context, stream);
}

void MlaDecodeFp8Plan::run(const ptxopsMlaDecodeFp8Args_t& args, ptxopsDevicePtr_t workspace, size_t bytes,
                           ptxopsStream_t stream) {
  if (!decode_.ready() || !split_.ready())
    fail(PTXOPS_NOT_PREPARED, "plan: expected a prepared plan; call ptxopsPlanPrepare first");
  if (desc_.batch == 0) return;
  const CurrentContext current(context);
  struct Nothing {};
  remember_run<Nothing>(id, WorkspaceCall<ptxopsMlaDecodeFp8Args_t>(args, workspace, bytes, stream),
                        [&](Nothing&) { check_args(args, workspace, bytes, stream); });
  const abi::CUstream s = reinterpret_cast<abi::CUstream>(stream);
  const SplitKv::Tables& tables = split_.tables();
  uint64_t flags_out = args.flags ? args.flags : workspace + tables.flags;
  split_.schedule(context, s, workspace, args.lengths, flags_out);

  SplitKvOutput o = split_output(args, desc_);
  uint64_t q = args.q, q_batch = bytes_of(desc_.q_request, 2), q_token = bytes_of(desc_.q_token, 2),
           q_head = bytes_of(desc_.q_head, 2);
  uint64_t partial_o = workspace + tables.partial_o, partial_lse = workspace + tables.partial_lse,
           part_begin = workspace + tables.part_begin, pieces = workspace + tables.pieces;
  uint64_t keys = args.keys, keys_batch = bytes_of(desc_.keys_request, 4),
           keys_token = bytes_of(desc_.keys_token, 4);
  uint64_t cache = args.cache, page_stride = bytes_of(desc_.page_stride_bytes, 1),
           token_stride = bytes_of(desc_.token_stride_bytes, 1), sink = args.sink;
  uint32_t page_size = u32(desc_.page_size), pages = u32(desc_.pages), s_q = u32(desc_.s_q),
           h_q = u32(desc_.h_q);
  float scale_log2 = static_cast<float>(desc_.softmax_scale * 1.4426950408889634);
  void* parameters[] = {&q,           &q_batch,     &q_token,    &q_head,      &o.out,        &o.out_batch,
                        &o.out_token, &o.out_head,  &o.lse,      &o.lse_batch, &o.lse_token,  &o.lse_head,
                        &partial_o,   &partial_lse, &part_begin, &pieces,      &flags_out,    &keys,
                        &keys_batch,  &keys_token,  &cache,      &page_stride, &token_stride, &sink,
                        &page_size,   &pages,       &s_q,        &h_q,         &o.flags,      &scale_log2};
  check_launch(context, "mla_decode_fp8", decode_.launch().try_run(s, parameters));
  split_.combine(context, s, workspace, args.sink, o);
}

std::string MlaDecodeFp8Plan::explain() const {
  const autotune::MlaFp8Cost c = autotune::mla_fp8_cost(desc_.sparse != 0, rows_of(desc_), sm_count_);
  return fmt::format(
      "mla_decode_fp8 {}: {} requests of {} tokens x {} heads, at most {} keys, {} SMs\n"
      "splits: {}; at most {} partial results, workspace {} bytes\n"
      "1* {} tiles of 64 rows x {} parts, {} threads, {} bytes of shared memory\n"
      "cycles of a block of 64 keys, modelled, never measured: tensor cores {:.0f}, shared memory {:.0f}, "
      "issue "
      "{:.0f}, L2 {:.0f}, DRAM {:.0f}; the most: {:.0f}\n",
      desc_.sparse ? "sparse" : "dense", desc_.batch, desc_.s_q, desc_.h_q,
      desc_.sparse ? desc_.top_k : desc_.max_pages * desc_.page_size, sm_count_,
      split_rule(desc_.split_tokens), split_.tables().max_slots, split_.tables().bytes, tiles_, parts_,
      c.threads, c.smem_bytes, c.tensor, c.shared, c.issue, c.l2, c.dram, c.block);
}

}  // namespace ptxops::ops

using namespace ptxops::ops;

extern "C" {

ptxopsStatus_t ptxopsMlaDecodeFp8PlanCreate(ptxopsContext_t context, const ptxopsMlaDecodeFp8Desc_t* desc,
                                            ptxopsPlan_t* plan) {
  return create_plan<MlaDecodeFp8Plan>(context, plan, [&] { return complete(desc); });
}

ptxopsStatus_t ptxopsMlaDecodeFp8Run(ptxopsPlan_t plan, const ptxopsMlaDecodeFp8Args_t* args,
                                     ptxopsDevicePtr_t workspace, size_t workspace_bytes,
                                     ptxopsStream_t stream) {
  return guarded([&] {
    MlaDecodeFp8Plan& p = expect_plan<MlaDecodeFp8Plan>(plan);
    const ptxopsMlaDecodeFp8Args_t defaults = PTXOPS_MLA_DECODE_FP8_ARGS_INITIALIZER;
    p.run(read_struct("args", args, defaults), workspace, workspace_bytes, stream);
  });
}

}  // extern "C"
