// What the conversion files share. Fast handlers exist for the common conversions; everything else is done by
// the general ones.
#pragma once

#include "driver/virtual/exec/op.h"
#include "driver/virtual/isa/types.h"
#include "driver/virtual/numerics/formats.h"

namespace ptxops::virt::alu {

using numerics::Round;

// Modifiers of cvt: .rn and .rni are both Round::rn; `integral` says that it was an integer rounding.
struct CvtFlags : numerics::FloatMode {
  bool integral = false;
  bool none() const { return !ftz && !sat && !relu && !satfinite; }
};

// d = a. nullptr where only the general handler applies. The f64 to f32 and integer to f32/f64 handlers round
// as the host does: see alu_rounding.h.
Handler fast_convert(isa::Type to, isa::Type from, const CvtFlags& flags);
// d = pack(a, b), a in the upper half: f16x2, bf16x2, e4m3x2, e5m2x2 from two f32, round to nearest.
Handler fast_pack(isa::Type to, bool relu);
// f16x2 <-> e4m3x2, e5m2x2.
Handler fast_fp8(isa::Type to, isa::Type from, bool relu);
// tf32 from f32: rna, rn or rz.
Handler tf32_convert(Round rounding, bool relu, bool satfinite);

// d = a for any pair of types; op.imm points to a CvtPlan.
struct CvtPlan {
  isa::Type to, from;
  CvtFlags flags;
};
Step general_convert(Warp& w, const Op& op, uint32_t lanes);
// d = pack(a, b); plan.to is a packed half type.
Step general_pack(Warp& w, const Op& op, uint32_t lanes);
// cvt.pack.sat: d = c << 2n | sat(a) << n | sat(b), n = op.f bits, signed where op.imm is not 0.
Step saturating_pack(Warp& w, const Op& op, uint32_t lanes);

}  // namespace ptxops::virt::alu
