// The attention of DeepSeek-V3 while it decodes: 128 heads, weights absorbed, over a paged cache of the
// latent.
#pragma once

#include <string>
#include <vector>

#include "bench/expert_layer/reference.h"
#include "ops/include/ptxops.h"

namespace ptxops::demo {

inline constexpr int kLatent = 512;

struct AttentionOptions {
  int requests = 8, longest = 2048, sms = 0;
  uint64_t seed = 0;
  bool explain = false;
};

struct AttentionResult {
  std::string name, shape;
  double flops = 0, bytes = 0;           // of the whole stage; each key is read once
  double seconds = 0, host_seconds = 0;  // by the device's timer, and on the CPU
  int columns = kLatent;                 // of `out` and `exact`
  Matrix out = {}, exact = {};
};

// Random requests with lengths from 1 to `longest`, one run of the op, and the same in FP64. Throws
// std::runtime_error.
AttentionResult attention(ptxopsContext_t context, const AttentionOptions& options);

// The same requests over a cache of 656-byte FP8 tokens: all tokens appended; decode; decode over at most a
// quarter of the longest's keys for each query (token-sparse, as DeepSeek-V3.2). Attention is compared with
// FP64 over what the cache holds, the cache with what was appended.
std::vector<AttentionResult> attention_fp8(ptxopsContext_t context, const AttentionOptions& options);

}  // namespace ptxops::demo
