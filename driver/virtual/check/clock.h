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
  void clear() { components_.clear(); }

 private:
  std::vector<Component> components_;
};

struct Clock;
// What is known of other clusters: by their number.
using Foreign = std::vector<std::pair<uint32_t, std::shared_ptr<const Clock>>>;

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

  // Long chains of relaxed atomics (histograms) observe without end: what one cluster published is then
  // joined, as a fence would do.
  static constexpr size_t kMostObserved = 32;
  void observe(const Observed& o) {
    if (std::find(observed.begin(), observed.end(), o) != observed.end()) return;
    if (observed.size() < kMostObserved) {
      observed.push_back(o);
      return;
    }
    std::vector<Observed> merged;
    std::vector<std::shared_ptr<Clock>> joined;
    observed.push_back(o);
    for (const Observed& x : observed) {
      size_t i = 0;
      while (i < merged.size() && (merged[i].cluster != x.cluster || merged[i].cta != x.cta)) ++i;
      if (i == merged.size()) {
        joined.push_back(std::make_shared<Clock>(*x.clock));
        merged.push_back({x.cluster, x.cta, x.device, joined.back()});
      } else {
        joined[i]->join(*x.clock);
      }
    }
    observed = std::move(merged);
  }
  void join(const Clock& o) {
    seen.join(o.seen);
    if (!o.fenced_shared.empty()) fenced_shared.join(o.fenced_shared);
    if (!o.fenced_global.empty()) fenced_global.join(o.fenced_global);
    if (!o.fenced_gpu.empty()) fenced_gpu.join(o.fenced_gpu);
    if (!o.fenced_map.empty()) fenced_map.join(o.fenced_map);
    for (const Observed& x : o.observed) observe(x);
    if (o.foreign && o.foreign != foreign) merge(foreign, *o.foreign);
    if (o.fenced_foreign) fence_foreign(o.fenced_foreign);
  }
  // Joins what cluster `number` has published.
  void join_cluster(uint32_t number, const std::shared_ptr<const Clock>& clock) {
    merge(foreign, Foreign{{number, clock}});
    if (clock->foreign && clock->foreign != foreign) merge(foreign, *clock->foreign);
    if (clock->fenced_foreign) fence_foreign(clock->fenced_foreign);
  }
  // A proxy fence has followed `these`.
  void fence_foreign(const std::shared_ptr<const Foreign>& these) {
    if (!these || these == fenced_foreign) return;
    if (fenced_foreign)
      merge(fenced_foreign, *these);
    else
      fenced_foreign = these;
  }
  static const Clock* find(const std::shared_ptr<const Foreign>& all, uint32_t number) {
    if (all)
      for (const auto& [n, clock] : *all)
        if (n == number) return clock.get();
    return nullptr;
  }
  const Clock* of_cluster(uint32_t number) const { return find(foreign, number); }

 private:
  static void merge(std::shared_ptr<const Foreign>& into, const Foreign& o) {
    auto merged = std::make_shared<Foreign>(into ? *into : Foreign{});
    for (const auto& [number, clock] : o) {
      auto it =
          std::find_if(merged->begin(), merged->end(), [n = number](const auto& p) { return p.first == n; });
      if (it == merged->end()) {
        merged->push_back({number, clock});
      } else if (it->second != clock) {
        auto both = std::make_shared<Clock>(*it->second);
        both->foreign = both->fenced_foreign = nullptr;
        both->seen.join(clock->seen);
        both->fenced_shared.join(clock->fenced_shared);
        both->fenced_global.join(clock->fenced_global);
        both->fenced_map.join(clock->fenced_map);
        it->second = std::move(both);
      }
    }
    into = std::move(merged);
  }
};

}  // namespace ptxops::virt
