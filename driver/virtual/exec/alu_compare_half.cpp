// Comparison of f16 and bf16: exact in f32.
#include "driver/virtual/exec/alu_compare.h"
#include "driver/virtual/exec/alu_half_bits.h"
#include "driver/virtual/exec/machine.h"
#include "driver/virtual/numerics/float_ops.h"

namespace ptxops::virt::alu {
namespace {

template <Cmp kCmp, bool kBf16, bool kFtz, bool kUpper>
uint32_t truth(Warp& w, const Op& op) {
  const uint32_t* a = w.reg<uint32_t>(op.a);
  const uint32_t* b = w.reg<uint32_t>(op.b);
  const auto value = [](uint32_t lane) {
    auto h = static_cast<uint16_t>(kUpper ? lane >> 16 : lane);
    if constexpr (kFtz) h = numerics::flushed<Format::f16>(h);
    return kBf16 ? f32_from_bf16(h) : f32_from_f16(h);
  };
  uint32_t t = 0;
  for (uint32_t i = 0; i < kLanes; ++i) {
    t |= static_cast<uint32_t>(Compare<kCmp, float>::apply(value(a[i]), value(b[i]))) << i;
  }
  return t;
}

template <bool kBf16, bool kFtz, bool kUpper>
Truth by_cmp(Cmp cmp) {
  switch (cmp) {
#define PTXOPS_CASE(c) \
  case Cmp::c:         \
    return truth<Cmp::c, kBf16, kFtz, kUpper>;
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
  return nullptr;
}

}  // namespace

Truth half_truth(Cmp cmp, isa::Type type, bool ftz, bool upper) {
  switch (type) {
    case isa::Type::f16:
    case isa::Type::f16x2:
      if (ftz) return upper ? by_cmp<false, true, true>(cmp) : by_cmp<false, true, false>(cmp);
      return upper ? by_cmp<false, false, true>(cmp) : by_cmp<false, false, false>(cmp);
    case isa::Type::bf16:
    case isa::Type::bf16x2:
      return upper ? by_cmp<true, false, true>(cmp) : by_cmp<true, false, false>(cmp);
    default:
      return nullptr;
  }
}

}  // namespace ptxops::virt::alu
