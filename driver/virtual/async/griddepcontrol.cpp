// griddepcontrol: programmatic dependent launch. Grids of one stream run one after the other here, so a
// dependent's prerequisites are complete and flushed before it starts: both instructions hold without doing
// anything. The overlap that they buy is the time model's (launches), their misuse the checker's.
#include "driver/virtual/exec/decode.h"
#include "driver/virtual/exec/machine.h"
#include "driver/virtual/isa/ir.h"

namespace ptxops::virt {
namespace {

Step launch_dependents(Warp&, const Op&, uint32_t) {
  return Step::next;
}
Step wait(Warp&, const Op&, uint32_t) {
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
