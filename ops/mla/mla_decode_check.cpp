// What a legal MLA decode is.
#include <cmath>

#include "ops/mla/mla_decode.h"

namespace ptxops::ops {

ptxopsMlaDecodeDesc_t complete(const ptxopsMlaDecodeDesc_t* in) {
  const ptxopsMlaDecodeDesc_t defaults = PTXOPS_MLA_DECODE_DESC_INITIALIZER;
  ptxopsMlaDecodeDesc_t d = read_struct("desc", in, defaults);
  check_range("desc.batch", d.batch, 0, 65535);
  check_range("desc.s_q", d.s_q, 1, 65536);
  check_range("desc.h_q", d.h_q, 1, 128);
  if (d.d_qk != 576)
    fail(PTXOPS_NOT_SUPPORTED, "desc.d_qk: offered is 576 (512 latent, 64 rope), got {}", d.d_qk);
  if (d.d_v != 512) fail(PTXOPS_NOT_SUPPORTED, "desc.d_v: offered is 512, got {}", d.d_v);
  if (d.page_size < 1 || d.page_size > 65536)
    fail(PTXOPS_NOT_SUPPORTED,
         "desc.page_size: offered are 1 .. 65536 tokens (16, 32, 64, 128 by TMA, others gathered), got {}",
         d.page_size);
  if (d.type != PTXOPS_BF16 && d.type != PTXOPS_F16)
    fail(PTXOPS_NOT_SUPPORTED, "desc.type: offered are {} (BF16) and {} (FP16), got {}",
         static_cast<int>(PTXOPS_BF16), static_cast<int>(PTXOPS_F16), d.type);
  check_range("desc.pages", d.pages, 1, kMaxExtent);
  check_range("desc.max_pages", d.max_pages, 1, (int64_t{1} << 30) / d.page_size);
  check_range("desc.causal", d.causal, 0, 1);
  check_range("desc.lse_base2", d.lse_base2, 0, 1);
  check_range("desc.lse_empty_neg", d.lse_empty_neg, 0, 1);
  check_range("desc.separate_rope", d.separate_rope, 0, 1);
  check_range("desc.merge", d.merge, PTXOPS_MLA_MERGE_AUTO, PTXOPS_MLA_MERGE_FUSED);
  if (d.sm_count != 0) check_range("desc.sm_count", d.sm_count, 1, 1024);
  if (d.softmax_scale == 0) d.softmax_scale = 1 / std::sqrt(static_cast<float>(d.d_qk));
  if (!(d.softmax_scale > 0) || !std::isfinite(d.softmax_scale))
    fail(PTXOPS_INVALID_ARGUMENT, "desc.softmax_scale: expected a finite number above 0, got {}",
         d.softmax_scale);
  check_split("desc.batch * blocks of desc.max_pages", d.batch, d.max_pages * d.page_size, d.split_tokens,
              d.max_total_tokens);

  const int64_t width = d.separate_rope ? 512 : 576;
  complete_stride("desc.q_head", d.q_head, width, 8);
  complete_stride("desc.q_token", d.q_token, d.h_q * d.q_head, 8);
  complete_stride("desc.q_request", d.q_request, d.s_q * d.q_token, 8);
  complete_stride("desc.cache_token", d.cache_token, width, 8, width);
  complete_stride("desc.cache_page", d.cache_page, d.page_size * d.cache_token, 8);
  if (d.separate_rope) {
    complete_stride("desc.q_rope_head", d.q_rope_head, 64, 8);
    complete_stride("desc.q_rope_token", d.q_rope_token, d.h_q * d.q_rope_head, 8);
    complete_stride("desc.q_rope_request", d.q_rope_request, d.s_q * d.q_rope_token, 8);
    complete_stride("desc.cache_rope_token", d.cache_rope_token, 64, 8, 64);
    complete_stride("desc.cache_rope_page", d.cache_rope_page, d.page_size * d.cache_rope_token, 8);
  } else {
    constexpr const char* kApart = "without desc.separate_rope";
    expect_zero("desc.q_rope_head", d.q_rope_head, kApart);
    expect_zero("desc.q_rope_token", d.q_rope_token, kApart);
    expect_zero("desc.q_rope_request", d.q_rope_request, kApart);
    expect_zero("desc.cache_rope_token", d.cache_rope_token, kApart);
    expect_zero("desc.cache_rope_page", d.cache_rope_page, kApart);
    d.q_rope_head = d.q_head, d.q_rope_token = d.q_token, d.q_rope_request = d.q_request;
    d.cache_rope_token = d.cache_token, d.cache_rope_page = d.cache_page;
  }
  complete_output_strides(d);
  complete_stride("desc.table_request", d.table_request, d.max_pages, 1, d.batch > 1 ? d.max_pages : 0);
  return d;
}

}  // namespace ptxops::ops

using ptxops::ops::complete;
using ptxops::ops::guarded;

extern "C" {

ptxopsStatus_t ptxopsMlaDecodeCheck(const ptxopsMlaDecodeDesc_t* desc) {
  return guarded([&] { complete(desc); });
}

}  // extern "C"
