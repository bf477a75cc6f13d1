// The FP8 decode op on one set of data: descriptor, plan, device copies, results.
#pragma once

#include <memory>

#include "tests/ops/device.h"
#include "tests/support/mla_fp8_data.h"

namespace ptxops::test::mla {

struct Options {
  int sm_count = 8, split_tokens = 0, max_total_tokens = 0;
};

inline ptxopsMlaDecodeFp8Desc_t desc_of(const Data& data, const Options& options = {}) {
  const Problem& p = data.p;
  ptxopsMlaDecodeFp8Desc_t d = PTXOPS_MLA_DECODE_FP8_DESC_INITIALIZER;
  d.batch = p.batch, d.s_q = p.s_q, d.h_q = p.h_q, d.pages = p.pages, d.page_size = p.page_size;
  d.sparse = p.sparse, d.causal = p.causal, d.lse_base2 = p.base2, d.lse_empty_neg = p.empty_minus_inf;
  if (p.sparse)
    d.top_k = p.capacity, d.lengths_per_token = 1;
  else
    d.max_pages = data.table_width;
  d.sm_count = options.sm_count, d.split_tokens = options.split_tokens;
  d.max_total_tokens = options.max_total_tokens;
  if (p.gaps) {
    d.q_request = data.q_batch, d.q_token = data.q_token, d.q_head = data.q_head;
    d.out_request = data.out_batch, d.out_token = data.out_token, d.out_head = data.out_head;
    d.page_stride_bytes = data.page_stride, d.token_stride_bytes = data.token_stride;
  }
  return d;
}

struct Result {
  std::vector<uint16_t> out;
  std::vector<float> lse;
  std::vector<int32_t> flags;
};

// Device copies of the inputs, poisoned outputs; a run may be repeated.
class Session {
 public:
  Session(const Data& data, const ptxopsMlaDecodeFp8Desc_t& desc)
      : q(data.q),
        cache(data.cache),
        table(data.table),
        lengths(std::vector<int32_t>(data.p.lengths.begin(), data.p.lengths.end())),
        sink(data.sink),
        out(size_t(data.p.batch * data.out_batch) * 2, 0xa5),
        lse(size_t(data.requests) * data.rows * 4, 0xa5),
        flags(size_t(data.requests) * 4, 0xa5) {
    EXPECT_OK(ptxopsMlaDecodeFp8PlanCreate(context(), &desc, &plan.handle));
    EXPECT_OK(ptxopsPlanPrepare(plan.handle));
    EXPECT_OK(ptxopsPlanGetWorkspaceSize(plan.handle, &bytes));
    workspace = std::make_unique<DeviceMemory>(bytes, 0xff);
    args.q = q.address(), args.cache = cache.address(), args.keys = table.address();
    args.lengths = lengths.address(), args.out = out.address(), args.lse = lse.address();
    args.flags = flags.address();
    if (data.p.sinks) args.sink = sink.address();
  }
  Result run() {
    EXPECT_OK(ptxopsMlaDecodeFp8Run(plan.handle, &args, workspace->address(), bytes, nullptr));
    return {out.read<uint16_t>(), lse.read<float>(), flags.read<int32_t>()};
  }
  DeviceMemory q, cache, table, lengths, sink, out, lse, flags;
  Plan plan;
  size_t bytes = 0;
  std::unique_ptr<DeviceMemory> workspace;
  ptxopsMlaDecodeFp8Args_t args = PTXOPS_MLA_DECODE_FP8_ARGS_INITIALIZER;
};

}  // namespace ptxops::test::mla
