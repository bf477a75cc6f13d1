#include "driver/virtual/memory/memory.h"

#include <fmt/core.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <stdexcept>
#include <vector>

namespace ptxops::virt {
namespace {

constexpr uint64_t kGranule = uint64_t{1} << kGranuleShift;
constexpr uint64_t kRedzone = 16;       // at least this much unused space behind a small allocation
constexpr uint32_t kMinSlotShift = 9;   // 512 bytes: the alignment of every allocation
constexpr uint32_t kMaxSlotShift = 15;  // 32 KiB; larger allocations take whole granules
constexpr size_t kRemembered = 65536;   // freed allocations kept for reports
constexpr uint64_t kPatternBytes = 8ull
                                   << 20;  // of fresh bytes, mapped copy-on-write behind every allocation
// A fixed hint makes addresses, and so reports, the same in every run; the system may choose otherwise.
constexpr uint64_t kBaseHint = 0x2000'0000'0000;

uint64_t round_up(uint64_t value, uint64_t unit) {
  return (value + unit - 1) / unit * unit;
}

void* reserve(uint64_t hint, uint64_t bytes, int protection) {
  void* p = mmap(reinterpret_cast<void*>(hint), bytes, protection,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED)
    throw std::runtime_error(fmt::format("virtual device memory: reserving {} GiB of addresses failed: {}",
                                         bytes >> 30, std::strerror(errno)));
  return p;
}

// A file of fresh bytes; mapped privately it costs no memory until written.
int make_pattern_file() {
  const int fd = memfd_create("ptxops-fresh", MFD_CLOEXEC);
  if (fd < 0)
    throw std::runtime_error(fmt::format("virtual device memory: memfd_create: {}", std::strerror(errno)));
  const std::vector<uint8_t> block(1 << 20, kFreshByte);
  for (uint64_t done = 0; done < kPatternBytes; done += block.size())
    if (write(fd, block.data(), block.size()) != static_cast<ssize_t>(block.size()))
      throw std::runtime_error(
          fmt::format("virtual device memory: writing the pattern: {}", std::strerror(errno)));
  return fd;
}

}  // namespace

struct Memory::Impl {
  struct Arena {
    uint64_t begin = 0, end = 0;
    std::map<uint64_t, uint64_t> free;  // begin -> size of unused granule ranges
    uint64_t cursor = 0;                // next-fit: where the last allocation ended
    uint64_t used = 0;                  // bytes handed out
    struct Slot {
      Slab* slab;
      uint32_t index;
    };
    std::deque<Slot> slots[kMaxSlotShift + 1];  // free slots by pitch, least recently freed first
  };

  std::mutex mutex;
  int devices = 0;
  uint64_t base = 0, span = 0;
  uint8_t* shadow = nullptr;
  std::atomic<uintptr_t>* granules = nullptr;
  uint64_t granule_bytes = 0;
  int pattern = -1;
  std::vector<Arena> arenas;  // device i at i, host last
  std::deque<Slab> slabs;
  std::deque<Allocation> records;
  std::vector<Allocation*> spare;              // records whose memory of a freed allocation was given up
  std::map<uint64_t, Allocation*> live, dead;  // by base
  std::deque<Allocation*> dead_order;
  uint32_t next_id = 1;
  // Registered host ranges, sorted. A lock of its own: kernels look here, for addresses outside the arena.
  std::vector<const Allocation*> registered;
  std::shared_mutex registered_mutex;

  Arena& arena(int device) { return arenas[device == kHostDevice ? devices : device]; }
  uint8_t* shadow_of(uint64_t address) { return shadow + (address - base) / 8; }
  std::atomic<uintptr_t>& granule(uint64_t address) { return granules[(address - base) >> kGranuleShift]; }

  bool map_fresh(uint64_t address, uint64_t bytes) {
    for (uint64_t done = 0; done < bytes; done += kPatternBytes)
      if (mmap(reinterpret_cast<void*>(address + done), std::min(kPatternBytes, bytes - done),
               PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, pattern, 0) == MAP_FAILED)
        return false;
    return true;
  }

  // Replaces pages by lazily zero ones: their memory goes back to the system, stray accesses stay harmless.
  static void give_back(uint64_t address, uint64_t bytes) {
    mmap(reinterpret_cast<void*>(address), bytes, PROT_READ | PROT_WRITE,
         MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  }

  Allocation* new_record() {
    if (!spare.empty()) {
      Allocation* a = spare.back();
      spare.pop_back();
      return a;
    }
    return &records.emplace_back();
  }

  void publish(Allocation* a, uint64_t at, uint64_t size, int device, const char* kind, bool tracked) {
    a->base = at;
    a->size = size;
    a->shadow = tracked ? shadow_of(at) : nullptr;
    a->id = next_id++;
    a->device = device;
    a->kind = kind;
    a->live.store(true, std::memory_order_release);
    live[at] = a;
    // The freed allocations that it overlaps are history.
    auto it = dead.lower_bound(at);
    if (it != dead.begin() && std::prev(it)->second->end() > at) --it;
    while (it != dead.end() && it->first < at + size) it = dead.erase(it);
  }

  void retire(Allocation* a) {
    a->live.store(false, std::memory_order_release);
    live.erase(a->base);
    dead[a->base] = a;
    dead_order.push_back(a);
    if (dead_order.size() > kRemembered) {
      Allocation* old = dead_order.front();
      dead_order.pop_front();
      if (auto it = dead.find(old->base); it != dead.end() && it->second == old) dead.erase(it);
      spare.push_back(old);
    }
  }

  // Takes `bytes` (whole granules) from the arena, next-fit; 0 when nothing is large enough.
  uint64_t take(Arena& a, uint64_t bytes) {
    auto fits = [&](auto begin, auto end) {
      return std::find_if(begin, end, [&](const auto& range) { return range.second >= bytes; });
    };
    auto start = a.free.lower_bound(a.cursor);
    auto it = fits(start, a.free.end());
    if (it == a.free.end()) {
      it = fits(a.free.begin(), start);
      if (it == start) return 0;
    }
    const uint64_t at = it->first, size = it->second;
    a.free.erase(it);
    if (size > bytes) a.free[at + bytes] = size - bytes;
    a.cursor = at + bytes;
    return at;
  }

  void put_back(Arena& a, uint64_t at, uint64_t bytes) {
    auto [it, inserted] = a.free.emplace(at, bytes);
    if (auto next = std::next(it); next != a.free.end() && it->first + it->second == next->first) {
      it->second += next->second;
      a.free.erase(next);
    }
    if (it != a.free.begin())
      if (auto before = std::prev(it); before->first + before->second == it->first) {
        before->second += it->second;
        a.free.erase(it);
      }
  }

  const Allocation* allocate_small(Arena& arena, int device, uint64_t size, const char* kind, bool tracked) {
    const uint32_t shift = std::max<uint32_t>(kMinSlotShift, std::bit_width(size + kRedzone - 1));
    auto& free_slots = arena.slots[shift];
    if (free_slots.empty()) {
      const uint64_t at = take(arena, 2 * kGranule);  // the second stays inaccessible
      if (at == 0) return nullptr;
      if (!map_fresh(at, kGranule)) {
        put_back(arena, at, 2 * kGranule);
        return nullptr;
      }
      Slab& slab = slabs.emplace_back();
      slab.base = at;
      slab.shift = shift;
      for (auto& slot : slab.slots) slot.store(nullptr, std::memory_order_relaxed);
      granule(at).store(reinterpret_cast<uintptr_t>(&slab) | 1, std::memory_order_release);
      for (uint32_t i = 0; i < kGranule >> shift; ++i) free_slots.push_back({&slab, i});
    }
    const Arena::Slot slot = free_slots.front();
    free_slots.pop_front();
    const uint64_t at = slot.slab->base + (uint64_t{slot.index} << shift);
    Allocation* a = new_record();
    publish(a, at, size, device, kind, tracked);
    slot.slab->slots[slot.index].store(a, std::memory_order_release);
    return a;
  }

  static uint64_t granules_of(uint64_t size) { return round_up(size + kRedzone, kGranule) + kGranule; }

  const Allocation* allocate_large(Arena& arena, int device, uint64_t size, const char* kind, bool tracked) {
    const uint64_t bytes = granules_of(size);
    const uint64_t at = take(arena, bytes);
    if (at == 0) return nullptr;
    if (!map_fresh(at, round_up(size, 4096))) {
      give_back(at, bytes);
      put_back(arena, at, bytes);
      return nullptr;
    }
    Allocation* a = new_record();
    publish(a, at, size, device, kind, tracked);
    for (uint64_t p = at; p < at + size; p += kGranule)
      granule(p).store(reinterpret_cast<uintptr_t>(a), std::memory_order_release);
    return a;
  }

  void free(Allocation* a) {
    Arena& owner = arena(a->device);
    const uintptr_t entry = granule(a->base).load(std::memory_order_relaxed);
    const uint64_t at = a->base, size = a->size;
    owner.used -= round_up(size, kAllocationAlignment);
    if (entry & 1) {
      Slab* slab = reinterpret_cast<Slab*>(entry & ~uintptr_t{1});
      const uint32_t index = static_cast<uint32_t>((at - slab->base) >> slab->shift);
      slab->slots[index].store(nullptr, std::memory_order_release);
      retire(a);
      const uint64_t pitch = uint64_t{1} << slab->shift;
      std::memset(reinterpret_cast<void*>(at), kFreshByte, pitch);
      std::memset(shadow_of(at), 0, pitch / 8);
      owner.slots[slab->shift].push_back({slab, index});
      return;
    }
    for (uint64_t p = at; p < at + size; p += kGranule) granule(p).store(0, std::memory_order_release);
    retire(a);
    give_back(at, round_up(size, 4096));
    madvise(shadow_of(at), round_up(size, kGranule) / 8, MADV_DONTNEED);
    put_back(owner, at, granules_of(size));
  }

  std::string owner_text(const Allocation& a) const {
    return a.device == kHostDevice ? fmt::format("#{} ({}, {} bytes at {:#x})", a.id, a.kind, a.size, a.base)
                                   : fmt::format("#{} ({} memory of device {}, {} bytes at {:#x})", a.id,
                                                 a.kind, a.device, a.size, a.base);
  }
};

Memory::Memory(int devices) : impl_(std::make_unique<Impl>()) {
  if (devices < 1 || devices > kMaxDevices)
    throw std::runtime_error(
        fmt::format("virtual device count: expected 1..{}, got {}", kMaxDevices, devices));
  Impl& m = *impl_;
  m.devices = devices;
  m.span = kArenaBytes * (devices + 1);
  m.base = reinterpret_cast<uint64_t>(reserve(kBaseHint, m.span, PROT_NONE));
  m.shadow = static_cast<uint8_t*>(reserve(0, m.span / 8, PROT_READ | PROT_WRITE));
  m.granule_bytes = (m.span >> kGranuleShift) * sizeof(uintptr_t);
  m.granules = static_cast<std::atomic<uintptr_t>*>(reserve(0, m.granule_bytes, PROT_READ | PROT_WRITE));
  m.pattern = make_pattern_file();
  m.arenas.resize(devices + 1);
  for (int i = 0; i <= devices; ++i) {
    Impl::Arena& a = m.arenas[i];
    // The first granule of an arena is never used: address 0 of a device is no allocation's.
    a.begin = m.base + i * kArenaBytes + kGranule;
    a.end = m.base + (i + 1) * kArenaBytes;
    a.free[a.begin] = a.end - a.begin;
    a.cursor = a.begin;
  }
  base_ = m.base;
  span_ = m.span;
  granules_ = m.granules;
}

Memory::~Memory() {
  munmap(reinterpret_cast<void*>(impl_->base), impl_->span);
  munmap(impl_->shadow, impl_->span / 8);
  munmap(impl_->granules, impl_->granule_bytes);
  close(impl_->pattern);
}

int Memory::device_count() const {
  return impl_->devices;
}

const Allocation* Memory::allocate(int device, uint64_t size, const char* kind, bool tracked) {
  if (size == 0 || size > kDeviceBytes || device < kHostDevice || device >= impl_->devices) return nullptr;
  std::lock_guard lock(impl_->mutex);
  Impl::Arena& arena = impl_->arena(device);
  const uint64_t charge = round_up(size, kAllocationAlignment);
  if (arena.used + charge > kDeviceBytes) return nullptr;
  const bool small = size + kRedzone <= uint64_t{1} << kMaxSlotShift;
  const Allocation* a = small ? impl_->allocate_small(arena, device, size, kind, tracked)
                              : impl_->allocate_large(arena, device, size, kind, tracked);
  if (a) arena.used += charge;
  return a;
}

void Memory::zero(const Allocation& a) {
  constexpr uint64_t kPage = 4096;
  const bool whole_pages = a.base % kPage == 0 && a.size >= kGranule && a.base - impl_->base < impl_->span;
  const uint64_t mapped = whole_pages ? a.size / kPage * kPage : 0;
  if (mapped != 0) Impl::give_back(a.base, mapped);
  std::memset(reinterpret_cast<void*>(a.base + mapped), 0, a.size - mapped);
}

bool Memory::release(uint64_t base) {
  std::lock_guard lock(impl_->mutex);
  auto it = impl_->live.find(base);
  if (it == impl_->live.end() || base - impl_->base >= impl_->span) return false;
  impl_->free(it->second);
  return true;
}

void Memory::release_all(int device) {
  std::lock_guard lock(impl_->mutex);
  std::vector<Allocation*> doomed;
  for (auto& [base, a] : impl_->live)
    if (a->device == device && base - impl_->base < impl_->span) doomed.push_back(a);
  for (Allocation* a : doomed) impl_->free(a);
}

uint64_t Memory::used_bytes(int device) const {
  std::lock_guard lock(impl_->mutex);
  return impl_->arena(device).used;
}

const Allocation* Memory::register_host(void* pointer, uint64_t size) {
  const uint64_t at = reinterpret_cast<uint64_t>(pointer);
  if (size == 0 || at + size < at) return nullptr;
  std::lock_guard lock(impl_->mutex);
  Impl& m = *impl_;
  if (at < m.base + m.span && m.base < at + size) return nullptr;
  auto next = m.live.lower_bound(at);
  if (next != m.live.end() && next->first < at + size) return nullptr;
  if (next != m.live.begin() && std::prev(next)->second->end() > at) return nullptr;
  Allocation* a = m.new_record();
  m.publish(a, at, size, kHostDevice, "registered host", false);
  std::lock_guard registered_lock(m.registered_mutex);
  m.registered.insert(std::lower_bound(m.registered.begin(), m.registered.end(), at,
                                       [](const Allocation* x, uint64_t b) { return x->base < b; }),
                      a);
  return a;
}

bool Memory::unregister_host(uint64_t base) {
  std::lock_guard lock(impl_->mutex);
  Impl& m = *impl_;
  std::lock_guard registered_lock(m.registered_mutex);
  auto it = std::find_if(m.registered.begin(), m.registered.end(),
                         [&](const Allocation* a) { return a->base == base; });
  if (it == m.registered.end()) return false;
  m.registered.erase(it);
  Allocation* a = m.live.at(base);
  m.retire(a);
  return true;
}

const Allocation* Memory::find_registered(uint64_t address) const {
  std::shared_lock lock(impl_->registered_mutex);
  const auto& all = impl_->registered;
  auto it = std::upper_bound(all.begin(), all.end(), address,
                             [](uint64_t b, const Allocation* x) { return b < x->base; });
  if (it == all.begin()) return nullptr;
  const Allocation* a = *std::prev(it);
  return address - a->base < a->size ? a : nullptr;
}

bool Memory::was_freed(uint64_t address) const {
  std::lock_guard lock(impl_->mutex);
  auto it = impl_->dead.upper_bound(address);
  if (it == impl_->dead.begin()) return false;
  const Allocation& a = *std::prev(it)->second;
  return address < a.end() && std::string_view(a.kind) != "kernel parameters";  // those are the engine's own
}

std::string Memory::describe(uint64_t address) const {
  std::lock_guard lock(impl_->mutex);
  const Impl& m = *impl_;
  auto containing = [&](const std::map<uint64_t, Allocation*>& all) -> const Allocation* {
    auto it = all.upper_bound(address);
    if (it == all.begin()) return nullptr;
    const Allocation* a = std::prev(it)->second;
    return address < a->end() ? a : nullptr;
  };
  if (const Allocation* a = containing(m.live))
    return fmt::format("{:#x}: byte {} of allocation {}", address, address - a->base, m.owner_text(*a));
  if (const Allocation* a = containing(m.dead))
    return fmt::format("{:#x}: byte {} of allocation {}, which has been freed", address, address - a->base,
                       m.owner_text(*a));
  // The nearer neighbour among the live ones.
  auto next = m.live.upper_bound(address);
  const Allocation* after = next == m.live.end() ? nullptr : next->second;
  const Allocation* before = next == m.live.begin() ? nullptr : std::prev(next)->second;
  const uint64_t kFar = uint64_t{1} << 30;
  const uint64_t past = before ? address - before->end() : kFar;
  const uint64_t short_of = after ? after->base - address : kFar;
  if (past >= kFar && short_of >= kFar) return fmt::format("{:#x}: near no allocation", address);
  if (past <= short_of)
    return fmt::format("{:#x}: {} bytes past the end of allocation {}", address, past, m.owner_text(*before));
  return fmt::format("{:#x}: {} bytes before allocation {}", address, short_of, m.owner_text(*after));
}

}  // namespace ptxops::virt
