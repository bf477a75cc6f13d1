// MLA decode through the C ABI against FP64. Unused pages, the tail of the last page and gaps between rows
// are NaN, unused table entries are far out of range, outputs are poisoned; sizes are scaled to the virtual
// device.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <climits>
#include <cmath>
#include <random>

#include "tests/ops/mla_reference.h"
#include "tests/support/accuracy.h"
#include "tests/support/mla_model.h"
#include "tests/support/random_seed.h"

namespace ptxops::test {
namespace {

void check(MlaProblem p) {
  p.seed = random_seed() + p.seed;
  const MlaData data(p);
  const MlaResult result = run_mla(data);
  if (result.out.empty()) return;
  expect_close(data, result);
  for (const int32_t flags : result.flags) EXPECT_EQ(flags, 0);
}

// Lengths at the edges of blocks and pages, mixed with empty requests.
const std::vector<int> kEdges = {0, 1, 63, 64, 65, 127, 128, 129, 0, 300};

TEST(MlaDecode, LengthsAroundTheBlocks) {
  check({.h_q = 16, .lengths = kEdges});
}

TEST(MlaDecode, AnyNumberOfHeads) {
  for (const int heads : {1, 3, 8, 9, 32, 63, 64, 65, 126, 128}) {
    SCOPED_TRACE(heads);
    check({.h_q = heads, .lengths = {20, 0, 140}, .seed = static_cast<uint64_t>(heads)});
  }
}

TEST(MlaDecode, PageSizesTypesAndClusters) {
  for (const int type : {PTXOPS_BF16, PTXOPS_F16})
    for (const int page : {16, 32, 64, 128})
      for (const int heads : {24, 128}) {  // 128: two tiles of rows, a cluster
        SCOPED_TRACE(testing::Message() << "type " << type << " page " << page << " heads " << heads);
        check({.type = type, .h_q = heads, .page_size = page, .lengths = {250, 17, 0, 600}});
      }
}

// Pages that are no box of TMA: keys are gathered one by one. 128 heads: two tiles, without a cluster.
TEST(MlaDecode, PagesOfAnySize) {
  for (const int type : {PTXOPS_BF16, PTXOPS_F16})
    for (const int page : {1, 2, 3, 4, 8, 48, 53, 256}) {
      SCOPED_TRACE(testing::Message() << "type " << type << " page " << page);
      check({.type = type, .h_q = page == 1 ? 128 : 24, .page_size = page, .lengths = {250, 17, 0, 600}});
    }
  check({.h_q = 16, .page_size = 1, .lengths = kEdges});
  for (const bool separate : {false, true})
    check({.s_q = 3,
           .h_q = 40,
           .page_size = separate ? 1 : 6,
           .lengths = {190, 0, 33, 64, 2},
           .causal = true,
           .separate_rope = separate,
           .padded = true});
  check({.h_q = 32, .page_size = 1, .lengths = {900, 64}, .sm_count = 2, .growth = 60});
}

// A page of one token is nothing but another place for a key: the same bits as with pages of 64.
TEST(MlaDecode, GatheredKeysGiveTheSameBits) {
  MlaProblem p{.h_q = 72, .lengths = {700, 3, 129}};
  const MlaData boxes(p);
  p.page_size = 1;
  MlaData gathered(p);
  gathered.q = boxes.q;
  for (int b = 0; b < 3; ++b)
    for (int k = 0; k < p.lengths[size_t(b)]; ++k)
      std::copy_n(&boxes.cache[boxes.key_at(b, k)], 576, &gathered.cache[gathered.key_at(b, k)]);
  const MlaResult expected = run_mla(boxes), result = run_mla(gathered);
  EXPECT_EQ(result.lse, expected.lse);
  EXPECT_EQ(result.out, expected.out);
}

TEST(MlaDecode, CausalTokens) {
  for (const int tokens : {1, 2, 3, 4, 7}) {
    SCOPED_TRACE(tokens);
    // a length below the number of tokens leaves the first of them without keys; 64 and 65 end at a block's
    // edge
    check({.s_q = tokens, .h_q = 40, .lengths = {200, 64, 65, 2, 0, 130}, .causal = true});
    check({.s_q = tokens, .h_q = 16, .page_size = 16, .lengths = {66, 3}, .causal = false});
  }
  // more tokens than keys, split: rows without keys among the merged ones
  check({.s_q = 80, .h_q = 1, .lengths = {70, 66}, .causal = true, .split_tokens = 64});
}

TEST(MlaDecode, StridesAndSeparateRope) {
  for (const bool separate : {false, true})
    for (const bool padded : {false, true})
      check({.s_q = 2,
             .h_q = 72,
             .page_size = 32,
             .lengths = {190, 0, 33},
             .causal = true,
             .separate_rope = separate,
             .padded = padded});
}

TEST(MlaDecode, LseInBaseTwoAndMinusInfinity) {
  check({.s_q = 3, .h_q = 8, .lengths = kEdges, .causal = true, .lse_base2 = true});
  check({.s_q = 3, .h_q = 8, .lengths = kEdges, .causal = true, .lse_empty_neg = true});
  check({.s_q = 3,
         .h_q = 8,
         .lengths = {500, 1, 2},
         .causal = true,
         .lse_base2 = true,
         .lse_empty_neg = true,
         .split_tokens = 64});
}

// One long request among short ones is cut into many pieces; parts take several pieces.
TEST(MlaDecode, SplitsOverSms) {
  check({.h_q = 16, .lengths = {3000}, .sm_count = 16});
  check({.h_q = 16, .lengths = {5, 1500, 0, 0, 70, 900, 64}, .sm_count = 11});
  check({.s_q = 2, .h_q = 128, .lengths = {1100, 30, 700}, .causal = true, .sm_count = 16});
  check({.h_q = 16, .lengths = {400, 400, 400}, .sm_count = 1});
  check({.type = PTXOPS_F16, .s_q = 3, .h_q = 100, .page_size = 128, .lengths = {700, 0}, .sm_count = 15});
}

// More splits than the merge kernel has in flight, for both of its chunk sizes.
TEST(MlaDecode, MoreSplitsThanInFlight) {
  check({.h_q = 4, .lengths = {64 * 69 + 30}, .split_tokens = 64});
  check({.h_q = 16, .lengths = {1600, 0, 70, 0, 0, 0, 0, 1100}, .split_tokens = 64});
}

// Scores that vary by hundreds and grow along the keys: the running reference moves often, weights vanish.
TEST(MlaDecode, LargeScores) {
  check({.h_q = 32, .lengths = {700, 100}, .spread = 30});
  check({.h_q = 32, .lengths = {900, 64}, .sm_count = 2, .growth = 60});
  check({.type = PTXOPS_F16, .h_q = 32, .lengths = {900}, .sm_count = 2, .growth = 25});
  check({.h_q = 32, .lengths = {900}, .sm_count = 2, .growth = -60});
}

// A mixed batch of many requests, about half of them empty.
TEST(MlaDecode, ManyRequests) {
  std::mt19937_64 random = random_engine(5);
  MlaProblem p{.h_q = 8, .page_size = 16, .lengths = {}, .sm_count = 16};
  for (int i = 0; i < 600; ++i) p.lengths.push_back(random() % 2 ? 0 : static_cast<int>(random() % 70));
  check(p);
  p.split_tokens = 64;
  check(p);
}

std::vector<uint16_t> rows_of(const MlaData& data, const MlaResult& result, int b) {
  return {result.out.begin() + b * data.desc.out_request,
          result.out.begin() + (b + 1) * data.desc.out_request};
}

// The same input twice, the same bits: whatever the schedule.
TEST(MlaDecode, IsDeterministic) {
  for (const int split : {0, 128}) {
    MlaProblem p{.h_q = 64, .lengths = {900, 40, 333, 0, 1200}, .split_tokens = split, .sm_count = 16};
    const MlaData data(p);
    const MlaResult first = run_mla(data), second = run_mla(data);
    EXPECT_EQ(first.out, second.out);
    EXPECT_EQ(first.lse, second.lse);
  }
}

// With a fixed split length a request's bits depend on nothing but itself: not on its batch-mates, its place
// among them or the number of SMs. The mates are the same request data under other lengths and orders.
TEST(MlaDecode, IsBatchInvariant) {
  MlaProblem p{.h_q = 24, .lengths = {700}, .split_tokens = 64, .sm_count = 16, .max_pages = 20};
  p.merge = PTXOPS_MLA_MERGE_SEPARATE;
  const MlaData alone(p);
  const MlaResult expected = run_mla(alone);
  expect_close(alone, expected);
  for (const auto& lengths :
       std::vector<std::vector<int>>{{700, 1000, 3, 0, 500}, {1, 64, 700}, {900, 900, 700, 900}})
    for (const int sms : {16, 5, 1}) {
      MlaProblem q = p;
      q.lengths = lengths, q.sm_count = sms, q.seed = 99;
      q.merge = sms == 5 ? PTXOPS_MLA_MERGE_SEPARATE : PTXOPS_MLA_MERGE_FUSED;
      MlaData data(q);
      const int place = static_cast<int>(std::find(lengths.begin(), lengths.end(), 700) - lengths.begin());
      // give request `place` the data of `alone`, on its own pages
      std::copy(alone.q.begin(), alone.q.end(), data.q.begin() + place * data.desc.q_request);
      for (int k = 0; k < 700; ++k)
        std::copy_n(&alone.cache[alone.key_at(0, k)], 576, &data.cache[data.key_at(place, k)]);
      const MlaResult result = run_mla(data);
      EXPECT_EQ(rows_of(data, result, place), expected.out) << "place " << place << " of " << lengths.size();
      for (int h = 0; h < p.h_q; ++h) ASSERT_EQ(result.lse[size_t(place) * 24 + h], expected.lse[h]);
    }
}

// Lengths and table entries that are wrong: the request is clamped and flagged, the others are untouched, and
// nothing outside the cache is read (the virtual device would fault; cache and table end where their
// allocations end).
TEST(MlaDecode, WrongLengthsAndPagesAreClampedAndFlagged) {
  for (const int heads : {16, 128})
    for (const int page : {1, 8, 16, 64, 128}) {
      MlaProblem p{
          .h_q = heads, .page_size = page, .lengths = {200, 256, 70, 256, 256, 129}, .max_pages = 256 / page};
      MlaData data(p);
      data.lengths[0] = -5;
      data.lengths[1] = 1000000;
      data.lengths[3] = INT32_MAX;
      data.lengths[4] = INT32_MIN;
      data.table[size_t(2 * data.desc.table_request)] = static_cast<int32_t>(data.desc.pages);
      data.table[size_t(5 * data.desc.table_request + 128 / page)] = -1;
      const MlaResult result = run_mla(data);
      EXPECT_THAT(result.flags,
                  testing::ElementsAre(PTXOPS_MLA_LENGTH_NEGATIVE, PTXOPS_MLA_LENGTH_TOO_LONG,
                                       PTXOPS_MLA_PAGE_OUT_OF_RANGE, PTXOPS_MLA_LENGTH_TOO_LONG,
                                       PTXOPS_MLA_LENGTH_NEGATIVE, PTXOPS_MLA_PAGE_OUT_OF_RANGE));
      // what the clamped problem is: lengths 0 and 256, and pages of zeros
      MlaData meant = data;
      meant.p.lengths[0] = meant.p.lengths[4] = 0;
      const auto zero_page = [&](int b, int i) {
        const auto unused = static_cast<int32_t>(meant.desc.pages);
        meant.table[size_t(b * meant.desc.table_request + i)] = unused + b;
      };
      meant.cache.resize(size_t((meant.desc.pages + 8) * meant.desc.cache_page), 0);
      zero_page(2, 0);
      zero_page(5, 128 / page);
      expect_close(meant, result);
    }
}

// Not enough slots for the fixed splits: done whole, and said so.
TEST(MlaDecode, TooManyTokensForTheSlots) {
  MlaProblem p{.h_q = 8, .lengths = {400, 300, 500}, .split_tokens = 128, .max_total_tokens = 600};
  const MlaData data(p);
  const MlaResult result = run_mla(data);
  expect_close(data, result);
  EXPECT_THAT(result.flags, testing::Contains(PTXOPS_MLA_NO_SLOTS));
  EXPECT_EQ(result.flags[0], 0);
}

// Strides that take cache, Q and OUT beyond 2^31 elements (and 2^32 bytes), by boxes and gathered. Only what
// is used is ever touched.
TEST(MlaDecode, StridesBeyondTwoToThe31) {
  for (const int page_size : {64, 1}) {
    SCOPED_TRACE(page_size);
    const int batch = 2, heads = 4;
    MlaProblem p{.h_q = heads, .page_size = page_size, .lengths = {130, 90}};
    const MlaData data(p);
    ptxopsMlaDecodeDesc_t d = data.desc;
    const int64_t page_stride = (int64_t{3} << 30) / (d.pages - 1) / 8 * 8, request_stride = int64_t{1} << 31;
    d.cache_page = page_stride, d.q_request = request_stride, d.out_request = request_stride + 8;
    ptxopsDevicePtr_t cache = 0, q = 0, out = 0;
    ASSERT_OK(ptxopsMemAlloc(context(), &cache, size_t((d.pages - 1) * page_stride + page_size * 576) * 2));
    ASSERT_OK(ptxopsMemAlloc(context(), &q, size_t(request_stride + heads * 576) * 2));
    ASSERT_OK(ptxopsMemAlloc(context(), &out, size_t(d.out_request + heads * 512) * 2));
    // The pages of `data`, some of them beyond element 2^31.
    int64_t last = 0;
    for (int b = 0; b < batch; ++b) {
      for (int i = 0; i * page_size < p.lengths[size_t(b)]; ++i) {
        const int64_t page = data.table[size_t(b * d.table_request + i)];
        last = std::max(last, page * page_stride);
        ASSERT_OK(ptxopsMemcpyToDevice(context(), cache + uint64_t(page * page_stride) * 2,
                                       &data.cache[size_t(page * data.desc.cache_page)],
                                       size_t(page_size) * 576 * 2, nullptr));
      }
      ASSERT_OK(ptxopsMemcpyToDevice(context(), q + uint64_t(b * request_stride) * 2,
                                     &data.q[data.q_at(b, 0, 0)], size_t(heads) * 576 * 2, nullptr));
    }
    ASSERT_GT(last, int64_t{1} << 31);
    const DeviceMemory device_table(data.table), lengths(data.lengths),
        lse(size_t(batch * d.lse_request) * 4);
    Plan plan;
    ASSERT_OK(ptxopsMlaDecodePlanCreate(context(), &d, &plan.handle));
    ASSERT_OK(ptxopsPlanPrepare(plan.handle));
    size_t bytes = 0;
    ASSERT_OK(ptxopsPlanGetWorkspaceSize(plan.handle, &bytes));
    const DeviceMemory workspace(bytes);
    ptxopsMlaDecodeArgs_t args = PTXOPS_MLA_DECODE_ARGS_INITIALIZER;
    args.q = q, args.cache = cache, args.page_table = device_table.address(),
    args.lengths = lengths.address();
    args.out = out, args.lse = lse.address();
    ASSERT_OK(ptxopsMlaDecodeRun(plan.handle, &args, workspace.address(), bytes, nullptr));
    MlaResult result;
    result.out.assign(size_t(batch * data.desc.out_request), 0xA7A7);
    for (int b = 0; b < batch; ++b)
      ASSERT_OK(ptxopsMemcpyToHost(context(), &result.out[size_t(b * data.desc.out_request)],
                                   out + uint64_t(b * d.out_request) * 2, size_t(heads) * 512 * 2, nullptr));
    result.lse = lse.read<float>();
    expect_close(data, result);
    for (const ptxopsDevicePtr_t memory : {cache, q, out}) EXPECT_OK(ptxopsMemFree(context(), memory));
  }
}

// Not less exact than the usual implementation: FP32 scores and softmax, weights rounded to BF16 for the
// second product.
TEST(MlaDecode, IsAsExactAsABf16ReferenceWithFp32Softmax) {
  // One data set's ratio scatters by 5 %, so four are pooled.
  Accuracy accuracy;
  for (uint64_t draw = 0; draw < 4; ++draw) {
    MlaProblem p{.h_q = 64, .lengths = {777}, .spread = 2, .seed = random_seed() + draw};
    const MlaData data(p);
    const MlaResult result = run_mla(data);
    const std::vector<double> flat = decode_keys(data, 0);
    std::vector<std::vector<double>> keys;
    for (auto key = flat.begin(); key != flat.end(); key += 576) keys.emplace_back(key, key + 576);
    std::vector<const std::vector<double>*> seen;
    for (const auto& key : keys) seen.push_back(&key);
    for (int h = 0; h < p.h_q; ++h) {
      const MlaExpected row = reference_row(data, flat, 0, 0, h);
      std::vector<double> q(576);
      for (size_t c = 0; c < q.size(); ++c) q[c] = data.value(data.q[data.q_at(0, 0, h) + c]);
      const std::vector<double> framework = mla::in_framework(q, seen, 1 / std::sqrt(576.0));
      for (size_t c = 0; c < 512; ++c)
        accuracy.add(row.out[c], data.value(result.out[size_t(h) * 512 + c]), framework[c]);
    }
  }
  EXPECT_LE(accuracy.rms(), 1.02);  // four standard deviations above what is seen
  EXPECT_LE(accuracy.cosine(), 1.04);
  EXPECT_LE(accuracy.cosine_distance(), 5e-6);  // FlashMLA's bound
  RecordProperty("rms", fmt::to_string(accuracy.rms()));
  RecordProperty("cosine", fmt::to_string(accuracy.cosine()));
}

}  // namespace
}  // namespace ptxops::test
