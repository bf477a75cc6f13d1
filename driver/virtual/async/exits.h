// What lanes that end leave behind: they are no longer waited for.
#pragma once

#include "driver/virtual/exec/machine.h"

namespace ptxops::virt {

// Call after lanes of `warp` were added to Warp::exited. Named barriers, the cluster barrier and warp
// collectives that waited only for these lanes complete and wake their waiters.
void lanes_exited(Warp& warp);

}  // namespace ptxops::virt
