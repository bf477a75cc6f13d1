// Handlers and decoding of f16, f16x2, bf16 and bf16x2 arithmetic (PTX ISA 9.7.4). add, sub, mul and fma have
// lane loops for their usual modes; .ftz, .sat and .oob go through the integers of numerics/soft_float.h.
#include "driver/virtual/exec/alu_select.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "driver/virtual/exec/alu_half.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "driver/virtual/exec/alu_decode.h"
#include "driver/virtual/exec/alu_lanes-inl.h"
#include "driver/virtual/numerics/float_ops.h"

#ifndef PTXOPS_ALU_HALF_TYPES
#define PTXOPS_ALU_HALF_TYPES
namespace ptxops::virt::alu {
using numerics::FloatMode;
using numerics::Format;
using HalfOp = numerics::detail::Op;
}  // namespace ptxops::virt::alu
#endif

HWY_BEFORE_NAMESPACE();
namespace ptxops::virt::alu::HWY_NAMESPACE {

// One half, or (kPair) both of a 32-bit register.
template <HalfOp kOp, Format F, FloatMode M, bool kPair>
struct Half {
  PTXOPS_ALU uint32_t one(uint32_t a, uint32_t b, uint32_t c) {
    return numerics::detail::operate<kOp, F, M>(static_cast<uint16_t>(a), static_cast<uint16_t>(b),
                                                static_cast<uint16_t>(c));
  }
  PTXOPS_ALU uint32_t all(uint32_t a, uint32_t b, uint32_t c) {
    const uint32_t lower = one(a, b, c);
    if constexpr (!kPair) return lower;
    return lower | one(a >> 16, b >> 16, c >> 16) << 16;
  }
};
template <HalfOp kOp, Format F, FloatMode M, bool kPair>
struct HalfBinary {
  PTXOPS_ALU uint32_t apply(uint32_t a, uint32_t b) { return Half<kOp, F, M, kPair>::all(a, b, 0); }
};
template <Format F, FloatMode M, bool kPair>
struct HalfFma {
  PTXOPS_ALU uint32_t apply(uint32_t a, uint32_t b, uint32_t c) {
    return Half<HalfOp::fma, F, M, kPair>::all(a, b, c);
  }
};

template <Format F, bool kPair>
Handler by_op(HalfOp op, bool relu) {
  switch (op) {
    case HalfOp::add:
      return lanewise<HalfBinary<HalfOp::add, F, FloatMode{}, kPair>>;
    case HalfOp::sub:
      return lanewise<HalfBinary<HalfOp::sub, F, FloatMode{}, kPair>>;
    case HalfOp::mul:
      return lanewise<HalfBinary<HalfOp::mul, F, FloatMode{}, kPair>>;
    case HalfOp::fma:
      return relu ? lanewise<HalfFma<F, FloatMode{.relu = true}, kPair>>
                  : lanewise<HalfFma<F, FloatMode{}, kPair>>;
    default:
      return nullptr;
  }
}
Handler half_handler(HalfOp op, bool bf16, bool pair, bool relu) {
  if (bf16) return pair ? by_op<Format::bf16, true>(op, relu) : by_op<Format::bf16, false>(op, relu);
  return pair ? by_op<Format::f16, true>(op, relu) : by_op<Format::f16, false>(op, relu);
}

// The sign bits of op.f are cleared (abs) or flipped (neg).
struct HalfAbs {
  PTXOPS_ALU uint32_t apply(const Op& op, uint32_t a) { return a & ~op.f; }
};
struct HalfNeg {
  PTXOPS_ALU uint32_t apply(const Op& op, uint32_t a) { return a ^ op.f; }
};
Handler sign_handler(bool abs) {
  return abs ? lanewise<HalfAbs> : lanewise<HalfNeg>;
}

}  // namespace ptxops::virt::alu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ptxops::virt {
namespace alu {
HWY_EXPORT(half_handler);
HWY_EXPORT(sign_handler);
}  // namespace alu
namespace {
using alu::FloatMode;
using alu::Format;
using alu::HalfOp;
using isa::Instruction;
using isa::Type;

bool is_pair(Type t) {
  return t == Type::f16x2 || t == Type::bf16x2;
}
bool is_bf16(Type t) {
  return t == Type::bf16 || t == Type::bf16x2;
}

// The value that out-of-bounds elements of a tensor copy are filled with (the bit pattern is not documented;
// the copy engine of this device writes the same one): fma.oob gives 0 where an operand holds it.
constexpr uint32_t kOobNan = 0x7fff;

struct GeneralPlan {
  HalfOp op;
  Format format;
  FloatMode mode;
  bool pair, oob;
};
uint32_t general_half(const GeneralPlan& p, uint32_t a, uint32_t b, uint32_t c) {
  if (p.oob && (a == kOobNan || b == kOobNan || c == kOobNan)) return 0;
  return static_cast<uint32_t>(numerics::detail::soft_op(p.op, p.format, p.mode, a, b, c));
}
Step general(Warp& w, const Op& op, uint32_t lanes) {
  const auto& p = *reinterpret_cast<const GeneralPlan*>(op.imm);
  const uint32_t* a = w.reg<uint32_t>(op.a);
  const uint32_t* b = w.reg<uint32_t>(op.b);
  const uint32_t* c = w.reg<uint32_t>(op.c);
  uint32_t* d = w.reg<uint32_t>(op.d);
  for (uint32_t i = 0; i < kLanes; ++i) {
    if (!(lanes >> i & 1)) continue;
    const uint32_t z = p.op == HalfOp::fma ? c[i] : 0;
    uint32_t r = general_half(p, a[i] & 0xffff, b[i] & 0xffff, z & 0xffff);
    if (p.pair) r |= general_half(p, a[i] >> 16, b[i] >> 16, z >> 16) << 16;
    d[i] = r;
  }
  return Step::next;
}

void arithmetic(Decoder& d, const Instruction& i, HalfOp kind) {
  const Type t = i.type();
  const bool fma = kind == HalfOp::fma;
  const FloatMode mode{.ftz = i.has("ftz"), .sat = i.has("sat"), .relu = i.has("relu")};
  const bool fast = !mode.ftz && !mode.sat && !i.has("oob");
  const Handler handler =
      fast ? HWY_DYNAMIC_DISPATCH(alu::half_handler)(kind, is_bf16(t), is_pair(t), mode.relu) : general;
  Op& op = fma ? alu::emit_op(d, i, handler, t, {t, t, t}, 1) : alu::emit_op(d, i, handler, t, {t, t}, 1);
  if (!fast) {
    const Format format = is_bf16(t) ? Format::bf16 : Format::f16;
    op.imm = reinterpret_cast<uint64_t>(d.keep(GeneralPlan{kind, format, mode, is_pair(t), i.has("oob")}));
  }
}

template <bool kAbs>
Step flushed_sign(Warp& w, const Op& op, uint32_t lanes) {
  const uint32_t* a = w.reg<uint32_t>(op.a);
  uint32_t* d = w.reg<uint32_t>(op.d);
  for (uint32_t i = 0; i < kLanes; ++i) {
    if (!(lanes >> i & 1)) continue;
    const uint32_t lower = numerics::flushed<Format::f16>(static_cast<uint16_t>(a[i]));
    const uint32_t v = lower | uint32_t{numerics::flushed<Format::f16>(static_cast<uint16_t>(a[i] >> 16))}
                                   << 16;
    d[i] = kAbs ? v & ~op.f : v ^ op.f;
  }
  return Step::next;
}
void sign(Decoder& d, const Instruction& i, bool abs) {
  const Type t = i.type();
  const Handler plain = HWY_DYNAMIC_DISPATCH(alu::sign_handler)(abs);
  const Handler handler = !i.has("ftz") ? plain : abs ? flushed_sign<true> : flushed_sign<false>;
  alu::emit_op(d, i, handler, t, {t}, 1).f = is_pair(t) ? 0x80008000u : 0x8000u;
}

template <Format F, numerics::MinMaxMode M>
Step min_max(Warp& w, const Op& op, uint32_t lanes) {
  const uint32_t* a = w.reg<uint32_t>(op.a);
  const uint32_t* b = w.reg<uint32_t>(op.b);
  uint32_t* d = w.reg<uint32_t>(op.d);
  const bool pair = op.f != 0;
  for (uint32_t i = 0; i < kLanes; ++i) {
    if (!(lanes >> i & 1)) continue;
    const uint32_t x = a[i], y = b[i];
    uint32_t r = numerics::min_max<F, M>(static_cast<uint16_t>(x), static_cast<uint16_t>(y));
    if (pair) {
      r |= uint32_t{numerics::min_max<F, M>(static_cast<uint16_t>(x >> 16), static_cast<uint16_t>(y >> 16))}
           << 16;
    }
    d[i] = r;
  }
  return Step::next;
}
template <Format F, bool kMax, bool kFtz>
Handler min_max_handler(bool nan, bool xorsign) {
  using numerics::MinMaxMode;
  if (nan) {
    return xorsign ? min_max<F, MinMaxMode{kMax, true, true, kFtz}>
                   : min_max<F, MinMaxMode{kMax, true, false, kFtz}>;
  }
  return xorsign ? min_max<F, MinMaxMode{kMax, false, true, kFtz}>
                 : min_max<F, MinMaxMode{kMax, false, false, kFtz}>;
}
template <bool kMax>
void decode_min_max(Decoder& d, const Instruction& i) {
  const Type t = i.type();
  const bool nan = i.has("NaN"), xorsign = i.has("xorsign");
  const Handler handler = is_bf16(t)     ? min_max_handler<Format::bf16, kMax, false>(nan, xorsign)
                          : i.has("ftz") ? min_max_handler<Format::f16, kMax, true>(nan, xorsign)
                                         : min_max_handler<Format::f16, kMax, false>(nan, xorsign);
  alu::emit_op(d, i, handler, t, {t, t}, 1).f = is_pair(t);
}
}  // namespace

void decode_add_half(Decoder& d, const Instruction& i) {
  arithmetic(d, i, HalfOp::add);
}
void decode_sub_half(Decoder& d, const Instruction& i) {
  arithmetic(d, i, HalfOp::sub);
}
void decode_mul_half(Decoder& d, const Instruction& i) {
  arithmetic(d, i, HalfOp::mul);
}
void decode_fma_half(Decoder& d, const Instruction& i) {
  arithmetic(d, i, HalfOp::fma);
}
void decode_neg_half(Decoder& d, const Instruction& i) {
  sign(d, i, false);
}
void decode_abs_half(Decoder& d, const Instruction& i) {
  sign(d, i, true);
}
void decode_min_half(Decoder& d, const Instruction& i) {
  decode_min_max<false>(d, i);
}
void decode_max_half(Decoder& d, const Instruction& i) {
  decode_min_max<true>(d, i);
}

}  // namespace ptxops::virt
#endif
