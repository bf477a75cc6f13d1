// A device with the kernels loaded on it.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "driver/client/context.h"
#include "driver/client/launch.h"
#include "driver/client/module.h"
#include "driver/jit/build.h"
#include "ops/status.h"

namespace ptxops::ops {

// One kernel configuration, loaded. Lives as long as its context.
struct LoadedKernel {
  LoadedKernel(const driver::Context& context, jit::Built built);
  jit::Built built;
  driver::Library library;
  driver::Kernel kernel;
};

}  // namespace ptxops::ops

struct ptxopsContext_st {
  explicit ptxopsContext_st(int device);

  // Builds and loads on first use; later calls with equal parameters return the same kernel. Thread-safe.
  const ptxops::ops::LoadedKernel& kernel(const std::string& path, const ptxops::jit::Params& params);

  ptxops::driver::Context driver_context;
  ptxops::driver::DeviceInfo info;
  // What refers to this context: it is not destroyed while there are any.
  std::atomic<int> plans{0}, timers{0};

 private:
  std::mutex mutex_;
  std::map<std::pair<std::string, ptxops::jit::Params>, std::unique_ptr<ptxops::ops::LoadedKernel>> kernels_;
};
