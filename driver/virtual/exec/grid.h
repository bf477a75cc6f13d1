// A launched grid, shared by the workers that run its clusters.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "driver/virtual/exec/access.h"
#include "driver/virtual/exec/machine.h"
#include "driver/virtual/exec/program.h"
#include "driver/virtual/exec/traffic.h"

namespace ptxops::virt {

struct LaunchDesc {
  const Program* program = nullptr;  // must outlive the launch
  const Kernel* kernel = nullptr;
  Memory* memory = nullptr;
  int device = 0;
  uint32_t sm_count = 132;
  Dim3 grid, block, cluster;  // cluster {1,1,1} when there is none
  bool explicit_cluster = false;
  bool cooperative = false;
  uint32_t dynamic_smem = 0;  // bytes
  CheckLevel check = check_level();
  uint64_t seed = schedule_seed();  // perturbs the schedule; 0: the plain one
  // Launched with programmatic stream serialization: the number of the grid before it in the stream, 0 when
  // unknown.
  std::shared_ptr<std::atomic<uint64_t>> prerequisite;
  std::shared_ptr<std::atomic<uint64_t>> number;  // where the engine puts this grid's number
  std::vector<std::byte> params;                  // kernel->param_bytes
};

struct Grid {
  LaunchDesc desc;
  uint64_t id = 0;
  uint64_t prerequisite = 0;  // number of a grid that may still run, as far as the kernel can know; or 0
  uint64_t params = 0;        // device address of the parameter block
  uint64_t workspace = 0;     // of a cooperative grid: what %envreg1 and %envreg2 point to
  uint32_t smem_bytes = 0;    // static + dynamic, behind the reserved kilobyte
  uint64_t clusters_total = 0;
  uint32_t ctas_per_sm = 1;  // that fit at once
  TouchedSectors touched;    // time model: global sectors this grid has used
  Counters counters;
  std::atomic<bool> aborted{false};
  std::function<void(const LaunchResult&)> done;

  // Under the engine's lock.
  uint64_t next_cluster = 0, resident = 0, resident_limit = 1;
  uint32_t working = 0;  // workers that run a cluster of it
  std::deque<std::unique_ptr<Cluster>> suspended;
  std::vector<uint64_t> durations;  // modelled cycles, by cluster index

  // The n-th cluster to start: in order or, with a seed, in another.
  uint64_t order(uint64_t n) const;
  const Kernel& kernel() const { return *desc.kernel; }
  void record(Fault fault);                      // the first one wins; aborts the grid
  void report(Diagnostic id, std::string what);  // of the grid as a whole
  Fault take_fault();

 private:
  std::mutex fault_mutex_;
  Fault fault_;
};

// Builds cluster number `index` of the grid with its CTAs, warps and register frames.
std::unique_ptr<Cluster> make_cluster(Grid& grid, uint64_t index);

// The side of a finding that `w` is, executing `op`.
Site site_of(const Warp& w, const Op& op, int lane, std::string action, std::string_view proxy);

enum class ClusterState { finished, spinning, aborted };
// Runs the cluster until it finishes, faults, or only spins (then another cluster may have to run first).
ClusterState run_cluster(Cluster& cluster);
// Why a grid that only spins is given up, after so many seconds; `cluster` is one of its own.
Finding livelock_of(const Cluster& cluster, double seconds);

}  // namespace ptxops::virt
