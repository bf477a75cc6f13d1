#include "driver/virtual/exec/program.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <set>

#include "driver/virtual/check/diagnostic.h"
#include "driver/virtual/exec/function_decoder.h"
#include "driver/virtual/exec/machine.h"
#include "driver/virtual/memory/memory.h"

namespace ptxops::virt {
namespace {

constexpr uint64_t kMaxThreads = 1024;  // a block
constexpr uint64_t kMaxThreadsPerSm = 2048;
constexpr int kMaxErrors = 20;  // reported of a module, as by the parser

uint64_t align_up(uint64_t value, uint64_t to) {
  return (value + to - 1) / to * to;
}

void collect_shared(std::span<const isa::Operand> operands, std::vector<const isa::Variable*>& out,
                    std::vector<const isa::Function*>& calls) {
  for (const isa::Operand& o : operands) {
    const bool variable =
        o.kind == isa::OperandKind::variable || (o.is_address() && o.base == isa::AddressBase::variable);
    if (variable && o.variable->space == isa::Space::shared) out.push_back(o.variable);
    if (o.kind == isa::OperandKind::function) calls.push_back(o.function);
    collect_shared(o.elements, out, calls);
  }
}

// Threads of the largest block that the directives allow.
uint32_t threads_of(const isa::Function& f) {
  const isa::Dim3& limit = f.reqntid.present() ? f.reqntid : f.maxntid;
  uint64_t threads = limit.present() ? 1 : kMaxThreads;
  if (limit.present())
    for (const uint32_t d : {limit.x, limit.y, limit.z}) threads = std::min(kMaxThreads, threads * d);
  return static_cast<uint32_t>(threads);
}

// Registers that the directives allow a thread of a kernel. Like ptxas, ignores those that are out of range.
uint32_t allowed_registers(const isa::Function& f, uint32_t max_threads) {
  if (f.maxnreg && f.maxnreg <= 255) return f.maxnreg;
  const bool bounded = f.maxntid.present() || f.reqntid.present();
  if (!bounded) return 64;
  const bool fits = uint64_t{max_threads} * f.minnctapersm <= kMaxThreadsPerSm;
  const uint32_t ctas = fits ? std::max(1u, f.minnctapersm) : 1;
  return std::min(255u, 65536u / (max_threads * ctas) / 8 * 8);
}

// The largest count that `f` asks for by setmaxnreg.inc, 0 without one.
uint32_t largest_request(const isa::Function& f) {
  uint64_t most = 0;
  for (const isa::Instruction& in : f.instructions)
    if (in.id() == isa::Id::setmaxnreg && in.has("inc"))
      most = std::max(most, in.operands[0].immediate(isa::Type::u32));
  return static_cast<uint32_t>(most);
}

}  // namespace

std::unique_ptr<Program> Program::load(isa::Module module, Memory& memory, int device, std::string& log) {
  if (module.address_size != 64) {
    log += fmt::format("line 1: .address_size {} is not supported; expected 64\n", module.address_size);
    return nullptr;
  }
  std::unique_ptr<Program> program(new Program(std::move(module), memory));
  program->code_.resize(program->module_.functions.size());
  for (const isa::Function& f : program->module_.functions) {
    if (!f.defined) continue;
    program->code_[f.index] = std::make_unique<Code>();
    program->code_[f.index]->function = &f;
    program->code_[f.index]->program = program.get();
  }
  if (!program->place_variables(device, log) || !program->decode_functions(log)) return nullptr;
  for (const isa::Function& f : program->module_.functions)
    if (f.is_entry && f.defined && !program->make_kernel(f, log)) return nullptr;
  return program;
}

Program::~Program() {
  for (uint64_t base : owned_) memory_.release(base);
}

bool Program::place_variables(int device, std::string& log) {
  // Those of a function's scope are as static as the module's.
  std::vector<const isa::Variable*> placed;
  const auto collect = [&](const std::deque<isa::Variable>& variables) {
    for (const isa::Variable& v : variables)
      if (v.space == isa::Space::global || v.space == isa::Space::const_) placed.push_back(&v);
  };
  collect(module_.variables);
  for (const isa::Function& f : module_.functions) collect(f.variables);
  for (const isa::Variable* variable : placed) {
    const isa::Variable& v = *variable;
    if (v.linkage == isa::Linkage::external) {
      log += fmt::format("line {}: extern variable '{}' has no definition in this module\n", v.line, v.name);
      return false;
    }
    const char* kind = v.space == isa::Space::global ? "global" : "constant";
    // Not tracked: every byte is initialised.
    const Allocation* a = memory_.allocate(device, std::max<uint64_t>(v.size, 1), kind, false);
    if (!a) {
      log += fmt::format("line {}: no memory for the {} bytes of '{}'\n", v.line, v.size, v.name);
      return false;
    }
    owned_.push_back(a->base);
    addresses_[&v] = a->base;
    memory_.zero(*a);
    if (!v.image.empty()) std::memcpy(reinterpret_cast<void*>(a->base), v.image.data(), v.image.size());
  }
  for (const isa::Variable* v : placed) {
    for (const isa::Relocation& r : v->relocations) {
      uint64_t value = static_cast<uint64_t>(r.addend);
      if (r.function) {
        value += reinterpret_cast<uint64_t>(code_of(*r.function));
      } else if (r.variable->space == isa::Space::global || r.variable->space == isa::Space::const_) {
        value += addresses_.at(r.variable);
      } else {
        log += fmt::format(
            "line {}: '{}' is initialised with the address of '{}', which is not in global memory\n", v->line,
            v->name, r.variable->name);
        return false;
      }
      value >>= r.shift;
      std::memcpy(reinterpret_cast<void*>(addresses_.at(v) + r.byte_offset), &value, r.size);
    }
  }
  return true;
}

bool Program::decode_functions(std::string& log) {
  std::vector<std::unique_ptr<FunctionDecoder>> decoders;
  for (auto& code : code_)
    if (code) {
      decoders.push_back(std::make_unique<FunctionDecoder>(*this, *code));
      try {
        decoders.back()->lay_out();
      } catch (const DecodeError& error) {
        log += fmt::format("line {}: {}\n", error.line, error.what());
        return false;
      }
    }
  int errors = 0;
  for (auto& decoder : decoders)
    if (errors < kMaxErrors) errors += decoder->decode(log, kMaxErrors - errors);
  return errors == 0;
}

bool Program::make_kernel(const isa::Function& f, std::string& log) {
  auto kernel = std::make_unique<Kernel>();
  kernel->code = code_[f.index].get();
  kernel->name = f.name;
  kernel->param_bytes = static_cast<uint32_t>(f.param_bytes());
  kernel->maxntid = f.maxntid;
  kernel->reqntid = f.reqntid;
  kernel->reqnctapercluster = f.reqnctapercluster;
  kernel->max_threads = threads_of(f);
  kernel->local_bytes = kernel->code->local_bytes;

  // Shared variables that this kernel or a function it may call names, in module order; their setmaxnreg.
  std::set<const isa::Function*> reached;
  std::vector<const isa::Function*> work{&f};
  std::vector<const isa::Variable*> used;
  uint32_t request = 0;
  while (!work.empty()) {
    const isa::Function* g = work.back();
    work.pop_back();
    if (g->alias_of) g = g->alias_of;
    if (!reached.insert(g).second) continue;
    for (const isa::Instruction& in : g->instructions) collect_shared(in.operands, used, work);
    request = std::max(request, largest_request(*g));
  }
  // A launch gets no more than it will ever ask for: so ptxas allocates, and setmaxnreg.inc may only go up.
  const uint32_t allowed = allowed_registers(f, kernel->max_threads);
  kernel->registers = request ? std::min(allowed, request) : allowed;
  std::sort(used.begin(), used.end(),
            [](const isa::Variable* a, const isa::Variable* b) { return a->line < b->line; });
  used.erase(std::unique(used.begin(), used.end()), used.end());
  uint64_t end = kSharedReserved;
  for (const isa::Variable* v : used) {
    if (v->unsized) continue;
    end = align_up(end, std::max(1u, v->align));
    kernel->shared_offset[v] = static_cast<uint32_t>(end);
    end += v->size;
    if (end > kSharedReserved + kSharedOptinMax) break;
  }
  for (const isa::Variable* v : used)
    if (v->unsized) kernel->smem_align = std::max(kernel->smem_align, v->align);
  end = align_up(end, kernel->smem_align);
  if (end > kSharedReserved + kSharedOptinMax) {
    log += fmt::format("line {}: entry '{}' uses too much shared memory: at least {} bytes; at most {}\n",
                       f.line, f.name, end - kSharedReserved, kSharedOptinMax);
    return false;
  }
  for (const isa::Variable* v : used)
    if (v->unsized) kernel->shared_offset[v] = static_cast<uint32_t>(end);
  kernel->static_smem = static_cast<uint32_t>(end - kSharedReserved);
  kernels_.push_back(std::move(kernel));
  return true;
}

const Kernel* Program::find_kernel(std::string_view name) const {
  for (const auto& k : kernels_)
    if (k->name == name) return k.get();
  return nullptr;
}

bool Program::find_variable(std::string_view name, uint64_t& address, uint64_t& size) const {
  const isa::Variable* v = module_.find_variable(name);
  const auto it = addresses_.find(v);
  if (!v || it == addresses_.end()) return false;
  address = it->second;
  size = v->size;
  return true;
}

uint64_t Program::address_of(const isa::Variable& v) const {
  return addresses_.at(&v);
}

const Code* Program::code_of(const isa::Function& f) const {
  return code_[f.alias_of ? f.alias_of->index : f.index].get();
}

const Code* Program::code_at(uint64_t address) const {
  for (const auto& code : code_)
    if (reinterpret_cast<uint64_t>(code.get()) == address) return code.get();
  return nullptr;
}

void Program::show_line(Site& site, uint32_t line) const {
  site.line = line;
  site.source = module_.source_line(line);
  site.place = module_.source_place(line);
}

}  // namespace ptxops::virt
