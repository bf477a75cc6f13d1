// ld, ld.nc, ldu.
#include <cstring>

#include "driver/virtual/check/checker.h"
#include "driver/virtual/exec/memory_payload.h"

namespace ptxops::virt {
namespace {

// Op: a address, imm displacement, d/b/c/e destinations, f space and order.
template <int V>
void destinations(Warp& w, const Op& op, std::byte* (&out)[V]) {
  const uint32_t slots[4] = {op.d, op.b, op.c, op.e};
  for (int k = 0; k < V; ++k) out[k] = w.regs + slots[k];
}

template <class T, int V>
Step load(Warp& w, const Op& op, uint32_t lanes) {
  using L = LaneOf<T>;
  LaneAccess at;
  const Access access = access_of(op, AccessKind::load, sizeof(T) * V);
  if (!resolve_lanes(w, op, lanes, w.reg<uint64_t>(op.a), static_cast<int64_t>(op.imm), access, at))
    return Step::fault;
  w.load_ready = std::max(w.load_ready, w.clock + charge_lanes(w, lanes, at));
  std::byte* d[V];
  destinations<V>(w, op, d);
  const auto done = [&] {
    if (w.order && w.order->undefined.unwritten) [[unlikely]]
      return undefined_load(w, op, lanes, at, sizeof(T), V);
    return Step::next;
  };
  if (at.contiguous && V == 1 && sizeof(T) == sizeof(L)) {
    std::memcpy(d[0], at.host[0], sizeof(T) * kLanes);
    return done();
  }
  if (lanes == kAllLanes) {
    for (uint32_t i = 0; i < kLanes; ++i) {
      T value[V];
      std::memcpy(value, at.host[i], sizeof value);
      for (int k = 0; k < V; ++k) reinterpret_cast<L*>(d[k])[i] = value[k];
    }
    return done();
  }
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const uint32_t i = __builtin_ctz(rest);
    T value[V];
    std::memcpy(value, at.host[i], sizeof value);
    for (int k = 0; k < V; ++k) reinterpret_cast<L*>(d[k])[i] = value[k];
  }
  return done();
}

// Each element is one strong access; a vector is not atomic as a whole.
template <class T, int V>
Step load_strong(Warp& w, const Op& op, uint32_t lanes) {
  LaneAccess at;
  const Access access = access_of(op, AccessKind::load, sizeof(T) * V);
  if (!resolve_lanes(w, op, lanes, w.reg<uint64_t>(op.a), static_cast<int64_t>(op.imm), access, at))
    return Step::fault;
  w.load_ready = std::max(w.load_ready, w.clock + charge_lanes(w, lanes, at));
  std::byte* d[V];
  destinations<V>(w, op, d);
  const Order order = order_of(op);
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const uint32_t i = __builtin_ctz(rest);
    for (int k = 0; k < V; ++k)
      reinterpret_cast<LaneOf<T>*>(d[k])[i] = load_atomic<T>(at.host[i] + k * sizeof(T), order);
  }
  if (w.order) {
    if (!w.order->checker->observe(w, op, lanes, at, access)) return Step::fault;
    if (w.order->undefined.unwritten) return undefined_load(w, op, lanes, at, sizeof(T), V);
  }
  return Step::next;
}

template <class T>
Handler pick(int vector, bool strong) {
  switch (vector) {
    case 1:
      return strong ? load_strong<T, 1> : load<T, 1>;
    case 2:
      return strong ? load_strong<T, 2> : load<T, 2>;
    case 4:
      return strong ? load_strong<T, 4> : load<T, 4>;
  }
  return nullptr;
}

Handler pick(int bytes, int vector, bool strong) {
  switch (bytes) {
    case 1:
      return pick<uint8_t>(vector, strong);
    case 2:
      return pick<uint16_t>(vector, strong);
    case 4:
      return pick<uint32_t>(vector, strong);
    case 8:
      return pick<uint64_t>(vector, strong);
    case 16:
      return vector == 1 ? pick<u128>(1, strong) : nullptr;
  }
  return nullptr;
}

}  // namespace

void decode_ld(Decoder& d, const isa::Instruction& in) {
  const isa::Type type = in.type();
  const int vector = in.opcode->vector_length(), bytes = isa::type_bytes(type);
  const Order order = order_of(in);
  const isa::Operand& target = in.operands[0];
  const std::span<const isa::Operand> targets = target.is_vector() ? target.elements : std::span(&target, 1);
  const Handler handler = pick(bytes, vector, order != Order::weak);
  if (!handler || targets.size() != static_cast<size_t>(vector))
    d.refuse("ld of " + std::to_string(vector) + " x " + std::to_string(bytes) + " bytes is not supported");
  int64_t displacement;
  const uint32_t address = d.address(in.operands[1], displacement);
  uint32_t slots[4] = {};
  for (int k = 0; k < vector; ++k) slots[k] = d.dst(targets[k], type);
  Op& op = d.emit(handler);
  op.a = address;
  op.imm = static_cast<uint64_t>(displacement);
  op.d = slots[0], op.b = slots[1], op.c = slots[2], op.e = slots[3];
  op.f = pack(in.row().root == "ldu" ? Space::global : in.space(), order, scope_of(in)) |
         (in.has("nc") ? kNonCoherent : 0);
  op.cost = access_cost(static_cast<uint32_t>(bytes * vector));
}
void decode_ld_nc(Decoder& d, const isa::Instruction& in) {
  decode_ld(d, in);
}
void decode_ldu(Decoder& d, const isa::Instruction& in) {
  decode_ld(d, in);
}

}  // namespace ptxops::virt
