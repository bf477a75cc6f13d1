// The dispatcher by itself: order, and a body that throws.
#include "driver/virtual/api/work.h"

#include <gtest/gtest.h>

#include <chrono>
#include <stdexcept>
#include <thread>

namespace ptxops::virt {
namespace {

WorkPtr noting(std::vector<int>& log, int number, const std::vector<WorkPtr>& after) {
  return Work::create(
      Work::Place::inline_,
      [&log, number](Work& work) {
        log.push_back(number);
        work.finish(1);
      },
      after);
}
WorkPtr throwing(const std::vector<WorkPtr>& after) {
  return Work::create(
      Work::Place::inline_, [](Work&) { throw std::runtime_error("no"); }, after);
}

TEST(Work, UnitsWaitForWhatIsBeforeThem) {
  std::vector<int> log;
  const WorkPtr a = noting(log, 1, {}), b = noting(log, 2, {a, nullptr}), c = noting(log, 3, {a, b});
  c->release();
  b->release();
  EXPECT_TRUE(log.empty());
  a->release();
  EXPECT_EQ(log, (std::vector<int>{1, 2, 3}));
  EXPECT_EQ(c->begin(), 2);
  EXPECT_EQ(c->end(), 3);
}

// Inline units that start each other do not recurse.
TEST(Work, LongChains) {
  std::vector<int> log;
  const WorkPtr first = noting(log, 0, {});
  WorkPtr last = first;
  for (int i = 1; i < 200'000; ++i) {
    last = noting(log, i, {last});
    last->release();
  }
  first->release();
  EXPECT_TRUE(last->finished());
  EXPECT_EQ(log.size(), 200'000u);
}

TEST(Work, ABodyThatThrowsIsFinishedAndTheOthersRun) {
  std::vector<int> log;
  const WorkPtr start = noting(log, 1, {}), bad = throwing({start}), beside = noting(log, 2, {start}),
                behind = noting(log, 3, {bad});
  for (const WorkPtr& w : {bad, beside, behind}) w->release();
  EXPECT_THROW(start->release(), std::runtime_error);
  EXPECT_EQ(log, (std::vector<int>{1, 2, 3}));
  behind->wait();
  EXPECT_TRUE(bad->finished());
  // The thread is free for more, which it runs at once.
  const WorkPtr later = noting(log, 4, {behind});
  later->release();
  EXPECT_TRUE(later->finished());
  EXPECT_EQ(log.back(), 4);
}

TEST(Work, ABodyThatThrowsWhenItHasFinished) {
  std::vector<int> log;
  const WorkPtr bad = Work::create(Work::Place::inline_,
                                   [](Work& work) {
                                     work.finish(0);
                                     throw std::runtime_error("too late");
                                   },
                                   {});
  const WorkPtr behind = noting(log, 1, {bad});
  behind->release();
  EXPECT_THROW(bad->release(), std::runtime_error);
  EXPECT_EQ(log, std::vector<int>{1});
}

// A body may hold what holds its unit: a context, whose stream's last unit this is.
TEST(Work, AFinishedUnitLetsGoOfItsBody) {
  for (const Work::Place place : {Work::Place::inline_, Work::Place::thread}) {
    auto held = std::make_shared<int>(7);
    const std::weak_ptr<int> left = held;
    const WorkPtr work = Work::create(place, [held = std::move(held)](Work& w) { w.finish(*held); }, {});
    work->release();
    work->wait();
    for (int i = 0; i < 1000 && !left.expired(); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_TRUE(left.expired());
  }
}

}  // namespace
}  // namespace ptxops::virt
