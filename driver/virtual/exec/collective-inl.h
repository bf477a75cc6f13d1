// The one protocol of all warp collectives. A Rule supplies
//   struct Operands;                                                    gathered operands, one entry a lane
//   static void load(Warp&, const Op&, uint32_t lanes, Operands&);      reads the registers of `lanes`
//   static void compute(Operands&, const Op&, uint32_t lanes);          `lanes`: all participants
//   static void store(std::byte* regs, const Op&, uint32_t lanes, const Operands&);
// Op::f is the slot of the member mask (a register, or a constant).
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <memory>

#include "driver/virtual/check/checker.h"
#include "driver/virtual/exec/collective.h"

namespace ptxops::virt {

inline std::string describe_rendezvous(const Split& split) {
  const Warp& w = *split.warp;
  std::string text;
  for (const Rendezvous& r : w.rendezvous)
    for (const Rendezvous::Arrival& a : r.arrivals)
      if (a.split == &split)
        text +=
            fmt::format("{}.sync with member mask 0x{:08x}: lanes 0x{:08x} have arrived, missing 0x{:08x}",
                        text.empty() ? "" : "; ", r.members, r.arrived, r.members & w.live() & ~r.arrived);
  return text;
}

// The text leaves undefined what a lane outside its mask reads. Shipped kernels do it, so this is judged at
// full only; else it takes part: on hardware the mask says who must converge first, not who exchanges.
inline Step check_members(Warp& w, const Op& op, uint32_t lanes, uint32_t members) {
  if (const uint32_t outside = lanes & ~members; outside && w.order && reported(Diagnostic::C4))
    return w.fault(
        op, std::countr_zero(outside), Diagnostic::C4,
        fmt::format("executing lanes 0x{:08x} are not in the member mask 0x{:08x}", outside, members));
  return Step::next;
}

template <class Rule>
void finish_rendezvous(Warp& w, Rendezvous& r) {
  auto& operands = *static_cast<typename Rule::Operands*>(r.operands.get());
  Rule::compute(operands, *r.arrivals.front().op, r.arrived);
  for (const Rendezvous::Arrival& a : r.arrivals) Rule::store(a.regs, *a.op, a.lanes, operands);
  ++w.cta->cluster->progress;
}

// Wakes the splits of a finished rendezvous that no other one still holds. `self` is awake.
void release_rendezvous(Warp& w, size_t index, const Split* self);

template <class Rule>
Step collective(Warp& w, const Op& op, uint32_t lanes);

// Lanes that do not meet all their partners in this split.
template <class Rule>
[[gnu::noinline]] Step collective_apart(Warp& w, const Op& op, uint32_t lanes) {
  using Operands = typename Rule::Operands;
  const uint32_t* masks = w.reg<uint32_t>(op.f);
  for (uint32_t m = lanes; m; m &= m - 1)
    if (check_members(w, op, 1u << std::countr_zero(m), masks[std::countr_zero(m)]) == Step::fault)
      return Step::fault;
  bool sleeps = false;
  for (uint32_t rest = lanes; rest;) {
    const uint32_t mask = masks[std::countr_zero(rest)];
    uint32_t group = 0;
    for (uint32_t m = rest; m; m &= m - 1)
      if (masks[std::countr_zero(m)] == mask) group |= 1u << std::countr_zero(m);
    rest &= ~group;
    const uint32_t members = mask | group;
    size_t index = 0;
    while (index < w.rendezvous.size() &&
           (w.rendezvous[index].kind != &collective<Rule> || w.rendezvous[index].members != members))
      ++index;
    if (index == w.rendezvous.size()) {
      Rendezvous fresh;
      fresh.kind = &collective<Rule>;
      fresh.members = members;
      fresh.operands = std::make_shared<Operands>();
      fresh.finish = &finish_rendezvous<Rule>;
      w.rendezvous.push_back(std::move(fresh));
    }
    Rendezvous& r = w.rendezvous[index];
    Rule::load(w, op, group, *static_cast<Operands*>(r.operands.get()));
    r.arrived |= group;
    r.arrivals.push_back({w.split, &op, w.regs, group});
    if (members & w.live() & ~r.arrived) {
      sleeps = true;
      continue;
    }
    r.finish(w, r);
    order_lanes(w, r.members);
    release_rendezvous(w, index, w.split);
  }
  if (!sleeps) return Step::next;
  w.wait_on(w.lane_waiters, WaitKind::lanes, describe_rendezvous);
  return Step::sleep;
}

template <class Rule>
Step collective(Warp& w, const Op& op, uint32_t lanes) {
  const uint32_t* masks = w.reg<uint32_t>(op.f);
  const uint32_t members = masks[std::countr_zero(lanes)];
  bool together = (members & w.live()) == lanes && (members & lanes) == lanes;
  if (lanes == kAllLanes) {
    uint32_t differ = 0;
    for (uint32_t i = 0; i < kLanes; ++i) differ |= masks[i] ^ members;
    together = together && differ == 0;
  } else {
    for (uint32_t m = lanes; m; m &= m - 1) together = together && masks[std::countr_zero(m)] == members;
  }
  if (!together) return collective_apart<Rule>(w, op, lanes);
  typename Rule::Operands operands;
  Rule::load(w, op, lanes, operands);
  Rule::compute(operands, op, lanes);
  Rule::store(w.regs, op, lanes, operands);
  order_lanes(w, lanes);
  return Step::next;
}

// Blends 32-bit results of `lanes` into a register slot.
inline void store_selected(uint32_t* to, const uint32_t* from, uint32_t lanes) {
  if (lanes == kAllLanes) {
    std::copy(from, from + kLanes, to);
    return;
  }
  for (uint32_t m = lanes; m; m &= m - 1) to[std::countr_zero(m)] = from[std::countr_zero(m)];
}

// One 32-bit value for all of `lanes`.
inline void fill_selected(uint32_t* to, uint32_t value, uint32_t lanes) {
  if (lanes == kAllLanes) {
    std::fill(to, to + kLanes, value);
    return;
  }
  for (uint32_t m = lanes; m; m &= m - 1) to[std::countr_zero(m)] = value;
}

inline void store_predicate(uint32_t& to, uint32_t from, uint32_t lanes) {
  to = (to & ~lanes) | (from & lanes);
}

}  // namespace ptxops::virt
