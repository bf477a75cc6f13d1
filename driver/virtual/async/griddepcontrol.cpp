// griddepcontrol: programmatic dependent launch. Grids of one stream run one after the other here, so a
// dependent's prerequisites are complete and flushed before it starts: both instructions hold without doing
// anything. The overlap that they buy is the time model's (launches), their misuse the checker's.
#include <bit>

#include "driver/virtual/check/checker.h"
#include "driver/virtual/check/global_history.h"
#include "driver/virtual/exec/decode.h"
#include "driver/virtual/exec/machine.h"
#include "driver/virtual/isa/ir.h"

namespace ptxops::virt {
namespace {

Step launch_dependents(Warp& w, const Op&, uint32_t lanes) {
  if (w.order) {
    const Grid& grid = *w.cta->cluster->grid;
    const bool early =
        grid.prerequisite != 0 && !Checker::has_waited_for_grid(*w.order, std::countr_zero(lanes));
    std::lock_guard lock(GlobalHistory::get().lock());
    GlobalHistory::get().trigger(static_cast<uint32_t>(grid.id), early);
  }
  return Step::next;
}
Step wait(Warp& w, const Op&, uint32_t lanes) {
  if (w.order) w.order->checker->grid_wait(w, lanes);
  return Step::next;
}

}  // namespace

void decode_griddepcontrol_launch_dependents(Decoder& d, const isa::Instruction&) {
  d.emit(launch_dependents);
}
void decode_griddepcontrol_wait(Decoder& d, const isa::Instruction&) {
  d.emit(wait);
}

}  // namespace ptxops::virt
