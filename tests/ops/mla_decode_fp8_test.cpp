// MLA decode over 656-byte tokens through the C ABI, against double precision.
#include <gmock/gmock.h>

#include <algorithm>
#include <bit>
#include <climits>
#include <cmath>
#include <random>

#include "tests/ops/mla_fp8_session.h"
#include "tests/support/random_seed.h"

namespace ptxops::test {
namespace {

using mla::Data;
using mla::desc_of;
using mla::Options;
using mla::Problem;
using mla::Result;
using mla::Session;
using ::testing::HasSubstr;

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * 4) == 0;
}

void expect_right(const Problem& problem, uint64_t purpose, const Options& options = {}) {
  SCOPED_TRACE(problem.text());
  const Data data(problem, random_seed() + purpose);
  Session session(data, desc_of(data, options));
  const Result result = session.run();
  EXPECT_EQ(data.difference(result.out, result.lse), "");
  const Result again = session.run();
  EXPECT_EQ(result.out, again.out);
  EXPECT_TRUE(same_bits(result.lse, again.lse));
  // what lies between the rows of the output is not touched
  std::vector<bool> row(result.out.size(), false);
  for (int request = 0; request < data.requests; ++request)
    for (int r = 0; r < data.rows; ++r) std::fill_n(row.begin() + long(data.out_at(request, r)), 512, true);
  for (size_t i = 0; i < row.size(); ++i) ASSERT_TRUE(row[i] || result.out[i] == 0xa5a5) << i;
  for (int request = 0; request < data.requests; ++request) {
    bool bad = false;
    if (problem.sparse)
      for (int k = 0; k < data.length(request); ++k) {
        const int index = data.table[size_t(request) * data.table_width + k];
        bad = bad || index < -1 || index >= problem.pages * problem.page_size;
      }
    EXPECT_EQ(result.flags[request], bad ? PTXOPS_MLA_PAGE_OUT_OF_RANGE : 0) << request;
  }
}

TEST(MlaDecodeFp8, SparseHeads) {
  for (const int heads : {1, 3, 8, 16, 33, 64, 65, 128})
    expect_right({.batch = 2, .h_q = heads, .lengths = {150, 64}, .capacity = 150, .sinks = heads % 2 == 0},
                 static_cast<uint64_t>(heads));
}

TEST(MlaDecodeFp8, SparseManyTokensPagesAndGaps) {
  expect_right({.batch = 3,
                .s_q = 3,
                .h_q = 9,
                .page_size = 53,
                .lengths = {576, 0, 64, 1, 200, 576, 63, 128, 65},
                .capacity = 576,
                .sinks = true,
                .gaps = true},
               200);
  expect_right(
      {.batch = 2, .s_q = 2, .h_q = 16, .page_size = 1, .pages = 200, .capacity = 190, .base2 = true}, 201);
}

// Nothing to see, on whole and on cut requests.
TEST(MlaDecodeFp8, SparseWithoutKeys) {
  for (const bool negative : {false, true})
    expect_right({.batch = 2,
                  .s_q = 2,
                  .h_q = 8,
                  .lengths = {640, 0, 640, 5},
                  .capacity = 640,
                  .sinks = true,
                  .empty_minus_inf = negative,
                  .invalid = 1},
                 210);
}

TEST(MlaDecodeFp8, DenseLengthsAndPages) {
  for (const int page : {1, 16, 61, 64, 128})
    expect_right({.sparse = false,
                  .batch = 5,
                  .h_q = 16,
                  .page_size = page,
                  .pages = 512 / page,
                  .lengths = {0, 1, 64, 65, 500},
                  .capacity = 512,
                  .power_of_two = page == 16,
                  .gaps = page == 61},
                 220);
}

TEST(MlaDecodeFp8, DenseCausalTokens) {
  expect_right({.sparse = false,
                .batch = 4,
                .s_q = 4,
                .h_q = 33,
                .page_size = 32,
                .lengths = {2, 65, 320, 0},
                .capacity = 320,
                .causal = true,
                .sinks = true,
                .gaps = true},
               230);
}

// Fixed splits: the bits of a request do not depend on the others.
TEST(MlaDecodeFp8, BatchInvariantWithFixedSplits) {
  for (const bool sparse : {true, false}) {
    const Problem problem{.sparse = sparse,
                          .batch = 4,
                          .h_q = 16,
                          .lengths = {500, 70, 0, 320},
                          .capacity = 512,
                          .sinks = true};
    expect_right(problem, 240, {.split_tokens = 128});
    const Data together(problem, random_seed() + 240);
    const Result all = Session(together, desc_of(together, {.split_tokens = 128})).run();
    for (int b = 0; b < problem.batch; ++b) {
      Data alone = together;
      alone.p.batch = 1, alone.requests = 1, alone.p.lengths = {together.p.lengths[size_t(b)]};
      alone.q.assign(together.q.begin() + b * together.q_batch,
                     together.q.begin() + (b + 1) * together.q_batch);
      alone.table.assign(together.table.begin() + b * together.table_width,
                         together.table.begin() + (b + 1) * together.table_width);
      const Result one = Session(alone, desc_of(alone, {.sm_count = 3, .split_tokens = 128})).run();
      EXPECT_TRUE(std::equal(one.out.begin(), one.out.end(), all.out.begin() + b * together.out_batch)) << b;
      EXPECT_EQ(std::memcmp(one.lse.data(), &all.lse[size_t(b) * 16], 64), 0) << b;
    }
  }
}

// One key: the output is its latent part, bit for bit. Every code, scales of every kind.
TEST(MlaDecodeFp8, ConvertsEveryCode) {
  auto random = random_engine(250);
  const int tokens = 64;
  std::vector<float> scales = {1, 0.5f, 0x1p-20f, 128, 1 / 448.0f, 255.4f, 1e-10f, 1e-20f};
  while (scales.size() < 4 * tokens)
    scales.push_back(
        std::ldexp(std::uniform_real_distribution<float>(1, 2)(random), int(random() % 37) - 30));
  std::vector<uint8_t> cache(size_t(tokens) * 656, 0);
  for (int t = 0; t < tokens; ++t) {
    for (int i = 0; i < 512; ++i) cache[size_t(t) * 656 + i] = static_cast<uint8_t>(i * 37 + t);
    std::memcpy(&cache[size_t(t) * 656 + 512], &scales[size_t(4 * t)], 16);
  }
  ptxopsMlaDecodeFp8Desc_t desc = PTXOPS_MLA_DECODE_FP8_DESC_INITIALIZER;
  desc.batch = 1, desc.s_q = tokens, desc.h_q = 1, desc.pages = 1, desc.sparse = 1, desc.top_k = 1;
  scales[4 * 63] = 256;  // beyond what the conversion can do: no number, never a wrong one
  std::memcpy(&cache[size_t(63) * 656 + 512], &scales[4 * 63], 4);
  std::vector<int32_t> keys(tokens);
  for (int t = 0; t < tokens; ++t) keys[t] = tokens - 1 - t;
  const DeviceMemory q(size_t(tokens) * 1152, 0), d_cache(cache), d_keys(keys), out(size_t(tokens) * 1024),
      lse(tokens * 4);
  Plan plan;
  ASSERT_OK(ptxopsMlaDecodeFp8PlanCreate(context(), &desc, &plan.handle));
  ASSERT_OK(ptxopsPlanPrepare(plan.handle));
  size_t bytes = 0;
  ASSERT_OK(ptxopsPlanGetWorkspaceSize(plan.handle, &bytes));
  const DeviceMemory workspace(bytes);
  ptxopsMlaDecodeFp8Args_t args = PTXOPS_MLA_DECODE_FP8_ARGS_INITIALIZER;
  args.q = q.address(), args.cache = d_cache.address(), args.keys = d_keys.address();
  args.out = out.address(), args.lse = lse.address();
  ASSERT_OK(ptxopsMlaDecodeFp8Run(plan.handle, &args, workspace.address(), bytes, nullptr));
  const auto have = out.read<uint16_t>();
  for (int t = 0; t < tokens; ++t)
    for (int i = 0; i < 512; ++i) {
      if (keys[t] == 63) {
        ASSERT_TRUE(std::isnan(from_bf16(have[size_t(t) * 512 + i]))) << i;
        continue;
      }
      const uint8_t code = cache[size_t(keys[t]) * 656 + i];
      const float scale = scales[size_t(4 * keys[t] + i / 128)];
      const double value = (code & 0x7f) == 0x7f ? (code & 0x80 ? -480 : 480) : from_e4m3(code);
      const double high = from_bf16(to_bf16(scale)), low = from_bf16(to_bf16(scale - high));
      uint16_t want = to_bf16(value * high + from_bf16(to_bf16(value * low)));
      if (code == 0x80) want = 0;  // the tensor core's sum of -0 and zeros
      ASSERT_EQ(have[size_t(t) * 512 + i], want) << "code " << int(code) << " scale " << scale;
      // and so within one rounding of BF16; exact for powers of two
      const double exact = value * double(scale);
      ASSERT_NEAR(from_bf16(want), exact, std::fabs(exact) * 0x1.02p-8);
      int exponent = 0;
      ASSERT_TRUE(std::frexp(scale, &exponent) != 0.5f || from_bf16(want) == exact) << scale;
    }
}

// What mla_append writes, this reads.
TEST(MlaDecodeFp8, ReadsWhatAppendWrites) {
  Problem problem{.sparse = false, .batch = 2, .h_q = 16, .pages = 4, .lengths = {100, 61}, .capacity = 128};
  Data data(problem, random_seed() + 260);
  auto random = random_engine(261);
  std::normal_distribution<double> normal;
  std::vector<int32_t> slots;
  for (int b = 0; b < 2; ++b) {
    data.table[size_t(b) * 2] = 2 * b + 1, data.table[size_t(b) * 2 + 1] = 2 * b;
    for (int k = 0; k < data.length(b); ++k)
      slots.push_back(data.table[size_t(b * 2 + k / 64)] * 64 + k % 64);
  }
  std::vector<uint16_t> latent(slots.size() * 512), rope(slots.size() * 64);
  for (auto& v : latent) v = to_bf16(normal(random));
  for (auto& v : rope) v = to_bf16(normal(random));
  ptxopsMlaAppendDesc_t append = PTXOPS_MLA_APPEND_DESC_INITIALIZER;
  append.tokens = int64_t(slots.size()), append.pages = 4, append.format = PTXOPS_MLA_CACHE_FP8;
  Plan plan;
  ASSERT_OK(ptxopsMlaAppendPlanCreate(context(), &append, &plan.handle));
  ASSERT_OK(ptxopsPlanPrepare(plan.handle));
  Session session(data, desc_of(data));
  const DeviceMemory d_latent(latent), d_rope(rope), d_slots(slots);
  ptxopsMlaAppendArgs_t args = PTXOPS_MLA_APPEND_ARGS_INITIALIZER;
  args.latent = d_latent.address(), args.rope = d_rope.address(), args.slot = d_slots.address();
  args.cache = session.cache.address();
  ASSERT_OK(ptxopsMlaAppendRun(plan.handle, &args, nullptr));
  const Result result = session.run();
  // The oracle has the keys as the cache holds them, so that the decode's own bounds hold. They are the right
  // tokens: within half a step of e4m3's four binary digits, below its normal numbers of 2^-9 of the scale,
  // which stays under 2^-5 here. Exact bytes are for mla_append's test.
  const std::vector<uint8_t> cache = session.cache.read<uint8_t>();
  std::vector<std::vector<double>> tokens;
  for (size_t i = 0; i < slots.size(); ++i) {
    tokens.push_back(mla::decode_token(&cache[size_t(slots[i]) * mla::kTokenBytes]));
    for (size_t c = 0; c < 512; ++c) {
      const double x = from_bf16(latent[i * 512 + c]);
      ASSERT_NEAR(tokens[i][c], x, std::fabs(x) / 16 + 0x1p-15) << "token " << i << " column " << c;
    }
    for (size_t c = 0; c < 64; ++c) ASSERT_EQ(tokens[i][512 + c], from_bf16(rope[i * 64 + c]));
  }
  for (int b = 0; b < 2; ++b)
    for (int h = 0; h < 16; ++h) {
      std::vector<const std::vector<double>*> keys;
      for (size_t i = b ? 100 : 0; i < (b ? 161u : 100u); ++i) keys.push_back(&tokens[i]);
      std::vector<double> x(mla::kWidth);
      const size_t at = size_t(b * data.q_batch + h * data.q_head);
      for (size_t c = 0; c < x.size(); ++c) x[c] = from_bf16(data.q[at + c]);
      const mla::Row want = mla::exact(x, keys, data.scale, -INFINITY);
      EXPECT_NEAR(result.lse[data.lse_at(b, h)], want.lse, want.lse_bound) << b << " " << h;
      for (size_t c = 0; c < 512; ++c)
        ASSERT_NEAR(from_bf16(result.out[data.out_at(b, h) + c]), want.out[c], want.bound[c])
            << b << " " << h << " column " << c;
    }
}

// Wrong lengths, pages and indices: clamped, flagged, nothing outside is read, the others are untouched.
TEST(MlaDecodeFp8, WrongInputsAreClampedAndFlagged) {
  Data dense({.sparse = false, .batch = 5, .h_q = 16, .lengths = {256, 256, 256, 256, 130}, .capacity = 256},
             random_seed() + 270);
  dense.p.lengths = {-5, 1000000, 256, INT_MAX, 130};
  dense.table[2 * 4 + 1] = 8, dense.table[4 * 4 + 2] = -1;
  const Result d = Session(dense, desc_of(dense)).run();
  EXPECT_EQ(dense.difference(d.out, d.lse), "");
  EXPECT_THAT(d.flags, testing::ElementsAre(PTXOPS_MLA_LENGTH_NEGATIVE, PTXOPS_MLA_LENGTH_TOO_LONG,
                                            PTXOPS_MLA_PAGE_OUT_OF_RANGE, PTXOPS_MLA_LENGTH_TOO_LONG,
                                            PTXOPS_MLA_PAGE_OUT_OF_RANGE));
  Data sparse({.batch = 4, .h_q = 16, .capacity = 200, .invalid = 0}, random_seed() + 271);
  sparse.p.lengths = {INT_MIN, 201, 200, 3};
  sparse.table[2 * 200 + 199] = 512, sparse.table[3 * 200 + 1] = -1, sparse.table[3 * 200 + 3] = INT_MIN;
  const Result s = Session(sparse, desc_of(sparse)).run();
  EXPECT_EQ(sparse.difference(s.out, s.lse), "");
  EXPECT_THAT(s.flags, testing::ElementsAre(PTXOPS_MLA_LENGTH_NEGATIVE, PTXOPS_MLA_LENGTH_TOO_LONG,
                                            PTXOPS_MLA_PAGE_OUT_OF_RANGE, 0));
}

// Pages more than 2^32 bytes apart, and rows of Q and OUT. Only what is used is ever touched.
TEST(MlaDecodeFp8, StridesBeyondTwoToThe32) {
  const Data data({.sparse = false, .batch = 2, .h_q = 8, .pages = 3, .lengths = {128, 70}, .capacity = 128},
                  random_seed() + 275);
  const int64_t page_stride = (int64_t{5} << 30) + 16, q_request = (int64_t{1} << 31) + 8,
                out_request = (int64_t{1} << 31) + 16;
  ptxopsMlaDecodeFp8Desc_t desc = desc_of(data);
  desc.page_stride_bytes = page_stride, desc.q_request = q_request, desc.out_request = out_request;
  Session session(data, desc);
  ptxopsDevicePtr_t cache = 0, q = 0, out = 0;
  const size_t page_bytes = 64 * 656, q_bytes = 8 * 1152, out_bytes = 8 * 1024;
  ASSERT_OK(ptxopsMemAlloc(context(), &cache, size_t(2 * page_stride) + page_bytes));
  ASSERT_OK(ptxopsMemAlloc(context(), &q, size_t(q_request) * 2 + q_bytes));
  ASSERT_OK(ptxopsMemAlloc(context(), &out, size_t(out_request) * 2 + out_bytes));
  for (size_t page = 0; page < 3; ++page)
    ASSERT_OK(ptxopsMemcpyToDevice(context(), cache + page * size_t(page_stride),
                                   &data.cache[page * page_bytes], page_bytes, nullptr));
  for (size_t b = 0; b < 2; ++b)
    ASSERT_OK(ptxopsMemcpyToDevice(context(), q + b * size_t(q_request) * 2, &data.q[b * q_bytes / 2],
                                   q_bytes, nullptr));
  session.args.cache = cache, session.args.q = q, session.args.out = out;
  Result result = session.run();
  for (size_t b = 0; b < 2; ++b)
    ASSERT_OK(ptxopsMemcpyToHost(context(), &result.out[b * out_bytes / 2], out + b * size_t(out_request) * 2,
                                 out_bytes, nullptr));
  EXPECT_EQ(data.difference(result.out, result.lse), "");
  for (const ptxopsDevicePtr_t memory : {cache, q, out}) EXPECT_OK(ptxopsMemFree(context(), memory));
}

// One length for all tokens of a request; none at all.
TEST(MlaDecodeFp8, SparseLengthsOfRequestsAndNone) {
  Data data({.batch = 2, .s_q = 3, .h_q = 8, .lengths = {70, 70, 70, 190, 190, 190}, .capacity = 190},
            random_seed() + 280);
  ptxopsMlaDecodeFp8Desc_t desc = desc_of(data);
  desc.lengths_per_token = 0;
  Session session(data, desc);
  const DeviceMemory two(std::vector<int32_t>{70, 190});
  session.args.lengths = two.address();
  const Result result = session.run();
  EXPECT_EQ(data.difference(result.out, result.lse), "");
  Data full({.batch = 2, .s_q = 3, .h_q = 8, .capacity = 190}, random_seed() + 281);
  Session without(full, desc);
  without.args.lengths = 0;
  const Result all = without.run();
  EXPECT_EQ(full.difference(all.out, all.lse), "");
}

TEST(MlaDecodeFp8, RefusesWithText) {
  const auto refused = [](bool sparse, auto change, const char* text) {
    ptxopsMlaDecodeFp8Desc_t d = PTXOPS_MLA_DECODE_FP8_DESC_INITIALIZER;
    d.batch = 2, d.pages = 4, d.sparse = sparse;
    (sparse ? d.top_k : d.max_pages) = 4;
    EXPECT_EQ(ptxopsMlaDecodeFp8Check(&d), PTXOPS_SUCCESS) << ptxopsGetLastError();
    change(d);
    EXPECT_EQ(ptxopsMlaDecodeFp8Check(&d), PTXOPS_INVALID_ARGUMENT) << text;
    EXPECT_THAT(ptxopsGetLastError(), HasSubstr(text));
  };
  refused(
      true, [](auto& d) { d.batch = -1; }, "desc.batch: expected 0 .. 65535, got -1");
  refused(
      true, [](auto& d) { d.h_q = 129; }, "desc.h_q: expected 1 .. 128, got 129");
  refused(
      true, [](auto& d) { d.page_size = 0; }, "desc.page_size: expected 1 .. ");
  refused(
      true, [](auto& d) { d.pages = 1 << 26; }, "desc.pages * desc.page_size: expected 1 .. 2147483647");
  refused(
      true, [](auto& d) { d.top_k = 0; }, "desc.top_k: expected 1 .. ");
  refused(
      true, [](auto& d) { d.causal = 1; }, "desc.causal: expected 0 with sparse keys, got 1");
  refused(
      true, [](auto& d) { d.max_pages = 3; }, "desc.max_pages: expected 0 with sparse keys, got 3");
  refused(
      false, [](auto& d) { d.top_k = 64; }, "desc.top_k: expected 0 with dense keys, got 64");
  refused(
      false, [](auto& d) { d.max_pages = 0; }, "desc.max_pages: expected 1 .. ");
  refused(
      false, [](auto& d) { d.softmax_scale = -1; }, "desc.softmax_scale: expected a finite number above 0");
  refused(
      false, [](auto& d) { d.split_tokens = 100; }, "desc.split_tokens: expected a multiple of 64, got 100");
  refused(
      false, [](auto& d) { d.max_total_tokens = 64; }, "desc.max_total_tokens: expected 0 without");
  refused(
      false, [](auto& d) { d.q_head = 580; }, "desc.q_head: expected a multiple of 8, got 580");
  refused(
      false, [](auto& d) { d.out_head = 504; }, "desc.out_head: expected 512 .. ");
  refused(
      false, [](auto& d) { d.token_stride_bytes = 640; }, "desc.token_stride_bytes: expected 656 .. ");
  refused(
      false, [](auto& d) { d.page_stride_bytes = 1000; },
      "desc.page_stride_bytes: expected a multiple of 16");

  const Data data({.batch = 1, .h_q = 8, .capacity = 64}, random_seed() + 290);
  Session session(data, desc_of(data));
  ptxopsMlaDecodeFp8Args_t& args = session.args;
  const auto run_refused = [&](ptxopsStatus_t status, const char* text, size_t bytes) {
    EXPECT_EQ(ptxopsMlaDecodeFp8Run(session.plan.handle, &args, session.workspace->address(), bytes, nullptr),
              status);
    EXPECT_THAT(ptxopsGetLastError(), HasSubstr(text));
    for (const uint16_t v : session.out.read<uint16_t>()) ASSERT_EQ(v, 0xa5a5);
  };
  run_refused(PTXOPS_WORKSPACE_TOO_SMALL, "workspace_bytes: expected at least", session.bytes - 1);
  for (const auto& [pointer, text] : {std::pair{&args.q, "args.q"}, std::pair{&args.cache, "args.cache"},
                                      std::pair{&args.keys, "args.keys"}, std::pair{&args.out, "args.out"},
                                      std::pair{&args.lse, "args.lse"}}) {
    const ptxopsDevicePtr_t kept = *pointer;
    *pointer = 0;
    run_refused(PTXOPS_INVALID_ARGUMENT,
                (std::string(text) + ": expected a device address, got NULL").c_str(), session.bytes);
    *pointer = kept + 2;
    run_refused(PTXOPS_INVALID_ARGUMENT, (std::string(text) + ": expected alignment").c_str(), session.bytes);
    *pointer = kept;
  }
  size_t needed = 0;
  ASSERT_OK(ptxopsPlanExplain(session.plan.handle, nullptr, 0, &needed));
  std::string text(needed, 'x');
  ASSERT_OK(ptxopsPlanExplain(session.plan.handle, text.data(), needed, nullptr));
  EXPECT_THAT(text, HasSubstr("modelled"));
}

}  // namespace
}  // namespace ptxops::test
