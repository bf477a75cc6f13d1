// The mbarrier's transitions against a model with unbounded counters.
#include <gtest/gtest.h>

#include <set>

#include "driver/virtual/async/mbarrier.h"
#include "tests/support/random_seed.h"

namespace ptxops::virt {
namespace {

TEST(MbarrierState, RandomOperationsAgreeWithTheModel) {
  auto random = test::random_engine(0x6d62);
  for (int run = 0; run < 200; ++run) {
    const uint32_t count = 1 + random() % 5;
    MbarrierState s{0, count, count, 0};
    int64_t expected = count, pending = count, tx = 0, phase = 0;
    for (int step = 0; step < 200; ++step) {
      bool completed = false;
      MbarrierError error;
      bool legal = true;
      if (random() % 2) {
        const uint32_t n = 1 + random() % 3;
        const bool drop = random() % 8 == 0 && expected > n, no_complete = random() % 8 == 0;
        error = mbarrier_apply_arrive(s, n, drop, no_complete, completed);
        legal = n <= pending && !(no_complete && n == pending && tx == 0);
        if (legal) {
          pending -= n;
          if (drop) expected -= n;
        }
      } else {
        const int64_t bytes = static_cast<int64_t>(random() % 5 * 16) - 32;
        error = mbarrier_apply_tx(s, bytes, completed);
        tx += bytes;
      }
      ASSERT_EQ(error == MbarrierError::none, legal) << "step " << step;
      const bool done = legal && pending == 0 && tx == 0;
      if (done) {
        ++phase;
        pending = expected;
      }
      ASSERT_EQ(completed, done) << "step " << step;
      ASSERT_EQ(s.pending, pending);
      ASSERT_EQ(s.expected, expected);
      ASSERT_EQ(s.tx, tx);
      ASSERT_EQ(s.phase, static_cast<uint64_t>(phase));
    }
  }
}

TEST(MbarrierState, TransactionRange) {
  MbarrierState s{0, 1, 1, 0};
  bool completed;
  EXPECT_EQ(mbarrier_apply_tx(s, kMbarrierTxMax, completed), MbarrierError::none);
  EXPECT_EQ(mbarrier_apply_tx(s, 1, completed), MbarrierError::tx_range);
  EXPECT_EQ(s.tx, kMbarrierTxMax);
  EXPECT_EQ(mbarrier_apply_tx(s, -2 * int64_t{kMbarrierTxMax}, completed), MbarrierError::none);
  EXPECT_EQ(mbarrier_apply_tx(s, -1, completed), MbarrierError::tx_range);
}

TEST(MbarrierState, ImagesOfDifferentStatesDiffer) {
  auto random = test::random_engine(0x696d);
  std::set<uint64_t> images;
  std::set<std::tuple<uint64_t, uint32_t, uint32_t, int32_t>> states;
  for (int i = 0; i < 5000; ++i) {
    const MbarrierState s{random() % 8, static_cast<uint32_t>(random() % (kMbarrierCountMax + 1)),
                          static_cast<uint32_t>(random() % (kMbarrierCountMax + 1)),
                          static_cast<int32_t>(random() % (2u * kMbarrierTxMax + 1)) - kMbarrierTxMax};
    states.insert({s.phase, s.pending, s.expected, s.tx});
    images.insert(mbarrier_image(s));
    EXPECT_EQ(mbarrier_token_pending(mbarrier_token(s)), s.pending);
    EXPECT_EQ(mbarrier_token_phase(mbarrier_token(s)), s.phase);
  }
  EXPECT_EQ(images.size(), states.size());
}

}  // namespace
}  // namespace ptxops::virt
