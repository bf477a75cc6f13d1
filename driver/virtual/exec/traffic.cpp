#include "driver/virtual/exec/traffic.h"

#include <bit>
#include <cstdlib>
#include <new>
#include <stdexcept>
#include <utility>

namespace ptxops::virt {
namespace {
constexpr uint32_t kRegionShift = 20, kSectorShift = 5;
constexpr uint32_t kWords = 1u << (kRegionShift - kSectorShift - 6);
}  // namespace

struct TouchedSectors::Region {
  explicit Region(uint64_t n) : number(n) {}
  uint64_t number;
  Region* next = nullptr;  // all regions, for the destructor: scanning the slots would fault them all in
  std::atomic<uint64_t> words[kWords] = {};
};

// calloc: the table is mostly empty, and untouched pages cost nothing.
TouchedSectors::TouchedSectors()
    : slots_(static_cast<std::atomic<Region*>*>(std::calloc(kSlots, sizeof(std::atomic<Region*>))),
             std::free) {
  if (!slots_) throw std::bad_alloc();
}

TouchedSectors::~TouchedSectors() {
  for (Region* region = regions_.load(); region;) delete std::exchange(region, region->next);
}

TouchedSectors::Region& TouchedSectors::region_of(uint64_t number) {
  uint32_t slot = static_cast<uint32_t>((number * 0x9E3779B97F4A7C15u) >> 48) & (kSlots - 1);
  for (uint32_t probes = 0; probes < kSlots; ++probes, slot = (slot + 1) & (kSlots - 1)) {
    Region* region = slots_[slot].load(std::memory_order_acquire);
    if (!region) {
      auto fresh = std::make_unique<Region>(number);
      if (slots_[slot].compare_exchange_strong(region, fresh.get(), std::memory_order_acq_rel)) {
        region = fresh.release();
        region->next = regions_.load();
        while (!regions_.compare_exchange_weak(region->next, region)) {
        }
        return *region;
      }
    }
    if (region->number == number) return *region;
  }
  throw std::runtime_error("a grid touched more than 64 GiB of global memory: the traffic model has no room");
}

uint64_t TouchedSectors::touch(uint64_t address, uint64_t size) {
  uint64_t sector = address >> kSectorShift;
  const uint64_t end = ((address + size - 1) >> kSectorShift) + 1;
  uint64_t fresh = 0;
  while (sector < end) {
    const uint64_t number = sector >> (kRegionShift - kSectorShift);
    const uint64_t region_end = (number + 1) << (kRegionShift - kSectorShift);
    Region& region = region_of(number);
    for (const uint64_t stop = end < region_end ? end : region_end; sector < stop;) {
      const uint32_t bit = sector & 63;
      const uint64_t count = stop - sector < 64 - bit ? stop - sector : 64 - bit;
      const uint64_t mask = (count == 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1) << bit;
      auto& word = region.words[(sector >> 6) & (kWords - 1)];
      if ((word.load(std::memory_order_relaxed) & mask) != mask)
        fresh += std::popcount(mask & ~word.fetch_or(mask, std::memory_order_relaxed));
      sector += count;
    }
  }
  return fresh;
}

}  // namespace ptxops::virt
