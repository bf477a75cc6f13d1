// bar / barrier: the 16 named barriers of a CTA.
//
// A warp arrives once all its live lanes have: at once for .aligned, lane by lane in divergent code
// otherwise. Each arrival counts 32 threads. Participants that wait sleep behind their instruction; whoever
// completes the barrier stores the reduction's result for them.
#pragma once

#include "driver/virtual/exec/machine.h"

namespace ptxops::virt {

inline constexpr uint32_t kNamedBarriers = 16;
inline constexpr uint32_t kBarrierLatency =
    25;  // modelled cycles from the last arrival to release (uncalibrated)

void named_barriers_after_exit(Warp& warp);

}  // namespace ptxops::virt
