// Handlers and decoding of logic, shift and prmt.
#include "driver/virtual/exec/alu_select.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "driver/virtual/exec/alu_logic.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "driver/virtual/exec/alu_decode.h"
#include "driver/virtual/exec/alu_lanes-inl.h"
#include "driver/virtual/exec/alu_logic.h"

#ifndef PTXOPS_ALU_LOGIC_OPS
#define PTXOPS_ALU_LOGIC_OPS
namespace ptxops::virt::alu {
enum class LogicOp : uint8_t {
  and_,
  or_,
  xor_,
  not_,
  cnot,
  shl,
  shr,
  lop3,
  lop3_and,
  lop3_or,
  shf_l_clamp,
  shf_l_wrap,
  shf_r_clamp,
  shf_r_wrap
};
}  // namespace ptxops::virt::alu
#endif

HWY_BEFORE_NAMESPACE();
namespace ptxops::virt::alu::HWY_NAMESPACE {

template <template <class> class S>
Handler bits(isa::Type t) {
  switch (isa::type_bits(t)) {
    case 16:
      return lanewise<S<uint16_t>>;
    case 32:
      return lanewise<S<uint32_t>>;
    default:
      return lanewise<S<uint64_t>>;
  }
}

Handler shift_right(isa::Type t) {
  if (!isa::is_signed(t)) return bits<Shr>(t);
  switch (isa::type_bits(t)) {
    case 16:
      return lanewise<Shr<int16_t>>;
    case 32:
      return lanewise<Shr<int32_t>>;
    default:
      return lanewise<Shr<int64_t>>;
  }
}

// lop3.BoolOp: besides d, predicate imm = (d != 0) op predicate e.
template <bool kAnd>
Step lop3_bool(Warp& w, const Op& op, uint32_t lanes) {
  const uint32_t* a = lanes_at<uint32_t>(w, op.a);
  const uint32_t* b = lanes_at<uint32_t>(w, op.b);
  const uint32_t* c = lanes_at<uint32_t>(w, op.c);
  alignas(64) uint32_t r[kLanes], truth[kLanes];
  for (uint32_t i = 0; i < kLanes; ++i) r[i] = Lop3::apply(op, a[i], b[i], c[i]);
  for (uint32_t i = 0; i < kLanes; ++i) truth[i] = r[i] != 0 ? ~0u : 0;
  const uint32_t q = w.pred(op.e), nonzero = mask_of(truth);
  blend(lanes_at<uint32_t>(w, op.d), r, lanes);
  uint32_t& p = w.pred(static_cast<uint32_t>(op.imm));
  p = (p & ~lanes) | ((kAnd ? nonzero & q : nonzero | q) & lanes);
  return Step::next;
}

Handler logic_handler(LogicOp op, isa::Type t) {
  switch (op) {
    case LogicOp::and_:
      return bits<And>(t);
    case LogicOp::or_:
      return bits<Or>(t);
    case LogicOp::xor_:
      return bits<Xor>(t);
    case LogicOp::not_:
      return bits<Not>(t);
    case LogicOp::cnot:
      return bits<Cnot>(t);
    case LogicOp::shl:
      return bits<Shl>(t);
    case LogicOp::shr:
      return shift_right(t);
    case LogicOp::lop3:
      return lanewise<Lop3>;
    case LogicOp::lop3_and:
      return lop3_bool<true>;
    case LogicOp::lop3_or:
      return lop3_bool<false>;
    case LogicOp::shf_l_clamp:
      return lanewise<Shf<true, true>>;
    case LogicOp::shf_l_wrap:
      return lanewise<Shf<true, false>>;
    case LogicOp::shf_r_clamp:
      return lanewise<Shf<false, true>>;
    case LogicOp::shf_r_wrap:
      return lanewise<Shf<false, false>>;
  }
  return nullptr;
}

Handler prmt_handler(PrmtMode mode) {
  switch (mode) {
    case PrmtMode::any:
      return lanewise<Prmt<PrmtMode::any>>;
    case PrmtMode::f4e:
      return lanewise<Prmt<PrmtMode::f4e>>;
    case PrmtMode::b4e:
      return lanewise<Prmt<PrmtMode::b4e>>;
    case PrmtMode::rc8:
      return lanewise<Prmt<PrmtMode::rc8>>;
    case PrmtMode::ecl:
      return lanewise<Prmt<PrmtMode::ecl>>;
    case PrmtMode::ecr:
      return lanewise<Prmt<PrmtMode::ecr>>;
    case PrmtMode::rc16:
      return lanewise<Prmt<PrmtMode::rc16>>;
  }
  return nullptr;
}

}  // namespace ptxops::virt::alu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ptxops::virt {
namespace alu {
HWY_EXPORT(logic_handler);
HWY_EXPORT(prmt_handler);
}  // namespace alu
namespace {
using alu::LogicOp;
using alu::PrmtMode;
using isa::Instruction;
using isa::Type;

Handler logic_handler(LogicOp op, Type t) {
  return HWY_DYNAMIC_DISPATCH(alu::logic_handler)(op, t);
}

template <LogicOp kOp>
Step predicate_logic(Warp& w, const Op& op, uint32_t lanes) {
  const uint32_t a = w.pred(op.a);
  uint32_t r = 0;
  if constexpr (kOp == LogicOp::and_) r = a & w.pred(op.b);
  if constexpr (kOp == LogicOp::or_) r = a | w.pred(op.b);
  if constexpr (kOp == LogicOp::xor_) r = a ^ w.pred(op.b);
  if constexpr (kOp == LogicOp::not_) r = ~a;
  uint32_t& d = w.pred(op.d);
  d = (d & ~lanes) | (r & lanes);
  return Step::next;
}

template <LogicOp kOp>
void binary(Decoder& d, const Instruction& i) {
  const Type t = i.type();
  const Handler handler = t == Type::pred ? predicate_logic<kOp> : logic_handler(kOp, t);
  alu::emit_op(d, i, handler, t, {t, t}, alu::simple_cost(t));
}
template <LogicOp kOp>
void unary(Decoder& d, const Instruction& i) {
  const Type t = i.type();
  const Handler handler = t == Type::pred ? predicate_logic<kOp> : logic_handler(kOp, t);
  alu::emit_op(d, i, handler, t, {t}, alu::simple_cost(t));
}
}  // namespace

void decode_and_(Decoder& d, const Instruction& i) {
  binary<LogicOp::and_>(d, i);
}
void decode_or_(Decoder& d, const Instruction& i) {
  binary<LogicOp::or_>(d, i);
}
void decode_xor_(Decoder& d, const Instruction& i) {
  binary<LogicOp::xor_>(d, i);
}
void decode_not_(Decoder& d, const Instruction& i) {
  unary<LogicOp::not_>(d, i);
}
void decode_cnot(Decoder& d, const Instruction& i) {
  unary<LogicOp::cnot>(d, i);
}

void decode_lop3(Decoder& d, const Instruction& i) {
  Op& op = alu::emit_op(d, i, logic_handler(LogicOp::lop3, Type::b32), Type::b32,
                        {Type::b32, Type::b32, Type::b32}, 1);
  op.f = static_cast<uint32_t>(i.operands[4].bits);
}
// d|p, a, b, c, table, q
void decode_lop3_bool(Decoder& d, const Instruction& i) {
  if (i.operands[0].kind != isa::OperandKind::pair)
    d.refuse("lop3 with a Boolean operation needs destinations d|p");
  const auto sources = i.operands.subspan(1, 3);
  const uint32_t a = d.src(sources[0], Type::b32), b = d.src(sources[1], Type::b32),
                 c = d.src(sources[2], Type::b32), q = d.src_pred(i.operands[5]);
  const uint32_t result = d.dst(i.operands[0].elements[0], Type::b32);
  const uint32_t p = d.dst_pred(i.operands[0].elements[1]);
  Op& op = d.emit(logic_handler(i.choice("bool") == "and" ? LogicOp::lop3_and : LogicOp::lop3_or, Type::b32));
  op.d = result;
  op.a = a;
  op.b = b;
  op.c = c;
  op.e = q;
  op.f = static_cast<uint32_t>(i.operands[4].bits);
  op.imm = p;
}

void decode_shl(Decoder& d, const Instruction& i) {
  const Type t = i.type();
  alu::emit_op(d, i, logic_handler(LogicOp::shl, t), t, {t, Type::u32}, alu::integer_cost(t));
}
void decode_shr(Decoder& d, const Instruction& i) {
  const Type t = i.type();
  alu::emit_op(d, i, logic_handler(LogicOp::shr, t), t, {t, Type::u32}, alu::integer_cost(t));
}
void decode_shf(Decoder& d, const Instruction& i) {
  const bool left = i.choice("dir") == "l", clamp = i.choice("mode") == "clamp";
  const LogicOp op = left ? (clamp ? LogicOp::shf_l_clamp : LogicOp::shf_l_wrap)
                          : (clamp ? LogicOp::shf_r_clamp : LogicOp::shf_r_wrap);
  alu::emit_op(d, i, logic_handler(op, Type::b32), Type::b32, {Type::b32, Type::b32, Type::u32}, 2);
}

void decode_prmt(Decoder& d, const Instruction& i) {
  const std::string_view mode = i.choice("mode");
  const PrmtMode which = mode == "f4e"    ? PrmtMode::f4e
                         : mode == "b4e"  ? PrmtMode::b4e
                         : mode == "rc8"  ? PrmtMode::rc8
                         : mode == "ecl"  ? PrmtMode::ecl
                         : mode == "ecr"  ? PrmtMode::ecr
                         : mode == "rc16" ? PrmtMode::rc16
                                          : PrmtMode::any;
  alu::emit_op(d, i, HWY_DYNAMIC_DISPATCH(alu::prmt_handler)(which), Type::b32,
               {Type::b32, Type::b32, Type::b32}, 1);
}

}  // namespace ptxops::virt
#endif
