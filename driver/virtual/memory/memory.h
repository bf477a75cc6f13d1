// Device memory of the virtual H800: one address space for all virtual devices of the process.
//
// A device pointer is the host address of the same byte, so the executor dereferences it directly. The space
// is one reservation: arena 0..devices-1 for the devices, one more for pinned host memory. Allocations lie in
// 64 KiB granules separated by inaccessible guard granules (small ones share a granule, separated by
// redzones), so that find() is two loads and no lock. Fresh bytes read as 0xFF (NaN in every float format)
// without being resident.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace ptxops::virt {

// One allocation. Everything but `live` is immutable once published; records outlive the memory (the last
// 65,536 freed ones are remembered for reports), so a pointer obtained from find() stays readable.
struct Allocation {
  uint64_t base = 0;
  uint64_t size = 0;
  // One bit for each byte, set = written at least once: byte base+i is bit i%8 of shadow[i/8]. nullptr: the
  // bytes are not tracked and count as written (host and managed memory, where the host writes unseen).
  uint8_t* shadow = nullptr;
  uint32_t id = 0;        // 1, 2, ... in order of allocation, for reports
  int32_t device = 0;     // owner; kHostDevice for host memory
  const char* kind = "";  // "device", "global", "constant", "host", "managed", "registered host": static text
  std::atomic<bool> live{false};
  uint64_t end() const { return base + size; }
};

inline constexpr int kHostDevice = -1;
inline constexpr int kMaxDevices = 32;
inline constexpr uint64_t kArenaBytes = uint64_t{128} << 30;  // addresses of one device
inline constexpr uint64_t kDeviceBytes = uint64_t{80} << 30;  // memory that a device reports and hands out
inline constexpr uint64_t kAllocationAlignment = 512;
inline constexpr uint8_t kFreshByte = 0xFF;

class Memory {
 public:
  // Reserves addresses for `devices` devices; throws std::runtime_error when the system refuses.
  explicit Memory(int devices);
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  // The live allocation that contains `address`, or nullptr. Lock-free; any thread.
  const Allocation* find(uint64_t address) const;

  // Whether the address lies in the space of the devices and of pinned host memory, allocated or not.
  bool owns(uint64_t address) const { return address - base_ < span_; }

  // One line about an address for reports: what it lies in, or how far it is from what (freed ones included).
  std::string describe(uint64_t address) const;

  // Does the address lie in an allocation that has been freed (and is remembered)?
  bool was_freed(uint64_t address) const;

  // A new allocation on `device` (or kHostDevice), 512-byte aligned, every byte 0xFF and never written;
  // nullptr when the device's 80 GiB or the arena is exhausted, or size is 0. `tracked` = with a shadow. Any
  // thread.
  const Allocation* allocate(int device, uint64_t size, const char* kind = "device", bool tracked = true);

  // Every byte becomes 0, without becoming resident where it was fresh.
  void zero(const Allocation& a);

  // Frees the allocation that begins at `base` (made by allocate); false when none does. find() refuses its
  // addresses at once; its pages stay mapped, so that a kernel still using them is reported instead of
  // killing the process, and the addresses are not reused until the arena has been passed through.
  bool release(uint64_t base);

  // Memory of the caller made visible to the devices (cuMemHostRegister). false: overlaps a known allocation.
  const Allocation* register_host(void* pointer, uint64_t size);
  bool unregister_host(uint64_t base);

  uint64_t used_bytes(int device) const;
  uint64_t total_bytes() const { return kDeviceBytes; }
  int device_count() const;

  // Releases every live allocation of a device (context destruction, primary-context reset).
  void release_all(int device);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
  // Copies of what find() needs, constant after construction.
  uint64_t base_ = 0;
  uint64_t span_ = 0;
  const std::atomic<uintptr_t>* granules_ = nullptr;
  const Allocation* find_registered(uint64_t address) const;
};

// Records [address, address+bytes), which must lie in `a`, as written. Any thread, wait-free.
void mark_written(const Allocation& a, uint64_t address, uint64_t bytes);

// Offset from `address` of the first never-written byte in the range, or `bytes` when all were written.
uint64_t first_unwritten(const Allocation& a, uint64_t address, uint64_t bytes);

// The common case inline: an aligned access of 1, 2, 4, 8 or 16 bytes.
inline bool all_written(const Allocation& a, uint64_t address, uint32_t bytes) {
  if (!a.shadow) return true;
  const uint64_t i = address - a.base;
  if (bytes >= 8 && i % 8 == 0 && bytes % 8 == 0) {
    for (uint32_t k = 0; k < bytes / 8; ++k)
      if (std::atomic_ref<uint8_t>(a.shadow[i / 8 + k]).load(std::memory_order_relaxed) != 0xFF) return false;
    return true;
  }
  if (i % 8 + bytes <= 8) {
    const uint8_t mask = static_cast<uint8_t>(((1u << bytes) - 1) << (i % 8));
    return (std::atomic_ref<uint8_t>(a.shadow[i / 8]).load(std::memory_order_relaxed) & mask) == mask;
  }
  return first_unwritten(a, address, bytes) == bytes;
}

// A granule's entry: 0 = nothing, low bit 0 = the Allocation that covers it, low bit 1 = a Slab of small
// ones.
struct Slab {
  uint64_t base = 0;
  uint32_t shift = 0;  // log2 of the slot pitch
  std::atomic<const Allocation*> slots[128];
};
inline constexpr uint32_t kGranuleShift = 16;

inline const Allocation* Memory::find(uint64_t address) const {
  const uint64_t offset = address - base_;
  if (offset >= span_) return find_registered(address);
  const uintptr_t entry = granules_[offset >> kGranuleShift].load(std::memory_order_acquire);
  if (entry == 0) return nullptr;
  const Allocation* a;
  if (entry & 1) {
    const Slab* slab = reinterpret_cast<const Slab*>(entry & ~uintptr_t{1});
    a = slab->slots[(address - slab->base) >> slab->shift].load(std::memory_order_acquire);
    if (!a) return nullptr;
  } else {
    a = reinterpret_cast<const Allocation*>(entry);
  }
  return address - a->base < a->size ? a : nullptr;
}

}  // namespace ptxops::virt
