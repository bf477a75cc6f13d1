// What a launch asks for, judged before anything runs. Occupancy queries use the same rules.
#pragma once

#include <memory>

#include "driver/virtual/api/runtime.h"
#include "driver/virtual/exec/engine.h"

namespace ptxops::virt {

// The parts of a CUlaunchConfig that matter, attributes decoded.
struct LaunchRequest {
  Dim3 grid, block;
  Dim3 cluster{0, 0, 0};  // x = 0: no attribute
  uint32_t dynamic_shared = 0;
  bool cooperative = false;
  bool programmatic = false;  // programmatic stream serialization: an edge's type in graphs
};

// A launch that can run, again and again: judged, and with its parameters' values.
struct KernelLaunch {
  std::shared_ptr<Function> function;
  LaunchRequest request;
  LaunchDesc desc;
};

// Decodes grid, block and attributes. Throws for unknown or unimplemented attributes.
LaunchRequest decode_launch(const abi::CUlaunchConfig& config);

// Throws a Refusal naming limit and actual value unless the function can run as asked. Fills everything of
// the description but the parameters.
LaunchDesc check_launch(Function& function, const LaunchRequest& request, const Device& device);

// check_launch(), with parameters as cuLaunchKernel takes them. Their values are copied.
KernelLaunch make_launch(const std::shared_ptr<Function>& function, const LaunchRequest& request,
                         void** values, void** extra);
// Leads to work.finish(); a fault of the kernel becomes the context's.
void run(Work& work, KernelLaunch&& launch, const std::shared_ptr<Context>& context);
// The live context of a function; throws CUDA_ERROR_INVALID_HANDLE.
std::shared_ptr<Context> context_of(const Function& function);

// Level and seed that the calling thread has set by ptxopsVirtualSetCheck().
void apply_thread_checks(LaunchDesc& desc);

// Clusters of the shape that the device holds at once; 0 when none fits.
uint32_t max_active_clusters(const Profile& profile, uint32_t ctas_per_cluster, uint32_t ctas_per_sm);

}  // namespace ptxops::virt
