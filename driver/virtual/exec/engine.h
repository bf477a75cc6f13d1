// The worker pool that executes grids: asynchronous, any number of grids and devices at once.
#pragma once

#include <functional>
#include <memory>

#include "driver/virtual/exec/grid.h"

namespace ptxops::virt {

class Engine {
 public:
  // One pool for the process; PTXOPS_VIRTUAL_THREADS workers (default: one a core).
  static Engine& get();
  // Throws where a variable that get() reads is malformed.
  static void check_environment();

  // Starts a grid. The launch must have been checked (launch.cpp of the API). `done` is called exactly once,
  // from a worker thread, without locks held; it may submit further grids.
  void submit(LaunchDesc desc, std::function<void(const LaunchResult&)> done);

  // Why the launch cannot run, or empty: block and grid sizes, shared memory, cluster shape against the
  // kernel's directives. The text names expected and actual values.
  static std::string refuse(const LaunchDesc& desc);

  // CTAs of `threads` threads and `dynamic_smem` bytes that fit on one SM at once; 0 when none fits.
  static uint32_t ctas_per_sm(const Kernel& kernel, uint32_t threads, uint32_t dynamic_smem);

  ~Engine();

 private:
  Engine();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ptxops::virt
