#include "driver/virtual/async/mbarrier.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "driver/virtual/check/checker.h"
#include "driver/virtual/exec/access.h"

namespace ptxops::virt {

uint64_t mbarrier_image(const MbarrierState& s) {
  const uint64_t tx = static_cast<uint32_t>(s.tx) & 0x1fffffu;
  return uint64_t{s.pending} | uint64_t{s.expected} << 20 | tx << 40 | s.phase << 61;
}

uint64_t mbarrier_token(const MbarrierState& s) {
  return uint64_t{s.pending} | s.phase << 20;
}

static bool complete_if_due(MbarrierState& s) {
  if (s.pending != 0 || s.tx != 0) return false;
  ++s.phase;
  s.pending = s.expected;
  return true;
}

MbarrierError mbarrier_apply_arrive(MbarrierState& s, uint32_t count, bool drop, bool no_complete,
                                    bool& completed) {
  completed = false;
  if (count > s.pending) return MbarrierError::too_many_arrivals;
  if (drop && count > s.expected) return MbarrierError::drop_overflow;
  if (no_complete && count == s.pending && s.tx == 0) return MbarrierError::completes;
  s.pending -= count;
  if (drop) s.expected -= count;
  completed = complete_if_due(s);
  return MbarrierError::none;
}

MbarrierError mbarrier_apply_tx(MbarrierState& s, int64_t bytes, bool& completed) {
  completed = false;
  const int64_t tx = s.tx + bytes;
  if (tx > kMbarrierTxMax || tx < -kMbarrierTxMax) return MbarrierError::tx_range;
  s.tx = static_cast<int32_t>(tx);
  completed = complete_if_due(s);
  return MbarrierError::none;
}

static std::string place(const Warp& issuer, const Cta& target, uint32_t offset) {
  if (issuer.cta == &target) return fmt::format("mbarrier at shared address 0x{:x}", offset);
  return fmt::format("mbarrier at shared address 0x{:x} of cluster CTA {}", offset, target.rank);
}

std::string mbarrier_text(const Cta& cta, uint32_t offset) {
  const auto it = cta.mbarriers.find(offset);
  if (it == cta.mbarriers.end() || !it->second.live)
    return fmt::format("mbarrier 0x{:x} of cluster CTA {}: not initialised", offset, cta.rank);
  const MbarrierState& s = it->second.state;
  std::string text =
      fmt::format("mbarrier 0x{:x} of cluster CTA {} (init line {}): phase {}, pending {} of {} arrivals, ",
                  offset, cta.rank, it->second.init_line, s.phase, s.pending, s.expected);
  if (s.tx > 0) return text + fmt::format("tx-count {}: {} expected bytes not delivered", s.tx, s.tx);
  if (s.tx < 0)
    return text + fmt::format("tx-count {}: {} bytes delivered that no expect-tx announced", s.tx, -s.tx);
  return text + "tx-count 0";
}

static std::byte* image_bytes(Warp& issuer, const Op& op, int lane, Cta& target, uint32_t offset,
                              AccessKind kind = AccessKind::atomic) {
  Access access;
  access.space = Space::shared;
  access.kind = kind;
  access.size = 8;
  access.alignment = 8;
  return resolve_shared(issuer, op, lane, target, offset, access);
}

// Writes the image: every transition ends here.
static void store_image(Cta& target, uint32_t offset, const MbarrierState& s) {
  const uint64_t image = mbarrier_image(s);
  std::memcpy(target.smem + offset, &image, 8);
}

MbarrierInfo* mbarrier_at(Warp& issuer, const Op& op, int lane, Cta& target, uint32_t offset) {
  if (target.exited() && &target != issuer.cta) {
    issuer.fault(op, lane, Diagnostic::B10,
                 fmt::format("remote mbarrier operation on cluster CTA {}, which has exited", target.rank));
    return nullptr;
  }
  if (offset % 8 != 0) {
    issuer.fault(op, lane, Diagnostic::B1,
                 place(issuer, target, offset) + " is misaligned: expected a multiple of 8");
    return nullptr;
  }
  const auto it = target.mbarriers.find(offset);
  if (it == target.mbarriers.end() || !it->second.live) {
    // An address outside the window is reported as such.
    if (offset < kSharedReserved || offset + 8 > target.smem_end) {
      image_bytes(issuer, op, lane, target, offset);
      return nullptr;
    }
    const char* state = it == target.mbarriers.end() ? "uninitialised" : "invalidated";
    issuer.fault(op, lane, Diagnostic::B1,
                 fmt::format("operation on an {} {}: expected mbarrier.init before", state,
                             place(issuer, target, offset)));
    return nullptr;
  }
  MbarrierInfo& info = it->second;
  uint64_t image;
  std::memcpy(&image, target.smem + offset, 8);
  if (image != mbarrier_image(info.state)) {
    issuer.fault(
        op, lane, Diagnostic::B2,
        fmt::format("the 8 bytes of a live {} were overwritten by an ordinary store or a copy: expected "
                    "0x{:016x}, found 0x{:016x} (use mbarrier.inval before reusing the memory)",
                    place(issuer, target, offset), mbarrier_image(info.state), image));
    return nullptr;
  }
  return &info;
}

bool mbarrier_init(Warp& issuer, const Op& op, int lane, uint32_t offset, uint32_t count) {
  Cta& cta = *issuer.cta;
  if (!image_bytes(issuer, op, lane, cta, offset, AccessKind::store)) return false;  // fresh bytes are fine
  if (count < 1 || count > kMbarrierCountMax) {
    issuer.fault(op, lane, Diagnostic::X3,
                 fmt::format("mbarrier.init with count {}: expected 1 to {}", count, kMbarrierCountMax));
    return false;
  }
  MbarrierInfo& info = cta.mbarriers[offset];
  if (info.live) {
    issuer.fault(
        op, lane, Diagnostic::B2,
        fmt::format("mbarrier.init of a live object at shared address 0x{:x} (initialised at line {}): "
                    "expected mbarrier.inval before",
                    offset, info.init_line));
    return false;
  }
  info.live = true;
  info.state = MbarrierState{0, count, count, 0};
  info.init_line = op.line;
  info.in_flight = 0;
  info.phase_clock = info.pending_clock = issuer.clock;
  if (issuer.order && !issuer.order->checker->mbarrier_init(issuer, op, lane, offset)) return false;
  store_image(cta, offset, info.state);
  return true;
}

// Is the thread behind all who waited for the latest phase?
static bool waits_are_over(Warp& w, const Op& op, int lane, uint32_t offset) {
  if (!reported(Diagnostic::B2)) return true;
  const WarpOrder& o = *w.order;
  const auto knows = [&](const Clock& clock, const MbarrierOrder::Observer& by) {
    const Component* k = clock.seen.find(by.agent);
    return k &&
           (by.at.sync < k->sync || (by.at.sync == k->sync && by.at.sub <= k->sub && (k->mask & by.at.mask)));
  };
  for (const auto& by : o.checker->mbarrier(*w.cta, offset).observers) {
    bool known = by.agent == o.agent || knows(o.clock, by);
    for (const auto& p : o.parts) known |= (p.lanes >> lane & 1) && knows(p.clock, by);
    if (known) continue;
    const auto waiter = std::find_if(w.cta->warps.begin(), w.cta->warps.end(),
                                     [&](const auto& other) { return other->order->agent == by.agent; });
    w.fault(op, lane, Diagnostic::B2,
            fmt::format("mbarrier.inval of the {}: nothing orders it behind the wait of warp {}",
                        place(w, *w.cta, offset), (*waiter)->id));
    return false;
  }
  return true;
}

bool mbarrier_inval(Warp& issuer, const Op& op, int lane, uint32_t offset) {
  Cta& cta = *issuer.cta;
  MbarrierInfo* info = mbarrier_at(issuer, op, lane, cta, offset);
  if (!info) return false;
  if (!info->waiters.empty() || info->in_flight != 0) {
    issuer.fault(
        op, lane, Diagnostic::B2,
        fmt::format("mbarrier.inval of an object in use: {} waiters, {} bytes of copies in flight; {}",
                    info->waiters.splits.size(), info->in_flight, mbarrier_text(cta, offset)));
    return false;
  }
  if (issuer.order && !waits_are_over(issuer, op, lane, offset)) return false;
  info->live = false;
  return true;
}

// Stores the new state and, after a completed phase, wakes its waiters.
static bool settle(Warp& issuer, const Op& op, int lane, Cta& target, uint32_t offset, MbarrierInfo& info,
                   bool completed, uint64_t clock) {
  info.pending_clock = std::max(info.pending_clock, clock);
  store_image(target, offset, info.state);
  if (!completed) return true;
  if (info.in_flight != 0) {
    issuer.fault(
        op, lane, Diagnostic::B5,
        fmt::format("phase {} of {} completed while {} bytes of copies issued for it are undelivered: "
                    "expect-tx is too small or comes after the completing arrival",
                    info.state.phase - 1, place(issuer, target, offset), info.in_flight));
    return false;
  }
  info.phase_clock = info.pending_clock;
  if (issuer.order &&
      !issuer.order->checker->mbarrier_completed(issuer, op, lane, target, offset, info.state.phase - 1))
    return false;
  ++target.cluster->progress;
  target.cluster->wake(info.waiters);
  return true;
}

static bool refuse(Warp& issuer, const Op& op, int lane, Cta& target, uint32_t offset,
                   const MbarrierInfo& info, MbarrierError error, int64_t amount) {
  const MbarrierState& s = info.state;
  std::string text;
  switch (error) {
    case MbarrierError::too_many_arrivals:
      text = fmt::format(
          "arrival overflow: {} arrivals in phase {} whose pending count is {} (expected count {}); {}",
          amount, s.phase, s.pending, s.expected,
          s.pending == 0 ? "too many arrivals for the initialised count" : "count exceeds what is pending");
      break;
    case MbarrierError::tx_range:
      text = fmt::format("tx-count out of range: {} + {} leaves -{}..{}", s.tx, amount, kMbarrierTxMax,
                         kMbarrierTxMax);
      break;
    case MbarrierError::completes:
      text = fmt::format(".noComplete arrival of {} completes phase {}: expected more than {} pending",
                         amount, s.phase, amount);
      break;
    case MbarrierError::drop_overflow:
      text = fmt::format("arrive_drop of {} exceeds the expected count {}", amount, s.expected);
      break;
    case MbarrierError::none:
      break;
  }
  const Diagnostic id = error == MbarrierError::tx_range ? Diagnostic::B5 : Diagnostic::B3;
  issuer.fault(op, lane, id, fmt::format("{}: {}", place(issuer, target, offset), text));
  return false;
}

bool mbarrier_arrive(Warp& issuer, const Op& op, int lane, Cta& target, uint32_t offset,
                     const MbarrierArrival& arrival, uint64_t clock, uint64_t* token) {
  MbarrierInfo* info = mbarrier_at(issuer, op, lane, target, offset);
  if (!info) return false;
  if (arrival.count < 1 || arrival.count > kMbarrierCountMax) {
    issuer.fault(
        op, lane, Diagnostic::X3,
        fmt::format("mbarrier arrival with count {}: expected 1 to {}", arrival.count, kMbarrierCountMax));
    return false;
  }
  if (token) *token = mbarrier_token(info->state);
  if (issuer.order) {
    Checker& checker = *issuer.order->checker;
    if (arrival.by_copies) {
      checker.mbarrier_cp_async(issuer, op, lane, target, offset, arrival.copies);
    } else if (!checker.mbarrier_use(issuer, op, lane, target, offset) ||
               !checker.mbarrier_arrive(issuer, op, lane, target, offset, arrival.relaxed,
                                        info->state.phase)) {
      return false;
    }
  }
  bool completed;
  const MbarrierError error =
      mbarrier_apply_arrive(info->state, arrival.count, arrival.drop, arrival.no_complete, completed);
  if (error != MbarrierError::none)
    return refuse(issuer, op, lane, target, offset, *info, error, arrival.count);
  return settle(issuer, op, lane, target, offset, *info, completed, clock);
}

bool mbarrier_add_pending(Warp& issuer, const Op& op, int lane, Cta& target, uint32_t offset) {
  MbarrierInfo* info = mbarrier_at(issuer, op, lane, target, offset);
  if (!info) return false;
  if (info->state.pending == kMbarrierCountMax) {
    issuer.fault(
        op, lane, Diagnostic::B3,
        fmt::format("{}: pending count exceeds {}", place(issuer, target, offset), kMbarrierCountMax));
    return false;
  }
  ++info->state.pending;
  store_image(target, offset, info->state);
  return true;
}

bool mbarrier_expect_tx(Warp& issuer, const Op& op, int lane, Cta& target, uint32_t offset, uint32_t bytes,
                        uint64_t clock) {
  MbarrierInfo* info = mbarrier_at(issuer, op, lane, target, offset);
  if (!info) return false;
  if (issuer.order && !issuer.order->checker->mbarrier_use(issuer, op, lane, target, offset)) return false;
  bool completed;
  const MbarrierError error = mbarrier_apply_tx(info->state, bytes, completed);
  if (error != MbarrierError::none) return refuse(issuer, op, lane, target, offset, *info, error, bytes);
  return settle(issuer, op, lane, target, offset, *info, completed, clock);
}

bool mbarrier_copy_issued(Warp& issuer, const Op& op, int lane, Cta& target, uint32_t offset,
                          uint32_t bytes) {
  MbarrierInfo* info = mbarrier_at(issuer, op, lane, target, offset);
  if (!info) return false;
  if (issuer.order) {
    Checker& checker = *issuer.order->checker;
    if (!checker.mbarrier_use(issuer, op, lane, target, offset, false)) return false;
    checker.mbarrier_copy_issued(issuer, op, target, offset, info->state.phase);
  }
  info->in_flight += bytes;
  return true;
}

bool mbarrier_complete_tx(Warp& issuer, const Op& op, Cta& target, uint32_t offset, uint32_t bytes,
                          uint64_t clock, bool announced) {
  MbarrierInfo* info = mbarrier_at(issuer, op, -1, target, offset);
  if (!info) return false;
  if (announced) info->in_flight -= std::min<uint64_t>(info->in_flight, bytes);
  bool completed;
  const MbarrierError error = mbarrier_apply_tx(info->state, -int64_t{bytes}, completed);
  if (error != MbarrierError::none) {
    return refuse(issuer, op, -1, target, offset, *info, error, -int64_t{bytes});
  }
  return settle(issuer, op, -1, target, offset, *info, completed, clock);
}

}  // namespace ptxops::virt
