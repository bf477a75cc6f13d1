#include "ops/mla/split_kv.h"

#include <algorithm>

#include "autotune/mla_model.h"

namespace ptxops::ops {
namespace {

constexpr uint32_t kScheduleThreads = 512, kCombineThreads = 128;
constexpr int64_t kBlock = 64;

}  // namespace

int64_t expect_sm_count(const ptxopsContext_st& context, int64_t wanted) {
  if (wanted > context.info.sm_count)
    fail(PTXOPS_INVALID_ARGUMENT, "desc.sm_count: expected at most the device's {}, got {}",
         context.info.sm_count, wanted);
  return wanted ? wanted : context.info.sm_count;
}

void complete_stride(const char* name, int64_t& stride, int64_t contiguous, int64_t multiple, int64_t least) {
  if (stride == 0) stride = contiguous;
  check_range(name, stride, least, int64_t{1} << 38);  // elements or bytes; tensor maps take below 2^40 bytes
  check_multiple(name, stride, multiple);
}

void check_split(const char* blocks_name, int64_t requests, int64_t capacity, int64_t split_tokens,
                 int64_t& max_total_tokens) {
  check_range("desc.split_tokens", split_tokens, 0, int64_t{1} << 30);
  check_multiple("desc.split_tokens", split_tokens, kBlock);
  check_range("desc.max_total_tokens", max_total_tokens, 0, requests * capacity);
  if (split_tokens == 0 && max_total_tokens != 0)
    fail(PTXOPS_INVALID_ARGUMENT, "desc.max_total_tokens: expected 0 without desc.split_tokens, got {}",
         max_total_tokens);
  if (max_total_tokens == 0) max_total_tokens = requests * capacity;
  // The schedule counts blocks in 32 bits.
  const int64_t pieces = split_tokens ? ceil_div(capacity, split_tokens) : 1;
  check_range(blocks_name,
              checked_product(blocks_name, requests,
                              ceil_div(capacity, kBlock) + pieces * autotune::kMlaPieceOverhead),
              0, (int64_t{1} << 27) - 1);
}

SplitKv::SplitKv(const Shape& shape) : shape_(shape) {
  const Shape& s = shape_;
  Tables& t = tables_;
  if (s.split_tokens == 0) {
    t.max_pieces = s.requests + s.parts - 1;
    t.max_slots = std::min(s.requests + s.parts - 1, 2 * (s.parts - 1));
    t.max_merges = std::min(s.requests, s.parts - 1);
  } else {
    t.max_pieces = s.requests * ceil_div(s.capacity, s.split_tokens);
    // A request of length l, split at all, takes ceil(l / split) <= l / split + 1 slots, and at least two.
    const int64_t split_requests = std::min(s.requests, s.max_total_tokens / (s.split_tokens + 1));
    t.max_slots = std::min(t.max_pieces, s.max_total_tokens / s.split_tokens + split_requests);
    if (s.capacity <= s.split_tokens) t.max_slots = 0;
    t.max_merges = t.max_slots ? split_requests : 0;
  }
  const int64_t rows = s.tokens * s.heads;
  size_t at = 0;
  const auto take = [&](int64_t bytes) {
    const size_t begin = at;
    at += static_cast<size_t>(round_up(bytes, 256));
    return begin;
  };
  t.part_begin = take((s.parts + 1) * 4);
  t.pieces = take(t.max_pieces * 32);
  t.merge_count = take(4);
  t.merges = take(t.max_merges * 16);
  t.arrivals = take(t.max_merges * s.merge_counters * 4);
  t.flags = take(s.requests * 4);
  t.partial_lse = take(t.max_slots * rows * 4);
  t.partial_o = take(checked_product("bytes of partial results", t.max_slots * rows, 2048));
  t.bytes = at;
  // The kernels count slots * rows in 32 bits, and the merges are a dimension of a grid.
  check_range("partial results (slots * desc.s_q * desc.h_q)", t.max_slots * rows, 0, kMaxExtent);
  check_range("requests that may be split", t.max_merges, 0, kMaxGridY);
  check_range("arrival counters", t.max_merges * s.merge_counters, 0, kMaxExtent);
}

void SplitKv::prepare(ptxopsContext_st& context) {
  driver::LaunchShape one;
  one.block.x = kScheduleThreads;
  one.programmatic = true;
  schedule_.prepare(context, "mla/mla_schedule.ptx", {}, one);
  if (!combines()) return;
  driver::LaunchShape merges;
  const int64_t rows = shape_.tokens * shape_.heads;
  merges.grid = {u32(rows), u32(tables_.max_merges), 1};
  merges.block.x = kCombineThreads;
  merges.programmatic = true;
  // Few rows to merge, hence few CTAs: more splits in flight in each.
  const int64_t depth = rows * tables_.max_merges <= 4 * shape_.sm_count ? 32 : 8;
  merges.dynamic_shared_bytes = u32(2 * depth * 2048 + 16);
  combine_.prepare(context, "mla/mla_combine.ptx", {{"TYPE", shape_.type}, {"DEPTH", depth}}, merges);
}

void SplitKv::schedule(const ptxopsContext_st& context, abi::CUstream stream, uint64_t workspace,
                       uint64_t lengths, uint64_t flags) const {
  uint64_t part_begin = workspace + tables_.part_begin, pieces = workspace + tables_.pieces,
           merge_count = workspace + tables_.merge_count, merges = workspace + tables_.merges,
           arrivals = workspace + tables_.arrivals;
  uint32_t requests = u32(shape_.requests), fixed_length = u32(shape_.capacity),
           per_length = u32(shape_.per_length), capacity = u32(shape_.capacity), parts = u32(shape_.parts),
           split_blocks = u32(shape_.split_tokens / kBlock), max_slots = u32(tables_.max_slots),
           overhead = autotune::kMlaPieceOverhead, counters = u32(shape_.merge_counters);
  void* parameters[] = {&lengths,   &flags,        &part_begin, &pieces,   &merge_count, &merges,
                        &requests,  &fixed_length, &per_length, &capacity, &parts,       &split_blocks,
                        &max_slots, &overhead,     &arrivals,   &counters};
  check_launch(context, "mla_schedule", schedule_.launch().try_run(stream, parameters));
}

void SplitKv::combine(const ptxopsContext_st& context, abi::CUstream stream, uint64_t workspace,
                      uint64_t sink, const SplitKvOutput& output) const {
  if (!combines()) return;
  SplitKvOutput o = output;
  uint64_t merge_count = workspace + tables_.merge_count, merges = workspace + tables_.merges,
           partial_o = workspace + tables_.partial_o, partial_lse = workspace + tables_.partial_lse;
  uint32_t tokens = u32(shape_.tokens), heads = u32(shape_.heads), per_batch = u32(shape_.per_batch);
  void* parameters[] = {&merge_count, &merges,      &partial_o,  &partial_lse, &sink,        &o.out,
                        &o.out_batch, &o.out_token, &o.out_head, &o.lse,       &o.lse_batch, &o.lse_token,
                        &o.lse_head,  &tokens,      &heads,      &o.flags,     &per_batch};
  check_launch(context, "mla_combine", combine_.launch().try_run(stream, parameters));
}

}  // namespace ptxops::ops
