// setmaxnreg: warpgroups trade registers through the pool of their CTA.
#include <fmt/format.h>

#include "driver/virtual/check/checker.h"
#include "driver/virtual/exec/decode.h"
#include "driver/virtual/exec/machine.h"
#include "driver/virtual/isa/ir.h"

namespace ptxops::virt {
namespace {

constexpr uint32_t kWarpsPerGroup = 4;

// Op: a = registers a thread, e = 1 for inc.
std::string describe(const Split& split) {
  const Warp& w = *split.warp;
  return fmt::format(
      "setmaxnreg.inc from {} to {} registers a thread: needs {} from the CTA's pool, which has {}",
      w.max_registers, split.wait_a, (split.wait_a - w.max_registers) * kLanes, w.cta->free_registers);
}

Step setmaxnreg(Warp& w, const Op& op, uint32_t lanes) {
  Cta& cta = *w.cta;
  const uint32_t count = op.a;
  const bool inc = op.e;
  const auto fault = [&](const std::string& what) { return w.fault(op, -1, Diagnostic::C8, what); };
  if (lanes != w.live())
    return fault(
        fmt::format("divergent setmaxnreg: executed by lanes 0x{:08x}, expected all live lanes 0x{:08x}",
                    lanes, w.live()));
  order_lanes(w, lanes);
  if (w.order && w.order->setmaxnreg_op != &op) ++w.order->setmaxnregs, w.order->setmaxnreg_op = &op;
  // Without a known launch allocation the hardware's assembler drops the instruction.
  if (w.max_registers == 0) return Step::next;
  if (inc ? count < w.max_registers : count > w.max_registers)
    return fault(fmt::format("setmaxnreg.{} to {} registers: expected {} the current {}", inc ? "inc" : "dec",
                             count, inc ? "at least" : "at most", w.max_registers));
  const uint32_t first = w.id / kWarpsPerGroup * kWarpsPerGroup;
  for (uint32_t i = first; i < first + kWarpsPerGroup && i < cta.warps.size(); ++i) {
    const Warp& other = *cta.warps[i];
    if (other.live() && other.max_registers != w.max_registers && other.max_registers != count)
      return fault(
          fmt::format("setmaxnreg to {} registers: warp {} of the warpgroup holds {}, this warp {}: all four "
                      "warps must execute the same setmaxnreg and synchronise before the next",
                      count, i, other.max_registers, w.max_registers));
  }
  if (inc) {
    const int64_t need = int64_t{count - w.max_registers} * kLanes;
    if (cta.free_registers < need) {
      w.wait_on(cta.register_waiters, WaitKind::setmaxnreg, describe, count);
      return Step::block;
    }
    cta.free_registers -= need;
  } else {
    cta.free_registers += int64_t{w.max_registers - count} * kLanes;
    ++cta.cluster->progress;
    cta.cluster->wake(cta.register_waiters);
  }
  w.max_registers = count;
  return Step::next;
}

}  // namespace

void decode_setmaxnreg(Decoder& d, const isa::Instruction& in) {
  const uint64_t count = in.operands[0].immediate(isa::Type::u32);
  if (count < 24 || count > 256 || count % 8 != 0)
    d.refuse(fmt::format("setmaxnreg {}: expected a multiple of 8 from 24 to 256", count));
  Op& op = d.emit(setmaxnreg);
  op.a = static_cast<uint32_t>(count);
  op.e = in.has("inc");
}

}  // namespace ptxops::virt
