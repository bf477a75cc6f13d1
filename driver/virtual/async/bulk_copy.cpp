// cp.async.bulk and cp.reduce.async.bulk without a tensor map, and the bulk groups.
#include <fmt/format.h>

#include <cstring>

#include "driver/virtual/async/bulk.h"
#include "driver/virtual/async/mbarrier.h"
#include "driver/virtual/check/undefined_copy.h"
#include "driver/virtual/exec/atomic_ops.h"
#include "driver/virtual/exec/grid.h"
#include "driver/virtual/memory/memory.h"
#include "driver/virtual/time/latency.h"

namespace ptxops::virt {
namespace {

// A reduction in the place of a plain copy; Op::e is 1 where there is one.
struct BulkReduce {
  BulkOperands operands;  // first, so that bulk_operands() finds it
  atomics::ReduceFunction reduce = nullptr;
  uint32_t element = 1;
};
const BulkReduce& reduction(const Op& op) {
  return *reinterpret_cast<const BulkReduce*>(op.imm);
}

bool size_of(Warp& w, const Op& op, int lane, uint32_t& bytes) {
  bytes = w.reg<uint32_t>(bulk_operands(op).size)[lane];
  if (bytes % 16 == 0) return true;
  w.fault(op, lane, Diagnostic::A1, fmt::format("bulk copy of {} bytes: expected a multiple of 16", bytes));
  return false;
}

std::byte* open_global(Warp& w, const Op& op, int lane, AccessKind kind, uint32_t bytes) {
  const auto& o = bulk_operands(op);
  const uint64_t address = w.reg<uint64_t>(o.global)[lane] + o.global_displacement;
  return resolve(
      w, op, lane, address,
      {.space = Space::global, .kind = kind, .proxy = Proxy::async, .size = bytes, .alignment = 16});
}

Step g2s_one(Warp& w, const Op& op, int lane) {
  const auto& o = bulk_operands(op);
  uint32_t bytes;
  if (!size_of(w, op, lane, bytes)) return Step::fault;
  const std::byte* from = open_global(w, op, lane, AccessKind::load, bytes);
  Destination to;
  if (!from || !open_destination(w, op, lane, o, w.reg<uint64_t>(o.shared)[lane] + o.shared_displacement,
                                 w.reg<uint64_t>(o.barrier)[lane] + o.barrier_displacement, bytes, 16, to))
    return Step::fault;
  if (w.order &&
      !w.order->checker->global_range(w, op, signals(w, lane, to), reinterpret_cast<uint64_t>(from), bytes))
    return Step::fault;
  if (met_undefined(w))
    for (uint32_t rest = to.ctas; rest; rest &= rest - 1)
      undefined_copy(w, op, from, w.cta->cluster->ctas[__builtin_ctz(rest)]->smem + to.offset, bytes);
  uint64_t done = reserve_engine(w, bytes, 1) + latency::kTma;
  if (bytes) done += charge_global(*w.cta->cluster->grid, reinterpret_cast<uint64_t>(from), bytes);
  w.cta->cluster->async.push_back(
      {[&w, &op, from, to, bytes, done] {
         for (uint32_t rest = to.ctas; rest; rest &= rest - 1)
           std::memcpy(w.cta->cluster->ctas[__builtin_ctz(rest)]->smem + to.offset, from, bytes);
         complete(w, op, to, bytes, done);
       },
       true});
  return Step::next;
}

Step s2s_one(Warp& w, const Op& op, int lane) {
  const auto& o = bulk_operands(op);
  uint32_t bytes;
  if (!size_of(w, op, lane, bytes)) return Step::fault;
  const std::byte* from =
      open_source(w, op, lane, w.reg<uint64_t>(o.shared)[lane] + o.shared_displacement, bytes, 16);
  Destination to;
  if (!from || !open_destination(w, op, lane, o, w.reg<uint64_t>(o.remote)[lane] + o.remote_displacement,
                                 w.reg<uint64_t>(o.barrier)[lane] + o.barrier_displacement, bytes, 16, to,
                                 op.e ? AccessKind::atomic : AccessKind::store))
    return Step::fault;
  if (w.order && !w.order->checker->shared_range(w, op, signals(w, lane, to), *w.cta,
                                                 static_cast<uint32_t>(from - w.cta->smem), bytes))
    return Step::fault;
  const uint64_t done = reserve_engine(w, bytes, 1) + latency::kSharedRemote;
  std::byte* target = w.cta->cluster->ctas[__builtin_ctz(to.ctas)]->smem + to.offset;
  if (met_undefined(w)) {
    if (op.e && !undefined_reduction(w, op, lane, from, bytes)) return Step::fault;
    undefined_copy(w, op, from, target, bytes);
  }
  w.cta->cluster->async.push_back({[&w, &op, from, to, target, bytes, done] {
                                     if (op.e)
                                       reduction(op).reduce(target, from, bytes / reduction(op).element);
                                     else
                                       std::memmove(target, from, bytes);
                                     complete(w, op, to, bytes, done);
                                   },
                                   true});
  return Step::next;
}

Step s2g_one(Warp& w, const Op& op, int lane) {
  const auto& o = bulk_operands(op);
  uint32_t bytes;
  if (!size_of(w, op, lane, bytes)) return Step::fault;
  const std::byte* from =
      open_source(w, op, lane, w.reg<uint64_t>(o.shared)[lane] + o.shared_displacement, bytes, 16);
  std::byte* to =
      from ? open_global(w, op, lane, op.e ? AccessKind::atomic : AccessKind::store, bytes) : nullptr;
  if (!to) return Step::fault;
  if (w.order) {
    Checker& checker = *w.order->checker;
    const GroupedOrder g = open_group(w, op, lane, op.e ? AccessKind::atomic : AccessKind::store);
    const uint32_t first = static_cast<uint32_t>(from - w.cta->smem);
    if (!checker.shared_range(w, op, g.read, *w.cta, first, bytes) ||
        !undefined_bulk_store(w, op, lane, first, bytes) ||
        !checker.global_range(w, op, g.write, reinterpret_cast<uint64_t>(to), bytes))
      return Step::fault;
  }
  if (met_undefined(w)) {
    if (op.e && !undefined_reduction(w, op, lane, from, bytes)) return Step::fault;
    undefined_copy(w, op, from, to, bytes);
  }
  const uint64_t read = reserve_engine(w, bytes, 1) + latency::kTma;
  const uint64_t written =
      read + (bytes ? charge_global(*w.cta->cluster->grid, reinterpret_cast<uint64_t>(to), bytes) : 0);
  push_grouped(w, lane, read, written, [&op, from, to, bytes] {
    if (op.e)
      reduction(op).reduce(to, from, bytes / reduction(op).element);
    else
      std::memcpy(to, from, bytes);
  });
  return Step::next;
}

Step prefetch_one(Warp& w, const Op& op, int lane) {
  uint32_t bytes;
  if (!size_of(w, op, lane, bytes)) return Step::fault;
  // Prefetching never-written memory reads nothing, so only the range is judged.
  const auto& o = bulk_operands(op);
  const uint64_t address = w.reg<uint64_t>(o.global)[lane] + o.global_displacement;
  if (bytes == 0) return Step::next;
  const Memory& memory = *w.cta->cluster->grid->desc.memory;
  const Allocation* a = memory.find(address);
  if (address % 16 || !a || bytes > a->end() - address)
    return w.fault(
        op, lane, address % 16 ? Diagnostic::A1 : Diagnostic::A2,
        fmt::format("bulk prefetch of {} bytes at {:#x}: {}", bytes, address, memory.describe(address)));
  reserve_engine(w, bytes, 1);
  charge_global(*w.cta->cluster->grid, address, bytes);
  return Step::next;
}

template <Step (*kOne)(Warp&, const Op&, int)>
Step each_lane(Warp& w, const Op& op, uint32_t lanes) {
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const Step step = kOne(w, op, __builtin_ctz(rest));
    if (step != Step::next) return step;
  }
  return Step::next;
}

Step commit(Warp& w, const Op&, uint32_t lanes) {
  async_state(w).bulk.commit(lanes);
  return Step::next;
}
Step wait_group(Warp& w, const Op& op, uint32_t lanes) {
  async_state(w).bulk.wait(w, lanes, static_cast<uint32_t>(op.imm), op.e != 0);
  return Step::next;
}

BulkReduce decode_reduction(Decoder& d, const isa::Instruction& in, bool global) {
  BulkReduce r;
  AtomicOp kind{};
  if (!atomic_op_from(in.choice("op"), kind)) d.refuse("unknown reduction");
  r.reduce = atomics::reduce_function(kind, in.type(), global);
  if (!r.reduce) d.refuse("this reduction does not exist for this type");
  r.element = static_cast<uint32_t>(isa::type_bytes(in.type()));
  return r;
}

// Operands: [destination], [source], size, then [mbarrier] for copies into shared memory.
void decode_from_shared(Decoder& d, const isa::Instruction& in, bool to_global, bool reduces) {
  BulkReduce payload;
  if (reduces) payload = decode_reduction(d, in, to_global);
  BulkOperands& o = payload.operands;
  if (to_global)
    o.global = d.address(in.operands[0], o.global_displacement);
  else
    o.remote = d.address(in.operands[0], o.remote_displacement);
  o.shared = d.address(in.operands[1], o.shared_displacement);
  o.size = d.src(in.operands[2], isa::Type::u32);
  if (!to_global) o.barrier = d.address(in.operands[3], o.barrier_displacement);
  const auto* kept = d.keep(payload);
  Op& op = d.emit(to_global ? each_lane<s2g_one> : each_lane<s2s_one>);
  op.imm = reinterpret_cast<uint64_t>(kept);
  op.e = reduces;
  op.cost = 4;
}

}  // namespace

void decode_cp_async_bulk_g2s(Decoder& d, const isa::Instruction& in) {
  BulkOperands o;
  o.shared = d.address(in.operands[0], o.shared_displacement);
  o.global = d.address(in.operands[1], o.global_displacement);
  o.size = d.src(in.operands[2], isa::Type::u32);
  o.barrier = d.address(in.operands[3], o.barrier_displacement);
  o.multicast = in.has("multicast::cluster");
  if (o.multicast) o.mask = d.src(in.operands[4], isa::Type::u16);
  const auto* kept = d.keep(o);
  Op& op = d.emit(each_lane<g2s_one>);
  op.imm = reinterpret_cast<uint64_t>(kept);
  op.cost = 4;
}
void decode_cp_async_bulk_s2s(Decoder& d, const isa::Instruction& in) {
  decode_from_shared(d, in, false, false);
}
void decode_cp_async_bulk_s2g(Decoder& d, const isa::Instruction& in) {
  decode_from_shared(d, in, true, false);
}
void decode_cp_reduce_async_bulk_s2s(Decoder& d, const isa::Instruction& in) {
  decode_from_shared(d, in, false, true);
}
void decode_cp_reduce_async_bulk_s2g(Decoder& d, const isa::Instruction& in) {
  decode_from_shared(d, in, true, true);
}
void decode_cp_async_bulk_prefetch(Decoder& d, const isa::Instruction& in) {
  BulkOperands o;
  o.global = d.address(in.operands[0], o.global_displacement);
  o.size = d.src(in.operands[1], isa::Type::u32);
  const auto* kept = d.keep(o);
  d.emit(each_lane<prefetch_one>).imm = reinterpret_cast<uint64_t>(kept);
}

void decode_cp_async_bulk_commit_group(Decoder& d, const isa::Instruction&) {
  d.emit(commit);
}
void decode_cp_async_bulk_wait_group(Decoder& d, const isa::Instruction& in) {
  Op& op = d.emit(wait_group);
  op.imm = in.operands[0].immediate(isa::Type::u32);
  op.e = in.has("read");
}

}  // namespace ptxops::virt
