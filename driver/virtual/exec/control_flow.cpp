// Basic blocks and immediate post-dominators (Cooper, Harvey & Kennedy, "A simple, fast dominance algorithm",
// on the reversed graph).
#include <algorithm>

#include "driver/virtual/exec/program.h"

namespace ptxops::virt {
namespace {

bool is_branch(const isa::Instruction& in) {
  const auto root = in.row().root;
  return root == "bra" || root == "brx";
}
// A trap counts as falling through and a guarded return as not taken: lanes that end need not be met, and an
// assertion inside a loop must not cost the other lanes their meeting point.
bool ends_thread(const isa::Instruction& in) {
  const auto root = in.row().root;
  return (root == "ret" || root == "exit") && in.guard < 0;
}

// Nothing but the end follows: lanes that get there leave at once, as exited lanes collectives do not wait
// for them. (ptxas makes such a branch an exit.)
bool only_ends(const isa::Function& f, uint32_t i) {
  for (size_t hops = 0; hops < f.instructions.size() && i < f.instructions.size(); ++hops) {
    const isa::Instruction& in = f.instructions[i];
    if (ends_thread(in)) return true;
    if (in.row().root != "bra" || in.guard >= 0) return false;
    i = f.labels[in.operands[0].index].instruction;
  }
  return i == f.instructions.size();
}

void targets_of(const isa::Function& f, const isa::Instruction& in, std::vector<uint32_t>& out) {
  for (const isa::Operand& o : in.operands) {
    if (o.kind == isa::OperandKind::label) out.push_back(f.labels[o.index].instruction);
    if (o.kind == isa::OperandKind::branch_table)
      for (uint32_t label : f.branch_tables[o.index].labels) out.push_back(f.labels[label].instruction);
  }
}

}  // namespace

ControlFlow analyze(const isa::Function& f) {
  const uint32_t n = static_cast<uint32_t>(f.instructions.size());
  ControlFlow flow;
  flow.is_meet.assign(n + 1, false);
  flow.is_leader.assign(n + 1, false);
  flow.is_leader[0] = true;
  std::vector<uint32_t> targets;
  for (uint32_t i = 0; i < n; ++i) {
    const isa::Instruction& in = f.instructions[i];
    if (!is_branch(in) && !ends_thread(in)) continue;
    flow.is_leader[i + 1] = true;
    targets.clear();
    targets_of(f, in, targets);
    for (uint32_t t : targets) flow.is_leader[t] = true;
  }
  // Block b covers [start[b], start[b+1]); the exit is block `count`.
  std::vector<uint32_t> start, block_of(n + 1);
  for (uint32_t i = 0; i < n; ++i) {
    if (flow.is_leader[i]) start.push_back(i);
    block_of[i] = static_cast<uint32_t>(start.size()) - 1;
  }
  const uint32_t count = static_cast<uint32_t>(start.size()), exit = count;
  block_of[n] = exit;
  std::vector<std::vector<uint32_t>> successors(count), predecessors(count + 1);
  for (uint32_t b = 0; b < count; ++b) {
    const uint32_t last = (b + 1 < count ? start[b + 1] : n) - 1;
    const isa::Instruction& in = f.instructions[last];
    targets.clear();
    if (is_branch(in)) targets_of(f, in, targets);
    for (uint32_t t : targets) successors[b].push_back(block_of[t]);
    if (ends_thread(in)) successors[b].push_back(exit);
    if ((!is_branch(in) && !ends_thread(in)) || in.guard >= 0) successors[b].push_back(block_of[last + 1]);
    for (uint32_t s : successors[b]) predecessors[s].push_back(b);
  }
  // Reverse post-order of the reversed graph, from the exit. Blocks that cannot reach it (infinite loops)
  // stay out.
  std::vector<uint32_t> order, number(count + 1, UINT32_MAX), next(count + 1, 0), stack{exit};
  std::vector<bool> seen(count + 1, false);
  seen[exit] = true;
  while (!stack.empty()) {
    const uint32_t b = stack.back();
    if (next[b] < predecessors[b].size()) {
      const uint32_t p = predecessors[b][next[b]++];
      if (!seen[p]) {
        seen[p] = true;
        stack.push_back(p);
      }
    } else {
      number[b] = static_cast<uint32_t>(order.size());
      order.push_back(b);
      stack.pop_back();
    }
  }
  std::vector<uint32_t> dominator(count + 1, UINT32_MAX);
  dominator[exit] = exit;
  const auto intersect = [&](uint32_t a, uint32_t b) {
    while (a != b) {
      while (number[a] < number[b]) a = dominator[a];
      while (number[b] < number[a]) b = dominator[b];
    }
    return a;
  };
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t i = order.size() - 1; i-- > 0;) {
      const uint32_t b = order[i];
      uint32_t best = UINT32_MAX;
      for (uint32_t s : successors[b]) {
        if (dominator[s] == UINT32_MAX) continue;
        best = best == UINT32_MAX ? s : intersect(best, s);
      }
      if (best != dominator[b]) {
        dominator[b] = best;
        changed = true;
      }
    }
  }
  for (uint32_t i = 0; i < n; ++i) {
    const isa::Instruction& in = f.instructions[i];
    // A call that not all lanes make, or not of the same function: they meet behind it.
    if (in.row().root == "call" && i + 1 < n &&
        (in.guard >= 0 || in.operands[1].kind != isa::OperandKind::function)) {
      flow.meet[i] = i + 1;
      flow.is_meet[i + 1] = true;
    }
    if (!is_branch(in)) continue;
    const uint32_t d = dominator[block_of[i]];
    const bool inside = d != UINT32_MAX && d != exit && !only_ends(f, start[d]);
    flow.meet[i] = inside ? int64_t{start[d]} : -1;
    if (inside && (in.guard >= 0 || in.row().root == "brx")) flow.is_meet[start[d]] = true;
  }
  return flow;
}

}  // namespace ptxops::virt
