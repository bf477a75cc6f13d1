// What a legal MLA decode over an FP8 cache is.
#include <cmath>

#include "ops/mla/mla_decode_fp8.h"

namespace ptxops::ops {
namespace {

constexpr int64_t kTokenBytes = 656;

}  // namespace

ptxopsMlaDecodeFp8Desc_t complete(const ptxopsMlaDecodeFp8Desc_t* in) {
  const ptxopsMlaDecodeFp8Desc_t defaults = PTXOPS_MLA_DECODE_FP8_DESC_INITIALIZER;
  ptxopsMlaDecodeFp8Desc_t d = read_struct("desc", in, defaults);
  check_range("desc.batch", d.batch, 0, 65535);
  check_range("desc.s_q", d.s_q, 1, 65536);
  check_range("desc.h_q", d.h_q, 1, 128);
  check_range("desc.sparse", d.sparse, 0, 1);
  check_range("desc.pages", d.pages, 1, kMaxExtent);
  check_range("desc.page_size", d.page_size, 1, d.sparse ? kMaxExtent : int64_t{1} << 30);
  check_range("desc.pages * desc.page_size",
              checked_product("desc.pages * desc.page_size", d.pages, d.page_size), 1, kMaxExtent);
  check_range("desc.causal", d.causal, 0, 1);
  check_range("desc.lse_base2", d.lse_base2, 0, 1);
  check_range("desc.lse_empty_neg", d.lse_empty_neg, 0, 1);
  check_range("desc.lengths_per_token", d.lengths_per_token, 0, 1);
  if (d.sparse) {
    check_range("desc.top_k", d.top_k, 1, int64_t{1} << 30);
    expect_zero("desc.max_pages", d.max_pages, "with sparse keys");
    expect_zero("desc.causal", d.causal, "with sparse keys");
    check_range("desc.batch * desc.s_q", d.batch * d.s_q, 0, kMaxExtent);
  } else {
    check_range("desc.max_pages", d.max_pages, 1, (int64_t{1} << 30) / d.page_size);
    expect_zero("desc.top_k", d.top_k, "with dense keys");
    expect_zero("desc.lengths_per_token", d.lengths_per_token, "with dense keys");
    expect_zero("desc.keys_token", d.keys_token, "with dense keys");
  }
  if (d.sm_count != 0) check_range("desc.sm_count", d.sm_count, 1, 1024);
  if (d.softmax_scale == 0) d.softmax_scale = 1 / std::sqrt(576.0f);
  if (!(d.softmax_scale > 0) || !std::isfinite(d.softmax_scale))
    fail(PTXOPS_INVALID_ARGUMENT, "desc.softmax_scale: expected a finite number above 0, got {}",
         d.softmax_scale);
  check_split(
      d.sparse ? "desc.batch * desc.s_q * blocks of desc.top_k" : "desc.batch * blocks of desc.max_pages",
      d.sparse ? d.batch * d.s_q : d.batch, d.sparse ? d.top_k : d.max_pages * d.page_size, d.split_tokens,
      d.max_total_tokens);

  complete_stride("desc.q_head", d.q_head, 576, 8);
  complete_stride("desc.q_token", d.q_token, d.h_q * d.q_head, 8);
  complete_stride("desc.q_request", d.q_request, d.s_q * d.q_token, 8);
  complete_output_strides(d);
  if (d.sparse) complete_stride("desc.keys_token", d.keys_token, d.top_k, 1);
  complete_stride("desc.keys_request", d.keys_request, d.sparse ? d.s_q * d.keys_token : d.max_pages, 1);
  complete_stride("desc.token_stride_bytes", d.token_stride_bytes, kTokenBytes, 16);
  check_range("desc.token_stride_bytes", d.token_stride_bytes, kTokenBytes, int64_t{1} << 38);
  if (d.page_stride_bytes == 0)
    d.page_stride_bytes =
        checked_product("desc.page_size * desc.token_stride_bytes", d.page_size, d.token_stride_bytes);
  check_range("desc.page_stride_bytes", d.page_stride_bytes, kTokenBytes, int64_t{1} << 48);
  check_multiple("desc.page_stride_bytes", d.page_stride_bytes, 16);
  checked_product("bytes of the cache", d.pages, d.page_stride_bytes);
  return d;
}

}  // namespace ptxops::ops

using ptxops::ops::complete;
using ptxops::ops::guarded;

extern "C" {

ptxopsStatus_t ptxopsMlaDecodeFp8Check(const ptxopsMlaDecodeFp8Desc_t* desc) {
  return guarded([&] { complete(desc); });
}

}  // extern "C"
