#include "bench/expert_layer/attention.h"

#include <fmt/core.h>

#include "bench/expert_layer/attention_stage.h"

namespace ptxops::demo {

AttentionResult attention(ptxopsContext_t context, const AttentionOptions& o) {
  const Requests r = random_requests(o);
  const auto requests = static_cast<size_t>(o.requests);
  const std::vector<uint16_t> q = random_bf16(requests * kHeads * kWidth, 1, o.seed + 1);
  const std::vector<uint16_t> cache =
      random_bf16(static_cast<size_t>(r.pages) * kPage * kWidth, 1, o.seed + 2);

  StageMemory device(context);
  ptxopsMlaDecodeDesc_t desc = PTXOPS_MLA_DECODE_DESC_INITIALIZER;
  desc.batch = o.requests, desc.h_q = kHeads, desc.pages = r.pages, desc.page_size = kPage,
  desc.max_pages = r.columns;
  desc.sm_count = o.sms;
  ptxopsPlan_t plan = nullptr;
  check(ptxopsMlaDecodePlanCreate(context, &desc, &plan));
  device.ready(plan, o.explain);
  const size_t rows = requests * kHeads;
  ptxopsMlaDecodeArgs_t args = PTXOPS_MLA_DECODE_ARGS_INITIALIZER;
  args.q = device.upload(q), args.cache = device.upload(cache), args.page_table = device.upload(r.table);
  args.lengths = device.upload(r.lengths), args.out = device.allocate(rows * kLatent * 2);
  args.lse = device.allocate(rows * 4);
  size_t workspace_bytes = 0;
  const ptxopsDevicePtr_t workspace = device.workspace(plan, &workspace_bytes);

  AttentionResult result{"MLA decode", fmt::format("{} x {} heads, {} keys", o.requests, kHeads, r.keys)};
  device.timed(result, [&] { return ptxopsMlaDecodeRun(plan, &args, workspace, workspace_bytes, nullptr); });
  result.flops = 2.0 * r.keys * kHeads * (kWidth + kLatent);
  result.bytes = 2 * (static_cast<double>(r.keys) * kWidth + static_cast<double>(rows) * (kWidth + kLatent));
  result.out = widen(device.download<uint16_t>(args.out, rows * kLatent));
  std::vector<std::vector<float>> keys(requests);
  for (size_t b = 0; b < requests; ++b)
    for (int k = 0; k < r.lengths[b]; ++k)
      for (size_t c = 0; c < kWidth; ++c) keys[b].push_back(bf16_to_float(cache[r.slot(b, k) * kWidth + c]));
  result.exact = exact_attention(q, keys);
  return result;
}

}  // namespace ptxops::demo
