// Decodes one function: lays out its frame, then turns each instruction into ops.
#pragma once

#include "driver/virtual/exec/decode.h"
#include "driver/virtual/exec/program.h"

namespace ptxops::virt {

class FunctionDecoder final : public Decoder {
 public:
  FunctionDecoder(Program& program, Code& code) : program_(program), code_(code), function_(*code.function) {}

  // Frame slots of registers and offsets of local variables; must have run for every function before decode().
  void lay_out();
  // Appends one line per instruction that cannot be executed to `log`; false if there is any.
  bool decode(std::string& log);

  uint32_t src(const isa::Operand& operand, isa::Type type) override;
  uint32_t dst(const isa::Operand& operand, isa::Type type) override;
  uint32_t src_pred(const isa::Operand& operand) override;
  uint32_t dst_pred(const isa::Operand& operand) override;
  uint32_t constant32(uint32_t value) override;
  uint32_t constant64(uint64_t value) override;
  uint32_t scratch(uint32_t bytes_per_lane) override;
  uint32_t address(const isa::Operand& operand, int64_t& displacement) override;
  Op& emit(Handler handler) override;
  [[noreturn]] void refuse(const std::string& what) override;

  const Code& code() const { return code_; }
  const Program& program() const { return program_; }
  // For the control-flow decoders: an op whose `imm` becomes the address of the first op of instruction `target`
  // (the meeting point's join op where there is one).
  void patch_target(uint32_t target);
  // The join op where lanes that the current branch separates meet again goes to `c`/`e`... see control.cpp.
  void patch_meet();
  const ControlFlow& flow() const { return flow_; }

 protected:
  void keep_alive(std::shared_ptr<void> value) override;

 private:
  uint32_t allocate(uint32_t bytes, uint32_t align = 64);
  uint32_t constant(uint8_t bytes, uint64_t value, ConstantSlot::Base base = ConstantSlot::Base::none,
                    const isa::Variable* variable = nullptr);
  uint32_t special(isa::Special special, isa::Type type);
  uint32_t slot_of(const isa::Operand& operand);
  uint32_t variable_address(const isa::Variable& variable, int64_t offset, uint8_t bytes);
  void mark_waits();
  void finish_extensions();

  struct Patch {
    uint32_t op;
    int64_t instruction;
    bool meet;  // patch the meeting point instead of the target
  };
  struct Extension {
    uint32_t from, to;
    isa::Type type;
    int to_bits;
  };

  Program& program_;
  Code& code_;
  const isa::Function& function_;
  ControlFlow flow_;
  const isa::Instruction* current_ = nullptr;
  uint32_t index_ = 0;                 // of the current instruction
  std::vector<uint32_t> first_op_;     // by instruction index
  std::vector<Patch> patches_;
  std::vector<Extension> extensions_;  // conversions to emit behind the current instruction's ops
  std::vector<uint32_t> scratch_in_use_, scratch_free_[3];
  std::unordered_map<uint64_t, uint32_t> constants32_, constants64_;
  std::unordered_map<uint32_t, uint32_t> specials_;
};

}  // namespace ptxops::virt
