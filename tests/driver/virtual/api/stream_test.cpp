// What orders work: streams, the default streams, events, host functions.
#include <sched.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <thread>

#include "tests/driver/virtual/api/virtual_driver.h"

namespace ptxops::virt::test {
namespace {

// Host functions that record their order, and one that blocks until opened.
class Streams : public ContextTest {
 public:
  struct Mark {
    Streams* test;
    int id;
  };
  struct Gate {
    std::atomic<bool> entered{false}, open{false};
  };
  void mark(CUstream s, int id) {
    marks_.push_back(std::make_unique<Mark>(Mark{this, id}));
    EXPECT_CUDA(cuda().cuLaunchHostFunc(
        s,
        [](void* p) {
          auto* m = static_cast<Mark*>(p);
          std::lock_guard lock(m->test->mutex_);
          m->test->order_.push_back(m->id);
        },
        marks_.back().get()));
  }
  void block(CUstream s, Gate& gate) {
    EXPECT_CUDA(cuda().cuLaunchHostFunc(
        s,
        [](void* p) {
          auto* g = static_cast<Gate*>(p);
          g->entered = true;
          while (!g->open) sched_yield();
        },
        &gate));
  }
  CUstream create(unsigned flags = 0) {
    CUstream s = nullptr;
    EXPECT_CUDA(cuda().cuStreamCreate(&s, flags));
    return s;
  }
  std::vector<int> order() {
    std::lock_guard lock(mutex_);
    return order_;
  }
  void wait_for(size_t n) {
    while (order().size() < n) sched_yield();
  }

  std::mutex mutex_;
  std::vector<int> order_;
  std::vector<std::unique_ptr<Mark>> marks_;
};

TEST_F(Streams, AreFifo) {
  const CUstream s = create();
  for (int i = 0; i < 200; ++i) mark(s, i);
  EXPECT_CUDA(cuda().cuStreamSynchronize(s));
  std::vector<int> expected(200);
  for (int i = 0; i < 200; ++i) expected[i] = i;
  EXPECT_EQ(order(), expected);
}

TEST_F(Streams, RunIndependentlyAndReturnAtOnce) {
  const CUstream a = create(CU_STREAM_NON_BLOCKING), b = create(CU_STREAM_NON_BLOCKING);
  Gate gate;
  block(a, gate);
  mark(a, 1);
  mark(b, 2);
  wait_for(1);
  EXPECT_EQ(order(), std::vector<int>{2});
  EXPECT_EQ(cuda().cuStreamQuery(a), CUDA_ERROR_NOT_READY);
  EXPECT_CUDA(cuda().cuStreamSynchronize(b));
  gate.open = true;
  EXPECT_CUDA(cuda().cuCtxSynchronize());
  EXPECT_CUDA(cuda().cuStreamQuery(a));
  EXPECT_EQ(order(), (std::vector<int>{2, 1}));
}

TEST_F(Streams, LegacyDefaultStreamWaitsForBlockingStreamsAndHoldsThem) {
  const CUstream blocking = create(), free = create(CU_STREAM_NON_BLOCKING);
  Gate gate;
  block(blocking, gate);
  mark(nullptr, 1);   // waits for `blocking`
  mark(blocking, 2);  // waits for the default stream
  mark(free, 3);      // waits for nothing
  wait_for(1);
  EXPECT_EQ(order(), std::vector<int>{3});
  EXPECT_EQ(cuda().cuStreamQuery(nullptr), CUDA_ERROR_NOT_READY);
  gate.open = true;
  EXPECT_CUDA(cuda().cuCtxSynchronize());
  EXPECT_EQ(order(), (std::vector<int>{3, 1, 2}));
}

TEST_F(Streams, PerThreadDefaultStreamsAreSeparate) {
  Gate gate;
  block(per_thread_stream(), gate);
  std::thread([&] {
    ASSERT_CUDA(cuda().cuCtxSetCurrent(context_));
    // Through the handle and through the _ptsz entry, where 0 means the thread's own stream.
    mark(per_thread_stream(), 1);
    auto launch = reinterpret_cast<Fn_cuLaunchHostFunc>(dlsym(cuda().library, "cuLaunchHostFunc_ptsz"));
    Mark m{this, 2};
    EXPECT_CUDA(launch(
        nullptr,
        [](void* p) {
          auto* x = static_cast<Mark*>(p);
          std::lock_guard lock(x->test->mutex_);
          x->test->order_.push_back(x->id);
        },
        &m));
    EXPECT_CUDA(cuda().cuStreamSynchronize(per_thread_stream()));
  }).join();
  EXPECT_EQ(order(), (std::vector<int>{1, 2})) << "not held up by the other thread's stream";
  gate.open = true;
  EXPECT_CUDA(cuda().cuCtxSynchronize());
}

TEST_F(Streams, EventsOrderStreams) {
  const CUstream a = create(CU_STREAM_NON_BLOCKING), b = create(CU_STREAM_NON_BLOCKING);
  CUevent e = nullptr;
  ASSERT_CUDA(cuda().cuEventCreate(&e, CU_EVENT_DISABLE_TIMING));
  EXPECT_CUDA(cuda().cuEventQuery(e)) << "never recorded: complete";
  EXPECT_CUDA(cuda().cuStreamWaitEvent(b, e, 0));
  Gate gate;
  block(a, gate);
  mark(a, 1);
  ASSERT_CUDA(cuda().cuEventRecord(e, a));
  EXPECT_EQ(cuda().cuEventQuery(e), CUDA_ERROR_NOT_READY);
  ASSERT_CUDA(cuda().cuStreamWaitEvent(b, e, 0));
  mark(b, 2);
  // The wait is for what was recorded then, not for a later recording.
  Gate second;
  block(a, second);
  ASSERT_CUDA(cuda().cuEventRecord(e, a));
  gate.open = true;
  EXPECT_CUDA(cuda().cuStreamSynchronize(b));
  EXPECT_EQ(order(), (std::vector<int>{1, 2}));
  second.open = true;
  EXPECT_CUDA(cuda().cuEventSynchronize(e));
  ASSERT_CUDA(cuda().cuEventDestroy_v2(e));
  EXPECT_EQ(cuda().cuEventDestroy_v2(e), CUDA_ERROR_INVALID_HANDLE);
}

TEST_F(Streams, ElapsedTimeIsModelledAndAdditive) {
  CUevent e[3];
  for (auto& x : e) ASSERT_CUDA(cuda().cuEventCreate(&x, 0));
  CUdeviceptr p = 0;
  ASSERT_CUDA(cuda().cuMemAlloc_v2(&p, 64 << 20));
  const CUstream s = create();
  float ms = -1;
  EXPECT_EQ(cuda().cuEventElapsedTime(&ms, e[0], e[1]), CUDA_ERROR_INVALID_HANDLE) << "not recorded";
  ASSERT_CUDA(cuda().cuEventRecord(e[0], s));
  ASSERT_CUDA(cuda().cuMemsetD32Async(p, 1, 1 << 20, s));
  ASSERT_CUDA(cuda().cuEventRecord(e[1], s));
  ASSERT_CUDA(cuda().cuMemsetD32Async(p, 1, 16 << 20, s));
  ASSERT_CUDA(cuda().cuEventRecord(e[2], s));
  ASSERT_CUDA(cuda().cuStreamSynchronize(s));
  float first = 0, second = 0, both = 0, again = 0;
  ASSERT_CUDA(cuda().cuEventElapsedTime(&first, e[0], e[1]));
  ASSERT_CUDA(cuda().cuEventElapsedTime_v2(&second, e[1], e[2]));
  ASSERT_CUDA(cuda().cuEventElapsedTime(&both, e[0], e[2]));
  EXPECT_GT(first, 0);
  EXPECT_GT(second, 2 * first) << "sixteen times the bytes";
  EXPECT_NEAR(both, first + second, 1e-6);
  ASSERT_CUDA(cuda().cuEventElapsedTime(&again, e[2], e[0]));
  EXPECT_NEAR(again, -both, 1e-6);
  CUevent untimed;
  ASSERT_CUDA(cuda().cuEventCreate(&untimed, CU_EVENT_DISABLE_TIMING));
  ASSERT_CUDA(cuda().cuEventRecord(untimed, s));
  EXPECT_REFUSED(cuda().cuEventElapsedTime(&ms, e[0], untimed), CUDA_ERROR_INVALID_HANDLE, "DISABLE_TIMING");
}

TEST_F(Streams, DestroyedStreamsFinishTheirWork) {
  const CUstream s = create();
  Gate gate;
  block(s, gate);
  mark(s, 1);
  ASSERT_CUDA(cuda().cuStreamDestroy_v2(s));
  EXPECT_EQ(cuda().cuStreamDestroy_v2(s), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_EQ(cuda().cuStreamQuery(s), CUDA_ERROR_INVALID_HANDLE);
  mark(nullptr, 2);  // the legacy stream still waits for it
  gate.open = true;
  EXPECT_CUDA(cuda().cuCtxSynchronize());
  EXPECT_EQ(order(), (std::vector<int>{1, 2}));
}

TEST_F(Streams, Callbacks) {
  static std::atomic<int> status;
  status = -1;
  ASSERT_CUDA(cuda().cuStreamAddCallback(
      nullptr, [](CUstream, CUresult r, void* p) { *static_cast<std::atomic<int>*>(p) = r; }, &status, 0));
  ASSERT_CUDA(cuda().cuStreamSynchronize(nullptr));
  EXPECT_EQ(status, 0);
}

TEST_F(Streams, WaitAndWriteValues) {
  CUdeviceptr p = 0;
  ASSERT_CUDA(cuda().cuMemAlloc_v2(&p, 16));
  ASSERT_CUDA(cuda().cuMemsetD8_v2(p, 0, 16));
  ASSERT_CUDA(cuda().cuCtxSynchronize());
  const CUstream a = create(CU_STREAM_NON_BLOCKING), b = create(CU_STREAM_NON_BLOCKING);
  ASSERT_CUDA(cuda().cuStreamWaitValue32_v2(a, p, 5, CU_STREAM_WAIT_VALUE_GEQ));
  mark(a, 1);
  mark(b, 2);
  ASSERT_CUDA(cuda().cuStreamWriteValue32_v2(b, p, 4, 0));
  ASSERT_CUDA(cuda().cuStreamSynchronize(b));
  EXPECT_EQ(cuda().cuStreamQuery(a), CUDA_ERROR_NOT_READY);
  ASSERT_CUDA(cuda().cuStreamWriteValue32_v2(b, p, 6, 0));
  ASSERT_CUDA(cuda().cuStreamSynchronize(a));
  EXPECT_EQ(order(), (std::vector<int>{2, 1}));
  EXPECT_REFUSED(cuda().cuStreamWriteValue64_v2(b, p + 4, 1, 0), CUDA_ERROR_INVALID_VALUE, "8 aligned bytes");
}

TEST_F(Streams, PropertiesAndAttributes) {
  CUstream s = nullptr;
  ASSERT_CUDA(cuda().cuStreamCreateWithPriority(&s, CU_STREAM_NON_BLOCKING, -3));
  int priority = 0;
  unsigned flags = 0;
  CUcontext c = nullptr;
  CUdevice d = 9;
  ASSERT_CUDA(cuda().cuStreamGetPriority(s, &priority));
  ASSERT_CUDA(cuda().cuStreamGetFlags(s, &flags));
  ASSERT_CUDA(cuda().cuStreamGetCtx(s, &c));
  ASSERT_CUDA(cuda().cuStreamGetDevice(s, &d));
  EXPECT_EQ(priority, -3);
  EXPECT_EQ(flags, unsigned{CU_STREAM_NON_BLOCKING});
  EXPECT_EQ(c, context_);
  EXPECT_EQ(d, 0);
  CUstreamAttrValue v{};
  ASSERT_CUDA(cuda().cuStreamGetAttribute(s, CU_LAUNCH_ATTRIBUTE_PRIORITY, &v));
  EXPECT_EQ(v.priority, -3);
  EXPECT_EQ(cuda().cuStreamGetAttribute(s, CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION, &v),
            CUDA_ERROR_INVALID_VALUE);
  EXPECT_REFUSED(cuda().cuStreamCreate(&s, 4), CUDA_ERROR_INVALID_VALUE, "flags");
  CUstreamCaptureStatus capture;
  ASSERT_CUDA(cuda().cuStreamIsCapturing(nullptr, &capture));
  EXPECT_EQ(capture, CU_STREAM_CAPTURE_STATUS_NONE);
}

TEST_F(Streams, ManyThreadsAtOnce) {
  std::vector<std::thread> threads;
  std::atomic<int> ran{0};
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      ASSERT_CUDA(cuda().cuCtxSetCurrent(context_));
      const CUstream s = create(t % 2);
      CUdeviceptr p = 0;
      for (int i = 0; i < 50; ++i) {
        ASSERT_CUDA(cuda().cuMemAllocAsync(&p, 1000 + i, s));
        ASSERT_CUDA(cuda().cuMemsetD8Async(p, 1, 1000, s));
        ASSERT_CUDA(cuda().cuLaunchHostFunc(
            s, [](void* n) { ++*static_cast<std::atomic<int>*>(n); }, &ran));
        ASSERT_CUDA(cuda().cuMemFreeAsync(p, s));
      }
      ASSERT_CUDA(cuda().cuStreamSynchronize(s));
    });
  for (auto& t : threads) t.join();
  EXPECT_EQ(ran, 200);
}

}  // namespace
}  // namespace ptxops::virt::test
