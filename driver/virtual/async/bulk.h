// What all bulk copies share: where they signal, what they cost, and their place in the queue.
#pragma once

#include <cstdint>

#include "driver/virtual/async/async_state.h"
#include "driver/virtual/check/checker.h"
#include "driver/virtual/exec/access.h"
#include "driver/virtual/exec/decode.h"

namespace ptxops::virt {

// Operands of a bulk instruction, kept beside its Op (Op::imm points here). Slots are frame offsets.
struct BulkOperands {
  uint32_t shared = 0, global = 0, size = 0, barrier = 0, mask = 0;  // addresses: 64-bit slots
  uint32_t remote = 0;                                               // shared memory of the destination (s2s)
  int64_t shared_displacement = 0, global_displacement = 0, barrier_displacement = 0, remote_displacement = 0;
  bool multicast = false;
  uint32_t coordinates[5] = {};  // tensor copies
  int dimensions = 0;
};

// The CTAs that a copy writes to, with the offset of the destination and of the mbarrier, equal in all of
// them.
struct Destination {
  uint32_t ctas = 0;  // bit set of ranks
  uint32_t offset = 0, barrier = 0;
};

// Resolves destination and mbarrier addresses, checks ranges and CTAs, marks the destination written and
// announces `bytes` at each barrier. false after a fault.
bool open_destination(Warp& w, const Op& op, int lane, const BulkOperands& o, uint64_t address,
                      uint64_t barrier, uint32_t bytes, uint32_t alignment, Destination& out,
                      AccessKind kind = AccessKind::store);
// Signals the barriers of a landed copy.
void complete(Warp& w, const Op& op, const Destination& to, uint32_t bytes, uint64_t clock);

// Offset within the executing CTA of a shared source range, checked; nullptr after a fault.
const std::byte* open_source(Warp& w, const Op& op, int lane, uint64_t address, uint32_t bytes,
                             uint32_t alignment);

// For the checker: whose access the read of a copy's source is, for copies that signal mbarriers; and for
// those that belong to a bulk group (whose latest operation they become) the read and the write.
Checker::Async signals(Warp& w, int lane, const Destination& to);
struct GroupedOrder {
  Checker::Async read, write;
};
GroupedOrder open_group(Warp& w, const Op& op, int lane, AccessKind kind);

// Time model: when a copy of `bytes` in `rows` rows, issued now, has gone through the SM's copy engine.
uint64_t reserve_engine(Warp& w, uint32_t bytes, uint32_t rows);

// Adds a copy with effects `apply` to the lane's open bulk group.
template <class Apply>
void push_grouped(Warp& w, int lane, uint64_t read_clock, uint64_t write_clock, Apply apply) {
  auto group = async_state(w).bulk.join(1u << lane).front();
  ++group->pending;
  if (w.order) group->number = w.order->checker->bulk_of(w, static_cast<uint32_t>(lane)).issued;
  group->read_clock = std::max(group->read_clock, read_clock);
  group->write_clock = std::max(group->write_clock, write_clock);
  Cluster* cluster = w.cta->cluster;
  cluster->async.push_back({[group, cluster, apply = std::move(apply)] {
                              apply();
                              --group->pending;
                              ++cluster->progress;
                            },
                            true});
}

inline const BulkOperands& bulk_operands(const Op& op) {
  return *reinterpret_cast<const BulkOperands*>(op.imm);
}

}  // namespace ptxops::virt
