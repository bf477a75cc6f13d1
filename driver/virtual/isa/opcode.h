// Matching of an opcode with its modifiers against the table.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "driver/virtual/isa/arena.h"
#include "driver/virtual/isa/ir.h"

namespace ptxops::virt::isa {

// One expected operand of a particular opcode: its spec with types and lengths filled in.
struct ExpectedOperand {
  const OperandSpec* spec = nullptr;
  Type type = Type::none;
  int length = 1;
  Space space = Space::generic;  // addresses
};

struct MatchedOpcode {
  Opcode opcode;                     // row == nullptr: no match, see error
  const Opcode* interned = nullptr;  // the same, owned by the arena: what instructions point to
  std::vector<ExpectedOperand> expected;
  std::string error;                   // why the opcode cannot be used in this module; reported at each use
  uint8_t required = 0, optional = 0;  // how many operands
};

// Matches and interns opcodes for one module. Not thread-safe.
class OpcodeMatcher {
 public:
  OpcodeMatcher(Arena& arena, const Module& module) : arena_(arena), module_(module) {}
  // `text` must outlive the module's arena. The reference is stable.
  const MatchedOpcode& match(std::string_view text);

 private:
  void build(std::string_view text, MatchedOpcode& m);
  bool available(const Row& row) const;
  std::string refusal(std::string_view text, const Row& row) const;

  Arena& arena_;
  const Module& module_;
  std::unordered_map<std::string_view, MatchedOpcode> known_;
};

std::string arch_name(Arch a);
std::string version_name(int version_x10);

}  // namespace ptxops::virt::isa
