#include "driver/virtual/time/model.h"

#include <algorithm>
#include <functional>
#include <queue>
#include <vector>

#include "driver/virtual/exec/grid.h"

namespace ptxops::virt {

uint64_t cluster_cycles(const Cluster& cluster) {
  uint64_t cycles = cluster.end_clock;
  for (const auto& cta : cluster.ctas)
    for (uint64_t issued : cta->issue_cycles) cycles = std::max(cycles, issued);
  return cycles;
}

double modelled_seconds(const Grid& grid) {
  const uint64_t slots = std::min<uint64_t>(grid.resident_limit, std::max<uint64_t>(1, grid.clusters_total));
  std::priority_queue<uint64_t, std::vector<uint64_t>, std::greater<>> free_at;
  for (uint64_t i = 0; i < slots; ++i) free_at.push(0);
  uint64_t end = 0;
  for (uint64_t cycles : grid.durations) {
    const uint64_t done = free_at.top() + cycles;
    free_at.pop();
    free_at.push(done);
    end = std::max(end, done);
  }
  const double busy = std::max({static_cast<double>(end) / kClockHz,
                                static_cast<double>(grid.counters.dram_bytes.load()) / kDramBytesPerSecond,
                                static_cast<double>(grid.counters.l2_bytes.load()) / kL2BytesPerSecond});
  return kLaunchSeconds + busy;
}

}  // namespace ptxops::virt
