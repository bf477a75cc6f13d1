#include "driver/virtual/check/registers.h"

#include <fmt/format.h>

#include "driver/virtual/check/checker.h"

namespace ptxops::virt {
namespace {

using State = WarpOrder::Register;

std::vector<State>& states(Warp& w, uint32_t tracked) {
  auto& registers = w.order->registers;
  // The first use of a register needs a fence too.
  if (registers.size() < tracked)
    registers.resize(tracked, State{.touched = uint8_t(w.order->fenced_registers ? 0 : 2)});
  return registers;
}

bool report(Warp& w, const Op& at, uint32_t line, Diagnostic id, const std::string& action, const State& s,
            const std::string& missing) {
  if (!reported(id)) return true;
  Op here = at;
  here.line = line;
  Finding f;
  f.id = id;
  f.kernel = w.cta->cluster->grid->kernel().name;
  f.what = rule(id).title;
  f.sites[0] = site_of(w, here, -1, action, "generic");
  f.site_count = 1;
  if (s.wgmma_line) {
    here.line = s.wgmma_line;
    f.sites[f.site_count++] = site_of(w, here, -1, "issues the wgmma before", "async");
  } else if (s.touch_line) {
    here.line = s.touch_line;
    f.sites[f.site_count++] = site_of(w, here, -1, "accesses the register before", "generic");
  }
  f.missing = missing;
  w.cta->cluster->grid->record(Fault(std::move(f)));
  return false;
}

// Which rule an access to a register in flight breaks.
Diagnostic in_flight(const WarpOrder& o, uint32_t number) {
  if (number > o.wgmma_committed) return o.wgmma_waited_behind(number) ? Diagnostic::W3 : Diagnostic::W2;
  return o.wgmma_waited_behind(number) ? Diagnostic::W4 : Diagnostic::W2;
}

}  // namespace

Step check_registers(Warp& w, const Op& op, uint32_t) {
  if (!w.order) return Step::next;
  const auto& payload = *reinterpret_cast<const RegisterUses*>(op.imm);
  auto& all = states(w, payload.tracked);
  const WarpOrder& o = *w.order;
  for (const RegisterUse& use : payload.uses) {
    State& s = all[use.reg];
    const bool writes = use.kind != RegisterUse::Kind::read;
    if (s.d > o.wgmma_done) {
      const Diagnostic id = in_flight(o, s.d);
      const char* missing = id == Diagnostic::W3   ? "wgmma.commit_group behind the wgmma"
                            : id == Diagnostic::W4 ? "a wgmma.wait_group with a smaller N"
                                                   : "a wgmma.wait_group that covers the wgmma";
      if (!report(w, op, use.line, id, writes ? "writes an accumulator" : "reads an accumulator", s, missing))
        return Step::fault;
    }
    if (s.a > o.wgmma_done && !report(w, op, use.line, writes ? Diagnostic::W2 : Diagnostic::W2R,
                                      writes ? "writes a register of A" : "reads a register of A", s,
                                      "a wgmma.wait_group that covers the wgmma"))
      return Step::fault;
    if (use.kind == RegisterUse::Kind::copy) {
      s = all[use.from];
    } else {
      s.touched = std::max<uint8_t>(s.touched, writes ? 2 : 1);
      s.touch_line = use.line;
      if (s.d <= o.wgmma_done && s.a <= o.wgmma_done) s.wgmma_line = 0;
    }
  }
  return Step::next;
}

bool issue_registers(Warp& w, const Op& op, const WgmmaRegisters& r) {
  auto& all = states(w, r.tracked);
  WarpOrder& o = *w.order;
  const uint32_t number = o.wgmma_issued;
  const auto touched = [&](const State& s, const char* what) {
    if (!s.touched) return true;
    State shown = s;
    shown.wgmma_line = 0;
    return report(w, op, op.line, s.touched == 2 ? Diagnostic::W1 : Diagnostic::W1R,
                  fmt::format("uses {}", what), shown,
                  s.touch_line ? fmt::format("wgmma.fence between line {} and line {}", s.touch_line, op.line)
                               : "wgmma.fence before the first wgmma");
  };
  for (const uint32_t index : r.a) {
    State& s = all[index];
    if (!touched(s, "a register of A")) return false;
    if (s.d > o.wgmma_done && !report(w, op, op.line, in_flight(o, s.d), "uses an accumulator in flight as A",
                                      s, "a wgmma.wait_group that covers the wgmma"))
      return false;
  }
  for (const uint32_t index : r.d) {
    State& s = all[index];
    if (!touched(s, "an accumulator")) return false;
    if (s.a > o.wgmma_done && !report(w, op, op.line, Diagnostic::W2, "overwrites a register of A in flight",
                                      s, "a wgmma.wait_group that covers the wgmma"))
      return false;
    if (s.shape && s.shape != r.shape &&
        !report(w, op, op.line, Diagnostic::W5, "accumulates with another shape", s,
                "wgmma.fence between them"))
      return false;
  }
  for (const uint32_t index : r.a) all[index].a = number, all[index].wgmma_line = op.line;
  for (const uint32_t index : r.d) {
    State& s = all[index];
    s.d = number;
    s.shape = r.shape;
    s.wgmma_line = op.line;
  }
  return true;
}

void fence_registers(Warp& w) {
  for (State& s : w.order->registers) s.touched = 0, s.shape = 0;
  w.order->fenced_registers = true;
}

}  // namespace ptxops::virt
