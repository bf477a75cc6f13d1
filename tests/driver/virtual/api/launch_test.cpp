// Launches: results, every refusal, occupancy, and what a fault does to its context.
#include <sys/wait.h>

#include <functional>
#include <numeric>
#include <random>

#include "tests/driver/virtual/api/virtual_driver.h"

// What the parent's threads held is lost in a forked child, which LeakSanitizer therefore need not search.
static bool is_forked_child = false;
extern "C" [[gnu::visibility("default")]] int __lsan_is_turned_off() {
  return is_forked_child;
}

namespace ptxops::virt::test {
namespace {

// scale_add: y[i] = a * x[i] + y[i] in 32-bit integers, i < n.
constexpr const char* kPtx = R"(.version 8.0
.target sm_90a
.address_size 64
.visible .entry scale_add(.param .u64 x, .param .u64 y, .param .u32 a, .param .u32 n)
{
  .reg .pred p;
  .reg .b32 i, t, c, d, k, m;
  .reg .b64 px, py, o;
  mov.u32 t, %tid.x;
  mov.u32 c, %ctaid.x;
  mov.u32 d, %ntid.x;
  mad.lo.u32 i, c, d, t;
  ld.param.u32 m, [n];
  setp.ge.u32 p, i, m;
  @p ret;
  ld.param.u64 px, [x];
  ld.param.u64 py, [y];
  mul.wide.u32 o, i, 4;
  add.u64 px, px, o;
  add.u64 py, py, o;
  ld.param.u32 k, [a];
  ld.global.u32 t, [px];
  ld.global.u32 c, [py];
  mad.lo.u32 c, k, t, c;
  st.global.u32 [py], c;
  ret;
}
.visible .entry store_to(.param .u64 p)
{
  .reg .b64 a;
  ld.param.u64 a, [p];
  st.global.u32 [a], 1;
  ret;
}
.visible .entry bounded(.param .u32 n)
.maxntid 128, 1, 1
{
  .shared .align 16 .b8 tile[4096];
  st.shared.u32 [tile], 1;
  ret;
}
.visible .entry exact()
.reqntid 64, 2, 1
{
  ret;
}
.visible .entry pair()
.reqnctapercluster 2, 1, 1
{
  ret;
}
.visible .entry clustered()
.explicitcluster
{
  ret;
}
.visible .entry rank4()
.maxclusterrank 4
{
  ret;
}
.visible .entry greedy()
.maxntid 1024, 1, 1
.maxnreg 64
{
  ret;
}
)";

class Launches : public ContextTest {
 protected:
  void SetUp() override {
    ContextTest::SetUp();
    ASSERT_CUDA(cuda().cuModuleLoadData(&module_, kPtx));
  }
  CUfunction function(const char* name) {
    CUfunction f = nullptr;
    EXPECT_CUDA(cuda().cuModuleGetFunction(&f, module_, name));
    return f;
  }
  struct Shape {
    CUdim3 grid{1, 1, 1}, block{32, 1, 1}, cluster{0, 0, 0};
    unsigned shared = 0;
    bool cooperative = false, programmatic = false;
  };
  CUresult launch(const char* name, const Shape& s, std::vector<void*> parameters = {},
                  CUstream stream = nullptr) {
    static uint32_t dummy = 0;
    if (parameters.empty() && std::string(name) == "bounded") parameters = {&dummy};
    parameters.push_back(nullptr);
    CUlaunchAttribute attributes[3] = {};
    CUlaunchConfig c{};
    c.gridDimX = s.grid.x, c.gridDimY = s.grid.y, c.gridDimZ = s.grid.z;
    c.blockDimX = s.block.x, c.blockDimY = s.block.y, c.blockDimZ = s.block.z;
    c.sharedMemBytes = s.shared;
    c.hStream = stream;
    c.attrs = attributes;
    if (s.cluster.x) {
      attributes[c.numAttrs].id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
      attributes[c.numAttrs++].value.clusterDim = s.cluster;
    }
    if (s.cooperative) {
      attributes[c.numAttrs].id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE;
      attributes[c.numAttrs++].value.cooperative = 1;
    }
    if (s.programmatic) {
      attributes[c.numAttrs].id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
      attributes[c.numAttrs++].value.programmaticStreamSerializationAllowed = 1;
    }
    return cuda().cuLaunchKernelEx(&c, function(name), parameters.data(), nullptr);
  }
  CUmodule module_ = nullptr;
};

TEST_F(Launches, ComputeInStreamOrder) {
  const uint32_t seed = std::random_device{}(), n = 1000;
  SCOPED_TRACE(seed);
  std::mt19937 rng(seed);
  std::vector<uint32_t> x(n), y(n), got(n);
  for (auto& v : x) v = rng();
  for (auto& v : y) v = rng();
  CUdeviceptr px, py;
  ASSERT_CUDA(cuda().cuMemAlloc_v2(&px, 4 * n));
  ASSERT_CUDA(cuda().cuMemAlloc_v2(&py, 4 * n));
  ASSERT_CUDA(cuda().cuMemcpyHtoD_v2(px, x.data(), 4 * n));
  ASSERT_CUDA(cuda().cuMemcpyHtoD_v2(py, y.data(), 4 * n));
  CUstream s;
  ASSERT_CUDA(cuda().cuStreamCreate(&s, 0));
  CUevent before, after;
  ASSERT_CUDA(cuda().cuEventCreate(&before, 0));
  ASSERT_CUDA(cuda().cuEventCreate(&after, 0));
  ASSERT_CUDA(cuda().cuEventRecord(before, s));
  uint32_t count = n;
  for (uint32_t a : {3u, 0x80000001u, 7u}) {
    ASSERT_CUDA(launch("scale_add", {.grid = {8, 1, 1}, .block = {128, 1, 1}, .programmatic = a == 7},
                       {&px, &py, &a, &count}, s));
    for (uint32_t i = 0; i < n; ++i) y[i] += a * x[i];
  }
  ASSERT_CUDA(cuda().cuEventRecord(after, s));
  ASSERT_CUDA(cuda().cuMemcpyDtoHAsync_v2(got.data(), py, 4 * n, s));
  ASSERT_CUDA(cuda().cuStreamSynchronize(s));
  EXPECT_EQ(got, y);
  float ms = 0;
  ASSERT_CUDA(cuda().cuEventElapsedTime(&ms, before, after));
  EXPECT_GT(ms, 0);
}

// As CUDA: a child has the memory of its parent but none of its threads, and waiting for those would be for
// ever, at its end too.
TEST_F(Launches, ForkedChildIsRefusedAndEnds) {
  ASSERT_CUDA(launch("bounded", {}));
  ASSERT_CUDA(cuda().cuCtxSynchronize());
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    is_forked_child = true;
    alarm(20);
    const char* name = nullptr;
    const bool right = cuda().cuCtxSynchronize() == CUDA_ERROR_NOT_INITIALIZED &&
                       cuda().report().find("forked") != std::string::npos &&
                       cuda().cuInit(0) == CUDA_ERROR_NOT_INITIALIZED &&
                       cuda().cuGetErrorName(CUDA_ERROR_NOT_INITIALIZED, &name) == CUDA_SUCCESS;
    std::exit(right ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  EXPECT_CUDA(launch("bounded", {}));
  EXPECT_CUDA(cuda().cuCtxSynchronize());
}

TEST_F(Launches, ParametersInOneBuffer) {
  CUdeviceptr px;
  ASSERT_CUDA(cuda().cuMemAlloc_v2(&px, 64));
  ASSERT_CUDA(cuda().cuMemsetD32_v2(px, 5, 16));
  struct {
    CUdeviceptr x, y;
    uint32_t a, n;
  } block{px, px, 2, 16};
  size_t size = sizeof block;
  void* extra[] = {reinterpret_cast<void*>(kLaunchParamBufferPointer), &block,
                   reinterpret_cast<void*>(kLaunchParamBufferSize), &size,
                   reinterpret_cast<void*>(kLaunchParamEnd)};
  const CUfunction f = function("scale_add");
  ASSERT_CUDA(cuda().cuLaunchKernel(f, 1, 1, 1, 32, 1, 1, 0, nullptr, nullptr, extra));
  uint32_t got[16];
  ASSERT_CUDA(cuda().cuMemcpyDtoH_v2(got, px, 64));
  for (uint32_t v : got) EXPECT_EQ(v, 15u);
  size = sizeof block - 4;
  EXPECT_REFUSED(cuda().cuLaunchKernel(f, 1, 1, 1, 32, 1, 1, 0, nullptr, nullptr, extra),
                 CUDA_ERROR_INVALID_VALUE, "expected 24 bytes, got 20");
  size = 4096;
  EXPECT_REFUSED(cuda().cuLaunchKernel(f, 1, 1, 1, 32, 1, 1, 0, nullptr, nullptr, extra),
                 CUDA_ERROR_INVALID_VALUE, "expected 24 bytes, got 4096");
  void* values[] = {&px, nullptr, nullptr, nullptr};
  EXPECT_REFUSED(cuda().cuLaunchKernel(f, 1, 1, 1, 32, 1, 1, 0, nullptr, values, extra),
                 CUDA_ERROR_INVALID_VALUE, "not both");
  EXPECT_REFUSED(cuda().cuLaunchKernel(f, 1, 1, 1, 32, 1, 1, 0, nullptr, values, nullptr),
                 CUDA_ERROR_INVALID_VALUE, "kernelParams[1]");
  EXPECT_REFUSED(cuda().cuLaunchKernel(f, 1, 1, 1, 32, 1, 1, 0, nullptr, nullptr, nullptr),
                 CUDA_ERROR_INVALID_VALUE, "has 4 parameters, none were given");
}

TEST_F(Launches, RefusalsNameLimitAndValue) {
  struct Case {
    const char* text;
    const char* kernel;
    Shape shape;
    CUresult code = CUDA_ERROR_INVALID_VALUE;
  };
  const CUresult kCluster = CUDA_ERROR_INVALID_CLUSTER_SIZE;
  const Case cases[] = {
      {"grid 0x1x1", "bounded", {.grid = {0, 1, 1}}},
      {"grid 1x0x1", "bounded", {.grid = {1, 0, 1}}},
      {"grid 1x1x65536", "bounded", {.grid = {1, 1, 65536}}},
      {"grid 1x65536x1", "bounded", {.grid = {1, 65536, 1}}},
      {"grid 2147483648x1x1", "bounded", {.grid = {2147483648u, 1, 1}}},
      {"block 32x0x1", "bounded", {.block = {32, 0, 1}}},
      {"block 1x1x65", "bounded", {.block = {1, 1, 65}}},
      {"expected at most 1024 threads, got 1056", "scale_add", {.block = {33, 32, 1}}},
      {"allows at most 128 threads (.maxntid), got 129", "bounded", {.block = {129, 1, 1}}},
      {"requires 64x2x1", "exact", {.block = {128, 1, 1}}},
      {"45057 bytes asked, 45056 allowed", "bounded", {.shared = 45057}},
      {"exceed 232448", "bounded", {.shared = 232448}},
      {"grid 3x1x1 is not a multiple of cluster 2x1x1", "pair", {.grid = {3, 1, 1}}, kCluster},
      {"requires 2x1x1 (.reqnctapercluster)", "pair", {.grid = {4, 1, 1}, .cluster = {4, 1, 1}}, kCluster},
      {"must be launched with a cluster size", "clustered", {}, kCluster},
      {"expected at most 8", "clustered", {.grid = {16, 1, 1}, .cluster = {16, 1, 1}}, kCluster},
      {"cluster 2x0x1", "clustered", {.grid = {2, 1, 1}, .cluster = {2, 0, 1}}, kCluster},
      {"allows at most 4 (.maxclusterrank)", "rank4", {.grid = {8, 1, 1}, .cluster = {8, 1, 1}}, kCluster},
      {"grid 5x1x1 is not a multiple of cluster 2x1x1",
       "bounded",
       {.grid = {5, 1, 1}, .cluster = {2, 1, 1}},
       kCluster},
      {"resident at once",
       "bounded",
       {.grid = {1000000, 1, 1}, .cooperative = true},
       CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE},
  };
  for (const Case& c : cases) EXPECT_REFUSED(launch(c.kernel, c.shape), c.code, c.text);
  EXPECT_CUDA(cuda().cuCtxSynchronize()) << "a refused launch leaves the context usable";
  EXPECT_CUDA(launch("bounded", {.block = {128, 1, 1}, .shared = 45056}));
  EXPECT_CUDA(launch("exact", {.block = {64, 2, 1}}));
  EXPECT_CUDA(launch("pair", {.grid = {4, 1, 1}, .cluster = {2, 1, 1}}));
  EXPECT_CUDA(launch("greedy", {.block = {1024, 1, 1}}))
      << "64 registers x 1024 threads fill the file exactly";
  EXPECT_CUDA(cuda().cuCtxSynchronize());
}

TEST_F(Launches, OptingInRaisesTheLimits) {
  const CUfunction f = function("clustered");
  ASSERT_CUDA(cuda().cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED, 1));
  EXPECT_CUDA(launch("clustered", {.grid = {16, 1, 1}, .cluster = {16, 1, 1}}));
  EXPECT_REFUSED(launch("clustered", {.grid = {17, 1, 1}, .cluster = {17, 1, 1}}),
                 CUDA_ERROR_INVALID_CLUSTER_SIZE, "expected at most 16");
  ASSERT_CUDA(cuda().cuFuncSetAttribute(function("bounded"), CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                        232448 - 4096));
  EXPECT_CUDA(launch("bounded", {.shared = 232448 - 4096}));
  EXPECT_CUDA(cuda().cuCtxSynchronize());
}

TEST_F(Launches, UnknownAttributesAreRefused) {
  CUlaunchAttribute a{};
  CUlaunchConfig c{1, 1, 1, 32, 1, 1, 0, nullptr, &a, 1};
  a.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_EVENT;
  const CUfunction f = function("rank4");
  EXPECT_REFUSED(cuda().cuLaunchKernelEx(&c, f, nullptr, nullptr), CUDA_ERROR_NOT_SUPPORTED,
                 "launch attribute 7");
  a.id = static_cast<CUlaunchAttributeID>(77);
  EXPECT_REFUSED(cuda().cuLaunchKernelEx(&c, f, nullptr, nullptr), CUDA_ERROR_INVALID_VALUE,
                 "unknown launch attribute 77");
  EXPECT_REFUSED(cuda().cuLaunchKernelEx(nullptr, f, nullptr, nullptr), CUDA_ERROR_INVALID_VALUE, "config");
}

TEST_F(Launches, FaultsAreStickyReportedAndConfinedToTheirContext) {
  CUdeviceptr p;
  ASSERT_CUDA(cuda().cuMemAlloc_v2(&p, 64));
  CUdeviceptr beyond = p + 64;
  testing::internal::CaptureStderr();
  ASSERT_CUDA(launch("store_to", {}, {&beyond})) << "the host call returns before the fault";
  EXPECT_EQ(cuda().cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
  const std::string report = cuda().report(), printed = testing::internal::GetCapturedStderr();
  for (const std::string& text : {report, printed}) {
    EXPECT_NE(text.find("store_to"), std::string::npos) << text;
    EXPECT_NE(text.find("past the end of allocation"), std::string::npos) << text;
  }
  CUdeviceptr q = 0;
  EXPECT_EQ(cuda().cuMemAlloc_v2(&q, 16), CUDA_ERROR_ILLEGAL_ADDRESS);
  EXPECT_EQ(launch("rank4", {}), CUDA_ERROR_ILLEGAL_ADDRESS);
  EXPECT_EQ(cuda().cuStreamQuery(nullptr), CUDA_ERROR_ILLEGAL_ADDRESS);
  CUcontext other;
  ASSERT_CUDA(cuda().cuCtxCreate_v2(&other, 0, 0));
  EXPECT_CUDA(cuda().cuMemAlloc_v2(&q, 16)) << "another context lives on";
  ASSERT_CUDA(cuda().cuCtxDestroy_v2(other));
}

TEST_F(Launches, MisalignedAddress) {
  CUdeviceptr p;
  ASSERT_CUDA(cuda().cuMemAlloc_v2(&p, 64));
  p += 2;
  ASSERT_CUDA(launch("store_to", {}, {&p}));
  EXPECT_EQ(cuda().cuCtxSynchronize(), CUDA_ERROR_MISALIGNED_ADDRESS) << cuda().report();
}

TEST_F(Launches, UnloadedModulesFinishTheirLaunches) {
  CUdeviceptr p;
  ASSERT_CUDA(cuda().cuMemAlloc_v2(&p, 64));
  for (int i = 0; i < 500; ++i) ASSERT_CUDA(launch("store_to", {}, {&p}));
  ASSERT_CUDA(cuda().cuModuleUnload(module_));
  EXPECT_CUDA(cuda().cuCtxSynchronize());
}

// Occupancy follows from the limits of an SM: 2048 threads, 32 blocks, 64 warps, 233472 bytes of shared
// memory with 1024 more for each block, 65536 registers.
TEST_F(Launches, Occupancy) {
  int blocks = 0;
  const CUfunction f = function("bounded");
  ASSERT_CUDA(cuda().cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 200000));
  ASSERT_CUDA(cuda().cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, f, 128, 100000 - 4096));
  EXPECT_EQ(blocks, 2);
  ASSERT_CUDA(cuda().cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, f, 128, 200000));
  EXPECT_EQ(blocks, 1);
  ASSERT_CUDA(cuda().cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, f, 256, 0));
  EXPECT_EQ(blocks, 0) << "more than .maxntid";
  size_t available = 0;
  ASSERT_CUDA(cuda().cuOccupancyAvailableDynamicSMemPerBlock(&available, f, 2, 128));
  EXPECT_EQ(available, 233472u / 2 - 1024 - 4096);

  CUlaunchAttribute a{};
  a.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
  a.value.clusterDim = {2, 1, 1};
  CUlaunchConfig c{2, 1, 1, 128, 1, 1, 200000, nullptr, &a, 1};
  int clusters = 0;
  ASSERT_CUDA(cuda().cuOccupancyMaxActiveClusters(&clusters, f, &c));
  EXPECT_EQ(clusters, 66);
  a.value.clusterDim = {4, 1, 1};
  c.gridDimX = 4;
  ASSERT_CUDA(cuda().cuOccupancyMaxActiveClusters(&clusters, f, &c));
  EXPECT_EQ(clusters, 32) << "GPCs of 16 and 18 SMs: 132 / 4 = 33 do not fit";
  int size = 0;
  ASSERT_CUDA(cuda().cuOccupancyMaxPotentialClusterSize(&size, f, &c));
  EXPECT_EQ(size, 8);
  int grid = 0, block = 0;
  ASSERT_CUDA(cuda().cuOccupancyMaxPotentialBlockSize(&grid, &block, function("greedy"), nullptr, 0, 0));
  EXPECT_EQ(block % 32, 0);
  EXPECT_GE(grid, 132);
}

}  // namespace
}  // namespace ptxops::virt::test
