// Handlers and decoding of set, setp, selp and slct.
#include "driver/virtual/exec/alu_select.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "driver/virtual/exec/alu_compare.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "driver/virtual/exec/alu_compare.h"
#include "driver/virtual/exec/alu_decode.h"
#include "driver/virtual/exec/alu_lanes-inl.h"

#ifndef PTXOPS_ALU_COMPARE_TYPES
#define PTXOPS_ALU_COMPARE_TYPES
namespace ptxops::virt::alu {
// `setp` is the handler of the plain form: one destination, no combination.
struct Comparison {
  Handler setp = nullptr;
  Truth truth = nullptr;
};
}  // namespace ptxops::virt::alu
#endif

HWY_BEFORE_NAMESPACE();
namespace ptxops::virt::alu::HWY_NAMESPACE {

template <class S>
uint32_t truth_of(Warp& w, const Op& op) {
  return LoopsFor<S>::truth(w, op);
}
template <class S>
Step setp_plain(Warp& w, const Op& op, uint32_t lanes) {
  const uint32_t t = LoopsFor<S>::truth(w, op);
  uint32_t& p = w.pred(op.d);
  p = (p & ~lanes) | (t & lanes);
  return Step::next;
}
template <class S>
Comparison of() {
  return {setp_plain<S>, truth_of<S>};
}

template <class T>
Comparison integer_comparison(Cmp cmp) {
  switch (cmp) {
    case Cmp::eq:
      return of<Compare<Cmp::eq, T>>();
    case Cmp::ne:
      return of<Compare<Cmp::ne, T>>();
    case Cmp::lt:
      return of<Compare<Cmp::lt, T>>();
    case Cmp::le:
      return of<Compare<Cmp::le, T>>();
    case Cmp::gt:
      return of<Compare<Cmp::gt, T>>();
    case Cmp::ge:
      return of<Compare<Cmp::ge, T>>();
    default:
      return {};
  }
}
template <class T, bool kFtz>
Comparison float_comparison(Cmp cmp) {
  switch (cmp) {
#define PTXOPS_CASE(c) \
  case Cmp::c:         \
    return of<Compare<Cmp::c, T, kFtz>>();
    // clang-format off: it folds these lines differently each time
    PTXOPS_CASE(eq)
    PTXOPS_CASE(ne)
    PTXOPS_CASE(lt)
    PTXOPS_CASE(le)
    PTXOPS_CASE(gt)
    PTXOPS_CASE(ge)
    PTXOPS_CASE(equ)
    PTXOPS_CASE(neu)
    PTXOPS_CASE(ltu)
    PTXOPS_CASE(leu)
    PTXOPS_CASE(gtu)
    PTXOPS_CASE(geu)
    PTXOPS_CASE(num)
    PTXOPS_CASE(nan)
    // clang-format on
#undef PTXOPS_CASE
  }
  return {};
}

Comparison comparison(Cmp cmp, isa::Type t, bool ftz) {
  using isa::Type;
  switch (t) {
    case Type::b16:
    case Type::u16:
      return integer_comparison<uint16_t>(cmp);
    case Type::s16:
      return integer_comparison<int16_t>(cmp);
    case Type::b32:
    case Type::u32:
      return integer_comparison<uint32_t>(cmp);
    case Type::s32:
      return integer_comparison<int32_t>(cmp);
    case Type::b64:
    case Type::u64:
      return integer_comparison<uint64_t>(cmp);
    case Type::s64:
      return integer_comparison<int64_t>(cmp);
    case Type::f32:
      return ftz ? float_comparison<float, true>(cmp) : float_comparison<float, false>(cmp);
    case Type::f64:
      return float_comparison<double, false>(cmp);
    default:
      return {};
  }
}

// d = true value f where the comparison (imm) combined (e) with predicate c holds, else 0.
Step set_value(Warp& w, const Op& op, uint32_t lanes) {
  const uint32_t t = combine(static_cast<BoolOp>(op.e), reinterpret_cast<Truth>(op.imm)(w, op), w.pred(op.c));
  const uint32_t value = op.f;
  alignas(64) uint32_t r[kLanes];
  for (uint32_t i = 0; i < kLanes; ++i) r[i] = (t >> i & 1) ? value : 0;
  blend(lanes_at<uint32_t>(w, op.d), r, lanes);
  return Step::next;
}

template <class T>
Step selp_step(Warp& w, const Op& op, uint32_t lanes) {
  const T* a = lanes_at<T>(w, op.a);
  const T* b = lanes_at<T>(w, op.b);
  T* d = lanes_at<T>(w, op.d);
  const uint32_t c = w.pred(op.c);
  if (lanes == kAllLanes) {
#pragma GCC ivdep
    for (uint32_t i = 0; i < kLanes; ++i) d[i] = (c >> i & 1) ? a[i] : b[i];
  } else {
    alignas(64) T r[kLanes];
    for (uint32_t i = 0; i < kLanes; ++i) r[i] = (c >> i & 1) ? a[i] : b[i];
    blend(d, r, lanes);
  }
  return Step::next;
}

template <class T>
struct SlctInt {
  PTXOPS_ALU T apply(T a, T b, int32_t c) { return c >= 0 ? a : b; }
};
template <class T, bool kFtz>
struct SlctFloat {
  PTXOPS_ALU T apply(T a, T b, float c) { return (kFtz ? flush(c) : c) >= 0.0f ? a : b; }
};
template <class T>
Handler slct_of(isa::Type selector, bool ftz) {
  if (selector == isa::Type::s32) return lanewise<SlctInt<T>>;
  return ftz ? lanewise<SlctFloat<T, true>> : lanewise<SlctFloat<T, false>>;
}
Handler slct_handler(isa::Type t, isa::Type selector, bool ftz) {
  return isa::type_bits(t) == 64 ? slct_of<uint64_t>(selector, ftz) : slct_of<uint32_t>(selector, ftz);
}
Handler selp_handler(isa::Type t) {
  return isa::type_bits(t) == 64 ? selp_step<uint64_t> : selp_step<uint32_t>;
}
Handler set_handler() {
  return set_value;
}

}  // namespace ptxops::virt::alu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ptxops::virt {
namespace alu {
HWY_EXPORT(comparison);
HWY_EXPORT(set_handler);
HWY_EXPORT(selp_handler);
HWY_EXPORT(slct_handler);
}  // namespace alu
namespace {
using alu::BoolOp;
using alu::Cmp;
using alu::Truth;
using isa::Instruction;
using isa::Operand;
using isa::Type;

void write(Warp& w, uint32_t slot, uint32_t value, uint32_t lanes) {
  uint32_t& p = w.pred(slot);
  p = (p & ~lanes) | (value & lanes);
}

// d = (a cmp b) op c and, where f is not 0, predicate f = !(a cmp b) op c. `imm` compares, `e` combines.
Step setp_full(Warp& w, const Op& op, uint32_t lanes) {
  const uint32_t t = reinterpret_cast<Truth>(op.imm)(w, op), c = w.pred(op.c);
  const auto combination = static_cast<BoolOp>(op.e);
  write(w, op.d, alu::combine(combination, t, c), lanes);
  if (op.f != 0) write(w, op.f, alu::combine(combination, ~t, c), lanes);
  return Step::next;
}

struct HalfPairTruth {
  Truth lower, upper;
};
// f16x2 and bf16x2: d from the lower halves, f from the upper ones. `imm` is a HalfPairTruth.
Step setp_pair(Warp& w, const Op& op, uint32_t lanes) {
  const auto& truth = *reinterpret_cast<const HalfPairTruth*>(op.imm);
  const uint32_t lower = truth.lower(w, op), upper = truth.upper(w, op), c = w.pred(op.c);
  const auto combination = static_cast<BoolOp>(op.e);
  write(w, op.d, alu::combine(combination, lower, c), lanes);
  if (op.f != 0) write(w, op.f, alu::combine(combination, upper, c), lanes);
  return Step::next;
}
// d = pack of true value f (for both halves) where the halves compare.
Step set_pair(Warp& w, const Op& op, uint32_t lanes) {
  const auto& truth = *reinterpret_cast<const HalfPairTruth*>(op.imm);
  const auto combination = static_cast<BoolOp>(op.e);
  const uint32_t c = w.pred(op.c);
  const uint32_t lower = alu::combine(combination, truth.lower(w, op), c);
  const uint32_t upper = alu::combine(combination, truth.upper(w, op), c);
  uint32_t* d = w.reg<uint32_t>(op.d);
  for (uint32_t i = 0; i < kLanes; ++i) {
    const uint32_t value =
        ((lower >> i & 1) ? op.f & 0xffffu : 0) | ((upper >> i & 1) ? op.f & 0xffff0000u : 0);
    if (lanes >> i & 1) d[i] = value;
  }
  return Step::next;
}

bool is_pair(Type t) {
  return t == Type::f16x2 || t == Type::bf16x2;
}
bool is_half(Type t) {
  return t == Type::f16 || t == Type::bf16 || is_pair(t);
}

alu::Comparison comparison(Decoder& d, const Instruction& i, Type t) {
  const Cmp cmp = alu::cmp_from_token(i.choice("cmp"));
  const bool ftz = i.has("ftz");
  const alu::Comparison c = is_half(t) ? alu::Comparison{nullptr, alu::half_truth(cmp, t, ftz, false)}
                                       : HWY_DYNAMIC_DISPATCH(alu::comparison)(cmp, t, ftz);
  if (c.truth == nullptr)
    d.refuse("comparison ." + std::string(i.choice("cmp")) + " does not apply to the type");
  return c;
}
const HalfPairTruth* pair_truth(Decoder& d, const Instruction& i, Type t) {
  const Cmp cmp = alu::cmp_from_token(i.choice("cmp"));
  const bool ftz = i.has("ftz");
  return d.keep(HalfPairTruth{alu::half_truth(cmp, t, ftz, false), alu::half_truth(cmp, t, ftz, true)});
}

uint32_t true_value(Type t) {
  switch (t) {
    case Type::f32:
      return 0x3f800000u;
    case Type::f16:
      return 0x3c00u;
    case Type::bf16:
      return 0x3f80u;
    case Type::f16x2:
      return 0x3c003c00u;
    case Type::bf16x2:
      return 0x3f803f80u;
    case Type::u16:
    case Type::s16:
      return 0xffffu;
    default:
      return ~0u;
  }
}

void decode_comparison_to_predicate(Decoder& d, const Instruction& i) {
  const Type t = i.type();
  const auto c = comparison(d, i, t);
  const BoolOp combination = alu::bool_from_token(i.choice("bool"));
  const uint32_t a = d.src(i.operands[1], t), b = d.src(i.operands[2], t);
  const uint32_t with = combination == BoolOp::none ? 0 : d.src_pred(i.operands[3]);
  const bool dual = i.operands[0].kind == isa::OperandKind::pair;
  const Operand& first = dual ? i.operands[0].elements[0] : i.operands[0];
  const uint32_t p = d.dst_pred(first), q = dual ? d.dst_pred(i.operands[0].elements[1]) : 0;
  const bool plain = combination == BoolOp::none && !dual && c.setp != nullptr;
  Op& op = d.emit(plain ? c.setp : is_pair(t) ? setp_pair : setp_full);
  op.d = p;
  op.a = a;
  op.b = b;
  op.c = with;
  op.e = static_cast<uint32_t>(combination);
  op.f = q;
  op.cost = alu::integer_cost(t);
  if (is_pair(t)) {
    op.imm = reinterpret_cast<uint64_t>(pair_truth(d, i, t));
  } else if (!plain) {
    op.imm = reinterpret_cast<uint64_t>(c.truth);
  }
}

void decode_comparison_to_value(Decoder& d, const Instruction& i) {
  const Type result = i.type(0), t = i.type(1);
  const auto c = comparison(d, i, t);
  const BoolOp combination = alu::bool_from_token(i.choice("bool"));
  const uint32_t a = d.src(i.operands[1], t), b = d.src(i.operands[2], t);
  const uint32_t with = combination == BoolOp::none ? 0 : d.src_pred(i.operands[3]);
  const uint32_t to = d.dst(i.operands[0], result);
  Op& op = d.emit(is_pair(t) ? set_pair : HWY_DYNAMIC_DISPATCH(alu::set_handler)());
  op.d = to;
  op.a = a;
  op.b = b;
  op.c = with;
  op.e = static_cast<uint32_t>(combination);
  op.f = true_value(result);
  op.imm = is_pair(t) ? reinterpret_cast<uint64_t>(pair_truth(d, i, t)) : reinterpret_cast<uint64_t>(c.truth);
  op.cost = alu::integer_cost(t);
}
}  // namespace

void decode_setp(Decoder& d, const Instruction& i) {
  decode_comparison_to_predicate(d, i);
}
void decode_setp_bool(Decoder& d, const Instruction& i) {
  decode_comparison_to_predicate(d, i);
}
void decode_setp_half(Decoder& d, const Instruction& i) {
  decode_comparison_to_predicate(d, i);
}
void decode_setp_half_bool(Decoder& d, const Instruction& i) {
  decode_comparison_to_predicate(d, i);
}
void decode_set(Decoder& d, const Instruction& i) {
  decode_comparison_to_value(d, i);
}
void decode_set_bool(Decoder& d, const Instruction& i) {
  decode_comparison_to_value(d, i);
}
void decode_set_half(Decoder& d, const Instruction& i) {
  decode_comparison_to_value(d, i);
}
void decode_set_half_bool(Decoder& d, const Instruction& i) {
  decode_comparison_to_value(d, i);
}

void decode_selp(Decoder& d, const Instruction& i) {
  const Type t = i.type();
  alu::emit_op(d, i, HWY_DYNAMIC_DISPATCH(alu::selp_handler)(t), t, {t, t, Type::pred}, alu::simple_cost(t));
}
void decode_slct(Decoder& d, const Instruction& i) {
  const Type t = i.type(0), selector = i.type(1);
  const Handler handler = HWY_DYNAMIC_DISPATCH(alu::slct_handler)(t, selector, i.has("ftz"));
  alu::emit_op(d, i, handler, t, {t, t, selector}, alu::simple_cost(t));
}

}  // namespace ptxops::virt
#endif
