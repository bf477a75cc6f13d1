// s8, u8: pairwise dot products of int16, exact in int32.
#if defined(PTXOPS_TENSOR_CORE_INT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PTXOPS_TENSOR_CORE_INT_INL_H_
#undef PTXOPS_TENSOR_CORE_INT_INL_H_
#else
#define PTXOPS_TENSOR_CORE_INT_INL_H_
#endif

#include "driver/virtual/numerics/tensor_core_common-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ptxops::virt::numerics::HWY_NAMESPACE {

inline constexpr int kIntPairs = 16;  // pair 2q: k = 4q, 4q+2; pair 2q+1: k = 4q+1, 4q+3

struct IntRow {
  std::uint32_t pair[kIntPairs];

  HWY_INLINE void decode(const MmaShape& s, const std::byte* row) {
    for (int q = 0; q < kDwords; ++q)
      for (int odd = 0; odd < 2; ++odd) {
        std::uint32_t bits;
        std::memcpy(&bits, row + 4 * q, 4);
        const std::uint32_t v = (bits >> (8 * odd)) & 0x00FF00FF;
        pair[2 * q + odd] = s.a == MmaType::s8 ? v | ((v & 0x00800080) * 0x1FE) : v;
      }
  }
};

template <int kVectors>
struct IntB {
  alignas(64) std::int16_t pair[kIntPairs][kVectors][2 * kLanes];

  HWY_INLINE void decode(const MmaShape& s, const std::byte* b_rows) {
    const V16 byte = hn::Set(D16(), 0xFF);
    for (int u = 0; u < kVectors; ++u) {
      V32 dwords[kDwords];
      load_columns(b_rows + u * kLanes * kMmaRowBytes, dwords);
      for (int q = 0; q < kDwords; ++q) {
        const V16 even = even_bytes(dwords[q]), odd = odd_bytes(dwords[q]);
        const bool is_signed = s.b == MmaType::s8;
        hn::Store(is_signed ? even : hn::And(even, byte), D16(), pair[2 * q][u]);
        hn::Store(is_signed ? odd : hn::And(odd, byte), D16(), pair[2 * q + 1][u]);
      }
    }
  }
};

struct IntFormat {
  using RowA = IntRow;
  template <int kVectors>
  using B = IntB<kVectors>;
  static constexpr bool accumulates(AccType t) { return t == AccType::s32; }

  template <class Acc, int kVectors>
  static HWY_INLINE void row(const MmaShape& s, const RowA& a, const std::byte*, const B<kVectors>& b,
                             const std::byte*, const RowOfD& d) {
    V32 sum[kVectors];
    for (int u = 0; u < kVectors; ++u) sum[u] = hn::Zero(D32());
    for (int p = 0; p < kIntPairs; ++p) {
      const V16 va = as16(broadcast(a.pair[p]));
      for (int u = 0; u < kVectors; ++u) sum[u] = dot2(sum[u], va, hn::Load(D16(), b.pair[p][u]));
    }
    for (int u = 0; u < kVectors; ++u) {
      V32 result = sum[u];
      if constexpr (Acc::kAccumulate) {
        const V32 c = Acc::load_bits(d, u);
        result = hn::Add(result, c);
        if (s.satfinite) {
          const V32 overflow = hn::And(hn::Xor(c, result), hn::Xor(sum[u], result));
          const V32 limit = hn::Xor(hn::ShiftRight<31>(c), hn::Set(D32(), 0x7FFFFFFF));
          result = hn::IfThenElse(hn::Lt(overflow, hn::Zero(D32())), limit, result);
        }
      }
      Acc::store(as_float(result), d, u);
    }
  }
};

}  // namespace ptxops::virt::numerics::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
