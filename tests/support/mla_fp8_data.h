// Decode problems over 656-byte tokens: random data laid out with every trap (unused slots NaN, unused table
// entries far out of range, gaps between rows), what each row sees, and the comparison with double precision.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/support/accuracy.h"
#include "tests/support/mla_model.h"

namespace ptxops::test::mla {

struct Problem {
  bool sparse = true;
  int batch = 2, s_q = 1, h_q = 16, page_size = 64, pages = 8;
  std::vector<int> lengths =
      {};              // one for each request: batch of them, or sparse batch * s_q; {}: capacity each
  int capacity = 128;  // keys of a request at most
  bool power_of_two = false, causal = false, sinks = false, gaps = false, base2 = false,
       empty_minus_inf = false;
  double invalid = 0.1;  // sparse: share of indices that are no slot
  std::string text() const;
};

struct Data {
  Data(const Problem& problem, uint64_t seed);

  Problem p;
  int requests, rows;  // rows of a request
  int table_width;
  int64_t page_stride, token_stride;  // bytes
  int64_t q_batch, q_token, q_head, out_batch, out_token, out_head;
  double scale;
  std::vector<uint8_t> cache;
  std::vector<int32_t> table;  // [requests][table_width]
  std::vector<uint16_t> q;
  std::vector<float> sink;

  int batch_of(int request) const { return p.sparse ? request / p.s_q : request; }
  int token_of(int request, int row) const { return p.sparse ? request % p.s_q : row / p.h_q; }
  int head_of(int row) const { return row % p.h_q; }
  size_t out_at(int request, int row) const;
  size_t lse_at(int request, int row) const;  // lse is [batch][h_q][s_q]
  int length(int request) const;              // clamped

  // How rows of all requests differ from the exact ones, empty: they do not. out [requests][rows][512], lse
  // natural (+inf: no key). `against_framework`, where given, compares with in_framework: no sinks, no empty
  // row.
  std::string difference(const std::vector<double>& out, const std::vector<double>& lse,
                         Accuracy* against_framework = nullptr) const;
  // The same of a kernel's output and LSE as they lie in memory.
  std::string difference(const std::vector<uint16_t>& out, const std::vector<float>& lse,
                         Accuracy* against_framework = nullptr) const;

 private:
  std::vector<const std::vector<double>*> visible(int request, int row) const;
  std::vector<double> query(int request, int row) const;
  std::vector<std::vector<double>> tokens_;  // by slot
};

// The tables of mla_schedule: every request in `splits` pieces, as far as it has blocks.
struct Cut {
  Cut(const Data& data, int splits, int parts);
  // What mla_combine does, in double precision, then Data::difference; whole requests are taken as they are.
  std::string difference(const Data& data, const std::vector<uint16_t>& out, const std::vector<float>& lse,
                         const std::vector<float>& partial, const std::vector<float>& partial_lse) const;
  std::vector<int32_t> pieces, part_begin, first_slot, splits_of;
  int slots = 0;
};

}  // namespace ptxops::test::mla
