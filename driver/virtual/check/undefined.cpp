#include "driver/virtual/check/undefined.h"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>

#include "driver/virtual/check/checker.h"
#include "driver/virtual/exec/shadow.h"
#include "driver/virtual/memory/memory.h"

namespace ptxops::virt {
namespace {

using Effect = Effects::Effect;
using Kind = Effects::Kind;

bool is_one_of(std::string_view root, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), root) != names.end();
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
  for (size_t i = 0; i < in.operands.size(); ++i) visit(visit, in.operands[i], i == 0 && (has_result || mma));
  if (in.guard >= 0) e.guard = code.register_slot[static_cast<size_t>(in.guard)];
  e.loads = is_one_of(root, {"ld", "ldu"});
  e.stores = root == "st";
  e.branches = is_one_of(root, {"bra", "brx", "exit", "ret"});
  e.decides = is_one_of(root, {"mbarrier", "bar", "barrier", "cp"});
  if (mma) {
    e.accumulates = in.operands.size() <= 3 || !in.operands[3].is_imm() || in.operands[3].bits != 0;
    if (e.accumulates && in.operands.size() > 3 && in.operands[3].is_reg())
      e.scale_d = code.register_slot[in.operands[3].index];
  }
  if (is_one_of(root, {"wgmma",     "mma",  "shfl",    "vote",     "match",   "redux", "elect", "ldmatrix",
                       "movmatrix", "bar",  "barrier", "and",      "or",      "xor",   "not",   "lop3",
                       "shl",       "shr",  "shf",     "bfe",      "bfi",     "prmt",  "call",  "bfind",
                       "fns",       "atom", "red",     "stmatrix", "mbarrier"}))
    e.kind = Kind::forget;
  else if (e.loads || e.stores || root == "mov")
    e.kind =
        in.operands.size() == 2 && root == "mov" && (in.operands[0].is_vector() || in.operands[1].is_vector())
            ? Kind::forget
            : Kind::copy;
  else if (root == "selp")
    e.kind = Kind::select;
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
        const bool reads = f.instructions[i].row().root != "wgmma";
        if (e.accumulates)  // track() asks scale-d
          for (const uint32_t s : e.writes) set(s, true);
        if (reads)
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
    source.line = from.line;
    f.sites[f.site_count++] = site_of(w, source, lane, "reads what nobody has written before", "generic");
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
    w.order->undefined.slots[frame.regs + slot] = {kAllLanes, 0, 0};
}

void forget_undefined(Warp& w, const Frame& frame) {
  std::erase_if(w.order->undefined.slots, [&](const auto& s) {
    return static_cast<uint64_t>(s.first - frame.regs) < frame.code->frame_bytes;
  });
}

bool track(Warp& w, const Op& op, uint32_t lanes) {
  Undefined& u = w.order->undefined;
  const Code& code = *w.split->frame->code;
  const Effects& all = effects_of(code);
  const uint32_t index = all.of_op[static_cast<size_t>(&op - code.ops.data())];
  if (index == 0) return true;
  const Effect& e = all.effects[index - 1];
  const auto at = [&](uint32_t slot) -> Undefined::Lanes {
    const auto it = u.slots.find(w.regs + slot);
    return it == u.slots.end() ? Undefined::Lanes{} : it->second;
  };
  if (e.guard >= 0) {
    const Undefined::Lanes g = at(static_cast<uint32_t>(e.guard));
    if (const uint32_t bad = g.any() & w.mask; bad && (e.branches || e.stores))
      if (!report(w, op, __builtin_ctz(bad), "decides a branch or a store", g)) return false;
  }
  if (lanes == 0) return true;
  if (e.decides)
    for (const uint32_t slot : e.reads)
      if (const Undefined::Lanes a = at(slot); a.any() & lanes)
        if (!report(w, op, __builtin_ctz(a.any() & lanes), "decides what a barrier or a copy does", a))
          return false;
  if (e.scale_d >= 0)
    if (const Undefined::Lanes a = at(static_cast<uint32_t>(e.scale_d)); a.any() & lanes)
      if (!report(w, op, __builtin_ctz(a.any() & lanes), "decides whether a wgmma accumulates", a))
        return false;
  if (e.accumulates && (e.scale_d < 0 || w.pred(static_cast<uint32_t>(e.scale_d))))
    for (const uint32_t slot : e.writes)
      if (const Undefined::Lanes a = at(slot); a.any() & lanes)
        if (!report(w, op, __builtin_ctz(a.any() & lanes), "is accumulated by a wgmma", a)) return false;
  for (const uint32_t slot : e.addresses)
    if (const Undefined::Lanes a = at(slot); a.any() & lanes)
      if (!report(w, op, __builtin_ctz(a.any() & lanes), "is used as an address", a)) return false;
  if (e.stores) {
    u.stores = false;
    for (size_t k = 0; k < e.reads.size() && k < 8; ++k) {
      const Undefined::Lanes v = at(e.reads[k]);
      u.stored[k] = v.any() & lanes;
      if (!u.stored[k]) continue;
      u.stores = true;
      const auto space = code.function->instructions[index - 1].space();
      const uint32_t bad = v.computed & lanes;
      if (bad && (space == isa::Space::global || space == isa::Space::generic) &&
          !(space == isa::Space::generic && stores_inside(w, op, e, bad)))
        if (!report(w, op, __builtin_ctz(bad), "is stored to global memory", v)) return false;
    }
  }
  if (e.writes.empty()) return true;
  Undefined::Lanes result;
  if (e.kind == Kind::copy && !e.loads) {
    for (const uint32_t slot : e.reads) {
      const Undefined::Lanes v = at(slot);
      result.copied |= v.copied, result.computed |= v.computed;
      if (v.any()) result.line = v.line;
    }
  } else if (e.kind == Kind::select && e.reads.size() >= 1) {
    const uint32_t p = w.pred(e.reads.back());
    const Undefined::Lanes chooser = at(e.reads.back());
    result.computed |= chooser.any();
    result.line = chooser.line;
    // Immediates are not among the reads: with one value it cannot be told which side it is, so it counts as
    // chosen.
    for (size_t k = 0; k + 1 < e.reads.size(); ++k) {
      const Undefined::Lanes v = at(e.reads[k]);
      const uint32_t chosen = e.reads.size() == 3 ? (k == 0 ? p : ~p) : kAllLanes;
      result.copied |= v.copied & chosen, result.computed |= v.computed & chosen;
      if (v.any() & chosen) result.line = v.line;
    }
  } else if (e.kind == Kind::compute) {
    for (const uint32_t slot : e.reads) {
      const Undefined::Lanes v = at(slot);
      result.computed |= v.any();
      if (v.any()) result.line = v.line;
    }
  }
  for (const uint32_t slot : e.writes) {
    const std::byte* key = w.regs + slot;
    Undefined::Lanes now = at(slot);
    now.copied = (now.copied & ~lanes) | (result.copied & lanes);
    now.computed = (now.computed & ~lanes) | (result.computed & lanes);
    if (result.any() & lanes) now.line = result.line;
    if (now.any())
      u.slots[key] = now;
    else
      u.slots.erase(key);
  }
  return true;
}

namespace {

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

void mark_missing(Warp& w, const std::byte* host, uint32_t bytes) {
  for (const auto& cta : w.cta->cluster->ctas)
    if (static_cast<uint64_t>(host - cta->smem) < cta->smem_end)
      return forget_bits(cta->smem_shadow.get(), static_cast<uint64_t>(host - cta->smem), bytes);
  if (w.local && static_cast<uint64_t>(host - w.local.get()) < uint64_t{w.local_size} * kLanes)
    return forget_bits(w.local_shadow.get(), static_cast<uint64_t>(host - w.local.get()), bytes);
  const Allocation* a = w.cta->cluster->grid->desc.memory->find(reinterpret_cast<uint64_t>(host));
  if (a && a->shadow) forget_bits(a->shadow, reinterpret_cast<uint64_t>(host) - a->base, bytes);
}

}  // namespace

Step undefined_load(Warp& w, const Op& op, uint32_t lanes, const LaneAccess& at, uint32_t size,
                    uint32_t count) {
  Undefined& u = w.order->undefined;
  const Code& code = *w.split->frame->code;
  const Effects& all = effects_of(code);
  // The effect of the instruction that this op belongs to: the nearest before it.
  size_t index = static_cast<size_t>(&op - code.ops.data());
  while (index > 0 && all.of_op[index] == 0) --index;
  const Effect& e = all.effects[all.of_op[index] - 1];
  const uint32_t met = u.unwritten & lanes;
  u.unwritten = 0;
  for (uint32_t k = 0; k < count && k < e.writes.size(); ++k) {
    uint32_t bad = 0;
    for (uint32_t rest = met; rest; rest &= rest - 1) {
      const int lane = __builtin_ctz(rest);
      if (first_missing(w, at.host[lane] + k * size, size) < size) bad |= 1u << lane;
    }
    if (!bad) continue;
    Undefined::Lanes& now = u.slots[w.regs + e.writes[k]];
    now.copied |= bad;
    now.line = op.line;
  }
  w.pc = &op + 1;
  return Step::jump;
}

void undefined_store(Warp& w, uint32_t lanes, const LaneAccess& at, uint32_t size) {
  Undefined& u = w.order->undefined;
  for (uint32_t k = 0; k < 8 && (k + 1) * size <= at.size; ++k)
    for (uint32_t rest = u.stored[k] & lanes; rest; rest &= rest - 1)
      mark_missing(w, at.host[__builtin_ctz(rest)] + k * size, size);
  u.stores = false;
  std::fill(std::begin(u.stored), std::end(u.stored), 0);
}

}  // namespace ptxops::virt
