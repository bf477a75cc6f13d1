// mla_schedule: on random lengths the tables have the properties that ptx/mla/README.md promises, and the
// cuts lie where the kernel's head says.
#include <fmt/format.h>

#include <algorithm>

#include "tests/ptx/device.h"
#include "tests/support/random_seed.h"

namespace ptxops::test {
namespace {

struct Case {
  std::vector<int32_t> lengths;  // one for each per_length requests
  int requests = 0, per_length = 1, capacity = 0, parts = 1, split_blocks = 0, overhead = 2;
  int max_slots = -1;  // -1: what the README's bounds say
};

constexpr int kCounters = 3;  // of a merge

struct Tables {
  std::vector<int32_t> part_begin, pieces, merges, flags, arrivals;
  int merge_count = 0;
  int max_slots = 0;
};

int ceil_div(int a, int b) {
  return (a + b - 1) / b;
}

Tables schedule(const Case& in) {
  const driver::Context::Guard current(context());
  static const LoadedKernel loaded("mla/mla_schedule.ptx", {});
  const int blocks = ceil_div(in.capacity, 64),
            most = in.split_blocks ? std::max(1, ceil_div(blocks, in.split_blocks)) : 1;
  const int max_pieces = in.split_blocks ? in.requests * most : in.requests + in.parts - 1;
  Tables t;
  t.max_slots = in.max_slots >= 0 ? in.max_slots
                : in.split_blocks ? in.requests * most
                                  : std::min(in.requests + in.parts - 1, 2 * (in.parts - 1));
  const int max_merges = in.split_blocks ? in.requests : std::min(in.requests, in.parts - 1);
  const auto poisoned = [](int count) { return std::vector<int32_t>(static_cast<size_t>(count), -77); };
  const Input<int32_t> lengths(in.lengths);
  const Guarded<int32_t> flags(poisoned(in.requests)), part_begin(poisoned(in.parts + 1)),
      pieces(poisoned(8 * max_pieces)), merge_count(poisoned(1)), merges(poisoned(4 * max_merges)),
      arrivals(poisoned(kCounters * max_merges));
  driver::Launch launch(loaded.kernel, {.grid = {1}, .block = {loaded.note("threads")}});
  launch(nullptr, lengths.address(), flags.address(), part_begin.address(), pieces.address(),
         merge_count.address(), merges.address(), uint32_t(in.requests), uint32_t(0), uint32_t(in.per_length),
         uint32_t(in.capacity), uint32_t(in.parts), uint32_t(in.split_blocks), uint32_t(t.max_slots),
         uint32_t(in.overhead), arrivals.address(), uint32_t(kCounters));
  context().synchronize();
  t.flags = flags.download(), t.part_begin = part_begin.download(), t.pieces = pieces.download();
  t.merges = merges.download(), t.merge_count = merge_count.download()[0];
  t.arrivals = arrivals.download();
  return t;
}

void check(const Case& in) {
  SCOPED_TRACE(fmt::format("{} requests, {} parts, split {}, overhead {}, capacity {}", in.requests, in.parts,
                           in.split_blocks, in.overhead, in.capacity));
  const Tables t = schedule(in);
  // what each request costs, and the target, by the head's formulas
  std::vector<int> length(in.requests), blocks(in.requests), count(in.requests, 1);
  int total = 0, longest = 0;
  for (int r = 0; r < in.requests; ++r) {
    const int given = in.lengths[r / in.per_length];
    length[r] = std::clamp(given, 0, in.capacity);
    blocks[r] = ceil_div(length[r], 64);
    if (in.split_blocks) count[r] = std::max(1, ceil_div(blocks[r], in.split_blocks));
    total += blocks[r] + in.overhead * count[r];
    longest = std::max(longest, blocks[r]);
    const int bits = given < 0 ? 1 : given > in.capacity ? 2 : 0;
    ASSERT_EQ(t.flags[r] & 3, bits) << "request " << r;
  }
  int target = ceil_div(total, in.parts);
  if (!in.split_blocks) {
    int64_t best = INT64_MAX;
    for (int used = 1; used <= in.parts; ++used) {
      const int64_t each = ceil_div(total, used);
      const int64_t cost = 8 * each + (longest > each ? 8 * in.overhead + (longest + each - 1) / each : 0);
      if (cost < best) best = cost, target = static_cast<int>(each);
    }
  }
  const int snap = std::clamp(target / 4, 1, 4);

  // the pieces, in order, are the requests, in order
  int piece = 0, slots = 0, merges = 0, at = 0;
  std::vector<int> starts;  // of each piece on the line
  for (int r = 0; r < in.requests; ++r) {
    int block = 0, split = 0;
    const int first_slot = slots;
    std::vector<int> cuts;
    do {
      ASSERT_LT(size_t(8 * piece), t.pieces.size());
      const int32_t* record = &t.pieces[8 * piece];
      ASSERT_EQ(record[0], r) << "piece " << piece;
      ASSERT_EQ(record[1], block);
      ASSERT_GE(record[2], block);
      ASSERT_LE(record[2], blocks[r]);
      ASSERT_GE(record[2], record[1] + std::min(blocks[r], 1)) << "an empty piece of a request that is not";
      ASSERT_EQ(record[3], length[r]);
      ASSERT_EQ(record[5], split);
      const bool whole = block == 0 && record[2] == blocks[r];
      ASSERT_EQ(record[4], whole ? -1 : first_slot + split);
      starts.push_back(in.split_blocks ? at + split * (in.split_blocks + in.overhead)
                                       : at + (block ? in.overhead + block : 0));
      block = record[2];
      cuts.push_back(block);
      ++piece, ++split;
    } while (block < blocks[r]);
    if (split > 1) {
      slots += split;
      ASSERT_LT(merges, t.merge_count);
      const int32_t* merge = &t.merges[4 * merges++];
      ASSERT_EQ(merge[0], r);
      ASSERT_EQ(merge[1], first_slot);
      ASSERT_EQ(merge[2], split);
      for (int i = piece - split; i < piece; ++i) {
        ASSERT_EQ(t.pieces[8 * i + 6], split);
        ASSERT_EQ(t.pieces[8 * i + 7], merges - 1);
      }
    }
    cuts.pop_back();
    if (in.split_blocks) {
      if (t.flags[r] & 8)
        ASSERT_TRUE(cuts.empty());
      else
        ASSERT_EQ(int(cuts.size()) + 1, count[r]);
      for (size_t i = 0; i < cuts.size(); ++i) ASSERT_EQ(cuts[i], int(i + 1) * in.split_blocks);
    } else {
      // cut exactly at the multiples of the target that lie inside, not near an edge
      std::vector<int> expected;
      for (int p = 1; p < in.parts; ++p) {
        const int o = p * target - at - in.overhead;
        if (p * target >= at && o >= snap && o <= blocks[r] - snap) expected.push_back(o);
      }
      ASSERT_EQ(cuts, expected) << "request " << r;
    }
    at += blocks[r] + in.overhead * count[r];
  }
  EXPECT_EQ(merges, t.merge_count);
  for (size_t i = 0; i < t.arrivals.size(); ++i)
    ASSERT_EQ(t.arrivals[i], int(i) < kCounters * merges ? 0 : -77) << "arrival counter " << i;
  EXPECT_LE(slots, t.max_slots);
  // parts: contiguous runs of all pieces
  ASSERT_EQ(t.part_begin[0], 0);
  ASSERT_EQ(t.part_begin[in.parts], piece);
  int most = 0;
  for (int p = 0; p < in.parts; ++p) {
    ASSERT_LE(t.part_begin[p], t.part_begin[p + 1]);
    int cost = 0;
    for (int i = t.part_begin[p]; i < t.part_begin[p + 1]; ++i)
      cost += t.pieces[8 * i + 2] - t.pieces[8 * i + 1] + in.overhead;
    most = std::max(most, cost);
  }
  // no part much above its share: a piece begun elsewhere costs its overhead again, cuts move by up to SNAP
  if (in.max_slots < 0) {
    EXPECT_LE(most, target + in.overhead + (in.split_blocks ? in.split_blocks : 2 * snap))
        << "target " << target;
  }
}

TEST(MlaSchedule, SmallCases) {
  check({.lengths = {0}, .requests = 1, .capacity = 64, .parts = 4});
  check({.lengths = {1}, .requests = 1, .capacity = 64, .parts = 1});
  check({.lengths = {100000}, .requests = 1, .capacity = 1 << 20, .parts = 132});
  check({.lengths = {-5, 70000, 64, INT32_MIN, INT32_MAX}, .requests = 5, .capacity = 4096, .parts = 7});
  check({.lengths = {500, 900}, .requests = 6, .per_length = 3, .capacity = 1024, .parts = 5});
}

TEST(MlaSchedule, RandomLengths) {
  std::mt19937_64 random = random_engine(1);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<uint64_t>(n)); };
  for (int i = 0; i < 60; ++i) {
    Case in;
    const int sizes[] = {1, 2, 5, 33, 130, 511, 512, 513, 1500};
    in.requests = sizes[below(9)];
    in.capacity = 64 * (1 + below(i % 2 ? 20 : 2000)) - below(64);
    in.parts = 1 + below(i % 3 ? 20 : 132);
    in.overhead = 1 + below(5);
    if (i % 3 == 2) in.split_blocks = 1 + below(20);
    for (int r = 0; r < in.requests; ++r)
      in.lengths.push_back(below(3) == 0 ? 0 : below(5) == 0 ? below(in.capacity + 1) : below(200));
    check(in);
  }
}

// The slots run out: from there on requests stay whole, and say so.
TEST(MlaSchedule, TooFewSlots) {
  const Case in{.lengths = std::vector<int32_t>(700, 300),
                .requests = 700,
                .capacity = 640,
                .parts = 9,
                .split_blocks = 2,
                .max_slots = 100};
  check(in);
  const Tables t = schedule(in);
  EXPECT_EQ(t.flags[32], 0);  // 33 * 3 = 99 slots
  EXPECT_EQ(t.flags[33], 8);
  EXPECT_EQ(t.merge_count, 33);
}

}  // namespace
}  // namespace ptxops::test
