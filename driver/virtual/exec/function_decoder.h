// Decodes one function: lays out its frame, then turns each instruction into ops.
#pragma once

#include "driver/virtual/check/registers.h"
#include "driver/virtual/exec/decode.h"
#include "driver/virtual/exec/program.h"

namespace ptxops::virt {

class FunctionDecoder final : public Decoder {
 public:
  FunctionDecoder(Program& program, Code& code) : program_(program), code_(code), function_(*code.function) {}

  // Frame slots of registers and offsets of local variables; must have run for every function before
  // decode(). Throws DecodeError.
  void lay_out();
  // Appends one line per instruction that cannot be executed to `log`, at most `max_errors`; returns how
  // many.
  int decode(std::string& log, int max_errors);

  uint32_t src(const isa::Operand& operand, isa::Type type) override;
  uint32_t dst(const isa::Operand& operand, isa::Type type) override;
  uint32_t src_pred(const isa::Operand& operand) override;
  uint32_t dst_pred(const isa::Operand& operand) override;
  uint32_t constant32(uint32_t value) override;
  uint32_t constant64(uint64_t value) override;
  uint32_t scratch(uint32_t bytes_per_lane) override;
  uint32_t address(const isa::Operand& operand, int64_t& displacement) override;
  uint32_t tracked(const isa::Operand& operand) override;
  uint32_t tracked_count() const override { return tracked_end_; }
  Op& emit(Handler handler) override;
  [[noreturn]] void refuse(const std::string& what) override;

  const Code& code() const { return code_; }
  const Program& program() const { return program_; }
  // For the control-flow decoders, about the op emitted last: its `imm` becomes the address of the first op
  // of an instruction of this function; its `c` becomes 1 + the index of the op where the lanes that the
  // current branch separates meet again (0: nowhere before the function's end).
  void patch_target(uint32_t instruction);
  void patch_meet();
  // Fills `table` with the addresses of the first ops of `instructions` once all are known.
  void patch_table(std::vector<const Op*>* table, std::vector<uint32_t> instructions);
  const ControlFlow& flow() const { return flow_; }

 protected:
  void keep_alive(std::shared_ptr<void> value) override;

 private:
  uint32_t allocate(uint32_t bytes, uint32_t align = 64);
  uint32_t constant(uint8_t bytes, uint64_t value, ConstantSlot::Base base = ConstantSlot::Base::none,
                    const isa::Variable* variable = nullptr);
  uint32_t special(isa::Special special, isa::Type type);
  uint32_t variable_address(const isa::Variable& variable, int64_t offset, uint8_t bytes);
  void mark_waits();
  void find_tracked();
  void emit_register_checks(const isa::Instruction& in);
  void finish_extensions();

  struct Patch {
    uint32_t op;
    int64_t instruction;
    bool meet;  // patch the meeting point instead of the target
  };
  struct Table {
    std::vector<const Op*>* out;
    std::vector<uint32_t> instructions;
  };
  struct Extension {
    uint32_t from, to;
    isa::Type type;
    int to_bits;
  };

  static constexpr uint32_t kUntracked = ~0u;
  std::vector<uint32_t> tracked_;     // by register index; empty where the function has no wgmma
  uint32_t tracked_end_ = 0;          // one past the highest number
  RegisterUses* straight_ = nullptr;  // the check at the head of the current stretch of straight code

  Program& program_;
  Code& code_;
  const isa::Function& function_;
  ControlFlow flow_;
  const isa::Instruction* current_ = nullptr;
  uint32_t index_ = 0;              // of the current instruction
  std::vector<uint32_t> first_op_;  // by instruction index
  std::vector<Patch> patches_;
  std::vector<Extension> extensions_;  // conversions to emit behind the current instruction's ops
  std::vector<Table> tables_;
  std::vector<uint32_t> scratch_pool_[3];  // of 4, 8 and 16 bytes a lane
  size_t scratch_used_[3] = {};            // by the current instruction
  std::unordered_map<uint64_t, uint32_t> constants32_, constants64_;
  std::unordered_map<uint32_t, uint32_t> specials_;
};

}  // namespace ptxops::virt
