// The mbarrier.* instructions.
#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "driver/virtual/async/mbarrier.h"
#include "driver/virtual/check/checker.h"
#include "driver/virtual/exec/access.h"
#include "driver/virtual/exec/decode.h"
#include "driver/virtual/isa/ir.h"

namespace ptxops::virt {
namespace {

// Op: a = address slot, imm = displacement, b and c = further sources, d = result, e = these bits.
constexpr uint32_t kGeneric = 1;  // the address is generic: it must lie in the shared window
constexpr uint32_t kRemote = 2;   // .shared::cluster may name another CTA
constexpr uint32_t kDrop = 4, kNoComplete = 8, kExpect = 16;
constexpr uint32_t kSink = 32;  // no token is wanted
constexpr uint32_t kRelaxed = 64;

// The CTA and offset that a lane's address names; nullptr after a fault.
Cta* target_of(Warp& w, const Op& op, int lane, uint32_t& offset) {
  const uint64_t address = w.reg<uint64_t>(op.a)[lane] + op.imm;
  if ((op.e & kGeneric) && (address & kWindowMask) != kSharedWindow) {
    w.fault(op, lane, Diagnostic::X1,
            fmt::format("mbarrier address 0x{:x} is generic and does not lie in shared memory", address));
    return nullptr;
  }
  Cta* target = shared_target(w, op, lane, static_cast<uint32_t>(address), offset, Diagnostic::B10);
  if (!target) return nullptr;
  if (target != w.cta && !(op.e & kRemote)) {
    w.fault(op, lane, Diagnostic::B10,
            fmt::format(
                "mbarrier address 0x{:x} lies in cluster CTA {}, expected the executing CTA {}: only arrive, "
                "expect_tx and complete_tx reach other CTAs, with .shared::cluster",
                address, target->rank, w.cta->rank));
    return nullptr;
  }
  return target;
}

uint64_t effect_clock(const Warp& w, const Cta& target) {
  return w.clock + (&target == w.cta ? kMbarrierArriveLatency : kMbarrierRemoteLatency);
}

template <class Body>
Step each_lane(uint32_t lanes, const Body& body) {
  for (uint32_t m = lanes; m; m &= m - 1)
    if (!body(std::countr_zero(m))) return Step::fault;
  return Step::next;
}

Step init(Warp& w, const Op& op, uint32_t lanes) {
  return each_lane(lanes, [&](int lane) {
    uint32_t offset;
    return target_of(w, op, lane, offset) && mbarrier_init(w, op, lane, offset, w.reg<uint32_t>(op.b)[lane]);
  });
}

Step inval(Warp& w, const Op& op, uint32_t lanes) {
  return each_lane(lanes, [&](int lane) {
    uint32_t offset;
    return target_of(w, op, lane, offset) && mbarrier_inval(w, op, lane, offset);
  });
}

Step expect_tx(Warp& w, const Op& op, uint32_t lanes) {
  return each_lane(lanes, [&](int lane) {
    uint32_t offset;
    Cta* target = target_of(w, op, lane, offset);
    return target && mbarrier_expect_tx(w, op, lane, *target, offset, w.reg<uint32_t>(op.b)[lane],
                                        effect_clock(w, *target));
  });
}

Step complete_tx(Warp& w, const Op& op, uint32_t lanes) {
  return each_lane(lanes, [&](int lane) {
    uint32_t offset;
    Cta* target = target_of(w, op, lane, offset);
    return target && mbarrier_complete_tx(w, op, *target, offset, w.reg<uint32_t>(op.b)[lane],
                                          effect_clock(w, *target));
  });
}

// arrive, arrive_drop, with .expect_tx (c = bytes) or .noComplete.
Step arrive(Warp& w, const Op& op, uint32_t lanes) {
  return each_lane(lanes, [&](int lane) {
    uint32_t offset;
    Cta* target = target_of(w, op, lane, offset);
    if (!target) return false;
    const uint64_t clock = effect_clock(w, *target);
    if (target != w.cta && !(op.e & kSink)) {
      w.fault(op, lane, Diagnostic::B10,
              "an arrival on another CTA's mbarrier returns no state: expected `_`");
      return false;
    }
    if ((op.e & kExpect) &&
        !mbarrier_expect_tx(w, op, lane, *target, offset, w.reg<uint32_t>(op.c)[lane], clock))
      return false;
    MbarrierArrival arrival;
    arrival.count = w.reg<uint32_t>(op.b)[lane];
    arrival.drop = op.e & kDrop;
    arrival.no_complete = op.e & kNoComplete;
    arrival.relaxed = op.e & kRelaxed;
    uint64_t token;
    if (!mbarrier_arrive(w, op, lane, *target, offset, arrival, clock, &token)) return false;
    if (!(op.e & kSink)) w.reg<uint64_t>(op.d)[lane] = token;
    return true;
  });
}

Step pending_count(Warp& w, const Op& op, uint32_t lanes) {
  const uint64_t* token = w.reg<uint64_t>(op.a);
  uint32_t* d = w.reg<uint32_t>(op.d);
  for (uint32_t m = lanes; m; m &= m - 1) {
    const int lane = std::countr_zero(m);
    d[lane] = mbarrier_token_pending(token[lane]);
  }
  return Step::next;
}

std::string describe_wait(const Split& split) {
  const uint32_t offset = static_cast<uint32_t>(split.wait_a);
  return fmt::format("waiting for phase {} of {}", split.wait_b, mbarrier_text(*split.warp->cta, offset));
}

// Is the phase that the lane asks about complete? false and `ok` = false after a fault.
template <bool kParity>
bool phase_done(Warp& w, const Op& op, int lane, const MbarrierState& s, uint32_t offset, bool& ok) {
  if (kParity) {
    const uint32_t parity = w.reg<uint32_t>(op.b)[lane];
    if (parity > 1) {
      w.fault(op, lane, Diagnostic::X3, fmt::format("mbarrier phase parity {}: expected 0 or 1", parity));
      ok = false;
    }
    return mbarrier_parity_done(s, parity);
  }
  const uint64_t phase = mbarrier_token_phase(w.reg<uint64_t>(op.b)[lane]);
  const uint64_t current = s.phase & ((uint64_t{1} << 44) - 1);
  if (phase != current && phase + 1 != current) {
    w.fault(
        op, lane, Diagnostic::B6,
        fmt::format(
            "wait on phase {} of the mbarrier at shared address 0x{:x}, whose current phase is {}: expected "
            "the current or the preceding one",
            phase, offset, current));
    ok = false;
  }
  return phase != current;
}

bool observe(Warp& w, const Op& op, uint32_t lanes, uint32_t offset, const MbarrierInfo& info) {
  return w.order->checker->mbarrier_observed(w, op, lanes, offset, op.e & kRelaxed, info.state.phase - 1);
}

// test_wait answers at once; try_wait sleeps while no lane's phase is complete, unless nothing else can run.
template <bool kParity, bool kSleeps>
Step wait(Warp& w, const Op& op, uint32_t lanes) {
  uint32_t done = 0, first_done = 0, first_offset = 0, last_offset = 0;
  MbarrierInfo* first = nullptr;
  MbarrierInfo* last = nullptr;
  uint64_t completed = 0;
  bool ok = true;
  for (uint32_t m = lanes; m; m &= m - 1) {
    const int lane = std::countr_zero(m);
    uint32_t offset;
    if (!target_of(w, op, lane, offset)) return Step::fault;
    if (!last || offset != last_offset) {
      last = mbarrier_at(w, op, lane, *w.cta, offset);
      last_offset = offset;
      if (!last) return Step::fault;
      if (w.order && !w.order->checker->mbarrier_use(w, op, lane, *w.cta, offset)) return Step::fault;
    }
    if (!first) {
      first = last;
      first_offset = offset;
    }
    if (phase_done<kParity>(w, op, lane, last->state, offset, ok)) {
      done |= 1u << lane;
      completed = std::max(completed, last->phase_clock);
      if (offset == first_offset) first_done |= 1u << lane;
      if (w.order && offset != first_offset && !observe(w, op, 1u << lane, offset, *last)) return Step::fault;
    }
    if (!ok) return Step::fault;
  }
  if (kSleeps && done == 0 && !w.split->spurious) {
    w.wait_on(first->waiters, WaitKind::mbarrier, describe_wait, first_offset, first->state.phase);
    return Step::block;
  }
  w.split->spurious = false;
  if (done && w.cta->cluster->chance(8)) done = first_done = 0;  // as the time limit of a wait allows
  if (w.order && first_done && !observe(w, op, first_done, first_offset, *first)) return Step::fault;
  uint32_t& p = w.pred(op.d);
  p = (p & ~lanes) | done;
  w.clock += kMbarrierTestLatency;
  if (done) w.clock = std::max(w.clock, completed + kMbarrierWakeLatency);
  return Step::next;
}

struct Address {
  uint32_t slot;
  int64_t displacement;
  uint32_t flags;
};

// State space of the address: the row's .<shared> or .<shared_any> slot.
Address address_of(Decoder& d, const isa::Instruction& in, const isa::Operand& operand, bool may_be_remote) {
  Address a{};
  a.slot = d.address(operand, a.displacement);
  const isa::Space space = in.space();
  if (space == isa::Space::generic) a.flags |= kGeneric;
  if (may_be_remote && space != isa::Space::shared) a.flags |= kRemote;
  return a;
}

Op& emit(Decoder& d, Handler handler, const Address& a, uint32_t flags = 0) {
  Op& op = d.emit(handler);
  op.a = a.slot;
  op.imm = static_cast<uint64_t>(a.displacement);
  op.e = a.flags | flags;
  op.cost = 2;
  return op;
}

void decode_arrive(Decoder& d, const isa::Instruction& in, uint32_t flags) {
  const bool sink = in.operands[0].is_sink();
  if (in.space() == isa::Space::shared_cluster && !sink)
    d.refuse("an arrival on .shared::cluster returns no state: expected `_` as destination");
  const Address a = address_of(d, in, in.operands[1], true);
  uint32_t count = 0, bytes = 0;
  if (flags & kExpect) {
    bytes = d.src(in.operands[2], isa::Type::u32);
    count = d.constant32(1);
  } else {
    count = in.operands.size() > 2 ? d.src(in.operands[2], isa::Type::u32) : d.constant32(1);
  }
  const uint32_t token = sink ? 0 : d.dst(in.operands[0], isa::Type::b64);
  Op& op = emit(d, arrive, a, flags | (sink ? kSink : 0) | (in.has("relaxed") ? kRelaxed : 0));
  op.b = count;
  op.c = bytes;
  op.d = token;
}

// The suspend-time hint (operand 3) only bounds how long a false answer may take: any bound is legal.
void decode_wait(Decoder& d, const isa::Instruction& in, Handler handler, isa::Type phase_type) {
  const Address a = address_of(d, in, in.operands[1], false);
  const uint32_t phase = d.src(in.operands[2], phase_type);
  const uint32_t p = d.dst_pred(in.operands[0]);
  Op& op = emit(d, handler, a, in.has("relaxed") ? kRelaxed : 0);
  op.b = phase;
  op.d = p;
}

void decode_counted(Decoder& d, const isa::Instruction& in, Handler handler, bool may_be_remote) {
  const Address a = address_of(d, in, in.operands[0], may_be_remote);
  const uint32_t b = d.src(in.operands[1], isa::Type::u32);
  emit(d, handler, a).b = b;
}

}  // namespace

void decode_mbarrier_init(Decoder& d, const isa::Instruction& in) {
  decode_counted(d, in, init, false);
}
void decode_mbarrier_inval(Decoder& d, const isa::Instruction& in) {
  emit(d, inval, address_of(d, in, in.operands[0], false));
}
void decode_mbarrier_expect_tx(Decoder& d, const isa::Instruction& in) {
  decode_counted(d, in, expect_tx, true);
}
void decode_mbarrier_complete_tx(Decoder& d, const isa::Instruction& in) {
  decode_counted(d, in, complete_tx, true);
}

void decode_mbarrier_arrive(Decoder& d, const isa::Instruction& in) {
  decode_arrive(d, in, 0);
}
void decode_mbarrier_arrive_expect_tx(Decoder& d, const isa::Instruction& in) {
  decode_arrive(d, in, kExpect);
}
void decode_mbarrier_arrive_nocomplete(Decoder& d, const isa::Instruction& in) {
  decode_arrive(d, in, kNoComplete);
}
void decode_mbarrier_arrive_drop(Decoder& d, const isa::Instruction& in) {
  decode_arrive(d, in, kDrop);
}
void decode_mbarrier_arrive_drop_expect_tx(Decoder& d, const isa::Instruction& in) {
  decode_arrive(d, in, kDrop | kExpect);
}
void decode_mbarrier_arrive_drop_nocomplete(Decoder& d, const isa::Instruction& in) {
  decode_arrive(d, in, kDrop | kNoComplete);
}

void decode_mbarrier_test_wait(Decoder& d, const isa::Instruction& in) {
  decode_wait(d, in, wait<false, false>, isa::Type::b64);
}
void decode_mbarrier_test_wait_parity(Decoder& d, const isa::Instruction& in) {
  decode_wait(d, in, wait<true, false>, isa::Type::u32);
}
void decode_mbarrier_try_wait(Decoder& d, const isa::Instruction& in) {
  decode_wait(d, in, wait<false, true>, isa::Type::b64);
}
void decode_mbarrier_try_wait_parity(Decoder& d, const isa::Instruction& in) {
  decode_wait(d, in, wait<true, true>, isa::Type::u32);
}

void decode_mbarrier_pending_count(Decoder& d, const isa::Instruction& in) {
  const uint32_t token = d.src(in.operands[1], isa::Type::b64);
  const uint32_t count = d.dst(in.operands[0], isa::Type::u32);
  Op& op = d.emit(pending_count);
  op.a = token;
  op.d = count;
}

}  // namespace ptxops::virt
