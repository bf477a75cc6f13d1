#include "driver/virtual/exec/access.h"

#include <fmt/format.h>

#include <cstdlib>
#include <stdexcept>
#include <string_view>

#include "driver/virtual/check/checker.h"
#include "driver/virtual/exec/grid.h"
#include "driver/virtual/exec/lane_check.h"
#include "driver/virtual/exec/shadow.h"
#include "driver/virtual/memory/memory.h"
#include "driver/virtual/time/latency.h"

namespace ptxops::virt {
namespace {

CheckLevel read_check_level() {
  const char* text = std::getenv("PTXOPS_CHECK");
  const std::string_view value = text ? text : "";
  if (value.empty() || value == "bounds") return CheckLevel::bounds;
  if (value == "off") return CheckLevel::off;
  if (value == "full") return CheckLevel::full;
  throw std::runtime_error(fmt::format("PTXOPS_CHECK: expected off, bounds or full, got \"{}\"", value));
}

const char* verb(AccessKind kind) {
  switch (kind) {
    case AccessKind::load:
      return "reads";
    case AccessKind::store:
      return "writes";
    case AccessKind::atomic:
      return "updates";
  }
  return "";
}

std::byte* refuse(Warp& w, const Op& op, int lane, Diagnostic id, const char* head, uint64_t address,
                  const Access& access, const std::string& where) {
  if (access.proxy == Proxy::async) {
    if (id == Diagnostic::X1) id = Diagnostic::A2;
    if (id == Diagnostic::X2) id = Diagnostic::A1;
  }
  w.fault(op, lane, id,
          fmt::format("{}: {} {} bytes at {:#x}: {}", head, verb(access.kind), access.size, address, where));
  return nullptr;
}
std::byte* out_of_bounds(Warp& w, const Op& op, int lane, uint64_t address, const Access& access,
                         const std::string& where) {
  return refuse(w, op, lane, Diagnostic::X1, "illegal address", address, access, where);
}
bool misaligned(Warp& w, const Op& op, int lane, uint64_t address, const Access& access) {
  if ((address & (access.alignment - 1)) == 0) return false;
  refuse(w, op, lane, Diagnostic::X2, "misaligned address", address, access,
         fmt::format("expected a multiple of {}", access.alignment));
  return true;
}
// Reading what nobody has written is legal as long as nothing depends on it (check/undefined.h); updating it
// is not.
bool unwritten(Warp& w, const Op& op, int lane, uint64_t address, const Access& access, uint64_t at,
               const std::string& where) {
  if (access.kind == AccessKind::load && w.order) {
    if (access.proxy != Proxy::tensormap) w.order->undefined.unwritten |= 1u << std::max(lane, 0);
    return true;
  }
  refuse(w, op, lane, Diagnostic::M6, "load of never-written memory", address, access,
         fmt::format("byte {:#x} was never written; {}", at, where));
  return false;
}

CheckLevel level_of(const Warp& w) {
  return w.cta->cluster->grid->desc.check;
}

Memory& memory_of(const Warp& w) {
  return *w.cta->cluster->grid->desc.memory;
}

std::byte* resolve_global(Warp& w, const Op& op, int lane, uint64_t address, const Access& access) {
  if (misaligned(w, op, lane, address, access)) return nullptr;
  if (level_of(w) == CheckLevel::off) return reinterpret_cast<std::byte*>(address);
  const Allocation* a = w.last_allocation;
  if (!a || address - a->base >= a->size || !a->live.load(std::memory_order_relaxed)) {
    a = memory_of(w).find(address);
    if (!a || !a->live.load(std::memory_order_relaxed)) {
      const std::string where = memory_of(w).describe(address);
      if (!memory_of(w).was_freed(address)) return out_of_bounds(w, op, lane, address, access, where);
      return refuse(w, op, lane, Diagnostic::X6, "use after free", address, access, where);
    }
    w.last_allocation = a;
  }
  if (access.size > a->end() - address)
    return out_of_bounds(
        w, op, lane, address, access,
        fmt::format("{}, which ends {} bytes behind it", memory_of(w).describe(address), a->end() - address));
  if (level_of(w) == CheckLevel::full && access.kind != AccessKind::store) {
    const uint64_t ok = first_unwritten(*a, address, access.size);
    if (ok < access.size && !unwritten(w, op, lane, address, access, address + ok,
                                       access.kind == AccessKind::load ? "" : memory_of(w).describe(address)))
      return nullptr;
  }
  if (access.kind != AccessKind::load) mark_written(*a, address, access.size);
  return reinterpret_cast<std::byte*>(address);
}

std::byte* resolve_local(Warp& w, const Op& op, int lane, uint64_t address, const Access& access) {
  const uint64_t offset = address & ~kWindowMask;
  if (misaligned(w, op, lane, address, access)) return nullptr;
  if (offset >= w.local_used || access.size > w.local_used - offset)
    return out_of_bounds(w, op, lane, address, access,
                         fmt::format("local memory ends at {:#x}", w.local_used));
  const uint64_t at = uint64_t(lane) * w.local_size + offset;
  if (level_of(w) != CheckLevel::off && w.local_shadow) {
    if (level_of(w) == CheckLevel::full && access.kind != AccessKind::store) {
      const uint64_t ok = shadow_first_clear(w.local_shadow.get(), at, access.size);
      if (ok < access.size && !unwritten(w, op, lane, address, access, address + ok, "local memory"))
        return nullptr;
    }
    if (access.kind != AccessKind::load) shadow_mark(w.local_shadow.get(), at, access.size);
  }
  return w.local.get() + at;
}

bool judge_shared(Warp& w, const Op& op, int lane, Cta& target, uint32_t offset, const Access& access) {
  if (level_of(w) == CheckLevel::off || !target.smem_shadow) return true;
  if (level_of(w) == CheckLevel::full && access.kind != AccessKind::store) {
    const uint64_t ok = shadow_first_clear(target.smem_shadow.get(), offset, access.size);
    if (ok < access.size && !unwritten(w, op, lane, offset, access, offset + ok,
                                       fmt::format("shared memory of CTA rank {}", target.rank)))
      return false;
  }
  if (access.kind != AccessKind::load) shadow_mark(target.smem_shadow.get(), offset, access.size);
  return true;
}

// The window that the address of a generic access names; the address loses its window bits.
Space window_of(uint64_t& address) {
  const uint64_t window = address & kWindowMask;
  if (window == kSharedWindow) {
    address &= ~kWindowMask;
    return Space::shared_cluster;
  }
  if (window == kLocalWindow) return Space::local;
  return Space::global;
}

}  // namespace

uint64_t schedule_seed() {
  static const uint64_t seed = [] {
    const char* text = std::getenv("PTXOPS_SCHEDULE_SEED");
    if (!text || !*text) return uint64_t{0};
    char* end = nullptr;
    const uint64_t value = std::strtoull(text, &end, 0);
    if (*end)
      throw std::runtime_error(fmt::format("PTXOPS_SCHEDULE_SEED: expected an integer, got \"{}\"", text));
    return value;
  }();
  return seed;
}

CheckLevel check_level() {
  static const CheckLevel level = read_check_level();
  return level;
}

Cta* shared_target(Warp& w, const Op& op, int lane, uint32_t address, uint32_t& offset, Diagnostic exited) {
  const uint32_t rank_bits = address >> kClusterRankShift;
  offset = address & ((1u << kClusterRankShift) - 1);
  if (rank_bits == 0) return w.cta;
  Cluster& cluster = *w.cta->cluster;
  if (rank_bits > cluster.cta_count()) {
    w.fault(op, lane, Diagnostic::C7,
            fmt::format("shared::cluster address {:#x} names CTA rank {} of a cluster of {}", address,
                        rank_bits - 1, cluster.cta_count()));
    return nullptr;
  }
  Cta* target = cluster.ctas[rank_bits - 1].get();
  if (target->exited() && target != w.cta) {
    w.fault(op, lane, exited,
            fmt::format("shared::cluster address {:#x} lies in CTA rank {}, which has exited", address,
                        rank_bits - 1));
    return nullptr;
  }
  return target;
}

std::byte* resolve_shared(Warp& w, const Op& op, int lane, Cta& target, uint32_t offset,
                          const Access& access) {
  if (misaligned(w, op, lane, offset, access)) return nullptr;
  if (offset < kSharedReserved || offset >= target.smem_end || access.size > target.smem_end - offset)
    return out_of_bounds(w, op, lane, offset, access,
                         fmt::format("shared memory of CTA rank {} is [{:#x}, {:#x})", target.rank,
                                     kSharedReserved, target.smem_end));
  if (!judge_shared(w, op, lane, target, offset, access)) return nullptr;
  return target.smem + offset;
}

std::byte* resolve(Warp& w, const Op& op, int lane, uint64_t address, const Access& access) {
  Space space = access.space;
  if (space == Space::generic) space = window_of(address);
  if (space == Space::param && (address & kWindowMask) == kLocalWindow) space = Space::local;
  switch (space) {
    case Space::shared:
    case Space::shared_cluster: {
      uint32_t offset;
      if (address >> 32) return out_of_bounds(w, op, lane, address, access, "shared addresses have 32 bits");
      Cta* target = shared_target(w, op, lane, static_cast<uint32_t>(address), offset);
      if (!target) return nullptr;
      if (space == Space::shared && target != w.cta)
        return out_of_bounds(
            w, op, lane, address, access,
            fmt::format("a .shared access cannot reach CTA rank {} from rank {}; use .shared::cluster",
                        target->rank, w.cta->rank));
      return resolve_shared(w, op, lane, *target, offset, access);
    }
    case Space::local:
      return resolve_local(w, op, lane, address, access);
    default:
      return resolve_global(w, op, lane, address, access);
  }
}

// ---- Whole warps
// ------------------------------------------------------------------------------------------------

namespace {

bool resolve_each(Warp& w, const Op& op, uint32_t lanes, const uint64_t* base, int64_t displacement,
                  const Access& access, LaneAccess& out) {
  out.low = nullptr;
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const int lane = __builtin_ctz(rest);
    out.host[lane] = resolve(w, op, lane, base[lane] + displacement, access);
    if (!out.host[lane]) return false;
  }
  return true;
}

// Lanes that lie so near each other have their written bits looked at together.
constexpr uint64_t kNear = 4096;

// Have all bytes of the access and between its lanes been written? Only asked of lanes near each other.
bool span_written(const Allocation& a, const LaneAccess& at) {
  return at.span <= kNear && first_unwritten(a, reinterpret_cast<uint64_t>(at.low), at.span) == at.span;
}
bool span_written(const Cta& cta, const LaneAccess& at) {
  return at.span <= kNear && shadow_first_clear(cta.smem_shadow.get(),
                                                static_cast<uint64_t>(at.low - cta.smem), at.span) == at.span;
}

// Written bits of a global access whose lanes all lie in `a`.
bool judge_global(Warp& w, const Op& op, uint32_t lanes, const Allocation& a, const Access& access,
                  const LaneAccess& at) {
  if (!a.shadow) return true;
  const bool reads = level_of(w) == CheckLevel::full && access.kind != AccessKind::store;
  if (access.kind == AccessKind::load && !reads) return true;
  if ((reads || !at.contiguous) && span_written(a, at)) return true;
  if (reads) {
    for (uint32_t rest = lanes; rest; rest &= rest - 1) {
      const int lane = __builtin_ctz(rest);
      const uint64_t address = reinterpret_cast<uint64_t>(at.host[lane]);
      const uint64_t ok = first_unwritten(a, address, access.size);
      if (ok < access.size &&
          !unwritten(w, op, lane, address, access, address + ok,
                     access.kind == AccessKind::load ? "" : memory_of(w).describe(address)))
        return false;
    }
  }
  if (access.kind == AccessKind::load) return true;
  if (at.contiguous) {
    mark_written(a, reinterpret_cast<uint64_t>(at.host[0]), uint64_t{access.size} * kLanes);
    return true;
  }
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const uint64_t address = reinterpret_cast<uint64_t>(at.host[__builtin_ctz(rest)]);
    if (!all_written(a, address, access.size)) mark_written(a, address, access.size);
  }
  return true;
}

bool resolve_lanes_global(Warp& w, const Op& op, uint32_t lanes, const uint64_t* base, int64_t displacement,
                          const Access& access, LaneAccess& out) {
  const bool judged = level_of(w) != CheckLevel::off;
  const Allocation* a = w.last_allocation;
  const uint64_t first = base[__builtin_ctz(lanes)] + displacement;
  if (judged && (!a || first - a->base >= a->size || !a->live.load(std::memory_order_relaxed))) {
    a = memory_of(w).find(first);
    if (a && a->live.load(std::memory_order_relaxed))
      w.last_allocation = a;
    else
      a = nullptr;
  }
  out.where = LaneAccess::Where::global;
  LaneCheck check{.displacement = static_cast<uint64_t>(displacement),
                  .alignment_mask = access.alignment - 1u};
  if (judged) {
    if (!a || a->size < access.size) return resolve_each(w, op, lanes, base, displacement, access, out);
    check.low = a->base;
    check.limit = a->size - access.size;
  }
  if (!check_lanes(base, lanes, access.size, check, out))
    return resolve_each(w, op, lanes, base, displacement, access, out);
  return !judged || judge_global(w, op, lanes, *a, access, out);
}

bool resolve_lanes_shared(Warp& w, const Op& op, uint32_t lanes, const uint64_t* base, int64_t displacement,
                          uint64_t window, const Access& access, LaneAccess& out) {
  const uint64_t first = base[__builtin_ctz(lanes)] + displacement - window;
  uint32_t offset;
  if (first >> 32) return resolve_each(w, op, lanes, base, displacement, access, out);
  Cta* target = shared_target(w, op, __builtin_ctz(lanes), static_cast<uint32_t>(first), offset);
  if (!target) return false;
  out.where = target == w.cta ? LaneAccess::Where::mixed : LaneAccess::Where::remote;
  if ((access.space == Space::shared && target != w.cta) || target->smem_end < kSharedReserved + access.size)
    return resolve_each(w, op, lanes, base, displacement, access, out);
  out.where = target == w.cta ? LaneAccess::Where::shared : LaneAccess::Where::remote;
  const uint64_t zero = window + (first - offset);  // the address that names the window's byte 0
  const LaneCheck check{.displacement = static_cast<uint64_t>(displacement),
                        .alignment_mask = access.alignment - 1u,
                        .low = zero + kSharedReserved,
                        .limit = target->smem_end - kSharedReserved - access.size,
                        .to_host = reinterpret_cast<uint64_t>(target->smem) - zero};
  if (!check_lanes(base, lanes, access.size, check, out)) {
    out.where = LaneAccess::Where::mixed;  // lanes that name several CTAs, or one that faults
    return resolve_each(w, op, lanes, base, displacement, access, out);
  }
  if (level_of(w) == CheckLevel::off || !target->smem_shadow) return true;
  const bool reads = level_of(w) == CheckLevel::full && access.kind != AccessKind::store;
  if (access.kind == AccessKind::load && !reads) return true;
  if ((reads || !out.contiguous) && span_written(*target, out)) return true;
  if (reads) {
    for (uint32_t rest = lanes; rest; rest &= rest - 1) {
      const int lane = __builtin_ctz(rest);
      if (!judge_shared(w, op, lane, *target, static_cast<uint32_t>(out.host[lane] - target->smem), access))
        return false;
    }
  }
  if (access.kind == AccessKind::load) return true;
  uint8_t* shadow = target->smem_shadow.get();
  if (out.contiguous) {
    shadow_mark(shadow, out.host[0] - target->smem, uint64_t{access.size} * kLanes);
  } else {
    for (uint32_t rest = lanes; rest; rest &= rest - 1)
      shadow_mark(shadow, out.host[__builtin_ctz(rest)] - target->smem, access.size);
  }
  return true;
}

}  // namespace

namespace {

bool resolve_warp(Warp& w, const Op& op, uint32_t lanes, const uint64_t* base, int64_t displacement,
                  const Access& access, LaneAccess& out) {
  out.size = access.size;
  out.contiguous = false;
  switch (access.space) {
    case Space::global:
      return resolve_lanes_global(w, op, lanes, base, displacement, access, out);
    case Space::shared:
    case Space::shared_cluster:
      return resolve_lanes_shared(w, op, lanes, base, displacement, 0, access, out);
    case Space::generic: {
      const uint64_t window = (base[__builtin_ctz(lanes)] + displacement) & kWindowMask;
      if (window == kSharedWindow)
        return resolve_lanes_shared(w, op, lanes, base, displacement, kSharedWindow, access, out);
      if (window == 0) return resolve_lanes_global(w, op, lanes, base, displacement, access, out);
      out.where = LaneAccess::Where::local;
      return resolve_each(w, op, lanes, base, displacement, access, out);
    }
    case Space::local:
      out.where = LaneAccess::Where::local;
      return resolve_each(w, op, lanes, base, displacement, access, out);
    default: {
      const uint64_t window = (base[__builtin_ctz(lanes)] + displacement) & kWindowMask;
      const bool is_local = access.space == Space::param && window == kLocalWindow;
      if (is_local ? !resolve_each(w, op, lanes, base, displacement, access, out)
                   : !resolve_lanes_global(w, op, lanes, base, displacement, access, out))
        return false;
      out.where = is_local ? LaneAccess::Where::local : LaneAccess::Where::constant;
      return true;
    }
  }
}

}  // namespace

bool resolve_lanes(Warp& w, const Op& op, uint32_t lanes, const uint64_t* base, int64_t displacement,
                   const Access& access, LaneAccess& out) {
  if (w.order) w.order->undefined.unwritten = 0;
  return resolve_warp(w, op, lanes, base, displacement, access, out) &&
         (!w.order || access.deferred || w.order->checker->generic(w, op, lanes, out, access));
}

// ---- Time model
// -------------------------------------------------------------------------------------------------

uint32_t charge_sectors(Grid& grid, uint64_t address, uint64_t sectors, uint64_t fresh) {
  grid.counters.l2_bytes.fetch_add(sectors * TouchedSectors::kSectorBytes, std::memory_order_relaxed);
  if (fresh) {
    grid.counters.dram_bytes.fetch_add(fresh * TouchedSectors::kSectorBytes, std::memory_order_relaxed);
    return latency::kDram;
  }
  // Which L2 partition holds an address is a hash of its bits; half of them are far.
  return latency::kL2 + (__builtin_parityll(address >> 12) ? latency::kL2Far : 0);
}

uint32_t charge_global(Grid& grid, uint64_t address, uint32_t size) {
  const uint64_t fresh = grid.touched.touch(address, size);
  return charge_sectors(grid, address, TouchedSectors::sectors(address, size), fresh);
}

namespace {

// Passes over the 32 banks that one warp access takes: 4-byte words of one bank that differ are served in
// turn; accesses wider than 4 bytes are split into groups of lanes that move 128 bytes.
uint32_t bank_passes(uint32_t lanes, const LaneAccess& access) {
  const uint32_t words = access.size <= 4 ? 1 : access.size / 4;
  if (access.contiguous) return words;
  if (words == 1 && access.low && reinterpret_cast<uint64_t>(access.low) % 4 + access.span <= 128)
    return 1;  // 32 words in a row are as many banks
  const uint32_t group = kLanes / words;
  uint32_t passes = 0;
  for (uint32_t begin = 0; begin < kLanes; begin += group) {
    uint32_t rest = lanes & ((group == 32 ? ~0u : (1u << group) - 1) << begin);
    if (!rest) continue;
    uint64_t word_in[32];
    uint8_t depth[32] = {};
    uint32_t seen = 0, worst = 1;
    for (; rest; rest &= rest - 1) {
      const uint64_t first = reinterpret_cast<uint64_t>(access.host[__builtin_ctz(rest)]) / 4;
      for (uint32_t k = 0; k < words; ++k) {
        const uint64_t word = first + k;
        const uint32_t bank = word % 32;
        if (!(seen >> bank & 1)) {
          seen |= 1u << bank;
          word_in[bank] = word;
          depth[bank] = 1;
        } else if (word_in[bank] != word) {
          word_in[bank] = word;
          if (++depth[bank] > worst) worst = depth[bank];
        }
      }
    }
    passes += worst;
  }
  return passes;
}

}  // namespace

uint32_t charge_lanes(Warp& w, uint32_t lanes, const LaneAccess& access) {
  using Where = LaneAccess::Where;
  switch (access.where) {
    case Where::shared: {
      const uint32_t passes = bank_passes(lanes, access);
      w.clock += passes - 1;
      return latency::kShared;
    }
    case Where::remote:
      return latency::kSharedRemote;
    case Where::local:
      return latency::kLocal;
    case Where::constant:
      return latency::kConstant;
    case Where::mixed:
      return latency::kSharedRemote;
    case Where::global:
      break;
  }
  Grid& grid = *w.cta->cluster->grid;
  if (access.contiguous)
    return charge_global(grid, reinterpret_cast<uint64_t>(access.host[0]), access.size * kLanes);
  // Neighbouring lanes that touch the same or adjoining sectors are one request.
  uint32_t slowest = 0;
  uint64_t begin = 0, end = 0;
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const uint64_t at = reinterpret_cast<uint64_t>(access.host[__builtin_ctz(rest)]);
    const uint64_t low = at & ~uint64_t{31}, high = (at + access.size + 31) & ~uint64_t{31};
    if (end && low >= begin && low <= end) {
      if (high > end) end = high;
      continue;
    }
    if (end) slowest = std::max(slowest, charge_global(grid, begin, static_cast<uint32_t>(end - begin)));
    begin = low, end = high;
  }
  return std::max(slowest, charge_global(grid, begin, static_cast<uint32_t>(end - begin)));
}

}  // namespace ptxops::virt
