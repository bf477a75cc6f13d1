// Kernel launches, prepared once and run often.
#pragma once

#include <cstdint>

#include "driver/client/module.h"

namespace ptxops::driver {

struct Dim3 {
  uint32_t x = 1, y = 1, z = 1;
};

struct LaunchShape {
  Dim3 grid, block;
  Dim3 cluster{0, 0, 0};  // CTAs; x = 0: no cluster attribute (the kernel may still require one)
  uint32_t dynamic_shared_bytes = 0;
  bool programmatic = false;  // PDL: may start while the stream's previous kernel drains
  bool cooperative = false;   // all CTAs resident at once
};

// Grid, block and attributes laid out for cuLaunchKernelEx, so that a run does nothing else: no allocation,
// lock or getenv, safe under stream capture. Thread rule: one thread at a time for each object; copying is
// cheap.
class Launch {
 public:
  // The kernel must outlive the launch.
  Launch(const Kernel& kernel, const LaunchShape& shape);
  Launch(const Launch& other);
  Launch& operator=(const Launch& other);

  // Queues the kernel. The kernel's context must be current in the calling thread (Context::Guard).
  // `arguments` as for cuLaunchKernel: one pointer to each parameter's value, read before the call returns.
  abi::CUresult try_run(abi::CUstream stream, void** arguments) noexcept {
    config_.hStream = stream;
    return launch_(&config_, function_, arguments, nullptr);
  }
  // The same, throwing Error.
  void run(abi::CUstream stream, void** arguments) {
    if (const abi::CUresult result = try_run(stream, arguments); result != abi::CUDA_SUCCESS) fail(result);
  }
  // run(stream, a, b, c) for parameters a, b, c, whose types must be the kernel's.
  template <class... Arguments>
  void operator()(abi::CUstream stream, const Arguments&... arguments) {
    void* pointers[] = {const_cast<void*>(static_cast<const void*>(&arguments))..., nullptr};
    run(stream, pointers);
  }

  void set_grid(Dim3 grid) {
    config_.gridDimX = grid.x;
    config_.gridDimY = grid.y;
    config_.gridDimZ = grid.z;
  }

  // Clusters (or blocks, without clusters) of this shape that the device can hold at once.
  int max_active_clusters() const;

 private:
  [[noreturn]] void fail(abi::CUresult result) const;

  const Kernel* kernel_;
  abi::Fn_cuLaunchKernelEx launch_;
  abi::CUfunction function_;
  abi::CUlaunchConfig config_{};
  abi::CUlaunchAttribute attributes_[3] = {};
};

}  // namespace ptxops::driver
