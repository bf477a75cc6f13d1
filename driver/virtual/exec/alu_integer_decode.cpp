// Decoding of integer arithmetic (PTX ISA 9.7.1) and of extended-precision arithmetic (9.7.2).
#include "driver/virtual/exec/alu_decode.h"
#include "driver/virtual/exec/alu_integer_ops.h"

namespace ptxops::virt {
using alu::CarryOp;
using alu::DotKind;
using alu::IntOp;
using isa::Instruction;
using isa::Type;

namespace {

constexpr uint16_t kDivideCost = 40;  // a subroutine of about twenty instructions

Type widened(Type t) {
  switch (t) {
    case Type::u16:
      return Type::u32;
    case Type::s16:
      return Type::s32;
    case Type::u32:
      return Type::u64;
    default:
      return Type::s64;
  }
}

void unary(Decoder& d, const Instruction& i, IntOp op) {
  const Type t = i.type();
  alu::emit_op(d, i, alu::integer_handler(op, t), t, {t}, alu::integer_cost(t));
}
void binary(Decoder& d, const Instruction& i, IntOp op, uint16_t cost = 2) {
  const Type t = i.type();
  alu::emit_op(d, i, alu::integer_handler(op, t), t, {t, t}, alu::integer_cost(t, cost));
}
void ternary(Decoder& d, const Instruction& i, IntOp op) {
  const Type t = i.type();
  alu::emit_op(d, i, alu::integer_handler(op, t), t, {t, t, t}, alu::integer_cost(t));
}
// Counts and positions: a 32-bit result whatever the operand.
void count(Decoder& d, const Instruction& i, IntOp op) {
  const Type t = i.type();
  alu::emit_op(d, i, alu::integer_handler(op, t), Type::u32, {t}, alu::integer_cost(t));
}

void carry_binary(Decoder& d, const Instruction& i, CarryOp op, bool in, bool out) {
  const Type t = i.type();
  alu::emit_op(d, i, alu::carry_handler(op, t, in, out), t, {t, t}, alu::integer_cost(t));
}
void carry_mad(Decoder& d, const Instruction& i, bool in, bool out) {
  const Type t = i.type();
  const CarryOp op = i.choice("part") == "hi" ? CarryOp::mad_hi : CarryOp::mad_lo;
  alu::emit_op(d, i, alu::carry_handler(op, t, in, out), t, {t, t, t}, alu::integer_cost(t));
}

}  // namespace

void decode_add_int(Decoder& d, const Instruction& i) {
  binary(d, i, i.has("sat") ? IntOp::add_sat : IntOp::add);
}
void decode_add_int16x2(Decoder& d, const Instruction& i) {
  binary(d, i, IntOp::add);
}
void decode_sub_int(Decoder& d, const Instruction& i) {
  binary(d, i, i.has("sat") ? IntOp::sub_sat : IntOp::sub);
}
void decode_div_int(Decoder& d, const Instruction& i) {
  binary(d, i, IntOp::div, kDivideCost);
}
void decode_rem_int(Decoder& d, const Instruction& i) {
  binary(d, i, IntOp::rem, kDivideCost);
}
void decode_min_int(Decoder& d, const Instruction& i) {
  binary(d, i, i.has("relu") ? IntOp::min_relu : IntOp::min);
}
void decode_max_int(Decoder& d, const Instruction& i) {
  binary(d, i, i.has("relu") ? IntOp::max_relu : IntOp::max);
}
void decode_min_int16x2(Decoder& d, const Instruction& i) {
  decode_min_int(d, i);
}
void decode_max_int16x2(Decoder& d, const Instruction& i) {
  decode_max_int(d, i);
}

void decode_mul_int(Decoder& d, const Instruction& i) {
  const Type t = i.type();
  if (i.choice("part") == "wide") {
    alu::emit_op(d, i, alu::integer_handler(IntOp::mul_wide, t), widened(t), {t, t}, 4);
  } else {
    binary(d, i, i.choice("part") == "hi" ? IntOp::mul_hi : IntOp::mul_lo);
  }
}
void decode_mad_int(Decoder& d, const Instruction& i) {
  const Type t = i.type();
  if (i.choice("part") == "wide") {
    alu::emit_op(d, i, alu::integer_handler(IntOp::mad_wide, t), widened(t), {t, t, widened(t)}, 4);
  } else if (i.has("sat")) {
    ternary(d, i, IntOp::mad_hi_sat);
  } else {
    ternary(d, i, i.choice("part") == "hi" ? IntOp::mad_hi : IntOp::mad_lo);
  }
}
void decode_mul24(Decoder& d, const Instruction& i) {
  binary(d, i, i.choice("part") == "hi" ? IntOp::mul24_hi : IntOp::mul24_lo);
}
void decode_mad24(Decoder& d, const Instruction& i) {
  const bool hi = i.choice("part") == "hi";
  ternary(d, i, i.has("sat") ? IntOp::mad24_hi_sat : hi ? IntOp::mad24_hi : IntOp::mad24_lo);
}
void decode_sad(Decoder& d, const Instruction& i) {
  ternary(d, i, IntOp::sad);
}
void decode_abs_int(Decoder& d, const Instruction& i) {
  unary(d, i, IntOp::abs);
}
void decode_neg_int(Decoder& d, const Instruction& i) {
  unary(d, i, IntOp::neg);
}

void decode_popc(Decoder& d, const Instruction& i) {
  count(d, i, IntOp::popc);
}
void decode_clz(Decoder& d, const Instruction& i) {
  count(d, i, IntOp::clz);
}
void decode_bfind(Decoder& d, const Instruction& i) {
  count(d, i, i.has("shiftamt") ? IntOp::bfind_shift : IntOp::bfind);
}
void decode_brev(Decoder& d, const Instruction& i) {
  unary(d, i, IntOp::brev);
}
void decode_fns(Decoder& d, const Instruction& i) {
  alu::emit_op(d, i, alu::integer_handler(IntOp::fns, Type::b32), Type::b32,
               {Type::b32, Type::b32, Type::s32}, 40);
}
void decode_bfe(Decoder& d, const Instruction& i) {
  const Type t = i.type();
  alu::emit_op(d, i, alu::integer_handler(IntOp::bfe, t), t, {t, Type::u32, Type::u32}, alu::integer_cost(t));
}
void decode_bfi(Decoder& d, const Instruction& i) {
  const Type t = i.type();
  alu::emit_op(d, i, alu::integer_handler(IntOp::bfi, t), t, {t, t, Type::u32, Type::u32},
               alu::integer_cost(t));
}
void decode_szext(Decoder& d, const Instruction& i) {
  const Type t = i.type();
  const IntOp op = i.choice("mode") == "clamp" ? IntOp::szext_clamp : IntOp::szext_wrap;
  alu::emit_op(d, i, alu::integer_handler(op, t), t, {t, Type::u32}, 2);
}
void decode_bmsk(Decoder& d, const Instruction& i) {
  const IntOp op = i.choice("mode") == "clamp" ? IntOp::bmsk_clamp : IntOp::bmsk_wrap;
  alu::emit_op(d, i, alu::integer_handler(op, Type::b32), Type::b32, {Type::u32, Type::u32}, 2);
}

namespace {
void dot(Decoder& d, const Instruction& i, DotKind kind) {
  const Handler handler = alu::dot_handler(kind, i.type(0) == Type::s32, i.type(1) == Type::s32);
  alu::emit_op(d, i, handler, Type::b32, {Type::b32, Type::b32, Type::b32}, 2);
}
}  // namespace
void decode_dp4a(Decoder& d, const Instruction& i) {
  dot(d, i, DotKind::four);
}
void decode_dp2a(Decoder& d, const Instruction& i) {
  dot(d, i, i.choice("part") == "hi" ? DotKind::two_hi : DotKind::two_lo);
}

void decode_add_cc(Decoder& d, const Instruction& i) {
  carry_binary(d, i, CarryOp::add, false, true);
}
void decode_addc(Decoder& d, const Instruction& i) {
  carry_binary(d, i, CarryOp::add, true, i.has("cc"));
}
void decode_sub_cc(Decoder& d, const Instruction& i) {
  carry_binary(d, i, CarryOp::sub, false, true);
}
void decode_subc(Decoder& d, const Instruction& i) {
  carry_binary(d, i, CarryOp::sub, true, i.has("cc"));
}
void decode_mad_cc(Decoder& d, const Instruction& i) {
  carry_mad(d, i, false, true);
}
void decode_madc(Decoder& d, const Instruction& i) {
  carry_mad(d, i, true, i.has("cc"));
}

}  // namespace ptxops::virt
