// Graphs made by hand, executable graphs, and changing them.
#include <algorithm>
#include <chrono>
#include <numeric>
#include <random>

#include "tests/driver/virtual/api/graph_fixture.h"

namespace ptxops::virt::test {
namespace {

class Graphs : public GraphTest {
 protected:
  void SetUp() override {
    GraphTest::SetUp();
    ASSERT_CUDA(cuda().cuGraphCreate(&graph_, 0));
  }
  struct KernelNode {
    CUdeviceptr y, x;
    uint32_t k, n = kCount;
    void* parameters[4] = {&y, &x, &k, &n};
    CUDA_KERNEL_NODE_PARAMS params{};
    KernelNode(CUfunction f, CUdeviceptr y, CUdeviceptr x, uint32_t k) : y(y), x(x), k(k) {
      params.func = f;
      params.gridDimX = 3, params.gridDimY = params.gridDimZ = 1;
      params.blockDimX = 128, params.blockDimY = params.blockDimZ = 1;
      params.kernelParams = parameters;
    }
    KernelNode(const KernelNode&) = delete;
  };
  CUgraphNode add_step(CUgraph g, const std::vector<CUgraphNode>& after, CUdeviceptr y, CUdeviceptr x,
                       uint32_t k) {
    KernelNode node(function("step"), y, x, k);
    CUgraphNode out = nullptr;
    EXPECT_CUDA(cuda().cuGraphAddKernelNode_v2(&out, g, after.data(), after.size(), &node.params));
    return out;
  }
  CUDA_MEMCPY3D copy(CUdeviceptr to, CUdeviceptr from) {
    CUDA_MEMCPY3D c{};
    c.srcMemoryType = c.dstMemoryType = CU_MEMORYTYPE_DEVICE;
    c.srcDevice = from, c.dstDevice = to;
    c.WidthInBytes = kCount * 4, c.Height = c.Depth = 1;
    return c;
  }
  void run(CUgraphExec e) {
    ASSERT_CUDA(cuda().cuGraphLaunch(e, stream_));
    ASSERT_CUDA(cuda().cuStreamSynchronize(stream_));
  }
  CUgraph graph_ = nullptr;
};

TEST_F(Graphs, MadeByHand) {
  const auto a = random_values(1), b = random_values(2);
  const CUdeviceptr x = memory(a), y = memory(b), z = memory();
  static std::atomic<int> calls;
  calls = 0;
  CUgraphNode set = nullptr, copied = nullptr, host = nullptr, empty = nullptr;
  const CUDA_MEMSET_NODE_PARAMS fill{z, 0, 77, 4, 10, 1};
  ASSERT_CUDA(cuda().cuGraphAddMemsetNode(&set, graph_, nullptr, 0, &fill, context_));
  const CUgraphNode kernel = add_step(graph_, {}, y, x, 9);
  const CUgraphNode both[] = {set, kernel};
  ASSERT_CUDA(cuda().cuGraphAddEmptyNode(&empty, graph_, both, 2));
  CUDA_MEMCPY3D c = copy(z + 40, y + 40);
  c.WidthInBytes = kCount * 4 - 40;
  ASSERT_CUDA(cuda().cuGraphAddMemcpyNode(&copied, graph_, &empty, 1, &c, context_));
  const CUDA_HOST_NODE_PARAMS call{[](void*) { ++calls; }, nullptr};
  ASSERT_CUDA(cuda().cuGraphAddHostNode(&host, graph_, nullptr, 0, &call));
  ASSERT_CUDA(cuda().cuGraphAddDependencies(graph_, &copied, &host, 1));
  EXPECT_EQ(types(graph_),
            (std::vector{CU_GRAPH_NODE_TYPE_MEMSET, CU_GRAPH_NODE_TYPE_KERNEL, CU_GRAPH_NODE_TYPE_EMPTY,
                         CU_GRAPH_NODE_TYPE_MEMCPY, CU_GRAPH_NODE_TYPE_HOST}));
  EXPECT_EQ(edges(graph_), (std::set<std::pair<size_t, size_t>>{{0, 2}, {1, 2}, {2, 3}, {3, 4}}));
  CUgraphNode roots[5];
  size_t n = 5;
  ASSERT_CUDA(cuda().cuGraphGetRootNodes(graph_, roots, &n));
  ASSERT_EQ(n, 2u);
  EXPECT_EQ(roots[0], set);
  EXPECT_EQ(roots[1], kernel);
  EXPECT_EQ(roots[4], nullptr) << "what is left over becomes null";
  n = 5;
  ASSERT_CUDA(cuda().cuGraphNodeGetDependencies(empty, roots, &n));
  EXPECT_EQ(n, 2u);
  n = 5;
  ASSERT_CUDA(cuda().cuGraphNodeGetDependentNodes(empty, roots, &n));
  ASSERT_EQ(n, 1u);
  EXPECT_EQ(roots[0], copied);

  run(instantiate(graph_));
  auto expected = stepped(b, a, 9);
  EXPECT_EQ(read(y), expected);
  std::fill_n(expected.begin(), 10, 77);
  EXPECT_EQ(read(z), expected);
  EXPECT_EQ(calls, 1);
}

// Random graphs of nodes that do not commute, half of them slow host functions, each launched with other
// inputs, against the same on the host.
TEST_F(Graphs, RandomGraphsComputeWhatTheirEdgesSay) {
  constexpr size_t kNodes = 60;
  struct Plan {
    volatile uint32_t* words;
    size_t out, p, q;
    uint32_t c, microseconds;
  };
  const CUhostFn slow_combine = [](void* argument) {
    const Plan& n = *static_cast<Plan*>(argument);
    std::this_thread::sleep_for(std::chrono::microseconds(n.microseconds));
    n.words[n.out] = 3 * n.words[n.p] + 5 * n.words[n.q] + n.c;
  };
  uint32_t* words = nullptr;  // two inputs, then each node's result
  ASSERT_CUDA(cuda().cuMemHostAlloc(reinterpret_cast<void**>(&words), (kNodes + 2) * 4, 0));
  const auto address = [&](size_t i) { return reinterpret_cast<CUdeviceptr>(words + i); };
  for (uint64_t round = 0; round < 4; ++round) {
    auto random = random_engine(100 + round);
    CUgraph g = nullptr;
    ASSERT_CUDA(cuda().cuGraphCreate(&g, 0));
    std::vector<Plan> plan;
    for (size_t i = 0; i < kNodes; ++i)
      plan.push_back({words, i + 2, random() % (i + 2), random() % (i + 2), static_cast<uint32_t>(random()),
                      static_cast<uint32_t>(random() % 200)});
    // Made in another order than they must run in.
    std::vector<size_t> order(kNodes);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random);
    std::vector<CUgraphNode> made(kNodes), from, to;
    for (const size_t i : order) {
      CUdeviceptr out = address(i + 2), p = address(plan[i].p), q = address(plan[i].q);
      void* parameters[] = {&out, &p, &q, &plan[i].c};
      const CUDA_KERNEL_NODE_PARAMS_v1 kernel{function("combine"), 1, 1, 1, 1, 1, 1, 0, parameters, nullptr};
      const CUDA_HOST_NODE_PARAMS call{slow_combine, &plan[i]};
      if (random() % 2) {
        ASSERT_CUDA(cuda().cuGraphAddKernelNode(&made[i], g, nullptr, 0, &kernel));
      } else {
        ASSERT_CUDA(cuda().cuGraphAddHostNode(&made[i], g, nullptr, 0, &call));
      }
    }
    for (size_t i = 0; i < kNodes; ++i)
      for (const size_t j : std::set<size_t>{plan[i].p, plan[i].q})
        if (j >= 2) from.push_back(made[j - 2]), to.push_back(made[i]);
    ASSERT_CUDA(cuda().cuGraphAddDependencies(g, from.data(), to.data(), from.size()));
    const CUgraphExec exec = instantiate(g);
    for (int launch = 0; launch < 3; ++launch) {
      std::vector<uint32_t> expected(kNodes + 2, 0xdeadbeef);
      expected[0] = static_cast<uint32_t>(random()), expected[1] = static_cast<uint32_t>(random());
      std::copy(expected.begin(), expected.end(), words);
      run(exec);
      for (size_t i = 0; i < kNodes; ++i)
        expected[i + 2] = 3 * expected[plan[i].p] + 5 * expected[plan[i].q] + plan[i].c;
      EXPECT_EQ(std::vector<uint32_t>(words, words + kNodes + 2), expected);
    }
  }
  ASSERT_CUDA(cuda().cuMemFreeHost(words));
}

TEST_F(Graphs, ALaunchIsOneStepOfItsStream) {
  const auto a = random_values(1);
  const CUdeviceptr x = memory(a), y = memory();
  CUgraphNode wait = nullptr;
  Gate gate;
  const CUDA_HOST_NODE_PARAMS call{Gate::wait, &gate};
  ASSERT_CUDA(cuda().cuGraphAddHostNode(&wait, graph_, nullptr, 0, &call));
  add_step(graph_, {wait}, y, x, 3);
  const CUgraphExec exec = instantiate(graph_);
  ASSERT_CUDA(cuda().cuMemsetD32Async(y, 1, kCount, stream_));
  ASSERT_CUDA(cuda().cuGraphLaunch(exec, stream_));
  ASSERT_CUDA(step(stream_, y, x, 5));
  while (!gate.entered) sched_yield();
  EXPECT_EQ(cuda().cuStreamQuery(stream_), CUDA_ERROR_NOT_READY);
  ASSERT_CUDA(cuda().cuGraphExecDestroy(exec));  // what was launched goes on
  gate.open = true;
  EXPECT_EQ(read(y), stepped(stepped(std::vector<uint32_t>(kCount, 1), a, 3), a, 5));
}

// Launches of one executable graph never overlap, in whatever streams.
TEST_F(Graphs, ALaunchWaitsForTheLastOne) {
  struct Count {
    std::atomic<int> running{0}, most{0}, launches{0};
  } count;
  CUgraphNode enter = nullptr, pause = nullptr, leave = nullptr;
  CUDA_HOST_NODE_PARAMS call{[](void* p) {
                               auto* c = static_cast<Count*>(p);
                               c->most = std::max<int>(c->most, ++c->running);
                             },
                             &count};
  ASSERT_CUDA(cuda().cuGraphAddHostNode(&enter, graph_, nullptr, 0, &call));
  call.fn = [](void*) { std::this_thread::sleep_for(std::chrono::milliseconds(2)); };
  ASSERT_CUDA(cuda().cuGraphAddHostNode(&pause, graph_, &enter, 1, &call));
  call.fn = [](void* p) {
    auto* c = static_cast<Count*>(p);
    --c->running, ++c->launches;
  };
  ASSERT_CUDA(cuda().cuGraphAddHostNode(&leave, graph_, &pause, 1, &call));
  const CUgraphExec exec = instantiate(graph_);
  for (int i = 0; i < 8; ++i) ASSERT_CUDA(cuda().cuGraphLaunch(exec, create()));
  ASSERT_CUDA(cuda().cuCtxSynchronize());
  EXPECT_EQ(count.launches, 8);
  EXPECT_EQ(count.most, 1);
}

TEST_F(Graphs, WaitForTheLegacyStreamAndHoldIt) {
  const auto a = random_values(1);
  const CUdeviceptr x = memory(a), y = memory();
  add_step(graph_, {}, y, x, 3);
  const CUgraphExec exec = instantiate(graph_);
  const CUstream blocking = create(CU_STREAM_DEFAULT);
  Gate gate;
  ASSERT_CUDA(cuda().cuLaunchHostFunc(nullptr, Gate::wait, &gate));
  ASSERT_CUDA(cuda().cuMemsetD32Async(y, 1, kCount, nullptr));
  ASSERT_CUDA(cuda().cuGraphLaunch(exec, blocking));
  ASSERT_CUDA(step(nullptr, y, x, 7));
  gate.open = true;
  EXPECT_EQ(read(y), stepped(stepped(std::vector<uint32_t>(kCount, 1), a, 3), a, 7));
}

TEST_F(Graphs, NodesOfAnExecutableGraphTakeOtherParameters) {
  const auto a = random_values(1), b = random_values(2), c = random_values(3);
  const CUdeviceptr x = memory(a), y = memory(b), z = memory(c), w = memory();
  const CUgraphNode kernel = add_step(graph_, {}, y, x, 3);
  CUgraphNode copied = nullptr, set = nullptr, host = nullptr;
  CUDA_MEMCPY3D to_w = copy(w, y);
  ASSERT_CUDA(cuda().cuGraphAddMemcpyNode(&copied, graph_, &kernel, 1, &to_w, context_));
  CUDA_MEMSET_NODE_PARAMS fill{w, 0, 1, 1, 4, 1};
  ASSERT_CUDA(cuda().cuGraphAddMemsetNode(&set, graph_, &copied, 1, &fill, context_));
  static std::atomic<int> calls;
  calls = 0;
  CUDA_HOST_NODE_PARAMS call{[](void*) { calls += 1; }, nullptr};
  ASSERT_CUDA(cuda().cuGraphAddHostNode(&host, graph_, &set, 1, &call));
  const CUgraphExec exec = instantiate(graph_), untouched = instantiate(graph_);

  KernelNode other(function("step"), z, x, 11);
  ASSERT_CUDA(cuda().cuGraphExecKernelNodeSetParams_v2(exec, kernel, &other.params));
  to_w = copy(w, z);
  ASSERT_CUDA(cuda().cuGraphExecMemcpyNodeSetParams(exec, copied, &to_w, context_));
  fill.value = 9;
  ASSERT_CUDA(cuda().cuGraphExecMemsetNodeSetParams(exec, set, &fill, context_));
  call.fn = [](void*) { calls += 100; };
  ASSERT_CUDA(cuda().cuGraphExecHostNodeSetParams(exec, host, &call));
  run(exec);
  auto expected = stepped(c, a, 11);
  EXPECT_EQ(read(z), expected);
  expected[0] = 0x09090909;
  EXPECT_EQ(read(w), expected);
  EXPECT_EQ(read(y), b) << "the node's old output";
  EXPECT_EQ(calls, 100);
  run(untouched);
  EXPECT_EQ(read(y), stepped(b, a, 3));
  EXPECT_EQ(calls, 101);

  CUDA_KERNEL_NODE_PARAMS of_graph{};
  ASSERT_CUDA(cuda().cuGraphKernelNodeGetParams_v2(kernel, &of_graph));
  EXPECT_EQ(of_graph.func, function("step"));
  EXPECT_EQ(of_graph.gridDimX, 3u);
  EXPECT_EQ(*static_cast<uint32_t*>(of_graph.kernelParams[2]), 3u);
  EXPECT_EQ(*static_cast<CUdeviceptr*>(of_graph.kernelParams[0]), y);
  // Other parameters for the graph's node: they concern what is instantiated later.
  write(y, b);
  const KernelNode changed(function("step"), y, x, 21);
  ASSERT_CUDA(cuda().cuGraphKernelNodeSetParams_v2(kernel, &changed.params));
  EXPECT_EQ(cuda().cuGraphKernelNodeSetParams_v2(copied, &changed.params), CUDA_ERROR_INVALID_VALUE);
  run(untouched);
  EXPECT_EQ(read(y), stepped(b, a, 3));
  write(y, b);
  run(instantiate(graph_));
  EXPECT_EQ(read(y), stepped(b, a, 21));

  CUgraph stranger = nullptr;
  ASSERT_CUDA(cuda().cuGraphCreate(&stranger, 0));
  const CUgraphNode foreign = add_step(stranger, {}, y, x, 3);
  EXPECT_REFUSED(cuda().cuGraphExecKernelNodeSetParams_v2(exec, foreign, &other.params),
                 CUDA_ERROR_INVALID_VALUE, "not of the graph");
  EXPECT_REFUSED(cuda().cuGraphExecKernelNodeSetParams_v2(exec, copied, &other.params),
                 CUDA_ERROR_INVALID_VALUE, "node type");
  other.params.blockDimX = 2048;
  EXPECT_EQ(cuda().cuGraphExecKernelNodeSetParams_v2(exec, kernel, &other.params), CUDA_ERROR_INVALID_VALUE);
}

// Parameters that change while launches of the graph are under way concern later launches only.
TEST_F(Graphs, UpdatesConcernLaterLaunches) {
  const auto a = random_values(1), b = random_values(2);
  const CUdeviceptr x = memory(a), y = memory(b), z = memory(b);
  const CUgraphNode kernel = add_step(graph_, {}, y, x, 3);
  const CUgraphExec exec = instantiate(graph_);
  Gate gate;
  ASSERT_CUDA(cuda().cuLaunchHostFunc(stream_, Gate::wait, &gate));
  ASSERT_CUDA(cuda().cuGraphLaunch(exec, stream_));
  KernelNode other(function("step"), z, x, 5);
  ASSERT_CUDA(cuda().cuGraphExecKernelNodeSetParams_v2(exec, kernel, &other.params));
  ASSERT_CUDA(cuda().cuGraphLaunch(exec, stream_));
  gate.open = true;
  EXPECT_EQ(read(y), stepped(b, a, 3));
  EXPECT_EQ(read(z), stepped(b, a, 5));
}

TEST_F(Graphs, UpdateFromAGraphOfTheSameShape) {
  const auto a = random_values(1), b = random_values(2), c = random_values(3);
  const CUdeviceptr x = memory(a), y = memory(b), z = memory(c);
  const auto captured = [&](CUdeviceptr target, uint32_t k, int steps) {
    begin(stream_);
    for (int i = 0; i < steps; ++i) EXPECT_CUDA(step(stream_, target, x, k + i));
    return end(stream_);
  };
  const CUgraphExec exec = instantiate(captured(y, 3, 2));
  CUgraphExecUpdateResultInfo info{};
  ASSERT_CUDA(cuda().cuGraphExecUpdate_v2(exec, captured(z, 7, 2), &info));
  EXPECT_EQ(info.result, CU_GRAPH_EXEC_UPDATE_SUCCESS);
  run(exec);
  EXPECT_EQ(read(y), b);
  EXPECT_EQ(read(z), stepped(stepped(c, a, 7), a, 8));

  EXPECT_REFUSED(cuda().cuGraphExecUpdate_v2(exec, captured(y, 3, 3), &info),
                 CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE, "nodes: expected 2, got 3");
  EXPECT_EQ(info.result, CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED);
  EXPECT_EQ(info.errorNode, nullptr);

  // Two steps without an edge, and two nodes of which one is a memset.
  add_step(graph_, {}, y, x, 3);
  const CUgraphNode loose = add_step(graph_, {}, y, x, 3);
  CUgraphNode bad = nullptr;
  auto result = CU_GRAPH_EXEC_UPDATE_SUCCESS;
  EXPECT_EQ(cuda().cuGraphExecUpdate(exec, graph_, &bad, &result), CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE);
  EXPECT_EQ(result, CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED);
  EXPECT_EQ(bad, loose);
  begin(stream_);
  ASSERT_CUDA(step(stream_, z, x, 1000));
  ASSERT_CUDA(cuda().cuMemsetD8Async(y, 0, 4, stream_));
  const CUgraph mixed = end(stream_);
  EXPECT_EQ(cuda().cuGraphExecUpdate_v2(exec, mixed, &info), CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE);
  EXPECT_EQ(info.result, CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED);
  EXPECT_EQ(info.errorNode, nodes(mixed)[1]);
  // A refused update changes nothing, not even the nodes that could change.
  write(z, c);
  run(exec);
  EXPECT_EQ(read(z), stepped(stepped(c, a, 7), a, 8));
}

TEST_F(Graphs, InstantiationRefusesCyclesAndSaysWhere) {
  const CUdeviceptr x = memory(), y = memory();
  add_step(graph_, {}, y, x, 3);
  const CUgraphNode b = add_step(graph_, {}, y, x, 3), c = add_step(graph_, {b}, y, x, 3);
  ASSERT_CUDA(cuda().cuGraphAddDependencies(graph_, &c, &b, 1));
  EXPECT_EQ(cuda().cuGraphAddDependencies(graph_, &c, &b, 1), CUDA_ERROR_INVALID_VALUE) << "twice";
  EXPECT_EQ(cuda().cuGraphAddDependencies(graph_, &c, &c, 1), CUDA_ERROR_INVALID_VALUE);
  CUgraphExec exec = nullptr;
  CUgraphNode bad = nullptr;
  char log[256] = {};
  EXPECT_EQ(cuda().cuGraphInstantiate_v2(&exec, graph_, &bad, log, sizeof log), CUDA_ERROR_INVALID_VALUE);
  EXPECT_TRUE(bad == b || bad == c);
  EXPECT_NE(std::string(log).find("cycle"), std::string::npos) << log;
  CUDA_GRAPH_INSTANTIATE_PARAMS params{};
  EXPECT_EQ(cuda().cuGraphInstantiateWithParams(&exec, graph_, &params), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(params.result_out, CUDA_GRAPH_INSTANTIATE_INVALID_STRUCTURE);
  EXPECT_EQ(params.hErrNode_out, bad);

  CUgraph good = nullptr;
  ASSERT_CUDA(cuda().cuGraphCreate(&good, 0));
  // An edge from a later node to an earlier one is none.
  const auto v = random_values(4);
  write(x, v), write(y, v);
  const CUgraphNode second = add_step(good, {}, y, x, 5), first = add_step(good, {}, y, x, 3);
  ASSERT_CUDA(cuda().cuGraphAddDependencies(good, &first, &second, 1));
  params = {CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD | CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH, stream_,
            nullptr, CUDA_GRAPH_INSTANTIATE_ERROR};
  ASSERT_CUDA(cuda().cuGraphInstantiateWithParams(&exec, good, &params));
  EXPECT_EQ(params.result_out, CUDA_GRAPH_INSTANTIATE_SUCCESS);
  cuuint64_t flags = 0;
  ASSERT_CUDA(cuda().cuGraphExecGetFlags(exec, &flags));
  EXPECT_EQ(flags, cuuint64_t{CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH});
  run(exec);
  EXPECT_EQ(read(y), stepped(stepped(v, v, 3), v, 5));
  EXPECT_EQ(cuda().cuGraphInstantiateWithFlags(&exec, good, CUDA_GRAPH_INSTANTIATE_FLAG_DEVICE_LAUNCH),
            CUDA_ERROR_NOT_SUPPORTED);
  EXPECT_EQ(cuda().cuGraphInstantiateWithFlags(&exec, good, 64), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(Graphs, BadHandlesAndParametersAreRefused) {
  const CUdeviceptr x = memory(), y = memory();
  const CUgraph nothing = reinterpret_cast<CUgraph>(stream_);
  CUgraphNode n = nullptr;
  size_t count = 0;
  EXPECT_EQ(cuda().cuGraphGetNodes(nothing, nullptr, &count), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(cuda().cuGraphAddEmptyNode(&n, nothing, nullptr, 0), CUDA_ERROR_INVALID_VALUE);
  KernelNode node(function("step"), y, x, 3);
  node.params.blockDimX = 0;
  EXPECT_EQ(cuda().cuGraphAddKernelNode_v2(&n, graph_, nullptr, 0, &node.params), CUDA_ERROR_INVALID_VALUE);
  CUDA_MEMSET_NODE_PARAMS fill{y, 0, 1, 3, 4, 1};
  EXPECT_REFUSED(cuda().cuGraphAddMemsetNode(&n, graph_, nullptr, 0, &fill, context_),
                 CUDA_ERROR_INVALID_VALUE, "elementSize");
  fill = {y, 0, 1, 4, kCount + 1, 1};
  EXPECT_REFUSED(cuda().cuGraphAddMemsetNode(&n, graph_, nullptr, 0, &fill, context_),
                 CUDA_ERROR_INVALID_VALUE, "past the end");
  CUDA_MEMCPY3D c = copy(y, x);
  EXPECT_EQ(cuda().cuGraphAddMemcpyNode(&n, graph_, nullptr, 0, &c, nullptr), CUDA_ERROR_INVALID_CONTEXT);
  CUgraph other = nullptr;
  ASSERT_CUDA(cuda().cuGraphCreate(&other, 0));
  const CUgraphNode foreign = add_step(other, {}, y, x, 3);
  EXPECT_EQ(cuda().cuGraphAddEmptyNode(&n, graph_, &foreign, 1), CUDA_ERROR_INVALID_VALUE);
  ASSERT_CUDA(cuda().cuGraphGetNodes(graph_, nullptr, &count));
  EXPECT_EQ(count, 0u) << "nothing was added";
  ASSERT_CUDA(cuda().cuGraphDestroy(other));
  CUgraphNodeType type;
  EXPECT_EQ(cuda().cuGraphNodeGetType(foreign, &type), CUDA_ERROR_INVALID_VALUE) << "gone with its graph";
}

// A fault in a node: the nodes behind it do not run, and the context is lost, as with any kernel.
TEST_F(Graphs, AFaultEndsTheLaunch) {
  CUcontext lost = nullptr;
  ASSERT_CUDA(cuda().cuCtxCreate_v2(&lost, 0, 0));
  CUmodule m = nullptr;
  CUfunction f = nullptr;
  CUstream s = nullptr;
  ASSERT_CUDA(cuda().cuModuleLoadData(&m, kGraphPtx));
  ASSERT_CUDA(cuda().cuModuleGetFunction(&f, m, "store_to"));
  ASSERT_CUDA(cuda().cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
  begin(s);
  CUdeviceptr wild = 64;
  void* parameters[] = {&wild};
  ASSERT_CUDA(cuda().cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, s, parameters, nullptr));
  ASSERT_CUDA(cuda().cuLaunchHostFunc(
      s, [](void*) { ADD_FAILURE() << "ran behind a fault"; }, nullptr));
  const CUgraphExec exec = instantiate(end(s));
  testing::internal::CaptureStderr();
  ASSERT_CUDA(cuda().cuGraphLaunch(exec, s));
  EXPECT_EQ(cuda().cuStreamSynchronize(s), CUDA_ERROR_ILLEGAL_ADDRESS);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("store_to"), std::string::npos);
  EXPECT_EQ(cuda().cuGraphLaunch(exec, s), CUDA_ERROR_ILLEGAL_ADDRESS);
  ASSERT_CUDA(cuda().cuCtxDestroy_v2(lost));
}

TEST_F(Graphs, LaunchesFromManyThreads) {
  const auto a = random_values(1), b = random_values(2);
  const CUdeviceptr x = memory(a);
  std::vector<CUdeviceptr> y;
  for (int t = 0; t < 4; ++t) y.push_back(memory(b));
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      ASSERT_CUDA(cuda().cuCtxSetCurrent(context_));
      const CUstream s = create();
      begin(s, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
      for (uint32_t k = 3; k < 8; ++k) ASSERT_CUDA(step(s, y[t], x, k));
      const CUgraphExec exec = instantiate(end(s));
      for (int i = 0; i < 20; ++i) ASSERT_CUDA(cuda().cuGraphLaunch(exec, s));
      ASSERT_CUDA(cuda().cuStreamSynchronize(s));
    });
  for (auto& t : threads) t.join();
  auto expected = b;
  for (int i = 0; i < 20; ++i)
    for (uint32_t k = 3; k < 8; ++k) expected = stepped(expected, a, k);
  for (CUdeviceptr p : y) EXPECT_EQ(read(p), expected);
}

}  // namespace
}  // namespace ptxops::virt::test
