#include "ops/context.h"

#include <cstring>

#include "autotune/gemm_space.h"
#include "driver/client/memory.h"
#include "driver/client/stream.h"
#include "ops/check.h"

using ptxops::ops::fail;
using ptxops::ops::guarded;

namespace ptxops::ops {

// The virtual device executes PTX; a GPU gets a cubin from our own cache where ptxas is at hand.
LoadedKernel::LoadedKernel(const driver::Context& context, jit::Built b)
    : built(std::move(b)), library(context, built.image(), built.kernel), kernel(library, built.kernel) {
  const auto smem = built.notes.find("smem_bytes");
  if (smem != built.notes.end() && smem->second > 0)
    kernel.set_max_dynamic_shared_bytes(static_cast<int>(smem->second));
}

}  // namespace ptxops::ops

ptxopsContext_st::ptxopsContext_st(int device)
    : driver_context(ptxops::driver::Driver::get(), device),
      info(ptxops::driver::Driver::get().device(device)) {
  if (info.major != 9)
    fail(PTXOPS_NO_DEVICE, "device {} ('{}'): expected compute capability 9.0 (Hopper), got {}.{}", device,
         info.name, info.major, info.minor);
  ptxops::autotune::GemmSpace::get();  // now, so that no plan has to parse the kernel's head
}

const ptxops::ops::LoadedKernel& ptxopsContext_st::kernel(const std::string& path,
                                                          const ptxops::jit::Params& params) {
  std::lock_guard lock(mutex_);
  auto& slot = kernels_[{path, params}];
  if (!slot) {
    ptxops::jit::BuildOptions options;
    if (driver_context.driver().is_virtual()) options.want = ptxops::jit::Want::kPtx;
    slot = std::make_unique<ptxops::ops::LoadedKernel>(driver_context,
                                                       ptxops::jit::build(path, params, options));
  }
  return *slot;
}

struct ptxopsTimer_st {
  explicit ptxopsTimer_st(ptxopsContext_st& c) : context(c), start(c.driver_context), end(c.driver_context) {
    ++context.timers;
  }
  ~ptxopsTimer_st() { --context.timers; }
  ptxopsContext_st& context;
  ptxops::driver::Event start, end;
};

namespace {

template <class T>
void expect_out(const char* name, T* pointer) {
  if (!pointer) fail(PTXOPS_INVALID_ARGUMENT, "{}: expected a pointer to write to, got NULL", name);
}
ptxopsContext_st& expect(ptxopsContext_t context) {
  if (!context) fail(PTXOPS_INVALID_ARGUMENT, "context: expected a context, got NULL");
  return *context;
}
ptxopsTimer_st& expect(ptxopsTimer_t timer) {
  if (!timer) fail(PTXOPS_INVALID_ARGUMENT, "timer: expected a timer, got NULL");
  return *timer;
}
ptxops::abi::CUstream handle(ptxopsStream_t stream) {
  return reinterpret_cast<ptxops::abi::CUstream>(stream);
}

}  // namespace

extern "C" {

ptxopsStatus_t ptxopsContextCreate(ptxopsContext_t* context, int device) {
  return guarded([&] {
    expect_out("context", context);
    *context = nullptr;
    const int count = ptxops::driver::Driver::get().device_count();
    if (device < 0 || device >= count)
      fail(PTXOPS_INVALID_ARGUMENT, "device: expected 0 .. {}, got {}", count - 1, device);
    *context = new ptxopsContext_st(device);
  });
}

ptxopsStatus_t ptxopsContextDestroy(ptxopsContext_t context) {
  return guarded([&] {
    if (!context) return;
    if (const int plans = context->plans, timers = context->timers; plans || timers)
      fail(PTXOPS_INVALID_ARGUMENT,
           "context: expected one whose plans and timers have been destroyed, got {} plans and {} timers "
           "alive",
           plans, timers);
    delete context;
  });
}

ptxopsStatus_t ptxopsContextGetInfo(ptxopsContext_t context, ptxopsDeviceInfo_t* info) {
  return guarded([&] {
    ptxopsContext_st& c = expect(context);
    expect_out("info", info);
    *info = {};
    std::strncpy(info->name, c.info.name.c_str(), sizeof info->name - 1);
    info->device = c.info.ordinal;
    info->sm_count = c.info.sm_count;
    info->clock_khz = c.info.clock_khz;
    info->is_virtual = c.driver_context.driver().is_virtual();
    info->driver_version = c.driver_context.driver().version();
    info->memory_bytes = c.info.memory_bytes;
  });
}

ptxopsStatus_t ptxopsMemAlloc(ptxopsContext_t context, ptxopsDevicePtr_t* address, size_t bytes) {
  return guarded([&] {
    ptxopsContext_st& c = expect(context);
    expect_out("address", address);
    *address = 0;
    if (bytes == 0) fail(PTXOPS_INVALID_ARGUMENT, "bytes: expected at least 1, got 0");
    const ptxops::driver::Context::Guard guard(c.driver_context);
    ptxops::abi::CUdeviceptr p = 0;
    c.driver_context.driver().check(c.driver_context.driver().api().cuMemAlloc(&p, bytes), "cuMemAlloc");
    *address = p;
  });
}

ptxopsStatus_t ptxopsMemFree(ptxopsContext_t context, ptxopsDevicePtr_t address) {
  return guarded([&] {
    ptxopsContext_st& c = expect(context);
    if (address == 0) return;
    const ptxops::driver::Context::Guard guard(c.driver_context);
    c.driver_context.driver().check(c.driver_context.driver().api().cuMemFree(address), "cuMemFree");
  });
}

ptxopsStatus_t ptxopsMemcpyToDevice(ptxopsContext_t context, ptxopsDevicePtr_t to, const void* from,
                                    size_t bytes, ptxopsStream_t stream) {
  return guarded([&] {
    ptxopsContext_st& c = expect(context);
    if (bytes == 0) return;
    ptxops::ops::check_pointer("to", to, 1);
    if (!from) fail(PTXOPS_INVALID_ARGUMENT, "from: expected host memory, got NULL");
    const ptxops::driver::Context::Guard guard(c.driver_context);
    const ptxops::driver::Driver& d = c.driver_context.driver();
    d.check(d.api().cuMemcpyHtoDAsync(to, from, bytes, handle(stream)), "cuMemcpyHtoDAsync");
    d.check(d.api().cuStreamSynchronize(handle(stream)), "cuStreamSynchronize");
  });
}

ptxopsStatus_t ptxopsMemcpyToHost(ptxopsContext_t context, void* to, ptxopsDevicePtr_t from, size_t bytes,
                                  ptxopsStream_t stream) {
  return guarded([&] {
    ptxopsContext_st& c = expect(context);
    if (bytes == 0) return;
    ptxops::ops::check_pointer("from", from, 1);
    expect_out("to", to);
    const ptxops::driver::Context::Guard guard(c.driver_context);
    const ptxops::driver::Driver& d = c.driver_context.driver();
    d.check(d.api().cuMemcpyDtoHAsync(to, from, bytes, handle(stream)), "cuMemcpyDtoHAsync");
    d.check(d.api().cuStreamSynchronize(handle(stream)), "cuStreamSynchronize");
  });
}

ptxopsStatus_t ptxopsMemset(ptxopsContext_t context, ptxopsDevicePtr_t to, uint8_t value, size_t bytes,
                            ptxopsStream_t stream) {
  return guarded([&] {
    ptxopsContext_st& c = expect(context);
    if (bytes == 0) return;
    ptxops::ops::check_pointer("to", to, 1);
    const ptxops::driver::Context::Guard guard(c.driver_context);
    const ptxops::driver::Driver& d = c.driver_context.driver();
    d.check(d.api().cuMemsetD8Async(to, value, bytes, handle(stream)), "cuMemsetD8Async");
  });
}

ptxopsStatus_t ptxopsStreamCreate(ptxopsContext_t context, ptxopsStream_t* stream) {
  return guarded([&] {
    ptxopsContext_st& c = expect(context);
    expect_out("stream", stream);
    const ptxops::driver::Context::Guard guard(c.driver_context);
    const ptxops::driver::Driver& d = c.driver_context.driver();
    ptxops::abi::CUstream s = nullptr;
    d.check(d.api().cuStreamCreateWithPriority(&s, ptxops::abi::CU_STREAM_NON_BLOCKING, 0),
            "cuStreamCreateWithPriority");
    *stream = reinterpret_cast<ptxopsStream_t>(s);
  });
}

ptxopsStatus_t ptxopsStreamDestroy(ptxopsContext_t context, ptxopsStream_t stream) {
  return guarded([&] {
    ptxopsContext_st& c = expect(context);
    if (!stream) return;
    const ptxops::driver::Context::Guard guard(c.driver_context);
    const ptxops::driver::Driver& d = c.driver_context.driver();
    d.check(d.api().cuStreamDestroy(handle(stream)), "cuStreamDestroy");
  });
}

ptxopsStatus_t ptxopsStreamSynchronize(ptxopsContext_t context, ptxopsStream_t stream) {
  return guarded([&] {
    ptxopsContext_st& c = expect(context);
    const ptxops::driver::Context::Guard guard(c.driver_context);
    const ptxops::driver::Driver& d = c.driver_context.driver();
    d.check(d.api().cuStreamSynchronize(handle(stream)), "cuStreamSynchronize");
  });
}

ptxopsStatus_t ptxopsTimerCreate(ptxopsContext_t context, ptxopsTimer_t* timer) {
  return guarded([&] {
    ptxopsContext_st& c = expect(context);
    expect_out("timer", timer);
    *timer = nullptr;
    const ptxops::driver::Context::Guard guard(c.driver_context);
    *timer = new ptxopsTimer_st(c);
  });
}

ptxopsStatus_t ptxopsTimerDestroy(ptxopsTimer_t timer) {
  return guarded([&] { delete timer; });
}

ptxopsStatus_t ptxopsTimerStart(ptxopsTimer_t timer, ptxopsStream_t stream) {
  return guarded([&] {
    ptxopsTimer_st& t = expect(timer);
    const ptxops::driver::Context::Guard guard(t.context.driver_context);
    t.start.record(handle(stream));
  });
}

ptxopsStatus_t ptxopsTimerStop(ptxopsTimer_t timer, ptxopsStream_t stream, double* seconds) {
  return guarded([&] {
    ptxopsTimer_st& t = expect(timer);
    expect_out("seconds", seconds);
    const ptxops::driver::Context::Guard guard(t.context.driver_context);
    t.end.record(handle(stream));
    t.end.synchronize();
    *seconds = t.end.milliseconds_since(t.start) * 1e-3;
  });
}

}  // extern "C"
