// mla_decode_fp8 against double precision. Pieces are cut and their results merged here, on the host.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tests/ptx/device.h"
#include "tests/support/mla_fp8_data.h"
#include "tests/support/random_seed.h"

namespace ptxops::test {
namespace {

using driver::Launch;
using mla::Cut;
using mla::Data;
using mla::Problem;
constexpr uint32_t kCausal = 1, kBase2 = 2, kEmptyMinusInf = 4;

int ceil_div(int a, int b) {
  return (a + b - 1) / b;
}

struct Result {
  std::vector<uint16_t> out;
  std::vector<float> lse, partial, partial_lse;
  std::vector<int32_t> flags;
};

Result run(const Data& data, const Cut& cut) {
  const driver::Context::Guard current(context());
  const Problem& p = data.p;
  const LoadedKernel loaded("mla/mla_decode_fp8.ptx", {{"SPARSE", p.sparse}});
  loaded.kernel.set_max_dynamic_shared_bytes(static_cast<int>(loaded.note("smem_bytes")));
  const Input<uint16_t> d_q(data.q);
  const Input<uint8_t> d_cache(data.cache);
  const Input<int32_t> d_table(data.table), d_parts(cut.part_begin), d_pieces(cut.pieces);
  const Input<float> d_sink(data.sink);
  const size_t partial_rows = size_t(cut.slots) * data.rows;
  const Guarded<uint16_t> d_out(std::vector<uint16_t>(size_t(p.batch * data.out_batch), 0x7fc0));
  const Guarded<float> d_lse(std::vector<float>(size_t(data.requests) * data.rows, NAN));
  const Guarded<float> d_partial(std::vector<float>(partial_rows * 512, NAN));
  const Guarded<float> d_partial_lse(std::vector<float>(partial_rows, NAN));
  const Guarded<int32_t> d_flags(std::vector<int32_t>(data.requests, 0));
  Launch launch(loaded.kernel,
                {.grid = {uint32_t(ceil_div(data.rows, 64)), uint32_t(cut.part_begin.size() - 1)},
                 .block = {loaded.note("threads")},
                 .dynamic_shared_bytes = loaded.note("smem_bytes")});
  const auto bytes = [](int64_t elements, int64_t size) { return static_cast<uint64_t>(elements * size); };
  const uint32_t flags =
      (p.causal ? kCausal : 0) | (p.base2 ? kBase2 : 0) | (p.empty_minus_inf ? kEmptyMinusInf : 0);
  launch(nullptr, d_q.address(), bytes(data.q_batch, 2), bytes(data.q_token, 2), bytes(data.q_head, 2),
         d_out.address(), bytes(data.out_batch, 2), bytes(data.out_token, 2), bytes(data.out_head, 2),
         d_lse.address(), bytes(p.s_q * p.h_q, 4), bytes(1, 4), bytes(p.s_q, 4), d_partial.address(),
         d_partial_lse.address(), d_parts.address(), d_pieces.address(), d_flags.address(), d_table.address(),
         bytes(data.table_width * (p.sparse ? p.s_q : 1), 4), bytes(data.table_width, 4), d_cache.address(),
         uint64_t(data.page_stride), uint64_t(data.token_stride), p.sinks ? d_sink.address() : uint64_t(0),
         uint32_t(p.page_size), uint32_t(p.pages), uint32_t(p.s_q), uint32_t(p.h_q), flags,
         static_cast<float>(data.scale * 1.4426950408889634));
  context().synchronize();
  return {d_out.download(), d_lse.download(), d_partial.download(), d_partial_lse.download(),
          d_flags.download()};
}

template <class T>
std::vector<uint8_t> bits(const std::vector<T>& values) {
  std::vector<uint8_t> all(values.size() * sizeof(T));
  if (!all.empty()) std::memcpy(all.data(), values.data(), all.size());
  return all;
}

void expect_right(const Problem& problem, uint64_t purpose, int splits = 1, int parts = 3) {
  SCOPED_TRACE(problem.text());
  const Data data(problem, random_seed() + purpose);
  const Cut cut(data, splits, parts);
  const Result result = run(data, cut);
  EXPECT_EQ(cut.difference(data, result.out, result.lse, result.partial, result.partial_lse), "");
  const Result again = run(data, cut);
  EXPECT_EQ(result.out, again.out);
  EXPECT_EQ(bits(result.lse), bits(again.lse));
  EXPECT_EQ(bits(result.partial), bits(again.partial));
}

TEST(MlaDecodeFp8Sparse, OneBlock) {
  expect_right({.batch = 1, .h_q = 64, .capacity = 64, .invalid = 0}, 1, 1, 1);
}
TEST(MlaDecodeFp8Sparse, Blocks) {
  expect_right({.batch = 2, .h_q = 128, .capacity = 320}, 2, 1, 2);
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
                .sinks = true},
               4, 3, 4);
  expect_right({.batch = 2, .h_q = 3, .capacity = 128, .sinks = true, .base2 = true}, 5);
}
TEST(MlaDecodeFp8Sparse, NothingVisible) {
  expect_right({.batch = 3,
                .h_q = 9,
                .lengths = {200, 0, 128},
                .capacity = 200,
                .sinks = true,
                .empty_minus_inf = true,
                .invalid = 1},
               6);
  expect_right({.batch = 2, .h_q = 9, .capacity = 200, .invalid = 1}, 7, 2);
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
                .causal = true,
                .sinks = true},
               12, 2);
}

// Not less exact than the usual implementation over the cache's exact keys: FP32 scores and softmax, keys and
// weights rounded to BF16. The share over 1 is left to chance.
TEST(MlaDecodeFp8, IsAsExactAsABf16ReferenceWithFp32Softmax) {
  // One data set's ratio scatters by 5 %, so four are pooled.
  Accuracy accuracy;
  for (uint64_t draw = 0; draw < 4; ++draw) {
    const Data data({.sparse = false, .batch = 1, .h_q = 64, .pages = 12, .lengths = {777}, .capacity = 777},
                    random_seed() + 100 + draw);
    const Result result = run(data, Cut(data, 1, 1));
    EXPECT_EQ(data.difference(result.out, result.lse, &accuracy), "");
  }
  EXPECT_LE(accuracy.rms(), 1.05);  // pooled ratios are 0.95 +- 0.025; coarser p gives 1.24
  EXPECT_LE(accuracy.cosine(), 1.1);
  RecordProperty("rms", fmt::to_string(accuracy.rms()));
  RecordProperty("cosine", fmt::to_string(accuracy.cosine()));
}

}  // namespace
}  // namespace ptxops::test
