// Vector clocks. An agent is a warp, or a kind of asynchronous operation of one warp, lane or mbarrier:
// whatever performs accesses of its own. A clock says, for each agent of a cluster, which of its accesses lie
// causally before.
//
// A warp is one agent for its 32 lanes. Its time has two hands: `sync` counts what orders all its lanes among
// each other (warp collectives, instructions that are .sync.aligned), `sub` the releases by a part of the
// lanes in between. An access carries both and its lane. A component covers all accesses up to `sync`, and of
// those behind it the ones by lanes of `mask` up to `sub`. Of the other agents, `sync` numbers the
// operations.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace ptxops::virt {

struct Component {
  uint32_t sync = 0, sub = 0, mask = 0;

  static constexpr uint32_t kEveryLane = 32;  // asks for all lanes of the access
  bool covers(uint32_t at_sync, uint32_t at_sub, uint32_t lane) const {
    if (at_sync <= sync) return true;
    return at_sync == sync + 1 && at_sub <= sub && (lane == kEveryLane ? mask == ~0u : mask >> lane & 1);
  }
  bool includes(const Component& o) const {
    return o.sync < sync || (o.sync == sync && o.sub <= sub && !(o.mask & ~mask));
  }
  // The masks' union with the later `sub` may cover a little too much where two parts of a warp release
  // apart: a race may be missed there, none is invented.
  void join(const Component& o) {
    if (o.sync > sync) {
      *this = o;
    } else if (o.sync == sync) {
      sub = std::max(sub, o.sub);
      mask |= o.mask;
    }
  }
};

class VectorClock {
 public:
  bool empty() const { return components_.empty(); }
  bool covers(uint32_t agent, uint32_t sync, uint32_t sub, uint32_t lane) const {
    return agent < components_.size() && components_[agent].covers(sync, sub, lane);
  }
  const Component* find(uint32_t agent) const {
    return agent < components_.size() ? &components_[agent] : nullptr;
  }
  void raise(uint32_t agent, const Component& to) {
    if (agent >= components_.size()) components_.resize(agent + 1);
    components_[agent].join(to);
  }
  void join(const VectorClock& o) {
    if (o.components_.size() > components_.size()) components_.resize(o.components_.size());
    for (size_t i = 0; i < o.components_.size(); ++i) components_[i].join(o.components_[i]);
  }
  bool includes(const VectorClock& o) const {
    for (size_t i = 0; i < o.components_.size(); ++i)
      if (!(i < components_.size() ? components_[i] : Component{}).includes(o.components_[i])) return false;
    return true;
  }
  void clear() { components_.clear(); }

 private:
  std::vector<Component> components_;
};

struct Clock;
// What is known of other clusters: by their number, ascending.
using Foreign = std::vector<std::pair<uint32_t, std::shared_ptr<const Clock>>>;

// All joins look first: who polls sees the same clocks again and again, and nothing is to be copied then.
struct Clock {
  VectorClock seen;           // causally before
  VectorClock fenced_shared;  // and followed by a generic-async proxy fence on the way, for shared memory
  VectorClock fenced_global;  // the same for global memory
  VectorClock
      fenced_gpu;  // and followed by a fence of gpu or system scope on the way: what a strong write publishes
  VectorClock fenced_map;  // and followed by a release of fence.proxy.tensormap
  std::shared_ptr<const Foreign> foreign;
  std::shared_ptr<const Foreign> fenced_foreign;  // of these, what a generic-async proxy fence has followed
  // Clocks that strong reads have seen published, and by whom: a fence on the way acquires them.
  struct Observed {
    uint32_t cluster;
    int cta, device;
    std::shared_ptr<const Clock> clock;
    bool operator==(const Observed&) const = default;
  };
  std::vector<Observed> observed;

  void observe(const Observed& o) {
    if (std::find(observed.begin(), observed.end(), o) != observed.end()) return;
    observed.push_back(o);
    if (observed.size() > most_observed_) merge_observed();
  }
  void join(const Clock& o) {
    seen.join(o.seen);
    if (!o.fenced_shared.empty()) fenced_shared.join(o.fenced_shared);
    if (!o.fenced_global.empty()) fenced_global.join(o.fenced_global);
    if (!o.fenced_gpu.empty()) fenced_gpu.join(o.fenced_gpu);
    if (!o.fenced_map.empty()) fenced_map.join(o.fenced_map);
    for (const Observed& x : o.observed) observe(x);
    join_foreign(foreign, o.foreign);
    fence_foreign(o.fenced_foreign);
  }
  // Joins what cluster `number` has published. Who holds that very clock has joined what it knows of others,
  // too.
  void join_cluster(uint32_t number, const std::shared_ptr<const Clock>& clock) {
    if (of_cluster(number) == clock.get()) return;
    join_foreign(foreign, std::make_shared<Foreign>(Foreign{{number, clock}}));
    join_foreign(foreign, clock->foreign);
    fence_foreign(clock->fenced_foreign);
  }
  // A proxy fence has followed `these`.
  void fence_foreign(const std::shared_ptr<const Foreign>& these) { join_foreign(fenced_foreign, these); }
  static const Clock* find(const std::shared_ptr<const Foreign>& all, uint32_t number) {
    if (!all) return nullptr;
    const auto at = std::lower_bound(all->begin(), all->end(), number,
                                     [](const auto& entry, uint32_t n) { return entry.first < n; });
    return at != all->end() && at->first == number ? at->second.get() : nullptr;
  }
  const Clock* of_cluster(uint32_t number) const { return find(foreign, number); }

 private:
  // Of another cluster: is all of `o` in this?
  bool knows(const Clock& o) const {
    return this == &o || (seen.includes(o.seen) && fenced_shared.includes(o.fenced_shared) &&
                          fenced_global.includes(o.fenced_global) && fenced_map.includes(o.fenced_map));
  }
  static bool knows(const Foreign& mine, const Foreign& theirs) {
    auto at = mine.begin();
    for (const auto& [number, clock] : theirs) {
      while (at != mine.end() && at->first < number) ++at;
      if (at == mine.end() || at->first != number || !at->second->knows(*clock)) return false;
    }
    return true;
  }
  bool includes(const Clock& o) const {
    return knows(o) && fenced_gpu.includes(o.fenced_gpu) && (o.observed.empty() || o.observed == observed) &&
           known(o.foreign, foreign) && known(o.fenced_foreign, fenced_foreign);
  }
  static bool known(const std::shared_ptr<const Foreign>& theirs,
                    const std::shared_ptr<const Foreign>& mine) {
    return !theirs || theirs == mine || (mine && knows(*mine, *theirs));
  }

  static void join_foreign(std::shared_ptr<const Foreign>& mine,
                           const std::shared_ptr<const Foreign>& theirs) {
    if (!theirs || theirs == mine) return;
    if (!mine) {
      mine = theirs;
      return;
    }
    if (knows(*mine, *theirs)) return;
    auto merged = std::make_shared<Foreign>();
    auto at = mine->begin();
    for (const auto& entry : *theirs) {
      while (at != mine->end() && at->first < entry.first) merged->push_back(*at++);
      if (at == mine->end() || at->first != entry.first || entry.second->knows(*at->second)) {
        if (at != mine->end() && at->first == entry.first) ++at;
        merged->push_back(entry);
        continue;
      }
      merged->push_back(*at++);
      if (merged->back().second->knows(*entry.second)) continue;
      auto both = std::make_shared<Clock>(*merged->back().second);
      both->foreign = both->fenced_foreign = nullptr;
      both->seen.join(entry.second->seen);
      both->fenced_shared.join(entry.second->fenced_shared);
      both->fenced_global.join(entry.second->fenced_global);
      both->fenced_map.join(entry.second->fenced_map);
      merged->back().second = std::move(both);
    }
    merged->insert(merged->end(), at, mine->end());
    mine = std::move(merged);
  }

  // Long chains of relaxed atomics (histograms) observe without end: what one cluster published is then
  // joined, as a fence would do.
  void merge_observed() {
    std::vector<Observed> merged;
    std::vector<std::shared_ptr<Clock>> joined;  // the merged ones that are copies
    for (const Observed& x : observed) {
      size_t i = 0;
      while (i < merged.size() && (merged[i].cluster != x.cluster || merged[i].cta != x.cta)) ++i;
      if (i == merged.size()) {
        merged.push_back(x);
        joined.push_back(nullptr);
      } else if (x.clock->includes(*merged[i].clock)) {
        merged[i] = x;
        joined[i] = nullptr;
      } else if (!merged[i].clock->includes(*x.clock)) {
        if (!joined[i]) merged[i].clock = joined[i] = std::make_shared<Clock>(*merged[i].clock);
        joined[i]->join(*x.clock);
      }
    }
    observed = std::move(merged);
    most_observed_ = std::max(kMostObserved, 2 * observed.size());
  }

  static constexpr size_t kMostObserved = 32;
  size_t most_observed_ = kMostObserved;
};

}  // namespace ptxops::virt
