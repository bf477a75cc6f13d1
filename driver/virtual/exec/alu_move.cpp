// Handlers and decoding of mov: copies, packs {a, b} -> c and unpacks, predicates, and the clocks.
#include "driver/virtual/exec/alu_select.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "driver/virtual/exec/alu_move.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "driver/virtual/exec/alu_decode.h"
#include "driver/virtual/exec/alu_lanes-inl.h"

#ifndef PTXOPS_ALU_MOVE_KINDS
#define PTXOPS_ALU_MOVE_KINDS
namespace ptxops::virt::alu {
enum class MoveKind : uint8_t { copy, pack, unpack };
}  // namespace ptxops::virt::alu
#endif

HWY_BEFORE_NAMESPACE();
namespace ptxops::virt::alu::HWY_NAMESPACE {

template <class T>
struct Copy {
  PTXOPS_ALU T apply(T a) { return a; }
};

struct Wide128 {
  uint64_t lower, upper;
};
Step copy128(Warp& w, const Op& op, uint32_t lanes) {
  const Wide128* a = lanes_at<Wide128>(w, op.a);
  Wide128* d = lanes_at<Wide128>(w, op.d);
  for (uint32_t i = 0; i < kLanes; ++i) {
    if (lanes >> i & 1) d[i] = a[i];
  }
  return Step::next;
}

// Storage of `bits` bits a lane.
template <int kBits>
using Slot = std::conditional_t<(kBits > 64), u128, std::conditional_t<(kBits > 32), uint64_t, uint32_t>>;

// The elements are in a, b, c, e, the first in the lowest bits.
template <int kCount, int kElement>
Step pack(Warp& w, const Op& op, uint32_t lanes) {
  using Element = Slot<kElement>;
  using Whole = Slot<kCount * kElement>;
  const uint32_t slots[4] = {op.a, op.b, op.c, op.e};
  const Element* in[kCount];
  for (int k = 0; k < kCount; ++k) in[k] = lanes_at<Element>(w, slots[k]);
  alignas(64) Whole r[kLanes];
  for (uint32_t i = 0; i < kLanes; ++i) {
    Whole v = in[0][i];
    for (int k = 1; k < kCount; ++k) v |= static_cast<Whole>(in[k][i]) << (k * kElement);
    r[i] = v;
  }
  blend(lanes_at<Whole>(w, op.d), r, lanes);
  return Step::next;
}

// From a to d, b, c, e.
template <int kCount, int kElement>
Step unpack(Warp& w, const Op& op, uint32_t lanes) {
  using Element = Slot<kElement>;
  using Whole = Slot<kCount * kElement>;
  const uint32_t slots[4] = {op.d, op.b, op.c, op.e};
  const Whole* a = lanes_at<Whole>(w, op.a);
  alignas(64) Element r[kCount][kLanes];
  constexpr auto mask = static_cast<Element>(~uint64_t{0} >> (64 - kElement));
  for (int k = 0; k < kCount; ++k) {
    for (uint32_t i = 0; i < kLanes; ++i) r[k][i] = static_cast<Element>(a[i] >> (k * kElement)) & mask;
  }
  for (int k = 0; k < kCount; ++k) blend(lanes_at<Element>(w, slots[k]), r[k], lanes);
  return Step::next;
}

template <int kCount>
Handler split_or_join(bool split, int element) {
  switch (element) {
    case 8:
      return split ? unpack<kCount, 8> : pack<kCount, 8>;
    case 16:
      return split ? unpack<kCount, 16> : pack<kCount, 16>;
    case 32:
      return split ? unpack<kCount, 32> : pack<kCount, 32>;
    case 64:
      if constexpr (kCount == 2) return split ? unpack<2, 64> : pack<2, 64>;
      return nullptr;
    default:
      return nullptr;
  }
}

Handler move_handler(MoveKind kind, int bits, size_t elements) {
  if (kind == MoveKind::copy) {
    return bits == 128 ? copy128 : bits == 64 ? lanewise<Copy<uint64_t>> : lanewise<Copy<uint32_t>>;
  }
  const bool split = kind == MoveKind::unpack;
  if (elements == 2) return split_or_join<2>(split, bits / 2);
  if (elements == 4) return split_or_join<4>(split, bits / 4);
  return nullptr;
}

}  // namespace ptxops::virt::alu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ptxops::virt {
namespace alu {
HWY_EXPORT(move_handler);
}  // namespace alu
namespace {
using alu::MoveKind;
using isa::Instruction;
using isa::Operand;
using isa::Special;
using isa::Type;

constexpr uint64_t kClockKhz = 1'755'000;  // boost clock of the modelled device

uint64_t clock_value(const Warp& w, Special s) {
  switch (s) {
    case Special::clock_hi:
      return w.clock >> 32;
    case Special::globaltimer:
    case Special::globaltimer_lo:
      return w.clock * 1'000'000 / kClockKhz;
    case Special::globaltimer_hi:
      return (w.clock * 1'000'000 / kClockKhz) >> 32;
    default:
      return w.clock;
  }
}
bool is_clock(const Operand& o) {
  if (o.kind != isa::OperandKind::special) return false;
  switch (o.special()) {
    case Special::clock:
    case Special::clock_hi:
    case Special::clock64:
    case Special::globaltimer:
    case Special::globaltimer_lo:
    case Special::globaltimer_hi:
      return true;
    default:
      return false;
  }
}
// d = the clock that `f` names, as modelled time.
template <class T>
Step read_clock(Warp& w, const Op& op, uint32_t lanes) {
  const auto value = static_cast<T>(clock_value(w, static_cast<Special>(op.f)));
  T* d = w.reg<T>(op.d);
  for (uint32_t i = 0; i < kLanes; ++i) {
    if (lanes >> i & 1) d[i] = value;
  }
  return Step::next;
}

Step move_predicate(Warp& w, const Op& op, uint32_t lanes) {
  uint32_t& d = w.pred(op.d);
  d = (d & ~lanes) | (w.pred(op.a) & lanes);
  return Step::next;
}

Handler move_handler(Decoder& d, MoveKind kind, Type t, size_t elements) {
  const Handler h = HWY_DYNAMIC_DISPATCH(alu::move_handler)(kind, isa::type_bits(t), elements);
  if (h == nullptr) {
    d.refuse("mov of " + std::string(isa::type_name(t)) + " with a vector of " + std::to_string(elements) +
             " elements");
  }
  return h;
}

// Only for what move_handler accepts.
Type element_type(Type whole, size_t count) {
  switch (isa::type_bits(whole) / static_cast<int>(count)) {
    case 8:
      return Type::b8;
    case 16:
      return Type::b16;
    case 32:
      return Type::b32;
    default:
      return Type::b64;
  }
}

void decode_pack(Decoder& d, const Instruction& i, Type t) {
  const auto elements = i.operands[1].elements;
  const Handler handler = move_handler(d, MoveKind::pack, t, elements.size());
  const Type element = element_type(t, elements.size());
  uint32_t slots[4] = {};
  for (size_t k = 0; k < elements.size(); ++k) slots[k] = d.src(elements[k], element);
  const uint32_t to = d.dst(i.operands[0], t);
  Op& op = d.emit(handler);
  op.d = to;
  op.a = slots[0];
  op.b = slots[1];
  op.c = slots[2];
  op.e = slots[3];
}

void decode_unpack(Decoder& d, const Instruction& i, Type t) {
  const auto elements = i.operands[0].elements;
  const Handler handler = move_handler(d, MoveKind::unpack, t, elements.size());
  const Type element = element_type(t, elements.size());
  const uint32_t from = d.src(i.operands[1], t);
  uint32_t slots[4] = {};
  for (size_t k = 0; k < elements.size(); ++k) slots[k] = d.dst(elements[k], element);
  Op& op = d.emit(handler);
  op.a = from;
  op.d = slots[0];
  op.b = slots[1];
  op.c = slots[2];
  op.e = slots[3];
}
}  // namespace

void decode_mov(Decoder& d, const Instruction& i) {
  const Type t = i.type();
  if (t == Type::pred) {
    alu::emit_op(d, i, move_predicate, t, {t}, 1);
  } else if (is_clock(i.operands[1])) {
    const uint32_t to = d.dst(i.operands[0], t);
    Op& op = d.emit(isa::type_bits(t) == 64 ? read_clock<uint64_t> : read_clock<uint32_t>);
    op.d = to;
    op.f = static_cast<uint32_t>(i.operands[1].special());
    op.cost = 2;
  } else if (i.operands[1].is_vector()) {
    decode_pack(d, i, t);
  } else if (i.operands[0].is_vector()) {
    decode_unpack(d, i, t);
  } else {
    alu::emit_op(d, i, move_handler(d, MoveKind::copy, t, 1), t, {t}, alu::simple_cost(t));
  }
}

}  // namespace ptxops::virt
#endif
