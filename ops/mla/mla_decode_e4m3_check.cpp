// What a legal FP8 MLA decode is.
#include <algorithm>
#include <array>
#include <cmath>

#include "ops/mla/mla_decode_e4m3.h"

namespace ptxops::ops {
namespace {

constexpr std::array<int64_t, 4> kPageSizes = {16, 32, 64, 128};

void check_scale(const char* name, float value) {
  if (!(value > 0) || !std::isfinite(value))
    fail(PTXOPS_INVALID_ARGUMENT, "{}: expected a finite number above 0, got {}", name, value);
}

}  // namespace

ptxopsMlaDecodeE4m3Desc_t complete(const ptxopsMlaDecodeE4m3Desc_t* in) {
  const ptxopsMlaDecodeE4m3Desc_t defaults = PTXOPS_MLA_DECODE_E4M3_DESC_INITIALIZER;
  ptxopsMlaDecodeE4m3Desc_t d = read_struct("desc", in, defaults);
  check_range("desc.batch", d.batch, 0, 65535);
  check_range("desc.s_q", d.s_q, 1, 65536);
  check_range("desc.h_q", d.h_q, 1, 128);
  if (d.d_qk != 576)
    fail(PTXOPS_NOT_SUPPORTED, "desc.d_qk: offered is 576 (512 latent, 64 rope), got {}", d.d_qk);
  if (d.d_v != 512) fail(PTXOPS_NOT_SUPPORTED, "desc.d_v: offered is 512, got {}", d.d_v);
  if (std::find(kPageSizes.begin(), kPageSizes.end(), d.page_size) == kPageSizes.end())
    fail(PTXOPS_NOT_SUPPORTED, "desc.page_size: offered are 16, 32, 64 and 128 tokens, got {}", d.page_size);
  if (d.out_type != PTXOPS_BF16 && d.out_type != PTXOPS_F16)
    fail(PTXOPS_NOT_SUPPORTED, "desc.out_type: offered are {} (BF16) and {} (FP16), got {}",
         static_cast<int>(PTXOPS_BF16), static_cast<int>(PTXOPS_F16), d.out_type);
  check_range("desc.pages", d.pages, 1, kMaxExtent);
  check_range("desc.max_pages", d.max_pages, 1, (int64_t{1} << 30) / d.page_size);
  check_range("desc.causal", d.causal, 0, 1);
  check_range("desc.lse_base2", d.lse_base2, 0, 1);
  check_range("desc.lse_empty_neg", d.lse_empty_neg, 0, 1);
  if (d.sm_count != 0) check_range("desc.sm_count", d.sm_count, 1, 1024);
  if (d.softmax_scale == 0) d.softmax_scale = 1 / std::sqrt(static_cast<float>(d.d_qk));
  check_scale("desc.softmax_scale", d.softmax_scale);
  check_scale("desc.descale_q", d.descale_q);
  check_scale("desc.descale_k", d.descale_k);
  check_split("desc.batch * blocks of desc.max_pages", d.batch, d.max_pages * d.page_size, d.split_tokens,
              d.max_total_tokens);

  complete_stride("desc.q_head", d.q_head, 576, 16);
  complete_stride("desc.q_token", d.q_token, d.h_q * d.q_head, 16);
  complete_stride("desc.q_request", d.q_request, d.s_q * d.q_token, 16);
  complete_stride("desc.cache_token", d.cache_token, 576, 16, 576);
  complete_stride("desc.cache_page", d.cache_page, d.page_size * d.cache_token, 16);
  complete_output_strides(d);
  complete_stride("desc.table_request", d.table_request, d.max_pages, 1, d.batch > 1 ? d.max_pages : 0);
  return d;
}

}  // namespace ptxops::ops

using ptxops::ops::complete;
using ptxops::ops::guarded;

extern "C" {

ptxopsStatus_t ptxopsMlaDecodeE4m3Check(const ptxopsMlaDecodeE4m3Desc_t* desc) {
  return guarded([&] { complete(desc); });
}

}  // extern "C"
