// Handlers and decoding of f32 and f64 arithmetic; approximations are in alu_approx.cpp.
#include "driver/virtual/exec/alu_select.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "driver/virtual/exec/alu_float.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "driver/virtual/exec/alu_decode.h"
#include "driver/virtual/exec/alu_float.h"
#include "driver/virtual/exec/alu_lanes-inl.h"
#include "driver/virtual/exec/alu_rounding.h"

#ifndef PTXOPS_ALU_FLOAT_OPS
#define PTXOPS_ALU_FLOAT_OPS
namespace ptxops::virt::alu {
enum class FloatOp : uint8_t { add, sub, mul, fma, div, rcp, sqrt, abs, neg, copysign };
}  // namespace ptxops::virt::alu
#endif

HWY_BEFORE_NAMESPACE();
namespace ptxops::virt::alu::HWY_NAMESPACE {

template <class T, FloatMode M>
Handler of(FloatOp op) {
  // Neither division nor root takes .sat.
  constexpr FloatMode unclamped{.ftz = M.ftz};
  switch (op) {
    case FloatOp::add:
      return lanewise<FAdd<T, M>>;
    case FloatOp::sub:
      return lanewise<FSub<T, M>>;
    case FloatOp::mul:
      return lanewise<FMul<T, M>>;
    case FloatOp::fma:
      return lanewise<FFma<T, M>>;
    case FloatOp::div:
      return lanewise<FDiv<T, unclamped>>;
    case FloatOp::rcp:
      return lanewise<FRcp<T, unclamped>>;
    case FloatOp::sqrt:
      return lanewise<FSqrt<T, unclamped>>;
    case FloatOp::abs:
      return lanewise<FAbs<T, unclamped>>;
    case FloatOp::neg:
      return lanewise<FNeg<T, unclamped>>;
    case FloatOp::copysign:
      return lanewise<FCopysign<T>>;
  }
  return nullptr;
}
Handler float_handler(FloatOp op, bool is_f64, bool ftz, bool sat) {
  if (is_f64) return of<double, FloatMode{}>(op);
  if (ftz)
    return sat ? of<float, FloatMode{.ftz = true, .sat = true}>(op) : of<float, FloatMode{.ftz = true}>(op);
  return sat ? of<float, FloatMode{.sat = true}>(op) : of<float, FloatMode{}>(op);
}

template <bool kMax, bool kFtz>
Handler min_max32(bool nan, bool xorsign) {
  if (nan) {
    return xorsign ? lanewise<FMinMax<float, numerics::MinMaxMode{kMax, true, true, kFtz}>>
                   : lanewise<FMinMax<float, numerics::MinMaxMode{kMax, true, false, kFtz}>>;
  }
  return xorsign ? lanewise<FMinMax<float, numerics::MinMaxMode{kMax, false, true, kFtz}>>
                 : lanewise<FMinMax<float, numerics::MinMaxMode{kMax, false, false, kFtz}>>;
}
Handler min_max_handler(bool max, bool is_f64, bool ftz, bool nan, bool xorsign) {
  if (is_f64) {
    return max ? lanewise<FMinMax<double, numerics::MinMaxMode{.max = true}>>
               : lanewise<FMinMax<double, numerics::MinMaxMode{}>>;
  }
  if (max) return ftz ? min_max32<true, true>(nan, xorsign) : min_max32<true, false>(nan, xorsign);
  return ftz ? min_max32<false, true>(nan, xorsign) : min_max32<false, false>(nan, xorsign);
}

template <FloatTest kTest, class T>
Step test(Warp& w, const Op& op, uint32_t lanes) {
  const uint32_t t = LoopsFor<Testp<kTest, T>>::truth(w, op);
  uint32_t& p = w.pred(op.d);
  p = (p & ~lanes) | (t & lanes);
  return Step::next;
}
template <class T>
Handler test_of(FloatTest t) {
  switch (t) {
    case FloatTest::finite:
      return test<FloatTest::finite, T>;
    case FloatTest::infinite:
      return test<FloatTest::infinite, T>;
    case FloatTest::number:
      return test<FloatTest::number, T>;
    case FloatTest::notanumber:
      return test<FloatTest::notanumber, T>;
    case FloatTest::normal:
      return test<FloatTest::normal, T>;
    case FloatTest::subnormal:
      return test<FloatTest::subnormal, T>;
  }
  return nullptr;
}
Handler test_handler(FloatTest t, bool is_f64) {
  return is_f64 ? test_of<double>(t) : test_of<float>(t);
}

}  // namespace ptxops::virt::alu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ptxops::virt {
namespace alu {
HWY_EXPORT(float_handler);
HWY_EXPORT(min_max_handler);
HWY_EXPORT(test_handler);
}  // namespace alu
namespace {
using alu::FloatOp;
using alu::FloatTest;
using isa::Instruction;
using isa::Type;

// Issue cycles: f64 runs at half the rate of f32; the IEEE division, reciprocal and root are subroutines.
constexpr uint16_t kDivideCost = 77, kRootCost = 56;
uint16_t cost(FloatOp op, Type t) {
  const uint16_t one = op == FloatOp::div || op == FloatOp::rcp ? kDivideCost
                       : op == FloatOp::sqrt                    ? kRootCost
                                                                : 1;
  return alu::simple_cost(t) * one;
}

void emit(Decoder& d, const Instruction& i, FloatOp kind, std::initializer_list<Type> sources) {
  const Type t = i.type();
  const Handler h =
      HWY_DYNAMIC_DISPATCH(alu::float_handler)(kind, t == Type::f64, i.has("ftz"), i.has("sat"));
  Op& op = alu::emit_op(d, i, h, t, sources, cost(kind, t));
  alu::set_rounding(op, i.choice("rnd"));
}
void unary(Decoder& d, const Instruction& i, FloatOp op) {
  emit(d, i, op, {i.type()});
}
void binary(Decoder& d, const Instruction& i, FloatOp op) {
  emit(d, i, op, {i.type(), i.type()});
}
void ternary(Decoder& d, const Instruction& i) {
  emit(d, i, FloatOp::fma, {i.type(), i.type(), i.type()});
}

void min_max(Decoder& d, const Instruction& i, bool max) {
  const Type t = i.type();
  const Handler h = HWY_DYNAMIC_DISPATCH(alu::min_max_handler)(max, t == Type::f64, i.has("ftz"),
                                                               i.has("NaN"), i.has("xorsign"));
  alu::emit_op(d, i, h, t, {t, t}, alu::integer_cost(t));
}
}  // namespace

void decode_add_f32(Decoder& d, const Instruction& i) {
  binary(d, i, FloatOp::add);
}
void decode_add_f64(Decoder& d, const Instruction& i) {
  binary(d, i, FloatOp::add);
}
void decode_sub_f32(Decoder& d, const Instruction& i) {
  binary(d, i, FloatOp::sub);
}
void decode_sub_f64(Decoder& d, const Instruction& i) {
  binary(d, i, FloatOp::sub);
}
void decode_mul_f32(Decoder& d, const Instruction& i) {
  binary(d, i, FloatOp::mul);
}
void decode_mul_f64(Decoder& d, const Instruction& i) {
  binary(d, i, FloatOp::mul);
}
void decode_fma_f32(Decoder& d, const Instruction& i) {
  ternary(d, i);
}
void decode_fma_f64(Decoder& d, const Instruction& i) {
  ternary(d, i);
}
void decode_div_f32(Decoder& d, const Instruction& i) {
  binary(d, i, FloatOp::div);
}
void decode_div_f64(Decoder& d, const Instruction& i) {
  binary(d, i, FloatOp::div);
}
void decode_rcp_f32(Decoder& d, const Instruction& i) {
  unary(d, i, FloatOp::rcp);
}
void decode_rcp_f64(Decoder& d, const Instruction& i) {
  unary(d, i, FloatOp::rcp);
}
void decode_sqrt_f32(Decoder& d, const Instruction& i) {
  unary(d, i, FloatOp::sqrt);
}
void decode_sqrt_f64(Decoder& d, const Instruction& i) {
  unary(d, i, FloatOp::sqrt);
}
void decode_abs_f32(Decoder& d, const Instruction& i) {
  unary(d, i, FloatOp::abs);
}
void decode_abs_f64(Decoder& d, const Instruction& i) {
  unary(d, i, FloatOp::abs);
}
void decode_neg_f32(Decoder& d, const Instruction& i) {
  unary(d, i, FloatOp::neg);
}
void decode_neg_f64(Decoder& d, const Instruction& i) {
  unary(d, i, FloatOp::neg);
}
void decode_copysign(Decoder& d, const Instruction& i) {
  binary(d, i, FloatOp::copysign);
}
void decode_min_f32(Decoder& d, const Instruction& i) {
  min_max(d, i, false);
}
void decode_min_f64(Decoder& d, const Instruction& i) {
  min_max(d, i, false);
}
void decode_max_f32(Decoder& d, const Instruction& i) {
  min_max(d, i, true);
}
void decode_max_f64(Decoder& d, const Instruction& i) {
  min_max(d, i, true);
}

void decode_testp(Decoder& d, const Instruction& i) {
  const std::string_view test = i.choice("test");
  const FloatTest which = test == "finite"       ? FloatTest::finite
                          : test == "infinite"   ? FloatTest::infinite
                          : test == "number"     ? FloatTest::number
                          : test == "notanumber" ? FloatTest::notanumber
                          : test == "normal"     ? FloatTest::normal
                                                 : FloatTest::subnormal;
  const Type t = i.type();
  const Handler h = HWY_DYNAMIC_DISPATCH(alu::test_handler)(which, t == Type::f64);
  alu::emit_op(d, i, h, Type::pred, {t}, alu::integer_cost(t));
}

}  // namespace ptxops::virt
#endif
