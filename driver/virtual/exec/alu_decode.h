// What the decode functions of the ALU chapters share.
#pragma once

#include <initializer_list>

#include "driver/virtual/exec/decode.h"

namespace ptxops::virt::alu {

// Emits an op with d = operand 0 and a, b, c, e = operands 1..4, read and written as the given types.
inline Op& emit_op(Decoder& d, const isa::Instruction& i, Handler handler, isa::Type result,
                   std::initializer_list<isa::Type> sources, uint16_t cost) {
  if (handler == nullptr) d.refuse("no handler for " + std::string(i.opcode->text));
  uint32_t slots[4] = {};
  size_t n = 0;
  for (isa::Type t : sources) {
    slots[n] = t == isa::Type::pred ? d.src_pred(i.operands[n + 1]) : d.src(i.operands[n + 1], t);
    ++n;
  }
  const uint32_t to = result == isa::Type::pred ? d.dst_pred(i.operands[0]) : d.dst(i.operands[0], result);
  Op& op = d.emit(handler);
  op.d = to;
  op.a = slots[0];
  op.b = slots[1];
  op.c = slots[2];
  op.e = slots[3];
  op.cost = cost;
  return op;
}

// Issue cycles of an integer instruction (half of the FP32 rate), doubled for 64 bits.
inline uint16_t integer_cost(isa::Type t, uint16_t cost = 2) {
  return static_cast<uint16_t>(isa::type_bits(t) == 64 ? 2 * cost : cost);
}
// Issue cycles of an operation at the full rate of 32 lanes a cycle, doubled for 64 bits.
inline uint16_t simple_cost(isa::Type t) {
  return integer_cost(t, 1);
}

}  // namespace ptxops::virt::alu
