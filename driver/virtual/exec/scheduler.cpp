// Runs one cluster: each warp until it blocks, wake lists instead of polling, asynchronous operations applied
// between warp slices.
#include <fmt/format.h>

#include <algorithm>

#include "driver/virtual/check/checker.h"
#include "driver/virtual/exec/control.h"
#include "driver/virtual/exec/grid.h"

namespace ptxops::virt {
namespace {

// Instructions a warp may run before others get their turn: spins must not starve, switching must stay rare.
constexpr uint32_t kSlice = 20000;
constexpr uint32_t kSeededSlice = 400;  // the most with a seed: many more interleavings

enum class Slice { blocked, yielded, done, fault, other_mode };

Split* next_runnable(Warp& w) {
  if (w.runnable.empty()) return nullptr;
  Split* s = w.runnable.front();
  w.runnable.pop_front();
  return s;
}

void enter(Warp& w, Split& s) {
  w.split = &s;
  w.regs = s.frame->regs;
  w.mask = s.mask;
}

// false after a finding.
bool warp_done(Warp& w) {
  Cta& cta = *w.cta;
  ++cta.warps_done;
  --cta.cluster->warps_live;
  ++cta.cluster->progress;
  cta.issue_cycles[w.id % 4] += w.issued;
  cta.cluster->end_clock = std::max(cta.cluster->end_clock, w.clock);
  if (!w.order) return true;
  Checker& checker = *w.order->checker;
  return checker.warp_exit(w, *w.pc) && (!cta.exited() || checker.cta_exit(w, *w.pc));
}

// Runs the split until something stops it; `s` is the split that runs. With kTracks, undefined values are
// followed.
template <bool kTracks>
Slice run_splits(Warp& w, Split*& s, uint32_t& budget) {
  const Op* pc = s->pc;
  const uint32_t before = budget;
  const auto account = [&] { w.issued += before - budget; };
  while (budget) {
    if constexpr (kTracks)
      if (!w.order->undefined.active()) {
        s->pc = pc;
        account();
        return Slice::other_mode;
      }
    --budget;
    const Op& op = *pc;
    const uint32_t lanes = w.mask & (w.pred(op.guard) ^ op.guard_flip);
    w.clock += op.cost;
    if constexpr (kTracks) {
      if (!track(w, op, lanes)) {
        account();
        return Slice::fault;
      }
    }
    if (op.flags) [[unlikely]] {
      if (op.flags & kWaitLoad) w.clock = std::max(w.clock, w.load_ready);
      if (lanes == 0 && !(op.flags & kRunsWithoutLanes)) {
        ++pc;
        continue;
      }
    } else if (lanes == 0) {
      ++pc;
      continue;
    }
    const Step step = op.fn(w, op, lanes);
    if (step == Step::next) [[likely]] {
      ++pc;
      continue;
    }
    switch (step) {
      case Step::jump:
        pc = w.pc;
        if (!kTracks && w.order && w.order->undefined.active()) {
          s->pc = pc;
          account();
          return Slice::other_mode;
        }
        continue;
      case Step::block:
        s->pc = s->asleep_in = pc;
        break;
      case Step::sleep:
        s->asleep_in = pc;
        s->pc = pc + 1;
        break;
      case Step::yield:
        s->pc = pc;
        w.runnable.push_back(s);
        account();
        return Slice::yielded;
      case Step::leave:
        break;
      default:
        account();
        return Slice::fault;
    }
    // This split sleeps or is gone: the warp's others may go on.
    if (w.live() == 0) {
      w.pc = pc;
      account();
      return Slice::done;
    }
    s = next_runnable(w);
    if (!s) {
      account();
      return Slice::blocked;
    }
    enter(w, *s);
    pc = s->pc;
  }
  s->pc = pc;
  w.runnable.push_back(s);
  account();
  return Slice::yielded;
}

Slice run_slice(Warp& w) {
  Split* s = next_runnable(w);
  if (!s) return Slice::blocked;
  enter(w, *s);
  uint32_t budget = w.cta->cluster->random ? 1 + w.cta->cluster->draw() % kSeededSlice : kSlice;
  for (;;) {
    const bool tracks = w.order && w.order->undefined.active();
    const Slice slice = tracks ? run_splits<true>(w, s, budget) : run_splits<false>(w, s, budget);
    if (slice != Slice::other_mode) return slice;
  }
}

// Applies requested asynchronous operations: all of them or, with a seed, some, in another order. What must
// stay behind what was requested before it does.
void drain(Cluster& c) {
  while (!c.async.empty()) {
    if (c.chance(3) && !c.ready.empty()) return;
    if (c.random) {
      size_t free = 0;
      while (free < c.async.size() && free < 16 && c.async[free].unordered) ++free;
      if (free > 1) std::swap(c.async[0], c.async[c.draw() % free]);
    }
    AsyncOp op = std::move(c.async.front());
    c.async.pop_front();
    op.apply();
  }
}

// With nothing left to run, a try_wait may give up, as its time limit allows: some code does something else
// then.
bool wake_spuriously(Cluster& c) {
  bool any = false;
  for (auto& cta : c.ctas)
    for (auto& w : cta->warps)
      for (Split* s : std::vector<Split*>(w->splits))
        if (s->waiting == WaitKind::mbarrier) {
          s->spurious = true;
          c.wake(*s);
          any = true;
        }
  return any;
}

// Everybody sleeps: who waits for what. Its sites are two of the sleepers, those at an mbarrier first.
Finding deadlock_of(const Cluster& c) {
  constexpr int kMost = 64;
  Finding f;
  f.id = Diagnostic::X4;
  f.kernel = c.grid->kernel().name;
  f.what = "deadlock: every warp of the cluster waits, and nothing is left that could wake one";
  std::string text;
  int count = 0;
  for (const auto& cta : c.ctas)
    for (const auto& w : cta->warps)
      for (const Split* s : w->splits) {
        const bool named = s->waiting != WaitKind::none;
        const Op& op = named ? *s->asleep_in : *s->pc;
        const std::string why = named && s->describe ? s->describe(*s) : "waiting for its own lanes";
        Site site = site_of(*w, op, -1, why, "");
        const bool at_mbarrier = s->waiting == WaitKind::mbarrier;
        if (s->waiting == WaitKind::setmaxnreg && f.id != Diagnostic::C8) {  // the others wait for this warp
          f.id = Diagnostic::C8;
          f.site_count = 0;
          f.sites[f.site_count++] = site;
        }
        if (at_mbarrier && f.id == Diagnostic::X4) {
          f.id = Diagnostic::B4;
          f.site_count = 0;
        }
        // A collective waits for lanes that execute it too, but with another mask.
        if (s->waiting == WaitKind::lanes && f.id == Diagnostic::X4)
          for (const Rendezvous& r : w->rendezvous)
            if (r.members & ~r.arrived & s->mask) f.id = Diagnostic::C4;
        if (f.site_count < 2 && at_mbarrier == (f.id == Diagnostic::B4)) f.sites[f.site_count++] = site;
        if (++count > kMost) continue;
        text += fmt::format("\n    CTA ({},{},{}) warp {} lanes 0x{:08x} at line {}: {}: {}", cta->id.x,
                            cta->id.y, cta->id.z, w->id, s->mask, op.line, site.source, why);
      }
  if (count > kMost) text += fmt::format("\n    and {} more", count - kMost);
  f.what += text;
  return f;
}

}  // namespace

Finding livelock_of(const Cluster& c, double seconds) {
  Finding f;
  f.id = Diagnostic::X5;
  f.kernel = c.grid->kernel().name;
  f.what = fmt::format(
      "livelock: every running cluster has only been spinning for {} s of wall time "
      "(PTXOPS_VIRTUAL_SPIN_LIMIT)",
      seconds);
  for (const auto& cta : c.ctas)
    for (const auto& w : cta->warps)
      for (const Split* s : w->runnable)
        if (f.site_count < 2) f.sites[f.site_count++] = site_of(*w, *s->pc, -1, "spins", "");
  return f;
}

void Cluster::wake(Split& s) {
  if (s.list) {
    auto& list = s.list->splits;
    list.erase(std::remove(list.begin(), list.end(), &s), list.end());
  }
  s.list = nullptr;
  s.waiting = WaitKind::none;
  Warp& w = *s.warp;
  w.runnable.push_back(&s);
  if (!w.queued) {
    w.queued = true;
    ready.push_back(&w);
  }
}

void Cluster::wake(WaitList& list) {
  const std::vector<Split*> sleepers = std::move(list.splits);
  list.splits.clear();
  for (Split* s : sleepers) {
    s->list = nullptr;
    wake(*s);
  }
}

void Warp::wait_on(WaitList& list, WaitKind kind, std::string (*describe)(const Split&), uint64_t a,
                   uint64_t b) {
  split->waiting = kind;
  split->list = &list;
  split->describe = describe;
  split->wait_a = a;
  split->wait_b = b;
  list.splits.push_back(split);
}

ClusterState run_cluster(Cluster& c) {
  Grid& grid = *c.grid;
  uint64_t spurious_at = UINT64_MAX;  // progress count at the last spurious wake-up
  size_t idle_slices = 0;             // yields in a row without anything for others to see
  uint64_t progress = c.progress;
  while (c.warps_live) {
    if (grid.aborted.load(std::memory_order_relaxed)) return ClusterState::aborted;
    drain(c);
    if (c.ready.empty()) {
      if (c.progress != spurious_at) {
        spurious_at = c.progress;
        if (wake_spuriously(c)) continue;
      }
      grid.record(Fault(deadlock_of(c)));
      return ClusterState::aborted;
    }
    if (c.random && c.ready.size() > 1) std::swap(c.ready[0], c.ready[c.draw() % c.ready.size()]);
    Warp& w = *c.ready.front();
    c.ready.pop_front();
    w.queued = false;
    switch (run_slice(w)) {
      case Slice::blocked:
        break;
      case Slice::done:
        if (!warp_done(w)) return ClusterState::aborted;
        break;
      case Slice::fault:
      case Slice::other_mode:
        return ClusterState::aborted;
      case Slice::yielded:
        if (!w.queued) {
          w.queued = true;
          c.ready.push_back(&w);
        }
        idle_slices = c.progress == progress ? idle_slices + 1 : 0;
        progress = c.progress;
        if (idle_slices > 2 * c.ready.size()) return ClusterState::spinning;
        break;
    }
  }
  c.random = 0;  // nothing is held back any more
  drain(c);
  return grid.aborted.load(std::memory_order_relaxed) ? ClusterState::aborted : ClusterState::finished;
}

}  // namespace ptxops::virt
