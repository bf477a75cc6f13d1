// st.
#include <cstring>

#include "driver/virtual/check/checker.h"
#include "driver/virtual/exec/memory_payload.h"

namespace ptxops::virt {
namespace {

// Op: a address, imm displacement, d/b/c/e values, f space and order.
template <int V>
void sources(Warp& w, const Op& op, const std::byte* (&out)[V]) {
  const uint32_t slots[4] = {op.d, op.b, op.c, op.e};
  for (int k = 0; k < V; ++k) out[k] = w.regs + slots[k];
}

template <class T, int V>
bool locate(Warp& w, const Op& op, uint32_t lanes, const std::byte* const (&values)[V], LaneAccess& at) {
  Access access = access_of(op, AccessKind::store, sizeof(T) * V);
  const StoredValues stored{values, V, sizeof(T), sizeof(LaneOf<T>)};
  if (access.order == Order::weak) access.stored = &stored;
  if (!resolve_lanes(w, op, lanes, w.reg<uint64_t>(op.a), static_cast<int64_t>(op.imm), access, at))
    return false;
  if (w.order && access.order != Order::weak && !w.order->checker->publish(w, op, lanes, at, access))
    return false;
  if (w.order && w.order->undefined.stores) [[unlikely]]
    undefined_store(w, op, lanes, at, sizeof(T));
  charge_lanes(w, lanes, at);
  if (at.where != LaneAccess::Where::local)
    ++w.cta->cluster->progress;  // nobody waits for a lane's own memory
  return true;
}

// Lanes store in ascending order, so the highest lane wins where addresses coincide.
template <class T, int V>
Step store(Warp& w, const Op& op, uint32_t lanes) {
  using L = LaneOf<T>;
  const std::byte* s[V];
  sources<V>(w, op, s);
  LaneAccess at;
  if (!locate<T, V>(w, op, lanes, s, at)) return Step::fault;
  if (at.contiguous && V == 1 && sizeof(T) == sizeof(L)) {
    std::memcpy(at.host[0], s[0], sizeof(T) * kLanes);
    return Step::next;
  }
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const uint32_t i = __builtin_ctz(rest);
    T value[V];
    for (int k = 0; k < V; ++k) value[k] = static_cast<T>(reinterpret_cast<const L*>(s[k])[i]);
    std::memcpy(at.host[i], value, sizeof value);
  }
  return Step::next;
}

__attribute__((target("cx16"))) void store128(std::byte* p, u128 value) {
  u128* at = reinterpret_cast<u128*>(p);
  u128 seen = 0;
  for (;;) {
    const u128 old = __sync_val_compare_and_swap(at, seen, value);
    if (old == seen) return;
    seen = old;
  }
}

template <class T>
void store_atomic(std::byte* p, T value, Order order) {
  if constexpr (sizeof(T) == 16) {
    store128(p, value);
  } else {
    __atomic_store_n(reinterpret_cast<T*>(p), value,
                     order == Order::release ? __ATOMIC_RELEASE : __ATOMIC_RELAXED);
  }
}

template <class T, int V>
Step store_strong(Warp& w, const Op& op, uint32_t lanes) {
  const std::byte* s[V];
  sources<V>(w, op, s);
  LaneAccess at;
  if (!locate<T, V>(w, op, lanes, s, at)) return Step::fault;
  const Order order = order_of(op);
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const uint32_t i = __builtin_ctz(rest);
    for (int k = 0; k < V; ++k)
      store_atomic(at.host[i] + k * sizeof(T), static_cast<T>(reinterpret_cast<const LaneOf<T>*>(s[k])[i]),
                   order);
  }
  return Step::next;
}

template <class T>
Handler pick(int vector, bool strong) {
  switch (vector) {
    case 1:
      return strong ? store_strong<T, 1> : store<T, 1>;
    case 2:
      return strong ? store_strong<T, 2> : store<T, 2>;
    case 4:
      return strong ? store_strong<T, 4> : store<T, 4>;
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

void decode_st(Decoder& d, const isa::Instruction& in) {
  const isa::Type type = in.type();
  const int vector = in.opcode->vector_length(), bytes = isa::type_bytes(type);
  const Order order = order_of(in);
  const isa::Operand& source = in.operands[1];
  const std::span<const isa::Operand> values = source.is_vector() ? source.elements : std::span(&source, 1);
  const Handler handler = pick(bytes, vector, order != Order::weak);
  if (!handler || values.size() != static_cast<size_t>(vector))
    d.refuse("st of " + std::to_string(vector) + " x " + std::to_string(bytes) + " bytes is not supported");
  int64_t displacement;
  const uint32_t address = d.address(in.operands[0], displacement);
  uint32_t slots[4] = {};
  for (int k = 0; k < vector; ++k) slots[k] = d.src(values[k], type);
  Op& op = d.emit(handler);
  op.a = address;
  op.imm = static_cast<uint64_t>(displacement);
  op.d = slots[0], op.b = slots[1], op.c = slots[2], op.e = slots[3];
  op.f = pack(in.space(), order, scope_of(in));
  op.cost = access_cost(static_cast<uint32_t>(bytes * vector));
}

}  // namespace ptxops::virt
