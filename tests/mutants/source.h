// The text under mutation, with what the operators ask of it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/mutants/operators.h"

namespace ptxops::mutants {

// Consecutive statements that belong together: an instruction, or a loop around an mbarrier wait with its
// scope.
struct Unit {
  size_t first, last;
};

using Test = std::function<bool(const Statement&)>;

class Source {
 public:
  explicit Source(std::string_view ptx);

  const std::string_view text;
  const std::vector<Statement> statements;
  std::vector<Mutant> mutants;

  // `label: try_wait; @!done bra label;`, with the braces and declarations around it; an instruction alone
  // otherwise.
  Unit unit_of(size_t statement) const;

  void remove(FaultClass fault, const std::string& op, Unit u);
  // Moves the unit past the nearest statement that passes the test; no mutant where there is none in reach.
  void hoist(FaultClass fault, const std::string& op, Unit u, const Test& target);
  void sink(FaultClass fault, const std::string& op, Unit u, const Test& target);
  // The statement becomes `text` (guard and semicolon included), on its first line.
  void replace(FaultClass fault, const std::string& op, size_t statement, const std::string& text,
               const std::string& detail);
  // The statement with one operand changed.
  void set_operand(FaultClass fault, const std::string& op, size_t statement, size_t operand,
                   const std::string& text);
  // The statement with operand `name` replaced by a fresh register that `instruction` ("xor.b32", ", 1")
  // computes from it.
  void compute_operand(FaultClass fault, const std::string& op, size_t statement, const std::string& name,
                       std::string_view type, std::string_view instruction, std::string_view last);
  // Lines of the instructions that read what statement i writes, or anything computed from it in registers.
  std::vector<int> readers_of(size_t i) const;
  // The last mutant uses what older versions of PTX lack.
  void need_version_8_6();

 private:
  std::optional<size_t> reach(Unit u, int step, const Test& target) const;
  void move(FaultClass fault, const std::string& op, Unit u, size_t target, bool up);
  Mutant& add(FaultClass fault, const std::string& op, Unit u);
  std::vector<std::string> declared_in(size_t open) const;
  size_t partner(size_t brace) const;

  void resolve();

  struct Uses {
    std::vector<int> read, written;  // registers, by number
  };
  std::vector<Uses> uses_;       // of each statement
  std::vector<size_t> wait_of_;  // statement -> the try_wait of the unit that it is part of, or npos
  std::vector<size_t> partner_;  // brace -> its other brace
};

// One operand's immediate, where it is one.
std::optional<int64_t> immediate(std::string_view operand);
// "[reg+immediate]", so many bytes on.
std::string displaced(std::string_view address, int64_t by);
// "@p op a, b;"
std::string spell(const Statement& s, std::string_view opcode, const std::vector<std::string>& operands);
bool has_word(const Statement& s, std::string_view word);  // ".word" among the opcode's parts
inline bool starts(const Statement& s, std::string_view prefix) {
  return s.kind == Statement::Kind::instruction && std::string_view(s.opcode).starts_with(prefix);
}

void mutate_synchronisation(Source& source);  // mbarriers, groups, barriers, fences, launches
void mutate_values(Source& source);           // counts, addresses, coordinates, descriptors, initial values

}  // namespace ptxops::mutants
