// Legality of one parsed instruction, and of a whole module.
#pragma once

#include <string>

#include "driver/virtual/isa/ir.h"
#include "driver/virtual/isa/opcode.h"

namespace ptxops::virt::isa {

// "" if the operands suit the opcode, else what is wrong, in one line.
std::string check_instruction(const Instruction& instruction, const MatchedOpcode& matched,
                              const Function& function);

// Can a register of type `reg` stand for a value of type `wanted`? PTX ISA 9.4: same size and kind, or an
// untyped .b register; with `wider` (ld, st, cvt) the register may be larger.
bool register_suits(Type wanted, Type reg, bool wider);

// "register 'r1' of type .b32": for messages.
std::string describe(const Operand& operand, const Function& function);

}  // namespace ptxops::virt::isa
