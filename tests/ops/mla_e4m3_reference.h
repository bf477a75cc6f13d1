// FP8 MLA decode problems for tests: random e4m3 data laid out with every trap, and an FP64 reference of the
// dequantised inputs that shares nothing with the library or the virtual device.
#pragma once

#include <cstdint>
#include <vector>

#include "tests/ops/mla_paged.h"

namespace ptxops::test {

struct MlaE4m3Problem {
  int out_type = PTXOPS_BF16;
  int s_q = 1, h_q = 128, page_size = 64;
  std::vector<int> lengths;
  bool causal = false, lse_base2 = false, lse_empty_neg = false;
  bool padded = false;  // strides larger than contiguous, NaN between the rows
  bool scales_on_device = false;
  int split_tokens = 0, max_total_tokens = 0;
  int sm_count = 8;
  int max_pages = 0;  // 0: what the longest request needs, and one more
  double spread = 1;  // of the scores
  double growth = 0;  // scores grow by this from a request's first key to its last
  double mean = 0;    // of the keys, in units of their deviation
  std::uint64_t seed = 1;
};

// Inputs on the host: what the device gets.
struct MlaE4m3Data {
  explicit MlaE4m3Data(const MlaE4m3Problem& problem);
  ptxopsMlaDecodeE4m3Desc_t desc = PTXOPS_MLA_DECODE_E4M3_DESC_INITIALIZER;
  float device_descale_q = 1, device_descale_k = 1;  // what args.descale_... point to
  std::vector<uint8_t> q, cache;
  std::vector<int32_t> table, lengths;
  MlaE4m3Problem p;
  double q_scale() const { return double(desc.descale_q) * device_descale_q; }
  double k_scale() const { return double(desc.descale_k) * device_descale_k; }
  // Positions of the rows' first elements.
  size_t q_at(int b, int t, int h) const, key_at(int b, int k) const;
};

// A run of the op on fresh device memory; outputs are poisoned before.
MlaResult run_mla_e4m3(const MlaE4m3Data& data);

// Compares with the reference, by element, by norm and LSE, and looks for writes between the rows.
void expect_close(const MlaE4m3Data& data, const MlaResult& result);

}  // namespace ptxops::test
