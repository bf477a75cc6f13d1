#include "driver/virtual/check/judgement.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>

#include "driver/virtual/check/global_history.h"

namespace ptxops::virt {
namespace {

bool includes(Scope scope, const Record& a, const Record& b) {
  switch (scope) {
    case Scope::cta:
      return a.cluster == b.cluster && a.cta == b.cta;
    case Scope::cluster:
      return a.cluster == b.cluster;
    default:
      return true;
  }
}

const char* actor_text(const Record& r) {
  const bool load = r.kind == AccessKind::load;
  switch (r.actor) {
    case Actor::generic:
      return load ? "reads" : r.kind == AccessKind::atomic ? "updates" : "writes";
    case Actor::nc_load:
      return "reads by ld.global.nc";
    case Actor::cp_async:
      return load ? "reads by cp.async" : "writes by cp.async";
    case Actor::st_async:
      return "writes by st.async";
    case Actor::bulk_load:
      return "writes by a bulk copy";
    case Actor::bulk_read:
      return "reads by a bulk copy";
    case Actor::bulk_store:
      return r.kind == AccessKind::atomic ? "reduces by a bulk copy" : "writes by a bulk copy";
    case Actor::wgmma:
      return "reads by wgmma";
    case Actor::tensormap:
      return "uses the tensor map";
  }
  return "";
}

std::string_view proxy_of(Actor a) {
  if (a == Actor::tensormap) return "tensormap";
  return is_async_proxy(a) ? "async" : "generic";
}

// Is the load of this line polled: does a branch behind it lead back before it?
bool is_polled(const Code& code, uint32_t line) {
  const isa::Function& f = *code.function;
  constexpr size_t kNear = 12;
  for (size_t i = 0; i < f.instructions.size(); ++i) {
    if (f.instructions[i].line != line) continue;
    for (size_t k = i; k < f.instructions.size() && k < i + kNear; ++k)
      if (f.instructions[k].row().root == "bra" &&
          f.labels[f.instructions[k].operands[0].index].instruction <= i)
        return true;
  }
  return false;
}

// What should stand between the two.
std::string missing_text(Diagnostic id, const Record& earlier, const Record& later) {
  using enum Diagnostic;
  switch (id) {
    case P1:
    case P1C:
    case P2:
    case P3:
    case P5:
    case P6:
      return fmt::format("fence.proxy.async between line {} and line {}, on the path that orders them",
                         earlier.line, later.line);
    case P12:
      return fmt::format("a proxy fence that covers this state space between line {} and line {}",
                         earlier.line, later.line);
    case P7:
    case P8:
      return fmt::format("a wgmma.wait_group that covers line {} before line {}", earlier.line, later.line);
    case P9:
      return fmt::format("cp.async.bulk.wait_group.read behind line {}, by its thread, before line {}",
                         earlier.line, later.line);
    case P4:
    case S1:
      return fmt::format(
          "cp.async.bulk.wait_group (without .read) behind line {}, by its thread, before line {}",
          earlier.line, later.line);
    case A3:
    case B8:
      return fmt::format("a wait on the mbarrier phase that the copy of line {} completes, before line {}",
                         earlier.line, later.line);
    case A7:
      return fmt::format("cp.async.wait_group behind line {} and a barrier before line {}", earlier.line,
                         later.line);
    case C9:
      return "griddepcontrol.wait";
    default:
      return fmt::format("synchronisation between line {} and line {}", earlier.line, later.line);
  }
}

}  // namespace

std::string action_of(const Record& r, const std::string& where) {
  return fmt::format("{} {} bytes of {}", actor_text(r), r.size, where);
}

// Does this st write, for all its lanes, what lies there since the write `r`?
bool Judgement::repeats(const Record& r) const {
  if (!stored || r.kind != AccessKind::store || r.actor != Actor::generic || r.size != own.size) return false;
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const uint32_t lane = static_cast<uint32_t>(std::countr_zero(rest));
    const std::byte* there = at->contiguous ? at->host[0] + lane * own.size : at->host[lane];
    for (uint32_t k = 0; k < stored->count; ++k)
      if (std::memcmp(there + k * stored->size, stored->from[k] + lane * stored->stride, stored->size) != 0)
        return false;
  }
  return true;
}

// Morally strong accesses may race.
bool Judgement::compatible(const Record& r) const {
  if (!r.strong && !own.strong) return !reported(Diagnostic::M1V) && repeats(r);
  if (!r.strong || !own.strong) return false;
  if (!includes(r.scope, r, own) || !includes(own.scope, r, own)) return false;
  return r.size == own.size || (r.kind == AccessKind::atomic && own.kind == AccessKind::atomic &&
                                (is_async_proxy(r.actor) || is_async_proxy(own.actor)));
}

bool Judgement::ordered(const Record& r, uint32_t lane, int my_lane, bool exact, Holds& holds) {
  const WarpOrder& o = *w.order;
  const bool own_warp = r.cluster == own.cluster && r.agent == o.agent;
  if (own.actor == Actor::nc_load && r.kind != AccessKind::load && r.grid == own.grid) {
    why = Why::non_coherent;
    return false;
  }
  // Readers in a set may have been noted for a neighbouring word.
  const bool own_agents = r.cluster == own.cluster && (r.agent == o.strong_agent || r.agent == o.cp_async);
  const uint32_t by = own_agents && !exact && my_lane >= 0 ? static_cast<uint32_t>(my_lane) : lane;
  if (!(own_warp && !exact) && !checker.before(o, r, by, my_lane)) {
    if (compatible(r)) {
      tolerated = true;
      return true;
    }
    why = Why::unordered;
    return false;
  }
  const bool needs_fence =
      is_async_proxy(own.actor) && !is_async_proxy(r.actor) && r.actor != Actor::tensormap &&
      r.grid == own.grid &&  // the end of a grid is a fence
      (r.kind != AccessKind::load || reported(Diagnostic::P6)) &&
      !(own.actor == Actor::wgmma && r.actor == Actor::cp_async && !reported(Diagnostic::P1C));
  if (needs_fence && !checker.fenced(o, r, lane, my_lane, shared)) {
    why = Why::no_fence;
    return false;
  }
  const bool any_of_mine = o.parts.empty() || one_lane || (own_warp && r.sync < o.sync && !needs_fence);
  if (any_of_mine && checker.before(o, r, Component::kEveryLane, my_lane) &&
      (!needs_fence || checker.fenced(o, r, Component::kEveryLane, my_lane, shared)))
    holds = Holds::everywhere;
  else if (own_warp && !needs_fence)
    holds = Holds::same_lane;
  return true;
}

Diagnostic Judgement::diagnose(const Record& r, uint32_t lane) const {
  using enum Diagnostic;
  const WarpOrder& o = *w.order;
  const bool async = is_async_proxy(own.actor);
  if (why == Why::non_coherent) return M7;
  if (why == Why::no_fence) {
    if (checker.fenced(o, r, lane, conflict_lane, !shared)) return P12;
    if (r.kind == AccessKind::load) return P6;
    if (own.actor == Actor::wgmma) return r.actor == Actor::cp_async ? P1C : P1;
    if (own.actor == Actor::bulk_read) return shared ? P2 : P3;
    return P5;
  }
  if (r.grid != own.grid) {
    const uint32_t prerequisite = static_cast<uint32_t>(checker.grid().prerequisite);
    const bool dependent =
        prerequisite != 0 && !GlobalHistory::get().before_dependent(
                                 r.grid, prerequisite, Checker::has_waited_for_grid(o, conflict_lane));
    return dependent ? C9 : M1;
  }
  const auto covered = [&](Flaw flaw) {
    return r.cluster == own.cluster &&
           o.flawed[static_cast<size_t>(flaw)].covers(r.agent, r.sync, r.sub, lane);
  };
  const bool copies = own.actor == Actor::bulk_load || own.actor == Actor::st_async;
  switch (r.actor) {
    case Actor::bulk_load:
    case Actor::st_async:
      // Copies over copies: whoever waited for the earlier one has not said so.
      if (copies && covered(Flaw::relaxed_mbarrier)) return B9;
      if (copies && o.last_wait_stamp > r.stamp) return A5;
      return o.last_wait_stamp > r.stamp ? B8 : A3;
    case Actor::bulk_read:
      if (o.last_group_wait_stamp > r.stamp) return A4;
      return P9;
    case Actor::bulk_store:
      if (o.last_group_wait_stamp > r.stamp && !o.last_group_wait_read) return A4;
      return P4;
    case Actor::wgmma:
      return async ? P7 : P8;
    case Actor::cp_async:
      if (r.kind != AccessKind::load) return A7;
      break;
    case Actor::tensormap:
      return P11;
    default:
      break;
  }
  // Whoever has seen it narrowly may have passed it on.
  for (const auto& seen : checker.warps_) {
    const Clock* narrow = r.cluster == own.cluster ? &seen->narrow : seen->narrow.of_cluster(r.cluster);
    if (narrow && narrow->seen.covers(r.agent, r.sync, r.sub, lane)) return M2;
  }
  if (covered(Flaw::relaxed_mbarrier)) return B9;
  if (covered(Flaw::init_fence)) return C12;
  if (covered(Flaw::relaxed_cluster)) return C5;
  // The other thread came too early: it reads what this copy was to bring.
  if (conflict_fresh && r.kind == AccessKind::load &&
      (own.actor == Actor::bulk_load || own.actor == Actor::st_async))
    return checker.has_waited(r.cta, r.warp) ? B8 : A3;
  if (own.actor == Actor::cp_async && own.kind != AccessKind::load) return A7;
  if (own.actor == Actor::bulk_load || (own.actor == Actor::bulk_store && shared)) return A5;
  if (own.actor == Actor::nc_load || r.actor == Actor::nc_load) return M7;
  if (r.strong && own.strong) return r.size == own.size ? M2 : M5;
  const bool weak_load = own.kind == AccessKind::load && !own.strong && r.strong;
  const bool weak_before = r.kind == AccessKind::load && !r.strong && own.strong;
  if ((weak_load || weak_before) && is_polled(*w.split->frame->code, weak_load ? own.line : r.line))
    return M3;
  if (repeats(r)) return M1V;
  return r.cluster == own.cluster && (r.agent == o.agent || r.agent == o.strong_agent) ? M1W : M1;
}

bool Judgement::report(const History& history, const std::string& where) {
  const Record& r = history.of(conflict);
  const uint32_t lane = conflict & 31;
  Finding f;
  f.id = diagnose(r, lane);
  if (!reported(f.id)) return true;
  const Rule& rule_of = rule(f.id);
  f.kernel = checker.grid().kernel().name;
  f.what = fmt::format("{}; {}", rule_of.title, where);
  f.sites[0] = site_of(w, op, conflict_lane, action_of(own, where), proxy_of(own.actor));
  Site& earlier = f.sites[1];
  f.site_count = 2;
  earlier.warp = r.warp;
  earlier.lane = static_cast<int>(lane);
  earlier.line = r.line;
  earlier.proxy = proxy_of(r.actor);
  earlier.action = action_of(r, where) + " before";
  earlier.cta = r.cta_id;
  if (r.grid == own.grid) {
    checker.grid().desc.program->show_line(earlier, r.line);
  } else {
    earlier.action += " (in another grid)";
  }
  f.missing = r.grid != own.grid && f.id == Diagnostic::M1
                  ? "order between the two grids: one stream, or an event that the second waits for"
                  : missing_text(f.id, r, own);
  checker.grid().record(Fault(std::move(f)));
  return false;
}

}  // namespace ptxops::virt
