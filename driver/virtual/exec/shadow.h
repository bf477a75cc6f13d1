// Written-bit shadows of shared and local memory: one bit a byte, touched by one thread only.
#pragma once

#include <cstdint>
#include <cstring>

namespace ptxops::virt {

inline void shadow_mark(uint8_t* shadow, uint64_t first, uint64_t count) {
  uint64_t byte = first / 8;
  const uint32_t bit = first % 8;
  if (bit + count <= 8) {
    shadow[byte] |= static_cast<uint8_t>(((1u << count) - 1) << bit);
    return;
  }
  if (bit) {
    shadow[byte++] |= static_cast<uint8_t>(0xFFu << bit);
    count -= 8 - bit;
  }
  std::memset(shadow + byte, 0xFF, count / 8);
  if (count % 8) shadow[byte + count / 8] |= static_cast<uint8_t>((1u << count % 8) - 1);
}

// Offset from `first` of the first unmarked byte, or `count`.
inline uint64_t shadow_first_clear(const uint8_t* shadow, uint64_t first, uint64_t count) {
  for (uint64_t i = 0; i < count;) {
    const uint64_t at = first + i;
    if (at % 64 == 0 && count - i >= 64) {
      uint64_t bits;
      std::memcpy(&bits, shadow + at / 8, sizeof bits);
      if (bits == ~uint64_t{0}) {
        i += 64;
        continue;
      }
    }
    if (at % 8 == 0 && shadow[at / 8] == 0xFF) {
      i += 8;
      continue;
    }
    if (!(shadow[at / 8] >> (at % 8) & 1)) return i;
    ++i;
  }
  return count;
}

}  // namespace ptxops::virt
