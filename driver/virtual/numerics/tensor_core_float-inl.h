// f16, bf16, tf32: products exact in f32, scaled to integers and truncated, summed in two int32 halves.
#if defined(PTXOPS_TENSOR_CORE_FLOAT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PTXOPS_TENSOR_CORE_FLOAT_INL_H_
#undef PTXOPS_TENSOR_CORE_FLOAT_INL_H_
#else
#define PTXOPS_TENSOR_CORE_FLOAT_INL_H_
#endif

#include "driver/virtual/numerics/tensor_core_common-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ptxops::virt::numerics::HWY_NAMESPACE {

// Exponents of 16-bit elements as int16: kNone for zero. Special elements (Inf, NaN) in `special` as 0/-1.
template <class D>
struct Exponents {
  hn::Vec<D> exponent, special;
};

template <class D>
HWY_INLINE Exponents<D> exponents16(D d, hn::Vec<D> x, int fraction_bits, int none) {
  const bool f16 = fraction_bits == 10;
  const auto field =
      f16 ? hn::And(hn::ShiftRight<10>(x), hn::Set(d, 31)) : hn::And(hn::ShiftRight<7>(x), hn::Set(d, 255));
  const auto zero = hn::Eq(hn::And(x, hn::Set(d, 0x7FFF)), hn::Zero(d));
  const auto e =
      hn::Sub(hn::Max(field, hn::Set(d, 1)), hn::Set(d, static_cast<std::int16_t>(f16 ? 15 : 127)));
  return {hn::IfThenElse(zero, hn::Set(d, static_cast<std::int16_t>(none)), e),
          hn::VecFromMask(d, hn::Eq(field, hn::Set(d, static_cast<std::int16_t>(f16 ? 31 : 255))))};
}

// tf32 exponents, one to a 32-bit lane (x: the f32 bits with the low 13 cleared).
template <class D>
HWY_INLINE Exponents<D> exponents32(D d, hn::Vec<D> x) {
  const auto field = hn::And(hn::ShiftRight<23>(x), hn::Set(d, 255));
  const auto zero = hn::Eq(hn::And(x, hn::Set(d, 0x7FFFFFFF)), hn::Zero(d));
  const auto e = hn::Sub(hn::Max(field, hn::Set(d, 1)), hn::Set(d, 127));
  return {hn::IfThenElse(zero, hn::Set(d, kNone16), e), hn::VecFromMask(d, hn::Eq(field, hn::Set(d, 255)))};
}

inline constexpr std::uint32_t kTf32Mask = 0xFFFFE000u;

// How exponents are packed for the maximum: f16 four bytes a lane, bf16 two int16 a lane, tf32 one int32 a
// lane.
constexpr int exponent_vectors(MmaType t) {
  return t == MmaType::f16 ? 4 : 8;
}
// Least sum of two real f16 exponents; below it a byte sum contains kNone8.
inline constexpr int kLeastF16 = -28;

// Exact for finite values; see f16_to_float for the subnormals.
HWY_INLINE std::uint32_t f16_bits_to_f32(std::uint32_t h) {
  std::uint32_t bits = ((h & 0x7FFF) << 13) + (112u << 23);
  if ((h & 0x7C00) == 0)
    bits = std::bit_cast<std::uint32_t>(std::bit_cast<float>(bits + (1u << 23)) - 0x1p-14f);
  return bits | (h & 0x8000) << 16;
}

template <MmaType kType>
struct FloatRow {
  static constexpr int kK = mma_k(kType);
  float value[kK];
  std::uint32_t exponent[exponent_vectors(kType)];
  bool special;

  HWY_INLINE void decode(const MmaShape& s, const std::byte* row) {
    const hn::CappedTag<std::int32_t, kDwords> d;
    const hn::CappedTag<std::int16_t, 2 * kDwords> d16;
    const auto x = hn::LoadU(d, reinterpret_cast<const std::int32_t*>(row));
    std::uint32_t bits[kDwords], e[kDwords];
    if constexpr (kType == MmaType::tf32) {
      const auto kept = hn::And(x, hn::Set(d, static_cast<std::int32_t>(kTf32Mask)));
      const auto f = exponents32(d, kept);
      special = !hn::AllFalse(d, hn::MaskFromVec(f.special));
      hn::StoreU(f.exponent, d, reinterpret_cast<std::int32_t*>(e));
      hn::StoreU(kept, d, reinterpret_cast<std::int32_t*>(bits));
    } else {
      constexpr bool f16 = kType == MmaType::f16;
      const auto f = exponents16(d16, hn::BitCast(d16, x), f16 ? 10 : 7, f16 ? kNone8 : kNone16);
      special = !hn::AllFalse(d16, hn::MaskFromVec(f.special));
      hn::StoreU(f.exponent, d16, reinterpret_cast<std::int16_t*>(e));
      hn::StoreU(x, d, reinterpret_cast<std::int32_t*>(bits));
    }
    const std::uint32_t flip = s.negate_a != s.negate_b ? 0x80000000u : 0;
    for (int k = 0; k < kK; ++k) {
      std::uint32_t v;
      if constexpr (kType == MmaType::tf32) {
        v = bits[k];
      } else {
        const std::uint32_t h = (bits[k / 2] >> (16 * (k % 2))) & 0xFFFF;
        if constexpr (kType == MmaType::bf16) {
          v = h << 16;
        } else {
          v = f16_bits_to_f32(h);
        }
      }
      value[k] = std::bit_cast<float>(v ^ flip);
    }
    if constexpr (kType == MmaType::f16) {
      for (int i = 0; i < 4; ++i) exponent[i] = (e[2 * i] & 0x00FF00FF) | (e[2 * i + 1] & 0x00FF00FF) << 8;
    } else {
      std::copy_n(e, kDwords, exponent);
    }
  }
};

// A block of B: values as f32, and exponents packed for the maximum.
template <MmaType kType, int kVectors>
struct FloatB {
  static constexpr int kK = mma_k(kType);
  static constexpr int kExponents = exponent_vectors(kType);

  alignas(64) float value[kK][kVectors][kLanes];
  alignas(64) std::int32_t exponent[kExponents][kVectors][kLanes];
  std::uint32_t special[kVectors];  // lanes with Inf or NaN
  bool any_special = false;

  HWY_INLINE void decode(const MmaShape&, const std::byte* b_rows) {
    for (int u = 0; u < kVectors; ++u) {
      V32 specials = hn::Zero(D32()), previous = hn::Zero(D32());
      V32 dwords[kDwords];
      load_columns(b_rows + u * kLanes * kMmaRowBytes, dwords);
      for (int q = 0; q < kDwords; ++q) {
        const V32 x = dwords[q];
        if constexpr (kType == MmaType::tf32) {
          const V32 kept = hn::And(x, broadcast(kTf32Mask));
          const auto f = exponents32(D32(), kept);
          specials = hn::Or(specials, f.special);
          hn::Store(f.exponent, D32(), exponent[q][u]);
          hn::Store(as_float(kept), DF(), value[q][u]);
        } else if constexpr (kType == MmaType::bf16) {
          const auto f = exponents16(D16(), as16(x), 7, kNone16);
          specials = hn::Or(specials, as32(f.special));
          hn::Store(as32(f.exponent), D32(), exponent[q][u]);
          hn::Store(as_float(hn::ShiftLeft<16>(x)), DF(), value[2 * q][u]);
          hn::Store(as_float(hn::And(x, broadcast(0xFFFF0000u))), DF(), value[2 * q + 1][u]);
        } else {
          const auto f = exponents16(D16(), as16(x), 10, kNone8);
          specials = hn::Or(specials, as32(f.special));
          const V32 bytes = hn::And(as32(f.exponent), broadcast(0x00FF00FF));
          if (q % 2)
            hn::Store(hn::Or(previous, hn::ShiftLeft<8>(bytes)), D32(), exponent[q / 2][u]);
          else
            previous = bytes;
          const V32 high = as32(hn::ShiftRight<16>(hn::BitCast(DU32(), x)));
          hn::Store(f16_to_float(x), DF(), value[2 * q][u]);
          hn::Store(f16_to_float(high), DF(), value[2 * q + 1][u]);
        }
      }
      special[u] = mask_bits(hn::Ne(specials, hn::Zero(D32())));
      any_special |= special[u] != 0;
    }
  }
};

template <MmaType kType>
struct FloatFormat {
  using RowA = FloatRow<kType>;
  template <int kVectors>
  using B = FloatB<kType, kVectors>;
  static constexpr int kFraction = 25;
  static constexpr int kK = mma_k(kType);
  static constexpr int kExponents = exponent_vectors(kType);
  static constexpr bool accumulates(AccType t) {
    return t == AccType::f32 || (t == AccType::f16 && kType == MmaType::f16);
  }

  // Largest exponent sum of each column, in both int16 halves; kNone16 where there is no product.
  template <int kVectors>
  static HWY_INLINE void largest_exponents(const RowA& a, const B<kVectors>& b, V16* top) {
    if constexpr (kType == MmaType::f16) {
      V8 m[kVectors];
      for (int u = 0; u < kVectors; ++u) m[u] = hn::Set(D8(), -128);
      for (int q = 0; q < kExponents; ++q) {
        const V8 ea = as8(broadcast(a.exponent[q]));
        for (int u = 0; u < kVectors; ++u)
          m[u] = hn::Max(m[u], hn::Add(ea, as8(hn::Load(D32(), b.exponent[q][u]))));
      }
      for (int u = 0; u < kVectors; ++u) {
        const V16 t = max_in_lane(hn::Max(even_bytes(as32(m[u])), odd_bytes(as32(m[u]))));
        top[u] = hn::IfThenElse(hn::Lt(t, hn::Set(D16(), kLeastF16)), hn::Set(D16(), kNone16), t);
      }
    } else {
      // A tf32 exponent is one int32 a lane: its high half is mere sign and must never win.
      V16 m[kVectors];
      for (int u = 0; u < kVectors; ++u) m[u] = hn::Set(D16(), -32768);
      for (int q = 0; q < kExponents; ++q) {
        const V16 ea =
            as16(broadcast(kType == MmaType::tf32 ? (a.exponent[q] & 0xFFFF) | 0xC0000000u : a.exponent[q]));
        for (int u = 0; u < kVectors; ++u)
          m[u] = hn::Max(m[u], hn::Add(ea, as16(hn::Load(D32(), b.exponent[q][u]))));
      }
      for (int u = 0; u < kVectors; ++u) top[u] = max_in_lane(m[u]);
    }
  }

  template <class Acc, int kVectors>
  static HWY_INLINE void row(const MmaShape& s, const RowA& a, const std::byte* a_row, const B<kVectors>& b,
                             const std::byte* b_rows, const RowOfD& d) {
    V16 products[kVectors];
    V32 exponent[kVectors], low[kVectors], high[kVectors];
    VF scale[kVectors];
    largest_exponents(a, b, products);
    for (int u = 0; u < kVectors; ++u) {
      V32 c = hn::Zero(D32());
      if constexpr (Acc::kAccumulate) c = Acc::load_bits(d, u);
      const Aligned aligned = align<Acc, kFraction>(products[u], c);
      exponent[u] = aligned.exponent;
      scale[u] = scale_up(kFraction, exponent[u]);
      low[u] = hn::Zero(D32());
      high[u] = aligned.addend;
    }
    // Nine terms below 2^27 a half: no overflow.
    for (int k = 0; k < kK / 2; ++k) add_products(a, b, k, scale, low);
    for (int k = kK / 2; k < kK; ++k) add_products(a, b, k, scale, high);
    finish_row<Acc, kVectors, sums_in_int32<Acc>()>(
        s, a.special, b, exponent, a_row, b_rows, d, [&](V16* out) { largest_exponents(a, b, out); },
        [&](int u, V32& overflow) { return round_sum<Acc>(low[u], high[u], exponent[u], overflow); });
  }

  template <int kVectors>
  static HWY_INLINE void add_products(const RowA& a, const B<kVectors>& b, int k, const VF* scale, V32* sum) {
    const VF va = hn::Set(DF(), a.value[k]);
    for (int u = 0; u < kVectors; ++u)
      sum[u] = hn::Add(sum[u], truncate(hn::Mul(hn::Mul(va, hn::Load(DF(), b.value[k][u])), scale[u])));
  }

  // Whether the two halves are added in 32 bits, which nearly 16 products near 4 * 2^exponent overflow.
  template <class Acc>
  static constexpr bool sums_in_int32() {
    return HWY_TARGET != HWY_AVX2 && Acc::kType == AccType::f32;
  }

  // (low + high) * 2^(exponent - 25): truncated to 24 bits for f32; for f16 rounded to odd at 24 bits, which
  // the final rounding to nearest cannot tell from the exact sum. The sign bit of `overflow`: it did not fit.
  template <class Acc>
  static HWY_INLINE VF round_sum(V32 low, V32 high, V32 exponent, V32& overflow) {
    const VF scale = scale_down(exponent, kFraction);
#if HWY_TARGET != HWY_AVX2
    if constexpr (sums_in_int32<Acc>()) {
      const V32 sum = hn::Add(low, high);
      constexpr int kThirdDiffersFromBoth = 0x42;  // (low ^ sum) & (high ^ sum)
      overflow = V32{_mm512_ternarylogic_epi32(low.raw, high.raw, sum.raw, kThirdDiffersFromBoth)};
      const VF kept{_mm512_cvt_roundepi32_ps(sum.raw, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC)};
      return hn::Mul(kept, scale);
    }
#endif
    overflow = hn::Zero(D32());
    const hn::Repartition<double, D32> dd;
    const hn::RebindToUnsigned<decltype(dd)> du;
    const hn::Half<D32> half;
    const hn::Half<DF> half_float;
    const auto round = [&](auto l, auto h) {
      const auto sum = hn::BitCast(du, hn::Add(hn::PromoteTo(dd, l), hn::PromoteTo(dd, h)));
      const auto tail = hn::Set(du, (1u << 29) - 1);
      auto kept = hn::AndNot(tail, sum);
      if constexpr (Acc::kType == AccType::f16) {
        const auto lost = hn::Ne(hn::And(sum, tail), hn::Zero(du));
        kept = hn::Or(kept, hn::IfThenElseZero(lost, hn::Set(du, std::uint64_t{1} << 29)));
      }
      return hn::DemoteTo(half_float, hn::BitCast(dd, kept));
    };
    const auto lower = round(hn::LowerHalf(half, low), hn::LowerHalf(half, high));
    const auto upper = round(hn::UpperHalf(half, low), hn::UpperHalf(half, high));
    return hn::Mul(hn::Combine(DF(), upper, lower), scale);
  }
};

}  // namespace ptxops::virt::numerics::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
