// Mutation operators: PTX text -> its mutants. Text only; nothing here knows our kernels.
//
// Synchronisation is deleted, and moved in the direction that orders less (waits down, arrivals up, barriers
// and fences both ways), past the nearest instruction that it orders, within a stretch without labels and
// branches, and never past a write of a register that it reads. The other direction orders more and is left
// out.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "tests/mutants/statements.h"

namespace ptxops::mutants {

enum class FaultClass {
#define FAULT_CLASS(name, ...) name,
#include "tests/mutants/classes.def"
#undef FAULT_CLASS
};
enum class ClassKind { certain, checked, value };
struct ClassInfo {
  std::string_view name, title;
  ClassKind kind;
  std::string_view ids;  // acceptable diagnostics, separated by spaces
  std::string_view why;
};
constexpr ClassInfo kClasses[] = {
#define FAULT_CLASS(name, title, kind, ids, why) {#name, title, ClassKind::kind, ids, why},
#include "tests/mutants/classes.def"
#undef FAULT_CLASS
};
inline const ClassInfo& info(FaultClass c) {
  return kClasses[static_cast<size_t>(c)];
}

struct Mutant {
  FaultClass fault;
  std::string op;               // "delete wgmma.wait_group"
  std::string detail;           // what became of it; may be empty
  int line = 0, last_line = 0;  // of what is changed
  int moved_to = 0;             // the line it now stands on; 0: not moved
  int copy = 1,
      copies = 1;  // of the mutants of this operator at one place of the template; by whoever knows places
  std::vector<int> readers;  // of a dropped value: the lines that read it or what is computed from it
  std::vector<Edit> edits;   // lines keep their numbers
};

// In the order of the text. Throws std::invalid_argument as parse_body.
std::vector<Mutant> all_mutants(std::string_view ptx);

}  // namespace ptxops::mutants
