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
};

// Decodes grid, block and attributes. Throws for unknown or unimplemented attributes.
LaunchRequest decode_launch(const abi::CUlaunchConfig& config);

// Throws a Refusal naming limit and actual value unless the function can run as asked. Fills everything of
// the description but the parameters.
LaunchDesc check_launch(Function& function, const LaunchRequest& request, const Device& device);

// Clusters of the shape that the device holds at once; 0 when none fits.
uint32_t max_active_clusters(const Profile& profile, uint32_t ctas_per_cluster, uint32_t ctas_per_sm);

}  // namespace ptxops::virt
