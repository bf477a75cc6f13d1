// What became of a mutant, and whether that was right.
#pragma once

#include <string>
#include <vector>

#include "tests/mutants/cases.h"
#include "tests/mutants/operators.h"
#include "tests/mutants/processes.h"

namespace ptxops::mutants {

enum class Verdict {
  right,       // killed by the checker, with an id of the class, at the right place
  elsewhere,   // with an id of the class, but no site of the report belongs to the mutated protocol
  other_id,    // with another id
  result,      // only by its results, or because it did not end
  survivor,    // neither
  equivalent,  // a survivor whose reason is on the list
  refused,     // no program: not loaded. Does not count.
  crashed,     // the virtual device died: its fault, not the mutant's
};
inline constexpr const char* kVerdictNames[] = {"right",    "elsewhere",  "other id", "result",
                                                "survivor", "equivalent", "refused",  "crashed"};

// The parts of the device's JSON that are judged.
struct Finding {
  std::string id;
  std::vector<int> lines;  // that it names, each once
};
Finding parse_finding(const std::string& json);

// A text under mutation, with what is known of its lines.
struct Subject {
  const Case* of;
  jit::Expansion expansion;
  std::vector<std::string> origins;  // by line
};

// Where the mutant's changed line comes from: the line's origin, with " (copy 2 of 3)" where the template's
// line has copies.
std::string place(const Subject& subject, const Mutant& mutant);

// The right place: a site on the line that was changed or that it was moved to, or on a line of the same
// protocol: one of the instructions that the changed one synchronises or serves (the case's table says which
// belong together).
bool right_place(const Subject& subject, const Mutant& mutant, const std::vector<int>& lines);

// Survivors that are no faults, each with its reason: a file of records, separated by blank lines,
//   operator: delete bar.warp.sync
//   case: fp8_gemm/dense*
//   at: bar.warp.sync -1; @ fp8_gemm_producer:*
//   because: ...
// The first three are patterns (*, ?) of the operator, the case and the changed line's origin; # begins a
// comment.
class Equivalents {
 public:
  explicit Equivalents(const std::string& path);  // throws std::runtime_error
  // Index of the first record that matches, or -1; it counts as used.
  int find(const std::string& op, const std::string& name, const std::string& place);
  // Records that matched nothing.
  std::vector<std::string> unused() const;

 private:
  struct Record {
    std::string op, name, place, reason;
    bool used = false;
  };
  std::vector<Record> records_;
};

Verdict judge(const Subject& subject, const Mutant& mutant, const Outcome& checked, Equivalents& equivalents);

}  // namespace ptxops::mutants
