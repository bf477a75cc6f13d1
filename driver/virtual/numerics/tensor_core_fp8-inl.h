// FP8 x FP8: products as 16-bit integers, aligned by a variable shift, signs applied by the pairwise dot
// product.
#if defined(PTXOPS_TENSOR_CORE_FP8_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PTXOPS_TENSOR_CORE_FP8_INL_H_
#undef PTXOPS_TENSOR_CORE_FP8_INL_H_
#else
#define PTXOPS_TENSOR_CORE_FP8_INL_H_
#endif

#include "driver/virtual/numerics/tensor_core_common-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ptxops::virt::numerics::HWY_NAMESPACE {

// Per byte: significand in eighths (e5m2's quarters doubled, so that both types mix), exponent (kNone8 for
// zero), sign as 0/-1, and whether it is Inf or NaN as 0/-1.
template <class V>
struct Fp8 {
  V significand, exponent, negative, special;
};

template <class D, class V = hn::Vec<D>>
HWY_INLINE Fp8<V> decode_fp8(D d, V x, MmaType type) {
  const hn::RebindToUnsigned<D> du;
  const bool e5 = type == MmaType::e5m2;
  const V magnitude = hn::And(x, hn::Set(d, 0x7F));
  const auto unsigned_magnitude = hn::BitCast(du, magnitude);
  const V field = e5 ? hn::BitCast(d, hn::ShiftRight<2>(unsigned_magnitude))
                     : hn::BitCast(d, hn::ShiftRight<3>(unsigned_magnitude));
  const V fraction = e5 ? hn::And(hn::Add(x, x), hn::Set(d, 6)) : hn::And(x, hn::Set(d, 7));
  const V hidden = hn::IfThenElseZero(hn::Gt(field, hn::Zero(d)), hn::Set(d, 8));
  const V e = hn::Sub(hn::Max(field, hn::Set(d, 1)), hn::Set(d, e5 ? 15 : 7));
  const auto zero = hn::Eq(magnitude, hn::Zero(d));
  const auto special = hn::Gt(magnitude, hn::Set(d, e5 ? 0x7B : 0x7E));
  return {hn::Or(fraction, hidden), hn::IfThenElse(zero, hn::Set(d, kNone8), e),
          hn::VecFromMask(d, hn::Lt(x, hn::Zero(d))), hn::VecFromMask(d, special)};
}

inline constexpr int kLeastFp8 = -28;  // e5m2 x e5m2
inline constexpr int kFp8Pairs = 16;   // pair q: k = 4q, 4q+2; pair 8+q: k = 4q+1, 4q+3

struct Fp8Row {
  std::uint32_t quad_exponent[kDwords];
  std::uint32_t significand[kFp8Pairs], exponent[kFp8Pairs];  // two int16
  std::uint32_t signs[kFp8Pairs];  // bit 0: first of the pair is negative; bit 1: second
  bool special;

  HWY_INLINE void decode(const MmaShape& s, const std::byte* row) {
    const hn::CappedTag<std::int8_t, kMmaRowBytes> d;
    const hn::Repartition<std::int16_t, decltype(d)> d16;
    const hn::Repartition<std::uint32_t, decltype(d)> d32;
    const auto x = hn::LoadU(d, reinterpret_cast<const std::int8_t*>(row));
    const auto f = decode_fp8(d, x, s.a);
    hn::StoreU(hn::BitCast(d32, f.exponent), d32, quad_exponent);
    special = !hn::AllFalse(d, hn::MaskFromVec(f.special));
    const auto flip = hn::Set(d32, s.negate_a != s.negate_b ? 3 : 0);
    const auto even = [&](auto v) { return hn::ShiftRight<8>(hn::ShiftLeft<8>(hn::BitCast(d16, v))); };
    const auto odd = [&](auto v) { return hn::ShiftRight<8>(hn::BitCast(d16, v)); };
    const auto store = [&](auto part, int at) {
      hn::StoreU(hn::BitCast(d32, part(f.significand)), d32, significand + at);
      hn::StoreU(hn::BitCast(d32, part(f.exponent)), d32, exponent + at);
      const auto n = hn::BitCast(d32, part(f.negative));
      const auto two = hn::Or(hn::And(n, hn::Set(d32, 1)), hn::And(hn::ShiftRight<15>(n), hn::Set(d32, 2)));
      hn::StoreU(hn::Xor(two, flip), d32, signs + at);
    };
    store(even, 0);
    store(odd, kDwords);
  }
};

template <int kVectors>
struct Fp8B {
  static constexpr int kPairs = kFp8Pairs;
  alignas(64) std::int8_t quad_exponent[kDwords][kVectors][4 * kLanes];
  // Scaled so that a product has 13 fraction bits.
  alignas(64) std::int16_t significand[kPairs][kVectors][2 * kLanes];
  alignas(64) std::int16_t exponent[kPairs][kVectors][2 * kLanes];
  alignas(64) std::int16_t sign[kPairs][4][kVectors][2 * kLanes];  // +-1, for each pair of signs of A
  std::uint32_t special[kVectors];                                 // lanes with Inf or NaN
  bool any_special = false;

  HWY_INLINE void decode(const MmaShape& s, const std::byte* b_rows) {
    // The AVX2 kernel shifts by multiplying and keeping the high half: one bit more.
    constexpr int kScale = HWY_TARGET == HWY_AVX2 ? 8 : 7;
    for (int u = 0; u < kVectors; ++u) {
      V8 specials = hn::Zero(D8());
      V32 dwords[kDwords];
      load_columns(b_rows + u * kLanes * kMmaRowBytes, dwords);
      for (int q = 0; q < kDwords; ++q) {
        const Fp8<V8> f = decode_fp8(D8(), as8(dwords[q]), s.b);
        specials = hn::Or(specials, f.special);
        hn::Store(f.exponent, D8(), quad_exponent[q][u]);
        for (int odd = 0; odd < 2; ++odd) {
          const auto part = [&](V8 v) { return odd ? odd_bytes(as32(v)) : even_bytes(as32(v)); };
          const int p = q + odd * kDwords;
          hn::Store(hn::ShiftLeft<kScale>(part(f.significand)), D16(), significand[p][u]);
#if HWY_TARGET == HWY_AVX2
          const V8 e8 = f.exponent;  // the exponent in both bytes of the int16
          const V16 low = hn::And(part(e8), hn::Set(D16(), 0xFF));
          hn::Store(hn::Or(low, hn::ShiftLeft<8>(low)), D16(), exponent[p][u]);
#else
          hn::Store(part(f.exponent), D16(), exponent[p][u]);
#endif
          const V16 own = hn::Or(part(f.negative), hn::Set(D16(), 1));
          for (std::uint32_t combination = 0; combination < 4; ++combination) {
            const V16 flip =
                as16(broadcast((combination & 1 ? 0xFFFFu : 0) | (combination & 2 ? 0xFFFF0000u : 0)));
            hn::Store(hn::Sub(hn::Xor(own, flip), flip), D16(), sign[p][combination][u]);
          }
        }
      }
      special[u] = mask_bits(hn::Ne(as32(specials), hn::Zero(D32())));
      any_special |= special[u] != 0;
    }
  }
};

struct Fp8Format {
  using RowA = Fp8Row;
  template <int kVectors>
  using B = Fp8B<kVectors>;
  static constexpr int kPairs = kFp8Pairs, kFraction = 13;
  static constexpr bool accumulates(AccType t) { return t != AccType::s32; }

  // Largest exponent sum of each column, in both int16 halves; kNone16 where there is no product.
  template <int kVectors>
  static HWY_INLINE void largest_exponents(const RowA& a, const B<kVectors>& b, V16* top) {
    V8 largest[kVectors];
    for (int u = 0; u < kVectors; ++u) largest[u] = hn::Set(D8(), -128);
    for (int q = 0; q < kDwords; ++q) {
      const V8 ea = as8(broadcast(a.quad_exponent[q]));
      for (int u = 0; u < kVectors; ++u)
        largest[u] = hn::Max(largest[u], hn::Add(ea, hn::Load(D8(), b.quad_exponent[q][u])));
    }
    for (int u = 0; u < kVectors; ++u) {
      const V32 bytes = as32(largest[u]);
      const V16 t = max_in_lane(hn::Max(even_bytes(bytes), odd_bytes(bytes)));
      // Below the least sum of two real exponents there is a kNone8 in it.
      top[u] = hn::IfThenElse(hn::Lt(t, hn::Set(D16(), kLeastFp8)), hn::Set(D16(), kNone16), t);
    }
  }

  template <class Acc, int kVectors>
  static HWY_INLINE void row(const MmaShape& s, const RowA& a, const std::byte* a_row, const B<kVectors>& b,
                             const std::byte* b_rows, const RowOfD& d) {
    V16 products[kVectors], top[kVectors];
    V32 exponent[kVectors], sum[kVectors];
    largest_exponents(a, b, products);
    for (int u = 0; u < kVectors; ++u) {
      V32 c = hn::Zero(D32());
      if constexpr (Acc::kAccumulate) c = Acc::load_bits(d, u);
      const Aligned aligned = align<Acc, kFraction>(products[u], c);
      exponent[u] = aligned.exponent;
      sum[u] = aligned.addend;
      const auto biased = hn::ShiftRight<23>(hn::BitCast(DU32(), exponent[u]));
      top[u] = hn::Sub(as16(as32(hn::Or(biased, hn::ShiftLeft<16>(biased)))), hn::Set(D16(), 127));
    }
    accumulate_products(a, b, top, sum);
    finish_row<Acc, kVectors, false>(
        s, a.special, b, exponent, a_row, b_rows, d, [&](V16* out) { largest_exponents(a, b, out); },
        [&](int u, V32&) {
          VF exact = hn::ConvertTo(DF(), sum[u]);  // below 2^22
          if constexpr (Acc::kType == AccType::f32)
            exact = as_float(hn::And(as32(exact), hn::Set(D32(), ~0x3FF)));
          return hn::Mul(exact, scale_down(exponent[u], kFraction));
        });
  }

  template <int kVectors>
  static HWY_INLINE void accumulate_products(const RowA& a, const B<kVectors>& b, const V16* top, V32* sum) {
#if HWY_TARGET == HWY_AVX2
    // Shift right by s = multiply by 2^(15-s) and take bits 16.. of the product; 2^(15-s) comes from a byte
    // shuffle with s in the high byte and s^8 in the low one. Byte arithmetic saturates, which is still
    // "shifted out".
    const hn::RebindToUnsigned<D8> du8;
    const hn::RebindToUnsigned<D16> du16;
    alignas(16) static constexpr std::uint8_t kPowers[16] = {128, 64, 32, 16, 8, 4, 2, 1};
    const auto powers = hn::LoadDup128(du8, kPowers);
    V8 top8[kVectors];
    for (int u = 0; u < kVectors; ++u) {
      const V16 low = hn::And(top[u], hn::Set(D16(), 0xFF));
      top8[u] = hn::BitCast(D8(), hn::Or(low, hn::ShiftLeft<8>(low)));
    }
    for (int p = 0; p < kPairs; ++p) {
      const V16 significand = as16(broadcast(a.significand[p]));
      const std::uint32_t low = a.exponent[p] & 0x00FF00FF;
      const V8 exponent = as8(broadcast(low | low << 8));
      for (int u = 0; u < kVectors; ++u) {
        const V16 product = hn::Mul(significand, hn::Load(D16(), b.significand[p][u]));
        const V8 eb = hn::BitCast(D8(), hn::Load(D16(), b.exponent[p][u]));
        const V8 shift = hn::SaturatedSub(hn::SaturatedSub(top8[u], eb), exponent);
        const auto clamped = hn::Min(hn::BitCast(du8, shift), hn::Set(du8, 15));
        const auto index = hn::Xor(clamped, hn::BitCast(du8, hn::Set(D16(), 8)));
        const auto power = hn::BitCast(du16, hn::TableLookupBytes(powers, index));
        const V16 term = hn::BitCast(D16(), hn::MulHigh(hn::BitCast(du16, product), power));
        sum[u] = dot2(sum[u], term, hn::Load(D16(), b.sign[p][a.signs[p]][u]));
      }
    }
#else
    for (int p = 0; p < kPairs; ++p) {
      const V16 significand = as16(broadcast(a.significand[p])), exponent = as16(broadcast(a.exponent[p]));
      for (int u = 0; u < kVectors; ++u) {
        const V16 product = hn::Mul(significand, hn::Load(D16(), b.significand[p][u]));
        const V16 shift = hn::Sub(hn::Sub(top[u], hn::Load(D16(), b.exponent[p][u])), exponent);
        const V16 term{_mm512_srlv_epi16(product.raw, shift.raw)};  // 16 and more give 0
        sum[u] = dot2(sum[u], term, hn::Load(D16(), b.sign[p][a.signs[p]][u]));
      }
    }
#endif
  }
};

}  // namespace ptxops::virt::numerics::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
