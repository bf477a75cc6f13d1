// Which 32-byte sectors of global memory a grid has touched: a first touch comes from DRAM, later ones from
// L2. One per grid, shared by its workers; lock-free.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

namespace ptxops::virt {

class TouchedSectors {
 public:
  TouchedSectors();
  ~TouchedSectors();
  TouchedSectors(const TouchedSectors&) = delete;
  TouchedSectors& operator=(const TouchedSectors&) = delete;

  static constexpr uint32_t kSectorBytes = 32;
  static uint64_t sectors(uint64_t address, uint64_t size) {
    return (address + size - 1) / kSectorBytes - address / kSectorBytes + 1;
  }
  // Touches [address, address + size), size > 0; returns how many of its sectors nobody had touched before.
  uint64_t touch(uint64_t address, uint64_t size);

 private:
  struct Region;  // 1 MiB of addresses
  Region& region_of(uint64_t number);

  static constexpr uint32_t kSlots = 1u << 16;
  std::unique_ptr<std::atomic<Region*>[], void (*)(void*)> slots_;
  std::atomic<Region*> regions_{nullptr};
};

}  // namespace ptxops::virt
