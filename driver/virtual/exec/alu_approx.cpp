// Handlers and decoding of the approximations: ex2, lg2, rcp, rsqrt, sqrt, sin, cos, tanh and div .approx.
// The environment variable PTXOPS_PERTURB=<seed> moves each result within its documented bound.
#include "driver/virtual/exec/alu_select.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "driver/virtual/exec/alu_approx.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cstdlib>

#include "driver/virtual/exec/alu_decode.h"
#include "driver/virtual/exec/alu_lanes-inl.h"
#include "driver/virtual/numerics/approx.h"

#ifndef PTXOPS_ALU_APPROX_TYPES
#define PTXOPS_ALU_APPROX_TYPES
namespace ptxops::virt::alu {
using numerics::Approx;
using numerics::Format;
}  // namespace ptxops::virt::alu
#endif

HWY_BEFORE_NAMESPACE();
namespace ptxops::virt::alu::HWY_NAMESPACE {

// op.imm is the seed of the perturbation.
template <bool kPerturb>
PTXOPS_ALU numerics::Perturbation perturbation(const Op& op) {
  return {kPerturb, op.imm};
}

template <Approx kOp, bool kFtz, bool kPerturb>
struct Approx32 {
  PTXOPS_ALU uint32_t apply(const Op& op, uint32_t a) {
    const auto p = perturbation<kPerturb>(op);
    if constexpr (kOp == Approx::ex2) return numerics::ex2_approx<Format::f32, kFtz>(a, p);
    if constexpr (kOp == Approx::lg2) return numerics::lg2_approx<kFtz>(a, p);
    if constexpr (kOp == Approx::rcp) return numerics::rcp_approx<kFtz>(a, p);
    if constexpr (kOp == Approx::rsqrt) return numerics::rsqrt_approx<kFtz>(a, p);
    if constexpr (kOp == Approx::sqrt) return numerics::sqrt_approx<kFtz>(a, p);
    if constexpr (kOp == Approx::sin || kOp == Approx::cos) return numerics::trig_approx<kOp, kFtz>(a, p);
    if constexpr (kOp == Approx::tanh) return numerics::tanh_approx<Format::f32>(a, p);
  }
};
template <bool kFtz, bool kFull, bool kPerturb>
struct Div32 {
  PTXOPS_ALU uint32_t apply(const Op& op, uint32_t a, uint32_t b) {
    return numerics::div_approx<kFtz, kFull>(a, b, perturbation<kPerturb>(op));
  }
};
template <Approx kOp, Format F, bool kPair, bool kPerturb>
struct ApproxHalf {
  PTXOPS_ALU uint32_t one(const Op& op, uint32_t a) {
    const auto p = perturbation<kPerturb>(op);
    const auto h = static_cast<uint16_t>(a);
    if constexpr (kOp == Approx::ex2)
      return numerics::ex2_approx<F, F == Format::bf16>(h, p);
    else
      return numerics::tanh_approx<F>(h, p);
  }
  PTXOPS_ALU uint32_t apply(const Op& op, uint32_t a) {
    if constexpr (!kPair) return one(op, a);
    return one(op, a) | one(op, a >> 16) << 16;
  }
};

template <bool kFtz, bool kPerturb>
Handler f32_handler(Approx op, bool full) {
  switch (op) {
    case Approx::ex2:
      return lanewise<Approx32<Approx::ex2, kFtz, kPerturb>>;
    case Approx::lg2:
      return lanewise<Approx32<Approx::lg2, kFtz, kPerturb>>;
    case Approx::rcp:
      return lanewise<Approx32<Approx::rcp, kFtz, kPerturb>>;
    case Approx::rsqrt:
      return lanewise<Approx32<Approx::rsqrt, kFtz, kPerturb>>;
    case Approx::sqrt:
      return lanewise<Approx32<Approx::sqrt, kFtz, kPerturb>>;
    case Approx::sin:
      return lanewise<Approx32<Approx::sin, kFtz, kPerturb>>;
    case Approx::cos:
      return lanewise<Approx32<Approx::cos, kFtz, kPerturb>>;
    case Approx::tanh:
      return lanewise<Approx32<Approx::tanh, kFtz, kPerturb>>;
    case Approx::div:
      return full ? lanewise<Div32<kFtz, true, kPerturb>> : lanewise<Div32<kFtz, false, kPerturb>>;
  }
  return nullptr;
}
Handler approx32(Approx op, bool ftz, bool full, bool perturb) {
  if (perturb) return ftz ? f32_handler<true, true>(op, full) : f32_handler<false, true>(op, full);
  return ftz ? f32_handler<true, false>(op, full) : f32_handler<false, false>(op, full);
}

template <Approx kOp, Format F, bool kPerturb>
Handler half_of(bool pair) {
  return pair ? lanewise<ApproxHalf<kOp, F, true, kPerturb>> : lanewise<ApproxHalf<kOp, F, false, kPerturb>>;
}
template <bool kPerturb>
Handler half_handler(Approx op, bool bf16, bool pair) {
  if (op == Approx::ex2) {
    return bf16 ? half_of<Approx::ex2, Format::bf16, kPerturb>(pair)
                : half_of<Approx::ex2, Format::f16, kPerturb>(pair);
  }
  return bf16 ? half_of<Approx::tanh, Format::bf16, kPerturb>(pair)
              : half_of<Approx::tanh, Format::f16, kPerturb>(pair);
}
Handler approx_half(Approx op, bool bf16, bool pair, bool perturb) {
  return perturb ? half_handler<true>(op, bf16, pair) : half_handler<false>(op, bf16, pair);
}

}  // namespace ptxops::virt::alu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ptxops::virt {
namespace alu {
HWY_EXPORT(approx32);
HWY_EXPORT(approx_half);
}  // namespace alu
namespace {
using alu::Approx;
using isa::Instruction;
using isa::Type;

constexpr uint16_t kMufuCost = 8;  // special-function unit: 16 results a cycle and SM

// Read at every module load, so that a test can run both ways in one process.
numerics::Perturbation wanted_perturbation(Decoder& d) {
  const char* text = std::getenv("PTXOPS_PERTURB");
  if (text == nullptr || *text == '\0') return {};
  char* end = nullptr;
  const uint64_t seed = std::strtoull(text, &end, 0);
  if (*end != '\0') d.refuse("PTXOPS_PERTURB: expected an integer seed, actual '" + std::string(text) + "'");
  return {true, seed};
}

void approximate(Decoder& d, const Instruction& i, Approx kind) {
  const numerics::Perturbation p = wanted_perturbation(d);
  const Handler handler = HWY_DYNAMIC_DISPATCH(alu::approx32)(kind, i.has("ftz"), i.has("full"), p.enabled);
  Op& op = kind == Approx::div ? alu::emit_op(d, i, handler, Type::f32, {Type::f32, Type::f32}, kMufuCost + 2)
                               : alu::emit_op(d, i, handler, Type::f32, {Type::f32}, kMufuCost);
  op.imm = p.seed;
}
void approximate_half(Decoder& d, const Instruction& i, Approx kind) {
  const Type t = i.type();
  const bool bf16 = t == Type::bf16 || t == Type::bf16x2, pair = isa::type_bits(t) == 32;
  const numerics::Perturbation p = wanted_perturbation(d);
  const Handler handler = HWY_DYNAMIC_DISPATCH(alu::approx_half)(kind, bf16, pair, p.enabled);
  alu::emit_op(d, i, handler, t, {t}, pair ? 2 * kMufuCost : kMufuCost).imm = p.seed;
}

// f64: with ftz the hardware looks at the upper word of the operand only and leaves the lower one of the
// result zero; without, the root is computed in full.
double flushed(double v) {
  return std::bit_cast<double>(numerics::flushed<numerics::Format::f64>(std::bit_cast<uint64_t>(v)));
}
double upper_word(double v) {
  return std::bit_cast<double>(std::bit_cast<uint64_t>(v) & 0xffffffff00000000u);
}
template <bool kRoot, bool kFtz>
Step approx64(Warp& w, const Op& op, uint32_t lanes) {
  const double* a = w.reg<double>(op.a);
  double* d = w.reg<double>(op.d);
  for (uint32_t i = 0; i < kLanes; ++i) {
    if (!(lanes >> i & 1)) continue;
    const double x = kFtz && a[i] == a[i] ? upper_word(flushed(a[i])) : a[i];
    const double y = 1 / (kRoot ? std::sqrt(x) : x);
    d[i] = kFtz && y == y ? upper_word(flushed(y)) : y;
  }
  return Step::next;
}
}  // namespace

void decode_div_approx_f32(Decoder& d, const Instruction& i) {
  approximate(d, i, Approx::div);
}
void decode_rcp_approx_f32(Decoder& d, const Instruction& i) {
  approximate(d, i, Approx::rcp);
}
void decode_sqrt_approx_f32(Decoder& d, const Instruction& i) {
  approximate(d, i, Approx::sqrt);
}
void decode_rsqrt_approx_f32(Decoder& d, const Instruction& i) {
  approximate(d, i, Approx::rsqrt);
}
void decode_sin_approx_f32(Decoder& d, const Instruction& i) {
  approximate(d, i, Approx::sin);
}
void decode_cos_approx_f32(Decoder& d, const Instruction& i) {
  approximate(d, i, Approx::cos);
}
void decode_lg2_approx_f32(Decoder& d, const Instruction& i) {
  approximate(d, i, Approx::lg2);
}
void decode_ex2_approx_f32(Decoder& d, const Instruction& i) {
  approximate(d, i, Approx::ex2);
}
void decode_tanh_approx_f32(Decoder& d, const Instruction& i) {
  approximate(d, i, Approx::tanh);
}
void decode_ex2_approx_half(Decoder& d, const Instruction& i) {
  approximate_half(d, i, Approx::ex2);
}
void decode_tanh_approx_half(Decoder& d, const Instruction& i) {
  approximate_half(d, i, Approx::tanh);
}

void decode_rcp_approx_f64(Decoder& d, const Instruction& i) {
  alu::emit_op(d, i, approx64<false, true>, Type::f64, {Type::f64}, kMufuCost);
}
void decode_rsqrt_approx_f64(Decoder& d, const Instruction& i) {
  const Handler handler = i.has("ftz") ? approx64<true, true> : approx64<true, false>;
  alu::emit_op(d, i, handler, Type::f64, {Type::f64}, kMufuCost);
}

}  // namespace ptxops::virt
#endif
