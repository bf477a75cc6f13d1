#include "driver/virtual/check/undefined.h"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>

#include "driver/virtual/check/checker.h"
#include "driver/virtual/check/undefined_copy.h"
#include "driver/virtual/check/undefined_flow.h"
#include "driver/virtual/exec/shadow.h"
#include "driver/virtual/memory/memory.h"

namespace ptxops::virt {
namespace {

using Effect = Effects::Effect;
using Kind = Effects::Kind;

bool is_one_of(std::string_view root, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), root) != names.end();
}

Kind kind_of(const isa::Instruction& in, bool mma) {
  const std::string_view root = in.row().root;
  const isa::Type type = in.type();
  const bool pairs = isa::type_bits(type) == 32 && isa::type_name(type).ends_with("x2");
  if (mma) return Kind::product;
  if (is_one_of(root, {"and", "or", "xor", "not", "lop3"})) return Kind::logic;
  if (is_one_of(root, {"shl", "shr", "shf", "bfe", "bfi"})) return Kind::shift;
  if (root == "prmt") return Kind::permute;
  if (root == "mov")
    return in.operands[0].is_vector() || in.operands[1].is_vector() ? Kind::pack : Kind::copy;
  if (is_one_of(root, {"ld", "ldu", "st", "ldmatrix", "stmatrix"})) return Kind::copy;
  if (root == "selp") return Kind::select;
  if (root == "setp") return isa::type_bits(type) > 64 ? Kind::compute : Kind::compare;
  if (root == "cvt") {
    if (in.operands.size() == 2) return Kind::convert;
    return in.operands.size() == 3 && !in.has("pack") ? Kind::pack : Kind::compute;
  }
  if (root == "shfl") return Kind::shuffle;
  if (root == "vote") return Kind::vote;
  if (is_one_of(root, {"redux", "match"})) return Kind::reduce;
  if (root == "movmatrix") return Kind::transpose;
  if (root == "mma" && in.choice("shape") != "m8n8k4") return Kind::product;
  if (is_one_of(root, {"wgmma", "elect", "bar", "barrier", "call", "atom", "red", "mbarrier", "fns"}))
    return Kind::forget;
  if (is_one_of(root, {"add", "sub", "mul", "mad", "neg"}) && isa::is_integer(type) && !pairs &&
      !in.has("sat") && !in.has("hi"))
    return Kind::low_up;
  return pairs && in.opcode->types.size() == 1 ? Kind::halves : Kind::compute;
}

Effect effect_of(const Code& code, const isa::Instruction& in) {
  Effect e;
  const std::string_view root = in.row().root;
  const auto& specs = in.row().specs;
  const bool has_result = !specs.empty() && (specs[0].dest || specs[0].kind == isa::OperandSpec::Kind::mov);
  const auto visit = [&](auto&& self, const isa::Operand& o, bool writes) -> void {
    if (o.is_address()) {
      if (o.base == isa::AddressBase::reg) e.addresses.push_back(code.register_slot[o.index]);
    } else if (o.kind == isa::OperandKind::reg) {
      (writes ? e.writes : e.reads).push_back(code.register_slot[o.index]);
    }
    for (const isa::Operand& element : o.elements) self(self, element, writes);
  };
  const bool mma = root == "wgmma" && in.operands.size() >= 3;
  for (size_t i = 0; i < in.operands.size(); ++i) {
    if (mma && (i == 1 || i == 2) && in.operands[i].is_reg())  // a descriptor
      e.addresses.push_back(code.register_slot[in.operands[i].index]);
    else
      visit(visit, in.operands[i], i == 0 && (has_result || mma));
  }
  if (in.guard >= 0) e.guard = code.register_slot[static_cast<size_t>(in.guard)];
  e.loads = is_one_of(root, {"ld", "ldu", "ldmatrix"});
  e.stores = is_one_of(root, {"st", "stmatrix"}) && in.row().scope != isa::Scope::async;
  e.updates = is_one_of(root, {"atom", "red"}) && in.row().scope != isa::Scope::async;
  e.branches = is_one_of(root, {"bra", "brx", "exit", "ret"});
  e.decides = is_one_of(root, {"mbarrier", "bar", "barrier", "cp"});
  if (mma) {
    e.accumulates = in.operands.size() <= 3 || !in.operands[3].is_imm() || in.operands[3].bits != 0;
    if (e.accumulates && in.operands.size() > 3 && in.operands[3].is_reg())
      e.scale_d = code.register_slot[in.operands[3].index];
  }
  e.kind = kind_of(in, mma);
  return e;
}

// Registers that are live at the function's entry: something may read them before anything has surely written
// them.
std::vector<uint32_t> find_unassigned(const Code& code, const std::vector<Effect>& effects) {
  const isa::Function& f = *code.function;
  const size_t n = f.instructions.size();
  std::unordered_map<uint32_t, uint32_t> number;  // of slots
  std::vector<uint32_t> slots;
  const auto number_of = [&](uint32_t slot) {
    const auto [it, fresh] = number.try_emplace(slot, static_cast<uint32_t>(slots.size()));
    if (fresh) slots.push_back(slot);
    return it->second;
  };
  for (const Effect& e : effects) {
    for (const uint32_t s : e.reads) number_of(s);
    for (const uint32_t s : e.addresses) number_of(s);
    for (const uint32_t s : e.writes) number_of(s);
    if (e.guard >= 0) number_of(static_cast<uint32_t>(e.guard));
  }
  const size_t words = (slots.size() + 63) / 64;
  using Bits = std::vector<uint64_t>;
  // Blocks.
  std::vector<uint32_t> start, block_of(n);
  const ControlFlow flow = analyze(f);
  for (uint32_t i = 0; i < n; ++i) {
    if (flow.is_leader[i]) start.push_back(i);
    block_of[i] = static_cast<uint32_t>(start.size()) - 1;
  }
  std::vector<Bits> live(start.size(), Bits(words));
  const auto end_of = [&](size_t b) {
    return b + 1 < start.size() ? start[b + 1] : static_cast<uint32_t>(n);
  };
  const auto successors = [&](size_t b, auto&& each) {
    const isa::Instruction& in = f.instructions[end_of(b) - 1];
    const std::string_view root = in.row().root;
    for (const isa::Operand& o : in.operands) {
      const auto go = [&](uint32_t label) {
        if (const uint32_t at = f.labels[label].instruction; at < n) each(block_of[at]);
      };
      if (root == "bra" && o.kind == isa::OperandKind::label) go(o.index);
      if (root == "brx" && o.kind == isa::OperandKind::branch_table)
        for (const uint32_t label : f.branch_tables[o.index].labels) go(label);
    }
    const bool ends = is_one_of(root, {"bra", "brx", "ret", "exit", "trap"}) && in.guard < 0;
    if (!ends && b + 1 < start.size()) each(static_cast<uint32_t>(b + 1));
  };
  for (bool more = true; more;) {
    more = false;
    for (size_t b = start.size(); b-- > 0;) {
      Bits now(words);
      successors(b, [&](uint32_t s) {
        for (size_t k = 0; k < words; ++k) now[k] |= live[s][k];
      });
      for (uint32_t i = end_of(b); i-- > start[b];) {
        const Effect& e = effects[i];
        const auto set = [&](uint32_t slot, bool on) {
          const uint32_t k = number[slot];
          if (on)
            now[k / 64] |= uint64_t{1} << k % 64;
          else
            now[k / 64] &= ~(uint64_t{1} << k % 64);
        };
        if (e.guard < 0)
          for (const uint32_t s : e.writes) set(s, false);
        if (e.accumulates)  // track() asks scale-d
          for (const uint32_t s : e.writes) set(s, true);
        for (const uint32_t s : e.reads) set(s, true);
        for (const uint32_t s : e.addresses) set(s, true);
        if (e.guard >= 0) set(static_cast<uint32_t>(e.guard), true);
      }
      if (now != live[b]) {
        live[b] = std::move(now);
        more = true;
      }
    }
  }
  std::vector<uint32_t> result;
  if (!live.empty())
    for (size_t k = 0; k < slots.size(); ++k)
      if (live[0][k / 64] >> k % 64 & 1) result.push_back(slots[k]);
  return result;
}

// Of Undefined::Lanes::line: not the load of unwritten bytes, but the store of an undefined value that they
// come from.
constexpr uint32_t kStored = 1u << 31;
// Or the instruction that was the first to read a register that nothing has written.
constexpr uint32_t kRegister = 1u << 30;
// Of Checker::undefined_stores(): a copy brought the bytes.
constexpr uint32_t kCopied = 1u << 31;

bool report(Warp& w, const Op& op, int lane, const char* use, const Undefined::Lanes& from) {
  if (!reported(Diagnostic::M6)) return true;
  Finding f;
  f.id = Diagnostic::M6;
  f.kernel = w.cta->cluster->grid->kernel().name;
  f.what = fmt::format("an undefined value {}", use);
  f.sites[0] = site_of(w, op, lane, use, "");
  f.site_count = 1;
  if (from.line) {
    Op source = op;
    source.line = from.line & ~(kStored | kRegister);
    f.sites[f.site_count++] =
        site_of(w, source, lane,
                from.line & kStored     ? "stores an undefined value before"
                : from.line & kRegister ? "reads a register that nothing has written before"
                                        : "reads what nobody has written before",
                "generic");
  }
  w.cta->cluster->grid->record(Fault(std::move(f)));
  return false;
}

// Does a store by a generic address stay in shared or local memory?
bool stores_inside(Warp& w, const Op&, const Effect& e, uint32_t lanes) {
  if (e.addresses.empty()) return false;
  for (uint32_t rest = lanes; rest; rest &= rest - 1)
    if ((w.reg<uint64_t>(e.addresses[0])[__builtin_ctz(rest)] & kWindowMask) == 0) return false;
  return true;
}

}  // namespace

const Effects& effects_of(const Code& code) {
  if (const Effects* known = code.effects.load(std::memory_order_acquire)) return *known;
  static std::mutex mutex;
  std::lock_guard lock(mutex);
  if (!code.effects_owner) {
    auto e = std::make_shared<Effects>();
    e->of_op.assign(code.ops.size() + 1, 0);
    const auto& instructions = code.function->instructions;
    for (size_t i = 0; i < instructions.size(); ++i) {
      e->effects.push_back(effect_of(code, instructions[i]));
      e->of_op[code.first_op[i]] = static_cast<uint32_t>(i + 1);
    }
    e->unassigned = find_unassigned(code, e->effects);
    code.effects_owner = std::move(e);
    code.effects.store(code.effects_owner.get(), std::memory_order_release);
  }
  return *code.effects_owner;
}

void begin_undefined(Warp& w, const Frame& frame) {
  for (const uint32_t slot : effects_of(*frame.code).unassigned)
    w.order->undefined.slots[frame.regs + slot].copied = kAllLanes;
}

void forget_undefined(Warp& w, const Frame& frame) {
  std::erase_if(w.order->undefined.slots, [&](const auto& s) {
    return static_cast<uint64_t>(s.first - frame.regs) < frame.code->frame_bytes;
  });
}

void Undefined::Lanes::set(uint32_t lane, uint64_t mask, bool is_computed, uint32_t from) {
  if (mask == 0) return;
  if (bits.empty() && mask != ~uint64_t{0}) {
    bits.resize(kLanes);
    for (uint32_t i = 0; i < kLanes; ++i) bits[i] = any() >> i & 1 ? ~uint64_t{0} : 0;
  }
  if (!bits.empty()) bits[lane] |= mask;
  (is_computed ? computed : copied) |= 1u << lane;
  line = from;
}

void Undefined::assign(const std::byte* slot, uint32_t lanes, const Lanes& value) {
  const auto it = slots.find(slot);
  const uint32_t fresh = value.any() & lanes;
  if (it == slots.end() && !fresh) return;
  Lanes& now = it == slots.end() ? slots[slot] : it->second;
  if (!now.bits.empty() || (fresh && !value.bits.empty())) {
    std::vector<uint64_t> bits(kLanes);
    bool partial = false;
    for (uint32_t i = 0; i < kLanes; ++i) {
      bits[i] = lanes >> i & 1 ? value.mask(i) : now.mask(i);
      partial |= bits[i] + 1 > 1;
    }
    if (!partial) bits.clear();
    now.bits = std::move(bits);
  }
  now.copied = (now.copied & ~lanes) | (value.copied & lanes);
  now.computed = (now.computed & ~lanes) | (value.computed & lanes);
  if (fresh) now.line = value.line;
  if (!now.any()) slots.erase(slot);
}

bool track(Warp& w, const Op& op, uint32_t lanes) {
  Undefined& u = w.order->undefined;
  const Code& code = *w.split->frame->code;
  const Effects& all = effects_of(code);
  const uint32_t index = all.of_op[static_cast<size_t>(&op - code.ops.data())];
  if (index == 0) return true;
  const Effect& e = all.effects[index - 1];
  const isa::Instruction& in = code.function->instructions[index - 1];
  const auto at = [&](uint32_t slot) -> const Undefined::Lanes& { return u.at(w.regs + slot); };
  const auto first = [](uint32_t mask) { return __builtin_ctz(mask); };
  // Lanes that may or may not execute this.
  uint32_t undecided = 0, guard_line = 0;
  if (e.guard >= 0) {
    const Undefined::Lanes& g = at(static_cast<uint32_t>(e.guard));
    undecided = g.any() & w.mask, guard_line = g.line;
    if (undecided && (e.branches || e.stores || e.updates || e.decides))
      if (!report(w, op, first(undecided),
                  e.branches ? "decides a branch" : "decides whether this is executed", g))
        return false;
  }
  if (lanes == 0 && undecided == 0) return true;
  if (e.decides)
    for (const uint32_t slot : e.reads)
      if (const Undefined::Lanes& a = at(slot); a.any() & lanes)
        if (!report(w, op, first(a.any() & lanes), "decides what a barrier or a copy does", a)) return false;
  if (e.scale_d >= 0)
    if (const Undefined::Lanes& a = at(static_cast<uint32_t>(e.scale_d)); a.any() & lanes)
      if (!report(w, op, first(a.any() & lanes), "decides whether a wgmma accumulates", a)) return false;
  for (const uint32_t slot : e.addresses)
    if (const Undefined::Lanes& a = at(slot); a.any() & lanes)
      if (!report(w, op, first(a.any() & lanes), "is used as an address", a)) return false;
  if (e.stores || e.updates) {
    const auto space = in.space();
    const bool far = space == isa::Space::global || space == isa::Space::generic;
    u.stores = false;
    for (size_t k = 0; k < e.reads.size() && k < 8; ++k) {
      const Undefined::Lanes& v = at(e.reads[k]);
      if (e.stores) u.stored[k] = v;
      if (!(v.any() & lanes)) continue;
      u.stores = e.stores;
      const uint32_t bad = (e.updates ? v.any() : v.computed) & lanes;
      if (bad && far && !(space == isa::Space::generic && stores_inside(w, op, e, bad)))
        if (!report(w, op, first(bad), "is stored to global memory", v)) return false;
    }
  }
  if (e.writes.empty()) return true;
  UndefinedResults results = lanes ? undefined_results(w, code, in, e, lanes) : UndefinedResults{};
  for (auto& [slot, value] : results)
    if (value.line == 0) value.line = in.line | kRegister;
  size_t next = 0;  // they come in the order of the writes
  for (const uint32_t slot : e.writes) {
    const bool named = next < results.size() && results[next].first == slot;
    u.assign(w.regs + slot, lanes, named ? results[next].second : Undefined::Lanes{});
    next += named;
    if (undecided) {
      Undefined::Lanes either = at(slot);
      for (uint32_t rest = undecided; rest; rest &= rest - 1)
        either.set(static_cast<uint32_t>(first(rest)), ~uint64_t{0}, true, guard_line);
      u.assign(w.regs + slot, undecided, either);
    }
  }
  return true;
}

namespace {

// The effect of the instruction that `op` belongs to: the nearest before it.
const Effect& effect_at(const Warp& w, const Op& op) {
  const Code& code = *w.split->frame->code;
  const Effects& all = effects_of(code);
  size_t index = static_cast<size_t>(&op - code.ops.data());
  while (index > 0 && all.of_op[index] == 0) --index;
  return all.effects[all.of_op[index] - 1];
}

// Bytes from `host` up to the first that nobody has written; shared, local or global memory.
uint32_t first_missing(Warp& w, const std::byte* host, uint32_t bytes) {
  for (const auto& cta : w.cta->cluster->ctas)
    if (static_cast<uint64_t>(host - cta->smem) < cta->smem_end)
      return static_cast<uint32_t>(
          shadow_first_clear(cta->smem_shadow.get(), static_cast<uint64_t>(host - cta->smem), bytes));
  if (w.local && static_cast<uint64_t>(host - w.local.get()) < uint64_t{w.local_size} * kLanes)
    return static_cast<uint32_t>(
        shadow_first_clear(w.local_shadow.get(), static_cast<uint64_t>(host - w.local.get()), bytes));
  const Allocation* a = w.cta->cluster->grid->desc.memory->find(reinterpret_cast<uint64_t>(host));
  return a ? static_cast<uint32_t>(first_unwritten(*a, reinterpret_cast<uint64_t>(host), bytes)) : bytes;
}

void forget_bits(uint8_t* shadow, uint64_t first, uint64_t count) {
  for (uint64_t i = first; i < first + count; ++i)
    std::atomic_ref<uint8_t>(shadow[i / 8])
        .fetch_and(static_cast<uint8_t>(~(1u << i % 8)), std::memory_order_relaxed);
}

// What a store of undefined bytes writes counts as not written; in shared memory the store is remembered.
void mark_missing(Warp& w, const Op& op, const std::byte* host, uint32_t bytes, bool computed,
                  uint32_t how = 0) {
  for (const auto& cta : w.cta->cluster->ctas) {
    const uint64_t first = static_cast<uint64_t>(host - cta->smem);
    if (first >= cta->smem_end) continue;
    forget_bits(cta->smem_shadow.get(), first, bytes);
    std::vector<uint32_t>& stores = w.order->checker->undefined_stores(*cta);
    if (stores.empty()) stores.resize(cta->smem_end / 4 + 1);
    for (uint64_t i = first / 4; i <= (first + bytes - 1) / 4; ++i)
      stores[i] = (2 * op.line + computed) | how;
    return;
  }
  if (w.local && static_cast<uint64_t>(host - w.local.get()) < uint64_t{w.local_size} * kLanes)
    return forget_bits(w.local_shadow.get(), static_cast<uint64_t>(host - w.local.get()), bytes);
  const Allocation* a = w.cta->cluster->grid->desc.memory->find(reinterpret_cast<uint64_t>(host));
  if (a && a->shadow) forget_bits(a->shadow, reinterpret_cast<uint64_t>(host) - a->base, bytes);
}

// The latest store of an undefined value at a byte of shared memory that counts as not written: as
// Checker::undefined_stores(), 0 for none.
uint32_t undefined_store_at(Warp& w, const std::byte* host) {
  for (const auto& cta : w.cta->cluster->ctas) {
    const uint64_t at = static_cast<uint64_t>(host - cta->smem);
    if (at >= cta->smem_end) continue;
    const std::vector<uint32_t>& stores = w.order->checker->undefined_stores(*cta);
    return stores.empty() ? 0 : stores[at / 4];
  }
  return 0;
}

// `lane` gets `mask` of a byte that counts as not written, from the load `op`.
void load_missing(Warp& w, const Op& op, uint32_t lane, uint64_t mask, const std::byte* host,
                  Undefined::Lanes& to) {
  const uint32_t store = undefined_store_at(w, host) & ~kCopied;
  to.set(lane, mask, store & 1, store ? store / 2 | kStored : op.line);
}

// Bytes of which every bit is undefined, at `host`.
void mark_bits(Warp& w, const Op& op, const std::byte* host, uint32_t bytes, uint64_t mask, bool computed) {
  for (uint32_t b = 0; b < bytes; ++b)
    if ((mask >> 8 * (b & 7) & 0xFF) == 0xFF) mark_missing(w, op, host + b, 1, computed);
}

}  // namespace

Step undefined_load(Warp& w, const Op& op, uint32_t lanes, const LaneAccess& at, uint32_t size,
                    uint32_t count) {
  Undefined& u = w.order->undefined;
  const Effect& e = effect_at(w, op);
  const uint32_t met = u.unwritten & lanes;
  u.unwritten = 0;
  for (uint32_t k = 0; k < count && k < e.writes.size(); ++k) {
    Undefined::Lanes loaded;
    for (uint32_t rest = met; rest; rest &= rest - 1) {
      const uint32_t lane = static_cast<uint32_t>(__builtin_ctz(rest));
      const std::byte* host = at.host[lane] + k * size;
      for (uint32_t b = 0; b < size; ++b) {
        if (first_missing(w, host + b, 1) == 1) continue;
        // The last byte brings the sign.
        const uint64_t byte = b + 1 < size ? uint64_t{0xFF} : ~uint64_t{0};
        load_missing(w, op, lane, byte << 8 * (b & 7), host + b, loaded);
      }
    }
    u.assign(w.regs + e.writes[k], loaded.any(), loaded);
  }
  w.pc = &op + 1;
  return Step::jump;
}

void undefined_store(Warp& w, const Op& op, uint32_t lanes, const LaneAccess& at, uint32_t size) {
  Undefined& u = w.order->undefined;
  for (uint32_t k = 0; k < 8 && (k + 1) * size <= at.size; ++k) {
    const Undefined::Lanes& v = u.stored[k];
    for (uint32_t rest = v.any() & lanes; rest; rest &= rest - 1) {
      const uint32_t lane = static_cast<uint32_t>(__builtin_ctz(rest));
      mark_bits(w, op, at.host[lane] + k * size, size, v.mask(lane), v.computed >> lane & 1);
    }
  }
  u.stores = false;
}

namespace {

// Byte `b` of row `i` of a matrix of 8 rows of 16 bytes: the lane that holds it, and the shift to its bits.
struct MatrixByte {
  uint32_t lane, shift;
};
MatrixByte matrix_byte(uint32_t i, uint32_t b, bool transposed) {
  const uint32_t column = b / 2;
  return transposed ? MatrixByte{4 * column + i / 2, 16 * (i & 1) + 8 * (b & 1)}
                    : MatrixByte{4 * i + column / 2, 16 * (column & 1) + 8 * (b & 1)};
}

}  // namespace

Step undefined_matrix_load(Warp& w, const Op& op, const LaneAccess& at, uint32_t count, bool transposed) {
  Undefined& u = w.order->undefined;
  const Effect& e = effect_at(w, op);
  const uint32_t met = u.unwritten;
  u.unwritten = 0;
  for (uint32_t j = 0; j < count && j < e.writes.size(); ++j) {
    Undefined::Lanes loaded;
    for (uint32_t i = 0; i < 8; ++i) {
      if (!(met >> (8 * j + i) & 1)) continue;
      for (uint32_t b = 0; b < 16; ++b) {
        const std::byte* host = at.host[8 * j + i] + b;
        if (first_missing(w, host, 1) == 1) continue;
        const MatrixByte to = matrix_byte(i, b, transposed);
        load_missing(w, op, to.lane, uint64_t{0xFF} << to.shift, host, loaded);
      }
    }
    u.assign(w.regs + e.writes[j], loaded.any(), loaded);
  }
  w.pc = &op + 1;
  return Step::jump;
}

void undefined_matrix_store(Warp& w, const Op& op, const LaneAccess& at, uint32_t count, bool transposed) {
  Undefined& u = w.order->undefined;
  u.stores = false;
  for (uint32_t j = 0; j < count; ++j) {
    const Undefined::Lanes& v = u.stored[j];
    if (!v.any()) continue;
    for (uint32_t i = 0; i < 8; ++i)
      for (uint32_t b = 0; b < 16; ++b) {
        const MatrixByte from = matrix_byte(i, b, transposed);
        if ((v.mask(from.lane) >> from.shift & 0xFF) == 0xFF)
          mark_missing(w, op, at.host[8 * j + i] + b, 1, v.computed >> from.lane & 1);
      }
  }
}

uint32_t undefined_store_line(Warp& w, const Cta& cta, uint32_t offset) {
  const std::vector<uint32_t>& stores = w.order->checker->undefined_stores(cta);
  return stores.empty() || shadow_first_clear(cta.smem_shadow.get(), offset, 1) == 1
             ? 0
             : (stores[offset / 4] & ~kCopied) / 2;
}

bool met_undefined(Warp& w) {
  if (!w.order) return false;
  const uint32_t met = w.order->undefined.unwritten;
  w.order->undefined.unwritten = 0;
  return met != 0;
}

void undefined_copy(Warp& w, const Op& op, const std::byte* from, std::byte* to, uint32_t bytes) {
  for (uint32_t i = 0; i < bytes; ++i) {
    i += first_missing(w, from + i, bytes - i);
    if (i == bytes) break;
    mark_missing(w, op, to + i, 1, undefined_store_at(w, from + i) & 1, kCopied);
  }
}

bool undefined_reduction(Warp& w, const Op& op, int lane, const std::byte* from, uint32_t bytes) {
  const uint32_t at = first_missing(w, from, bytes);
  if (at == bytes) return true;
  Undefined::Lanes value;
  if (const uint32_t store = undefined_store_at(w, from + at) & ~kCopied) value.line = store / 2 | kStored;
  return report(w, op, lane, "is reduced into memory by a bulk copy", value);
}

void undefined_register_store(Warp& w, const Op& op, const std::byte* slot, int lane, std::byte* to,
                              uint32_t bytes) {
  const Undefined::Lanes& v = w.order->undefined.at(slot);
  const uint32_t i = static_cast<uint32_t>(lane);
  if (const uint64_t mask = v.mask(i)) mark_bits(w, op, to, bytes, mask, v.computed >> i & 1);
}

bool missing_by_copy(Warp& w, uint32_t offset, uint32_t bytes) {
  const std::vector<uint32_t>& stores = w.order->checker->undefined_stores(*w.cta);
  if (stores.empty()) return false;
  for (uint32_t at = offset; at < offset + bytes; ++at)
    if (shadow_first_clear(w.cta->smem_shadow.get(), at, 1) == 0 && !(stores[at / 4] & kCopied)) return false;
  return true;
}

bool undefined_bulk_store(Warp& w, const Op& op, int lane, uint32_t first, uint32_t bytes) {
  const std::vector<uint32_t>& stores = w.order->checker->undefined_stores(*w.cta);
  if (stores.empty()) return true;
  for (uint32_t i = first; i < first + bytes; ++i)
    if ((stores[i / 4] & 1) && shadow_first_clear(w.cta->smem_shadow.get(), i, 1) == 0) {
      Undefined::Lanes from;
      from.line = (stores[i / 4] & ~kCopied) / 2 | kStored;
      return report(w, op, lane, "is stored to global memory by a bulk copy", from);
    }
  return true;
}

}  // namespace ptxops::virt
