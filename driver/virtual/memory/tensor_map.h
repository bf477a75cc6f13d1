// What the virtual device stores in the 128 opaque bytes of a CUtensorMap: written by cuTensorMapEncodeTiled,
// patched by tensormap.replace, read by cp.async.bulk.tensor. Every field that tensormap.replace names is a
// member of its own. The layout is ours; library code above the driver never reads it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace ptxops::virt {

// Codes of the CUtensorMap* enums of the driver API. tensormap.replace uses other codes for some fields: the
// instruction translates before it patches.
enum class TensorMapType : uint8_t {
  kU8,
  kU16,
  kU32,
  kS32,
  kU64,
  kS64,
  kF16,
  kF32,
  kF64,
  kBF16,
  kF32Ftz,
  kTF32,
  kTF32Ftz
};
enum class TensorMapInterleave : uint8_t { kNone, k16B, k32B };
enum class TensorMapSwizzle : uint8_t { kNone, k32B, k64B, k128B };
enum class TensorMapFill : uint8_t { kZero, kNan };

struct TensorMap {
  uint32_t magic;
  uint32_t checksum;           // over every other byte; seal() after each patch
  uint64_t cleared;            // zero: CUTLASS clears bit 21 of this word, of maps of less than 128 KiB
  uint64_t global_address;     // device pointer
  uint32_t global_dim[5];      // elements, innermost first; 0 means 2^32; 1 beyond the rank
  uint32_t box_dim[5];         // elements, 1..256
  uint64_t global_stride[4];   // bytes; [d-1] belongs to dimension d (dimension 0 is contiguous)
  uint32_t element_stride[5];  // 1..8
  uint8_t rank_minus_1;        // 0..4
  TensorMapType type;
  TensorMapInterleave interleave;
  TensorMapSwizzle swizzle;
  uint8_t l2_promotion;  // 0 none, 1 = 64 B, 2 = 128 B, 3 = 256 B
  TensorMapFill fill;
  uint8_t reserved[6];  // zero

  uint64_t dim(int d) const { return global_dim[d] == 0 ? uint64_t{1} << 32 : global_dim[d]; }
  int rank() const { return rank_minus_1 + 1; }
};
static_assert(sizeof(TensorMap) == 128 && alignof(TensorMap) == 8);

inline constexpr uint32_t kTensorMapMagic = 0x30385854;  // "TX80"

inline uint32_t element_bytes(TensorMapType type) {
  constexpr uint8_t kBytes[] = {1, 2, 4, 4, 8, 8, 2, 4, 8, 2, 4, 4, 4};
  return static_cast<uint8_t>(type) < sizeof kBytes ? kBytes[static_cast<uint8_t>(type)] : 0;
}
inline bool is_float(TensorMapType type) {
  return type >= TensorMapType::kF16;
}

inline uint32_t checksum_of(const TensorMap& map) {
  uint64_t words[16];
  std::memcpy(words, &map, sizeof map);
  words[0] = kTensorMapMagic;  // magic and checksum themselves are not covered
  uint64_t h = 0x9E3779B97F4A7C15;
  for (uint64_t w : words) {
    h = (h ^ w) * 0xD6E8FEB86659FD93;
    h ^= h >> 32;
  }
  return static_cast<uint32_t>(h);
}
inline void seal(TensorMap& map) {
  map.magic = kTensorMapMagic;
  map.checksum = checksum_of(map);
}
// false: these 128 bytes were not written by the encoder (garbage, or torn by a racing copy).
inline bool is_intact(const TensorMap& map) {
  return map.magic == kTensorMapMagic && map.checksum == checksum_of(map);
}

}  // namespace ptxops::virt
