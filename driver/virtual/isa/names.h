// Names in scope while a module is parsed: shadowing blocks, and ranges such as %r<100>.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "driver/virtual/isa/types.h"

namespace ptxops::virt::isa {

struct Variable;
struct Function;

struct Name {
  enum class Kind : uint8_t { none, reg, variable, function, label, branch_table, call_targets, prototype };
  Kind kind = Kind::none;
  Type type = Type::none;  // reg
  uint8_t vector = 1;      // reg: components of a .v2 or .v4 register, numbered from `index`
  uint32_t depth = 0;      // scope that declares it
  uint32_t index = 0;      // register, label, table
  uint32_t count = 0;      // range: how many names; 0 = the name itself
  uint32_t line = 0;
  const Variable* variable = nullptr;
  const Function* function = nullptr;
};

// Open addressing, keys are views of the module text. Entries are never removed; leaving a scope restores
// what it shadowed.
class NameTable {
 public:
  NameTable() : slots_(1024) {}
  // kind none if absent. The pointer is valid until the next insert.
  const Name* find(std::string_view key) const {
    size_t i = locate(key);
    return slots_[i].key.data() ? &slots_[i].value : nullptr;
  }
  // Declares in scope `value.depth`, remembering what it hides.
  void insert(std::string_view key, const Name& value) {
    if (used_ * 2 >= slots_.size()) grow();
    size_t i = locate(key);
    if (!slots_[i].key.data()) {
      slots_[i].key = key;
      ++used_;
    }
    undo_.push_back({key, slots_[i].value});
    slots_[i].value = value;
  }
  size_t mark() const { return undo_.size(); }
  void restore(size_t mark) {
    while (undo_.size() > mark) {
      slots_[locate(undo_.back().key)].value = undo_.back().value;
      undo_.pop_back();
    }
  }

 private:
  struct Slot {
    std::string_view key;
    Name value;
  };

  static uint64_t hash(std::string_view key) {
    uint64_t h = 1469598103934665603ull;
    for (char c : key) h = (h ^ static_cast<unsigned char>(c)) * 1099511628211ull;
    return h ^ (h >> 29);
  }
  size_t locate(std::string_view key) const {
    size_t mask = slots_.size() - 1, i = hash(key) & mask;
    while (slots_[i].key.data() && slots_[i].key != key) i = (i + 1) & mask;
    return i;
  }
  void grow() {
    std::vector<Slot> old(slots_.size() * 2);
    old.swap(slots_);
    for (const Slot& s : old) {
      if (s.key.data()) slots_[locate(s.key)] = s;
    }
  }

  std::vector<Slot> slots_;
  std::vector<Slot> undo_;
  size_t used_ = 0;
};

}  // namespace ptxops::virt::isa
