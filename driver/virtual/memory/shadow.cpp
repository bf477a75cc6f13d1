// Written-byte bitmaps. All accesses are relaxed atomics: kernels race on neighbouring bytes of one shadow
// word.
#include <bit>

#include "driver/virtual/memory/memory.h"

namespace ptxops::virt {
namespace {

constexpr uint64_t kAll = ~uint64_t{0};

// Shadow words of 64 bits cover 64 bytes; an allocation's shadow begins at a multiple of 64 bytes.
std::atomic_ref<uint64_t> word(const Allocation& a, uint64_t index) {
  return std::atomic_ref<uint64_t>(reinterpret_cast<uint64_t*>(a.shadow)[index]);
}

// Bits [first, last) of a 64-bit word, 0 <= first < last <= 64.
uint64_t mask(uint64_t first, uint64_t last) {
  return (kAll >> (64 - (last - first))) << first;
}

}  // namespace

void mark_written(const Allocation& a, uint64_t address, uint64_t bytes) {
  if (!a.shadow || bytes == 0) return;
  uint64_t i = address - a.base;
  const uint64_t end = i + bytes;
  while (i < end) {
    const uint64_t next = std::min((i / 64 + 1) * 64, end);
    const uint64_t m = mask(i % 64, next - i / 64 * 64);
    auto w = word(a, i / 64);
    // Read first: a byte is written often and marked once, and an untouched line stays shared between cores.
    if ((w.load(std::memory_order_relaxed) & m) != m) {
      if (m == kAll)
        w.store(kAll, std::memory_order_relaxed);
      else
        w.fetch_or(m, std::memory_order_relaxed);
    }
    i = next;
  }
}

uint64_t first_unwritten(const Allocation& a, uint64_t address, uint64_t bytes) {
  if (!a.shadow) return bytes;
  const uint64_t start = address - a.base;
  const uint64_t end = start + bytes;
  for (uint64_t i = start; i < end;) {
    const uint64_t next = std::min((i / 64 + 1) * 64, end);
    const uint64_t m = mask(i % 64, next - i / 64 * 64);
    const uint64_t missing = ~word(a, i / 64).load(std::memory_order_relaxed) & m;
    if (missing) return i / 64 * 64 + static_cast<uint64_t>(std::countr_zero(missing)) - start;
    i = next;
  }
  return bytes;
}

}  // namespace ptxops::virt
