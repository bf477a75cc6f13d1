// Handlers of add.cc, addc, sub.cc, subc, mad.cc and madc: one carry bit a lane at kCarrySlot of the frame.
// After a subtraction it is the borrow.
#include "driver/virtual/exec/alu_integer.h"
#include "driver/virtual/exec/alu_integer_ops.h"
#include "driver/virtual/exec/machine.h"
#include "driver/virtual/exec/program.h"

namespace ptxops::virt::alu {
namespace {

template <CarryOp kOp, class T, bool kIn, bool kOut>
Step carry_step(Warp& w, const Op& op, uint32_t lanes) {
  using U = Unsigned<T>;
  const U* a = w.reg<U>(op.a);
  const U* b = w.reg<U>(op.b);
  const U* c = w.reg<U>(op.c);
  U* d = w.reg<U>(op.d);
  const uint32_t in = w.pred(kCarrySlot);
  uint32_t out = 0;
  for (uint32_t i = 0; i < kLanes; ++i) {
    if (!(lanes >> i & 1)) continue;
    const u128 carry = kIn ? in >> i & 1 : 0;
    u128 wide = 0;
    if constexpr (kOp == CarryOp::add) wide = u128{a[i]} + b[i] + carry;
    if constexpr (kOp == CarryOp::sub) wide = u128{a[i]} - b[i] - carry;
    if constexpr (kOp == CarryOp::mad_lo) wide = u128{static_cast<U>(a[i] * b[i])} + c[i] + carry;
    if constexpr (kOp == CarryOp::mad_hi) {
      wide = u128{static_cast<U>(high_mul<T>(static_cast<T>(a[i]), static_cast<T>(b[i])))} + c[i] + carry;
    }
    d[i] = static_cast<U>(wide);
    out |= static_cast<uint32_t>(wide >> kBits<U> & 1) << i;
  }
  if constexpr (kOut) w.pred(kCarrySlot) = (in & ~lanes) | out;
  return Step::next;
}

template <CarryOp kOp, class T>
Handler by_carry(bool in, bool out) {
  if (in) return out ? carry_step<kOp, T, true, true> : carry_step<kOp, T, true, false>;
  return carry_step<kOp, T, false, true>;
}
template <CarryOp kOp>
Handler by_type(isa::Type t, bool in, bool out) {
  switch (t) {
    case isa::Type::u32:
      return by_carry<kOp, uint32_t>(in, out);
    case isa::Type::s32:
      return by_carry<kOp, int32_t>(in, out);
    case isa::Type::u64:
      return by_carry<kOp, uint64_t>(in, out);
    case isa::Type::s64:
      return by_carry<kOp, int64_t>(in, out);
    default:
      return nullptr;
  }
}

}  // namespace

Handler carry_handler(CarryOp op, isa::Type t, bool carry_in, bool carry_out) {
  switch (op) {
    case CarryOp::add:
      return by_type<CarryOp::add>(t, carry_in, carry_out);
    case CarryOp::sub:
      return by_type<CarryOp::sub>(t, carry_in, carry_out);
    case CarryOp::mad_lo:
      return by_type<CarryOp::mad_lo>(t, carry_in, carry_out);
    case CarryOp::mad_hi:
      return by_type<CarryOp::mad_hi>(t, carry_in, carry_out);
  }
  return nullptr;
}

}  // namespace ptxops::virt::alu
