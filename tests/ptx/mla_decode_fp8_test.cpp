// mla_decode_fp8 against double precision, from the bytes of the cache. Pieces are cut and merged here, on
// the host.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <random>

#include "tests/ptx/device.h"
#include "tests/support/mla_model.h"
#include "tests/support/random_seed.h"

namespace ptxops::test {
namespace {

using driver::Launch;
constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr uint32_t kCausal = 1, kBase2 = 2, kEmptyMinusInf = 4;

struct Problem {
  bool sparse = true;
  int batch = 2, s_q = 1, h_q = 16, page_size = 64, pages = 8;
  std::vector<int> lengths = {};  // of requests: batch, or sparse batch * s_q
  int capacity = 128;             // keys of a table row
  int splits = 1, parts = 3;
  bool power_of_two = false, causal = false, sinks = false, gaps = false;
  uint32_t flags = 0;
  double invalid = 0.1;  // share of indices that are no slot
};

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

class Decode {
 public:
  Decode(const Problem& problem, uint64_t purpose) : p(problem), random(random_engine(purpose)) {
    requests = p.sparse ? p.batch * p.s_q : p.batch;
    rows = p.sparse ? p.h_q : p.h_q * p.s_q;
    make_cache();
    make_keys();
    make_queries();
    cut();
  }

  // What row `row` of `request` sees: pointers into tokens; a bad page gives the zero vector.
  std::vector<const std::vector<double>*> visible(int request, int row) const {
    static const std::vector<double> zero(mla::kWidth, 0);
    std::vector<const std::vector<double>*> seen;
    int limit = std::clamp(p.lengths[request], 0, p.capacity);
    if (p.causal) limit -= p.s_q - 1 - row / p.h_q;
    for (int k = 0; k < limit; ++k) {
      if (p.sparse) {
        const int index = table[size_t(request) * table_width + k];
        if (index >= 0 && index < p.pages * p.page_size) seen.push_back(&tokens[index]);
      } else {
        const int page = table[size_t(request) * table_width + k / p.page_size];
        seen.push_back(page >= 0 && page < p.pages ? &tokens[page * p.page_size + k % p.page_size] : &zero);
      }
    }
    return seen;
  }

  struct Result {
    std::vector<double> out, lse;  // [requests][rows][512], [requests][rows]; merged
    std::vector<uint16_t> raw;
    std::vector<uint32_t> raw_lse;
    std::vector<int32_t> flags;
  };
  Result run() const {
    const driver::Context::Guard current(context());
    const LoadedKernel loaded("mla/mla_decode_fp8.ptx", {{"SPARSE", p.sparse}});
    loaded.kernel.set_max_dynamic_shared_bytes(static_cast<int>(loaded.note("smem_bytes")));
    const Input<uint16_t> d_q(q);
    const Input<uint8_t> d_cache(cache);
    const Input<int32_t> d_table(table), d_parts(part_begin), d_pieces(pieces);
    const Input<float> d_sink(sink);
    const Guarded<uint16_t> d_out(std::vector<uint16_t>(size_t(p.batch) * out_batch, 0x7fc0));
    const Guarded<float> d_lse(std::vector<float>(size_t(requests) * rows, NAN));
    const Guarded<float> d_partial(std::vector<float>(size_t(slots) * rows * 512, NAN));
    const Guarded<float> d_partial_lse(std::vector<float>(size_t(slots) * rows, NAN));
    const Guarded<int32_t> d_flags(std::vector<int32_t>(requests, 0));
    Launch launch(loaded.kernel, {.grid = {uint32_t(ceil_div(rows, 64)), uint32_t(p.parts)},
                                  .block = {loaded.note("threads")},
                                  .dynamic_shared_bytes = loaded.note("smem_bytes")});
    const auto bytes = [](int64_t elements, int64_t size) { return static_cast<uint64_t>(elements * size); };
    // lse [batch][h_q][s_q]
    launch(nullptr, d_q.address(), bytes(q_batch, 2), bytes(q_token, 2), bytes(q_head, 2), d_out.address(),
           bytes(out_batch, 2), bytes(out_token, 2), bytes(out_head, 2), d_lse.address(),
           bytes(p.s_q * p.h_q, 4), bytes(1, 4), bytes(p.s_q, 4), d_partial.address(),
           d_partial_lse.address(), d_parts.address(), d_pieces.address(), d_flags.address(),
           d_table.address(), bytes(int64_t(table_width) * (p.sparse ? p.s_q : 1), 4), bytes(table_width, 4),
           d_cache.address(), uint64_t(page_stride), uint64_t(token_stride),
           p.sinks ? d_sink.address() : uint64_t(0), uint32_t(p.page_size), uint32_t(p.pages),
           uint32_t(p.s_q), uint32_t(p.h_q), p.flags | (p.causal ? kCausal : 0),
           static_cast<float>(scale * 1.4426950408889634));
    context().synchronize();
    Result r;
    r.raw = d_out.download();
    const std::vector<float> lse = d_lse.download(), partial = d_partial.download(),
                             partial_lse = d_partial_lse.download();
    r.raw_lse.resize(lse.size());
    std::memcpy(r.raw_lse.data(), lse.data(), lse.size() * 4);
    r.flags = d_flags.download();
    for (const float v : partial) EXPECT_FALSE(std::isnan(v)) << "partial output not written";
    r.out.resize(size_t(requests) * rows * 512);
    r.lse.resize(size_t(requests) * rows);
    for (int request = 0; request < requests; ++request)
      for (int row = 0; row < rows; ++row) {
        const int b = p.sparse ? request / p.s_q : request, t = p.sparse ? request % p.s_q : row / p.h_q,
                  h = row % p.h_q;
        double* out = &r.out[(size_t(request) * rows + row) * 512];
        const uint16_t* direct = &r.raw[size_t(b) * out_batch + size_t(t) * out_token + size_t(h) * out_head];
        const float direct_lse = lse[(size_t(b) * p.h_q + h) * p.s_q + t];
        if (first_slot[request] < 0) {
          for (int i = 0; i < 512; ++i) out[i] = mla::bf16_value(direct[i]);
          r.lse[size_t(request) * rows + row] = direct_lse;
          continue;
        }
        EXPECT_TRUE(std::isnan(direct_lse)) << "a cut request wrote its LSE";
        double top = -kInf, sum = 0;
        const auto slot_row = [&](int s) { return size_t(first_slot[request] + s) * rows + row; };
        for (int s = 0; s < splits_of[request]; ++s) top = std::max<double>(top, partial_lse[slot_row(s)]);
        r.lse[size_t(request) * rows + row] = kInf;
        if (top == -kInf) {
          for (int s = 0; s < splits_of[request]; ++s)
            for (int i = 0; i < 512; ++i) EXPECT_EQ(partial[slot_row(s) * 512 + i], 0);
          continue;
        }
        for (int s = 0; s < splits_of[request]; ++s) {
          const double w = std::exp2(partial_lse[slot_row(s)] - top);
          sum += w;
          for (int i = 0; i < 512; ++i) out[i] += w * partial[slot_row(s) * 512 + i];
        }
        const double lse2 = top + std::log2(sum);
        r.lse[size_t(request) * rows + row] = lse2 * 0.6931471805599453;
        const double with_sink = p.sinks ? 1 / (1 + std::exp2(sink[h] * 1.4426950408889634 - lse2)) : 1;
        for (int i = 0; i < 512; ++i) out[i] = out[i] / sum * with_sink;
      }
    return r;
  }

  std::vector<double> query(int request, int row) const {
    const int b = p.sparse ? request / p.s_q : request, t = p.sparse ? request % p.s_q : row / p.h_q,
              h = row % p.h_q;
    std::vector<double> x(mla::kWidth);
    const size_t at = size_t(b) * q_batch + size_t(t) * q_token + size_t(h) * q_head;
    for (int i = 0; i < mla::kWidth; ++i) x[i] = mla::bf16_value(q[at + i]);
    return x;
  }

  // Every output within the bound of BF16 arithmetic, and all of them together as close as BF16 arithmetic
  // with FP32 sums comes: 5 % for the tensor core's truncating sums and ex2.approx; with few rows chance has
  // its share.
  void check(const Result& r) const {
    double error = 0, reference_error = 0;
    for (int request = 0; request < requests; ++request)
      for (int row = 0; row < rows; ++row) {
        const double row_sink = p.sinks ? sink[row % p.h_q] : -kInf;
        const auto keys = visible(request, row);
        const mla::Row want = mla::exact(query(request, row), keys, scale, row_sink);
        const std::vector<double> bf16 = mla::in_bf16(query(request, row), keys, scale, row_sink);
        const double* have = &r.out[(size_t(request) * rows + row) * 512];
        double row_error = 0, row_reference_error = 0;
        for (int i = 0; i < 512; ++i) {
          const double d = std::fabs(have[i] - want.out[i]);
          ASSERT_LE(d, want.bound[i]) << "request " << request << " row " << row << " column " << i << ": "
                                      << have[i] << ", expected " << want.out[i];
          row_error += d * d;
          row_reference_error += (bf16[i] - want.out[i]) * (bf16[i] - want.out[i]);
        }
        error += row_error;
        reference_error += row_reference_error;
        const double lse = r.lse[size_t(request) * rows + row] *
                           (first_slot[request] < 0 && p.flags & kBase2 ? std::log(2.0) : 1);
        if (keys.empty())
          ASSERT_EQ(lse, first_slot[request] < 0 && p.flags & kEmptyMinusInf ? -kInf : kInf);
        else
          ASSERT_NEAR(lse, want.lse, want.lse_bound) << "request " << request << " row " << row;
      }
    EXPECT_LE(std::sqrt(error), (1.05 + 0.5 / std::sqrt(requests * rows)) * std::sqrt(reference_error));
  }

  Problem p;
  std::mt19937_64 random;
  int requests, rows, table_width, slots = 0;
  int64_t page_stride, token_stride, q_batch, q_token, q_head, out_batch, out_token, out_head;
  double scale = 1 / std::sqrt(576.0);
  std::vector<uint8_t> cache;
  std::vector<std::vector<double>> tokens;
  std::vector<bool> used;
  std::vector<int32_t> table, part_begin, pieces, first_slot, splits_of;
  std::vector<uint16_t> q;
  std::vector<float> sink;

 private:
  int below(int n) { return static_cast<int>(random() % static_cast<uint64_t>(n)); }

  void make_cache() {
    token_stride = 656 + (p.gaps ? 48 : 0);
    page_stride = p.page_size * token_stride + (p.gaps ? 80 : 0);
    cache.assign(size_t(p.pages) * page_stride, 0xff);  // NaN everywhere
    tokens.resize(size_t(p.pages) * p.page_size);
    used.assign(tokens.size(), false);
  }
  // A slot that is used: until then it is NaN.
  void fill(int slot) {
    if (used[slot]) return;
    used[slot] = true;
    std::normal_distribution<double> normal;
    std::vector<double> x(mla::kWidth);
    const double size = std::exp2(below(5) - 2);
    for (int i = 0; i < mla::kWidth; ++i)
      x[i] = std::clamp(normal(random) * (i < 512 ? size : 1), -30.0, 30.0);
    uint8_t* at =
        &cache[size_t(slot / p.page_size) * page_stride + size_t(slot % p.page_size) * token_stride];
    mla::encode_token(x, p.power_of_two, at);
    tokens[slot] = mla::decode_token(at);
  }
  void make_keys() {
    p.lengths.resize(requests, p.capacity);
    const int of_unused = 2147480000;
    if (p.sparse) {
      table_width = p.capacity;
      table.assign(size_t(requests) * table_width, of_unused);
      const int outside[] = {-1, -1, -1, INT32_MIN, INT32_MAX, p.pages * p.page_size};
      for (int r = 0; r < requests; ++r)
        for (int k = 0; k < std::clamp(p.lengths[r], 0, p.capacity); ++k) {
          int index = below(p.pages * p.page_size);
          if (std::uniform_real_distribution<double>()(random) < p.invalid)
            index = outside[below(6)];
          else
            fill(index);
          table[size_t(r) * table_width + k] = index;
        }
      return;
    }
    table_width = static_cast<int>(ceil_div(p.capacity, p.page_size));
    table.assign(size_t(requests) * table_width, of_unused);
    for (int r = 0; r < requests; ++r)
      for (int k = 0; k < std::clamp(p.lengths[r], 0, p.capacity); ++k) {
        int32_t& page = table[size_t(r) * table_width + k / p.page_size];
        if (page == of_unused) page = below(p.pages);
        if (page >= 0 && page < p.pages) fill(page * p.page_size + k % p.page_size);
      }
  }
  void make_queries() {
    q_head = 576 + (p.gaps ? 128 : 0), q_token = p.h_q * q_head + (p.gaps ? 16 : 0),
    q_batch = p.s_q * q_token + (p.gaps ? 24 : 0);
    out_head = 512 + (p.gaps ? 4 : 0), out_token = p.h_q * out_head + (p.gaps ? 4 : 0),
    out_batch = p.s_q * out_token + (p.gaps ? 12 : 0);
    std::normal_distribution<double> normal;
    q.resize(size_t(p.batch) * q_batch);
    for (auto& v : q) v = mla::to_bf16(normal(random));
    sink.resize(p.h_q);
    for (int h = 0; h < p.h_q; ++h) sink[h] = static_cast<float>(normal(random) * 3);
    if (p.h_q > 2) sink[1] = INFINITY, sink[2] = -INFINITY;
  }
  void cut() {
    first_slot.assign(requests, -1), splits_of.assign(requests, 1);
    std::vector<std::vector<int32_t>> all;
    for (int r = 0; r < requests; ++r) {
      const int length = std::clamp(p.lengths[r], 0, p.capacity),
                blocks = static_cast<int>(ceil_div(length, 64)), n = std::max(1, std::min(p.splits, blocks));
      splits_of[r] = n;
      if (n > 1) first_slot[r] = slots, slots += n;
      for (int s = 0; s < n; ++s)
        all.push_back(
            {r, blocks * s / n, blocks * (s + 1) / n, length, n > 1 ? first_slot[r] + s : -1, s, 0, 0});
    }
    part_begin.assign(1, 0);
    for (int part = 0; part < p.parts; ++part)
      part_begin.push_back(static_cast<int32_t>(all.size()) * (part + 1) / p.parts);
    for (const auto& piece : all) pieces.insert(pieces.end(), piece.begin(), piece.end());
  }
};

void expect_right(const Problem& problem, uint64_t purpose) {
  SCOPED_TRACE(
      fmt::format("sparse {} batch {} s_q {} h_q {} page {} capacity {} splits {} causal {} sinks {} gaps {}",
                  problem.sparse, problem.batch, problem.s_q, problem.h_q, problem.page_size,
                  problem.capacity, problem.splits, problem.causal, problem.sinks, problem.gaps));
  const Decode decode(problem, purpose);
  const Decode::Result result = decode.run();
  decode.check(result);
  const Decode::Result again = decode.run();
  EXPECT_EQ(result.raw, again.raw);
  EXPECT_EQ(result.raw_lse, again.raw_lse);
  EXPECT_EQ(result.out, again.out);
}

TEST(MlaDecodeFp8Sparse, OneBlock) {
  expect_right({.batch = 1, .h_q = 64, .capacity = 64, .parts = 1, .invalid = 0}, 1);
}
TEST(MlaDecodeFp8Sparse, Blocks) {
  expect_right({.batch = 2, .h_q = 128, .capacity = 320, .parts = 2}, 2);
  expect_right({.batch = 3,
                .s_q = 2,
                .h_q = 16,
                .page_size = 53,
                .lengths = {0, 1, 63, 65, 130, 200},
                .capacity = 200,
                .power_of_two = true,
                .gaps = true},
               3);
}
TEST(MlaDecodeFp8Sparse, SplitsAndSinks) {
  expect_right({.batch = 2,
                .s_q = 3,
                .h_q = 8,
                .page_size = 1,
                .pages = 300,
                .lengths = {576, 64, 0, 576, 100, 576},
                .capacity = 576,
                .splits = 3,
                .parts = 4,
                .sinks = true},
               4);
  expect_right({.batch = 2, .h_q = 3, .capacity = 128, .sinks = true, .flags = kBase2}, 5);
}
TEST(MlaDecodeFp8Sparse, NothingVisible) {
  expect_right({.batch = 3,
                .h_q = 9,
                .lengths = {200, 0, 128},
                .capacity = 200,
                .sinks = true,
                .flags = kEmptyMinusInf,
                .invalid = 1},
               6);
  expect_right({.batch = 2, .h_q = 9, .capacity = 200, .splits = 2, .invalid = 1}, 7);
}
TEST(MlaDecodeFp8Dense, Lengths) {
  expect_right({.sparse = false, .batch = 5, .h_q = 16, .lengths = {0, 1, 64, 65, 300}, .capacity = 300}, 10);
  expect_right({.sparse = false,
                .batch = 3,
                .s_q = 2,
                .h_q = 63,
                .page_size = 16,
                .pages = 20,
                .lengths = {20, 140, 300},
                .capacity = 300,
                .power_of_two = true,
                .gaps = true},
               11);
}
TEST(MlaDecodeFp8Dense, Causal) {
  expect_right({.sparse = false,
                .batch = 4,
                .s_q = 4,
                .h_q = 17,
                .page_size = 32,
                .lengths = {2, 65, 190, 0},
                .capacity = 190,
                .splits = 2,
                .causal = true,
                .sinks = true},
               12);
}

}  // namespace
}  // namespace ptxops::test
