#include "driver/virtual/exec/engine.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <numeric>
#include <thread>
#include <vector>

#include "driver/virtual/check/global_history.h"
#include "driver/virtual/exec/control.h"
#include "driver/virtual/exec/environment.h"
#include "driver/virtual/exec/system_call.h"
#include "driver/virtual/memory/memory.h"
#include "driver/virtual/time/model.h"

namespace ptxops::virt {
namespace {

// A grid keeps a word for each of its clusters.
constexpr size_t kGridWorkspace = 64;  // bytes
constexpr uint64_t kMaxClusters = uint64_t{1} << 26;

unsigned worker_count() {
  const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  return static_cast<unsigned>(number_from_environment("PTXOPS_VIRTUAL_THREADS", 1, 256, cores));
}

// Wall-clock seconds for which every cluster of a grid may do nothing but spin; 0 = for ever.
double spin_limit_seconds() {
  return number_from_environment("PTXOPS_VIRTUAL_SPIN_LIMIT", 0.0, 1e9, 30.0);
}

using Now = std::chrono::steady_clock;

}  // namespace

struct Engine::Impl {
  struct Active {
    std::unique_ptr<Grid> grid;
    Now::time_point last_progress = Now::now();
  };

  std::mutex mutex;
  std::condition_variable work;
  std::deque<std::shared_ptr<Active>> grids;  // round robin
  uint64_t next_id = 1;
  bool stop = false;
  std::vector<std::thread> workers;
  double spin_limit = spin_limit_seconds();
  const pid_t process = getpid();

  void run();
  void finish(std::unique_lock<std::mutex>& lock, const std::shared_ptr<Active>& active);
  std::unique_ptr<Cluster> take(Grid& grid, std::unique_lock<std::mutex>& lock);
};

// A cluster of the grid that may run now: a new one while there is room on the device, else a suspended one.
std::unique_ptr<Cluster> Engine::Impl::take(Grid& grid, std::unique_lock<std::mutex>& lock) {
  // A judged grid is run by one worker at a time, so that the same seed gives the same report.
  if (grid.desc.check == CheckLevel::full && grid.working) return nullptr;
  if (grid.next_cluster < grid.clusters_total && grid.resident < grid.resident_limit &&
      !grid.aborted.load(std::memory_order_relaxed)) {
    const uint64_t index = grid.order(grid.next_cluster++);
    ++grid.resident;
    ++grid.working;
    lock.unlock();
    auto cluster = make_cluster(grid, index);
    lock.lock();
    return cluster;
  }
  if (grid.suspended.empty()) return nullptr;
  auto cluster = std::move(grid.suspended.front());
  grid.suspended.pop_front();
  ++grid.working;
  return cluster;
}

void Engine::Impl::finish(std::unique_lock<std::mutex>& lock, const std::shared_ptr<Active>& active) {
  Grid& grid = *active->grid;
  grids.erase(std::find(grids.begin(), grids.end(), active));
  lock.unlock();
  if (grid.desc.check == CheckLevel::full) {
    std::lock_guard history(GlobalHistory::get().lock());
    GlobalHistory::get().end(static_cast<uint32_t>(grid.id));
  }
  LaunchResult result;
  result.fault = grid.take_fault();
  result.modelled_seconds = modelled_seconds(grid);
  result.instructions = grid.counters.instructions.load();
  result.dram_bytes = grid.counters.dram_bytes.load();
  result.l2_bytes = grid.counters.l2_bytes.load();
  result.mma_macs = grid.counters.mma_macs.load();
  if (grid.params) grid.desc.memory->release(grid.params);
  flush_device_output();
  grid.done(result);
  lock.lock();
}

void Engine::Impl::run() {
  std::unique_lock lock(mutex);
  while (true) {
    std::shared_ptr<Active> active;
    std::unique_ptr<Cluster> cluster;
    for (size_t i = 0; i < grids.size() && !cluster; ++i) {
      active = grids.front();
      grids.pop_front();
      grids.push_back(active);
      cluster = take(*active->grid, lock);
    }
    if (!cluster) {
      if (stop) return;
      work.wait(lock);
      continue;
    }
    Grid& grid = *active->grid;
    lock.unlock();
    const uint64_t progress = cluster->progress;
    const ClusterState state = run_cluster(*cluster);
    if (state != ClusterState::spinning) {
      uint64_t issued = 0;
      for (auto& cta : cluster->ctas)
        for (auto& w : cta->warps) issued += w->issued;
      grid.counters.instructions.fetch_add(issued, std::memory_order_relaxed);
    }
    const uint64_t duration = cluster_cycles(*cluster);
    const uint64_t index = cluster->index;
    const bool moved = cluster->progress != progress || state == ClusterState::finished;
    if (state != ClusterState::spinning) cluster.reset();  // outside the lock: it frees much
    lock.lock();
    --grid.working;
    const auto now = Now::now();
    if (moved) active->last_progress = now;
    if (cluster && spin_limit > 0 &&
        now - active->last_progress > std::chrono::duration<double>(spin_limit)) {
      grid.record(Fault(livelock_of(*cluster, spin_limit)));
      lock.unlock();
      cluster.reset();
      lock.lock();
    }
    if (cluster) {
      grid.suspended.push_back(std::move(cluster));
    } else {
      if (state == ClusterState::finished) grid.durations[index] = duration;
      uint64_t gone = 1;
      if (grid.aborted.load(std::memory_order_relaxed)) {
        gone += grid.suspended.size();
        auto dropped = std::move(grid.suspended);
        grid.suspended.clear();
        lock.unlock();
        dropped.clear();
        lock.lock();
      }
      // Counted in one go with the question, and after all of them are freed: one worker alone sees the end.
      grid.resident -= gone;
      const bool all_began =
          grid.next_cluster == grid.clusters_total || grid.aborted.load(std::memory_order_relaxed);
      if (grid.resident == 0 && all_began) finish(lock, active);
    }
    work.notify_all();
  }
}

// Steps of a stride that shares no factor with the count visit every cluster once.
uint64_t Grid::order(uint64_t n) const {
  if (desc.seed == 0 || clusters_total < 2) return n;
  uint64_t stride = desc.seed % clusters_total | 1;
  while (std::gcd(stride, clusters_total) != 1) ++stride;
  return (desc.seed / 7 + n * (stride % clusters_total)) % clusters_total;
}

Engine& Engine::get() {
  static Engine engine;
  return engine;
}

void Engine::check_environment() {
  worker_count(), spin_limit_seconds();
}

Engine::Engine() : impl_(std::make_unique<Impl>()) {
  for (unsigned i = 0; i < worker_count(); ++i) impl_->workers.emplace_back([this] { impl_->run(); });
}

Engine::~Engine() {
  if (getpid() != impl_->process) {  // forked: the workers are not here, and nothing can be waited for
    static_cast<void>(impl_.release());
    return;
  }
  {
    std::lock_guard lock(impl_->mutex);
    impl_->stop = true;
    for (auto& active : impl_->grids) active->grid->report(Diagnostic::X5, "the process ended");
  }
  impl_->work.notify_all();
  for (auto& worker : impl_->workers) worker.join();
}

uint32_t Engine::ctas_per_sm(const Kernel& kernel, uint32_t threads, uint32_t dynamic_smem) {
  if (threads == 0 || threads > 1024 || kernel.static_smem + dynamic_smem > kSharedOptinMax) return 0;
  constexpr uint32_t kRegistersPerSm = 65536, kWarpsPerSm = 64, kCtasPerSm = 32, kSmemPerSm = 233472;
  const uint32_t warps = (threads + kLanes - 1) / kLanes;
  const uint32_t registers =
      std::max(1u, (kernel.registers * kLanes + 255) / 256 * 256 * ((warps + 3) / 4 * 4));
  const uint32_t smem = (kSharedReserved + kernel.static_smem + dynamic_smem + 127) / 128 * 128;
  return std::min({kCtasPerSm, kWarpsPerSm / warps, kRegistersPerSm / registers, kSmemPerSm / smem});
}

std::string Engine::refuse(const LaunchDesc& d) {
  const Kernel& k = *d.kernel;
  const auto dim3 = [](const auto& v) { return fmt::format("({},{},{})", v.x, v.y, v.z); };
  if (d.grid.count() == 0 || d.block.count() == 0 || d.cluster.count() == 0)
    return fmt::format("grid {}, block {} and cluster {} must not have a zero", dim3(d.grid), dim3(d.block),
                       dim3(d.cluster));
  if (d.grid.x > 0x7fffffffu || d.grid.y > 65535 || d.grid.z > 65535)
    return fmt::format("grid {} exceeds (2147483647,65535,65535)", dim3(d.grid));
  if (d.grid.count() / d.cluster.count() > kMaxClusters)
    return fmt::format("grid {} has more than {} clusters, which the virtual device does not hold",
                       dim3(d.grid), kMaxClusters);
  if (d.block.x > 1024 || d.block.y > 1024 || d.block.z > 64 || d.block.count() > 1024)
    return fmt::format("block {} exceeds 1024 threads or (1024,1024,64)", dim3(d.block));
  if (d.block.count() > k.max_threads)
    return fmt::format("block of {} threads; kernel '{}' is compiled for at most {}", d.block.count(), k.name,
                       k.max_threads);
  const auto differs = [](const isa::Dim3& want, const Dim3& have) {
    return want.present() && (want.x != have.x || want.y != have.y || want.z != have.z);
  };
  if (differs(k.reqntid, d.block))
    return fmt::format("block {}; kernel '{}' requires .reqntid {}", dim3(d.block), k.name, dim3(k.reqntid));
  if (differs(k.reqnctapercluster, d.cluster))
    return fmt::format("cluster {}; kernel '{}' requires .reqnctapercluster {}", dim3(d.cluster), k.name,
                       dim3(k.reqnctapercluster));
  if (d.grid.x % d.cluster.x || d.grid.y % d.cluster.y || d.grid.z % d.cluster.z)
    return fmt::format("grid {} is not a multiple of cluster {}", dim3(d.grid), dim3(d.cluster));
  if (d.cluster.count() > 16) return fmt::format("cluster of {} CTAs; at most 16", d.cluster.count());
  if (uint64_t{k.static_smem} + d.dynamic_smem > kSharedOptinMax)
    return fmt::format("{} bytes of static and {} of dynamic shared memory; at most {}", k.static_smem,
                       d.dynamic_smem, kSharedOptinMax);
  if (ctas_per_sm(k, static_cast<uint32_t>(d.block.count()), d.dynamic_smem) == 0)
    return fmt::format("kernel '{}' with {} threads of {} registers does not fit on an SM", k.name,
                       d.block.count(), k.registers);
  if (d.params.size() != k.param_bytes)
    return fmt::format("{} bytes of parameters; kernel '{}' takes {}", d.params.size(), k.name,
                       k.param_bytes);
  return {};
}

void Engine::submit(LaunchDesc desc, std::function<void(const LaunchResult&)> done) {
  auto active = std::make_shared<Impl::Active>();
  active->grid = std::make_unique<Grid>();
  Grid& grid = *active->grid;
  grid.desc = std::move(desc);
  grid.done = std::move(done);
  const LaunchDesc& d = grid.desc;
  grid.smem_bytes = d.kernel->static_smem + d.dynamic_smem;
  grid.clusters_total = d.grid.count() / d.cluster.count();
  grid.ctas_per_sm =
      std::max(1u, ctas_per_sm(*d.kernel, static_cast<uint32_t>(d.block.count()), d.dynamic_smem));
  grid.resident_limit = std::max<uint64_t>(1, d.sm_count / d.cluster.count() * grid.ctas_per_sm);
  grid.durations.assign(grid.clusters_total, 0);
  if (!d.params.empty() || d.cooperative) {
    // Behind them, the counter of cooperative_groups' grid.sync(): zero at first.
    const size_t params = (d.params.size() + 15) / 16 * 16, workspace = d.cooperative ? kGridWorkspace : 0;
    const size_t bytes = workspace ? params + workspace : d.params.size();
    const Allocation* a = d.memory->allocate(d.device, bytes, "kernel parameters", false);
    if (!a) {
      LaunchResult result;
      Finding f;
      f.id = Diagnostic::X1;
      f.what = "no device memory for the kernel's parameters";
      result.fault = Fault(std::move(f));
      grid.done(result);
      return;
    }
    grid.params = a->base;
    std::copy(d.params.begin(), d.params.end(), reinterpret_cast<std::byte*>(a->base));
    if (workspace) {
      grid.workspace = a->base + params;
      std::memset(reinterpret_cast<void*>(grid.workspace), 0, workspace);
    }
  }
  {
    std::lock_guard lock(impl_->mutex);
    grid.id = impl_->next_id++;
    if (grid.desc.number) grid.desc.number->store(grid.id);
    if (grid.desc.prerequisite) grid.prerequisite = grid.desc.prerequisite->load();
    if (grid.desc.check == CheckLevel::full) {
      std::lock_guard history(GlobalHistory::get().lock());
      GlobalHistory& g = GlobalHistory::get();
      if (!g.has_triggered(static_cast<uint32_t>(grid.prerequisite))) grid.prerequisite = 0;
      g.begin(static_cast<uint32_t>(grid.id), static_cast<uint32_t>(grid.prerequisite));
    }
    impl_->grids.push_back(std::move(active));
  }
  impl_->work.notify_all();
}

}  // namespace ptxops::virt
