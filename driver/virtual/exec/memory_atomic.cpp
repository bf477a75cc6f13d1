// atom and red: scalar, vector and compare-and-swap.
#include "driver/virtual/check/checker.h"
#include "driver/virtual/exec/atomic_ops.h"
#include "driver/virtual/exec/memory_payload.h"

namespace ptxops::virt {
namespace {

using isa::Type;

// Op: d old value (when kReturns), a address, b operand, c new value of cas, imm displacement, f space.
template <class T>
bool locate(Warp& w, const Op& op, uint32_t lanes, uint32_t elements, LaneAccess& at, bool returns = true) {
  Access access = access_of(op, AccessKind::atomic, static_cast<uint32_t>(sizeof(T)) * elements);
  access.returns = returns;
  if (!resolve_lanes(w, op, lanes, w.reg<uint64_t>(op.a), static_cast<int64_t>(op.imm), access, at))
    return false;
  if (w.order && !w.order->checker->publish(w, op, lanes, at, access)) return false;
  if (!returns) ++w.cta->cluster->progress;
  return true;
}
// Who polls by an atomic that changes nothing (a failing cas, an addition of 0) makes no progress. Another
// cluster's update in between counts as ours, which does no harm.
template <class T>
void note_progress(Warp& w, std::byte* at, T old) {
  if (load_atomic<T>(at, Order::relaxed) != old) ++w.cta->cluster->progress;
}
// What an atom has seen; a red observes nothing.
void observe(Warp& w, const Op& op, uint32_t lanes, const LaneAccess& at) {
  if (w.order) w.order->checker->observe(w, op, lanes, at, access_of(op, AccessKind::atomic, at.size));
}
void wait_for_result(Warp& w, uint32_t lanes, const LaneAccess& at) {
  w.load_ready = std::max(w.load_ready, w.clock + charge_lanes(w, lanes, at));
}

// Lanes update in ascending order. Everything goes through host atomics: a generic address may be global, and
// clusters of one grid run on several threads.
template <class Global, class Shared, bool kReturns>
Step atom(Warp& w, const Op& op, uint32_t lanes) {
  using Raw = typename Global::Raw;
  using L = LaneOf<Raw>;
  LaneAccess at;
  if (!locate<Raw>(w, op, lanes, 1, at, kReturns)) return Step::fault;
  const L* operand = w.reg<L>(op.b);
  const bool global = at.where == LaneAccess::Where::global;
  if (kReturns)
    wait_for_result(w, lanes, at);
  else
    charge_lanes(w, lanes, at);
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const uint32_t i = __builtin_ctz(rest);
    const Raw value = static_cast<Raw>(operand[i]);
    const Raw old =
        global ? atomics::update<Global>(at.host[i], value) : atomics::update<Shared>(at.host[i], value);
    if (kReturns) {
      w.reg<L>(op.d)[i] = old;
      note_progress(w, at.host[i], old);
    }
  }
  if (kReturns) observe(w, op, lanes, at);
  return Step::next;
}

struct PickAtom {
  using Result = Handler;
  bool returns;
  template <class C>
  struct NoFlush {
    using type = C;
  };
  template <AtomicOp O, Type T>
  struct NoFlush<atomics::Combine<O, T, true>> {
    using type = atomics::Combine<O, T, false>;
  };
  template <class C>
  Handler operator()() const {
    using Shared = typename NoFlush<C>::type;
    return returns ? Handler(atom<C, Shared, true>) : Handler(atom<C, Shared, false>);
  }
};

__attribute__((target("cx16"))) u128 compare_and_swap(u128* p, u128 expected, u128 desired) {
  return __sync_val_compare_and_swap(p, expected, desired);
}
template <class T>
T compare_and_swap(T* p, T expected, T desired) {
  __atomic_compare_exchange_n(p, &expected, desired, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
  return expected;
}

template <class T>
Step cas(Warp& w, const Op& op, uint32_t lanes) {
  using L = LaneOf<T>;
  LaneAccess at;
  if (!locate<T>(w, op, lanes, 1, at)) return Step::fault;
  wait_for_result(w, lanes, at);
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const uint32_t i = __builtin_ctz(rest);
    const T old = compare_and_swap(reinterpret_cast<T*>(at.host[i]), static_cast<T>(w.reg<L>(op.b)[i]),
                                   static_cast<T>(w.reg<L>(op.c)[i]));
    w.reg<L>(op.d)[i] = old;
    note_progress(w, at.host[i], old);
  }
  observe(w, op, lanes, at);
  return Step::next;
}

Step exchange128(Warp& w, const Op& op, uint32_t lanes) {
  LaneAccess at;
  if (!locate<u128>(w, op, lanes, 1, at)) return Step::fault;
  wait_for_result(w, lanes, at);
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const uint32_t i = __builtin_ctz(rest);
    u128* p = reinterpret_cast<u128*>(at.host[i]);
    const u128 desired = w.reg<u128>(op.b)[i];
    u128 seen = 0;
    for (;;) {
      const u128 old = compare_and_swap(p, seen, desired);
      if (old == seen) break;
      seen = old;
    }
    w.reg<u128>(op.d)[i] = seen;
    note_progress(w, at.host[i], seen);
  }
  observe(w, op, lanes, at);
  return Step::next;
}

// Vector forms: each element is one atomic update.
struct VectorSlots {
  uint32_t count = 0;
  uint32_t old[8] = {}, operand[8] = {};
};

template <class C, bool kReturns>
Step atom_vector(Warp& w, const Op& op, uint32_t lanes) {
  using Raw = typename C::Raw;
  const auto& v = *reinterpret_cast<const VectorSlots*>(op.imm);
  LaneAccess at;
  const uint32_t size = static_cast<uint32_t>(sizeof(Raw)) * v.count;
  const Access access = access_of(op, AccessKind::atomic, size);
  const int64_t displacement = static_cast<int32_t>(op.e);
  if (!resolve_lanes(w, op, lanes, w.reg<uint64_t>(op.a), displacement, access, at)) return Step::fault;
  if (w.order && !w.order->checker->publish(w, op, lanes, at, access)) return Step::fault;
  ++w.cta->cluster->progress;
  if (kReturns)
    wait_for_result(w, lanes, at);
  else
    charge_lanes(w, lanes, at);
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const uint32_t i = __builtin_ctz(rest);
    for (uint32_t k = 0; k < v.count; ++k) {
      const Raw value = static_cast<Raw>(w.reg<uint32_t>(v.operand[k])[i]);
      const Raw old = atomics::update<C>(at.host[i] + k * sizeof(Raw), value);
      if (kReturns) w.reg<uint32_t>(v.old[k])[i] = old;
    }
  }
  if (kReturns) observe(w, op, lanes, at);
  return Step::next;
}

struct PickVector {
  using Result = Handler;
  bool returns;
  template <class C>
  Handler operator()() const {
    if constexpr (sizeof(typename C::Raw) <= 4)
      return returns ? Handler(atom_vector<C, true>) : Handler(atom_vector<C, false>);
    else
      return nullptr;
  }
};

// Without semantics an atomic is relaxed.
Order atomic_order(const isa::Instruction& in) {
  const Order order = order_of(in);
  return order == Order::weak ? Order::relaxed : order;
}

// `noftz` is the only behaviour of half types; f32 in vectors flushes like scalar f32 in global memory.
void decode_scalar(Decoder& d, const isa::Instruction& in, bool returns) {
  const Type type = in.type();
  const size_t first = returns ? 1 : 0;
  AtomicOp kind{};
  if (!atomic_op_from(in.choice("op"), kind)) d.refuse("unknown atomic operation");
  const Handler handler = type == Type::b128 ? (kind == AtomicOp::exch ? exchange128 : nullptr)
                                             : atomics::dispatch<true>(kind, type, PickAtom{returns});
  if (!handler) d.refuse("this atomic operation does not exist for this type");
  int64_t displacement;
  const uint32_t address = d.address(in.operands[first], displacement);
  const uint32_t operand = d.src(in.operands[first + 1], type);
  const uint32_t old = returns ? d.dst(in.operands[0], type) : 0;
  Op& op = d.emit(handler);
  op.d = old;
  op.a = address;
  op.b = operand;
  op.imm = static_cast<uint64_t>(displacement);
  op.f = pack(in.space(), atomic_order(in), scope_of(in));
  op.cost = access_cost(static_cast<uint32_t>(isa::type_bytes(type)));
}

void decode_vector(Decoder& d, const isa::Instruction& in, bool returns) {
  const Type type = in.type();
  const size_t first = returns ? 1 : 0;
  AtomicOp kind{};
  if (!atomic_op_from(in.choice("op"), kind)) d.refuse("unknown atomic operation");
  const Handler handler = atomics::dispatch<true>(kind, type, PickVector{returns});
  if (!handler) d.refuse("this vector atomic does not exist for this type");
  const std::span<const isa::Operand> operands = in.operands[first + 1].elements;
  VectorSlots v;
  v.count = static_cast<uint32_t>(in.opcode->vector_length());
  int64_t displacement;
  const uint32_t address = d.address(in.operands[first], displacement);
  if (displacement != static_cast<int32_t>(displacement)) d.refuse("address displacement exceeds 32 bits");
  for (uint32_t k = 0; k < v.count; ++k) v.operand[k] = d.src(operands[k], type);
  if (returns)
    for (uint32_t k = 0; k < v.count; ++k) v.old[k] = d.dst(in.operands[0].elements[k], type);
  const auto* slots = d.keep(v);
  Op& op = d.emit(handler);
  op.a = address;
  op.e = static_cast<uint32_t>(displacement);
  op.imm = reinterpret_cast<uint64_t>(slots);
  op.f = pack(Space::global, atomic_order(in), scope_of(in));
  op.cost = access_cost(static_cast<uint32_t>(isa::type_bytes(type)) * v.count);
}

}  // namespace

void decode_atom(Decoder& d, const isa::Instruction& in) {
  decode_scalar(d, in, true);
}
void decode_red(Decoder& d, const isa::Instruction& in) {
  decode_scalar(d, in, false);
}
void decode_atom_vector(Decoder& d, const isa::Instruction& in) {
  decode_vector(d, in, true);
}
void decode_red_vector(Decoder& d, const isa::Instruction& in) {
  decode_vector(d, in, false);
}

void decode_atom_cas(Decoder& d, const isa::Instruction& in) {
  const Type type = in.type();
  Handler handler = nullptr;
  switch (isa::type_bytes(type)) {
    case 2:
      handler = cas<uint16_t>;
      break;
    case 4:
      handler = cas<uint32_t>;
      break;
    case 8:
      handler = cas<uint64_t>;
      break;
    case 16:
      handler = cas<u128>;
      break;
  }
  if (!handler) d.refuse("atom.cas does not exist for this type");
  int64_t displacement;
  const uint32_t address = d.address(in.operands[1], displacement);
  const uint32_t expected = d.src(in.operands[2], type), desired = d.src(in.operands[3], type);
  const uint32_t old = d.dst(in.operands[0], type);
  Op& op = d.emit(handler);
  op.d = old;
  op.a = address;
  op.b = expected;
  op.c = desired;
  op.imm = static_cast<uint64_t>(displacement);
  op.f = pack(in.space(), atomic_order(in), scope_of(in));
  op.cost = access_cost(static_cast<uint32_t>(isa::type_bytes(type)));
}

}  // namespace ptxops::virt
