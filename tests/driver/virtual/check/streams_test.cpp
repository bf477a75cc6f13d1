// Grids of two streams that run at once: what neither their streams, nor an event, nor a flag orders is a
// race.
#include <gtest/gtest.h>

#include <string>

#include "driver/abi/functions.h"
#include "tests/driver/virtual/api/virtual_driver.h"

namespace ptxops::virt::testing {
namespace {

using namespace abi;
using test::cuda;

// first writes, and stays until second has set the flag; second sets the flag and writes the same word, just
// so or behind what first has published.
constexpr const char* kKernels = R"(.version 8.0
.target sm_90a
.address_size 64
.visible .entry first(.param .u64 words)
{
  .reg .pred p;
  .reg .b32 v;
  .reg .b64 a;
  ld.param.u64 a, [words];
  st.global.u32 [a], 1;
  st.release.gpu.global.u32 [a+4], 1;
STAY:
  ld.acquire.gpu.global.u32 v, [a+8];
  setp.eq.u32 p, v, 0;
  @p bra STAY;
  ret;
}
.visible .entry unordered(.param .u64 words)
{
  .reg .b64 a;
  ld.param.u64 a, [words];
  st.release.gpu.global.u32 [a+8], 1;
  st.global.u32 [a], 2;
  ret;
}
.visible .entry ordered(.param .u64 words)
{
  .reg .pred p;
  .reg .b32 v;
  .reg .b64 a;
  ld.param.u64 a, [words];
POLL:
  ld.acquire.gpu.global.u32 v, [a+4];
  setp.eq.u32 p, v, 0;
  @p bra POLL;
  st.global.u32 [a], 2;
  st.release.gpu.global.u32 [a+8], 1;
  ret;
}
)";

std::string finding_of(const char* second) {
  const auto symbol = [](const char* name) { return dlsym(cuda().library, name); };
  reinterpret_cast<Fn_ptxopsVirtualSetCheck>(symbol(kVirtualSetCheckSymbol))("full", 0);
  CUcontext context = nullptr;
  EXPECT_CUDA(cuda().cuCtxCreate_v2(&context, 0, 0));
  CUmodule module = nullptr;
  EXPECT_CUDA(cuda().cuModuleLoadData(&module, kKernels));
  CUdeviceptr words = 0;
  EXPECT_CUDA(cuda().cuMemAlloc_v2(&words, 12));
  EXPECT_CUDA(cuda().cuMemsetD32_v2(words, 0, 3));
  EXPECT_CUDA(cuda().cuCtxSynchronize());
  bool failed = false;
  for (const char* name : {"first", second}) {
    CUstream stream = nullptr;
    CUfunction function = nullptr;
    EXPECT_CUDA(cuda().cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    EXPECT_CUDA(cuda().cuModuleGetFunction(&function, module, name));
    void* parameters[] = {&words};
    failed |=
        cuda().cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, stream, parameters, nullptr) != CUDA_SUCCESS;
  }
  failed |= cuda().cuCtxSynchronize() != CUDA_SUCCESS;
  std::string text;
  if (failed) {
    const auto last = reinterpret_cast<Fn_ptxopsVirtualLastFinding>(symbol(kVirtualLastFindingSymbol));
    text.resize(last(nullptr, 0) + 1);
    last(text.data(), text.size());
  }
  cuda().cuCtxDestroy_v2(context);
  return text;
}

TEST(GridsOfTwoStreams, AreARaceUnlessOrdered) {
  const std::string finding = finding_of("unordered");
  EXPECT_NE(finding.find("\"id\":\"M1\""), finding.npos) << finding;
  EXPECT_NE(finding.find("\"line\":10,"), finding.npos) << finding;
  EXPECT_NE(finding.find("\"line\":23,"), finding.npos) << finding;
}

TEST(GridsOfTwoStreams, AreOrderedByTheirFlags) {
  EXPECT_EQ(finding_of("ordered"), "");
}

}  // namespace
}  // namespace ptxops::virt::testing
