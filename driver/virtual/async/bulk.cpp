#include "driver/virtual/async/bulk.h"

#include <fmt/format.h>

#include <algorithm>

#include "driver/virtual/async/mbarrier.h"
#include "driver/virtual/time/latency.h"

namespace ptxops::virt {
namespace {

// The CTA and offset that a shared address (.shared::cta, .shared::cluster or generic) names.
Cta* locate(Warp& w, const Op& op, int lane, uint64_t address, uint32_t& offset) {
  if ((address & kWindowMask) == kSharedWindow) address &= ~kWindowMask;
  if (address >> 32) {
    w.fault(op, lane, Diagnostic::A1, fmt::format("address {:#x} does not lie in shared memory", address));
    return nullptr;
  }
  return shared_target(w, op, lane, static_cast<uint32_t>(address), offset);
}

}  // namespace

bool open_destination(Warp& w, const Op& op, int lane, const BulkOperands& o, uint64_t address,
                      uint64_t barrier, uint32_t bytes, uint32_t alignment, Destination& out,
                      AccessKind kind) {
  Cta* data = locate(w, op, lane, address, out.offset);
  if (!data) return false;
  Cta* signal = locate(w, op, lane, barrier, out.barrier);
  if (!signal) return false;
  Cluster& cluster = *w.cta->cluster;
  if (o.multicast) {
    out.ctas = w.reg<uint32_t>(o.mask)[lane] & 0xFFFF;
    if (out.ctas == 0 || out.ctas >> cluster.cta_count()) {
      w.fault(op, lane, Diagnostic::A5,
              fmt::format("multicast to CTA mask {:#x}: expected a non-empty subset of the cluster's {} CTAs",
                          out.ctas, cluster.cta_count()));
      return false;
    }
  } else {
    if (data != signal) {
      w.fault(op, lane, Diagnostic::A1,
              fmt::format("destination in CTA rank {} but mbarrier in CTA rank {}: expected the same CTA",
                          data->rank, signal->rank));
      return false;
    }
    out.ctas = 1u << data->rank;
  }
  const Access access{.space = Space::shared_cluster,
                      .kind = AccessKind::store,
                      .proxy = Proxy::async,
                      .size = bytes,
                      .alignment = alignment};
  for (uint32_t rest = out.ctas; rest; rest &= rest - 1) {
    Cta& target = *cluster.ctas[__builtin_ctz(rest)];
    if (target.exited()) {
      w.fault(op, lane, Diagnostic::A5,
              fmt::format("bulk copy into shared memory of CTA rank {}, which has exited", target.rank));
      return false;
    }
    if (!resolve_shared(w, op, lane, target, out.offset, access)) return false;
    if (!mbarrier_copy_issued(w, op, lane, target, out.barrier, bytes)) return false;
    if (w.order) {
      Checker& checker = *w.order->checker;
      if (!checker.shared_range(w, op, checker.signals(Actor::bulk_load, kind, target, out.barrier, lane),
                                target, out.offset, bytes))
        return false;
    }
  }
  return true;
}

void complete(Warp& w, const Op& op, const Destination& to, uint32_t bytes, uint64_t clock) {
  Cluster& cluster = *w.cta->cluster;
  for (uint32_t rest = to.ctas; rest; rest &= rest - 1)
    mbarrier_complete_tx(w, op, *cluster.ctas[__builtin_ctz(rest)], to.barrier, bytes, clock, true);
}

const std::byte* open_source(Warp& w, const Op& op, int lane, uint64_t address, uint32_t bytes,
                             uint32_t alignment) {
  uint32_t offset;
  Cta* source = locate(w, op, lane, address, offset);
  if (!source) return nullptr;
  if (source != w.cta) {
    w.fault(op, lane, Diagnostic::A1,
            fmt::format("bulk copy out of shared memory of CTA rank {}: expected the executing CTA's",
                        source->rank));
    return nullptr;
  }
  const Access access{.space = Space::shared,
                      .kind = AccessKind::load,
                      .proxy = Proxy::async,
                      .size = bytes,
                      .alignment = alignment};
  return resolve_shared(w, op, lane, *source, offset, access);
}

Checker::Async signals(Warp& w, int lane, const Destination& to) {
  const Cta& first = *w.cta->cluster->ctas[__builtin_ctz(to.ctas)];
  return w.order->checker->signals(Actor::bulk_read, AccessKind::load, first, to.barrier, lane);
}

GroupedOrder open_group(Warp& w, const Op& op, int lane, AccessKind kind) {
  WarpOrder::Bulk& b = w.order->checker->bulk_of(w, static_cast<uint32_t>(lane));
  ++b.issued;
  b.op = &op;
  return {{Actor::bulk_read, AccessKind::load, b.reads, b.issued, lane},
          {Actor::bulk_store, kind, b.writes, b.issued, lane}};
}

uint64_t reserve_engine(Warp& w, uint32_t bytes, uint32_t rows) {
  const uint32_t cycles =
      std::max({bytes / latency::kTmaBytesPerCycle, rows * latency::kTmaCyclesPerRow, 1u});
  return w.cta->tma.reserve(w.clock, cycles);
}

}  // namespace ptxops::virt
