// What the tests of capture and of graphs share: kernels whose results show order, and host functions as
// gates.
#pragma once

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "tests/driver/virtual/api/virtual_driver.h"
#include "tests/support/random_seed.h"

namespace ptxops::virt::test {

using ptxops::test::random_engine;

// step: y[i] = y[i] * k + x[i], which does not commute. combine: out = 3 p + 5 q + c. rank: y[cta] = its rank
// in the cluster + 100 * the cluster's size, after waiting for the previous kernel.
inline constexpr const char* kGraphPtx = R"(.version 8.0
.target sm_90a
.address_size 64
.visible .entry step(.param .u64 y, .param .u64 x, .param .u32 k, .param .u32 n)
{
  .reg .pred p;
  .reg .b32 i, c, d, a, b, m;
  .reg .b64 px, py, o;
  mov.u32 i, %tid.x;
  mov.u32 c, %ctaid.x;
  mov.u32 d, %ntid.x;
  mad.lo.u32 i, c, d, i;
  ld.param.u32 m, [n];
  setp.ge.u32 p, i, m;
  @p ret;
  ld.param.u64 px, [x];
  ld.param.u64 py, [y];
  mul.wide.u32 o, i, 4;
  add.u64 px, px, o;
  add.u64 py, py, o;
  ld.param.u32 m, [k];
  ld.global.u32 a, [py];
  ld.global.u32 b, [px];
  mad.lo.u32 a, a, m, b;
  st.global.u32 [py], a;
  ret;
}
.visible .entry combine(.param .u64 out, .param .u64 p, .param .u64 q, .param .u32 c)
{
  .reg .b32 a, b, k;
  .reg .b64 r;
  ld.param.u64 r, [p];
  ld.global.u32 a, [r];
  ld.param.u64 r, [q];
  ld.global.u32 b, [r];
  ld.param.u32 k, [c];
  mad.lo.u32 k, a, 3, k;
  mad.lo.u32 k, b, 5, k;
  ld.param.u64 r, [out];
  st.global.u32 [r], k;
  ret;
}
.visible .entry rank(.param .u64 y)
{
  .reg .b32 i, r, s;
  .reg .b64 py, o;
  griddepcontrol.wait;
  mov.u32 i, %ctaid.x;
  mov.u32 r, %cluster_ctarank;
  mov.u32 s, %cluster_nctarank;
  mad.lo.u32 r, s, 100, r;
  ld.param.u64 py, [y];
  mul.wide.u32 o, i, 4;
  add.u64 py, py, o;
  st.global.u32 [py], r;
  ret;
}
.visible .entry store_to(.param .u64 p)
{
  .reg .b64 a;
  ld.param.u64 a, [p];
  st.global.u32 [a], 1;
  ret;
}
)";

class GraphTest : public ContextTest {
 public:
  static constexpr uint32_t kCount = 300;  // elements of an array

 protected:
  void SetUp() override {
    ContextTest::SetUp();
    ASSERT_CUDA(cuda().cuModuleLoadData(&module_, kGraphPtx));
    ASSERT_CUDA(cuda().cuStreamCreate(&stream_, CU_STREAM_NON_BLOCKING));
  }
  CUfunction function(const char* name) {
    CUfunction f = nullptr;
    EXPECT_CUDA(cuda().cuModuleGetFunction(&f, module_, name));
    return f;
  }
  CUstream create(unsigned flags = CU_STREAM_NON_BLOCKING) {
    CUstream s = nullptr;
    EXPECT_CUDA(cuda().cuStreamCreate(&s, flags));
    return s;
  }
  CUevent event() {
    CUevent e = nullptr;
    EXPECT_CUDA(cuda().cuEventCreate(&e, CU_EVENT_DISABLE_TIMING));
    return e;
  }
  std::vector<uint32_t> random_values(uint64_t purpose, size_t n = kCount) {
    auto random = random_engine(purpose);
    std::vector<uint32_t> v(n);
    for (auto& x : v) x = static_cast<uint32_t>(random());
    return v;
  }
  // Device memory with poison, or with values.
  CUdeviceptr memory(size_t n = kCount) {
    CUdeviceptr p = 0;
    EXPECT_CUDA(cuda().cuMemAlloc_v2(&p, n * 4));
    EXPECT_CUDA(cuda().cuMemsetD32_v2(p, 0xdeadbeef, n));
    return p;
  }
  CUdeviceptr memory(const std::vector<uint32_t>& values) {
    const CUdeviceptr p = memory(values.size());
    write(p, values);
    return p;
  }
  void write(CUdeviceptr p, const std::vector<uint32_t>& values) {
    EXPECT_CUDA(cuda().cuMemcpyHtoD_v2(p, values.data(), values.size() * 4));
  }
  std::vector<uint32_t> read(CUdeviceptr p, size_t n = kCount) {
    std::vector<uint32_t> v(n);
    EXPECT_CUDA(cuda().cuCtxSynchronize());
    EXPECT_CUDA(cuda().cuMemcpyDtoH_v2(v.data(), p, n * 4));
    return v;
  }
  CUresult step(CUstream s, CUdeviceptr y, CUdeviceptr x, uint32_t k) {
    uint32_t n = kCount;
    void* parameters[] = {&y, &x, &k, &n};
    return cuda().cuLaunchKernel(function("step"), 3, 1, 1, 128, 1, 1, 0, s, parameters, nullptr);
  }
  static std::vector<uint32_t> stepped(std::vector<uint32_t> y, const std::vector<uint32_t>& x, uint32_t k) {
    for (size_t i = 0; i < y.size(); ++i) y[i] = y[i] * k + x[i];
    return y;
  }
  void begin(CUstream s, CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_GLOBAL) {
    ASSERT_CUDA(cuda().cuStreamBeginCapture_v2(s, mode));
  }
  CUgraph end(CUstream s) {
    CUgraph g = nullptr;
    EXPECT_CUDA(cuda().cuStreamEndCapture(s, &g));
    EXPECT_NE(g, nullptr);
    return g;
  }
  CUgraphExec instantiate(CUgraph g) {
    CUgraphExec e = nullptr;
    EXPECT_CUDA(cuda().cuGraphInstantiateWithFlags(&e, g, 0));
    return e;
  }
  CUstreamCaptureStatus status(CUstream s) {
    auto status = static_cast<CUstreamCaptureStatus>(9);
    EXPECT_CUDA(cuda().cuStreamIsCapturing(s, &status));
    return status;
  }
  // The capture has been invalidated, and ends without a graph; the stream works again.
  void expect_invalid(CUstream s) {
    EXPECT_EQ(status(s), CU_STREAM_CAPTURE_STATUS_INVALIDATED);
    EXPECT_EQ(cuda().cuLaunchHostFunc(
                  s, [](void*) { ADD_FAILURE() << "ran"; }, nullptr),
              CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    CUgraph g = reinterpret_cast<CUgraph>(1);
    EXPECT_REFUSED(cuda().cuStreamEndCapture(s, &g), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "invalidated by");
    EXPECT_EQ(g, nullptr);
    EXPECT_EQ(status(s), CU_STREAM_CAPTURE_STATUS_NONE);
    EXPECT_CUDA(cuda().cuStreamSynchronize(s));
  }
  std::vector<CUgraphNode> nodes(CUgraph g) {
    size_t n = 0;
    EXPECT_CUDA(cuda().cuGraphGetNodes(g, nullptr, &n));
    std::vector<CUgraphNode> all(n);
    EXPECT_CUDA(cuda().cuGraphGetNodes(g, all.data(), &n));
    return all;
  }
  std::vector<CUgraphNodeType> types(CUgraph g) {
    std::vector<CUgraphNodeType> all;
    for (CUgraphNode n : nodes(g)) {
      all.emplace_back();
      EXPECT_CUDA(cuda().cuGraphNodeGetType(n, &all.back()));
    }
    return all;
  }
  // Edges by index of their nodes in nodes().
  std::set<std::pair<size_t, size_t>> edges(CUgraph g) {
    size_t n = 0;
    EXPECT_CUDA(cuda().cuGraphGetEdges(g, nullptr, nullptr, &n));
    std::vector<CUgraphNode> from(n), to(n);
    EXPECT_CUDA(cuda().cuGraphGetEdges(g, from.data(), to.data(), &n));
    const auto all = nodes(g);
    const auto index = [&](CUgraphNode x) {
      return static_cast<size_t>(std::find(all.begin(), all.end(), x) - all.begin());
    };
    std::set<std::pair<size_t, size_t>> pairs;
    for (size_t i = 0; i < n; ++i) pairs.insert({index(from[i]), index(to[i])});
    return pairs;
  }

  // A host function that waits until it is opened.
  struct Gate {
    std::atomic<bool> entered{false}, open{false};
    static void wait(void* p) {
      auto* g = static_cast<Gate*>(p);
      g->entered = true;
      while (!g->open) sched_yield();
    }
  };

  CUmodule module_ = nullptr;
  CUstream stream_ = nullptr;
};

}  // namespace ptxops::virt::test
