// Order: what synchronisation makes known to whom.
#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "driver/virtual/check/checker.h"
#include "driver/virtual/check/global_history.h"
#include "driver/virtual/check/judgement.h"
#include "driver/virtual/memory/memory.h"

namespace ptxops::virt {
namespace {

bool all_lanes(const Warp& w, uint32_t lanes) {
  return (w.live() & ~lanes) == 0;
}

// The warp's own component as of now, for `lanes`; and a new epoch behind it. That all lanes release or fence
// in one instruction does not order them among each other.
Component own_component(const WarpOrder& o, uint32_t lanes) {
  return {o.sync - 1, o.sub, lanes};
}
void advance(WarpOrder& o) {
  ++o.sub;
}

Arrival arrival_of(const Warp& w, const Op& op) {
  return {{w.cta->id.x, w.cta->id.y, w.cta->id.z}, w.id, op.line, 0, {}};
}

uint32_t& lanes_of(std::vector<std::pair<uint32_t, uint32_t>>& threads, uint32_t agent) {
  for (auto& [a, lanes] : threads)
    if (a == agent) return lanes;
  return threads.emplace_back(agent, 0).second;
}

// One of each line, the latest first.
void note_arrival(std::vector<Arrival>& all, const Warp& w, const Op& op) {
  constexpr size_t kMost = 4;
  if (!all.empty() && all.front().line == op.line) return;
  std::erase_if(all, [&](const Arrival& a) { return a.line == op.line; });
  if (all.size() == kMost) all.pop_back();
  all.insert(all.begin(), arrival_of(w, op));
}

}  // namespace

void Checker::merge_parts(WarpOrder& o) {
  for (const auto& p : o.parts) o.clock.join(p.clock);
  o.parts.clear();
}

Clock& Checker::part(WarpOrder& o, uint32_t lanes, uint32_t live) {
  if ((live & ~lanes) == 0) return o.clock;
  for (auto& p : o.parts)
    if (p.lanes == lanes) return p.clock;
  o.parts.push_back({lanes, {}});
  return o.parts.back().clock;
}

// The lanes have been ordered among each other: what each has waited for is known to all.
void Checker::share_copies(WarpOrder& o) {
  o.clock.seen.raise(o.cp_async, {o.cp_waited, 0, 0});
  o.cp_shared = o.cp_waited;
}

// Everything before `lanes`, without their warp's own accesses.
Clock Checker::effective(Warp& w, uint32_t lanes) {
  Clock c = w.order->clock;
  for (const auto& p : w.order->parts)
    if (p.lanes & lanes) c.join(p.clock);
  return c;
}

void Checker::release(Warp& w, uint32_t lanes, Clock& to) {
  WarpOrder& o = *w.order;
  to.join(o.clock);
  for (const auto& p : o.parts)
    if (p.lanes & lanes) to.join(p.clock);
  to.seen.raise(o.agent, own_component(o, lanes));
  if (o.strong_writes) to.seen.raise(o.strong_agent, {o.strong_writes, 0, 0});
  if (o.cp_waited != o.cp_shared) to.seen.raise(o.cp_async, {o.cp_waited - 1, 0, lanes});
  advance(o);
}

std::shared_ptr<const Clock> Checker::released(Warp& w, uint32_t lanes) {
  auto c = std::make_shared<Clock>();
  release(w, lanes, *c);
  return c;
}

void Checker::acquire(Warp& w, uint32_t lanes, const Clock& from) {
  part(*w.order, lanes, w.live()).join(from);
}

void Checker::raise(Warp& w, uint32_t lanes, uint32_t agent, uint32_t number) {
  part(*w.order, lanes, w.live()).seen.raise(agent, {number, 0, 0});
}

// ---- Fences

bool Checker::includes(Scope scope, uint32_t cluster, int cta, int device, const Warp& w) const {
  switch (scope) {
    case Scope::cta:
      return cluster == number_ && cta == static_cast<int>(w.cta->rank);
    case Scope::cluster:
      return cluster == number_;
    case Scope::gpu:
      return device == grid_.desc.device;
    case Scope::sys:
      return true;
  }
  return true;
}

void Checker::fence(Warp& w, uint32_t lanes, Scope scope, bool acquires, bool releases) {
  WarpOrder& o = *w.order;
  const Clock now = acquires ? effective(w, lanes) : Clock{};
  if (!now.observed.empty()) {
    Clock& to = part(o, lanes, w.live());
    const auto covers = [&](const Clock::Observed& seen) {
      return includes(scope, seen.cluster, seen.cta, seen.device, w);
    };
    for (const auto& seen : now.observed) {
      Clock& into = covers(seen) ? to : o.narrow;
      if (seen.cluster != number_)
        into.join_cluster(seen.cluster, seen.clock);
      else
        into.join(*seen.clock);
    }
    std::erase_if(to.observed, covers);
  }
  if (!releases) return;
  o.fence = released(w, lanes);
  o.fence_lanes = lanes;
  o.fence_scope = scope;
  fenced_for_system_ |= scope == Scope::sys;
  if (scope >= Scope::gpu) part(o, lanes, w.live()).fenced_gpu.join(o.fence->seen);
}

void Checker::fence_proxy_async(Warp& w, uint32_t lanes, bool shared, bool global) {
  WarpOrder& o = *w.order;
  Clock now = effective(w, lanes);
  now.seen.raise(o.agent, own_component(o, lanes));
  if (o.strong_writes) now.seen.raise(o.strong_agent, {o.strong_writes, 0, 0});
  if (o.cp_waited != o.cp_shared) now.seen.raise(o.cp_async, {o.cp_waited - 1, 0, lanes});
  advance(o);
  Clock& to = part(o, lanes, w.live());
  if (shared) to.fenced_shared.join(now.seen);
  if (global) {
    to.fenced_global.join(now.seen);
    to.fence_foreign(now.foreign);
  }
}

void Checker::fence_mbarrier_init(Warp& w, uint32_t lanes) {
  WarpOrder& o = *w.order;
  o.inits.raise(o.agent, own_component(o, lanes));
  advance(o);
}

void Checker::release_tensor_map(Warp& w, uint32_t lanes) {
  WarpOrder& o = *w.order;
  Clock now = effective(w, lanes);
  now.seen.raise(o.agent, own_component(o, lanes));
  advance(o);
  part(o, lanes, w.live()).fenced_map.join(now.seen);
}

void Checker::acquire_tensor_map(Warp& w, uint32_t lanes, uint64_t address, Scope scope) {
  Clock now = effective(w, lanes);
  now.seen.raise(w.order->agent, own_component(*w.order, lanes));
  acquired_maps_[address][w.order->agent] = {std::move(now), scope};
  advance(*w.order);
}

void Checker::grid_wait(Warp& w, uint32_t lanes) {
  raise(w, lanes, kPrerequisite, 1);
  if (grid_.prerequisite == 0) return;
  std::lock_guard lock(GlobalHistory::get().lock());
  GlobalHistory::get().wait(static_cast<uint32_t>(grid_.id));
}

// ---- Strong accesses

bool Checker::publish(Warp& w, const Op& op, uint32_t lanes, const LaneAccess& at, const Access& access) {
  WarpOrder& o = *w.order;
  const bool releases = access.order == Order::release || access.order == Order::acq_rel;
  std::shared_ptr<const Clock> clock;
  Scope scope = access.scope;
  if (releases) {
    clock = released(w, lanes);
  } else {
    // A fence before a strong write makes it a release; also fences of other threads that are before this
    // one.
    const Clock now = effective(w, lanes);
    const bool own = o.fence && (o.fence_lanes & lanes);
    if (own) scope = std::min(scope, o.fence_scope);
    // Without any fence only the write itself is published; who only reduces is not worth a clock.
    const bool through = !now.fenced_gpu.empty() && scope >= Scope::gpu;
    if (own || through || access.kind == AccessKind::store || access.returns) {
      auto c = std::make_shared<Clock>();
      if (own) *c = *o.fence;
      if (through) {
        Clock known;
        known.seen = now.fenced_gpu;
        known.foreign = now.foreign;
        c->join(known);
      }
      c->observed.clear();
      c->seen.raise(o.strong_agent, {o.strong_writes, 0, 0});
      clock = c;
    }
  }
  GlobalHistory& g = GlobalHistory::get();
  std::lock_guard lock(g.lock());
  const std::byte* previous = nullptr;
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    if (at.host[lane] == previous) continue;
    previous = at.host[lane];
    const uint64_t address = reinterpret_cast<uint64_t>(previous);
    if (at.where == LaneAccess::Where::global) {
      const Allocation* a = grid_.desc.memory->find(address);
      if (a && a->device != grid_.desc.device) {
        // Without a fence of system scope a narrower one does not make the write a release towards them.
        const bool fenced_narrowly = !releases && scope != Scope::sys && !fenced_for_system_;
        Diagnostic id = access.scope != Scope::sys || fenced_narrowly ? Diagnostic::M4 : Diagnostic::S1;
        bool bad = id == Diagnostic::M4;
        if (!bad)
          for (const auto& b : o.bulk) {
            bool done = b.far == 0 || o.clock.seen.covers(b.writes, b.far, 0, 0);
            for (const auto& p : o.parts) done |= p.clock.seen.covers(b.writes, b.far, 0, 0);
            bad |= !done;
          }
        if (bad && reported(id)) {
          Finding f;
          f.id = id;
          f.kernel = grid_.kernel().name;
          f.what = fmt::format("{}; {} memory of device {}", rule(id).title, a->kind, a->device);
          Record r = make_record(w, op, Actor::generic, access.kind, access.size);
          f.sites[0] =
              site_of(w, op, lane, action_of(r, fmt::format("global memory at {:#x}", address)), "generic");
          f.site_count = 1;
          grid_.record(Fault(std::move(f)));
          return false;
        }
      }
    }
    if (access.kind == AccessKind::store) g.forget_published(address);
    if (!clock) continue;
    auto& all = g.published(address);
    const int cta = static_cast<int>(w.cta->rank);
    const auto mine = std::find_if(all.begin(), all.end(), [&](const auto& p) {
      return p.cluster == number_ && p.cta == cta && p.scope == scope;
    });
    if (mine == all.end()) {
      all.push_back({number_, cta, grid_.desc.device, scope, clock});
    } else {  // a release sequence goes on
      auto both = std::make_shared<Clock>(*mine->clock);
      both->join(*clock);
      mine->clock = both;
    }
  }
  return true;
}

bool Checker::observe(Warp& w, const Op& op, uint32_t lanes, const LaneAccess& at, const Access& access) {
  WarpOrder& o = *w.order;
  if (access.scope != Scope::sys && at.where == LaneAccess::Where::global && reported(Diagnostic::M4)) {
    const int lane = std::countr_zero(lanes);
    const uint64_t address = reinterpret_cast<uint64_t>(at.host[lane]);
    const Allocation* a = grid_.desc.memory->find(address);
    if (a && a->device != grid_.desc.device) {
      Finding f;
      f.id = Diagnostic::M4;
      f.kernel = grid_.kernel().name;
      f.what = fmt::format(
          "a flag in host or peer memory is polled with a scope narrower than .sys; {} memory of device {}",
          a->kind, a->device);
      const Record r = make_record(w, op, Actor::generic, access.kind, access.size);
      f.sites[0] =
          site_of(w, op, lane, action_of(r, fmt::format("global memory at {:#x}", address)), "generic");
      f.site_count = 1;
      grid_.record(Fault(std::move(f)));
      return false;
    }
  }
  const bool acquires = access.order == Order::acquire || access.order == Order::acq_rel;
  GlobalHistory& g = GlobalHistory::get();
  std::lock_guard lock(g.lock());
  const std::byte* previous = nullptr;
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    if (at.host[lane] == previous) continue;
    previous = at.host[lane];
    const uint64_t address = reinterpret_cast<uint64_t>(previous);
    const GlobalHistory::Published* published = g.find_published(address);
    if (!published) continue;
    const WarpOrder::Poll poll{address, published->version, lanes, access.scope, acquires};
    if (poll == o.poll) continue;
    o.poll = poll;
    for (const auto& p : published->all) {
      const Scope scope = std::min(p.scope, access.scope);
      if (!includes(scope, p.cluster, p.cta, p.device, w)) {
        if (p.cluster == number_)
          o.narrow.join(*p.clock);
        else
          o.narrow.join_cluster(p.cluster, p.clock);
        continue;
      }
      if (acquires) {
        Clock& to = part(o, lanes, w.live());
        if (p.cluster != number_)
          to.join_cluster(p.cluster, p.clock);
        else
          to.join(*p.clock);
        continue;
      }
      part(o, lanes, w.live()).observe({p.cluster, p.cta, p.device, p.clock});
    }
  }
  return true;
}

// ---- Barriers

void Checker::barrier_arrive(Warp& w, uint32_t lanes, BarrierOrder& b, bool relaxed) {
  WarpOrder& o = *w.order;
  if (relaxed) {
    b.relaxed.join(effective(w, lanes).seen);
    b.relaxed.raise(o.agent, own_component(o, lanes));
    b.inits.join(o.inits);
    if (o.fence && (o.fence_lanes & lanes))
      b.clock.join(*o.fence);  // a fence before a relaxed arrive releases
    return;
  }
  release(w, lanes, b.clock);
  if (!all_lanes(w, lanes)) return;
  // The whole warp arrives as one.
  b.clock.seen.raise(o.agent, {o.sync, 0, 0});
  warp_sync(o);
}

void Checker::barrier_leave(Warp& w, uint32_t lanes, const BarrierOrder& b, bool relaxed) {
  WarpOrder& o = *w.order;
  if (relaxed) {
    o.flawed[static_cast<size_t>(Flaw::relaxed_cluster)].join(b.clock.seen);
  } else {
    acquire(w, lanes, b.clock);
  }
  if (!b.relaxed.empty()) {
    o.flawed[static_cast<size_t>(b.inits.empty() ? Flaw::relaxed_cluster : Flaw::init_fence)].join(b.relaxed);
    // Starting is visible all the same: the peer has arrived.
    o.flawed[static_cast<size_t>(Flaw::relaxed_cluster)].join(b.relaxed);
  }
  o.inits.join(b.inits);
}

bool Checker::named_arrive(Warp& w, const Op& op, uint32_t lanes, uint32_t id) {
  WarpOrder& o = *w.order;
  CtaOrder::Named& b = ctas_[w.cta->rank].named[id];
  const auto knows = [&](const Arrival& a) {
    if (a.agent == o.agent) return true;
    const auto covers = [&](const Clock& c) {
      return a.at.mask ? c.seen.covers(a.agent, a.at.sync + 1, a.at.sub,
                                       static_cast<uint32_t>(std::countr_zero(a.at.mask)))
                       : c.seen.covers(a.agent, a.at.sync, 0, 0);
    };
    if (covers(o.clock)) return true;
    return std::any_of(o.parts.begin(), o.parts.end(),
                       [&](const auto& p) { return (p.lanes & lanes) && covers(p.clock); });
  };
  const auto unknown = std::find_if_not(b.completing.begin(), b.completing.end(), knows);
  if (unknown != b.completing.end() && reported(Diagnostic::C13)) {
    Finding f;
    f.id = Diagnostic::C13;
    f.kernel = grid_.kernel().name;
    f.what = fmt::format("{}; barrier {} of CTA rank {}", rule(f.id).title, id, w.cta->rank);
    f.sites[0] = site_of(w, op, -1, "arrives", "");
    f.sites[1] = site_of_arrival(*unknown, "arrived in the phase before");
    f.site_count = 2;
    f.missing =
        fmt::format("synchronisation between the completion of line {} and line {}", unknown->line, op.line);
    grid_.record(Fault(std::move(f)));
    return false;
  }
  b.arrivals.push_back({{w.cta->id.x, w.cta->id.y, w.cta->id.z},
                        w.id,
                        op.line,
                        o.agent,
                        all_lanes(w, lanes) ? Component{o.sync, 0, 0} : own_component(o, lanes)});
  return true;
}

void Checker::named_completed(const Cta& cta, uint32_t id) {
  CtaOrder::Named& b = ctas_[cta.rank].named[id];
  std::swap(b.arrivals, b.completing);
  b.arrivals.clear();
}

Site Checker::site_of_arrival(const Arrival& a, const char* action) const {
  Site s;
  s.cta = a.cta_id;
  s.warp = static_cast<int>(a.warp);
  grid_.desc.program->show_line(s, a.line);
  s.action = action;
  return s;
}

// ---- mbarriers

MbarrierOrder& Checker::mbarrier(const Cta& target, uint32_t offset) {
  return ctas_[target.rank].mbarriers[offset];
}

bool Checker::mbarrier_init(Warp& w, const Op& op, int lane, uint32_t offset) {
  CtaOrder& c = ctas_[w.cta->rank];
  MbarrierOrder& m = c.mbarriers[offset];
  const uint32_t agent = new_agent();
  m = MbarrierOrder{};
  m.agent = agent;
  m.init = make_record(w, op, Actor::generic, AccessKind::store, 8);
  Judgement j(*this, w, op, m.init, true);
  j.record = history_.add(m.init);
  w.order->record_op = nullptr;
  if (!history_.touch(shared_cells(*w.cta), offset, 8, lane, j) &&
      !j.report(history_, fmt::format("shared memory at {:#x} of CTA rank {}", offset, w.cta->rank)))
    return false;
  m.init_lane = static_cast<uint32_t>(lane);
  c.mbarriers_low = std::min(c.mbarriers_low, offset);
  c.mbarriers_high = std::max(c.mbarriers_high, offset + 8);
  return true;
}

bool Checker::mbarrier_use(Warp& w, const Op& op, int lane, Cta& target, uint32_t offset, bool visits) {
  MbarrierOrder& m = mbarrier(target, offset);
  const WarpOrder& o = *w.order;
  if (!before(o, m.init, m.init_lane, lane) &&
      !o.inits.covers(m.init.agent, m.init.sync, m.init.sub, m.init_lane) && reported(Diagnostic::B1)) {
    Finding f;
    f.id = Diagnostic::B1;
    f.kernel = grid_.kernel().name;
    f.what = fmt::format(
        "the initialisation of the mbarrier at {:#x} of CTA rank {} is not visible to this thread", offset,
        target.rank);
    f.sites[0] = site_of(w, op, lane, "uses the mbarrier", "generic");
    Site& init = f.sites[1];
    init.cta = {target.id.x, target.id.y, target.id.z};
    init.warp = m.init.warp;
    init.lane = static_cast<int>(m.init_lane);
    grid_.desc.program->show_line(init, m.init.line);
    init.action = "initialises it";
    f.site_count = 2;
    f.missing =
        fmt::format("a barrier (in a cluster with fence.mbarrier_init before) between line {} and line {}",
                    m.init.line, op.line);
    grid_.record(Fault(std::move(f)));
    return false;
  }
  if (&target == w.cta || !visits) return true;
  ctas_[target.rank].visitors[o.agent] = {make_record(w, op, Actor::generic, AccessKind::atomic, 8),
                                          static_cast<uint32_t>(lane < 0 ? 0 : lane)};
  return true;
}

void Checker::report_unobserved(Diagnostic id, const std::string& event, Cta& target, uint32_t offset,
                                uint64_t phase, Site site) {
  const MbarrierOrder& m = mbarrier(target, offset);
  Finding f;
  f.id = id;
  f.kernel = grid_.kernel().name;
  f.what =
      fmt::format("{} of the mbarrier at {:#x} of CTA rank {}; nobody observed that phase {} was complete",
                  event, offset, target.rank, phase - 1);
  f.missing =
      fmt::format("a successful test_wait or try_wait of phase {} before line {}", phase - 1, site.line);
  f.sites[0] = std::move(site);
  f.site_count = 1;
  // Either the wait is missing, or an arrival too many completed the phase.
  for (const Arrival& a : m.completing) {
    f.what += fmt::format("; warp {} arrived in phase {} at line {}", a.warp, phase - 1, a.line);
    if (f.site_count == 1) f.sites[f.site_count++] = site_of_arrival(a, "arrived in the phase before");
  }
  grid_.record(Fault(std::move(f)));
}

bool Checker::mbarrier_arrive(Warp& w, const Op& op, int lane, Cta& target, uint32_t offset, bool relaxed,
                              uint64_t phase) {
  MbarrierOrder& m = mbarrier(target, offset);
  const uint32_t lanes = lane < 0 ? w.live() : 1u << lane;
  if (phase > m.observed) {
    // Who has arrived in the phase before is a round ahead; another's arrival is left over from it.
    const bool ahead = (lanes & ~lanes_of(m.arrived_before, w.order->agent)) == 0;
    const Diagnostic id = ahead ? Diagnostic::B7P : Diagnostic::B7;
    if (reported(id)) {
      report_unobserved(id, fmt::format("arrival in phase {}", phase), target, offset, phase,
                        site_of(w, op, lane, "arrives", "generic"));
      return false;
    }
    if (!m.early) m.early = arrival_of(w, op);
  }
  note_arrival(m.arrivals, w, op);
  lanes_of(m.arrived, w.order->agent) |= lanes;
  if (relaxed) {
    m.relaxed_arriving.join(effective(w, lanes).seen);
    m.relaxed_arriving.raise(w.order->agent, own_component(*w.order, lanes));
    if (w.order->fence && (w.order->fence_lanes & lanes)) m.arriving.join(*w.order->fence);
    return true;
  }
  release(w, lanes, m.arriving);
  return true;
}

void Checker::mbarrier_copy_issued(Warp& w, const Op& op, Cta& target, uint32_t offset, uint64_t phase) {
  MbarrierOrder& m = mbarrier(target, offset);
  if (m.loads <= phase) {
    m.loads = phase + 1;
    m.load_line = op.line;
    m.load_warp = w.id;
  }
}

// Is one of the arrivals of `phase` behind somebody who observed that the phase before was complete, not just
// later this time? That is not asked where knowledge may come without being published: through copies that
// the observer issued, to other CTAs or with arrivals of their own, and through relaxed arrivals.
bool Checker::behind_observers(const MbarrierOrder& m, uint64_t phase) const {
  if (phase == 0 || phase < m.observed || cluster_.ctas.size() > 1 || !m.relaxed_arriving.empty())
    return true;
  const auto by_copies = [](const auto& o) { return o->cp_sealed != 0; };
  if (std::any_of(warps_.begin(), warps_.end(), by_copies)) return true;
  return std::any_of(m.observers.begin(), m.observers.end(), [&](const MbarrierOrder::Observer& by) {
    const Component* k = m.arriving.seen.find(by.agent);
    return k &&
           (by.at.sync < k->sync || (by.at.sync == k->sync && by.at.sub <= k->sub && (k->mask & by.at.mask)));
  });
}

bool Checker::mbarrier_completed(Warp& w, const Op& op, int lane, Cta& target, uint32_t offset,
                                 uint64_t phase) {
  MbarrierOrder& m = mbarrier(target, offset);
  const bool observed = phase <= m.observed;
  if ((!observed || !behind_observers(m, phase)) && reported(Diagnostic::B7)) {
    report_unobserved(
        Diagnostic::B7,
        fmt::format("completion of phase {}{}", phase, observed ? ", in another schedule," : ""), target,
        offset, phase,
        m.early ? site_of_arrival(*m.early, "arrives") : site_of(w, op, lane, "arrives", "generic"));
    return false;
  }
  m.early.reset();
  m.arriving.seen.raise(m.agent, {static_cast<uint32_t>(phase + 1), 0, 0});
  std::swap(m.completed, m.arriving);
  std::swap(m.relaxed_completed, m.relaxed_arriving);
  std::swap(m.completing, m.arrivals);
  m.arrivals.clear();
  std::swap(m.arrived_before, m.arrived);
  m.arrived.clear();
  m.arriving = Clock{};
  m.relaxed_arriving.clear();
  return true;
}

bool Checker::mbarrier_observed(Warp& w, const Op& op, uint32_t lanes, uint32_t offset, bool relaxed,
                                uint64_t phase) {
  MbarrierOrder& m = mbarrier(*w.cta, offset);
  WarpOrder& o = *w.order;
  if (reported(Diagnostic::B6P)) {
    // Phases up to the known one, exclusive, were observed; the next two have different parities.
    uint64_t& known = o.phases[offset];
    if (phase >= known + 2) {
      Finding f;
      f.id = Diagnostic::B6P;
      f.kernel = grid_.kernel().name;
      f.what = fmt::format(
          "the wait is answered by phase {} of the mbarrier at {:#x}; this warp has observed {} phases",
          phase, offset, known);
      f.sites[0] = site_of(w, op, std::countr_zero(lanes), "waits", "generic");
      f.site_count = 1;
      grid_.record(Fault(std::move(f)));
      return false;
    }
    known = phase + 1;
  }
  if (relaxed)
    o.flawed[static_cast<size_t>(Flaw::relaxed_mbarrier)].join(m.completed.seen);
  else
    acquire(w, lanes, m.completed);
  if (!m.relaxed_completed.empty())
    o.flawed[static_cast<size_t>(Flaw::relaxed_mbarrier)].join(m.relaxed_completed);
  if (phase + 1 > m.observed) {
    m.observed = phase + 1;
    m.observers.clear();
  }
  if (phase + 1 == m.observed && phase + 1 != 0) {
    const auto mine = std::find_if(m.observers.begin(), m.observers.end(),
                                   [&](const auto& by) { return by.agent == o.agent; });
    if (mine == m.observers.end()) m.observers.push_back({o.agent, own_component(o, lanes)});
  }
  o.last_wait_stamp = stamp();
  return true;
}

void Checker::mbarrier_cp_async(Warp& w, const Op& op, int lane, Cta& target, uint32_t offset,
                                uint32_t number) {
  MbarrierOrder& m = mbarrier(target, offset);
  note_arrival(m.arrivals, w, op);
  if (number) m.arriving.seen.raise(cp_async_agent(w), {number - 1, 0, 1u << lane});
}

// ---- Groups

WarpOrder::Bulk& Checker::bulk_of(Warp& w, uint32_t lane) {
  for (auto& b : w.order->bulk)
    if (b.lane == lane) return b;
  const uint32_t reads = new_agent(), writes = new_agent();
  w.order->bulk.push_back({lane, reads, writes});
  return w.order->bulk.back();
}

void Checker::bulk_done(Warp& w, uint32_t lane, uint32_t number, bool read_only) {
  const WarpOrder::Bulk& b = bulk_of(w, lane);
  raise(w, 1u << lane, b.reads, number);
  if (!read_only) raise(w, 1u << lane, b.writes, number);
}

uint32_t Checker::cp_async_agent(Warp& w) {
  if (!w.order->cp_async) w.order->cp_async = new_agent();
  return w.order->cp_async;
}

// Each lane knows of its own copies.
void Checker::cp_async_done(Warp& w, uint32_t lanes, uint32_t number) {
  WarpOrder& o = *w.order;
  if (all_lanes(w, lanes))
    o.cp_waited = std::max(o.cp_waited, number);
  else
    part(o, lanes, w.live()).seen.raise(cp_async_agent(w), {number - 1, 0, lanes});
}

uint32_t Checker::wgmma_agent(Warp& w) {
  if (!w.order->wgmma) w.order->wgmma = new_agent();
  return w.order->wgmma;
}

void Checker::wgmma_commit(Warp& w) {
  WarpOrder& o = *w.order;
  o.wgmma_groups.push_back(o.wgmma_issued);
  o.wgmma_committed = o.wgmma_issued;
}

void Checker::wgmma_wait(Warp& w, uint32_t newest) {
  WarpOrder& o = *w.order;
  o.wgmma_waited_at = o.wgmma_issued;
  while (o.wgmma_groups.size() > newest) {
    o.wgmma_done = o.wgmma_groups.front();
    o.wgmma_groups.erase(o.wgmma_groups.begin());
  }
  // The warps of a warpgroup number the same wgmmas alike, and one's wait is for all parts of them.
  for (uint32_t i = w.id & ~3u; o.wgmma_done && i <= (w.id | 3); ++i)
    raise(w, kAllLanes, wgmma_agent(*w.cta->warps[i]), o.wgmma_done);
}

// ---- Exits

bool Checker::warp_exit(Warp& w, const Op& op) {
  const WarpOrder& o = *w.order;
  if (o.wgmma_issued > o.wgmma_committed && reported(Diagnostic::W3)) {
    Finding f;
    f.id = Diagnostic::W3;
    f.kernel = grid_.kernel().name;
    f.what = "the warp exits with a wgmma that was never committed to a group";
    f.sites[0] = site_of(w, op, -1, "exits", "");
    f.site_count = 1;
    if (o.wgmma_op) f.sites[f.site_count++] = site_of(w, *o.wgmma_op, -1, "issues the wgmma", "async");
    f.missing = "wgmma.commit_group and wgmma.wait_group";
    grid_.record(Fault(std::move(f)));
    return false;
  }
  if (reported(Diagnostic::A8S))
    for (const auto& b : o.bulk) {
      bool done = o.clock.seen.covers(b.reads, b.issued, 0, 0);
      for (const auto& p : o.parts) done |= p.clock.seen.covers(b.reads, b.issued, 0, 0);
      if (done) continue;
      Finding f;
      f.id = Diagnostic::A8S;
      f.kernel = grid_.kernel().name;
      f.what = rule(f.id).title;
      f.sites[0] = site_of(w, op, static_cast<int>(b.lane), "exits", "");
      f.site_count = 1;
      if (b.op)
        f.sites[f.site_count++] =
            site_of(w, *b.op, static_cast<int>(b.lane), "issues the latest bulk store", "async");
      grid_.record(Fault(std::move(f)));
      return false;
    }
  return true;
}

// All warps of a warpgroup have executed the same setmaxnreg instructions.
bool Checker::warpgroups_agree(const Cta& cta) {
  if (!reported(Diagnostic::C8)) return true;
  for (size_t first = 0; first < cta.warps.size(); first += 4) {
    const size_t end = std::min(first + 4, cta.warps.size());
    size_t most = first;
    for (size_t i = first; i < end; ++i)
      if (cta.warps[i]->order->setmaxnregs > cta.warps[most]->order->setmaxnregs) most = i;
    for (size_t i = first; i < end; ++i) {
      const uint32_t executed = cta.warps[i]->order->setmaxnregs;
      Warp& w = *cta.warps[most];
      if (executed == w.order->setmaxnregs) continue;
      Finding f;
      f.id = Diagnostic::C8;
      f.kernel = grid_.kernel().name;
      f.what = fmt::format(
          "warp {} executed setmaxnreg {} times, warp {} of its warpgroup {} times: all four warps "
          "must execute the same",
          most, w.order->setmaxnregs, i, executed);
      f.sites[0] = site_of(w, *w.order->setmaxnreg_op, -1, "executes the latest", "");
      f.site_count = 1;
      grid_.record(Fault(std::move(f)));
      return false;
    }
  }
  return true;
}

bool Checker::cta_exit(Warp& last, const Op& op) {
  Cta& cta = *last.cta;
  CtaOrder& c = ctas_[cta.rank];
  Clock known;
  for (const auto& w : cta.warps) {
    known.join(w->order->clock);
    for (const auto& p : w->order->parts) known.join(p.clock);
  }
  const auto exits = [&](Diagnostic id, std::string what, std::string missing) {
    Finding f;
    f.id = id;
    f.kernel = grid_.kernel().name;
    f.what = std::move(what);
    f.missing = std::move(missing);
    f.sites[0] = site_of(last, op, -1, "exits, the last of its CTA", "");
    f.site_count = 1;
    return f;
  };
  if (reported(Diagnostic::A8)) {
    for (const auto& [offset, m] : c.mbarriers) {
      if (m.loads <= m.observed) continue;
      Finding f = exits(
          Diagnostic::A8,
          fmt::format("the CTA exits although phase {} of the mbarrier at {:#x}, which copies signal, was "
                      "never observed",
                      m.loads - 1, offset),
          fmt::format("a wait for the copy of line {}", m.load_line));
      Site& load = f.sites[f.site_count++];
      load.cta = {cta.id.x, cta.id.y, cta.id.z};
      load.warp = static_cast<int>(m.load_warp);
      grid_.desc.program->show_line(load, m.load_line);
      load.action = "issues the latest copy";
      load.proxy = "async";
      grid_.record(Fault(std::move(f)));
      return false;
    }
    for (const auto& w : cta.warps) {
      const WarpOrder& o = *w->order;
      const Component* cp = o.cp_issued ? known.seen.find(o.cp_async) : nullptr;
      if (o.cp_waited == o.cp_issued ||
          (cp && (cp->sync >= o.cp_issued || (cp->sync + 1 == o.cp_issued && cp->mask))))
        continue;
      grid_.record(Fault(
          exits(Diagnostic::A8,
                fmt::format("the CTA exits although warp {} has not waited for its latest cp.async", w->id),
                "cp.async.wait_all")));
      return false;
    }
  }
  if (!warpgroups_agree(cta)) return false;
  if (reported(Diagnostic::C6))
    for (const auto& [agent, visit] : c.visitors) {
      const auto& [r, lane] = visit;
      if (known.seen.covers(r.agent, r.sync, r.sub, lane)) continue;
      Finding f = exits(
          Diagnostic::C6,
          fmt::format("CTA rank {} exits although an access of CTA rank {} to its shared memory may still "
                      "come",
                      cta.rank, r.cta),
          fmt::format("a cluster barrier behind line {} and before the exit", r.line));
      Site& visitor = f.sites[f.site_count++];
      visitor.cta = r.cta_id;
      visitor.warp = r.warp;
      visitor.lane = static_cast<int>(lane);
      grid_.desc.program->show_line(visitor, r.line);
      visitor.action = action_of(r, "the exiting CTA's shared memory");
      visitor.proxy = "generic";
      grid_.record(Fault(std::move(f)));
      return false;
    }
  return true;
}

}  // namespace ptxops::virt
