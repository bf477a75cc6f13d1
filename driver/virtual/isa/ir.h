// The intermediate representation of a PTX module: what the parser produces and every later stage
// (decoder, executor, loader, checker) reads. It is plain data, immutable after parse(); all string_views
// and spans point into the Module that owns them and live as long as it does. Safe to read from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "driver/virtual/isa/table.h"
#include "driver/virtual/isa/types.h"

namespace ptxops::virt::isa {

struct Variable;
struct Function;

// ---- Operands ---------------------------------------------------------------------------------------

// Special registers; a vector register (%tid) is read by component, so each component is one value here.
enum class Special : uint16_t {
#define PTXOPS_SPECIAL(id, spelling, type, min_ptx) id,
#include "driver/virtual/isa/table/special.def"
#undef PTXOPS_SPECIAL
  count
};
std::string_view special_name(Special s);
Type special_type(Special s);

enum class OperandKind : uint8_t {
  none,          // only in the four normalised slots of `call`
  reg,           // `index` in Function::registers; `negated` for !p
  immediate,     // `bits`; `type` is s64/u64 (integer), f32 (0f...) or f64 (0d... or decimal)
  special,       // `special()`; `type` is its type
  variable,      // `variable` + `offset`: the address of a variable, or a .param in a call list
  function,      // `function`: its address, or a callee
  label,         // `index` in Function::labels
  branch_table,  // `index` in Function::branch_tables (brx.idx)
  call_targets,  // `index` in Function::call_target_lists
  prototype,     // `index` in Function::prototypes
  address,       // [base + offset], with `elements` = coordinates of [tensorMap, {c0, c1}]
  vector,        // {a, b, c, d}: `elements`
  list,          // (a, b): `elements`; arguments or results of a call
  pair,          // p|q: two destinations, `elements[0]` and `elements[1]`
  sink,          // _
};

// What an address starts from.
enum class AddressBase : uint8_t { reg, variable, absolute };

struct Operand {
  OperandKind kind = OperandKind::none;
  Type type = Type::none;                    // declared type of a register, variable or special register
  bool negated = false;                      // !p
  AddressBase base = AddressBase::absolute;  // kind address only
  uint32_t index = 0;                        // register, label, table ... (see OperandKind); base register
  union {
    uint64_t bits = 0;  // immediate: integer, or the bit pattern of f32/f64
    int64_t offset;     // bytes: variable and address
  };
  union {
    const Variable* variable = nullptr;
    const Function* function;
  };
  std::span<const Operand> elements;

  // A label, branch table, prototype or list of call targets that stands further down, until it is found.
  static constexpr uint32_t kUnresolved = UINT32_MAX;
  bool is_unresolved() const { return kind == OperandKind::label && index == kUnresolved; }
  bool is_reg() const { return kind == OperandKind::reg; }
  bool is_imm() const { return kind == OperandKind::immediate; }
  bool is_address() const { return kind == OperandKind::address; }
  bool is_vector() const { return kind == OperandKind::vector; }
  bool is_sink() const { return kind == OperandKind::sink; }
  Special special() const { return static_cast<Special>(index); }
  // An immediate as the bit pattern of type `t`: integers truncate, floats convert (round to nearest even).
  // f32 and f64 literals keep their bits in .b32/.b64. Undefined for other kinds.
  uint64_t immediate(Type t) const;
};

// ---- Instructions -----------------------------------------------------------------------------------

// An opcode with its modifiers as written, matched against one row of the table. Interned: equal spellings
// in one Module share one Opcode, so a decoder may cache by pointer.
struct Opcode {
  std::string_view text;  // "mad.lo.s32"
  const Row* row = nullptr;
  std::span<const std::string_view> choices;  // by slot of row->slots; empty where absent (see choice())
  std::span<const Type> types;                // the type tokens in order

  Id id() const { return row->id; }
  // Was modifier `token` written (without its dot)? has("ftz"), has("multicast::cluster").
  bool has(std::string_view token) const;
  // What was written in the i-th slot of the row's pattern, literals included; "" if absent.
  std::string_view choice(size_t i) const { return i < choices.size() ? choices[i] : std::string_view{}; }
  // What was written in the slot with this name: choice("rnd") for .<rnd>; "" if absent or no such slot.
  std::string_view choice(std::string_view slot_name) const;
  Type type(size_t i = 0) const { return i < types.size() ? types[i] : Type::none; }
  // The i-th state space token; Space::generic if there are fewer.
  Space space(size_t i = 0) const;
  // 1, 2, 4 or 8 from .v2 .v4 .v8.
  int vector_length() const;
};

struct Instruction {
  const Opcode* opcode = nullptr;
  std::span<const Operand> operands;  // call: always {results, callee, arguments, prototype or targets}
  int32_t guard = -1;                 // register of @p, or -1
  bool guard_negated = false;         // @!p
  uint32_t line = 0;                  // line of the PTX text, from 1
  uint32_t location = 0;              // index in Module::locations (.loc), 0 = none

  const Row& row() const { return *opcode->row; }
  Id id() const { return opcode->row->id; }
  bool has(std::string_view token) const { return opcode->has(token); }
  std::string_view choice(size_t i) const { return opcode->choice(i); }
  std::string_view choice(std::string_view name) const { return opcode->choice(name); }
  Type type(size_t i = 0) const { return opcode->type(i); }
  Space space(size_t i = 0) const { return opcode->space(i); }
};

// ---- Variables, functions, modules ------------------------------------------------------------------

enum class Linkage : uint8_t { internal, visible, weak, external, common };

// An address placed into initialised memory when the module is loaded.
struct Relocation {
  uint64_t byte_offset = 0;  // in the variable
  uint8_t size = 8;          // bytes stored
  uint8_t shift = 0;         // right shift in bits before storing: mask operators 0xFF00(x)
  bool generic = false;      // generic(x): store the generic address
  const Variable* variable = nullptr;
  const Function* function = nullptr;
  int64_t addend = 0;
};

// .global .const .shared .local .param variables, and function parameters (which may be registers).
struct Variable {
  std::string_view name;
  Space space = Space::generic;
  Type type = Type::none;
  Linkage linkage = Linkage::internal;
  uint32_t line = 0;
  uint32_t align = 1;     // bytes
  uint64_t elements = 1;  // product of dimensions and vector length
  uint64_t size = 0;      // bytes; 0 for `extern .shared x[]`
  bool is_array = false;
  bool unsized = false;  // x[] without an initialiser: dynamic shared memory
  bool managed = false;  // .attribute(.managed)
  int32_t reg = -1;      // space reg: index in Function::registers
  uint64_t offset = 0;   // of a parameter: bytes from the first one, laid out as the members of a C struct
  uint32_t index = 0;    // position in Module::variables or Function::variables
  const Function* owner = nullptr;  // nullptr at module scope
  // .ptr attribute of a kernel parameter
  bool is_pointer = false;
  Space pointee = Space::generic;
  uint32_t pointee_align = 0;
  // Initial image of the first bytes; the others are zero (.global, .const) or nothing (other spaces).
  std::vector<std::byte> image;
  std::vector<Relocation> relocations;
};

struct Register {
  std::string_view prefix;  // "%r" of `.reg .b32 %r<100>`, or the whole name
  int32_t number = -1;      // 57 of %r57; -1 if declared by name
  Type type = Type::none;
  std::string name() const;
};

struct Label {
  std::string_view name;
  uint32_t instruction = 0;  // index; may equal instructions.size()
  uint32_t line = 0;
};

struct BranchTable {
  std::string_view name;
  std::vector<uint32_t> labels;  // indices in Function::labels
};

struct CallTargets {
  std::string_view name;
  std::vector<const Function*> functions;
};

struct Prototype {
  std::string_view name;
  std::vector<Variable> returns, params;
  bool noreturn = false;
};

struct Dim3 {
  uint32_t x = 0, y = 1, z = 1;  // x == 0: directive absent
  bool present() const { return x != 0; }
};

struct Function {
  std::string_view name;
  bool is_entry = false;
  bool defined = false;  // has a body
  Linkage linkage = Linkage::internal;
  uint32_t line = 0;
  uint32_t index = 0;                  // position in Module::functions
  const Function* alias_of = nullptr;  // .alias name, aliasee

  std::vector<const Variable*> params;  // in order; entry: .param space
  std::vector<const Variable*> returns;
  std::deque<Variable> variables;  // params, returns, and variables declared in the body
  std::vector<Register> registers;
  std::vector<Instruction> instructions;
  std::vector<Label> labels;
  std::vector<BranchTable> branch_tables;
  std::vector<CallTargets> call_target_lists;
  std::vector<Prototype> prototypes;

  Dim3 maxntid, reqntid, reqnctapercluster;
  uint32_t minnctapersm = 0, maxnctapersm = 0, maxnreg = 0, maxclusterrank = 0;  // 0: absent
  bool explicitcluster = false, noreturn = false;
  std::vector<std::string_view> pragmas;

  // Bytes of the parameter block of an entry.
  uint64_t param_bytes() const { return params.empty() ? 0 : params.back()->offset + params.back()->size; }
};

struct SourceFile {
  uint32_t number = 0;
  std::string_view name;
};

struct SourceLocation {
  uint32_t file = 0, line = 0, column = 0;  // file is a SourceFile::number, 0: none
  uint32_t at = 0;                          // line of the PTX text from which on it holds
};

class Arena;

class Module {
 public:
  Module();
  ~Module();
  Module(Module&&) noexcept;
  Module& operator=(Module&&) noexcept;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  int version = 0;        // 80 for .version 8.0
  int target = 0;         // 90 for sm_90 and sm_90a
  bool target_a = false;  // sm_90a
  int address_size = 32;  // bits
  bool debug = false;     // .target ..., debug

  std::deque<Variable> variables;
  std::deque<Function> functions;
  std::vector<SourceFile> files;
  std::vector<SourceLocation> locations;  // [0] is "none"; in the order of the text

  const Function* find_function(std::string_view name) const;
  const Variable* find_variable(std::string_view name) const;
  // The text of line `line` (from 1), trimmed: for diagnostics and fault reports.
  std::string_view source_line(uint32_t line) const;
  // "kernel.cu:42" that it was compiled from, by .file and .loc; "" where there are none.
  std::string source_place(uint32_t line) const;
  std::string_view text() const;

 private:
  friend class Parser;
  std::unique_ptr<Arena> arena_;
  std::string_view text_;
};

// ---- Entry point --------------------------------------------------------------------------------------

struct Diagnostic {
  int line = 0;  // of the PTX text, from 1; 0 = whole module
  std::string text;
};

enum class Result { ok, invalid };

// Parses and validates `text` (copied; a terminating NUL and everything after it are ignored). On `invalid`
// the module must not be executed and `diagnostics` holds 1 to 20 errors in line order. Never throws on bad
// input.
Result parse(std::string_view text, Module& module, std::vector<Diagnostic>& diagnostics);

// "error   : line 12; text" per line: the form of a JIT error log.
std::string render(const std::vector<Diagnostic>& diagnostics);

}  // namespace ptxops::virt::isa
