// The table of instructions: one row per spelling, written in table/*.def, read by the parser, validator,
// executor and coverage report. See README.md for the pattern grammar.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "driver/virtual/isa/operand_form.h"
#include "driver/virtual/isa/types.h"

namespace ptxops::virt::isa {

// One id, one semantic: the executor defines a decode function of the same name.
enum class Id : uint16_t {
  unsupported,
#define INSTRUCTION(id, pattern, form, scope, min_ptx, arch) id,
#define ALSO(id, pattern, form, scope, min_ptx, arch)
#define UNSUPPORTED(pattern, why)
#include "driver/virtual/isa/table/instructions.def"
#undef INSTRUCTION
#undef ALSO
#undef UNSUPPORTED
  count
};
std::string_view id_name(Id id);

// Who executes the instruction together; `async` starts work that another agent completes.
enum class Scope : uint8_t { thread, warp, warpgroup, cta, cluster, async };
std::string_view scope_name(Scope s);

// Lowest target; the 'a' features of sm_90a are those of no other target.
enum class Arch : uint8_t {
  sm_50 = 50,
  sm_60 = 60,
  sm_70 = 70,
  sm_75 = 75,
  sm_80 = 80,
  sm_86 = 86,
  sm_89 = 89,
  sm_90 = 90,
  sm_90a = 91
};

// One modifier position of a pattern.
struct Slot {
  std::string_view name;  // "rnd" of .<rnd>, else ""
  bool optional = false;
  std::vector<std::string_view> tokens;  // what may stand there
};

struct Row {
  Id id = Id::unsupported;
  std::string_view name;     // of the id; "" for unsupported rows
  std::string_view pattern;  // as in the table
  std::string_view form;     // operand form as in the table
  std::string_view root;     // "mad"
  Scope scope = Scope::thread;
  uint16_t min_ptx = 0;  // 80 for PTX ISA 8.0
  Arch arch = Arch::sm_50;
  std::string_view why_not;  // reason, unsupported rows only
  std::string_view chapter;  // "integer" for table/integer.def
  std::vector<Slot> slots;
  std::vector<OperandSpec> specs;

  bool supported() const { return id != Id::unsupported; }
};

// All rows in table order; several rows may share an id (ALSO). For coverage reports and fuzzers.
std::span<const Row> rows();
// The rows whose pattern begins with `root`, in table order; empty for an unknown opcode.
std::span<const Row* const> rows_of(std::string_view root);

}  // namespace ptxops::virt::isa
