#include "driver/virtual/async/exits.h"

#include "driver/virtual/async/barrier.h"
#include "driver/virtual/async/cluster_barrier.h"
#include "driver/virtual/exec/collective.h"

namespace ptxops::virt {

void lanes_exited(Warp& warp) {
  ++warp.cta->cluster->progress;
  collectives_after_exit(warp);
  named_barriers_after_exit(warp);
  cluster_barrier_after_exit(warp);
}

}  // namespace ptxops::virt
