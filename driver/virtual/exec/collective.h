// Warp collectives with a member mask: shfl, vote, match, redux, elect, bar.warp.sync.
//
// Lanes of the mask may sit in different splits of the warp, even at different copies of the instruction.
// Splits that come early leave their operands in a Rendezvous and sleep; the last one computes for all lanes,
// stores every arrival's results in its own registers and wakes the others behind their instruction.
#pragma once

#include "driver/virtual/exec/machine.h"

namespace ptxops::virt {

inline constexpr uint32_t kShuffleLatency = 23;  // modelled cycles to a shuffle's result

// Completes collectives whose missing lanes have exited.
void collectives_after_exit(Warp& warp);

}  // namespace ptxops::virt
