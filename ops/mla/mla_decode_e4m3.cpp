#include "ops/mla/mla_decode_e4m3.h"

#include <cstring>

namespace ptxops::ops {
namespace {

// Flags of the kernels' heads.
constexpr uint32_t kCausal = 1, kLseBase2 = 2, kEmptyMinusInf = 4, kReadOnce = 8;

uint32_t u32(int64_t value) {
  return static_cast<uint32_t>(value);
}

autotune::MlaShape shape_of(const ptxopsMlaDecodeE4m3Desc_t& d, int64_t sm_count) {
  autotune::MlaShape s;
  s.e4m3 = true;
  s.type = d.out_type == PTXOPS_F16 ? 1 : 0;
  s.page_size = d.page_size;
  s.rows = d.s_q * d.h_q;
  s.sm_count = static_cast<int>(sm_count);
  s.requests = d.batch, s.keys = d.max_pages * d.page_size;
  s.split_keys = d.split_tokens, s.total_keys = d.max_total_tokens;
  return s;
}

SplitKv::Shape split_shape(const ptxopsMlaDecodeE4m3Desc_t& d, const autotune::MlaShape& shape,
                           int64_t parts) {
  SplitKv::Shape s;
  s.requests = d.batch;
  s.tokens = d.s_q, s.heads = d.h_q;
  s.capacity = d.max_pages * d.page_size;
  s.split_tokens = d.split_tokens, s.max_total_tokens = d.max_total_tokens;
  s.parts = parts, s.sm_count = shape.sm_count;
  s.type = shape.type;
  return s;
}

}  // namespace

MlaDecodeE4m3Plan::MlaDecodeE4m3Plan(ptxopsContext_st& context, const ptxopsMlaDecodeE4m3Desc_t& desc)
    : ptxopsPlan_st(context),
      desc_(desc),
      shape_(shape_of(desc, expect_sm_count(context, desc.sm_count))),
      config_(autotune::rank(shape_).front().config),
      split_(split_shape(desc, shape_, config_.parts)) {}

void MlaDecodeE4m3Plan::prepare() {
  split_.prepare(context);
  driver::LaunchShape shape;
  shape.grid = {u32(config_.tiles), u32(config_.parts), 1};
  shape.block.x = u32(config_.threads);
  if (config_.cluster > 1) shape.cluster = {u32(config_.cluster), 1, 1};
  shape.dynamic_shared_bytes = u32(config_.smem_bytes);
  shape.programmatic = true;
  decode_.prepare(context, autotune::kMlaDecodeE4m3Path, config_.params, shape);
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
  if (bytes < workspace_bytes())
    fail(PTXOPS_WORKSPACE_TOO_SMALL, "workspace_bytes: expected at least {}, got {}", workspace_bytes(),
         bytes);
  check_pointer("workspace", workspace, 256);
  check_device(context, "workspace", workspace);
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
  struct Key {
    ptxopsMlaDecodeE4m3Args_t args;
    ptxopsDevicePtr_t workspace;
    size_t bytes;
    ptxopsStream_t stream;
  };
  Key key;
  std::memset(static_cast<void*>(&key), 0, sizeof key);
  key.args = args, key.workspace = workspace, key.bytes = bytes, key.stream = stream;
  auto& cached = RunCache<Key, Maps>::slot(id);
  if (cached.plan != id || std::memcmp(&cached.key, &key, sizeof key) != 0) {
    cached.plan = 0;
    check_args(args, workspace, bytes, stream);
    encode(args, cached.value);
    cached.key = key;
    cached.plan = id;
  }
  const abi::CUstream s = reinterpret_cast<abi::CUstream>(stream);
  const SplitKv::Tables& tables = split_.tables();
  uint64_t flags_out = args.flags ? args.flags : workspace + tables.flags;
  split_.schedule(context, s, workspace, args.lengths, flags_out);

  const auto bytes_of = [](int64_t elements, int64_t size) { return static_cast<uint64_t>(elements * size); };
  SplitKvOutput o;
  o.out = args.out, o.out_batch = bytes_of(desc_.out_request, 2), o.out_token = bytes_of(desc_.out_token, 2),
  o.out_head = bytes_of(desc_.out_head, 2);
  o.lse = args.lse, o.lse_batch = bytes_of(desc_.lse_request, 4), o.lse_token = bytes_of(desc_.lse_token, 4),
  o.lse_head = bytes_of(desc_.lse_head, 4);
  o.flags = (desc_.causal ? kCausal : 0) | (desc_.lse_base2 ? kLseBase2 : 0) |
            (desc_.lse_empty_neg ? kEmptyMinusInf : 0) | (config_.tiles <= config_.cluster ? kReadOnce : 0);
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
  Maps& maps = cached.value;
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
      shape_.sm_count,
      desc_.split_tokens ? fmt::format("every {} tokens (batch-invariant)", desc_.split_tokens)
                         : "as the batch allows",
      split_.tables().max_slots, split_.tables().bytes);
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
  return guarded([&] {
    if (!plan) fail(PTXOPS_INVALID_ARGUMENT, "plan: expected a pointer to write to, got NULL");
    *plan = nullptr;
    ptxopsContext_st& c = expect_context(context);
    *plan = new MlaDecodeE4m3Plan(c, complete(desc));
  });
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
