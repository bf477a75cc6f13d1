#include "driver/virtual/async/barrier.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "driver/virtual/check/checker.h"
#include "driver/virtual/exec/decode.h"
#include "driver/virtual/isa/ir.h"

namespace ptxops::virt {
namespace {

enum Reduction : uint8_t { kNone, kPopc, kAnd, kOr };

// Packed in Op::e.
constexpr uint32_t kReductionBits = 3, kAligned = 4, kCounted = 8, kWaits = 16;

uint32_t cta_threads(const Cta& cta) {
  return static_cast<uint32_t>(cta.warps.size()) * kLanes;
}

std::string warp_list(uint32_t bits) {
  std::string text;
  for (; bits; bits &= bits - 1) text += fmt::format("{}{}", text.empty() ? "" : " ", std::countr_zero(bits));
  return text.empty() ? "none" : text;
}

std::string barrier_text(const Cta& cta, uint32_t id) {
  const NamedBarrier& b = cta.barriers[id];
  uint32_t missing = 0;
  std::string partial;
  for (const auto& warp : cta.warps) {
    if (warp->live() && !(b.arrived_warps >> warp->id & 1)) missing |= 1u << warp->id;
    if (b.partial[warp->id])
      partial += fmt::format("; warp {}: only lanes 0x{:08x} of 0x{:08x} arrived", warp->id,
                             b.partial[warp->id], warp->live());
  }
  return fmt::format("barrier {}: {} of {} threads arrived (warps {}); live warps that have not: {}{}", id,
                     b.arrived, b.expected, warp_list(b.arrived_warps), warp_list(missing), partial);
}

std::string describe(const Split& split) {
  return barrier_text(*split.warp->cta, static_cast<uint32_t>(split.wait_a));
}

bool is_complete(const Cta& cta, const NamedBarrier& b) {
  if (!b.whole_cta) return b.arrived == b.expected;
  for (const auto& warp : cta.warps)
    if (warp->live() && !(b.arrived_warps >> warp->id & 1)) return false;
  return true;
}

// Releases everybody: results, clocks, wake-ups; the barrier is idle again.
void complete(Cta& cta, NamedBarrier& b) {
  const uint64_t release = b.clock + kBarrierLatency;
  for (const NamedBarrier::Waiter& waiter : b.results) {
    waiter.warp->clock = std::max(waiter.warp->clock, release);
    if (b.order) {
      waiter.warp->order->checker->barrier_leave(*waiter.warp, waiter.lanes, *b.order, false);
      if (waiter.lanes == waiter.warp->live()) order_lanes(*waiter.warp, waiter.lanes);
    }
    if (b.reduction == kNone) continue;
    std::byte* slot = waiter.regs + waiter.op->d;
    if (b.reduction == kPopc) {
      uint32_t* d = reinterpret_cast<uint32_t*>(slot);
      for (uint32_t m = waiter.lanes; m; m &= m - 1) d[std::countr_zero(m)] = b.accumulator;
    } else {
      uint32_t& p = *reinterpret_cast<uint32_t*>(slot);
      p = b.accumulator ? p | waiter.lanes : p & ~waiter.lanes;
    }
  }
  if (b.order) cta.cluster->checker->named_completed(cta, static_cast<uint32_t>(&b - cta.barriers.data()));
  b.results.clear();
  b.order = nullptr;
  b.expected = b.arrived = b.arrived_warps = 0;
  b.partial.fill(0);
  ++b.generation;
  ++cta.cluster->progress;
  cta.cluster->wake(b.waiters);
}

// The lanes of `warp` that wait for their siblings count once all live ones are there.
void arrive_if_whole(Warp& warp, NamedBarrier& b) {
  const uint32_t here = b.partial[warp.id];
  if (here == 0 || (warp.live() & ~here) != 0) return;
  b.partial[warp.id] = 0;
  b.arrived_warps |= 1u << warp.id;
  b.arrived += kLanes;
}

bool is_uniform(const uint32_t* values, uint32_t lanes) {
  if (std::memcmp(values, values + 1, (kLanes - 1) * sizeof *values) == 0) return true;
  const uint32_t first = values[std::countr_zero(lanes)];
  uint32_t differ = 0;
  for (uint32_t i = 0; i < kLanes; ++i) differ |= lanes >> i & 1 ? values[i] ^ first : 0;
  return differ == 0;
}

Step barrier(Warp& w, const Op& op, uint32_t lanes) {
  Cta& cta = *w.cta;
  const auto reduction = static_cast<Reduction>(op.e & kReductionBits);
  const bool counted = op.e & kCounted, waits = op.e & kWaits;
  const auto fault = [&](const std::string& what, Diagnostic id = Diagnostic::C1) {
    return w.fault(op, -1, id, what);
  };

  if (!is_uniform(w.reg<uint32_t>(op.a), lanes))
    return fault("barrier number differs between the lanes of a warp");
  const uint32_t id = w.uniform<uint32_t>(op.a, lanes);
  if (id >= kNamedBarriers) return fault(fmt::format("barrier number {}: expected 0 to 15", id));
  if ((op.e & kAligned) && lanes != w.live())
    return fault(
        fmt::format("divergent aligned barrier {}: executed by lanes 0x{:08x}, expected all live lanes "
                    "0x{:08x} of the warp together",
                    id, lanes, w.live()),
        Diagnostic::C3);
  uint32_t expected = cta_threads(cta);
  if (counted) {
    if (!is_uniform(w.reg<uint32_t>(op.b), lanes))
      return fault("barrier thread count differs between the lanes of a warp");
    const uint32_t count = w.uniform<uint32_t>(op.b, lanes);
    if (count == 0 || count % kLanes != 0 || count > expected)
      return fault(
          fmt::format("barrier {} with thread count {}: expected a multiple of 32 from 32 to the CTA's {}",
                      id, count, expected));
    expected = count;
  }

  NamedBarrier& b = cta.barriers[id];
  if (b.expected == 0) {
    b.expected = expected;
    b.whole_cta = false;
    b.reduction = reduction;
    b.accumulator = reduction == kAnd;
    b.clock = 0;
  } else if (b.expected != expected) {
    return fault(
        fmt::format("barrier {}: thread count {} differs from {} of the participants that have arrived; {}",
                    id, expected, b.expected, barrier_text(cta, id)));
  } else if (b.reduction != reduction) {
    return fault(fmt::format("barrier {}: .red mixed with sync, arrive or another reduction; {}", id,
                             barrier_text(cta, id)));
  }
  if (!counted) b.whole_cta = true;
  // Judged at full only, since shipped kernels do it; else a second arrival counts as another warp's, as on
  // hardware.
  const bool again = b.arrived_warps >> w.id & 1;
  if ((again && w.order && reported(Diagnostic::C2)) || (b.partial[w.id] & lanes))
    return fault(fmt::format("double arrival: warp {} arrives again at barrier {} before it completed; {}",
                             w.id, id, barrier_text(cta, id)),
                 Diagnostic::C2);

  if (reduction != kNone) {
    const uint32_t p = w.pred(op.c) & lanes;
    if (reduction == kPopc) b.accumulator += static_cast<uint32_t>(std::popcount(p));
    if (reduction == kAnd) b.accumulator &= p == lanes;
    if (reduction == kOr) b.accumulator |= p != 0;
  }
  b.clock = std::max(b.clock, w.clock);
  if (w.order) {
    if (!w.order->checker->named_arrive(w, op, lanes, id)) return Step::fault;
    if (!b.order) b.order = std::make_shared<BarrierOrder>();
    w.order->checker->barrier_arrive(w, lanes, *b.order, false);
  }
  b.partial[w.id] |= lanes;
  if (waits) b.results.push_back({&w, &op, w.regs, lanes});
  arrive_if_whole(w, b);
  ++cta.cluster->progress;
  if (is_complete(cta, b)) {
    complete(cta, b);
    return Step::next;
  }
  if (!waits) return Step::next;
  w.wait_on(b.waiters, WaitKind::named_barrier, describe, id, b.generation);
  return Step::sleep;
}

// bar.* is barrier.*.aligned.
uint32_t aligned_bit(const isa::Instruction& in) {
  return in.row().root == "bar" || in.has("aligned") ? kAligned : 0;
}

void decode_barrier(Decoder& d, const isa::Instruction& in, Reduction reduction, bool waits) {
  const size_t first = reduction == kNone ? 0 : 1;
  const size_t last = in.operands.size() - (reduction == kNone ? 0 : 1);  // one past the thread count
  const uint32_t a = d.src(in.operands[first], isa::Type::u32);
  const bool counted = last > first + 1;
  const uint32_t b = counted ? d.src(in.operands[first + 1], isa::Type::u32) : 0;
  const uint32_t c = reduction == kNone ? 0 : d.src_pred(in.operands.back());
  uint32_t dst = 0;
  if (reduction == kPopc) dst = d.dst(in.operands[0], isa::Type::u32);
  if (reduction == kAnd || reduction == kOr) dst = d.dst_pred(in.operands[0]);
  Op& op = d.emit(barrier);
  op.d = dst;
  op.a = a;
  op.b = b;
  op.c = c;
  op.e = reduction | aligned_bit(in) | (counted ? kCounted : 0) | (waits ? kWaits : 0);
}

}  // namespace

void named_barriers_after_exit(Warp& warp) {
  Cta& cta = *warp.cta;
  for (NamedBarrier& b : cta.barriers) {
    if (b.expected == 0) continue;
    if (b.whole_cta || b.partial[warp.id]) b.clock = std::max(b.clock, warp.clock);
    arrive_if_whole(warp, b);
    if (is_complete(cta, b)) complete(cta, b);
  }
}

void decode_bar_sync(Decoder& d, const isa::Instruction& in) {
  decode_barrier(d, in, kNone, true);
}
void decode_bar_arrive(Decoder& d, const isa::Instruction& in) {
  decode_barrier(d, in, kNone, false);
}
void decode_bar_red_popc(Decoder& d, const isa::Instruction& in) {
  decode_barrier(d, in, kPopc, true);
}
void decode_bar_red_pred(Decoder& d, const isa::Instruction& in) {
  decode_barrier(d, in, in.has("and") ? kAnd : kOr, true);
}

}  // namespace ptxops::virt
