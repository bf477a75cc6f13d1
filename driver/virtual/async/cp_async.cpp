// cp.async: 4, 8 or 16 bytes a lane from global to shared memory, and its groups.
#include <cstring>

#include "driver/virtual/async/async_state.h"
#include "driver/virtual/async/mbarrier.h"
#include "driver/virtual/check/checker.h"
#include "driver/virtual/check/undefined_copy.h"
#include "driver/virtual/exec/access.h"
#include "driver/virtual/exec/decode.h"
#include "driver/virtual/time/latency.h"

namespace ptxops::virt {
namespace {

// Op: a destination, b source, imm both displacements (32 bits each, destination low), e bytes,
// c source bytes (kSize) or the ignore-source predicate (kIgnore), f which.
enum Third : uint32_t { kNone, kSize, kIgnore };

struct LaneCopy {
  std::byte* to;
  const std::byte* from;  // nullptr: zeros only
  uint8_t bytes, from_bytes;
};

Step cp_async(Warp& w, const Op& op, uint32_t lanes) {
  const int64_t to_displacement = static_cast<int32_t>(op.imm),
                from_displacement = static_cast<int32_t>(op.imm >> 32);
  const uint32_t bytes = op.e;
  LaneAccess to, from;
  const Access store{
      .space = Space::shared, .kind = AccessKind::store, .size = bytes, .alignment = bytes, .deferred = true};
  if (!resolve_lanes(w, op, lanes, w.reg<uint64_t>(op.a), to_displacement, store, to)) return Step::fault;

  // Lanes that read all their bytes are resolved together; shortened reads one by one, empty ones not at all.
  uint8_t from_bytes[kLanes];
  uint32_t whole = 0, part = 0;
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const uint32_t i = __builtin_ctz(rest);
    uint32_t n = bytes;
    if (op.f == kSize) n = w.reg<uint32_t>(op.c)[i];
    if (op.f == kIgnore && (w.pred(op.c) >> i & 1)) n = 0;
    if (n > bytes)
      return w.fault(
          op, static_cast<int>(i), Diagnostic::X3,
          "cp.async with src-size " + std::to_string(n) + " above cp-size " + std::to_string(bytes));
    from_bytes[i] = static_cast<uint8_t>(n);
    if (n == bytes)
      whole |= 1u << i;
    else if (n)
      part |= 1u << i;
  }
  uint32_t latency = 0;
  Access load{
      .space = Space::global, .kind = AccessKind::load, .size = bytes, .alignment = bytes, .deferred = true};
  if (whole) {
    if (!resolve_lanes(w, op, whole, w.reg<uint64_t>(op.b), from_displacement, load, from))
      return Step::fault;
    latency = charge_lanes(w, whole, from);
  }
  for (uint32_t rest = part; rest; rest &= rest - 1) {
    const int i = __builtin_ctz(rest);
    load.size = from_bytes[i];
    from.host[i] = resolve(w, op, i, w.reg<uint64_t>(op.b)[i] + from_displacement, load);
    if (!from.host[i]) return Step::fault;
    latency = std::max(latency, latency::kL2);
  }

  std::vector<LaneCopy> copies;
  copies.reserve(kLanes);
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const uint32_t i = __builtin_ctz(rest);
    copies.push_back(
        {to.host[i], from_bytes[i] ? from.host[i] : nullptr, static_cast<uint8_t>(bytes), from_bytes[i]});
  }
  if (met_undefined(w))
    for (uint32_t rest = whole | part; rest; rest &= rest - 1) {
      const uint32_t i = __builtin_ctz(rest);
      undefined_copy(w, op, from.host[i], to.host[i], from_bytes[i]);
    }
  auto& groups = async_state(w).cp_async;
  auto members = groups.join(lanes);
  uint32_t number = 0;
  if (w.order) {
    Checker& checker = *w.order->checker;
    WarpOrder& o = *w.order;
    number = members.front()->number;
    // A group has one number, unless lanes group differently or have had an mbarrier follow its first copies.
    if (members.size() > 1 || number <= o.cp_sealed) number = ++o.cp_issued;
    Checker::Async a{Actor::cp_async, AccessKind::load, checker.cp_async_agent(w), number, 0};
    if (whole && !checker.global_lanes(w, op, a, whole, from)) return Step::fault;
    for (uint32_t rest = part; rest; rest &= rest - 1) {
      a.lane = __builtin_ctz(rest);
      if (!checker.global_range(w, op, a, reinterpret_cast<uint64_t>(from.host[a.lane]), from_bytes[a.lane]))
        return Step::fault;
    }
    a.kind = AccessKind::store, a.lane = 0;
    if (!checker.shared_lanes(w, op, a, lanes, to)) return Step::fault;
  }
  const uint64_t done = w.clock + latency + latency::kShared;
  for (auto& g : members) {
    ++g->pending;
    g->number = number;
    g->write_clock = g->read_clock = std::max(g->write_clock, done);
  }
  groups.note(lanes, done);
  Cluster* cluster = w.cta->cluster;
  cluster->async.push_back({[copies = std::move(copies), members = std::move(members), cluster] {
    for (const LaneCopy& c : copies) {
      if (c.from) std::memcpy(c.to, c.from, c.from_bytes);
      std::memset(c.to + c.from_bytes, 0, c.bytes - c.from_bytes);
    }
    for (auto& g : members) --g->pending;
    ++cluster->progress;
  }});
  return Step::next;
}

Step commit(Warp& w, const Op&, uint32_t lanes) {
  async_state(w).cp_async.commit(lanes);
  return Step::next;
}
Step wait_group(Warp& w, const Op& op, uint32_t lanes) {
  async_state(w).cp_async.wait(w, lanes, static_cast<uint32_t>(op.imm), false);
  return Step::next;
}
Step wait_all(Warp& w, const Op&, uint32_t lanes) {
  async_state(w).cp_async.wait_all(w, lanes);
  return Step::next;
}

// The arrival is queued behind the lane's copies. Without .noinc the barrier expects one arrival more from
// now on.
Step mbarrier_arrive(Warp& w, const Op& op, uint32_t lanes) {
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const int lane = __builtin_ctz(rest);
    const uint64_t address = w.reg<uint64_t>(op.a)[lane] + op.imm;
    const uint64_t shared = (address & kWindowMask) == kSharedWindow ? address & ~kWindowMask : address;
    uint32_t offset;
    Cta* target = shared >> 32 ? nullptr : shared_target(w, op, lane, static_cast<uint32_t>(shared), offset);
    if (!target || target != w.cta)
      return w.fault(op, lane, Diagnostic::X1,
                     "cp.async.mbarrier.arrive needs an mbarrier in this CTA's shared memory");
    if (op.e && !mbarrier_add_pending(w, op, lane, *target, offset)) return Step::fault;
    const uint64_t clock = std::max(w.clock, async_state(w).cp_async.last_clock(static_cast<uint32_t>(lane)));
    MbarrierArrival arrival;
    arrival.by_copies = true;
    if (w.order) arrival.copies = w.order->cp_sealed = w.order->cp_issued;
    if (w.order && !w.order->checker->mbarrier_use(w, op, lane, *target, offset)) return Step::fault;
    w.cta->cluster->async.push_back({[&w, &op, lane, target, offset, arrival, clock] {
      ::ptxops::virt::mbarrier_arrive(w, op, lane, *target, offset, arrival, clock + kMbarrierArriveLatency);
    }});
  }
  return Step::next;
}

}  // namespace

void decode_cp_async(Decoder& d, const isa::Instruction& in) {
  const auto& operands = in.operands;
  const uint32_t bytes = static_cast<uint32_t>(operands[2].immediate(isa::Type::u32));
  int64_t to, from;
  const uint32_t a = d.address(operands[0], to), b = d.address(operands[1], from);
  if (to != static_cast<int32_t>(to) || from != static_cast<int32_t>(from))
    d.refuse("address displacement exceeds 32 bits");
  uint32_t third = 0, which = kNone;
  if (operands.size() > 3) {
    const isa::Operand& o = operands[3];
    const bool is_policy = in.has("L2::cache_hint") && operands.size() == 4;
    if (!is_policy) {
      which = o.type == isa::Type::pred ? kIgnore : kSize;
      third = which == kIgnore ? d.src_pred(o) : d.src(o, isa::Type::u32);
    }
  }
  Op& op = d.emit(cp_async);
  op.a = a;
  op.b = b;
  op.c = third;
  op.e = bytes;
  op.f = which;
  op.imm = static_cast<uint32_t>(to) | static_cast<uint64_t>(static_cast<uint32_t>(from)) << 32;
  op.cost = static_cast<uint16_t>(std::max(2u, bytes / 4));
}
void decode_cp_async_commit_group(Decoder& d, const isa::Instruction&) {
  d.emit(commit);
}
void decode_cp_async_wait_group(Decoder& d, const isa::Instruction& in) {
  d.emit(wait_group).imm = in.operands[0].immediate(isa::Type::u32);
}
void decode_cp_async_wait_all(Decoder& d, const isa::Instruction&) {
  d.emit(wait_all);
}
void decode_cp_async_mbarrier_arrive(Decoder& d, const isa::Instruction& in) {
  int64_t displacement;
  const uint32_t a = d.address(in.operands[0], displacement);
  Op& op = d.emit(mbarrier_arrive);
  op.a = a;
  op.imm = static_cast<uint64_t>(displacement);
  op.e = in.has("noinc") ? 0 : 1;
}

}  // namespace ptxops::virt
