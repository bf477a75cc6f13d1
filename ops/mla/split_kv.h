// What the MLA decode ops share: the tables of a split-KV run (ptx/mla/README.md), the launch that fills them
// and the one that merges partial results.
#pragma once

#include "ops/plan.h"

namespace ptxops::ops {

// Lengths and output of a run, as the kernels take them.
struct SplitKvOutput {
  uint64_t out = 0, out_batch = 0, out_token = 0, out_head = 0;  // strides in bytes
  uint64_t lse = 0, lse_batch = 0, lse_token = 0, lse_head = 0;
  uint32_t flags = 0;  // of mla_combine's head
};

inline uint64_t bytes_of(int64_t elements, int64_t size) {
  return static_cast<uint64_t>(elements * size);
}

// Output and flags of a run of any of the MLA decode ops, whose outputs have 2 bytes.
template <class Args, class Desc>
SplitKvOutput split_output(const Args& args, const Desc& d) {
  constexpr uint32_t kCausal = 1, kLseBase2 = 2, kEmptyMinusInf = 4;  // of the kernels' heads
  SplitKvOutput o;
  o.out = args.out, o.out_batch = bytes_of(d.out_request, 2), o.out_token = bytes_of(d.out_token, 2);
  o.out_head = bytes_of(d.out_head, 2);
  o.lse = args.lse, o.lse_batch = bytes_of(d.lse_request, 4), o.lse_token = bytes_of(d.lse_token, 4);
  o.lse_head = bytes_of(d.lse_head, 4);
  o.flags = (d.causal ? kCausal : 0) | (d.lse_base2 ? kLseBase2 : 0) | (d.lse_empty_neg ? kEmptyMinusInf : 0);
  return o;
}

// For explain().
inline std::string split_rule(int64_t split_tokens) {
  return split_tokens ? fmt::format("every {} tokens (batch-invariant)", split_tokens)
                      : "as the batch allows";
}

class SplitKv {
 public:
  struct Shape {
    int64_t requests = 0;
    int64_t per_length = 1;  // requests that share a length
    int64_t per_batch = 1;   // requests that are tokens of one batch of the output
    int64_t tokens = 1;      // of a request: its rows are tokens * heads
    int64_t heads = 0;
    int64_t capacity = 0;  // keys of a request at most
    int64_t split_tokens = 0, max_total_tokens = 0;
    int64_t parts = 0, sm_count = 0;
    int type = 0;                // TYPE of mla_combine
    int64_t merge_counters = 0;  // of a merge, where the attention kernel itself merges; 0: mla_combine does
  };
  // Offsets into the workspace, in bytes.
  struct Tables {
    int64_t max_pieces = 0, max_slots = 0, max_merges = 0;
    size_t part_begin = 0, pieces = 0, merge_count = 0, merges = 0, arrivals = 0, flags = 0, partial_lse = 0,
           partial_o = 0;
    size_t bytes = 0;
  };

  explicit SplitKv(const Shape& shape);
  const Tables& tables() const { return tables_; }

  // There is a launch of mla_combine.
  bool combines() const { return tables_.max_merges != 0 && shape_.merge_counters == 0; }

  void prepare(ptxopsContext_st& context);
  bool ready() const { return schedule_.ready() && (!combines() || combine_.ready()); }

  // lengths 0: every request has `capacity` keys.
  void schedule(const ptxopsContext_st& context, abi::CUstream stream, uint64_t workspace, uint64_t lengths,
                uint64_t flags) const;
  void combine(const ptxopsContext_st& context, abi::CUstream stream, uint64_t workspace, uint64_t sink,
               const SplitKvOutput& output) const;

 private:
  Shape shape_;
  Tables tables_;
  PreparedLaunch schedule_, combine_;
};

// The SMs that a plan may use: desc.sm_count, or all of the device.
int64_t expect_sm_count(const ptxopsContext_st& context, int64_t wanted);

// Descriptor checks that depend on the split alone; `max_total_tokens` gets its default. `blocks_name`: what
// the error about too many blocks calls them.
void check_split(const char* blocks_name, int64_t requests, int64_t capacity, int64_t split_tokens,
                 int64_t& max_total_tokens);

// A stride: its default where it is 0, what it may be at least, and of what it must be a multiple.
void complete_stride(const char* name, int64_t& stride, int64_t contiguous, int64_t multiple,
                     int64_t least = 0);

// Defaults and checks of the strides of OUT and LSE, which all MLA decode ops share.
template <class Desc>
void complete_output_strides(Desc& d) {
  complete_stride("desc.out_head", d.out_head, 512, 8, 512);
  complete_stride("desc.out_token", d.out_token, d.h_q * d.out_head, 8);
  complete_stride("desc.out_request", d.out_request, d.s_q * d.out_token, 8);
  complete_stride("desc.lse_token", d.lse_token, 1, 1);
  complete_stride("desc.lse_head", d.lse_head, d.s_q * d.lse_token, 1);
  complete_stride("desc.lse_request", d.lse_request, d.h_q * d.lse_head, 1);
  check_disjoint<3>(512, {{{"desc.out_request", d.out_request, d.batch},
                           {"desc.out_token", d.out_token, d.s_q},
                           {"desc.out_head", d.out_head, d.h_q}}});
  check_disjoint<3>(1, {{{"desc.lse_request", d.lse_request, d.batch},
                         {"desc.lse_token", d.lse_token, d.s_q},
                         {"desc.lse_head", d.lse_head, d.h_q}}});
}

}  // namespace ptxops::ops
