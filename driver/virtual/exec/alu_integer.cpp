// Handlers and decoding of integer arithmetic.
#include "driver/virtual/exec/alu_select.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "driver/virtual/exec/alu_integer.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "driver/virtual/exec/alu_integer.h"
#include "driver/virtual/exec/alu_integer_ops.h"
#include "driver/virtual/exec/alu_lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ptxops::virt::alu::HWY_NAMESPACE {

template <template <class> class S>
Handler any_int(isa::Type t) {
  using isa::Type;
  switch (t) {
    case Type::u16:
    case Type::b16:
      return lanewise<S<uint16_t>>;
    case Type::s16:
      return lanewise<S<int16_t>>;
    case Type::u32:
    case Type::b32:
      return lanewise<S<uint32_t>>;
    case Type::s32:
      return lanewise<S<int32_t>>;
    case Type::u64:
    case Type::b64:
      return lanewise<S<uint64_t>>;
    case Type::s64:
      return lanewise<S<int64_t>>;
    default:
      return nullptr;
  }
}
template <template <class> class S>
Handler narrow_int(isa::Type t) {
  using isa::Type;
  switch (t) {
    case Type::u16:
      return lanewise<S<uint16_t>>;
    case Type::s16:
      return lanewise<S<int16_t>>;
    case Type::u32:
      return lanewise<S<uint32_t>>;
    case Type::s32:
      return lanewise<S<int32_t>>;
    default:
      return nullptr;
  }
}
template <template <class> class S>
Handler int32_or_64(isa::Type t) {
  using isa::Type;
  switch (t) {
    case Type::u32:
      return lanewise<S<uint32_t>>;
    case Type::s32:
      return lanewise<S<int32_t>>;
    case Type::u64:
      return lanewise<S<uint64_t>>;
    case Type::s64:
      return lanewise<S<int64_t>>;
    default:
      return nullptr;
  }
}
template <template <class> class S>
Handler unsigned32_or_64(isa::Type t) {
  return isa::type_bits(t) == 64 ? lanewise<S<uint64_t>> : lanewise<S<uint32_t>>;
}
template <template <class> class S>
Handler int32(isa::Type t) {
  return t == isa::Type::s32 ? lanewise<S<int32_t>> : lanewise<S<uint32_t>>;
}
template <template <class> class S>
Handler int_or_halves(isa::Type t) {
  if (t == isa::Type::u16x2) return lanewise<Halves<S, uint16_t>>;
  if (t == isa::Type::s16x2) return lanewise<Halves<S, int16_t>>;
  return any_int<S>(t);
}
template <template <class> class S>
Handler signed_int(isa::Type t) {
  switch (t) {
    case isa::Type::s16:
      return lanewise<S<int16_t>>;
    case isa::Type::s32:
      return lanewise<S<int32_t>>;
    case isa::Type::s64:
      return lanewise<S<int64_t>>;
    default:
      return nullptr;
  }
}

Handler integer_handler(IntOp op, isa::Type t) {
  const bool s16x2 = t == isa::Type::s16x2;
  switch (op) {
    case IntOp::add:
      return int_or_halves<Add>(t);
    case IntOp::sub:
      return int_or_halves<Sub>(t);
    case IntOp::add_sat:
      return lanewise<AddSat>;
    case IntOp::sub_sat:
      return lanewise<SubSat>;
    case IntOp::mul_lo:
      return any_int<MulLo>(t);
    case IntOp::mul_hi:
      return any_int<MulHi>(t);
    case IntOp::mul_wide:
      return narrow_int<MulWide>(t);
    case IntOp::mad_lo:
      return any_int<MadLo>(t);
    case IntOp::mad_hi:
      return any_int<MadHi>(t);
    case IntOp::mad_wide:
      return narrow_int<MadWide>(t);
    case IntOp::mad_hi_sat:
      return lanewise<MadHiSat>;
    case IntOp::mul24_lo:
      return int32<Mul24Lo>(t);
    case IntOp::mul24_hi:
      return int32<Mul24Hi>(t);
    case IntOp::mad24_lo:
      return int32<Mad24Lo>(t);
    case IntOp::mad24_hi:
      return int32<Mad24Hi>(t);
    case IntOp::mad24_hi_sat:
      return lanewise<Mad24HiSat>;
    case IntOp::sad:
      return any_int<Sad>(t);
    case IntOp::div:
      return any_int<Div>(t);
    case IntOp::rem:
      return any_int<Rem>(t);
    case IntOp::abs:
      return signed_int<Abs>(t);
    case IntOp::neg:
      return s16x2 ? lanewise<NegHalves<int16_t>> : signed_int<Neg>(t);
    case IntOp::min:
      return int_or_halves<Min>(t);
    case IntOp::max:
      return int_or_halves<Max>(t);
    case IntOp::min_relu:
      return s16x2 ? lanewise<Halves<MinRelu, int16_t>> : lanewise<MinRelu<int32_t>>;
    case IntOp::max_relu:
      return s16x2 ? lanewise<Halves<MaxRelu, int16_t>> : lanewise<MaxRelu<int32_t>>;
    case IntOp::popc:
      return unsigned32_or_64<Popc>(t);
    case IntOp::clz:
      return unsigned32_or_64<Clz>(t);
    case IntOp::brev:
      return unsigned32_or_64<Brev>(t);
    case IntOp::bfi:
      return unsigned32_or_64<Bfi>(t);
    case IntOp::bfind:
      return int32_or_64<Bfind>(t);
    case IntOp::bfind_shift:
      return int32_or_64<BfindShift>(t);
    case IntOp::bfe:
      return int32_or_64<Bfe>(t);
    case IntOp::bmsk_clamp:
      return lanewise<Bmsk<true>>;
    case IntOp::bmsk_wrap:
      return lanewise<Bmsk<false>>;
    case IntOp::szext_clamp:
      return t == isa::Type::s32 ? lanewise<Szext<true, true>> : lanewise<Szext<true, false>>;
    case IntOp::szext_wrap:
      return t == isa::Type::s32 ? lanewise<Szext<false, true>> : lanewise<Szext<false, false>>;
    case IntOp::fns:
      return lanewise<Fns>;
  }
  return nullptr;
}

template <class A, class B>
Handler dot(DotKind kind) {
  switch (kind) {
    case DotKind::four:
      return lanewise<Dp4a<A, B>>;
    case DotKind::two_lo:
      return lanewise<Dp2a<A, B, false>>;
    case DotKind::two_hi:
      return lanewise<Dp2a<A, B, true>>;
  }
  return nullptr;
}
Handler dot_handler(DotKind kind, bool a_signed, bool b_signed) {
  if (a_signed) return b_signed ? dot<int32_t, int32_t>(kind) : dot<int32_t, uint32_t>(kind);
  return b_signed ? dot<uint32_t, int32_t>(kind) : dot<uint32_t, uint32_t>(kind);
}

}  // namespace ptxops::virt::alu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ptxops::virt::alu {
HWY_EXPORT(integer_handler);
HWY_EXPORT(dot_handler);
Handler integer_handler(IntOp op, isa::Type t) {
  return HWY_DYNAMIC_DISPATCH(integer_handler)(op, t);
}
Handler dot_handler(DotKind kind, bool a_signed, bool b_signed) {
  return HWY_DYNAMIC_DISPATCH(dot_handler)(kind, a_signed, b_signed);
}
}  // namespace ptxops::virt::alu
#endif
