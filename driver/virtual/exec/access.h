// Every data access of the virtual machine goes through here: address windows are resolved, bounds, alignment
// and never-written bytes are judged, and (a later room, check/) races. One place to instrument.
#pragma once

#include <cstdint>

#include "driver/virtual/exec/machine.h"
#include "driver/virtual/isa/types.h"

namespace ptxops::virt {

using isa::Space;  // a .param access is local where the address lies in the local window (arguments of calls)
enum class AccessKind : uint8_t { load, store, atomic };
enum class Proxy : uint8_t { generic, async, tensormap };
// Semantics of an access: `weak` ones order nothing and may race.
enum class Order : uint8_t { weak, relaxed, acquire, release, acq_rel };
enum class Scope : uint8_t { cta, cluster, gpu, sys };

// What an st is about to write for each lane: `count` elements of `size` bytes, the k-th of them at
// from[k] + lane * stride.
struct StoredValues {
  const std::byte* const* from;
  uint32_t count, size, stride;
};

struct Access {
  Space space = Space::generic;
  AccessKind kind = AccessKind::load;
  Proxy proxy = Proxy::generic;
  uint32_t size = 0;       // bytes
  uint32_t alignment = 1;  // required alignment in bytes
  Order order = Order::weak;
  Scope scope = Scope::cta;
  bool non_coherent = false;             // ld.global.nc
  bool returns = false;                  // an atomic that returns the old value
  bool deferred = false;                 // happens later: the caller tells the checker
  const StoredValues* stored = nullptr;  // of weak st
};

// Host address of [address, address + access.size) for `lane` of `warp`, or nullptr after recording a fault.
// Stores and atomics mark the bytes written. `lane` -1: the access belongs to no single lane (bulk copies).
std::byte* resolve(Warp& warp, const Op& op, int lane, uint64_t address, const Access& access);

// The same for a range of one CTA's shared memory by CTA-relative offset (bulk copies, matrix tiles).
std::byte* resolve_shared(Warp& warp, const Op& op, int lane, Cta& target, uint32_t offset,
                          const Access& access);

// CTA that a .shared::cluster (or plain shared) address names, with the offset inside it; nullptr after a
// fault.
Cta* shared_target(Warp& warp, const Op& op, int lane, uint32_t address, uint32_t& offset,
                   Diagnostic exited = Diagnostic::C6);

// ---- Whole warps
// ------------------------------------------------------------------------------------------------

// Where the lanes of one warp access lie. `host` is defined for the resolved lanes only.
struct LaneAccess {
  enum class Where : uint8_t { mixed, global, shared, remote, local, constant };
  std::byte* host[kLanes];
  Where where = Where::mixed;  // remote: shared memory of another CTA of the cluster
  bool contiguous = false;     // all 32 lanes, each one access behind the one before
  uint32_t size = 0;
  // The bytes from the lowest resolved one to the highest, where all lie in one allocation or in one CTA's
  // shared memory; else nullptr.
  const std::byte* low = nullptr;
  uint64_t span = 0;
};

// Resolves base[lane] + displacement for every lane of `lanes` at once; false after recording a fault.
// Bounds, alignment, written bytes and faults as resolve().
bool resolve_lanes(Warp& warp, const Op& op, uint32_t lanes, const uint64_t* base, int64_t displacement,
                   const Access& access, LaneAccess& out);

// Time model of a warp access: the latency of its slowest lane, after the extra issue cycles of bank
// conflicts were added to Warp::clock. Charges global traffic.
uint32_t charge_lanes(Warp& warp, uint32_t lanes, const LaneAccess& access);

// PTXOPS_CHECK: off | bounds | full; bounds when unset. Read once; throws std::runtime_error for another
// value.
CheckLevel check_level();
// PTXOPS_SCHEDULE_SEED: 0 when unset.
uint64_t schedule_seed();

// Time model: traffic already counted, `fresh` of its sectors (Grid::touched) never touched before; `address`
// is any of it. Returns the modelled latency in cycles.
uint32_t charge_sectors(Grid& grid, uint64_t address, uint64_t sectors, uint64_t fresh);

// Time model: global traffic of [address, address + size): L2 hit or DRAM, by 32-byte sectors first touched
// by this grid. Returns the modelled latency in cycles.
uint32_t charge_global(Grid& grid, uint64_t address, uint32_t size);

}  // namespace ptxops::virt
