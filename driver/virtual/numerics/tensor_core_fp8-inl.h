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
inline constexpr int kFp8Pairs = 16;   // pair 2q: k = 4q, 4q+2; pair 2q+1: k = 4q+1, 4q+3

struct Fp8Row {
  std::uint32_t quad_exponent[kDwords];
  std::uint32_t significand[kFp8Pairs], exponent[kFp8Pairs];  // two int16
  std::uint8_t signs[kFp8Pairs];  // bit 0: first of the pair is negative; bit 1: second
  bool special;

  HWY_INLINE void decode(const MmaShape& s, const std::byte* row) {
    const hn::CappedTag<std::int8_t, kMmaRowBytes> d;
    const auto x = hn::LoadU(d, reinterpret_cast<const std::int8_t*>(row));
    const auto f = decode_fp8(d, x, s.a);
    std::uint32_t significands[kDwords], negatives[kDwords];
    hn::StoreU(f.exponent, d, reinterpret_cast<std::int8_t*>(quad_exponent));
    hn::StoreU(f.significand, d, reinterpret_cast<std::int8_t*>(significands));
    hn::StoreU(f.negative, d, reinterpret_cast<std::int8_t*>(negatives));
    special = !hn::AllFalse(d, hn::MaskFromVec(f.special));
    const std::uint32_t flip = s.negate_a != s.negate_b ? 3 : 0;
    for (int q = 0; q < kDwords; ++q)
      for (int odd = 0; odd < 2; ++odd) {
        const int p = 2 * q + odd;
        significand[p] = (significands[q] >> (8 * odd)) & 0x00FF00FF;
        const std::uint32_t e = (quad_exponent[q] >> (8 * odd)) & 0x00FF00FF;
        exponent[p] = e | ((e & 0x00800080) * 0x1FE);  // sign-extend both halves
        const std::uint32_t n = negatives[q] >> (8 * odd);
        signs[p] = static_cast<std::uint8_t>(((n & 1) | ((n >> 15) & 2)) ^ flip);
      }
  }
};

template <class Acc, int kVectors>
struct Fp8Kernel {
  using RowA = Fp8Row;
  static constexpr int kVectorCount = kVectors, kAccBytes = Acc::kBytes;
  static constexpr int kPairs = kFp8Pairs, kFraction = 13;

  alignas(64) std::int8_t quad_exponent_[kDwords][kVectors][4 * kLanes];
  alignas(64) std::int16_t
      significand_[kPairs][kVectors][2 * kLanes];  // scaled so that a product has 13 fraction bits
  alignas(64) std::int16_t exponent_[kPairs][kVectors][2 * kLanes];
  alignas(64) std::int16_t sign_[kPairs][4][kVectors][2 * kLanes];  // +-1, for each pair of signs of A
  hn::Mask<D32> special_[kVectors];
  bool any_special_ = false;

  HWY_INLINE void prepare(const MmaShape& s, const std::byte* b_rows) {
    // The AVX2 kernel shifts by multiplying and keeping the high half: one bit more.
    constexpr int kScale = HWY_TARGET == HWY_AVX2 ? 8 : 7;
    for (int u = 0; u < kVectors; ++u) {
      V8 special = hn::Zero(D8());
      V32 dwords[kDwords];
      load_columns(b_rows + u * kLanes * kMmaRowBytes, dwords);
      for (int q = 0; q < kDwords; ++q) {
        const Fp8<V8> f = decode_fp8(D8(), as8(dwords[q]), s.b);
        special = hn::Or(special, f.special);
        hn::Store(f.exponent, D8(), quad_exponent_[q][u]);
        for (int odd = 0; odd < 2; ++odd) {
          const auto part = [&](V8 v) { return odd ? odd_bytes(as32(v)) : even_bytes(as32(v)); };
          const int p = 2 * q + odd;
          hn::Store(hn::ShiftLeft<kScale>(part(f.significand)), D16(), significand_[p][u]);
#if HWY_TARGET == HWY_AVX2
          const V8 e8 = f.exponent;  // the exponent in both bytes of the int16
          const V16 low = hn::And(part(e8), hn::Set(D16(), 0xFF));
          hn::Store(hn::Or(low, hn::ShiftLeft<8>(low)), D16(), exponent_[p][u]);
#else
          hn::Store(part(f.exponent), D16(), exponent_[p][u]);
#endif
          const V16 sign = hn::Or(part(f.negative), hn::Set(D16(), 1));
          for (std::uint32_t combination = 0; combination < 4; ++combination) {
            const V16 flip =
                as16(broadcast((combination & 1 ? 0xFFFFu : 0) | (combination & 2 ? 0xFFFF0000u : 0)));
            hn::Store(hn::Sub(hn::Xor(sign, flip), flip), D16(), sign_[p][combination][u]);
          }
        }
      }
      special_[u] = hn::Ne(as32(special), hn::Zero(D32()));
      any_special_ |= !hn::AllFalse(D32(), special_[u]);
    }
  }

  HWY_INLINE void row(const MmaShape& s, const RowA& a, const std::byte* a_row, const std::byte* b_rows,
                      std::byte* d) {
    V8 largest[kVectors];
    for (int u = 0; u < kVectors; ++u) largest[u] = hn::Set(D8(), -128);
    for (int q = 0; q < kDwords; ++q) {
      const V8 ea = as8(broadcast(a.quad_exponent[q]));
      for (int u = 0; u < kVectors; ++u)
        largest[u] = hn::Max(largest[u], hn::Add(ea, hn::Load(D8(), quad_exponent_[q][u])));
    }
    V16 products[kVectors], top[kVectors];
    V32 exponent[kVectors], sum[kVectors];
    hn::Mask<D32> suspects[kVectors];
    for (int u = 0; u < kVectors; ++u) {
      const V32 bytes = as32(largest[u]);
      const V16 t = max_in_lane(hn::Max(even_bytes(bytes), odd_bytes(bytes)));
      // Below the least sum of two real exponents there is a kNone8 in it.
      products[u] = hn::IfThenElse(hn::Lt(t, hn::Set(D16(), kLeastFp8)), hn::Set(D16(), kNone16), t);
      const Aligned aligned = align<Acc, kFraction>(products[u], d + u * Acc::kStep);
      exponent[u] = aligned.exponent;
      sum[u] = aligned.addend;
      suspects[u] = aligned.suspects;
      top[u] = both_halves(exponent[u]);
    }
    accumulate_products(a, top, sum);
    finish_row<Acc, kVectors>(
        s, a.special, special_, any_special_, products, suspects, a_row, b_rows, d, [&](int u) {
          VF exact = hn::ConvertTo(DF(), sum[u]);  // below 2^22
          if constexpr (Acc::kType == AccType::f32)
            exact = as_float(hn::And(as32(exact), hn::Set(D32(), ~0x3FF)));
          return hn::Mul(exact, power_of_two(hn::Sub(exponent[u], hn::Set(D32(), kFraction))));
        });
  }

  HWY_INLINE void accumulate_products(const RowA& a, const V16* top, V32* sum) const {
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
        const V16 product = hn::Mul(significand, hn::Load(D16(), significand_[p][u]));
        const V8 eb = hn::BitCast(D8(), hn::Load(D16(), exponent_[p][u]));
        const V8 shift = hn::SaturatedSub(hn::SaturatedSub(top8[u], eb), exponent);
        const auto clamped = hn::Min(hn::BitCast(du8, shift), hn::Set(du8, 15));
        const auto index = hn::Xor(clamped, hn::BitCast(du8, hn::Set(D16(), 8)));
        const auto power = hn::BitCast(du16, hn::TableLookupBytes(powers, index));
        const V16 term = hn::BitCast(D16(), hn::MulHigh(hn::BitCast(du16, product), power));
        sum[u] = dot2(sum[u], term, hn::Load(D16(), sign_[p][a.signs[p]][u]));
      }
    }
#else
    for (int p = 0; p < kPairs; ++p) {
      const V16 significand = as16(broadcast(a.significand[p])), exponent = as16(broadcast(a.exponent[p]));
      for (int u = 0; u < kVectors; ++u) {
        const V16 product = hn::Mul(significand, hn::Load(D16(), significand_[p][u]));
        const V16 shift = hn::Sub(hn::Sub(top[u], hn::Load(D16(), exponent_[p][u])), exponent);
        const V16 term{_mm512_srlv_epi16(product.raw, shift.raw)};  // 16 and more give 0
        sum[u] = dot2(sum[u], term, hn::Load(D16(), sign_[p][a.signs[p]][u]));
      }
    }
#endif
  }
};

}  // namespace ptxops::virt::numerics::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
