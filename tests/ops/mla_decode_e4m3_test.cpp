// FP8 MLA decode through the C ABI against FP64. Unused pages, the tail of the last page and gaps between
// rows are NaN, unused table entries are far out of range, outputs are poisoned; sizes are scaled to the
// virtual device.
#include <gmock/gmock.h>

#include <algorithm>
#include <climits>
#include <random>

#include "tests/ops/mla_e4m3_reference.h"
#include "tests/support/random_seed.h"

namespace ptxops::test {
namespace {

void check(MlaE4m3Problem p) {
  p.seed = random_seed() + p.seed;
  const MlaE4m3Data data(p);
  const MlaResult result = run_mla_e4m3(data);
  if (result.out.empty()) return;
  expect_close(data, result);
  for (const int32_t flags : result.flags) EXPECT_EQ(flags, 0);
}

// Lengths at the edges of blocks and pages, mixed with empty requests.
const std::vector<int> kEdges = {0, 1, 63, 64, 65, 127, 128, 129, 0, 300};

TEST(MlaDecodeE4m3, LengthsAroundTheBlocks) {
  check({.h_q = 16, .lengths = kEdges});
}

TEST(MlaDecodeE4m3, AnyNumberOfHeads) {
  for (const int heads : {1, 3, 8, 9, 32, 63, 64, 65, 126, 128}) {
    SCOPED_TRACE(heads);
    check({.h_q = heads, .lengths = {20, 0, 140}, .seed = static_cast<uint64_t>(heads)});
  }
}

TEST(MlaDecodeE4m3, PageSizesTypesAndClusters) {
  for (const int type : {PTXOPS_BF16, PTXOPS_F16})
    for (const int page : {16, 32, 64, 128})
      for (const int heads : {24, 128}) {  // 128: two tiles of rows, a cluster
        SCOPED_TRACE(testing::Message() << "type " << type << " page " << page << " heads " << heads);
        check({.out_type = type, .h_q = heads, .page_size = page, .lengths = {250, 17, 0}});
      }
}

TEST(MlaDecodeE4m3, CausalTokens) {
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

TEST(MlaDecodeE4m3, StridesAndScales) {
  for (const bool on_device : {false, true})
    for (const bool padded : {false, true})
      check({.s_q = 2,
             .h_q = 72,
             .page_size = 32,
             .lengths = {190, 0, 33},
             .causal = true,
             .padded = padded,
             .scales_on_device = on_device});
}

TEST(MlaDecodeE4m3, LseInBaseTwoAndMinusInfinity) {
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
TEST(MlaDecodeE4m3, SplitsOverSms) {
  check({.h_q = 16, .lengths = {3000}, .sm_count = 16});
  check({.h_q = 16, .lengths = {5, 1500, 0, 0, 70, 900, 64}, .sm_count = 11});
  check({.s_q = 2, .h_q = 128, .lengths = {500, 30, 300}, .causal = true, .sm_count = 16});
  check({.h_q = 16, .lengths = {400, 400, 400}, .sm_count = 1});
}

// Scores that vary by hundreds and grow along the keys: the running reference moves often, weights vanish.
TEST(MlaDecodeE4m3, LargeScores) {
  check({.h_q = 32, .lengths = {700, 100}, .spread = 30});
  check({.h_q = 32, .lengths = {900, 64}, .sm_count = 2, .growth = 60});
  check({.h_q = 32, .lengths = {900}, .sm_count = 2, .growth = -60});
}

// Values that do not average out, on one SM: a sum that only the tensor core kept, in 14 bits, would lose
// what comes late.
TEST(MlaDecodeE4m3, LongSumsOfOneSign) {
  check({.h_q = 4, .lengths = {8000}, .sm_count = 1, .spread = 0.05, .mean = 2});
}

// A mixed batch of many requests, about half of them empty.
TEST(MlaDecodeE4m3, ManyRequests) {
  std::mt19937_64 random = random_engine(5);
  MlaE4m3Problem p{.h_q = 8, .page_size = 16, .lengths = {}, .sm_count = 16};
  for (int i = 0; i < 300; ++i) p.lengths.push_back(random() % 2 ? 0 : static_cast<int>(random() % 70));
  check(p);
  p.split_tokens = 64;
  check(p);
}

std::vector<uint16_t> rows_of(const MlaE4m3Data& data, const MlaResult& result, int b) {
  return {result.out.begin() + b * data.desc.out_request,
          result.out.begin() + (b + 1) * data.desc.out_request};
}

// The same input twice, the same bits: whatever the schedule.
TEST(MlaDecodeE4m3, IsDeterministic) {
  for (const int split : {0, 128}) {
    MlaE4m3Problem p{.h_q = 64, .lengths = {900, 40, 333, 0, 1200}, .split_tokens = split, .sm_count = 16};
    const MlaE4m3Data data(p);
    const MlaResult first = run_mla_e4m3(data), second = run_mla_e4m3(data);
    EXPECT_EQ(first.out, second.out);
    EXPECT_EQ(first.lse, second.lse);
  }
}

// With a fixed split length a request's bits depend on nothing but itself: not on its batch-mates, its place
// among them or the number of SMs. The mates are the same request data under other lengths and orders.
TEST(MlaDecodeE4m3, IsBatchInvariant) {
  MlaE4m3Problem p{.h_q = 24, .lengths = {700}, .split_tokens = 64, .sm_count = 16, .max_pages = 20};
  const MlaE4m3Data alone(p);
  const MlaResult expected = run_mla_e4m3(alone);
  expect_close(alone, expected);
  for (const auto& lengths :
       std::vector<std::vector<int>>{{700, 1000, 3, 0, 500}, {1, 64, 700}, {900, 900, 700, 900}})
    for (const int sms : {16, 5, 1}) {
      MlaE4m3Problem q = p;
      q.lengths = lengths, q.sm_count = sms, q.seed = 99;
      MlaE4m3Data data(q);
      const int place = static_cast<int>(std::find(lengths.begin(), lengths.end(), 700) - lengths.begin());
      // give request `place` the data of `alone`, on its own pages
      std::copy(alone.q.begin(), alone.q.end(), data.q.begin() + place * data.desc.q_request);
      for (int k = 0; k < 700; ++k)
        std::copy_n(&alone.cache[alone.key_at(0, k)], 576, &data.cache[data.key_at(place, k)]);
      const MlaResult result = run_mla_e4m3(data);
      EXPECT_EQ(rows_of(data, result, place), expected.out) << "place " << place << " of " << lengths.size();
      for (int h = 0; h < p.h_q; ++h) ASSERT_EQ(result.lse[size_t(place) * 24 + h], expected.lse[h]);
    }
}

// Lengths and table entries that are wrong: the request is clamped and flagged, the others are untouched, and
// nothing outside the cache is read (the virtual device would fault; cache and table end where their
// allocations end).
TEST(MlaDecodeE4m3, WrongLengthsAndPagesAreClampedAndFlagged) {
  for (const int heads : {16, 128})
    for (const int page : {16, 64, 128}) {
      MlaE4m3Problem p{
          .h_q = heads, .page_size = page, .lengths = {200, 256, 70, 256, 256, 129}, .max_pages = 256 / page};
      MlaE4m3Data data(p);
      data.lengths[0] = -5;
      data.lengths[1] = 1000000;
      data.lengths[3] = INT32_MAX;
      data.lengths[4] = INT32_MIN;
      data.table[size_t(2 * data.desc.table_request)] = static_cast<int32_t>(data.desc.pages);
      data.table[size_t(5 * data.desc.table_request + 129 / page)] = -1;
      const MlaResult result = run_mla_e4m3(data);
      EXPECT_THAT(result.flags,
                  testing::ElementsAre(PTXOPS_MLA_LENGTH_NEGATIVE, PTXOPS_MLA_LENGTH_TOO_LONG,
                                       PTXOPS_MLA_PAGE_OUT_OF_RANGE, PTXOPS_MLA_LENGTH_TOO_LONG,
                                       PTXOPS_MLA_LENGTH_NEGATIVE, PTXOPS_MLA_PAGE_OUT_OF_RANGE));
      // what the clamped problem is: lengths 0 and 256, and pages of zeros
      MlaE4m3Data meant = data;
      meant.p.lengths[0] = meant.p.lengths[4] = 0;
      const auto zero_page = [&](int b, int i) {
        const auto unused = static_cast<int32_t>(meant.desc.pages);
        meant.table[size_t(b * meant.desc.table_request + i)] = unused + b;
      };
      meant.cache.resize(size_t((meant.desc.pages + 8) * meant.desc.cache_page), 0);
      zero_page(2, 0);
      zero_page(5, 129 / page);
      expect_close(meant, result);
    }
}

// Not enough slots for the fixed splits: done whole, and said so.
TEST(MlaDecodeE4m3, TooManyTokensForTheSlots) {
  MlaE4m3Problem p{.h_q = 8, .lengths = {400, 300, 500}, .split_tokens = 128, .max_total_tokens = 600};
  const MlaE4m3Data data(p);
  const MlaResult result = run_mla_e4m3(data);
  expect_close(data, result);
  EXPECT_THAT(result.flags, testing::Contains(PTXOPS_MLA_NO_SLOTS));
  EXPECT_EQ(result.flags[0], 0);
}

}  // namespace
}  // namespace ptxops::test
