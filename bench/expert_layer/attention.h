// The attention of DeepSeek-V3 while it decodes: 128 heads, weights absorbed, over a paged cache of the
// latent.
#pragma once

#include <string>

#include "bench/expert_layer/reference.h"
#include "ops/include/ptxops.h"

namespace ptxops::demo {

struct AttentionOptions {
  int requests = 8, longest = 2048, sms = 0;
  uint64_t seed = 0;
  bool explain = false;
};

struct AttentionResult {
  std::string shape;
  double flops = 0, bytes = 0;           // of the whole stage; each key is read once
  double seconds = 0, host_seconds = 0;  // by the device's timer, and on the CPU
  Matrix out, exact;                     // [requests * heads][512]
};

// Random requests with lengths from 1 to `longest`, one run of the op, and the same in FP64. Throws
// std::runtime_error.
AttentionResult attention(ptxopsContext_t context, const AttentionOptions& options);

inline constexpr int kAttentionColumns = 512;

}  // namespace ptxops::demo
