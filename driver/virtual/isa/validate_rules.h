// Legality that patterns and operand forms cannot say.
#pragma once

#include <string>

#include "driver/virtual/isa/ir.h"

namespace ptxops::virt::isa {

// Operands of mov, call and wgmma.mma_async: "" or what is wrong.
std::string check_whole_form(const Instruction& instruction, const Function& function);

// Relations between modifiers and operands: "" or the whole message.
std::string check_rules(const Instruction& instruction);

}  // namespace ptxops::virt::isa
