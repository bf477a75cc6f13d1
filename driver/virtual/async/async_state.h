// What a warp has started and not yet waited for: copy groups by lane, tensor-core groups by warp.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "driver/virtual/exec/machine.h"

namespace ptxops::virt {

// Applies queued operations of the cluster, oldest first, until `done()`; false when the queue ran empty
// before.
template <class Done>
bool drain_until(Cluster& cluster, Done done) {
  while (!done()) {
    if (cluster.async.empty()) return false;
    AsyncOp op = std::move(cluster.async.front());
    cluster.async.pop_front();
    op.apply();
  }
  return true;
}

// One group of copies. Lanes that issue and commit together share it.
struct CopyGroup {
  uint32_t pending = 0;      // operations whose effects are not applied yet
  uint64_t read_clock = 0;   // modelled time at which all sources have been read
  uint64_t write_clock = 0;  // modelled time at which all writes are done
  uint32_t number = 0;       // for the checker: of its latest operation
};

// The groups of the 32 lanes of a warp, in the order of their commits.
class CopyGroups {
 public:
  explicit CopyGroups(bool bulk) : bulk_(bulk) {}
  using Members = std::vector<std::shared_ptr<CopyGroup>>;
  // The open groups that an operation of `lanes` belongs to, each once.
  Members join(uint32_t lanes);
  void commit(uint32_t lanes);
  // Waits until no lane of `lanes` has more than `newest` committed groups incomplete, applying queued
  // operations as needed, and advances the warp's clock.
  void wait(Warp& warp, uint32_t lanes, uint32_t newest, bool read_only);
  // The same for every operation, committed or not.
  void wait_all(Warp& warp, uint32_t lanes);
  // Modelled time at which everything `lane` has issued is done.
  uint64_t last_clock(uint32_t lane) const { return last_clock_[lane]; }
  void note(uint32_t lanes, uint64_t clock);

 private:
  // Tells the checker what the lanes' wait has covered.
  void judge(Warp& warp, uint32_t lanes, bool read_only);

  bool bulk_;
  std::array<uint32_t, kLanes> done_{};  // number of the latest operation waited for, if only its reads
  std::array<std::shared_ptr<CopyGroup>, kLanes> open_;
  std::array<std::deque<std::shared_ptr<CopyGroup>>, kLanes> committed_;
  std::array<uint64_t, kLanes> last_clock_{};
  std::array<uint64_t, kLanes> written_{};  // writes of groups of which only the reads were waited for
};

struct AsyncState {
  CopyGroups cp_async{false}, bulk{true};
  // wgmma: effects are immediate.
  struct WgmmaGroup {
    uint64_t end;    // modelled
    uint64_t count;  // issued by the warp up to its commit
  };
  uint64_t wgmma_open = 0;              // end of the latest wgmma of the open group
  std::deque<WgmmaGroup> wgmma_groups;  // committed, oldest first
  uint64_t wgmma_count = 0;             // issued by this warp: names the one to compare with in its warpgroup
  // Kept by the first warp of a warpgroup: what its warps have issued and not all have.
  struct Issued {
    const Op* op;
    uint64_t a, b;
    uint32_t warps;
    bool accumulate;
  };
  std::deque<Issued> wgmma_issued;
  uint64_t wgmma_first = 0;  // number of wgmma_issued.front()
  WaitList wgmma_waiters;    // warps that wait for the others' part
};

inline AsyncState& async_state(Warp& w) {
  if (!w.async) w.async = std::make_shared<AsyncState>();
  return *w.async;
}

}  // namespace ptxops::virt
