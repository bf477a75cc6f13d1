// New latent and rope vectors -> paged MLA cache.
#include "ops/row_op.h"

namespace ptxops::ops {
namespace {

constexpr uint32_t kThreads = 128;
constexpr int64_t kTokensPerCta = 4;
constexpr int64_t kLatentBytes = 1024, kRopeBytes = 128, kFp8TokenBytes = 656;

// A stride of 16-byte aligned rows: 0 means dense.
void complete_stride(const char* name, int64_t& value, int64_t least) {
  if (value == 0) value = least;
  check_range(name, value, least, kMaxExtent);
  check_multiple(name, value, 16);
}

ptxopsMlaAppendDesc_t complete(const ptxopsMlaAppendDesc_t* in) {
  const ptxopsMlaAppendDesc_t defaults = PTXOPS_MLA_APPEND_DESC_INITIALIZER;
  ptxopsMlaAppendDesc_t d = read_struct("desc", in, defaults);
  check_range("desc.tokens", d.tokens, 0, kMaxExtent - 256);
  check_range("desc.pages", d.pages, 1, kMaxExtent);
  check_range("desc.page_size", d.page_size, 1, kMaxExtent);
  check_range("desc.pages * desc.page_size",
              checked_product("desc.pages * desc.page_size", d.pages, d.page_size), 1, kMaxExtent);
  check_range("desc.format", d.format, PTXOPS_MLA_CACHE_16BIT, PTXOPS_MLA_CACHE_FP8);
  check_range("desc.scale_rule", d.scale_rule, PTXOPS_MLA_SCALE_EXACT, PTXOPS_MLA_SCALE_POWER_OF_TWO);
  check_range("desc.slot_64bit", d.slot_64bit, 0, 1);
  check_range("desc.separate_rope", d.separate_rope, 0, 1);
  const bool fp8 = d.format == PTXOPS_MLA_CACHE_FP8;
  if (fp8 && d.separate_rope)
    fail(PTXOPS_INVALID_ARGUMENT, "desc.separate_rope: expected 0 with the 656-byte format, got 1");
  if (!fp8 && d.scale_rule != PTXOPS_MLA_SCALE_EXACT)
    fail(PTXOPS_INVALID_ARGUMENT,
         "desc.scale_rule: expected 0 with a 16-bit cache, which has no scales, got {}", d.scale_rule);
  complete_stride("desc.latent_stride_bytes", d.latent_stride_bytes, kLatentBytes);
  complete_stride("desc.rope_stride_bytes", d.rope_stride_bytes, kRopeBytes);
  const int64_t token = fp8 ? kFp8TokenBytes : d.separate_rope ? kLatentBytes : kLatentBytes + kRopeBytes;
  complete_stride("desc.token_stride_bytes", d.token_stride_bytes, token);
  if (d.page_stride_bytes == 0)
    d.page_stride_bytes =
        checked_product("desc.page_size * desc.token_stride_bytes", d.page_size, d.token_stride_bytes);
  check_range("desc.page_stride_bytes", d.page_stride_bytes, token, int64_t{1} << 40);
  check_multiple("desc.page_stride_bytes", d.page_stride_bytes, 16);
  if (d.separate_rope) {
    complete_stride("desc.rope_token_stride_bytes", d.rope_token_stride_bytes, kRopeBytes);
    if (d.rope_page_stride_bytes == 0)
      d.rope_page_stride_bytes = checked_product("desc.page_size * desc.rope_token_stride_bytes", d.page_size,
                                                 d.rope_token_stride_bytes);
    check_range("desc.rope_page_stride_bytes", d.rope_page_stride_bytes, kRopeBytes, int64_t{1} << 40);
    check_multiple("desc.rope_page_stride_bytes", d.rope_page_stride_bytes, 16);
  } else {
    expect_zero("desc.rope_token_stride_bytes", d.rope_token_stride_bytes, "without desc.separate_rope");
    expect_zero("desc.rope_page_stride_bytes", d.rope_page_stride_bytes, "without desc.separate_rope");
  }
  checked_product("bytes of the cache", d.pages, std::max(d.page_stride_bytes, d.rope_page_stride_bytes));
  check_disjoint<2>(token, {{{"desc.page_stride_bytes", d.page_stride_bytes, d.pages},
                             {"desc.token_stride_bytes", d.token_stride_bytes, d.page_size}}});
  if (d.separate_rope)
    check_disjoint<2>(kRopeBytes,
                      {{{"desc.rope_page_stride_bytes", d.rope_page_stride_bytes, d.pages},
                        {"desc.rope_token_stride_bytes", d.rope_token_stride_bytes, d.page_size}}});
  return d;
}

class MlaAppendPlan final : public RowOpPlan {
 public:
  static constexpr const char* kOp = "mla_append";
  MlaAppendPlan(ptxopsContext_st& context, const ptxopsMlaAppendDesc_t& d)
      : RowOpPlan(context, "mla/mla_append.ptx",
                  {{"FORMAT", d.format}, {"SCALE", d.scale_rule}, {"SLOT_BYTES", d.slot_64bit ? 8 : 4}},
                  {u32(ceil_div(d.tokens, kTokensPerCta)), 1, 1}, kThreads),
        desc_(d) {}
  const char* op() const override { return kOp; }

  void run(const ptxopsMlaAppendArgs_t& args, ptxopsStream_t stream) {
    check_once(args, stream, [&] {
      check_tensor("args.latent", args.latent);
      check_tensor("args.rope", args.rope);
      check_tensor("args.slot", args.slot, desc_.slot_64bit ? 8 : 4);
      check_tensor("args.cache", args.cache);
      check_optional("args.bad_slots", args.bad_slots, 4);
      if (desc_.separate_rope)
        check_tensor("args.rope_cache", args.rope_cache);
      else if (args.rope_cache)
        fail(PTXOPS_INVALID_ARGUMENT,
             "args.rope_cache: expected 0 where rope lies in the token (desc.separate_rope = 0), got 0x{:x}",
             args.rope_cache);
    });
    const auto u64 = [](int64_t v) { return static_cast<uint64_t>(v); };
    const bool apart = desc_.separate_rope != 0;
    launch(stream, args.latent, args.rope, args.slot, args.cache,
           apart ? args.rope_cache : args.cache + kLatentBytes, args.bad_slots,
           u64(desc_.latent_stride_bytes), u64(desc_.rope_stride_bytes), u64(desc_.page_stride_bytes),
           u64(desc_.token_stride_bytes), u64(apart ? desc_.rope_page_stride_bytes : desc_.page_stride_bytes),
           u64(apart ? desc_.rope_token_stride_bytes : desc_.token_stride_bytes), u32(desc_.tokens),
           u32(desc_.page_size), u32(desc_.pages * desc_.page_size));
  }

 private:
  ptxopsMlaAppendDesc_t desc_;
};

}  // namespace
}  // namespace ptxops::ops

using namespace ptxops::ops;

extern "C" {

ptxopsStatus_t ptxopsMlaAppendCheck(const ptxopsMlaAppendDesc_t* desc) {
  return guarded([&] { complete(desc); });
}
ptxopsStatus_t ptxopsMlaAppendPlanCreate(ptxopsContext_t context, const ptxopsMlaAppendDesc_t* desc,
                                         ptxopsPlan_t* plan) {
  return create_plan<MlaAppendPlan>(context, plan, [&] { return complete(desc); });
}
ptxopsStatus_t ptxopsMlaAppendRun(ptxopsPlan_t plan, const ptxopsMlaAppendArgs_t* args,
                                  ptxopsStream_t stream) {
  const ptxopsMlaAppendArgs_t defaults = PTXOPS_MLA_APPEND_ARGS_INITIALIZER;
  return run_plan<MlaAppendPlan>(plan, args, defaults, stream);
}

}  // extern "C"
