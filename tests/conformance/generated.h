// Cases made from the table: registers in, registers out. Each kernel loads its sources from global memory,
// executes the instruction once unconditionally and once under a random guard (whose inactive lanes must keep
// their old values), and stores the results.
#pragma once

#include <string>
#include <vector>

#include "tests/conformance/oracle.h"

namespace ptxops::conformance {

struct GeneratedCase {
  Case what;
  std::string text;                 // the instruction with $-placeholders: $d0, $a1
  std::string setup;                // instructions in front of it (carry-in)
  std::string readout;              // instructions behind it (carry-out)
  std::vector<uint64_t> immediate;  // by source: the literal's value
  std::vector<bool> is_immediate;   // by source
  std::vector<bool> negated;        // by source: written !p
};

// The cases of every legal spelling of `row`.
std::vector<GeneratedCase> cases_of(const isa::Row& row);

// PTX of one kernel "k<index>".
std::string kernel_text(const GeneratedCase& c, size_t index);

// Runs all cases and checks them against the row's oracle with GoogleTest assertions; returns how many ran.
size_t run_cases(const isa::Row& row, const std::vector<GeneratedCase>& cases);

// Module text of all cases, for loading and for ptxas.
std::string module_text(const std::vector<GeneratedCase>& cases);

}  // namespace ptxops::conformance
