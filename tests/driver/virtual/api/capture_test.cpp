// Stream capture: what is captured, how streams fork and join in it, and every refusal.
#include <algorithm>
#include <chrono>
#include <functional>

#include "tests/driver/virtual/api/graph_fixture.h"

namespace ptxops::virt::test {
namespace {

using Capture = GraphTest;
using Edges = std::set<std::pair<size_t, size_t>>;

TEST_F(Capture, WorkRunsWhenLaunchedAndReadsTheInputsOfThen) {
  const uint32_t k = 7;
  uint32_t *in = nullptr, *out = nullptr;
  ASSERT_CUDA(cuda().cuMemHostAlloc(reinterpret_cast<void**>(&in), kCount * 4, 0));
  ASSERT_CUDA(cuda().cuMemHostAlloc(reinterpret_cast<void**>(&out), kCount * 4, 0));
  std::fill_n(out, kCount, 0xabababab);
  const CUdeviceptr x = memory(), y = memory(), copy = memory();
  std::atomic<int> calls{0};
  begin(stream_);
  EXPECT_EQ(status(stream_), CU_STREAM_CAPTURE_STATUS_ACTIVE);
  ASSERT_CUDA(cuda().cuMemcpyHtoDAsync_v2(x, in, kCount * 4, stream_));
  ASSERT_CUDA(cuda().cuMemsetD32Async(y, 5, kCount, stream_));
  ASSERT_CUDA(step(stream_, y, x, k));
  ASSERT_CUDA(cuda().cuMemcpyDtoDAsync_v2(copy, y, kCount * 4, stream_));
  ASSERT_CUDA(cuda().cuMemcpyDtoHAsync_v2(out, copy, kCount * 4, stream_));
  ASSERT_CUDA(cuda().cuLaunchHostFunc(
      stream_, [](void* p) { ++*static_cast<std::atomic<int>*>(p); }, &calls));
  const CUgraph g = end(stream_);
  EXPECT_EQ(status(stream_), CU_STREAM_CAPTURE_STATUS_NONE);
  EXPECT_EQ(types(g),
            (std::vector{CU_GRAPH_NODE_TYPE_MEMCPY, CU_GRAPH_NODE_TYPE_MEMSET, CU_GRAPH_NODE_TYPE_KERNEL,
                         CU_GRAPH_NODE_TYPE_MEMCPY, CU_GRAPH_NODE_TYPE_MEMCPY, CU_GRAPH_NODE_TYPE_HOST}));
  EXPECT_EQ(edges(g), (Edges{{0, 1}, {1, 2}, {2, 3}, {3, 4}, {4, 5}}));
  const CUgraphExec exec = instantiate(g);
  ASSERT_CUDA(cuda().cuGraphDestroy(g));  // the executable graph is complete
  EXPECT_CUDA(cuda().cuGraphUpload(exec, stream_));
  for (CUdeviceptr p : {x, y, copy}) EXPECT_EQ(read(p), std::vector<uint32_t>(kCount, 0xdeadbeef));
  EXPECT_EQ(calls, 0);
  for (int round = 1; round <= 3; ++round) {
    const auto values = random_values(round);
    std::copy(values.begin(), values.end(), in);
    ASSERT_CUDA(cuda().cuGraphLaunch(exec, stream_));
    ASSERT_CUDA(cuda().cuStreamSynchronize(stream_));
    EXPECT_EQ(std::vector<uint32_t>(out, out + kCount), stepped(std::vector<uint32_t>(kCount, 5), values, k));
    EXPECT_EQ(calls, round);
  }
  ASSERT_CUDA(cuda().cuGraphExecDestroy(exec));
  EXPECT_EQ(cuda().cuGraphLaunch(exec, stream_), CUDA_ERROR_INVALID_VALUE);
  ASSERT_CUDA(cuda().cuMemFreeHost(in));
  ASSERT_CUDA(cuda().cuMemFreeHost(out));
}

// Kernel arguments are values of the moment of capture; pageable host memory is what it holds when launched.
TEST_F(Capture, ParametersAreCopiedAndHostMemoryIsNot) {
  const auto a = random_values(1), b = random_values(2);
  const CUdeviceptr x = memory(), y = memory(a);
  std::vector<uint32_t> pageable(kCount, 1), result(kCount, 0);
  uint32_t k = 3, n = kCount;
  CUdeviceptr px = x, py = y;
  void* parameters[] = {&py, &px, &k, &n};
  begin(stream_);
  ASSERT_CUDA(cuda().cuMemcpyHtoDAsync_v2(x, pageable.data(), kCount * 4, stream_));
  ASSERT_CUDA(cuda().cuLaunchKernel(function("step"), 3, 1, 1, 128, 1, 1, 0, stream_, parameters, nullptr));
  ASSERT_CUDA(cuda().cuMemcpyDtoHAsync_v2(result.data(), y, kCount * 4, stream_));
  k = 1000, n = 0, px = 0, py = 0;
  const CUgraphExec exec = instantiate(end(stream_));
  pageable = b;
  ASSERT_CUDA(cuda().cuGraphLaunch(exec, stream_));
  ASSERT_CUDA(cuda().cuStreamSynchronize(stream_));
  EXPECT_EQ(result, stepped(a, b, 3));
}

TEST_F(Capture, ClusterAndProgrammaticLaunches) {
  const CUdeviceptr y = memory(16), z = memory(16);
  CUlaunchAttribute attributes[2] = {};
  attributes[0].id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
  attributes[0].value.clusterDim = {4, 1, 1};
  attributes[1].id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
  attributes[1].value.programmaticStreamSerializationAllowed = 1;
  CUlaunchConfig config{16, 1, 1, 32, 1, 1, 0, stream_, attributes, 2};
  begin(stream_);
  CUdeviceptr p = y;
  void* parameters[] = {&p};
  ASSERT_CUDA(cuda().cuMemsetD8Async(y, 0, 64, stream_));
  ASSERT_CUDA(cuda().cuLaunchKernelEx(&config, function("rank"), parameters, nullptr));
  p = z;
  ASSERT_CUDA(cuda().cuLaunchKernelEx(&config, function("rank"), parameters, nullptr));
  const CUgraph g = end(stream_);
  // Only the edge between the kernels is programmatic, and calls without edge data would lose that.
  size_t n = 2;
  CUgraphNode from[2], to[2];
  CUgraphEdgeData data[2];
  EXPECT_EQ(cuda().cuGraphGetEdges(g, from, to, &n), CUDA_ERROR_LOSSY_QUERY);
  ASSERT_CUDA(cuda().cuGraphGetEdges_v2(g, from, to, data, &n));
  ASSERT_EQ(n, 2u);
  EXPECT_EQ(data[0].type, CU_GRAPH_DEPENDENCY_TYPE_DEFAULT);
  EXPECT_EQ(data[1].type, CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC);
  EXPECT_EQ(data[1].from_port, kGraphKernelNodePortProgrammatic);
  const CUgraphExec exec = instantiate(g);
  ASSERT_CUDA(cuda().cuGraphLaunch(exec, stream_));
  for (CUdeviceptr array : {y, z}) {
    const auto ranks = read(array, 16);
    for (uint32_t i = 0; i < 16; ++i) EXPECT_EQ(ranks[i], 400 + i % 4);
  }
}

TEST_F(Capture, StreamsForkAndJoinByEvents) {
  const auto a = random_values(1), b = random_values(2), c = random_values(3);
  const CUdeviceptr x = memory(a), y = memory(b), z = memory(c);
  const CUstream side = create();
  const CUevent fork = event(), join = event();
  begin(stream_);
  ASSERT_CUDA(step(stream_, y, x, 3));  // 0
  ASSERT_CUDA(cuda().cuEventRecord(fork, stream_));
  ASSERT_CUDA(cuda().cuStreamWaitEvent(side, fork, 0));
  EXPECT_EQ(status(side), CU_STREAM_CAPTURE_STATUS_ACTIVE);
  ASSERT_CUDA(step(side, z, y, 5));     // 1
  ASSERT_CUDA(step(stream_, x, y, 7));  // 2
  ASSERT_CUDA(cuda().cuEventRecord(join, side));
  ASSERT_CUDA(cuda().cuStreamWaitEvent(stream_, join, 0));
  ASSERT_CUDA(step(stream_, x, z, 11));  // 3
  const CUgraph g = end(stream_);
  EXPECT_EQ(status(side), CU_STREAM_CAPTURE_STATUS_NONE);
  EXPECT_EQ(edges(g), (Edges{{0, 1}, {0, 2}, {1, 3}, {2, 3}}));
  const CUgraphExec exec = instantiate(g);
  ASSERT_CUDA(cuda().cuGraphLaunch(exec, stream_));
  const auto y1 = stepped(b, a, 3), z1 = stepped(c, y1, 5);
  EXPECT_EQ(read(y), y1);
  EXPECT_EQ(read(z), z1);
  EXPECT_EQ(read(x), stepped(stepped(a, y1, 7), z1, 11));
}

// Branches of a graph run at the same time: each waits for the other's first half.
TEST_F(Capture, BranchesAreIndependent) {
  const CUstream side = create();
  const CUevent fork = event(), join = event();
  static std::atomic<int> arrived;
  arrived = 0;
  const CUhostFn meet = [](void*) {
    ++arrived;
    while (arrived < 2) sched_yield();
  };
  begin(stream_);
  ASSERT_CUDA(cuda().cuEventRecord(fork, stream_));  // before any node: the branches have no common root
  ASSERT_CUDA(cuda().cuStreamWaitEvent(side, fork, 0));
  ASSERT_CUDA(cuda().cuLaunchHostFunc(side, meet, nullptr));
  ASSERT_CUDA(cuda().cuLaunchHostFunc(stream_, meet, nullptr));
  ASSERT_CUDA(cuda().cuEventRecord(join, side));
  ASSERT_CUDA(cuda().cuStreamWaitEvent(stream_, join, 0));
  const CUgraphExec exec = instantiate(end(stream_));
  ASSERT_CUDA(cuda().cuGraphLaunch(exec, stream_));
  ASSERT_CUDA(cuda().cuStreamSynchronize(stream_));
  EXPECT_EQ(arrived, 2);
}

TEST_F(Capture, UnjoinedWorkIsRefused) {
  const CUdeviceptr x = memory(), y = memory();
  const CUstream side = create();
  const CUevent fork = event();
  begin(stream_);
  ASSERT_CUDA(cuda().cuEventRecord(fork, stream_));
  ASSERT_CUDA(cuda().cuStreamWaitEvent(side, fork, 0));
  ASSERT_CUDA(step(side, y, x, 5));
  CUgraph g = reinterpret_cast<CUgraph>(1);
  EXPECT_REFUSED(cuda().cuStreamEndCapture(stream_, &g), CUDA_ERROR_STREAM_CAPTURE_UNJOINED, "does not wait");
  EXPECT_EQ(g, nullptr);
  EXPECT_EQ(status(side), CU_STREAM_CAPTURE_STATUS_NONE);
  EXPECT_EQ(read(y), std::vector<uint32_t>(kCount, 0xdeadbeef));
}

TEST_F(Capture, DependenciesDoNotCrossItsBoundary) {
  const CUstream other = create();
  const CUevent outside = event(), never = event();
  ASSERT_CUDA(cuda().cuEventRecord(outside, other));
  begin(stream_);
  ASSERT_CUDA(cuda().cuStreamWaitEvent(stream_, never, 0)) << "never recorded: complete";
  EXPECT_REFUSED(cuda().cuStreamWaitEvent(stream_, outside, 0), CUDA_ERROR_STREAM_CAPTURE_ISOLATION,
                 "outside capture");
  expect_invalid(stream_);
}

TEST_F(Capture, SequencesDoNotMerge) {
  const CUstream other = create();
  const CUevent e = event();
  begin(stream_);
  begin(other);
  ASSERT_CUDA(cuda().cuEventRecord(e, other));
  EXPECT_EQ(cuda().cuStreamWaitEvent(stream_, e, 0), CUDA_ERROR_STREAM_CAPTURE_MERGE);
  expect_invalid(stream_);
  expect_invalid(other);
}

TEST_F(Capture, EndsWhereItBegan) {
  const CUstream side = create();
  const CUevent e = event();
  CUgraph g = nullptr;
  EXPECT_EQ(cuda().cuStreamEndCapture(stream_, &g), CUDA_ERROR_ILLEGAL_STATE);
  EXPECT_EQ(cuda().cuStreamBeginCapture_v2(nullptr, CU_STREAM_CAPTURE_MODE_GLOBAL),
            CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED)
      << "the legacy stream";
  EXPECT_EQ(cuda().cuStreamBeginCapture_v2(stream_, static_cast<CUstreamCaptureMode>(3)),
            CUDA_ERROR_INVALID_VALUE);
  ASSERT_CUDA(cuda().cuStreamBeginCapture(stream_));
  EXPECT_EQ(cuda().cuStreamBeginCapture(stream_), CUDA_ERROR_ILLEGAL_STATE);
  std::thread([&] {
    ASSERT_CUDA(cuda().cuCtxSetCurrent(context_));
    EXPECT_REFUSED(cuda().cuStreamEndCapture(stream_, &g), CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD, "thread");
  }).join();
  ASSERT_CUDA(cuda().cuGraphDestroy(end(stream_)));

  begin(stream_, CU_STREAM_CAPTURE_MODE_RELAXED);
  std::thread([&] {
    ASSERT_CUDA(cuda().cuCtxSetCurrent(context_));
    end(stream_);
  }).join();

  begin(stream_);
  ASSERT_CUDA(cuda().cuEventRecord(e, stream_));
  ASSERT_CUDA(cuda().cuStreamWaitEvent(side, e, 0));
  EXPECT_EQ(cuda().cuStreamEndCapture(side, &g), CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
  expect_invalid(stream_);
}

TEST_F(Capture, WaitingAndAskingAreRefused) {
  const CUevent e = event();
  using Call = std::function<CUresult()>;
  const std::pair<const char*, Call> calls[] = {
      {"cuStreamSynchronize", [&] { return cuda().cuStreamSynchronize(stream_); }},
      {"cuStreamQuery", [&] { return cuda().cuStreamQuery(stream_); }},
      {"cuCtxSynchronize", [&] { return cuda().cuCtxSynchronize(); }},
      {"cuCtxSynchronize", [&] { return cuda().cuCtxSynchronize_v2(context_); }},
      {"cuCtxRecordEvent", [&] { return cuda().cuCtxRecordEvent(context_, e); }},
      {"cuStreamAddCallback",
       [&] {
         return cuda().cuStreamAddCallback(
             stream_, [](CUstream, CUresult, void*) {}, nullptr, 0);
       }},
  };
  for (const auto& [name, call] : calls) {
    begin(stream_, CU_STREAM_CAPTURE_MODE_RELAXED);
    EXPECT_REFUSED(call(), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, name);
    expect_invalid(stream_);
  }
  const std::pair<const char*, Call> of_event[] = {
      {"cuEventQuery", [&] { return cuda().cuEventQuery(e); }},
      {"cuEventSynchronize", [&] { return cuda().cuEventSynchronize(e); }},
  };
  for (const auto& [name, call] : of_event) {
    begin(stream_, CU_STREAM_CAPTURE_MODE_RELAXED);
    ASSERT_CUDA(cuda().cuEventRecord(e, stream_));
    EXPECT_REFUSED(call(), CUDA_ERROR_CAPTURED_EVENT, name);
    expect_invalid(stream_);
    EXPECT_EQ(call(), CUDA_ERROR_CAPTURED_EVENT) << "until it is recorded again";
    EXPECT_EQ(cuda().cuStreamWaitEvent(stream_, e, 0), CUDA_ERROR_CAPTURED_EVENT);
    ASSERT_CUDA(cuda().cuEventRecord(e, stream_));
    ASSERT_CUDA(cuda().cuEventSynchronize(e));
  }
}

TEST_F(Capture, LegacyStreamIsUnusableWhileABlockingStreamCaptures) {
  const CUstream blocking = create(CU_STREAM_DEFAULT);
  const CUdeviceptr x = memory(), y = memory();
  uint32_t word = 0;
  using Call = std::function<CUresult()>;
  const std::pair<const char*, Call> calls[] = {
      {"launch", [&] { return step(nullptr, y, x, 2); }},
      {"copy", [&] { return cuda().cuMemcpyDtoH_v2(&word, x, 4); }},
      {"memset", [&] { return cuda().cuMemsetD8Async(x, 0, 4, nullptr); }},
      {"synchronize", [&] { return cuda().cuStreamSynchronize(nullptr); }},
      {"query", [&] { return cuda().cuStreamQuery(legacy_stream()); }},
  };
  for (const auto& [name, call] : calls) {
    begin(blocking, CU_STREAM_CAPTURE_MODE_RELAXED);
    auto state = static_cast<CUstreamCaptureStatus>(9);
    EXPECT_EQ(cuda().cuStreamIsCapturing(nullptr, &state), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
    EXPECT_EQ(cuda().cuStreamGetCaptureInfo(nullptr, &state, nullptr), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
    EXPECT_EQ(status(blocking), CU_STREAM_CAPTURE_STATUS_ACTIVE) << "asking invalidates nothing";
    EXPECT_EQ(call(), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT) << name;
    expect_invalid(blocking);
  }
  // A non-blocking stream's capture does not concern the legacy stream.
  begin(stream_);
  EXPECT_CUDA(step(nullptr, y, x, 2));
  EXPECT_CUDA(cuda().cuStreamSynchronize(nullptr));
  EXPECT_EQ(status(nullptr), CU_STREAM_CAPTURE_STATUS_NONE);
  end(stream_);
}

// Which thread may still allocate, by the mode of the capture and of the thread.
TEST_F(Capture, UnsafeCallsByMode) {
  const auto global = CU_STREAM_CAPTURE_MODE_GLOBAL, local = CU_STREAM_CAPTURE_MODE_THREAD_LOCAL,
             relaxed = CU_STREAM_CAPTURE_MODE_RELAXED;
  struct Case {
    CUstreamCaptureMode capture, thread;
    bool same_thread, allowed;
  };
  const Case cases[] = {
      {global, global, true, false},  {global, local, true, false},   {global, relaxed, true, true},
      {local, global, true, false},   {local, local, true, false},    {local, relaxed, true, true},
      {relaxed, global, true, true},  {relaxed, local, true, true},   {relaxed, relaxed, true, true},
      {global, global, false, false}, {global, local, false, true},   {global, relaxed, false, true},
      {local, global, false, true},   {local, local, false, true},    {local, relaxed, false, true},
      {relaxed, global, false, true}, {relaxed, relaxed, false, true}};
  for (const Case& c : cases) {
    SCOPED_TRACE(testing::Message() << "capture " << c.capture << ", thread " << c.thread
                                    << (c.same_thread ? ", same" : ", other"));
    begin(stream_, c.capture);
    const auto allocate = [&] {
      ASSERT_CUDA(cuda().cuCtxSetCurrent(context_));
      CUstreamCaptureMode mode = c.thread;
      ASSERT_CUDA(cuda().cuThreadExchangeStreamCaptureMode(&mode));
      CUdeviceptr p = 0;
      if (c.allowed) {
        EXPECT_CUDA(cuda().cuMemAlloc_v2(&p, 64));
      } else {
        EXPECT_REFUSED(cuda().cuMemAlloc_v2(&p, 64), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "cuMemAlloc");
      }
      ASSERT_CUDA(cuda().cuThreadExchangeStreamCaptureMode(&mode));
      EXPECT_EQ(mode, c.thread);
    };
    if (c.same_thread)
      allocate();
    else
      std::thread(allocate).join();
    if (c.allowed) {
      ASSERT_CUDA(cuda().cuGraphDestroy(end(stream_)));
    } else {
      expect_invalid(stream_);
    }
  }
}

TEST_F(Capture, TheUnsafeCalls) {
  const CUevent e = event();
  ASSERT_CUDA(cuda().cuEventRecord(e, nullptr));
  const CUdeviceptr x = memory();
  void* pinned = nullptr;
  ASSERT_CUDA(cuda().cuMemHostAlloc(&pinned, 64, 0));
  std::vector<char> host(8192);
  uint32_t word = 0;
  CUmodule m = nullptr;
  using Call = std::function<CUresult()>;
  const Call calls[] = {
      [&] { return cuda().cuMemFree_v2(x); },
      [&] { return cuda().cuMemAllocHost_v2(&pinned, 64); },
      [&] { return cuda().cuMemFreeHost(pinned); },
      [&] { return cuda().cuMemHostRegister_v2(host.data(), 4096, 0); },
      [&] { return cuda().cuMemHostUnregister(host.data()); },
      [&] { return cuda().cuMemcpyDtoH_v2(&word, x, 4); },
      [&] { return cuda().cuMemsetD32_v2(x, 0, 1); },
      [&] { return cuda().cuEventQuery(e); },
      [&] { return cuda().cuEventSynchronize(e); },
      [&] { return cuda().cuModuleLoadData(&m, kGraphPtx); },
      [&] { return cuda().cuModuleUnload(module_); },
  };
  for (size_t i = 0; i < std::size(calls); ++i) {
    begin(stream_);
    EXPECT_EQ(calls[i](), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED) << "call " << i;
    expect_invalid(stream_);
  }
  ASSERT_CUDA(cuda().cuMemFreeHost(pinned)) << "nothing was freed by the refused call";
}

TEST_F(Capture, WhatNoGraphHoldsIsRefused) {
  const CUdeviceptr x = memory();
  const CUgraphExec empty = [&] {
    CUgraph g = nullptr;
    EXPECT_CUDA(cuda().cuGraphCreate(&g, 0));
    return instantiate(g);
  }();
  CUdeviceptr p = 0;
  using Call = std::function<CUresult()>;
  const Call calls[] = {[&] { return cuda().cuMemAllocAsync(&p, 64, stream_); },
                        [&] { return cuda().cuMemFreeAsync(x, stream_); },
                        [&] { return cuda().cuStreamWriteValue32_v2(stream_, x, 1, 0); },
                        [&] { return cuda().cuStreamWaitValue32_v2(stream_, x, 1, 0); },
                        [&] { return cuda().cuGraphLaunch(empty, stream_); }};
  for (size_t i = 0; i < std::size(calls); ++i) {
    begin(stream_);
    SCOPED_TRACE(i);
    EXPECT_REFUSED(calls[i](), CUDA_ERROR_NOT_SUPPORTED, "cannot be captured");
    expect_invalid(stream_);
  }
}

TEST_F(Capture, ExternalEventsAreNodes) {
  const CUstream other = create();
  const CUevent done = event(), ready = event();
  const CUdeviceptr x = memory(random_values(1)), y = memory(random_values(2));
  EXPECT_EQ(cuda().cuEventRecordWithFlags(done, stream_, CU_EVENT_RECORD_EXTERNAL), CUDA_ERROR_INVALID_VALUE);
  begin(stream_);
  ASSERT_CUDA(cuda().cuStreamWaitEvent(stream_, ready, CU_EVENT_WAIT_EXTERNAL));
  ASSERT_CUDA(step(stream_, y, x, 2));
  ASSERT_CUDA(cuda().cuEventRecordWithFlags(done, stream_, CU_EVENT_RECORD_EXTERNAL));
  const CUgraph g = end(stream_);
  EXPECT_EQ(types(g), (std::vector{CU_GRAPH_NODE_TYPE_WAIT_EVENT, CU_GRAPH_NODE_TYPE_KERNEL,
                                   CU_GRAPH_NODE_TYPE_EVENT_RECORD}));
  const CUgraphExec exec = instantiate(g);
  Gate gate;
  ASSERT_CUDA(cuda().cuLaunchHostFunc(other, Gate::wait, &gate));
  ASSERT_CUDA(cuda().cuEventRecord(ready, other));
  ASSERT_CUDA(cuda().cuGraphLaunch(exec, stream_));
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // time for what waits for nothing
  EXPECT_EQ(cuda().cuEventQuery(done), CUDA_ERROR_NOT_READY) << "recorded by the launch, behind the gate";
  gate.open = true;
  EXPECT_CUDA(cuda().cuEventSynchronize(done));
  EXPECT_EQ(read(y), stepped(random_values(2), random_values(1), 2));
}

TEST_F(Capture, InfoAndDependenciesOfAStream) {
  const CUdeviceptr x = memory(), y = memory();
  auto state = static_cast<CUstreamCaptureStatus>(9);
  cuuint64_t id = 0, again = 0;
  CUgraph g = nullptr;
  const CUgraphNode* current = nullptr;
  const CUgraphEdgeData* data = nullptr;
  size_t n = 9;
  ASSERT_CUDA(cuda().cuStreamGetCaptureInfo_v3(stream_, &state, &id, &g, &current, &data, &n));
  EXPECT_EQ(state, CU_STREAM_CAPTURE_STATUS_NONE);
  EXPECT_EQ(cuda().cuStreamUpdateCaptureDependencies(stream_, nullptr, 0, 0), CUDA_ERROR_ILLEGAL_STATE);
  begin(stream_);
  ASSERT_CUDA(step(stream_, y, x, 2));
  ASSERT_CUDA(cuda().cuStreamGetCaptureInfo_v2(stream_, &state, &id, &g, &current, &n));
  EXPECT_EQ(state, CU_STREAM_CAPTURE_STATUS_ACTIVE);
  ASSERT_CUDA(cuda().cuStreamGetCaptureInfo(stream_, &state, &again));
  EXPECT_EQ(id, again);
  ASSERT_EQ(n, 1u);
  const CUgraphNode kernel = current[0];
  EXPECT_EQ(nodes(g), std::vector{kernel});
  EXPECT_EQ(cuda().cuGraphDestroy(g), CUDA_ERROR_INVALID_VALUE) << "while it is captured";
  // A node added by hand between two captured ones.
  CUgraphNode join = nullptr;
  ASSERT_CUDA(cuda().cuGraphAddEmptyNode(&join, g, current, n));
  ASSERT_CUDA(
      cuda().cuStreamUpdateCaptureDependencies(stream_, &join, 1, CU_STREAM_SET_CAPTURE_DEPENDENCIES));
  ASSERT_CUDA(step(stream_, y, x, 2));
  CUgraphEdgeData programmatic{};
  programmatic.type = CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC;
  programmatic.from_port = kGraphKernelNodePortProgrammatic;
  CUgraphNode first = kernel;
  ASSERT_CUDA(cuda().cuStreamUpdateCaptureDependencies_v2(stream_, &first, &programmatic, 1,
                                                          CU_STREAM_ADD_CAPTURE_DEPENDENCIES));
  EXPECT_EQ(cuda().cuStreamGetCaptureInfo_v2(stream_, &state, nullptr, nullptr, &current, &n),
            CUDA_ERROR_LOSSY_QUERY);
  ASSERT_CUDA(cuda().cuStreamGetCaptureInfo_v3(stream_, &state, nullptr, nullptr, &current, &data, &n));
  ASSERT_EQ(n, 2u);
  EXPECT_EQ(data[1].type, CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC);
  EXPECT_EQ(end(stream_), g);
  EXPECT_EQ(edges(g), (Edges{{0, 1}, {1, 2}}));
  begin(stream_);
  ASSERT_CUDA(cuda().cuStreamGetCaptureInfo(stream_, &state, &again));
  EXPECT_NE(id, again);
  EXPECT_EQ(cuda().cuStreamUpdateCaptureDependencies(stream_, &first, 1, 0), CUDA_ERROR_INVALID_VALUE)
      << "a node of another graph";
  end(stream_);
}

TEST_F(Capture, OfThePerThreadDefaultStream) {
  const CUdeviceptr x = memory(random_values(1)), y = memory(random_values(2));
  const auto begin_own =
      reinterpret_cast<Fn_cuStreamBeginCapture_v2>(dlsym(cuda().library, "cuStreamBeginCapture_v2_ptsz"));
  const auto end_own =
      reinterpret_cast<Fn_cuStreamEndCapture>(dlsym(cuda().library, "cuStreamEndCapture_ptsz"));
  ASSERT_CUDA(begin_own(nullptr, CU_STREAM_CAPTURE_MODE_RELAXED));
  EXPECT_EQ(status(per_thread_stream()), CU_STREAM_CAPTURE_STATUS_ACTIVE);
  ASSERT_CUDA(step(per_thread_stream(), y, x, 2));
  // A synchronous copy in that stream.
  const auto copy_own = reinterpret_cast<Fn_cuMemcpyDtoH_v2>(dlsym(cuda().library, "cuMemcpyDtoH_v2_ptds"));
  uint32_t word = 0;
  CUgraph g = nullptr;
  EXPECT_EQ(copy_own(&word, x, 4), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  EXPECT_EQ(end_own(nullptr, &g), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  ASSERT_CUDA(begin_own(nullptr, CU_STREAM_CAPTURE_MODE_RELAXED));
  ASSERT_CUDA(step(per_thread_stream(), y, x, 2));
  ASSERT_CUDA(end_own(nullptr, &g));
  ASSERT_CUDA(cuda().cuGraphLaunch(instantiate(g), per_thread_stream()));
  EXPECT_EQ(read(y), stepped(random_values(2), random_values(1), 2));
}

TEST_F(Capture, DestroyedStreamsEndOrInvalidateIt) {
  const CUstream origin = create(), side = create();
  const CUevent e = event();
  begin(origin);
  ASSERT_CUDA(cuda().cuEventRecord(e, origin));
  ASSERT_CUDA(cuda().cuStreamWaitEvent(side, e, 0));
  ASSERT_CUDA(cuda().cuStreamDestroy_v2(side));
  expect_invalid(origin);
  begin(origin);
  ASSERT_CUDA(cuda().cuEventRecord(e, origin));
  ASSERT_CUDA(cuda().cuStreamWaitEvent(stream_, e, 0));
  ASSERT_CUDA(cuda().cuStreamDestroy_v2(origin));
  EXPECT_EQ(status(stream_), CU_STREAM_CAPTURE_STATUS_NONE);
  CUdeviceptr p = 0;
  EXPECT_CUDA(cuda().cuMemAlloc_v2(&p, 64)) << "no capture is left";
}

// The context of a test below dies while a stream of it captures; nothing of that reaches other contexts.
TEST_F(Capture, DestroyedContextsEndIt) {
  CUcontext c = nullptr;
  CUstream s = nullptr;
  ASSERT_CUDA(cuda().cuCtxCreate_v2(&c, 0, 0));
  ASSERT_CUDA(cuda().cuStreamCreate(&s, 0));
  begin(s);
  ASSERT_CUDA(cuda().cuCtxDestroy_v2(c));
  CUdeviceptr p = 0;
  EXPECT_CUDA(cuda().cuMemAlloc_v2(&p, 64));
}

}  // namespace
}  // namespace ptxops::virt::test
