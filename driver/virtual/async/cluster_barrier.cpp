#include "driver/virtual/async/cluster_barrier.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "driver/virtual/check/checker.h"
#include "driver/virtual/exec/decode.h"
#include "driver/virtual/isa/ir.h"

namespace ptxops::virt {
namespace {

constexpr uint32_t kAligned = 1, kRelaxed = 2;  // Op::e

bool has_arrived(const Warp& warp) {
  return (warp.live() & ~(warp.cluster_arrived & ~warp.cluster_released)) == 0;
}

std::string describe(const Split& split) {
  const Cluster& cluster = *split.warp->cta->cluster;
  std::string missing;
  uint32_t count = 0;
  for (const auto& cta : cluster.ctas)
    for (const auto& warp : cta->warps) {
      if (has_arrived(*warp)) continue;
      if (++count <= 8)
        missing += fmt::format("{}CTA {} warp {}", missing.empty() ? "" : ", ", cta->rank, warp->id);
    }
  if (count > 8) missing += fmt::format(" and {} more", count - 8);
  return fmt::format("barrier.cluster phase {}: not arrived: {}", cluster.barrier_phase, missing);
}

// Completes the phase once every live lane of the cluster has arrived.
void complete_if_due(Cluster& cluster) {
  bool any = false;
  for (const auto& cta : cluster.ctas)
    for (const auto& warp : cta->warps) {
      if (!has_arrived(*warp)) return;
      any |= (warp->cluster_arrived & ~warp->cluster_released) != 0;
    }
  if (!any) return;  // everything has exited
  for (const auto& cta : cluster.ctas)
    for (const auto& warp : cta->warps) warp->cluster_released = warp->cluster_arrived;
  cluster.barrier_release =
      cluster.barrier_clock + (cluster.cta_count() > 1 ? kClusterBarrierLatency : kSoloBarrierLatency);
  cluster.barrier_clock = 0;
  cluster.released_order = std::move(cluster.arriving_order);
  ++cluster.barrier_phase;
  ++cluster.progress;
  cluster.wake(cluster.barrier_waiters);
}

Step check_aligned(Warp& w, const Op& op, uint32_t lanes, const char* what) {
  if (!(op.e & kAligned) || lanes == w.live()) return Step::next;
  return w.fault(
      op, -1, Diagnostic::C3,
      fmt::format("divergent aligned barrier.cluster.{}: executed by lanes 0x{:08x}, expected all live lanes "
                  "0x{:08x} of the warp together",
                  what, lanes, w.live()));
}

Step arrive(Warp& w, const Op& op, uint32_t lanes) {
  if (check_aligned(w, op, lanes, "arrive") == Step::fault) return Step::fault;
  if (const uint32_t again = w.cluster_arrived & lanes)
    return w.fault(
        op, std::countr_zero(again), Diagnostic::C5,
        fmt::format("double arrive on barrier.cluster: lanes 0x{:08x} arrived in phase {} and have not "
                    "executed barrier.cluster.wait",
                    again, w.cta->cluster->barrier_phase));
  Cluster& cluster = *w.cta->cluster;
  w.cluster_arrived |= lanes;
  if (w.order) {
    if (!cluster.arriving_order) cluster.arriving_order = std::make_shared<BarrierOrder>();
    if (op.e & kAligned) order_lanes(w, lanes);
    w.order->checker->barrier_arrive(w, lanes, *cluster.arriving_order, op.e & kRelaxed);
  }
  cluster.barrier_clock = std::max(cluster.barrier_clock, w.clock);
  ++cluster.progress;
  complete_if_due(cluster);
  return Step::next;
}

Step wait(Warp& w, const Op& op, uint32_t lanes) {
  if (check_aligned(w, op, lanes, "wait") == Step::fault) return Step::fault;
  if (const uint32_t without = lanes & ~w.cluster_arrived)
    return w.fault(
        op, std::countr_zero(without), Diagnostic::C5,
        fmt::format("barrier.cluster.wait without arrive: lanes 0x{:08x} have not arrived in phase {}",
                    without, w.cta->cluster->barrier_phase));
  Cluster& cluster = *w.cta->cluster;
  if (lanes & ~w.cluster_released) {
    w.wait_on(cluster.barrier_waiters, WaitKind::cluster_barrier, describe, cluster.barrier_phase);
    return Step::block;
  }
  w.cluster_arrived &= ~lanes;
  w.cluster_released &= ~lanes;
  w.clock = std::max(w.clock, cluster.barrier_release);
  if (w.order && cluster.released_order) {
    w.order->checker->barrier_leave(w, lanes, *cluster.released_order, false);
    if (op.e & kAligned) order_lanes(w, lanes);
  }
  return Step::next;
}

}  // namespace

void cluster_barrier_after_exit(Warp& warp) {
  warp.cluster_arrived &= ~warp.exited;
  warp.cluster_released &= ~warp.exited;
  Cluster& cluster = *warp.cta->cluster;
  for (const auto& cta : cluster.ctas)
    for (const auto& other : cta->warps)
      if (other->cluster_arrived & ~other->cluster_released) {
        cluster.barrier_clock = std::max(cluster.barrier_clock, warp.clock);
        complete_if_due(cluster);
        return;
      }
}

// .relaxed differs only in what it publishes.
void decode_barrier_cluster_arrive(Decoder& d, const isa::Instruction& in) {
  d.emit(arrive).e = (in.has("aligned") ? kAligned : 0) | (in.has("relaxed") ? kRelaxed : 0);
}
void decode_barrier_cluster_wait(Decoder& d, const isa::Instruction& in) {
  d.emit(wait).e = in.has("aligned") ? kAligned : 0;
}

}  // namespace ptxops::virt
