// cuCtx*.
#include "driver/virtual/api/capture.h"
#include "driver/virtual/api/entry.h"
#include "driver/virtual/api/runtime.h"

namespace ptxops::virt::api {
namespace {

Runtime& runtime() {
  return Runtime::get();
}

CUresult create(CUcontext* pctx, unsigned flags, CUdevice dev, unsigned api_version) {
  not_null(pctx, "pctx");
  if (flags & ~unsigned{CU_CTX_FLAGS_MASK})
    refuse(CUDA_ERROR_INVALID_VALUE, "flags {:#x} has unknown bits", flags);
  auto context = std::make_shared<Context>(runtime().device(dev), flags, false, api_version);
  runtime().contexts.add(context);
  context_stack().push_back(context);
  *pctx = reinterpret_cast<CUcontext>(context.get());
  return CUDA_SUCCESS;
}

std::shared_ptr<Event> event_of(CUevent handle) {
  auto event = runtime().events.find(handle);
  if (!event) refuse(CUDA_ERROR_INVALID_HANDLE, "{} is not an event", static_cast<void*>(handle));
  return event;
}

std::shared_ptr<Context> given_or_current(CUcontext ctx) {
  return ctx ? runtime().context(ctx) : current_context_even_faulted();
}

}  // namespace

CUresult cuCtxCreate_v2(CUcontext* pctx, unsigned int flags, CUdevice dev) {
  return create(pctx, flags, dev, 3020);
}

CUresult cuCtxCreate_v3(CUcontext* pctx, CUexecAffinityParam*, int numParams, unsigned int flags,
                        CUdevice dev) {
  if (numParams != 0) refuse(CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY, "execution affinity is not supported");
  return create(pctx, flags, dev, 3020);
}

CUresult cuCtxCreate_v4(CUcontext* pctx, CUctxCreateParams* params, unsigned int flags, CUdevice dev) {
  if (params && params->numExecAffinityParams != 0)
    refuse(CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY, "execution affinity is not supported");
  if (params && params->cigParams)
    refuse(CUDA_ERROR_NOT_SUPPORTED, "CUDA-in-graphics contexts are not supported");
  return create(pctx, flags, dev, 3020);
}

CUresult cuCtxDestroy_v2(CUcontext ctx) {
  const auto context = runtime().context(ctx);
  if (context->primary)
    refuse(CUDA_ERROR_INVALID_CONTEXT, "a primary context is released with cuDevicePrimaryCtxRelease");
  auto& stack = context_stack();
  runtime().destroy(context);
  if (!stack.empty() && stack.back() == context) stack.pop_back();
  return CUDA_SUCCESS;
}

CUresult cuCtxPushCurrent_v2(CUcontext ctx) {
  context_stack().push_back(runtime().context(ctx));
  return CUDA_SUCCESS;
}

CUresult cuCtxPopCurrent_v2(CUcontext* pctx) {
  auto& stack = context_stack();
  if (stack.empty()) refuse(CUDA_ERROR_INVALID_CONTEXT, "this thread's context stack is empty");
  if (pctx) *pctx = reinterpret_cast<CUcontext>(stack.back().get());
  stack.pop_back();
  return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext ctx) {
  auto& stack = context_stack();
  std::shared_ptr<Context> context = ctx ? runtime().context(ctx) : nullptr;
  if (!stack.empty()) stack.pop_back();
  if (context) stack.push_back(std::move(context));
  return CUDA_SUCCESS;
}

CUresult cuCtxGetCurrent(CUcontext* pctx) {
  auto& stack = context_stack();
  *not_null(pctx, "pctx") = stack.empty() ? nullptr : reinterpret_cast<CUcontext>(stack.back().get());
  return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice* device) {
  *not_null(device, "device") = current_context_even_faulted()->device.ordinal;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice_v2(CUdevice* device, CUcontext ctx) {
  *not_null(device, "device") = given_or_current(ctx)->device.ordinal;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetFlags(unsigned int* flags) {
  *not_null(flags, "flags") = current_context()->flags;
  return CUDA_SUCCESS;
}

CUresult cuCtxSetFlags(unsigned int flags) {
  if (flags & ~unsigned{CU_CTX_FLAGS_MASK})
    refuse(CUDA_ERROR_INVALID_VALUE, "flags {:#x} has unknown bits", flags);
  current_context()->flags = flags;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetId(CUcontext ctx, unsigned long long* ctxId) {
  *not_null(ctxId, "ctxId") = given_or_current(ctx)->id;
  return CUDA_SUCCESS;
}

CUresult cuCtxSynchronize() {
  const auto context = current_context();
  refuse_context_capturing(*context, "cuCtxSynchronize");
  context->synchronize();
  context->check_fault();
  return CUDA_SUCCESS;
}

CUresult cuCtxSynchronize_v2(CUcontext ctx) {
  const auto context = given_or_current(ctx);
  refuse_context_capturing(*context, "cuCtxSynchronize");
  context->synchronize();
  context->check_fault();
  return CUDA_SUCCESS;
}

CUresult cuCtxSetLimit(CUlimit limit, size_t value) {
  const auto context = current_context();
  std::lock_guard lock(context->mutex);
  auto it = context->limits.find(limit);
  if (it == context->limits.end())
    refuse(CUDA_ERROR_UNSUPPORTED_LIMIT, "limit {} does not exist on this device", static_cast<int>(limit));
  if (limit == CU_LIMIT_MAX_L2_FETCH_GRANULARITY && value > 128)
    refuse(CUDA_ERROR_INVALID_VALUE, "L2 fetch granularity: expected 0..128, got {}", value);
  it->second = value;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetLimit(size_t* pvalue, CUlimit limit) {
  const auto context = current_context();
  std::lock_guard lock(context->mutex);
  const auto it = context->limits.find(limit);
  if (it == context->limits.end())
    refuse(CUDA_ERROR_UNSUPPORTED_LIMIT, "limit {} does not exist on this device", static_cast<int>(limit));
  *not_null(pvalue, "pvalue") = it->second;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetCacheConfig(CUfunc_cache* pconfig) {
  *not_null(pconfig, "pconfig") = current_context()->cache_config;
  return CUDA_SUCCESS;
}

CUresult cuCtxSetCacheConfig(CUfunc_cache config) {
  if (config < CU_FUNC_CACHE_PREFER_NONE || config > CU_FUNC_CACHE_PREFER_EQUAL)
    refuse(CUDA_ERROR_INVALID_VALUE, "cache preference: expected 0..3, got {}", static_cast<int>(config));
  current_context()->cache_config = config;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetSharedMemConfig(CUsharedconfig* pConfig) {
  current_context();
  *not_null(pConfig, "pConfig") = CU_SHARED_MEM_CONFIG_FOUR_BYTE_BANK_SIZE;
  return CUDA_SUCCESS;
}

CUresult cuCtxSetSharedMemConfig(CUsharedconfig config) {
  current_context();
  // Banks are four bytes wide on this device; setting the width changes nothing, as on one.
  if (config < CU_SHARED_MEM_CONFIG_DEFAULT_BANK_SIZE || config > CU_SHARED_MEM_CONFIG_EIGHT_BYTE_BANK_SIZE)
    refuse(CUDA_ERROR_INVALID_VALUE, "bank size: expected 0..2, got {}", static_cast<int>(config));
  return CUDA_SUCCESS;
}

CUresult cuCtxGetApiVersion(CUcontext ctx, unsigned int* version) {
  *not_null(version, "version") = given_or_current(ctx)->api_version;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetStreamPriorityRange(int* leastPriority, int* greatestPriority) {
  current_context();
  if (leastPriority) *leastPriority = 0;
  if (greatestPriority) *greatestPriority = -5;
  return CUDA_SUCCESS;
}

CUresult cuCtxResetPersistingL2Cache() {
  current_context();  // persisting lines are part of no model here: every line is already normal
  return CUDA_SUCCESS;
}

CUresult cuCtxGetExecAffinity(CUexecAffinityParam*, CUexecAffinityType) {
  current_context();
  refuse(CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY, "execution affinity is not supported");
}

CUresult cuCtxRecordEvent(CUcontext hCtx, CUevent hEvent) {
  const auto context = given_or_current(hCtx);
  context->check_fault();
  const auto event = event_of(hEvent);
  if (event->context != context.get())
    refuse(CUDA_ERROR_INVALID_HANDLE, "the event belongs to another context");
  refuse_context_capturing(*context, "cuCtxRecordEvent");
  {
    const auto lock = lock_graphs();
    event->captured = nullptr;
  }
  event->set_recorded(context->join());
  return CUDA_SUCCESS;
}

CUresult cuCtxWaitEvent(CUcontext hCtx, CUevent hEvent) {
  const auto context = given_or_current(hCtx);
  context->check_fault();
  const auto event = event_of(hEvent);
  refuse_context_capturing(*context, "cuCtxWaitEvent");
  refuse_captured(*event, "cuCtxWaitEvent");
  if (const WorkPtr recorded = event->last_recorded()) context->gate(recorded);
  return CUDA_SUCCESS;
}

CUresult cuCtxEnablePeerAccess(CUcontext peerContext, unsigned int Flags) {
  if (Flags != 0) refuse(CUDA_ERROR_INVALID_VALUE, "Flags: expected 0, got {}", Flags);
  const auto context = current_context();
  const auto peer = runtime().context(peerContext);
  if (&peer->device == &context->device)
    refuse(CUDA_ERROR_INVALID_CONTEXT, "the peer context is on the same device {}", context->device.ordinal);
  std::lock_guard lock(context->mutex);
  if (!context->peers.insert(peer.get()).second)
    refuse(CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED, "device {} already accesses device {}",
           context->device.ordinal, peer->device.ordinal);
  return CUDA_SUCCESS;
}

CUresult cuCtxDisablePeerAccess(CUcontext peerContext) {
  const auto context = current_context();
  const auto peer = runtime().context(peerContext);
  std::lock_guard lock(context->mutex);
  if (context->peers.erase(peer.get()) == 0)
    refuse(CUDA_ERROR_PEER_ACCESS_NOT_ENABLED, "device {} does not access device {}", context->device.ordinal,
           peer->device.ordinal);
  return CUDA_SUCCESS;
}

}  // namespace ptxops::virt::api
