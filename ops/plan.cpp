#include "ops/plan.h"

#include <cstring>

ptxopsPlan_st::ptxopsPlan_st(ptxopsContext_st& c)
    : context(c), id([] {
        static std::atomic<uint64_t> next{1};
        return next.fetch_add(1, std::memory_order_relaxed);
      }()) {
  ++context.plans;
}

ptxopsPlan_st::~ptxopsPlan_st() {
  --context.plans;
}

namespace ptxops::ops {

ptxopsContext_st& expect_context(ptxopsContext_t context) {
  if (!context) fail(PTXOPS_INVALID_ARGUMENT, "context: expected a context, got NULL");
  return *context;
}

void PreparedLaunch::prepare(ptxopsContext_st& context, const std::string& path, const jit::Params& params,
                             const driver::LaunchShape& shape) {
  static std::mutex mutex;  // prepare is rare; one lock for all keeps the object small
  std::lock_guard lock(mutex);
  if (ready()) return;
  const driver::Context::Guard guard(context.driver_context);
  kernel_ = &context.kernel(path, params);
  launch_.emplace(kernel_->kernel, shape);
  ready_.store(true, std::memory_order_release);
}

CurrentContext::CurrentContext(const ptxopsContext_st& context) : driver_(context.driver_context.driver()) {
  abi::CUcontext current = nullptr;
  driver_.check(driver_.api().cuCtxGetCurrent(&current), "cuCtxGetCurrent");
  if (current == context.driver_context.handle()) return;
  driver_.check(driver_.api().cuCtxPushCurrent(context.driver_context.handle()), "cuCtxPushCurrent");
  pushed_ = true;
}

CurrentContext::~CurrentContext() {
  abi::CUcontext previous = nullptr;
  if (pushed_) driver_.api().cuCtxPopCurrent(&previous);
}

void check_device(const ptxopsContext_st& context, const char* name, ptxopsDevicePtr_t pointer) {
  const driver::Driver& d = context.driver_context.driver();
  int ordinal = -1;
  const abi::CUresult result =
      d.api().cuPointerGetAttribute(&ordinal, abi::CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, pointer);
  if (result != abi::CUDA_SUCCESS)
    fail(PTXOPS_INVALID_ARGUMENT,
         "{}: expected memory of device {}, got 0x{:x}, which the driver does not know", name,
         context.info.ordinal, pointer);
  if (ordinal >= 0 && ordinal != context.info.ordinal)
    fail(PTXOPS_WRONG_DEVICE, "{}: expected memory of device {}, got 0x{:x} of device {}", name,
         context.info.ordinal, pointer, ordinal);
}

void check_stream(const ptxopsContext_st& context, ptxopsStream_t stream) {
  if (!stream) return;
  const driver::Driver& d = context.driver_context.driver();
  abi::CUcontext owner = nullptr;
  d.check(d.api().cuStreamGetCtx(reinterpret_cast<abi::CUstream>(stream), &owner), "cuStreamGetCtx");
  if (owner != context.driver_context.handle())
    fail(PTXOPS_WRONG_DEVICE,
         "stream: expected one of device {}'s primary context, got one of another context",
         context.info.ordinal);
}

void check_workspace(const ptxopsContext_st& context, ptxopsDevicePtr_t workspace, size_t bytes,
                     size_t needed) {
  if (bytes < needed)
    fail(PTXOPS_WORKSPACE_TOO_SMALL, "workspace_bytes: expected at least {}, got {}", needed, bytes);
  check_pointer("workspace", workspace, 256);
  check_device(context, "workspace", workspace);
}

void check_launch(const ptxopsContext_st& context, const char* kernel, abi::CUresult result) {
  if (result != abi::CUDA_SUCCESS)
    context.driver_context.driver().fail(result, std::string("cuLaunchKernelEx(") + kernel + ")");
}

}  // namespace ptxops::ops

using ptxops::ops::fail;
using ptxops::ops::guarded;

extern "C" {

ptxopsStatus_t ptxopsPlanPrepare(ptxopsPlan_t plan) {
  return guarded([&] {
    if (!plan) fail(PTXOPS_INVALID_ARGUMENT, "plan: expected a plan, got NULL");
    plan->prepare();
  });
}

ptxopsStatus_t ptxopsPlanDestroy(ptxopsPlan_t plan) {
  return guarded([&] { delete plan; });
}

ptxopsStatus_t ptxopsPlanGetWorkspaceSize(ptxopsPlan_t plan, size_t* bytes) {
  return guarded([&] {
    if (!plan) fail(PTXOPS_INVALID_ARGUMENT, "plan: expected a plan, got NULL");
    if (!bytes) fail(PTXOPS_INVALID_ARGUMENT, "bytes: expected a pointer to write to, got NULL");
    *bytes = plan->workspace_bytes();
  });
}

ptxopsStatus_t ptxopsPlanExplain(ptxopsPlan_t plan, char* text, size_t capacity, size_t* needed) {
  return guarded([&] {
    if (!plan) fail(PTXOPS_INVALID_ARGUMENT, "plan: expected a plan, got NULL");
    if (!text && capacity != 0)
      fail(PTXOPS_INVALID_ARGUMENT, "text: expected a buffer of {} bytes, got NULL", capacity);
    const std::string whole = plan->explain();
    if (needed) *needed = whole.size() + 1;
    if (capacity == 0) return;
    const size_t n = std::min(capacity - 1, whole.size());
    std::memcpy(text, whole.data(), n);
    text[n] = '\0';
  });
}

}  // extern "C"
