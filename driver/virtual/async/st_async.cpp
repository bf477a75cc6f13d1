// st.async and red.async: small writes into another CTA's shared memory that signal an mbarrier there.
#include <fmt/format.h>

#include <cstring>

#include "driver/virtual/async/async_state.h"
#include "driver/virtual/async/mbarrier.h"
#include "driver/virtual/check/checker.h"
#include "driver/virtual/check/undefined_copy.h"
#include "driver/virtual/exec/access.h"
#include "driver/virtual/exec/atomic_ops.h"
#include "driver/virtual/exec/decode.h"
#include "driver/virtual/time/latency.h"

namespace ptxops::virt {
namespace {

struct StAsync {
  uint32_t address = 0, barrier = 0;  // 64-bit slots
  int64_t address_displacement = 0, barrier_displacement = 0;
  uint32_t values[4] = {};
  uint32_t count = 1, element = 4;  // element: bytes
  atomics::ReduceFunction reduce = nullptr;
};

struct LaneWrite {
  std::byte* to;
  Cta* target;
  uint32_t barrier;
  alignas(16) std::byte value[16];
};

Cta* locate(Warp& w, const Op& op, int lane, uint64_t address, uint32_t& offset) {
  if ((address & kWindowMask) == kSharedWindow) address &= ~kWindowMask;
  if (address >> 32) {
    w.fault(op, lane, Diagnostic::X1, fmt::format("address {:#x} does not lie in shared memory", address));
    return nullptr;
  }
  return shared_target(w, op, lane, static_cast<uint32_t>(address), offset);
}

Step st_async(Warp& w, const Op& op, uint32_t lanes) {
  const auto& s = *reinterpret_cast<const StAsync*>(op.imm);
  const uint32_t bytes = s.count * s.element;
  Cluster* cluster = w.cta->cluster;
  if (cluster->cta_count() == 1)
    return w.fault(op, -1, Diagnostic::A6,
                   "st.async and red.async need a cluster of more than one CTA: this one has 1");
  std::vector<LaneWrite> writes;
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const int lane = __builtin_ctz(rest);
    uint32_t offset;
    LaneWrite write{};
    Cta* data = locate(w, op, lane, w.reg<uint64_t>(s.address)[lane] + s.address_displacement, offset);
    if (!data) return Step::fault;
    write.target =
        locate(w, op, lane, w.reg<uint64_t>(s.barrier)[lane] + s.barrier_displacement, write.barrier);
    if (!write.target) return Step::fault;
    if (data != write.target)
      return w.fault(
          op, lane, Diagnostic::A6,
          fmt::format("destination in CTA rank {} but mbarrier in CTA rank {}: expected the same CTA",
                      data->rank, write.target->rank));
    write.to = resolve_shared(w, op, lane, *data, offset,
                              {.space = Space::shared_cluster,
                               .kind = s.reduce ? AccessKind::atomic : AccessKind::store,
                               .size = bytes,
                               .alignment = bytes});
    if (!write.to || !mbarrier_copy_issued(w, op, lane, *data, write.barrier, bytes)) return Step::fault;
    if (w.order) {
      Checker& checker = *w.order->checker;
      const AccessKind kind = s.reduce ? AccessKind::atomic : AccessKind::store;
      if (!checker.shared_range(w, op, checker.signals(Actor::st_async, kind, *data, write.barrier, lane),
                                *data, offset, bytes))
        return Step::fault;
    }
    if (w.order && w.order->undefined.active())
      for (uint32_t k = 0; k < s.count; ++k)
        undefined_register_store(w, op, w.regs + s.values[k], lane, write.to + k * s.element, s.element);
    for (uint32_t k = 0; k < s.count; ++k)
      std::memcpy(write.value + k * s.element, w.regs + s.values[k] + lane * s.element, s.element);
    writes.push_back(write);
  }
  const uint64_t done = w.clock + latency::kClusterOneWay;
  cluster->async.push_back({[&w, &op, &s, bytes, done, writes = std::move(writes)] {
    for (const LaneWrite& write : writes) {
      if (s.reduce)
        s.reduce(write.to, write.value, 1);
      else
        std::memcpy(write.to, write.value, bytes);
      mbarrier_complete_tx(w, op, *write.target, write.barrier, bytes, done, true);
    }
  }});
  return Step::next;
}

void decode(Decoder& d, const isa::Instruction& in, bool reduces) {
  StAsync s;
  const isa::Type type = in.type();
  s.element = static_cast<uint32_t>(isa::type_bytes(type));
  s.count = reduces ? 1 : static_cast<uint32_t>(in.opcode->vector_length());
  if (s.count * s.element > 16) d.refuse("st.async writes at most 16 bytes");
  if (reduces) {
    AtomicOp kind{};
    if (!atomic_op_from(in.choice("op"), kind)) d.refuse("unknown reduction");
    s.reduce = atomics::reduce_function(kind, type, false);
    if (!s.reduce) d.refuse("this reduction does not exist for this type");
  }
  s.address = d.address(in.operands[0], s.address_displacement);
  const isa::Operand& value = in.operands[1];
  const std::span<const isa::Operand> values = value.is_vector() ? value.elements : std::span(&value, 1);
  for (uint32_t k = 0; k < s.count; ++k) s.values[k] = d.src(values[k], type);
  s.barrier = d.address(in.operands[2], s.barrier_displacement);
  const StAsync* kept = d.keep(s);
  Op& op = d.emit(st_async);
  op.imm = reinterpret_cast<uint64_t>(kept);
  op.cost = 4;
}

}  // namespace

void decode_st_async(Decoder& d, const isa::Instruction& in) {
  decode(d, in, false);
}
void decode_red_async(Decoder& d, const isa::Instruction& in) {
  decode(d, in, true);
}

}  // namespace ptxops::virt
