// Handlers of integer instructions, by operation and type; nullptr where PTX has no such combination.
// Operands: a, b, c, e in the order of the instruction's sources; d.
#pragma once

#include "driver/virtual/exec/op.h"
#include "driver/virtual/isa/types.h"

namespace ptxops::virt::alu {

enum class IntOp : uint8_t {
  add,
  sub,
  add_sat,
  sub_sat,
  mul_lo,
  mul_hi,
  mul_wide,
  mad_lo,
  mad_hi,
  mad_wide,
  mad_hi_sat,
  mul24_lo,
  mul24_hi,
  mad24_lo,
  mad24_hi,
  mad24_hi_sat,
  sad,
  div,
  rem,
  abs,
  neg,
  min,
  max,
  min_relu,
  max_relu,
  popc,
  clz,
  brev,
  bfi,
  bfind,
  bfind_shift,
  bfe,
  bmsk_clamp,
  bmsk_wrap,
  szext_clamp,
  szext_wrap,
  fns,
};
Handler integer_handler(IntOp op, isa::Type t);

enum class DotKind : uint8_t { four, two_lo, two_hi };
Handler dot_handler(DotKind kind, bool a_signed, bool b_signed);

// add.cc and its family (carry and borrow through the frame's carry slot).
enum class CarryOp : uint8_t { add, sub, mad_lo, mad_hi };
Handler carry_handler(CarryOp op, isa::Type t, bool carry_in, bool carry_out);

}  // namespace ptxops::virt::alu
