// From an isa::Instruction to Ops. Each row of isa/instructions.def with id `x` has one function
// `void decode_x(Decoder&, const isa::Instruction&)`, defined in the chapter file that executes it. A row
// whose function is missing is refused at module load.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "driver/virtual/exec/op.h"
#include "driver/virtual/isa/ir.h"

namespace ptxops::virt {

class Program;

struct DecodeError : std::runtime_error {
  DecodeError(int line, const std::string& what) : std::runtime_error(what), line(line) {}
  int line;
};

class Decoder {
 public:
  virtual ~Decoder() = default;

  // Offset of a slot that holds `operand` as a value of `type`: the register itself, a slot filled with the
  // immediate, or the special register. Where the register is wider than the type (legal for st, cvt, ...), a
  // conversion to a temporary is emitted first, so a handler always finds exactly size(type) rounded up to 4.
  virtual uint32_t src(const isa::Operand& operand, isa::Type type) = 0;
  // Offset of the slot to write a value of `type` to; where the register is wider (legal for ld, cvt, ...),
  // an extension by the type's signedness is emitted behind the op. A sink `_` gets a scratch slot.
  virtual uint32_t dst(const isa::Operand& operand, isa::Type type) = 0;
  // Predicate slots. src_pred folds `!p` into a temporary.
  virtual uint32_t src_pred(const isa::Operand& operand) = 0;
  virtual uint32_t dst_pred(const isa::Operand& operand) = 0;
  // A slot that holds the same 32- or 64-bit constant in every lane.
  virtual uint32_t constant32(uint32_t value) = 0;
  virtual uint32_t constant64(uint64_t value) = 0;
  // A scratch slot of `bytes_per_lane` (4, 8, 16), free for the current instruction only.
  virtual uint32_t scratch(uint32_t bytes_per_lane) = 0;
  // The address operand [base + displacement]: the slot of the base as 64-bit lanes (zero-extended if it is a
  // 32-bit register; a constant slot if it is a symbol or an immediate); displacement goes to `displacement`.
  virtual uint32_t address(const isa::Operand& operand, int64_t& displacement) = 0;

  // Number of a register operand among those that the checker tracks (check/registers.h), and how many there
  // are.
  virtual uint32_t tracked(const isa::Operand& operand) = 0;
  virtual uint32_t tracked_count() const = 0;

  // Appends an op with the instruction's guard, line and the given handler; fill d/a/b/c/e/f/imm/cost
  // afterwards.
  virtual Op& emit(Handler handler) = 0;

  // Storage that lives as long as the program, for payloads that do not fit in an Op.
  template <class T>
  T* keep(T value) {
    auto owned = std::make_shared<T>(std::move(value));
    T* raw = owned.get();
    keep_alive(std::move(owned));
    return raw;
  }
  [[noreturn]] virtual void refuse(
      const std::string& what) = 0;  // throws DecodeError with the instruction's line

 protected:
  virtual void keep_alive(std::shared_ptr<void>) = 0;
};

using DecodeFunction = void (*)(Decoder&, const isa::Instruction&);

}  // namespace ptxops::virt
