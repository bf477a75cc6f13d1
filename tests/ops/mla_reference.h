// MLA decode problems for tests: random data laid out with every trap, and an FP64 reference that shares
// nothing with the library or the virtual device.
#pragma once

#include <cstdint>
#include <vector>

#include "tests/ops/mla_paged.h"

namespace ptxops::test {

struct MlaProblem {
  int type = PTXOPS_BF16;
  int s_q = 1, h_q = 128, page_size = 64;
  std::vector<int> lengths;
  bool causal = false, separate_rope = false, lse_base2 = false, lse_empty_neg = false;
  bool padded = false;  // strides larger than contiguous, NaN between the rows
  int split_tokens = 0, max_total_tokens = 0;
  int sm_count = 8;
  int merge = PTXOPS_MLA_MERGE_AUTO;
  int max_pages = 0;  // 0: what the longest request needs, and one more
  double spread = 1;  // of the scores
  double growth = 0;  // scores grow by this from a request's first key to its last
  std::uint64_t seed = 1;
};

// Inputs on the host: what the device gets, and the values in it.
struct MlaData {
  explicit MlaData(const MlaProblem& problem);
  ptxopsMlaDecodeDesc_t desc = PTXOPS_MLA_DECODE_DESC_INITIALIZER;
  std::vector<uint16_t> q, q_rope, cache, cache_rope;
  std::vector<int32_t> table, lengths;
  MlaProblem p;
  double value(uint16_t bits) const;
  uint16_t bits(double value) const;
  // Positions of the rows' first elements.
  size_t q_at(int b, int t, int h) const, q_rope_at(int b, int t, int h) const;
  size_t key_at(int b, int k) const, key_rope_at(int b, int k) const;
};

// `keys`: the request's keys, kWidth values each (decode_keys).
std::vector<double> decode_keys(const MlaData& data, int b);
MlaExpected reference_row(const MlaData& data, const std::vector<double>& keys, int b, int t, int h);

// A run of the op on fresh device memory; outputs are poisoned before.
MlaResult run_mla(const MlaData& data);

// Compares with the reference, by element, by norm and LSE, and looks for writes between the rows.
void expect_close(const MlaData& data, const MlaResult& result);

}  // namespace ptxops::test
