// barrier.cluster: every live thread of the cluster arrives once and waits once in each phase.
#pragma once

#include "driver/virtual/exec/machine.h"

namespace ptxops::virt {

inline constexpr uint32_t kClusterBarrierLatency =
    190;  // modelled cycles, last arrival to release (uncalibrated)
inline constexpr uint32_t kSoloBarrierLatency = 25;  // the same in a cluster of one CTA (uncalibrated)

void cluster_barrier_after_exit(Warp& warp);

}  // namespace ptxops::virt
