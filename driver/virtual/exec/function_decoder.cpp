#include "driver/virtual/exec/function_decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <unordered_map>
#include <unordered_set>

#include "driver/virtual/exec/control.h"
#include "driver/virtual/exec/machine.h"
#include "driver/virtual/exec/registry.h"

namespace ptxops::virt {
namespace {

constexpr uint32_t kMaxFrameBytes = 1u << 30;
constexpr uint64_t kMaxIndirectTargets = 1u << 20;

constexpr uint64_t round_up(uint64_t value, uint64_t to) {
  return (value + to - 1) / to * to;
}

// Bytes a lane of a slot for a value of `bits` bits.
uint32_t slot_bytes(int bits) {
  return bits <= 32 ? 4 : bits <= 64 ? 8 : 16;
}

template <class T>
void store_lanes(T* out, const T* values, uint32_t lanes) {
  if (lanes == kAllLanes) {
    std::memcpy(out, values, sizeof(T) * kLanes);
    return;
  }
  for (uint32_t m = lanes; m; m &= m - 1) {
    const int lane = __builtin_ctz(m);
    out[lane] = values[lane];
  }
}

// Width conversions between slots; `e` holds the number of value bits.
Step zero_extend_64(Warp& w, const Op& op, uint32_t lanes) {
  alignas(64) uint64_t out[kLanes];
  const uint32_t* in = w.reg<uint32_t>(op.a);
  for (uint32_t i = 0; i < kLanes; ++i) out[i] = in[i];
  store_lanes(w.reg<uint64_t>(op.d), out, lanes);
  return Step::next;
}
Step sign_extend_64(Warp& w, const Op& op, uint32_t lanes) {
  alignas(64) uint64_t out[kLanes];
  const uint32_t* in = w.reg<uint32_t>(op.a);
  const int shift = 64 - static_cast<int>(op.e);
  for (uint32_t i = 0; i < kLanes; ++i)
    out[i] = static_cast<uint64_t>(static_cast<int64_t>(static_cast<uint64_t>(in[i]) << shift) >> shift);
  store_lanes(w.reg<uint64_t>(op.d), out, lanes);
  return Step::next;
}
// To a register of `f` <= 32 bits.
Step sign_extend_32(Warp& w, const Op& op, uint32_t lanes) {
  alignas(64) uint32_t out[kLanes];
  const uint32_t* in = w.reg<uint32_t>(op.a);
  const int shift = 32 - static_cast<int>(op.e);
  const uint32_t keep = op.f >= 32 ? ~0u : (1u << op.f) - 1;
  for (uint32_t i = 0; i < kLanes; ++i)
    out[i] = static_cast<uint32_t>(static_cast<int32_t>(in[i] << shift) >> shift) & keep;
  store_lanes(w.reg<uint32_t>(op.d), out, lanes);
  return Step::next;
}
Step narrow_64(Warp& w, const Op& op, uint32_t lanes) {
  alignas(64) uint32_t out[kLanes];
  const uint64_t* in = w.reg<uint64_t>(op.a);
  const uint32_t keep = op.e >= 32 ? ~0u : (1u << op.e) - 1;
  for (uint32_t i = 0; i < kLanes; ++i) out[i] = static_cast<uint32_t>(in[i]) & keep;
  store_lanes(w.reg<uint32_t>(op.d), out, lanes);
  return Step::next;
}
Step narrow_32(Warp& w, const Op& op, uint32_t lanes) {
  alignas(64) uint32_t out[kLanes];
  const uint32_t* in = w.reg<uint32_t>(op.a);
  const uint32_t keep = (1u << op.e) - 1;
  for (uint32_t i = 0; i < kLanes; ++i) out[i] = in[i] & keep;
  store_lanes(w.reg<uint32_t>(op.d), out, lanes);
  return Step::next;
}
Step narrow_128_to_64(Warp& w, const Op& op, uint32_t lanes) {
  alignas(64) uint64_t out[kLanes];
  const uint64_t* in = w.reg<uint64_t>(op.a);
  for (uint32_t i = 0; i < kLanes; ++i) out[i] = in[2 * i];
  store_lanes(w.reg<uint64_t>(op.d), out, lanes);
  return Step::next;
}
Step invert_predicate(Warp& w, const Op& op, uint32_t lanes) {
  w.pred(op.d) = (w.pred(op.d) & ~lanes) | (~w.pred(op.a) & lanes);
  return Step::next;
}

// Registers whose value arrives late: the first reader waits in the time model.
bool is_load(const isa::Instruction& in) {
  const auto root = in.row().root;
  return root == "ld" || root == "ldu" || root == "atom" || root == "ldmatrix";
}

template <class Visit>
void each_register(std::span<const isa::Operand> operands, const Visit& visit) {
  for (const isa::Operand& o : operands) {
    if (o.kind == isa::OperandKind::reg || (o.is_address() && o.base == isa::AddressBase::reg))
      visit(o.index);
    if (!o.elements.empty()) each_register(o.elements, visit);
  }
}

bool is_mma_async(const isa::Instruction& in) {
  return in.row().root == "wgmma" && in.operands.size() >= 3;
}

// mov from register to register, which compilers put between instructions at will.
bool is_copy(const isa::Instruction& in) {
  return in.row().root == "mov" && in.operands.size() == 2 && in.operands[0].is_reg() &&
         in.operands[1].is_reg() && in.operands[0].type != isa::Type::pred &&
         in.operands[1].type != isa::Type::pred;
}

bool changes_while_running(isa::Special s) {
  using isa::Special;
  return s == Special::clock || s == Special::clock_hi || s == Special::clock64 ||
         s == Special::globaltimer || s == Special::globaltimer_lo || s == Special::globaltimer_hi;
}

}  // namespace

uint32_t FunctionDecoder::allocate(uint32_t bytes, uint32_t align) {
  if (code_.frame_bytes > kMaxFrameBytes - bytes)
    refuse(fmt::format("'{}' needs more than {} bytes for the registers of a warp", function_.name,
                       kMaxFrameBytes));
  code_.frame_bytes = round_up(code_.frame_bytes, align);
  const uint32_t offset = code_.frame_bytes;
  code_.frame_bytes += bytes;
  return offset;
}

void FunctionDecoder::lay_out() {
  allocate(8, 8);  // kTrueSlot, kCarrySlot
  code_.constants.push_back({kTrueSlot, 1, ConstantSlot::Base::none, kAllLanes, nullptr});
  code_.register_slot.resize(function_.registers.size());
  for (size_t i = 0; i < function_.registers.size(); ++i)
    if (function_.registers[i].type == isa::Type::pred) code_.register_slot[i] = allocate(4, 4);
  for (size_t i = 0; i < function_.registers.size(); ++i) {
    const isa::Type type = function_.registers[i].type;
    if (type != isa::Type::pred) code_.register_slot[i] = allocate(slot_bytes(isa::type_bits(type)) * kLanes);
  }
  const std::unordered_set<const isa::Variable*> formals(function_.params.begin(), function_.params.end());
  uint64_t local = 0;
  for (const isa::Variable& v : function_.variables) {
    const bool call_parameter = v.space == isa::Space::param && !function_.is_entry;
    if (v.space != isa::Space::local && !call_parameter &&
        (v.space != isa::Space::param || formals.contains(&v)))
      continue;
    local = round_up(local, std::max<uint32_t>(v.align, 16));
    code_.local_offset[&v] = static_cast<uint32_t>(local);
    local += v.size;
    if (local > kLocalMax)
      refuse(
          fmt::format("'{}' needs more than {} bytes of local memory a thread", function_.name, kLocalMax));
  }
  code_.local_bytes = static_cast<uint32_t>(local);
}

uint32_t FunctionDecoder::constant(uint8_t bytes, uint64_t value, ConstantSlot::Base base,
                                   const isa::Variable* variable) {
  const uint32_t offset = allocate(bytes * kLanes);
  code_.constants.push_back({offset, bytes, base, value, variable});
  return offset;
}
uint32_t FunctionDecoder::constant32(uint32_t value) {
  auto [it, fresh] = constants32_.try_emplace(value, 0);
  if (fresh) it->second = constant(4, value);
  return it->second;
}
uint32_t FunctionDecoder::constant64(uint64_t value) {
  auto [it, fresh] = constants64_.try_emplace(value, 0);
  if (fresh) it->second = constant(8, value);
  return it->second;
}

uint32_t FunctionDecoder::scratch(uint32_t bytes_per_lane) {
  const int size = bytes_per_lane <= 4 ? 0 : bytes_per_lane <= 8 ? 1 : 2;
  std::vector<uint32_t>& pool = scratch_pool_[size];
  if (scratch_used_[size] == pool.size()) pool.push_back(allocate((4u << size) * kLanes));
  return pool[scratch_used_[size]++];
}

uint32_t FunctionDecoder::special(isa::Special special, isa::Type type) {
  if (changes_while_running(special)) refuse("this special register can be read by mov only");
  auto [it, fresh] = specials_.try_emplace(static_cast<uint32_t>(special), 0);
  if (fresh) {
    it->second = allocate(slot_bytes(isa::type_bits(isa::special_type(special))) * kLanes);
    code_.specials.push_back({it->second, special});
  }
  const int have = slot_bytes(isa::type_bits(isa::special_type(special)));
  const int want = slot_bytes(isa::type_bits(type));
  if (have == want) return it->second;
  const uint32_t from = it->second, to = scratch(want);
  Op& op = emit(have < want ? zero_extend_64 : narrow_64);
  op.a = from, op.d = to, op.e = 32;
  return to;
}

uint32_t FunctionDecoder::variable_address(const isa::Variable& v, int64_t offset, uint8_t bytes) {
  using Base = ConstantSlot::Base;
  if (auto it = code_.local_offset.find(&v); it != code_.local_offset.end()) {
    const uint64_t window = v.space == isa::Space::param ? kLocalWindow : 0;
    return constant(bytes, window + it->second + static_cast<uint64_t>(offset), Base::local);
  }
  switch (v.space) {
    case isa::Space::param:
      if (v.owner == &function_)
        return constant(bytes, v.offset + static_cast<uint64_t>(offset), Base::params);
      refuse(fmt::format("parameter '{}' is not one of this function", v.name));
    case isa::Space::shared:
      return constant(bytes, static_cast<uint64_t>(offset), Base::shared, &v);
    case isa::Space::global:
    case isa::Space::const_: {
      const uint64_t address = program_.address_of(v) + static_cast<uint64_t>(offset);
      return bytes == 8 ? constant64(address) : constant32(static_cast<uint32_t>(address));
    }
    default:
      refuse(fmt::format("address of '{}' in .{} space", v.name, isa::space_name(v.space)));
  }
}

uint32_t FunctionDecoder::src(const isa::Operand& o, isa::Type type) {
  const int bits = isa::type_bits(type);
  const uint32_t want = slot_bytes(bits);
  switch (o.kind) {
    case isa::OperandKind::reg: {
      const int have_bits = isa::type_bits(o.type);
      const uint32_t slot = code_.register_slot[o.index];
      if (o.type == isa::Type::pred) refuse("a predicate register where a value is expected");
      if (have_bits == bits || (have_bits < bits && slot_bytes(have_bits) == want)) return slot;
      const uint32_t to = scratch(want);
      const uint32_t have = slot_bytes(have_bits);
      Handler handler = have == 16  ? narrow_128_to_64
                        : have == 8 ? (want == 8 ? nullptr : narrow_64)
                        : want == 8 ? zero_extend_64
                        : want == 4 ? narrow_32
                                    : nullptr;
      if (have == 16 && want == 4) {
        const uint32_t middle = scratch(8);
        Op& first = emit(narrow_128_to_64);
        first.a = slot, first.d = middle;
        Op& second = emit(narrow_64);
        second.a = middle, second.d = to, second.e = static_cast<uint32_t>(bits);
        return to;
      }
      if (!handler) refuse(fmt::format("a register of {} bits as a source of {} bits", have_bits, bits));
      Op& op = emit(handler);
      op.a = slot, op.d = to, op.e = static_cast<uint32_t>(bits);
      return to;
    }
    case isa::OperandKind::immediate:
      if (want == 16) refuse("a 128-bit immediate");
      return want == 8 ? constant64(o.immediate(type)) : constant32(static_cast<uint32_t>(o.immediate(type)));
    case isa::OperandKind::special:
      return special(o.special(), type);
    case isa::OperandKind::variable:
      return variable_address(*o.variable, o.offset, static_cast<uint8_t>(want));
    case isa::OperandKind::function:
      return constant64(reinterpret_cast<uint64_t>(program_.code_of(*o.function)));
    case isa::OperandKind::sink:
      return scratch(want);
    default:
      refuse("operand of this kind as a source value");
  }
}

uint32_t FunctionDecoder::dst(const isa::Operand& o, isa::Type type) {
  const int bits = isa::type_bits(type);
  const uint32_t want = slot_bytes(bits);
  if (o.is_sink()) return scratch(want);
  if (!o.is_reg() || o.type == isa::Type::pred) refuse("the destination must be a register");
  const int have_bits = isa::type_bits(o.type);
  const uint32_t slot = code_.register_slot[o.index];
  const bool extends_itself =
      !isa::is_signed(type) || have_bits == bits;  // results are zero-extended in the slot
  if (slot_bytes(have_bits) == want && extends_itself) return slot;
  if (have_bits < bits || have_bits > 64)
    refuse(fmt::format("a result of {} bits in a register of {} bits", bits, have_bits));
  const uint32_t from = scratch(want);
  extensions_.push_back({from, slot, type, have_bits});
  return from;
}

void FunctionDecoder::finish_extensions() {
  const std::vector<Extension> pending = std::move(extensions_);
  extensions_.clear();
  for (const Extension& x : pending) {
    Op& op =
        emit(x.to_bits == 64 ? (isa::is_signed(x.type) ? sign_extend_64 : zero_extend_64) : sign_extend_32);
    op.a = x.from, op.d = x.to, op.e = static_cast<uint32_t>(isa::type_bits(x.type));
    op.f = static_cast<uint32_t>(x.to_bits);
  }
}

uint32_t FunctionDecoder::src_pred(const isa::Operand& o) {
  if (o.is_imm()) {  // constants false and true
    const uint32_t offset = allocate(4, 4);
    code_.constants.push_back({offset, 1, ConstantSlot::Base::none, o.bits ? kAllLanes : 0u, nullptr});
    return offset;
  }
  if (o.kind == isa::OperandKind::special && isa::special_type(o.special()) == isa::Type::pred) {
    auto [it, fresh] = specials_.try_emplace(static_cast<uint32_t>(o.special()), 0);
    if (fresh) {
      it->second = allocate(4, 4);
      code_.specials.push_back({it->second, o.special()});
    }
    return it->second;
  }
  if (!o.is_reg() || o.type != isa::Type::pred) refuse("a predicate register is expected");
  const uint32_t slot = code_.register_slot[o.index];
  if (!o.negated) return slot;
  const uint32_t to = allocate(4, 4);
  Op& op = emit(invert_predicate);
  op.a = slot, op.d = to;
  return to;
}

uint32_t FunctionDecoder::dst_pred(const isa::Operand& o) {
  if (o.is_sink()) return allocate(4, 4);
  if (!o.is_reg() || o.type != isa::Type::pred) refuse("a predicate destination is expected");
  return code_.register_slot[o.index];
}

uint32_t FunctionDecoder::address(const isa::Operand& o, int64_t& displacement) {
  displacement = 0;
  if (!o.is_address()) refuse("an address operand is expected");
  switch (o.base) {
    case isa::AddressBase::reg: {
      displacement = o.offset;
      const uint32_t slot = code_.register_slot[o.index];
      if (isa::type_bits(function_.registers[o.index].type) > 32) return slot;
      const uint32_t to = scratch(8);
      Op& op = emit(zero_extend_64);
      op.a = slot, op.d = to;
      return to;
    }
    case isa::AddressBase::variable:
      return variable_address(*o.variable, o.offset, 8);
    case isa::AddressBase::absolute:
      return constant64(static_cast<uint64_t>(o.offset));
  }
  refuse("unknown address base");
}

Op& FunctionDecoder::emit(Handler handler) {
  Op& op = code_.ops.emplace_back();
  op.fn = handler;
  op.line = current_ ? current_->line : 0;
  if (current_ && current_->guard >= 0) {
    op.guard = code_.register_slot[static_cast<size_t>(current_->guard)];
    op.guard_flip = current_->guard_negated ? kAllLanes : 0;
  }
  return op;
}

void FunctionDecoder::refuse(const std::string& what) {
  throw DecodeError(current_ ? static_cast<int>(current_->line) : static_cast<int>(function_.line), what);
}

void FunctionDecoder::keep_alive(std::shared_ptr<void> value) {
  program_.payloads_.push_back(std::move(value));
}

void FunctionDecoder::patch_target(uint32_t instruction) {
  patches_.push_back({static_cast<uint32_t>(code_.ops.size()) - 1, instruction, false});
}
void FunctionDecoder::patch_table(std::vector<const Op*>* table, std::vector<uint32_t> instructions) {
  tables_.push_back({table, std::move(instructions)});
}
void FunctionDecoder::patch_meet() {
  const auto it = flow_.meet.find(index_);
  if (it != flow_.meet.end() && it->second >= 0)
    patches_.push_back({static_cast<uint32_t>(code_.ops.size()) - 1, it->second, true});
}

void FunctionDecoder::mark_waits() {
  // Registers whose load is pending carry the number of the run of instructions that it belongs to.
  std::vector<uint32_t> pending(function_.registers.size(), 0);
  uint32_t run = 1;
  bool any = false;
  const auto& instructions = function_.instructions;
  for (uint32_t i = 0; i < instructions.size(); ++i) {
    const isa::Instruction& in = instructions[i];
    bool touches = false;
    each_register(in.operands, [&](uint32_t r) { touches |= pending[r] == run; });
    const bool ends_block = i + 1 < instructions.size() && flow_.is_leader[i + 1];
    if (any && (touches || ends_block)) {
      if (first_op_[i] < code_.ops.size()) code_.ops[first_op_[i]].flags |= kWaitLoad;
      ++run;
      any = false;
    }
    if (is_load(in) && !ends_block)
      each_register(in.operands.subspan(0, 1), [&](uint32_t r) {
        pending[r] = run;
        any = true;
      });
  }
}

// The registers that wgmmas name, and copies of them.
void FunctionDecoder::find_tracked() {
  tracked_end_ = program_.tracked_;
  const auto add = [&](const isa::Operand& o) {
    if (!o.is_reg() || o.type == isa::Type::pred || tracked_[o.index] != kUntracked) return false;
    tracked_[o.index] = tracked_end_++;
    return true;
  };
  for (const isa::Instruction& in : function_.instructions) {
    if (!is_mma_async(in)) continue;
    if (tracked_.empty()) tracked_.assign(function_.registers.size(), kUntracked);
    for (size_t i = 0; i < 2; ++i)
      for (const isa::Operand& o : in.operands[i].elements) add(o);
  }
  if (!tracked_.empty()) {
    // Copies of copies, whatever order they stand in.
    std::unordered_multimap<uint32_t, const isa::Operand*> copies;
    std::vector<uint32_t> work;
    for (const isa::Instruction& in : function_.instructions)
      if (is_copy(in)) copies.emplace(in.operands[1].index, &in.operands[0]);
    for (uint32_t r = 0; r < tracked_.size(); ++r)
      if (tracked_[r] != kUntracked) work.push_back(r);
    while (!work.empty()) {
      const auto [begin, end] = copies.equal_range(work.back());
      work.pop_back();
      for (auto it = begin; it != end; ++it)
        if (add(*it->second)) work.push_back(it->second->index);
    }
  }
  program_.tracked_ = tracked_end_;
}

uint32_t FunctionDecoder::tracked(const isa::Operand& o) {
  return tracked_[o.index];
}

void FunctionDecoder::emit_register_checks(const isa::Instruction& in) {
  if (in.row().root == "wgmma") {
    straight_ = nullptr;
    return;
  }
  std::vector<RegisterUse> uses;
  const auto use = [&](const isa::Operand& o, bool writes) {
    each_register(std::span(&o, 1), [&](uint32_t r) {
      if (r < tracked_.size() && tracked_[r] != kUntracked)
        uses.push_back(
            {writes ? RegisterUse::Kind::write : RegisterUse::Kind::read, tracked_[r], 0, in.line});
    });
  };
  const auto& specs = in.row().specs;
  const bool has_result = !specs.empty() && (specs[0].dest || specs[0].kind == isa::OperandSpec::Kind::mov);
  if (is_copy(in) && tracked_[in.operands[1].index] != kUntracked) {
    uses.push_back(
        {RegisterUse::Kind::copy, tracked_[in.operands[0].index], tracked_[in.operands[1].index], in.line});
  } else {
    for (size_t i = 1; i < in.operands.size(); ++i) use(in.operands[i], false);
    if (!in.operands.empty()) use(in.operands[0], has_result);
  }
  if (uses.empty()) return;
  if (in.guard < 0 && straight_) {
    straight_->uses.insert(straight_->uses.end(), uses.begin(), uses.end());
    return;
  }
  RegisterUses* kept = keep(RegisterUses{std::move(uses), tracked_end_});
  Op& op = emit(check_registers);
  op.imm = reinterpret_cast<uint64_t>(kept);
  op.cost = 0;
  if (in.guard < 0) straight_ = kept;
}

int FunctionDecoder::decode(std::string& log, int max_errors) {
  // Every indirect branch has edges of its own to each label of its table.
  uint64_t targets = 0;
  for (const isa::Instruction& in : function_.instructions) {
    if (in.id() != isa::Id::brx_idx) continue;
    targets += function_.branch_tables[in.operands[1].index].labels.size();
    if (targets > kMaxIndirectTargets) {
      log += fmt::format("line {}: the indirect branches of '{}' have more than {} targets in all\n", in.line,
                         function_.name, kMaxIndirectTargets);
      return 1;
    }
  }
  flow_ = analyze(function_);
  find_tracked();
  int errors = 0;
  const auto& instructions = function_.instructions;
  code_.ops.reserve(instructions.size() + instructions.size() / 8 + 8);
  first_op_.resize(instructions.size() + 1);
  for (index_ = 0; index_ < instructions.size(); ++index_) {
    const isa::Instruction& in = instructions[index_];
    first_op_[index_] = static_cast<uint32_t>(code_.ops.size());
    std::fill(std::begin(scratch_used_), std::end(scratch_used_), 0);
    current_ = nullptr;
    if (flow_.is_meet[index_]) emit_join(*this, in.line);
    code_.first_op.push_back(static_cast<uint32_t>(code_.ops.size()));
    current_ = &in;
    if (flow_.is_leader[index_]) straight_ = nullptr;
    if (!tracked_.empty()) emit_register_checks(in);
    try {
      const DecodeFunction decode = decode_function(in.id());
      if (!decode) refuse(fmt::format("'{}' is not executable", in.opcode->text));
      decode(*this, in);
      finish_extensions();
    } catch (const DecodeError& error) {
      log += fmt::format("line {}: {} in '{}'\n", error.line, error.what(),
                         program_.source_line(static_cast<uint32_t>(error.line)));
      extensions_.clear();
      if (++errors == max_errors) return errors;
    }
  }
  first_op_[instructions.size()] = static_cast<uint32_t>(code_.ops.size());
  current_ = nullptr;
  emit_end(*this, instructions.empty() ? function_.line : instructions.back().line);
  for (const Patch& p : patches_) {
    const uint32_t target = first_op_[static_cast<size_t>(p.instruction)];
    if (p.meet)
      code_.ops[p.op].c = target + 1;
    else
      code_.ops[p.op].imm = reinterpret_cast<uint64_t>(&code_.ops[target]);
  }
  for (const Table& t : tables_)
    for (uint32_t i : t.instructions) t.out->push_back(&code_.ops[first_op_[i]]);
  if (errors == 0) mark_waits();
  return errors;
}

}  // namespace ptxops::virt
