// The judge of one cluster: what is causally before what. Exists while a cluster runs at CheckLevel::full;
// every hook is behind `if (warp.order)`. Rules and ids: policy.def. Everything here is called by the thread
// that runs the cluster.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "driver/virtual/check/clock.h"
#include "driver/virtual/check/diagnostic.h"
#include "driver/virtual/check/history.h"
#include "driver/virtual/check/undefined.h"
#include "driver/virtual/exec/grid.h"

namespace ptxops::virt {

class Checker;

// What would have ordered two accesses, were it not for a flaw: the finding then names the flaw.
enum class Flaw : uint8_t { relaxed_mbarrier, relaxed_cluster, init_fence, count };

// A warp's view of time.
struct WarpOrder {
  Checker* checker = nullptr;
  uint32_t agent = 0;
  uint32_t sync = 1, sub = 1;  // of its next access
  // Strong writes are an agent of their own: who observes one is behind it, but not behind what was written
  // before it.
  uint32_t strong_agent = 0, strong_writes = 0;
  Clock clock;  // shared by all lanes
  // What a part of the lanes has seen since the last warp collective.
  struct Part {
    uint32_t lanes;
    Clock clock;
  };
  std::vector<Part> parts;
  VectorClock flawed[static_cast<size_t>(Flaw::count)];
  Clock narrow;                                   // seen through synchronisation of too narrow a scope
  VectorClock inits;                              // mbarrier.init operations that are visible
  std::unordered_map<uint32_t, uint64_t> phases;  // of mbarriers: how many were observed

  // The latest fence.acq_rel or fence.sc: what a later strong write publishes.
  Scope fence_scope = Scope::cta;
  uint32_t fence_lanes = 0;
  std::shared_ptr<const Clock> fence;
  // Agents of what this warp starts, 0 until it does.
  uint32_t wgmma = 0, cp_async = 0;
  struct Bulk {
    uint32_t lane, reads, writes;  // agents
    uint32_t issued = 0;           // operations of the lane
    uint32_t far = 0;              // the latest that writes to host or peer memory
    const Op* op = nullptr;        // the latest
  };
  std::vector<Bulk> bulk;
  uint32_t wgmma_issued = 0, wgmma_done = 0;
  std::vector<uint32_t> wgmma_groups;  // last operation of each committed, not waited group
  uint32_t wgmma_committed = 0;
  const Op* wgmma_op = nullptr;  // the latest
  // Does the latest wait_group come after this wgmma was issued?
  bool wgmma_waited_behind(uint32_t number) const { return wgmma_waited_at >= number; }
  uint32_t wgmma_waited_at = 0;  // wgmmas issued when the latest wait_group was executed
  // Registers that wgmmas name (registers.h), by tracked number.
  struct Register {
    uint8_t touched = 0;    // since the last wgmma.fence: 1 read, 2 written
    uint32_t d = 0, a = 0;  // latest wgmma that has it as accumulator, as part of A
    uint32_t shape = 0;     // of wgmmas since the last wgmma.fence
    uint32_t wgmma_line = 0, touch_line = 0;
  };
  std::vector<Register> registers;
  bool fenced_registers = false;
  // cp.async groups are numbered; a wait tells each lane of its own copies only. The latest number that all
  // lanes have waited for, that up to which the lanes know each other's, that behind which a new one begins.
  uint32_t cp_issued = 0, cp_waited = 0, cp_shared = 0, cp_sealed = 0;
  uint32_t setmaxnregs = 0;  // executed
  const Op* setmaxnreg_op = nullptr;
  Undefined undefined;

  // The latest strong read that observed a publication: repeated before there is another, it learns nothing.
  struct Poll {
    uint64_t address = 0, version = 0;
    uint32_t lanes = 0;
    Scope scope = Scope::cta;
    bool acquires = false;
    bool operator==(const Poll&) const = default;
  };
  Poll poll;

  uint32_t last_wait_stamp = 0;        // the latest mbarrier phase observed
  uint32_t last_group_wait_stamp = 0;  // the latest wait for a bulk group
  bool last_group_wait_read = false;

  // The latest record of this warp: an instruction that repeats within one epoch shares it.
  const Op* record_op = nullptr;
  const History* record_in = nullptr;
  uint32_t record = 0, record_sync = 0, record_sub = 0;
};

// Who arrived at a barrier, and where.
struct Arrival {
  std::array<uint32_t, 3> cta_id{};
  uint32_t warp = 0, line = 0;
  uint32_t agent = 0;  // of the warp
  Component at;        // its time
};

// What an mbarrier knows beside its state.
struct MbarrierOrder {
  uint32_t agent = 0;         // of the copies that complete on it: number = phase + 1
  Record init;                // of its mbarrier.init
  Clock arriving, completed;  // published into the current phase; by the latest complete one
  VectorClock relaxed_arriving, relaxed_completed;
  uint64_t loads = 0;     // phases up to this one (exclusive) have had copies
  uint64_t observed = 0;  // completion of the phases up to this one (exclusive) was observed by somebody
  // By whom, of the latest such phase.
  struct Observer {
    uint32_t agent;
    Component at;
  };
  std::vector<Observer> observers;
  uint32_t load_line = 0, load_warp = 0;  // the first copy of the latest such phase
  // The latest arrivals of the current phase and of the latest complete one: one a line. And the first of the
  // current phase, if nobody had observed the one before.
  std::vector<Arrival> arrivals, completing;
  std::optional<Arrival> early;
  // The threads that arrived in the current phase and in the one before: agent of the warp, lanes.
  std::vector<std::pair<uint32_t, uint32_t>> arrived, arrived_before;
  uint32_t init_lane = 0;
};

// The clock of a named or cluster barrier.
struct BarrierOrder {
  Clock clock;
  VectorClock relaxed, inits;
};

class Checker {
 public:
  explicit Checker(Cluster& cluster);
  ~Checker();
  Checker(const Checker&) = delete;
  Checker& operator=(const Checker&) = delete;

  // ---- Accesses. false after recording a finding.
  bool generic(Warp& w, const Op& op, uint32_t lanes, const LaneAccess& at, const Access& access);
  bool generic_range(Warp& w, const Op& op, int lane, const std::byte* host, const Access& access);
  // An asynchronous operation of `lane`, judged at its issue. `agent`, `number`: whose access it is.
  struct Async {
    Actor actor;
    AccessKind kind;
    uint32_t agent, number;
    int lane;
  };
  bool shared_range(Warp& w, const Op& op, const Async& a, Cta& target, uint32_t offset, uint32_t bytes);
  // The same by each of `lanes` at its place.
  bool shared_lanes(Warp& w, const Op& op, const Async& a, uint32_t lanes, const LaneAccess& at);
  // An operand of a wgmma in pieces of 16 bytes.
  // The reads of a cp.async from global memory.
  bool global_lanes(Warp& w, const Op& op, const Async& a, uint32_t lanes, const LaneAccess& at);
  bool wgmma_operand(Warp& w, const Op& op, const uint32_t* pieces, uint32_t count);
  bool global_range(Warp& w, const Op& op, const Async& a, uint64_t address, uint64_t bytes);
  bool tensor_map(Warp& w, const Op& op, uint64_t address, const Async& a);

  // ---- Order
  // All lanes of the warp are ordered among each other.
  static void warp_sync(WarpOrder& o) {
    ++o.sync;
    o.sub = 1;
    if (o.cp_waited != o.cp_shared) share_copies(o);
    if (!o.parts.empty()) merge_parts(o);
  }
  // Everything that is before `lanes` now is published into `to`; what they do from now on is not.
  void release(Warp& w, uint32_t lanes, Clock& to);
  void acquire(Warp& w, uint32_t lanes, const Clock& from);
  void fence(Warp& w, uint32_t lanes, Scope scope, bool acquires = true, bool releases = true);
  void release_tensor_map(Warp& w, uint32_t lanes);
  void fence_proxy_async(Warp& w, uint32_t lanes, bool shared, bool global);
  void fence_mbarrier_init(Warp& w, uint32_t lanes);
  void acquire_tensor_map(Warp& w, uint32_t lanes, uint64_t address, Scope scope);

  // Strong accesses: before a write, behind a read.
  bool publish(Warp& w, const Op& op, uint32_t lanes, const LaneAccess& at, const Access& access);
  bool observe(Warp& w, const Op& op, uint32_t lanes, const LaneAccess& at, const Access& access);

  // Barriers
  void barrier_arrive(Warp& w, uint32_t lanes, BarrierOrder& b, bool relaxed);
  // At a named barrier: the arrivals of its phase before must be known to whoever arrives in the next.
  bool named_arrive(Warp& w, const Op& op, uint32_t lanes, uint32_t id);
  void named_completed(const Cta& cta, uint32_t id);
  void barrier_leave(Warp& w, uint32_t lanes, const BarrierOrder& b, bool relaxed);

  // mbarriers
  bool mbarrier_init(Warp& w, const Op& op, int lane, uint32_t offset);
  // Before any other operation: does the thread see the object's initialisation?
  bool mbarrier_use(Warp& w, const Op& op, int lane, Cta& target, uint32_t offset, bool visits = true);
  bool mbarrier_arrive(Warp& w, const Op& op, int lane, Cta& target, uint32_t offset, bool relaxed,
                       uint64_t phase);
  void mbarrier_copy_issued(Warp& w, const Op& op, Cta& target, uint32_t offset, uint64_t phase);
  // `phase` did, by `op` of `w`.
  bool mbarrier_completed(Warp& w, const Op& op, int lane, Cta& target, uint32_t offset, uint64_t phase);
  bool mbarrier_observed(Warp& w, const Op& op, uint32_t lanes, uint32_t offset, bool relaxed,
                         uint64_t phase);
  void mbarrier_cp_async(Warp& w, const Op& op, int lane, Cta& target, uint32_t offset, uint32_t number);
  MbarrierOrder& mbarrier(const Cta& target, uint32_t offset);

  // Groups
  WarpOrder::Bulk& bulk_of(Warp& w, uint32_t lane);
  uint32_t cp_async_agent(Warp& w);
  void cp_async_done(Warp& w, uint32_t lanes, uint32_t number);
  void bulk_done(Warp& w, uint32_t lane, uint32_t number, bool read_only);
  uint32_t wgmma_agent(Warp& w);
  void wgmma_commit(Warp& w);
  void wgmma_wait(Warp& w, uint32_t newest);

  // Dependent launch
  void grid_wait(Warp& w, uint32_t lanes);

  bool warp_exit(Warp& w, const Op& op);
  bool cta_exit(Warp& last, const Op& op);
  // Whose access a copy is that completes on an mbarrier.
  Async signals(Actor actor, AccessKind kind, const Cta& target, uint32_t offset, int lane) {
    const auto it = target.mbarriers.find(offset);
    const uint64_t phase = it == target.mbarriers.end() ? 0 : it->second.state.phase;
    return {actor, kind, mbarrier(target, offset).agent, static_cast<uint32_t>(phase + 1), lane};
  }
  // Has the warp observed any mbarrier phase?
  bool has_waited(uint32_t rank, uint32_t warp) const {
    return cluster_.ctas[rank]->warps[warp]->order->last_wait_stamp != 0;
  }
  // By word of the CTA's shared memory, empty until there is one: 2 * line of the latest store of an
  // undefined value, + 1 if that was computed (undefined.h). It counts for bytes that count as not written.
  std::vector<uint32_t>& undefined_stores(const Cta& cta) { return ctas_[cta.rank].undefined; }
  uint32_t new_agent() { return agents_++; }
  uint32_t stamp() { return ++stamp_; }
  uint32_t number() const { return number_; }
  Grid& grid() { return grid_; }
  Cluster& cluster() { return cluster_; }

  // An agent that is none: its number 1 = griddepcontrol.wait was executed.
  static constexpr uint32_t kPrerequisite = 1;
  static bool has_waited_for_grid(const WarpOrder& o, int lane) {
    if (o.clock.seen.covers(kPrerequisite, 1, 0, 0)) return true;
    for (const auto& p : o.parts)
      if ((lane < 0 || (p.lanes >> lane & 1)) && p.clock.seen.covers(kPrerequisite, 1, 0, 0)) return true;
    return false;
  }

  // Is the record before lane `lane` of the warp?
  bool before(const WarpOrder& o, const Record& r, uint32_t r_lane, int lane) const;
  bool fenced(const WarpOrder& o, const Record& r, uint32_t r_lane, int lane, bool shared) const;
  void raise(Warp& w, uint32_t lanes, uint32_t agent, uint32_t number);

 private:
  friend struct Judgement;
  static void merge_parts(WarpOrder& o);
  static void share_copies(WarpOrder& o);
  bool behind_observers(const MbarrierOrder& m, uint64_t phase) const;
  bool warpgroups_agree(const Cta& cta);
  static Clock& part(WarpOrder& o, uint32_t lanes, uint32_t live);
  Clock effective(Warp& w, uint32_t lanes);
  std::shared_ptr<const Clock> released(Warp& w, uint32_t lanes);
  bool includes(Scope scope, uint32_t cluster, int cta, int device, const Warp& w) const;
  Record make_record(Warp& w, const Op& op, Actor actor, AccessKind kind, uint32_t size);
  Record generic_record(Warp& w, const Op& op, const Access& access);
  Site site_of_arrival(const Arrival& a, const char* action) const;
  // B7 or B7P: `event` in `phase` of the mbarrier, at `site`.
  void report_unobserved(Diagnostic id, const std::string& event, Cta& target, uint32_t offset,
                         uint64_t phase, Site site);
  bool judge_shared(struct Judgement& j, Cta& target, uint32_t offset, uint32_t bytes, int lane);
  bool judge_global(struct Judgement& j, uint64_t address, uint64_t bytes, int lane);
  bool report_shared(Judgement& j, const Cta& target);
  bool report_global(Judgement& j, const Allocation& a);
  bool hits_mbarrier(Warp& w, const Op& op, int lane, Cta& target, uint32_t offset, uint32_t bytes,
                     const Record& r);
  Cta* owner(const Warp& w, const std::byte* host) const;
  Cells shared_cells(const Cta& cta);
  void keep_small();
  // `visits`: the target must not exit before the access is over.
  bool enter(Warp& w, const Op& op, int lane, Cta& target, const Record& r, bool visits = true);

  Cluster& cluster_;
  Grid& grid_;
  uint32_t number_;
  uint32_t agents_ = 2;
  uint32_t stamp_ = 0;
  bool fenced_for_system_ = false;  // by anybody
  std::vector<std::unique_ptr<WarpOrder>> warps_;
  History history_;  // of shared memory
  struct CtaOrder {
    std::vector<uint32_t> write, read;  // cells
    std::vector<uint32_t> undefined;
    std::unordered_map<uint32_t, MbarrierOrder> mbarriers;
    uint32_t mbarriers_low = ~0u, mbarriers_high = 0;  // where they lie
    // Accesses by other CTAs, which must be over before this one leaves: by agent, the latest with its lane.
    std::unordered_map<uint32_t, std::pair<Record, uint32_t>> visitors;
    uint32_t first_agent = 0;  // of its warps
    struct Named {
      std::vector<Arrival> arrivals, completing;  // of the current phase, of the one before
    };
    std::array<Named, 16> named;
  };
  std::vector<CtaOrder> ctas_;  // by rank
  struct AcquiredMap {
    Clock known;
    Scope scope;
  };
  std::unordered_map<uint64_t, std::unordered_map<uint32_t, AcquiredMap>>
      acquired_maps_;  // by address, warp agent
};

// For the checker: a warp collective of `lanes` has completed, or an .aligned instruction of the whole warp.
inline void order_lanes(Warp& w, uint32_t lanes) {
  if (w.order && (lanes & (lanes - 1))) Checker::warp_sync(*w.order);
}

}  // namespace ptxops::virt
