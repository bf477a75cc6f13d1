// Control flow. Lanes of a warp that take different ways become splits; they meet again at the immediate
// post-dominator of the branch, where a join op stands. A spin in one split cannot starve another: the
// scheduler rotates between runnable splits of a warp.
#include "driver/virtual/exec/control.h"

#include <fmt/format.h>

#include <algorithm>

#include "driver/virtual/async/exits.h"
#include "driver/virtual/exec/function_decoder.h"
#include "driver/virtual/exec/grid.h"
#include "driver/virtual/exec/registry.h"

namespace ptxops::virt {

Split& Warp::new_split(const Op* at, uint32_t lanes, Frame* frame, Reconvergence* reconvergence) {
  Split* s;
  if (free_splits.empty()) {
    split_storage.push_back(std::make_unique<Split>());
    s = split_storage.back().get();
  } else {
    s = free_splits.back();
    free_splits.pop_back();
  }
  *s = Split{};
  s->warp = this, s->pc = at, s->mask = lanes, s->frame = frame, s->reconvergence = reconvergence;
  splits.push_back(s);
  runnable.push_back(s);
  return *s;
}

void Warp::drop_split(Split& s) {
  splits.erase(std::find(splits.begin(), splits.end(), &s));
  free_splits.push_back(&s);
}

Reconvergence& Warp::new_record(const Op* at, uint32_t expected, Reconvergence* parent, Frame* frame) {
  Reconvergence* r;
  if (free_records.empty()) {
    record_storage.push_back(std::make_unique<Reconvergence>());
    r = record_storage.back().get();
  } else {
    r = free_records.back();
    free_records.pop_back();
  }
  *r = Reconvergence{at, expected, 0, parent, frame};
  return *r;
}

// All lanes that a record waits for have arrived (or ended): they go on together as a new split.
void Warp::release_if_met(Reconvergence& r) {
  if (r.expected != r.arrived) return;
  if (r.expected != 0) {
    if (r.at)
      new_split(r.at, r.expected, r.frame, r.parent);
    else
      return_from(*this, *r.frame, r.expected, r.parent);
  } else if (!r.at) {
    leave_frame(*this, *r.frame);
  }
  free_records.push_back(&r);
}

Step Warp::exit_lanes(uint32_t lanes) {
  exited |= lanes;
  for (Reconvergence* r = split->reconvergence; r;) {
    Reconvergence* parent = r->parent;
    r->expected &= ~lanes;
    release_if_met(*r);
    r = parent;
  }
  lanes_exited(*this);
  split->mask &= ~lanes;
  mask = split->mask;
  if (mask == 0) {
    drop_split(*split);
    return Step::leave;
  }
  return Step::next;
}

Reconvergence* separate(Warp& w, const Op& op) {
  Split& s = *w.split;
  const Op* at = op.c ? s.frame->code->ops.data() + (op.c - 1) : nullptr;
  Reconvergence* r = s.reconvergence;
  if (!at || (r && r->at == at && r->frame == s.frame)) return r;
  return &w.new_record(at, s.mask, r, s.frame);
}

namespace {

Step bra(Warp& w, const Op& op, uint32_t taken) {
  if (taken == 0) return Step::next;
  const Op* target = reinterpret_cast<const Op*>(op.imm);
  if (taken == w.mask) {
    w.pc = target;
    return Step::jump;
  }
  Split& s = *w.split;
  s.reconvergence = separate(w, op);
  w.new_split(target, taken, s.frame, s.reconvergence);
  s.mask &= ~taken;
  w.mask = s.mask;
  return Step::next;
}

// d: index slot; imm: table of targets. Guarded-off lanes fall through.
Step brx_idx(Warp& w, const Op& op, uint32_t lanes) {
  if (lanes == 0) return Step::next;
  const auto& table = *reinterpret_cast<const std::vector<const Op*>*>(op.imm);
  const uint32_t* index = w.reg<uint32_t>(op.a);
  Split& s = *w.split;
  const uint32_t first = index[__builtin_ctz(lanes)];
  for (uint32_t m = lanes; m; m &= m - 1)
    if (index[__builtin_ctz(m)] >= table.size())
      return w.fault(
          op, __builtin_ctz(m), Diagnostic::X3,
          fmt::format("brx.idx index {} of a table with {} targets", index[__builtin_ctz(m)], table.size()));
  uint32_t same = 0;
  for (uint32_t m = lanes; m; m &= m - 1)
    if (index[__builtin_ctz(m)] == first) same |= m & -m;
  if (same == w.mask) {
    w.pc = table[first];
    return Step::jump;
  }
  s.reconvergence = separate(w, op);
  uint32_t rest = lanes;
  while (rest) {
    const uint32_t value = index[__builtin_ctz(rest)];
    uint32_t group = 0;
    for (uint32_t m = rest; m; m &= m - 1)
      if (index[__builtin_ctz(m)] == value) group |= m & -m;
    w.new_split(table[value], group, s.frame, s.reconvergence);
    rest &= ~group;
  }
  s.mask &= ~lanes;
  w.mask = s.mask;
  if (w.mask) return Step::next;
  w.drop_split(s);
  return Step::leave;
}

Step join(Warp& w, const Op& op, uint32_t) {
  Split& s = *w.split;
  while (s.reconvergence && s.reconvergence->at == &op && s.reconvergence->frame == s.frame) {
    Reconvergence& r = *s.reconvergence;
    r.arrived |= s.mask;
    if (r.arrived != r.expected) {
      w.drop_split(s);
      return Step::leave;
    }
    s.mask = r.expected;
    s.reconvergence = r.parent;
    w.mask = s.mask;
    w.free_records.push_back(&r);
  }
  return Step::next;
}

Step exit_thread(Warp& w, const Op&, uint32_t lanes) {
  return w.exit_lanes(lanes);
}

Step ret(Warp& w, const Op&, uint32_t lanes) {
  Split& s = *w.split;
  if (!s.frame->caller) return w.exit_lanes(lanes);
  Reconvergence* r = s.reconvergence;
  while (r->at || r->frame != s.frame) {  // meeting points inside the function no longer wait for these lanes
    Reconvergence* parent = r->parent;
    r->expected &= ~lanes;
    w.release_if_met(*r);
    r = parent;
  }
  s.mask &= ~lanes;
  w.mask = s.mask;
  r->arrived |= lanes;
  w.release_if_met(*r);
  if (w.mask) return Step::next;
  w.drop_split(s);
  return Step::leave;
}

}  // namespace

void decode_bra(Decoder& d, const isa::Instruction& in) {
  auto& decoder = static_cast<FunctionDecoder&>(d);
  const uint32_t label = in.operands[0].index;
  Op& op = d.emit(bra);
  op.flags |= kRunsWithoutLanes;
  op.cost = 2;
  decoder.patch_target(decoder.code().function->labels[label].instruction);
  decoder.patch_meet();
}

void decode_brx_idx(Decoder& d, const isa::Instruction& in) {
  auto& decoder = static_cast<FunctionDecoder&>(d);
  const isa::Function& f = *decoder.code().function;
  std::vector<uint32_t> instructions;
  for (uint32_t label : f.branch_tables[in.operands[1].index].labels)
    instructions.push_back(f.labels[label].instruction);
  auto* table = d.keep(std::vector<const Op*>{});
  const uint32_t index = d.src(in.operands[0], isa::Type::u32);
  Op& op = d.emit(brx_idx);
  op.flags |= kRunsWithoutLanes;
  op.a = index;
  op.imm = reinterpret_cast<uint64_t>(table);
  op.cost = 4;
  decoder.patch_table(table, std::move(instructions));
  decoder.patch_meet();
}

void emit_join(FunctionDecoder& decoder, uint32_t line) {
  Op& op = decoder.emit(join);
  op.line = line;
  op.cost = 0;
}

void emit_end(FunctionDecoder& decoder, uint32_t line) {
  Op& op = decoder.emit(ret);
  op.line = line;
}

void decode_exit_(Decoder& d, const isa::Instruction&) {
  d.emit(exit_thread);
}
void decode_ret(Decoder& d, const isa::Instruction&) {
  d.emit(ret);
}

}  // namespace ptxops::virt
