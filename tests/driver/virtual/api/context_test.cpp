// Contexts: the stack, primary contexts, handles, limits.
#include <thread>

#include "tests/driver/virtual/api/virtual_driver.h"

namespace ptxops::virt::test {
namespace {

CUcontext current() {
  CUcontext c = nullptr;
  EXPECT_CUDA(cuda().cuCtxGetCurrent(&c));
  return c;
}

TEST(Context, StackAndCurrent) {
  EXPECT_EQ(current(), nullptr);
  CUcontext a = nullptr, b = nullptr, popped = nullptr;
  ASSERT_CUDA(cuda().cuCtxCreate_v2(&a, 0, 0));
  EXPECT_EQ(current(), a);
  ASSERT_CUDA(cuda().cuCtxCreate_v4(&b, nullptr, 0, 0));
  EXPECT_EQ(current(), b);
  ASSERT_CUDA(cuda().cuCtxPushCurrent_v2(a));
  EXPECT_EQ(current(), a);
  ASSERT_CUDA(cuda().cuCtxPopCurrent_v2(&popped));
  EXPECT_EQ(popped, a);
  ASSERT_CUDA(cuda().cuCtxPopCurrent_v2(&popped));
  EXPECT_EQ(popped, b);
  EXPECT_EQ(current(), a);
  ASSERT_CUDA(cuda().cuCtxSetCurrent(b));
  EXPECT_EQ(current(), b);
  std::thread([&] { EXPECT_EQ(current(), nullptr) << "another thread has its own stack"; }).join();
  ASSERT_CUDA(cuda().cuCtxDestroy_v2(b));
  EXPECT_EQ(current(), nullptr);
  CUdevice device = 0;
  EXPECT_EQ(cuda().cuCtxGetDevice(&device), CUDA_ERROR_INVALID_CONTEXT);
  EXPECT_EQ(cuda().cuCtxSetCurrent(b), CUDA_ERROR_INVALID_CONTEXT) << "destroyed";
  ASSERT_CUDA(cuda().cuCtxDestroy_v2(a));
  EXPECT_EQ(cuda().cuCtxPopCurrent_v2(&popped), CUDA_ERROR_INVALID_CONTEXT);
}

TEST(Context, DestroyedButStillCurrent) {
  CUcontext a = nullptr;
  ASSERT_CUDA(cuda().cuCtxCreate_v2(&a, 0, 0));
  std::thread([&] {
    ASSERT_CUDA(cuda().cuCtxSetCurrent(a));
    std::thread([&] { ASSERT_CUDA(cuda().cuCtxDestroy_v2(a)); }).join();
    EXPECT_EQ(cuda().cuCtxSynchronize(), CUDA_ERROR_CONTEXT_IS_DESTROYED);
  }).join();
  CUcontext popped = nullptr;
  EXPECT_CUDA(cuda().cuCtxPopCurrent_v2(&popped));
}

TEST(Context, PrimaryIsCountedAndReset) {
  CUcontext a = nullptr, b = nullptr;
  unsigned flags = 9;
  int active = 9;
  ASSERT_CUDA(cuda().cuDevicePrimaryCtxGetState(0, &flags, &active));
  EXPECT_EQ(active, 0);
  ASSERT_CUDA(cuda().cuDevicePrimaryCtxSetFlags_v2(0, CU_CTX_SCHED_YIELD));
  ASSERT_CUDA(cuda().cuDevicePrimaryCtxRetain(&a, 0));
  ASSERT_CUDA(cuda().cuDevicePrimaryCtxRetain(&b, 0));
  EXPECT_EQ(a, b);
  ASSERT_CUDA(cuda().cuDevicePrimaryCtxGetState(0, &flags, &active));
  EXPECT_EQ(active, 1);
  EXPECT_EQ(flags, unsigned{CU_CTX_SCHED_YIELD});
  EXPECT_EQ(cuda().cuCtxDestroy_v2(a), CUDA_ERROR_INVALID_CONTEXT) << "not by this function";
  ASSERT_CUDA(cuda().cuDevicePrimaryCtxRelease_v2(0));
  ASSERT_CUDA(cuda().cuCtxPushCurrent_v2(a));
  CUdeviceptr p = 0;
  EXPECT_CUDA(cuda().cuMemAlloc_v2(&p, 16));
  ASSERT_CUDA(cuda().cuDevicePrimaryCtxReset_v2(0));
  EXPECT_EQ(cuda().cuMemFree_v2(p), CUDA_ERROR_CONTEXT_IS_DESTROYED);
  CUcontext popped = nullptr;
  ASSERT_CUDA(cuda().cuCtxPopCurrent_v2(&popped));
  EXPECT_EQ(cuda().cuDevicePrimaryCtxRelease_v2(0), CUDA_ERROR_INVALID_CONTEXT)
      << "reset dropped every reference";
}

TEST(Context, BadHandles) {
  int not_a_context = 0;
  EXPECT_EQ(cuda().cuCtxPushCurrent_v2(reinterpret_cast<CUcontext>(&not_a_context)),
            CUDA_ERROR_INVALID_CONTEXT);
  EXPECT_EQ(cuda().cuCtxSynchronize(), CUDA_ERROR_INVALID_CONTEXT);
  EXPECT_EQ(cuda().cuStreamSynchronize(reinterpret_cast<CUstream>(&not_a_context)),
            CUDA_ERROR_INVALID_HANDLE);
  EXPECT_EQ(cuda().cuEventSynchronize(reinterpret_cast<CUevent>(&not_a_context)), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_EQ(cuda().cuModuleUnload(reinterpret_cast<CUmodule>(&not_a_context)), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_EQ(cuda().cuLibraryUnload(reinterpret_cast<CUlibrary>(&not_a_context)), CUDA_ERROR_INVALID_HANDLE);
  int value = 0;
  EXPECT_EQ(cuda().cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_NUM_REGS,
                                      reinterpret_cast<CUfunction>(&not_a_context)),
            CUDA_ERROR_INVALID_HANDLE);
  CUcontext c = nullptr;
  EXPECT_REFUSED(cuda().cuCtxCreate_v2(&c, 0x10000, 0), CUDA_ERROR_INVALID_VALUE, "unknown bits");
}

using Limits = ContextTest;
TEST_F(Limits, AreKept) {
  size_t value = 0;
  ASSERT_CUDA(cuda().cuCtxSetLimit(CU_LIMIT_STACK_SIZE, 4096));
  ASSERT_CUDA(cuda().cuCtxGetLimit(&value, CU_LIMIT_STACK_SIZE));
  EXPECT_EQ(value, 4096u);
  EXPECT_EQ(cuda().cuCtxSetLimit(CU_LIMIT_CIG_ENABLED, 1), CUDA_ERROR_UNSUPPORTED_LIMIT);
  int least = 9, greatest = 9;
  ASSERT_CUDA(cuda().cuCtxGetStreamPriorityRange(&least, &greatest));
  EXPECT_EQ(least, 0);
  EXPECT_EQ(greatest, -5);
}

}  // namespace
}  // namespace ptxops::virt::test
