// Accesses: what each of them meets in the history of its memory.
#include "driver/virtual/check/checker.h"

#include <fmt/format.h>

#include <bit>

#include "driver/virtual/check/global_history.h"
#include "driver/virtual/check/judgement.h"
#include "driver/virtual/memory/memory.h"

namespace ptxops::virt {

Checker::Checker(Cluster& cluster) : cluster_(cluster), grid_(*cluster.grid) {
  {
    std::lock_guard lock(GlobalHistory::get().lock());
    number_ = GlobalHistory::get().new_cluster();
  }
  ctas_.resize(cluster.ctas.size());
  for (size_t rank = 0; rank < cluster.ctas.size(); ++rank) {
    Cta& cta = *cluster.ctas[rank];
    const size_t words = (cta.smem_end + 3) / 4;
    ctas_[rank].write.assign(words, 0);
    ctas_[rank].read.assign(words, 0);
    ctas_[rank].first_agent = agents_;
    for (auto& w : cta.warps) {
      warps_.push_back(std::make_unique<WarpOrder>());
      w->order = warps_.back().get();
      w->order->checker = this;
      w->order->agent = new_agent();
      begin_undefined(*w, *w->frames.front());
    }
  }
  for (auto& o : warps_) o->strong_agent = new_agent();
}

Checker::~Checker() = default;

Record Checker::make_record(Warp& w, const Op& op, Actor actor, AccessKind kind, uint32_t size) {
  Record r;
  r.agent = w.order->agent;
  r.sync = w.order->sync;
  r.sub = w.order->sub;
  r.line = op.line;
  r.op = &op;
  r.cluster = number_;
  r.grid = static_cast<uint32_t>(grid_.id);
  r.stamp = stamp_;
  r.size = size;
  r.cta = w.cta->rank;
  r.cta_id = {w.cta->id.x, w.cta->id.y, w.cta->id.z};
  r.warp = static_cast<uint16_t>(w.id);
  r.actor = actor;
  r.kind = kind;
  return r;
}

Record Checker::generic_record(Warp& w, const Op& op, const Access& access) {
  Record r =
      make_record(w, op, access.non_coherent ? Actor::nc_load : Actor::generic, access.kind, access.size);
  r.strong = access.order != Order::weak || access.kind == AccessKind::atomic;
  r.scope = access.scope;
  if (r.strong && access.kind != AccessKind::load) {
    r.agent = w.order->strong_agent;
    r.sub = r.sync;  // what orders the other lanes behind it
    r.sync = ++w.order->strong_writes;
  }
  return r;
}

Cells Checker::shared_cells(const Cta& cta) {
  CtaOrder& c = ctas_[cta.rank];
  return {c.write.data(), c.read.data()};
}

// Records of shared memory that nothing names any more are dropped now and then.
void Checker::keep_small() {
  constexpr size_t kRecords = 1u << 13, kSets = 1u << 12;  // that stay in the cache
  if (history_.size() < kRecords && history_.set_count() < kSets) return;
  std::vector<std::pair<Cells, uint64_t>> ranges;
  for (CtaOrder& c : ctas_) ranges.push_back({{c.write.data(), c.read.data()}, c.write.size()});
  history_.compact(ranges);
  for (auto& o : warps_) o->record_op = nullptr;
}

Cta* Checker::owner(const Warp& w, const std::byte* host) const {
  const auto inside = [&](const Cta& cta) { return static_cast<uint64_t>(host - cta.smem) < cta.smem_end; };
  if (inside(*w.cta)) return w.cta;
  for (const auto& cta : cluster_.ctas)
    if (inside(*cta)) return cta.get();
  return nullptr;
}

bool Checker::before(const WarpOrder& o, const Record& r, uint32_t r_lane, int lane) const {
  if (r.cluster != number_) {
    if (r.grid != grid_.id) {
      if (grid_.prerequisite != 0 &&
          !GlobalHistory::get().before_dependent(r.grid, static_cast<uint32_t>(grid_.prerequisite),
                                                 has_waited_for_grid(o, lane)))
        return false;
      if (GlobalHistory::get().before(r.grid, static_cast<uint32_t>(grid_.id))) return true;
    }
    const auto knows = [&](const Clock& clock) {
      const Clock* theirs = clock.of_cluster(r.cluster);
      return theirs && theirs->seen.covers(r.agent, r.sync, r.sub, r_lane);
    };
    if (knows(o.clock)) return true;
    for (const auto& p : o.parts)
      if ((lane < 0 || (p.lanes >> lane & 1)) && knows(p.clock)) return true;
    return false;
  }
  if (r.agent == o.strong_agent && (lane < 0 || static_cast<int>(r_lane) == lane || r.sub < o.sync))
    return true;
  if (r.agent == o.cp_async && static_cast<int>(r_lane) == lane && r.sync <= o.cp_waited) return true;
  if (r.agent == o.agent && (lane < 0 || static_cast<int>(r_lane) == lane || r.sync < o.sync)) return true;
  if (o.clock.seen.covers(r.agent, r.sync, r.sub, r_lane)) return true;
  for (const auto& p : o.parts)
    if ((lane < 0 || (p.lanes >> lane & 1)) && p.clock.seen.covers(r.agent, r.sync, r.sub, r_lane))
      return true;
  return false;
}

bool Checker::fenced(const WarpOrder& o, const Record& r, uint32_t r_lane, int lane, bool shared) const {
  const auto covers = [&](const Clock& clock) {
    const Clock* c = r.cluster == number_ ? &clock : clock.of_cluster(r.cluster);
    return c && (shared ? c->fenced_shared : c->fenced_global).covers(r.agent, r.sync, r.sub, r_lane);
  };
  if (covers(o.clock)) return true;
  // A fence on this side covers what was seen of another cluster before it.
  if (r.cluster != number_) {
    const auto through = [&](const Clock& clock) {
      const Clock* theirs = Clock::find(clock.fenced_foreign, r.cluster);
      return !shared && theirs && theirs->seen.covers(r.agent, r.sync, r.sub, r_lane);
    };
    if (through(o.clock)) return true;
    for (const auto& p : o.parts)
      if ((lane < 0 || (p.lanes >> lane & 1)) && through(p.clock)) return true;
  }
  for (const auto& p : o.parts)
    if ((lane < 0 || (p.lanes >> lane & 1)) && covers(p.clock)) return true;
  return false;
}

// ---- Shared memory

// Ordinary accesses must not touch live mbarriers.
bool Checker::hits_mbarrier(Warp& w, const Op& op, int lane, Cta& target, uint32_t offset, uint32_t bytes,
                            const Record& r) {
  CtaOrder& c = ctas_[target.rank];
  if (offset >= c.mbarriers_high || offset + bytes <= c.mbarriers_low) return false;
  const uint32_t begin = std::max(offset & ~7u, c.mbarriers_low);
  const uint32_t end = std::min(offset + bytes, c.mbarriers_high);
  for (uint32_t at = begin; at < end; at += 8) {
    const auto it = target.mbarriers.find(at);
    if (it == target.mbarriers.end() || !it->second.live) continue;
    Finding f;
    f.id = Diagnostic::B2;
    if (!reported(f.id)) return false;
    f.kernel = grid_.kernel().name;
    const std::string where = fmt::format("shared memory at {:#x} of CTA rank {}", offset, target.rank);
    f.what = fmt::format("{}; mbarrier at {:#x} of CTA rank {}", rule(f.id).title, at, target.rank);
    f.sites[0] = site_of(w, op, lane, action_of(r, where), is_async_proxy(r.actor) ? "async" : "generic");
    Site& init = f.sites[1];
    init.cta = {target.id.x, target.id.y, target.id.z};
    grid_.desc.program->show_line(init, it->second.init_line);
    init.action = "initialises the mbarrier before";
    f.site_count = 2;
    f.missing = "mbarrier.inval";
    grid_.record(Fault(std::move(f)));
    return true;
  }
  return false;
}

// A peer's shared memory exists once something of the peer has been seen.
bool Checker::enter(Warp& w, const Op& op, int lane, Cta& target, const Record& r, bool visits) {
  const WarpOrder& o = *w.order;
  const CtaOrder& c = ctas_[target.rank];
  const auto started = [&](const VectorClock& seen) {
    for (uint32_t i = 0; i < target.warps.size(); ++i)
      if (const Component* k = seen.find(c.first_agent + i); k && (k->sync > 0 || k->mask)) return true;
    return false;
  };
  bool fine = started(o.clock.seen) || started(o.inits) ||
              started(o.flawed[static_cast<size_t>(Flaw::relaxed_cluster)]);
  for (const auto& p : o.parts) fine |= (lane < 0 || (p.lanes >> lane & 1)) && started(p.clock.seen);
  if (!fine && reported(Diagnostic::C6)) {
    Finding f;
    f.id = Diagnostic::C6;
    f.kernel = grid_.kernel().name;
    f.what =
        fmt::format("access to shared memory of CTA rank {}, which may not have started yet", target.rank);
    f.sites[0] = site_of(w, op, lane, action_of(r, "the peer's shared memory"), "generic");
    f.site_count = 1;
    f.missing = "a cluster barrier (or an mbarrier handshake) after the kernel's entry";
    grid_.record(Fault(std::move(f)));
    return false;
  }
  if (visits) ctas_[target.rank].visitors[r.agent] = {r, static_cast<uint32_t>(lane < 0 ? 0 : lane)};
  return true;
}

bool Checker::judge_shared(Judgement& j, Cta& target, uint32_t offset, uint32_t bytes, int lane) {
  if (hits_mbarrier(j.w, j.op, lane, target, offset, bytes, j.own)) return false;
  return history_.touch(shared_cells(target), offset, bytes, lane, j) || report_shared(j, target);
}

bool Checker::judge_global(Judgement& j, uint64_t address, uint64_t bytes, int lane) {
  const Allocation* a = grid_.desc.memory->find(address);
  if (!a || a->base == grid_.params) return true;
  GlobalHistory& g = GlobalHistory::get();
  // Words are counted from the allocation's base; ranges never leave it here.
  return g.history().touch(g.cells(*a), address - a->base, std::min(bytes, a->end() - address), lane, j) ||
         report_global(j, *a);
}

bool Checker::report_shared(Judgement& j, const Cta& target) {
  return j.report(history_, fmt::format("shared memory at {:#x} of CTA rank {}", j.conflict_at, target.rank));
}

bool Checker::report_global(Judgement& j, const Allocation& a) {
  return j.report(GlobalHistory::get().history(),
                  fmt::format("global memory at {:#x} (byte {} of allocation {})", a.base + j.conflict_at,
                              j.conflict_at, a.id));
}

// The lanes of a contiguous access in steps of `step` bytes.
static bool touch_parts(History& history, const Cells& cells, uint64_t base, uint32_t total, uint32_t step,
                        uint32_t size, Judgement& j) {
  for (uint32_t i = 0; i < total; i += step)
    if (!history.touch(cells, base + i, step, static_cast<int>(i / size), j)) return false;
  return true;
}

bool Checker::generic(Warp& w, const Op& op, uint32_t lanes, const LaneAccess& at, const Access& access) {
  using Where = LaneAccess::Where;
  if (at.where == Where::local || at.where == Where::constant) return true;
  WarpOrder& o = *w.order;
  const int first = std::countr_zero(lanes);
  const bool global = at.where == Where::global;
  if (!global) keep_small();
  std::unique_lock<std::mutex> lock;
  if (global) lock = std::unique_lock(GlobalHistory::get().lock());
  History& history = global ? GlobalHistory::get().history() : history_;
  // An instruction that repeats within an epoch shares its record.
  const bool repeats =
      o.record_op == &op && o.record_in == &history && o.record_sync == o.sync && o.record_sub == o.sub;
  const Record r = repeats ? history.of(o.record << 5) : generic_record(w, op, access);
  if (!repeats) {
    o.record = history.add(r);
    o.record_op = r.agent == o.agent ? &op : nullptr;
    o.record_in = &history;
    o.record_sync = o.sync;
    o.record_sub = o.sub;
  }
  Judgement j(*this, w, op, r, !global);
  j.record = o.record;
  j.stored = access.stored;
  j.at = &at;
  j.lanes = lanes;

  if (at.contiguous) {
    const uint32_t total = access.size * kLanes;
    Cta* target = global ? nullptr : owner(w, at.host[0]);
    if (!global && target != w.cta && !enter(w, op, first, *target, r)) return false;
    const uint64_t base =
        global ? reinterpret_cast<uint64_t>(at.host[0]) : static_cast<uint64_t>(at.host[0] - target->smem);
    const uint32_t step =
        base % 4 == 0 && access.size < 4 ? 4 : access.size;  // whole words where they can be had
    const bool by_words = base % 4 == 0 && access.size % 4 == 0;
    if (global) {
      const Allocation* a = grid_.desc.memory->find(base);
      if (!a || a->base == grid_.params) return true;
      const Cells cells = GlobalHistory::get().cells(*a);
      return (by_words ? history.touch_lanes(cells, base - a->base, access.size, j)
                       : touch_parts(history, cells, base - a->base, total, step, access.size, j)) ||
             report_global(j, *a);
    }
    if (hits_mbarrier(w, op, first, *target, static_cast<uint32_t>(base), total, r)) return false;
    const Cells cells = shared_cells(*target);
    return (by_words ? history.touch_lanes(cells, base, access.size, j)
                     : touch_parts(history, cells, base, total, step, access.size, j)) ||
           report_shared(j, *target);
  }

  // All in one place, and no mbarriers near.
  const auto touch_each = [&](const Cells& cells, const std::byte* base, auto&& report) {
    while (!history.touch_each(cells, base, at.host, lanes, access.size, j))
      if (!report()) return false;
    return true;
  };
  if (at.low && global) {
    const Allocation* a = grid_.desc.memory->find(reinterpret_cast<uint64_t>(at.low));
    if (!a || a->base == grid_.params) return true;
    return touch_each(GlobalHistory::get().cells(*a), reinterpret_cast<const std::byte*>(a->base),
                      [&] { return report_global(j, *a); });
  }
  if (at.low && at.where == Where::shared) {
    const uint64_t low = static_cast<uint64_t>(at.low - w.cta->smem);
    const CtaOrder& c = ctas_[w.cta->rank];
    if (low >= c.mbarriers_high || low + at.span <= c.mbarriers_low)
      return touch_each(shared_cells(*w.cta), w.cta->smem, [&] { return report_shared(j, *w.cta); });
  }

  // Of lanes that touch one word, the last stands for all: the first is the one that signals alone, as a
  // rule.
  const std::byte* previous = nullptr;
  for (uint32_t rest = lanes; rest; rest &= ~(0x80000000u >> std::countl_zero(rest))) {
    const int lane = 31 - std::countl_zero(rest);
    const std::byte* host = at.host[lane];
    if (host == previous) continue;
    previous = host;
    if (global) {
      if (!judge_global(j, reinterpret_cast<uint64_t>(host), access.size, lane)) return false;
      continue;
    }
    Cta* target = owner(w, host);
    if (!target) {  // a generic address of a lane that names global or local memory
      if (!generic_range(w, op, lane, host, access)) return false;
      continue;
    }
    if (target != w.cta && !enter(w, op, lane, *target, r)) return false;
    if (!judge_shared(j, *target, static_cast<uint32_t>(host - target->smem), access.size, lane))
      return false;
  }
  return true;
}

bool Checker::generic_range(Warp& w, const Op& op, int lane, const std::byte* host, const Access& access) {
  Record r = make_record(w, op, Actor::generic, access.kind, access.size);
  r.strong = access.order != Order::weak || access.kind == AccessKind::atomic;
  r.scope = access.scope;
  w.order->record_op = nullptr;
  if (Cta* target = owner(w, host)) {
    Judgement j(*this, w, op, r, true);
    j.record = history_.add(r);
    if (target != w.cta && !enter(w, op, lane, *target, r)) return false;
    return judge_shared(j, *target, static_cast<uint32_t>(host - target->smem), access.size, lane);
  }
  if (!grid_.desc.memory->find(reinterpret_cast<uint64_t>(host))) return true;  // local memory
  std::lock_guard lock(GlobalHistory::get().lock());
  Judgement j(*this, w, op, r, false);
  j.record = GlobalHistory::get().history().add(r);
  return judge_global(j, reinterpret_cast<uint64_t>(host), access.size, lane);
}

// ---- Asynchronous operations

static Record async_record(Record r, const Checker::Async& a) {
  r.agent = a.agent;
  r.sync = a.number;
  r.sub = 0;
  r.actor = a.actor;
  r.kind = a.kind;
  if (a.kind == AccessKind::atomic) r.strong = true, r.scope = Scope::gpu;
  return r;
}

bool Checker::shared_range(Warp& w, const Op& op, const Async& a, Cta& target, uint32_t offset,
                           uint32_t bytes) {
  if (bytes == 0) return true;
  keep_small();
  Record r = async_record(make_record(w, op, a.actor, a.kind, bytes), a);
  r.stamp = stamp();
  Judgement j(*this, w, op, r, true);
  j.one_lane = true;
  j.record = history_.add(r);
  w.order->record_op = nullptr;
  if (&target != w.cta) {
    // The copy itself is the business of the destination's mbarrier.
    if (!enter(w, op, a.lane, target, make_record(w, op, a.actor, a.kind, bytes), false)) return false;
  }
  return judge_shared(j, target, offset, bytes, a.lane);
}

bool Checker::shared_lanes(Warp& w, const Op& op, const Async& a, uint32_t lanes, const LaneAccess& at) {
  keep_small();
  Record r = async_record(make_record(w, op, a.actor, a.kind, at.size), a);
  r.stamp = stamp();
  Judgement j(*this, w, op, r, true);
  j.record = history_.add(r);
  w.order->record_op = nullptr;
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    Cta* target = owner(w, at.host[lane]);
    if (!judge_shared(j, *target, static_cast<uint32_t>(at.host[lane] - target->smem), at.size, lane))
      return false;
  }
  return true;
}

bool Checker::global_lanes(Warp& w, const Op& op, const Async& a, uint32_t lanes, const LaneAccess& at) {
  std::lock_guard lock(GlobalHistory::get().lock());
  GlobalHistory& g = GlobalHistory::get();
  Record r = async_record(make_record(w, op, a.actor, a.kind, at.size), a);
  r.stamp = stamp();
  Judgement j(*this, w, op, r, false);
  j.record = g.history().add(r);
  w.order->record_op = nullptr;
  if (at.contiguous || at.low) {
    const uint64_t low = reinterpret_cast<uint64_t>(at.contiguous ? at.host[0] : at.low);
    const Allocation* from = grid_.desc.memory->find(low);
    if (!from || from->base == grid_.params) return true;
    const Cells cells = g.cells(*from);
    if (at.contiguous && low % 4 == 0)
      return g.history().touch_lanes(cells, low - from->base, at.size, j) || report_global(j, *from);
    while (!g.history().touch_each(cells, reinterpret_cast<const std::byte*>(from->base), at.host, lanes,
                                   at.size, j))
      if (!report_global(j, *from)) return false;
    return true;
  }
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    if (!judge_global(j, reinterpret_cast<uint64_t>(at.host[lane]), at.size, lane)) return false;
  }
  return true;
}

bool Checker::wgmma_operand(Warp& w, const Op& op, const uint32_t* pieces, uint32_t count) {
  keep_small();
  const Async a{Actor::wgmma, AccessKind::load, wgmma_agent(w), w.order->wgmma_issued, 0};
  Record r = async_record(make_record(w, op, a.actor, a.kind, 16 * count), a);
  r.stamp = stamp_;
  Judgement j(*this, w, op, r, true);
  j.one_lane = true;
  j.record = history_.add(r);
  w.order->record_op = nullptr;
  const Cells cells = shared_cells(*w.cta);
  for (uint32_t i = 0; i < count; ++i)
    if (!history_.touch(cells, pieces[i], 16, 0, j))
      return j.report(history_,
                      fmt::format("shared memory at {:#x} of CTA rank {}", j.conflict_at, w.cta->rank));
  return true;
}

bool Checker::global_range(Warp& w, const Op& op, const Async& a, uint64_t address, uint64_t bytes) {
  if (bytes == 0) return true;
  std::lock_guard lock(GlobalHistory::get().lock());
  Record r = async_record(make_record(w, op, a.actor, a.kind, static_cast<uint32_t>(bytes)), a);
  r.stamp = stamp();
  WarpOrder& o = *w.order;
  if (a.actor == Actor::bulk_store)
    if (const Allocation* to = grid_.desc.memory->find(address); to && to->device != grid_.desc.device)
      bulk_of(w, static_cast<uint32_t>(a.lane)).far = a.number;
  Judgement j(*this, w, op, r, false);
  j.one_lane = true;
  // The rows of one box share a record.
  if (o.record_op == &op && o.record_sync == ~a.number && o.record_sub == ~a.agent) {
    j.record = o.record;
  } else {
    j.record = o.record = GlobalHistory::get().history().add(r);
    o.record_op = &op;
    o.record_sync = ~a.number;
    o.record_sub = ~a.agent;
  }
  return judge_global(j, address, bytes, a.lane);
}

bool Checker::tensor_map(Warp& w, const Op& op, uint64_t address, const Async& a) {
  const Allocation* allocation = grid_.desc.memory->find(address);
  if (!allocation || allocation->base == grid_.params) return true;
  {
    std::lock_guard lock(GlobalHistory::get().lock());
    GlobalHistory& g = GlobalHistory::get();
    const Cells cells = g.cells(*allocation);
    uint32_t seen = 0;
    for (uint64_t at = address - allocation->base, end = at + 128; at < end; at += 4) {
      const uint32_t cell = g.history().written(cells, at, 4);
      if (cell == 0 || cell == seen) continue;
      seen = cell;
      const Record change = g.history().of(cell);
      bool fresh = change.grid != grid_.id;
      if (!fresh)
        if (const auto maps = acquired_maps_.find(address); maps != acquired_maps_.end()) {
          const Clock now = effective(w, a.lane < 0 ? w.live() : 1u << a.lane);
          // Another warp of the CTA may have acquired the map, on the path to here: Triton's first one does
          // it for all.
          for (const auto& warp : w.cta->warps) {
            const uint32_t agent = warp->order->agent;
            const auto it = maps->second.find(agent);
            if (it == maps->second.end()) continue;
            const AcquiredMap& map = it->second;
            const Component *then = map.known.seen.find(agent), *known = now.seen.find(agent);
            if (agent != w.order->agent && !(known && known->includes(*then))) continue;
            const Clock* theirs =
                change.cluster == number_ ? &map.known : map.known.of_cluster(change.cluster);
            fresh |=
                theirs &&
                includes(map.scope, change.cluster, static_cast<int>(change.cta), grid_.desc.device, w) &&
                theirs->fenced_map.covers(change.agent, change.sync, change.sub, cell & 31);
          }
        }
      if (!fresh && reported(Diagnostic::P10)) {
        Finding f;
        f.id = Diagnostic::P10;
        f.kernel = grid_.kernel().name;
        f.what = fmt::format("{}; tensor map at {:#x}", rule(f.id).title, address);
        f.sites[0] = site_of(w, op, a.lane, "uses the tensor map", "tensormap");
        Site& earlier = f.sites[1];
        earlier.cta = change.cta_id;
        earlier.warp = change.warp;
        earlier.lane = static_cast<int>(cell & 31);
        grid_.desc.program->show_line(earlier, change.line);
        earlier.action = "modifies it before";
        earlier.proxy = "generic";
        f.site_count = 2;
        f.missing = fmt::format(
            "fence.proxy.tensormap::generic.release behind line {}, then ::generic.acquire of "
            "[{:#x}], 128 by this warp, both of a scope that includes the other",
            change.line, address);
        grid_.record(Fault(std::move(f)));
        return false;
      }
    }
  }
  Async read = a;
  read.actor = Actor::tensormap;
  read.kind = AccessKind::load;
  return global_range(w, op, read, address, 128);
}

}  // namespace ptxops::virt
