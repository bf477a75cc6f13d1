// Directed rounding: the host's rounding mode around a handler that was written for round-to-nearest.
#pragma once

#include <string_view>

#include "driver/virtual/exec/op.h"

namespace ptxops::virt::alu {

// Makes `op`, already filled, execute its handler under rounding `token` (rn, rz, rm, rp; "" is rn).
// Uses op.imm and op.f for directed modes.
void set_rounding(Op& op, std::string_view token);

}  // namespace ptxops::virt::alu
