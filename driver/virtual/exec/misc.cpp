// trap, brkpt, pmevent, nanosleep.
#include <algorithm>
#include <bit>

#include "driver/virtual/exec/decode.h"
#include "driver/virtual/exec/machine.h"
#include "driver/virtual/isa/ir.h"
#include "driver/virtual/time/model.h"

namespace ptxops::virt {
namespace {

constexpr uint64_t kNanosleepMax = 1'000'000;  // the architecture's bound: one millisecond

Step trap(Warp& w, const Op& op, uint32_t lanes) {
  return w.fault(op, std::countr_zero(lanes), Diagnostic::X7, "trap executed");
}

Step breakpoint(Warp& w, const Op& op, uint32_t lanes) {
  return w.fault(op, std::countr_zero(lanes), Diagnostic::X7, "brkpt executed without a debugger attached");
}

// Nothing counts performance-monitor events here: firing one has no architectural effect.
Step pmevent(Warp&, const Op&, uint32_t) {
  return Step::next;
}

// Sleeps for a time in [0, 2t]; here t, by the longest lane.
Step nanosleep(Warp& w, const Op& op, uint32_t lanes) {
  uint64_t longest = 0;
  const uint32_t* t = w.reg<uint32_t>(op.a);
  for (uint32_t m = lanes; m; m &= m - 1) longest = std::max<uint64_t>(longest, t[std::countr_zero(m)]);
  w.clock += static_cast<uint64_t>(static_cast<double>(std::min(longest, kNanosleepMax)) * kClockHz * 1e-9);
  return Step::next;
}

}  // namespace

void decode_trap(Decoder& d, const isa::Instruction&) {
  d.emit(trap);
}
void decode_brkpt(Decoder& d, const isa::Instruction&) {
  d.emit(breakpoint);
}
void decode_pmevent(Decoder& d, const isa::Instruction&) {
  d.emit(pmevent);
}
void decode_nanosleep(Decoder& d, const isa::Instruction& in) {
  const uint32_t a = d.src(in.operands[0], isa::Type::u32);
  d.emit(nanosleep).a = a;
}

}  // namespace ptxops::virt
