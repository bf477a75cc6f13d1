// A module decoded for one device: code, frame layouts, module variables in device memory.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "driver/virtual/exec/op.h"
#include "driver/virtual/isa/ir.h"

namespace ptxops::virt {

class Memory;
struct Site;
struct Effects;
struct Warp;
class Program;

// Frame offset of the carry flag (add.cc ...), a predicate slot; offset 0 is the predicate that is always
// true.
inline constexpr uint32_t kTrueSlot = 0;
inline constexpr uint32_t kCarrySlot = 4;

// A slot filled when a frame is made: a value that is the same in all lanes.
struct ConstantSlot {
  enum class Base : uint8_t { none, local, params, shared };  // what is added to `value`
  uint32_t offset = 0;
  uint8_t bytes = 4;  // a lane: 4 or 8
  Base base = Base::none;
  uint64_t value = 0;
  const isa::Variable* variable = nullptr;  // base shared: the variable whose offset the kernel decides
};

struct SpecialSlot {
  uint32_t offset = 0;
  isa::Special special{};
};

// A decoded function.
struct Code {
  const isa::Function* function = nullptr;
  const Program* program = nullptr;
  std::vector<Op> ops;
  uint32_t frame_bytes = 0;
  std::vector<ConstantSlot> constants;
  std::vector<SpecialSlot> specials;
  std::vector<uint32_t> register_slot;                              // by isa register index
  std::unordered_map<const isa::Variable*, uint32_t> local_offset;  // local and call-parameter variables
  uint32_t local_bytes = 0;                                         // a lane, one activation
  std::vector<uint32_t> first_op;                                   // by instruction index
  // For the checker, when first needed (check/undefined.h).
  mutable std::atomic<const Effects*> effects{nullptr};
  mutable std::shared_ptr<const Effects> effects_owner;

  // Fills constants and special registers of a fresh frame. `local_base`: this activation's local offset.
  void fill_frame(const Warp& warp, std::byte* regs, uint32_t local_base) const;
};

// An entry function with what a launch must know.
struct Kernel {
  const Code* code = nullptr;
  std::string name;
  uint32_t static_smem = 0;  // bytes behind the reserved kilobyte, before dynamic shared memory
  uint32_t smem_align = 16;  // of the dynamic part
  uint32_t param_bytes = 0;
  std::unordered_map<const isa::Variable*, uint32_t> shared_offset;  // absolute .shared addresses
  // What this kernel may be launched with, from its directives; 0 = not restricted.
  isa::Dim3 maxntid, reqntid, reqnctapercluster;
  uint32_t max_threads = 1024;
  uint32_t registers = 0;  // a thread: what the directives and setmaxnreg.inc allow; ptxas may use fewer
  uint32_t local_bytes = 0;
};

class Program {
 public:
  // Decodes a parsed module and places its variables in `device`'s memory. On failure returns nullptr and
  // appends "line N: text" lines to `log`. Takes ownership of the module.
  static std::unique_ptr<Program> load(isa::Module module, Memory& memory, int device, std::string& log);
  ~Program();

  const Kernel* find_kernel(std::string_view name) const;
  const std::vector<std::unique_ptr<Kernel>>& kernels() const { return kernels_; }
  // Device address and size of a .global or .const variable; false when there is none of that name.
  bool find_variable(std::string_view name, uint64_t& address, uint64_t& size) const;
  const isa::Module& module() const { return module_; }
  uint64_t address_of(const isa::Variable& variable) const;
  const Code* code_of(const isa::Function& function) const;  // nullptr: declared only
  const Code* code_at(uint64_t address) const;               // by function address; nullptr: not one of ours
  std::string_view source_line(uint32_t line) const { return module_.source_line(line); }
  void show_line(Site& site, uint32_t line) const;  // of the PTX text

 private:
  friend class FunctionDecoder;
  explicit Program(isa::Module module, Memory& memory) : module_(std::move(module)), memory_(memory) {}
  bool place_variables(int device, std::string& log);
  bool decode_functions(std::string& log);
  bool make_kernel(const isa::Function& function, std::string& log);

  isa::Module module_;
  Memory& memory_;
  std::vector<std::unique_ptr<Code>> code_;  // by function index; null for undefined functions
  std::vector<std::unique_ptr<Kernel>> kernels_;
  std::unordered_map<const isa::Variable*, uint64_t> addresses_;
  std::vector<uint64_t> owned_;
  std::vector<std::shared_ptr<void>> payloads_;
  uint32_t tracked_ = 0;  // registers that the checker tracks, of all functions
};

// Control-flow facts of one function, by instruction index.
struct ControlFlow {
  // For each guarded branch or brx.idx: index of the instruction where its lanes meet again, or -1 when only
  // the function's end post-dominates it.
  std::unordered_map<uint32_t, int64_t> meet;
  std::vector<bool> is_meet;    // an instruction where some branch's lanes meet
  std::vector<bool> is_leader;  // first of a basic block
};
ControlFlow analyze(const isa::Function& function);

}  // namespace ptxops::virt
