// The state of the virtual machine while a grid runs: grid, cluster, CTA, warp and its splits.
// A cluster and everything in it is run by one worker thread at a time; only Grid, Device memory and the
// fault slot are shared between workers.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "driver/virtual/check/diagnostic.h"
#include "driver/virtual/exec/op.h"
#include "driver/virtual/time/calendar.h"

namespace ptxops::virt {

class Memory;
struct Allocation;
struct Code;
struct Grid;
struct Cluster;
struct Cta;
class Checker;
struct WarpOrder;
struct BarrierOrder;

struct Dim3 {
  uint32_t x = 1, y = 1, z = 1;
  uint64_t count() const { return uint64_t{x} * y * z; }
};

// ---- Address windows
// ------------------------------------------------------------------------------------------- Generic address
// = window base + offset; global, constant and kernel-parameter addresses are host addresses. A .shared::cta
// address is an offset into the CTA's window. A .shared::cluster address adds (rank + 1) << 24; an offset
// without rank bits names the executing CTA itself, as on hardware.
inline constexpr uint64_t kSharedWindow = 0x0100'0000'0000'0000ull;
inline constexpr uint64_t kLocalWindow = 0x0200'0000'0000'0000ull;
inline constexpr uint64_t kWindowMask = 0xff00'0000'0000'0000ull;
inline constexpr uint32_t kClusterRankShift = 24;
inline constexpr uint32_t kSharedReserved = 1024;    // the system's share at the start of every CTA's window
inline constexpr uint32_t kSharedOptinMax = 232448;  // 227 KB: what a CTA may have behind it

// ---- Faults
// ----------------------------------------------------------------------------------------------------
// What kind of failure a finding is: decides the driver's error code.
enum class FaultKind : uint8_t {
  none,
  illegal_address,
  misaligned,
  never_written,
  illegal_instruction,
  barrier,
  race,
  deadlock,
  timeout,
  trap,
  assertion,
  unsupported
};
FaultKind kind_of(Diagnostic);
struct Fault {
  FaultKind kind = FaultKind::none;
  Diagnostic id{};  // where kind is not none
  Finding finding;
  std::string text;  // the finding as a report

  Fault() = default;
  explicit Fault(Finding finding);
};

// How strictly a launch is judged (environment PTXOPS_CHECK). `full` also reports races, missing fences,
// lifetimes and uses of never-written bytes (check/).
enum class CheckLevel : uint8_t { off, bounds, full };

// ---- Waiting
// --------------------------------------------------------------------------------------------------- A
// sleeping split sits on exactly one wait list. Waking moves it to its warp's runnable splits.
struct Split;
struct WaitList {
  std::vector<Split*> splits;
  bool empty() const { return splits.empty(); }
};
enum class WaitKind : uint8_t {
  none,
  mbarrier,
  named_barrier,
  cluster_barrier,
  lanes,
  reconvergence,
  setmaxnreg,
  async
};

// Where diverged lanes of a warp meet again: the immediate post-dominator of the branch that split them.
struct Reconvergence {
  const Op* at = nullptr;  // first op behind the meeting point; nullptr: the function's return
  uint32_t expected = 0, arrived = 0;
  Reconvergence* parent = nullptr;
  struct Frame* frame = nullptr;
};

// One activation of a function by a split.
struct Frame {
  const Code* code = nullptr;
  std::byte* regs = nullptr;
  const Op* call = nullptr;  // the op to return behind; nullptr for the kernel itself
  uint32_t local_base = 0;   // offset of this activation's variables in each lane's local memory
  Frame* caller = nullptr;
};

// Lanes of a warp that execute together.
struct Split {
  Warp* warp = nullptr;
  const Op* pc = nullptr;
  uint32_t mask = 0;
  Frame* frame = nullptr;
  Reconvergence* reconvergence = nullptr;
  WaitKind waiting = WaitKind::none;
  WaitList* list = nullptr;
  std::string (*describe)(const Split&) = nullptr;  // for deadlock reports: what it waits for
  const Op* asleep_in = nullptr;                    // the op that put it to sleep
  uint64_t wait_a = 0, wait_b = 0;                  // the waiter's own data (barrier address, phase, ...)
  bool spurious = false;                            // woken without cause: try_wait answers false
};

// A warp collective (shfl.sync ...) that waits for lanes of its member mask in other splits.
struct Rendezvous {
  struct Arrival {
    Split* split;
    const Op* op;
    std::byte* regs;
    uint32_t lanes;
  };
  Handler kind = nullptr;  // equal for equal qualifiers
  uint32_t members = 0, arrived = 0;
  std::vector<Arrival> arrivals;
  std::shared_ptr<void> operands;  // gathered operands of the arrived lanes
  void (*finish)(Warp&, Rendezvous&) = nullptr;
};

// Groups of asynchronous operations that commit/wait instructions count (cp.async and bulk groups per lane,
// wgmma per warp): completion times only, since data effects are applied by AsyncQueue.
struct Warp {
  // Hot: the running split's state, kept here by the scheduler.
  std::byte* regs = nullptr;  // frame base
  const Op* pc = nullptr;
  uint32_t mask = 0;
  uint32_t id = 0;          // warp index within its CTA
  uint64_t clock = 0;       // modelled cycles since the cluster started
  uint64_t load_ready = 0;  // modelled time at which the latest load's result arrives
  uint64_t issued = 0;      // warp instructions executed
  Cta* cta = nullptr;
  Split* split = nullptr;                       // the running split
  WarpOrder* order = nullptr;                   // at CheckLevel::full (check/checker.h)
  const Allocation* last_allocation = nullptr;  // hit cache of global bounds checks

  uint32_t exited = 0;         // lanes that ended; whoever adds some calls lanes_exited() (async/exits.h)
  uint32_t present = 0;        // lanes that exist (last warp of a CTA may be partial)
  std::vector<Split*> splits;  // all live splits: running, runnable or asleep
  std::deque<Split*> runnable;
  bool queued = false;                                // on the cluster's ready queue
  std::vector<std::unique_ptr<Split>> split_storage;  // with the free ones below
  std::vector<Split*> free_splits;
  std::vector<std::unique_ptr<Reconvergence>> record_storage;
  std::vector<Reconvergence*> free_records;
  std::vector<std::unique_ptr<Frame>> frames;  // activations, the kernel's first
  std::unique_ptr<std::byte[]> local;          // local memory: lane-major, local_size bytes a lane
  std::unique_ptr<uint8_t[]> local_shadow;
  uint32_t local_size = 0, local_used = 0;
  uint32_t max_registers = 0;                // setmaxnreg state
  uint32_t cluster_arrived = 0;              // lanes between their barrier.cluster.arrive and .wait
  uint32_t cluster_released = 0;             // those of them whose phase has completed
  std::vector<Rendezvous> rendezvous;        // incomplete *.sync collectives
  WaitList lane_waiters;                     // their splits
  std::shared_ptr<struct AsyncState> async;  // bulk/cp.async/wgmma group bookkeeping (async/)

  uint32_t live() const { return present & ~exited; }

  template <class T>
  T* reg(uint32_t offset) {
    return reinterpret_cast<T*>(regs + offset);
  }
  uint32_t& pred(uint32_t offset) { return *reinterpret_cast<uint32_t*>(regs + offset); }
  // Value of a warp-uniform operand: the first of `lanes`.
  template <class T>
  T uniform(uint32_t offset, uint32_t lanes) {
    return reg<T>(offset)[__builtin_ctz(lanes)];
  }

  // Splits and meeting points (control.cpp).
  Split& new_split(const Op* pc, uint32_t mask, Frame* frame, Reconvergence* reconvergence);
  void drop_split(Split& split);
  Reconvergence& new_record(const Op* at, uint32_t expected, Reconvergence* parent, Frame* frame);
  void release_if_met(Reconvergence& record);
  // Ends `lanes` of the running split.
  Step exit_lanes(uint32_t lanes);

  ~Warp();

  // Records a fault for `op`; `lane` is -1 where no single lane is to blame.
  Step fault(const Op& op, int lane, Diagnostic id, const std::string& what);
  // Puts the running split to sleep on `list`; return Step::block or Step::sleep afterwards.
  void wait_on(WaitList& list, WaitKind kind, std::string (*describe)(const Split&), uint64_t a = 0,
               uint64_t b = 0);
};

// One of the 16 barriers of a CTA (async/barrier.h). Idle while `expected` is 0.
struct NamedBarrier {
  uint32_t expected = 0, arrived = 0;  // threads, counted by whole warps
  bool whole_cta = false;              // no count was given: warps that have exited are not waited for
  uint8_t reduction = 0;               // what the participants reduce; they must agree
  uint32_t arrived_warps = 0;          // bit set
  std::array<uint32_t, 32> partial{};  // by warp: lanes that arrived in divergent code
  uint32_t accumulator = 0;            // popc: sum; and, or: 0 or 1
  uint32_t generation = 0;
  uint64_t clock = 0;  // latest arrival
  struct Waiter {
    Warp* warp;
    const Op* op;
    std::byte* regs;
    uint32_t lanes;
  };
  std::vector<Waiter> results;  // where the completed barrier's result goes
  WaitList waiters;
  std::shared_ptr<BarrierOrder> order;  // at CheckLevel::full
};

// State of an mbarrier; its 8 bytes in shared memory are an image of it (async/mbarrier.h).
struct MbarrierState {
  uint64_t phase = 0;
  uint32_t pending = 0, expected = 0;
  int32_t tx = 0;
};

// What is known of an mbarrier beside its 8 bytes: its state, who waits, when its phases completed.
struct MbarrierInfo {
  bool live = false;  // initialised and not invalidated
  MbarrierState state;
  uint32_t init_line = 0;  // PTX line of its mbarrier.init
  uint64_t in_flight = 0;  // bytes of copies issued for it and not yet delivered
  WaitList waiters;
  uint64_t phase_clock = 0;    // modelled completion time of the latest phase
  uint64_t pending_clock = 0;  // latest arrival or delivery into the current phase
};

struct Cta {
  Cluster* cluster = nullptr;
  Dim3 id;                    // %ctaid
  uint32_t rank = 0;          // %cluster_ctarank
  uint32_t sm = 0;            // %smid
  std::byte* smem = nullptr;  // smem[offset] is the byte at .shared::cta address `offset`; 1024-byte aligned
  uint32_t smem_end = 0;      // one past the last valid address; valid from kSharedReserved
  std::unique_ptr<uint8_t[]> smem_shadow;  // bit per byte: written
  std::vector<std::unique_ptr<Warp>> warps;
  uint32_t warps_done = 0;
  bool exited() const { return warps_done == warps.size(); }
  std::array<NamedBarrier, 16> barriers;
  std::unordered_map<uint32_t, MbarrierInfo> mbarriers;  // by shared address
  int64_t free_registers = 0;                            // setmaxnreg pool of this CTA, in registers
  WaitList register_waiters;
  std::array<uint64_t, 4> issue_cycles{};  // by sub-core
  std::array<Calendar, 4> tensor;          // tensor cores by sub-core
  Calendar tma;                            // the SM's copy engine

  ~Cta();
};

// An asynchronous operation whose effects have been requested but not applied. The queue is drained between
// warp slices, so code that does not wait properly sees stale data.
struct AsyncOp {
  std::function<void()> apply;
  bool unordered = false;  // may overtake and be overtaken by its like
};

struct Cluster {
  Grid* grid = nullptr;
  Dim3 id;  // cluster coordinates
  uint64_t index = 0;
  std::vector<std::unique_ptr<Cta>> ctas;
  std::deque<Warp*> ready;
  std::deque<AsyncOp> async;
  uint32_t warps_live = 0;
  // barrier.cluster: phase, latest arrival into the current one, when the previous one completed
  uint64_t barrier_phase = 0, barrier_clock = 0, barrier_release = 0;
  WaitList barrier_waiters;
  std::shared_ptr<BarrierOrder> arriving_order, released_order;  // at CheckLevel::full
  std::shared_ptr<Checker> checker;
  uint64_t end_clock = 0;
  uint64_t random = 0;  // state of the schedule's perturbation; 0: none
  // With a seed: true once in `n` times.
  bool chance(uint32_t n) { return random && draw() % n == 0; }
  uint64_t draw() {  // splitmix64
    uint64_t z = (random += 0x9e3779b97f4a7c15ull);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
  }
  uint64_t progress = 0;  // counts what another warp could be waiting for: stores, arrivals, exits
  uint32_t cta_count() const { return static_cast<uint32_t>(ctas.size()); }

  // A woken split runs again at its pc: the op it slept in (Step::block) or the one behind (Step::sleep).
  void wake(WaitList& list);
  void wake(Split& split);
};

// Traffic of one grid, for the time model and for reports.
struct Counters {
  std::atomic<uint64_t> instructions{0}, dram_bytes{0}, l2_bytes{0}, mma_macs{0};
};

struct LaunchResult {
  Fault fault;                  // kind none on success
  double modelled_seconds = 0;  // modelled, never measured
  uint64_t instructions = 0, dram_bytes = 0, l2_bytes = 0, mma_macs = 0;
};

}  // namespace ptxops::virt
