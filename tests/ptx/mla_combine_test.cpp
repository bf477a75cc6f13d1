// mla_combine against FP64: attention sinks (infinite ones too), splits and rows without keys, any number of
// splits, both types, LSE options, output strides, requests that are tokens of a batch.
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "tests/ptx/device.h"
#include "tests/support/random_seed.h"

namespace ptxops::test {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity(), kLog2e = 1.4426950408889634;
constexpr int kColumns = 512;

struct Case {
  int type = 0, depth = 8;
  int s_q = 1, h_q = 3;
  std::vector<int> splits;  // of each merge
  bool sinks = true;
  uint32_t flags = 0;  // of the kernel's head
  int per_batch = 1;
};

void check(const Case& in, uint64_t purpose) {
  SCOPED_TRACE(fmt::format("type {}, depth {}, {} x {} rows, sinks {}, flags {}, per_batch {}", in.type,
                           in.depth, in.s_q, in.h_q, in.sinks, in.flags, in.per_batch));
  const driver::Context::Guard current(context());
  Random random{random_seed() + purpose};
  const int rows = in.s_q * in.h_q, merges = static_cast<int>(in.splits.size());
  std::vector<float> partial, lse, sink;
  std::vector<int32_t> table;
  const int requests = 2 * merges;  // every other one was cut
  int slots = 1;                    // slot 0 is nobody's
  for (int m = 0; m < merges; ++m) {
    table.insert(table.end(), {2 * m + 1, slots, in.splits[size_t(m)], 0});
    slots += in.splits[size_t(m)];
  }
  for (int i = 0; i < slots * rows; ++i) {
    // no key in one split of five, nor in any of row 1
    const bool empty = random.between(0, 4) == 0 || i % rows == 1;
    lse.push_back(empty ? static_cast<float>(-kInf) : static_cast<float>(60 * random.unit() - 30));
    for (int c = 0; c < kColumns; ++c)
      partial.push_back(empty ? 0.0f : static_cast<float>(4 * random.unit() - 2));
  }
  for (int h = 0; h < in.h_q; ++h) {
    const double kinds[] = {-kInf, kInf, 200, -200};
    sink.push_back(static_cast<float>(h % 8 < 4 ? 40 * random.unit() - 20 : kinds[h % 4]));
  }
  // strides in elements, with gaps
  const int64_t head = kColumns + 8, token = in.h_q * head + 8, request = int64_t{in.s_q} * token + 16;
  const int64_t lse_token = 2, lse_head = in.s_q * lse_token + 1, lse_request = in.h_q * lse_head + 1;
  const int tokens = in.s_q * in.per_batch;  // of the output's batches
  const int64_t batch = tokens * token + 16, lse_batch = in.h_q * (tokens * lse_token + 1) + 1;
  const bool batched = in.per_batch > 1;
  const int64_t out_request = batched ? batch : request, out_lse_request = batched ? lse_batch : lse_request,
                out_lse_head = batched ? tokens * lse_token + 1 : lse_head;
  const int outer = batched ? requests / in.per_batch : requests;
  const Input<int32_t> count(std::vector<int32_t>{merges}), merge_table(table);
  const Input<float> d_partial(partial), d_lse(lse), d_sink(sink);
  const std::vector<uint16_t> poison(size_t(outer * out_request), 0xA7A7);
  const float poison_lse = std::bit_cast<float>(0xA7A7A7A7u);
  const Guarded<uint16_t> out(poison);
  const Guarded<float> out_lse(std::vector<float>(size_t(outer * out_lse_request), poison_lse));
  const LoadedKernel loaded("mla/mla_combine.ptx", {{"TYPE", in.type}, {"DEPTH", in.depth}});
  loaded.kernel.set_max_dynamic_shared_bytes(static_cast<int>(loaded.note("smem_bytes")));
  driver::Launch launch(loaded.kernel,
                        {.grid = {static_cast<uint32_t>(rows), static_cast<uint32_t>(merges + 2)},
                         .block = {loaded.note("threads")},
                         .dynamic_shared_bytes = loaded.note("smem_bytes")});
  launch(nullptr, count.address(), merge_table.address(), d_partial.address(), d_lse.address(),
         in.sinks ? d_sink.address() : uint64_t(0), out.address(), uint64_t(out_request * 2),
         uint64_t(token * 2), uint64_t(head * 2), out_lse.address(), uint64_t(out_lse_request * 4),
         uint64_t(lse_token * 4), uint64_t(out_lse_head * 4), uint32_t(in.s_q), uint32_t(in.h_q), in.flags,
         uint32_t(in.per_batch));
  context().synchronize();
  const std::vector<uint16_t> have = out.download();
  const std::vector<float> have_lse = out_lse.download();
  std::vector<bool> written(have.size()), lse_written(have_lse.size());
  for (int m = 0; m < merges; ++m)
    for (int r = 0; r < rows; ++r) {
      const int h = r % in.h_q, first = table[size_t(4 * m + 1)], n = in.splits[size_t(m)];
      int t = r / in.h_q, b = table[size_t(4 * m)];
      if (batched) t = b % in.per_batch, b = b / in.per_batch;
      double top = -kInf, sum = 0;
      for (int s = 0; s < n; ++s) top = std::max(top, double{lse[size_t((first + s) * rows + r)]});
      std::vector<double> want(kColumns), magnitude(kColumns);
      for (int s = 0; s < n && top > -kInf; ++s) {
        const size_t row = size_t((first + s) * rows + r);
        const double w = std::exp2(lse[row] - top);
        sum += w;
        for (int c = 0; c < kColumns; ++c) {
          want[size_t(c)] += w * partial[row * kColumns + size_t(c)];
          magnitude[size_t(c)] += w * std::fabs(partial[row * kColumns + size_t(c)]);
        }
      }
      // exp2(top) factored out: the sink joins the sum, of outputs alone
      const double all = sum + (in.sinks ? std::exp2(sink[size_t(h)] * kLog2e - top) : 0);
      const size_t at = size_t(b * out_request + t * token + h * head);
      for (size_t c = 0; c < size_t(kColumns); ++c) {
        written[at + c] = true;
        const double x = top == -kInf ? 0 : want[c] / all;
        // the rounding of the result; FP32 sums of approximate weights, relative to what was added
        const double half_ulp = in.type ? 0x1p-11 : 0x1p-8;
        const double bound =
            half_ulp * std::fabs(x) + (top == -kInf ? 0 : 4e-6 * magnitude[c] / all) + 0x1p-25;
        const double got = in.type ? from_f16(have[at + c]) : from_bf16(have[at + c]);
        ASSERT_NEAR(got, x, bound) << "merge " << m << " row " << r << " column " << c << " sink "
                                   << sink[size_t(h)];
      }
      const size_t lse_at = size_t(b * out_lse_request + h * out_lse_head + t * lse_token);
      lse_written[lse_at] = true;
      const double natural = (in.flags & 2) ? 1 : 1 / kLog2e;
      const double x = top > -kInf ? (top + std::log2(sum)) * natural : (in.flags & 4) ? -kInf : kInf;
      if (std::isinf(x))
        ASSERT_EQ(have_lse[lse_at], x) << "row " << r;
      else
        ASSERT_NEAR(have_lse[lse_at], x, 4e-6 * std::max(1.0, std::fabs(x))) << "row " << r;
    }
  for (size_t i = 0; i < have.size(); ++i) ASSERT_TRUE(written[i] || have[i] == 0xA7A7) << "element " << i;
  for (size_t i = 0; i < have_lse.size(); ++i)
    ASSERT_TRUE(lse_written[i] || std::bit_cast<uint32_t>(have_lse[i]) == 0xA7A7A7A7) << "LSE " << i;
}

TEST(MlaCombine, SinksAndEmptyRows) {
  for (const int type : {0, 1})
    for (const bool sinks : {false, true})
      for (const uint32_t flags : {0u, 2u, 4u, 6u})
        check({.type = type, .s_q = 2, .h_q = 9, .splits = {2, 5}, .sinks = sinks, .flags = flags}, 1);
}

// Around the chunks that are under way together, two of DEPTH.
TEST(MlaCombine, AnyNumberOfSplits) {
  for (const int depth : {8, 32})
    check({.depth = depth, .splits = {2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 130}}, 2);
}

TEST(MlaCombine, RequestsThatAreTokensOfABatch) {
  check({.h_q = 8, .splits = {3, 2, 4, 9, 2, 2}, .per_batch = 4}, 3);
}

}  // namespace
}  // namespace ptxops::test
