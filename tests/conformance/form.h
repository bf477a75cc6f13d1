// Spellings of instructions, enumerated from the instruction table: every combination of a row's modifiers
// that PTX allows. Conformance cases are generated from these, so a new row without a case is noticed.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "driver/virtual/isa/operand_form.h"
#include "driver/virtual/isa/table.h"

namespace ptxops::conformance {

namespace isa = virt::isa;

struct Form {
  const isa::Row* row = nullptr;
  std::vector<std::string_view> choices;  // by slot of the row; "" where the modifier is absent
  std::vector<isa::Type> types;           // type tokens in order
  std::string opcode;                     // "mad.lo.s32"

  bool has(std::string_view token) const;
  std::string_view choice(std::string_view slot_name) const;
  isa::Type type(size_t i = 0) const { return i < types.size() ? types[i] : isa::Type::none; }
};

// Every spelling of a supported row that PTX ISA allows for sm_90a.
std::vector<Form> forms_of(const isa::Row& row);

// Combinations that a row's pattern admits although PTX does not: .ftz with integers, ordered comparisons of
// bits ...
bool is_legal(const Form& form);

// "mul.{part:lo|hi}.<int>" as a gtest name.
std::string test_name(const isa::Row& row);

}  // namespace ptxops::conformance
