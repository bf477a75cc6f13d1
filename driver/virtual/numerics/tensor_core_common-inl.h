// What the vector tensor-core kernels share. Lane = one column n; a 32-bit lane of an operand vector holds
// the elements of one or more k of that column. Included once per Highway target.
#if defined(PTXOPS_TENSOR_CORE_COMMON_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PTXOPS_TENSOR_CORE_COMMON_INL_H_
#undef PTXOPS_TENSOR_CORE_COMMON_INL_H_
#else
#define PTXOPS_TENSOR_CORE_COMMON_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <new>
#include <type_traits>

#include "driver/virtual/numerics/tensor_core.h"
#include "driver/virtual/numerics/tensor_core_exact.h"

HWY_BEFORE_NAMESPACE();
namespace ptxops::virt::numerics::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D32 = hn::ScalableTag<std::int32_t>;
using DF = hn::ScalableTag<float>;
using D16 = hn::ScalableTag<std::int16_t>;
using D8 = hn::ScalableTag<std::int8_t>;
using V32 = hn::Vec<D32>;
using VF = hn::Vec<DF>;
using V16 = hn::Vec<D16>;
using V8 = hn::Vec<D8>;
inline constexpr int kLanes = HWY_LANES(std::int32_t);
inline constexpr int kWide =
    HWY_TARGET == HWY_AVX2 ? 2 : 4;  // vectors a block: as many as the registers hold
inline constexpr int kDwords = kMmaRowBytes / 4;

// Exponent of "no term": below every sum of real exponents, and still below after adding a real one.
inline constexpr int kNone16 = -1000;
inline constexpr int kNone8 = -48;

// Exponents outside this range go to the scalar rule: inside it no product or scale leaves the normal f32
// range in a way that could change a truncated term. Below kAllNone there is no term at all and the sum is
// zero.
inline constexpr int kFastMin = -60, kFastMax = 120, kAllNone = -400;

// Common exponents are kept where an f32 has its own: 2^e as bits, 0 <= e + 127 < 512.
constexpr std::int32_t exponent_bits(int e) {
  return static_cast<std::int32_t>(static_cast<std::uint32_t>(e + 127) << 23);
}

HWY_INLINE V32 broadcast(std::uint32_t x) {
  return hn::Set(D32(), static_cast<std::int32_t>(x));
}
HWY_INLINE V16 as16(V32 v) {
  return hn::BitCast(D16(), v);
}
HWY_INLINE V8 as8(V32 v) {
  return hn::BitCast(D8(), v);
}
template <class V>
HWY_INLINE V32 as32(V v) {
  return hn::BitCast(D32(), v);
}
HWY_INLINE VF as_float(V32 v) {
  return hn::BitCast(DF(), v);
}

// float -> int32 toward zero, the bare instruction: out-of-range lanes are garbage that the caller discards.
HWY_INLINE V32 truncate(VF v) {
#if HWY_TARGET == HWY_AVX2
  return V32{_mm256_cvttps_epi32(v.raw)};
#else
  return V32{_mm512_cvttps_epi32(v.raw)};
#endif
}

// acc + a.lo * b.lo + a.hi * b.hi in each 32-bit lane.
HWY_INLINE V32 dot2(V32 acc, V16 a, V16 b) {
  V32 unused = acc;
  return hn::ReorderWidenMulAccumulate(D32(), a, b, acc, unused);
}

// 2^(n - e) and 2^(e - n) of an exponent e in place.
HWY_INLINE VF scale_up(int n, V32 e) {
  return as_float(hn::Sub(hn::Set(D32(), exponent_bits(n + 127)), e));
}
HWY_INLINE VF scale_down(V32 e, int n) {
  return as_float(hn::Sub(e, hn::Set(D32(), n << 23)));
}

// The larger int16 of each 32-bit lane, in both halves.
HWY_INLINE V16 max_in_lane(V16 v) {
  const hn::RebindToUnsigned<D32> du;
  return hn::Max(v, hn::BitCast(D16(), hn::RotateRight<16>(hn::BitCast(du, v))));
}

// Sign-extends the even (byte 0, 2) and odd (1, 3) bytes of each 32-bit lane to int16.
HWY_INLINE V16 even_bytes(V32 v) {
  return hn::ShiftRight<8>(hn::ShiftLeft<8>(as16(v)));
}
HWY_INLINE V16 odd_bytes(V32 v) {
  return hn::ShiftRight<8>(as16(v));
}

// Transposes kLanes rows of B (32 bytes each): out[q] holds dword q of every row. Each stage trades the
// lowest lane bit, a bit of q, for a bit of the row.
HWY_INLINE void load_columns(const std::byte* rows, V32* out) {
  V32 x[kDwords], y[kDwords];
  for (int i = 0; i < kDwords; ++i)
    x[i] = hn::LoadU(D32(), reinterpret_cast<const std::int32_t*>(rows + i * kLanes * 4));
  const auto stage = [](const V32* from, V32* to, int bit) {
    for (int i = 0; i < kDwords; ++i)
      if (!(i & bit)) {
        to[i] = hn::ConcatEven(D32(), from[i | bit], from[i]);
        to[i | bit] = hn::ConcatOdd(D32(), from[i | bit], from[i]);
      }
  };
  stage(x, y, 1);
  stage(y, x, 2);
  stage(x, out, 4);
}

// f16 bits in the low half of each lane -> f32, exact for every finite value. Subnormals go through 1 + x -
// 1, since a subnormal f32 operand would cost a microcode assist.
HWY_INLINE VF f16_to_float(V32 h) {
  const V32 magnitude = hn::ShiftLeft<13>(hn::And(h, hn::Set(D32(), 0x7FFF)));
  const V32 sign = hn::ShiftLeft<16>(hn::And(h, hn::Set(D32(), 0x8000)));
  const auto subnormal = hn::Lt(magnitude, hn::Set(D32(), 1 << 23));
  const V32 rebiased = hn::Add(magnitude, hn::Set(D32(), 112 << 23));
  const VF tiny = hn::Sub(as_float(hn::Add(rebiased, hn::Set(D32(), 1 << 23))), hn::Set(DF(), 0x1p-14f));
  return as_float(hn::Or(hn::IfThenElse(subnormal, as32(tiny), rebiased), sign));
}

using DF16Half = hn::Rebind<hwy::float16_t, DF>;
using DU16Half = hn::Rebind<std::uint16_t, D32>;
using DU32 = hn::RebindToUnsigned<D32>;

// One row of D within a block of columns: piece i lies at base + in[i], and its result goes to base + out[i].
struct RowOfD {
  std::byte* base;
  const std::uint32_t *in, *out;
};

// A vector from 16-byte pieces, and back.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V load_pieces(D d, const std::byte* base, const std::uint32_t* at) {
  if constexpr (hn::MaxLanes(d) * sizeof(hn::TFromD<D>) == 16) {
    return hn::LoadU(d, reinterpret_cast<const hn::TFromD<D>*>(base + at[0]));
  } else {
    const hn::Half<D> half;
    constexpr int kHalf = hn::MaxLanes(half) * sizeof(hn::TFromD<D>) / 16;
    return hn::Combine(d, load_pieces(half, base, at + kHalf), load_pieces(half, base, at));
  }
}
template <class D, class V>
HWY_INLINE void store_pieces(D d, V v, std::byte* base, const std::uint32_t* at) {
  if constexpr (hn::MaxLanes(d) * sizeof(hn::TFromD<D>) == 16) {
    hn::StoreU(v, d, reinterpret_cast<hn::TFromD<D>*>(base + at[0]));
  } else {
    const hn::Half<D> half;
    constexpr int kHalf = hn::MaxLanes(half) * sizeof(hn::TFromD<D>) / 16;
    store_pieces(half, hn::LowerHalf(half, v), base, at);
    store_pieces(half, hn::UpperHalf(half, v), base, at + kHalf);
  }
}

// What a kernel knows at compile time about its accumulators.
template <AccType kAcc, bool kAccumulate_>
struct Accumulators {
  static constexpr AccType kType = kAcc;
  static constexpr bool kAccumulate = kAccumulate_;
  static constexpr int kBytes = kAcc == AccType::f16 ? 2 : 4;
  static constexpr int kStep = kLanes * kBytes;        // bytes of one vector
  static constexpr int kPieces = kStep / kPieceBytes;  // pieces of one vector

  // Vector u of the row.
  static HWY_INLINE V32 load_bits(const RowOfD& d, int u) {
    if constexpr (kAcc == AccType::f16)
      return hn::PromoteTo(D32(), load_pieces(DU16Half(), d.base, d.in + u * kPieces));
    else
      return load_pieces(D32(), d.base, d.in + u * kPieces);
  }
  static HWY_INLINE void store(VF v, const RowOfD& d, int u) {  // f16: rounds to nearest even
    if constexpr (kAcc == AccType::f16)
      store_pieces(DU16Half(), hn::BitCast(DU16Half(), hn::DemoteTo(DF16Half(), v)), d.base,
                   d.out + u * kPieces);
    else
      store_pieces(D32(), as32(v), d.base, d.out + u * kPieces);
  }
  static HWY_INLINE void store_lane(std::uint32_t bits, const RowOfD& d, int u, int lane) {
    const int byte = lane * kBytes;
    std::memcpy(d.base + d.out[u * kPieces + byte / kPieceBytes] + byte % kPieceBytes, &bits, kBytes);
  }
};

HWY_INLINE std::uint32_t mask_bits(hn::Mask<D32> m) {
  std::uint8_t bits[8] = {};
  hn::StoreMaskBits(D32(), m, bits);
  std::uint32_t r;
  std::memcpy(&r, bits, 4);
  return r;
}

// What the vectors of a row have in common with their products' largest exponents.
struct Aligned {
  V32 exponent;  // the common one, in place
  V32 addend;    // T_c
};

// `products`: largest exponent of the products, in both int16 halves; kNone16 or less where there is none.
// `c`: bits of the accumulators.
template <class Acc, int kFraction>
HWY_INLINE Aligned align(V16 products, V32 c) {
  // One shift puts the low half's exponent in place; what is below 2^-127 counts as 2^-127.
  const V16 field = hn::Max(hn::Add(products, hn::Set(D16(), 127)), hn::Zero(D16()));
  auto e = hn::BitCast(DU32(), hn::ShiftLeft<23>(as32(field)));
  VF value = hn::Zero(DF());
  if constexpr (Acc::kAccumulate) {
    V32 own;
    if constexpr (Acc::kType == AccType::f16) {
      value = f16_to_float(c);
      const V32 half_field = hn::And(c, hn::Set(D32(), 0x7C00));
      const V32 finite =
          hn::Add(hn::ShiftLeft<13>(hn::Max(half_field, hn::Set(D32(), 1 << 10))), hn::Set(D32(), 112 << 23));
      const V32 any = hn::IfThenElse(hn::Eq(half_field, hn::Set(D32(), 0x7C00)),
                                     hn::Set(D32(), exponent_bits(128)), finite);
      const auto zero = hn::RebindMask(D32(), hn::Eq(value, hn::Zero(DF())));
      own = hn::IfThenZeroElse(zero, any);
    } else {
      // Zero and subnormal c count as 2^-127, Inf and NaN as 2^128: both outside the fast range.
      value = as_float(c);
      own = hn::And(c, hn::Set(D32(), 0x7F800000));
    }
    e = hn::Max(e, hn::BitCast(DU32(), own));
  }
  if constexpr (Acc::kType == AccType::f16)
    e = hn::Max(e, hn::BitCast(DU32(), hn::Set(D32(), exponent_bits(kMinExponentF16))));
  const V32 exponent = as32(e);
  V32 addend = hn::Zero(D32());
  if constexpr (Acc::kAccumulate) addend = truncate(hn::Mul(value, scale_up(kFraction, exponent)));
  return {exponent, addend};
}

// How far an exponent is above the least fast one, unsigned: more than kFastSpan is out of the fast range.
using VU32 = hn::Vec<DU32>;
HWY_INLINE VU32 above_fast_min(V32 exponent) {
  return hn::BitCast(DU32(), hn::Sub(exponent, hn::Set(D32(), exponent_bits(kFastMin))));
}
HWY_INLINE hn::Mask<D32> out_of_range(VU32 above) {
  return hn::RebindMask(D32(), hn::Gt(above, hn::Set(DU32(), (kFastMax - kFastMin) << 23)));
}

// Lanes without any term: zero.
template <class Acc>
HWY_INLINE hn::Mask<D32> without_terms(V16 products, V32 c) {
  auto empty = hn::Lt(hn::ShiftRight<16>(as32(products)), hn::Set(D32(), kAllNone));
  if constexpr (Acc::kAccumulate) {
    const int sign_bit = Acc::kType == AccType::f16 ? 0x8000 : std::numeric_limits<int>::min();
    empty = hn::And(empty, hn::Eq(hn::AndNot(hn::Set(D32(), sign_bit), c), hn::Zero(D32())));
  }
  return empty;
}

// Recomputes the lanes set in `lanes` of vector u by the scalar rule. `c`: the accumulators as they were.
template <class Acc>
HWY_NOINLINE void repair(const MmaShape& s, std::uint32_t lanes, const std::byte* a_row,
                         const std::byte* b_rows, V32 c, const RowOfD& d, int u) {
  alignas(64) std::int32_t bits[kLanes];
  hn::Store(c, D32(), bits);
  for (; lanes; lanes &= lanes - 1) {
    const int lane = std::countr_zero(lanes);
    const std::uint32_t r =
        mma_element(s, a_row, b_rows + lane * kMmaRowBytes, static_cast<std::uint32_t>(bits[lane]));
    Acc::store_lane(r, d, u, lane);
  }
}

// Rounds and stores one row of a block. round(u, overflow) gives vector u's result, and sets the sign bit of
// `overflow` where its sum did not fit; products(out) gives the largest exponents of the products once more.
template <class Acc, int kVectors, bool kMayOverflow, class B, class Products, class Round>
HWY_INLINE void finish_row(const MmaShape& s, bool a_special, const B& b, const V32* exponent,
                           const std::byte* a_row, const std::byte* b_rows, const RowOfD& d,
                           Products products, Round round) {
  VF result[kVectors];
  V32 overflow[kVectors];
  for (int u = 0; u < kVectors; ++u) result[u] = round(u, overflow[u]);
  VU32 farthest = above_fast_min(exponent[0]);
  for (int u = 1; u < kVectors; ++u) farthest = hn::Max(farthest, above_fast_min(exponent[u]));
  auto suspect = out_of_range(farthest);
  if constexpr (kMayOverflow) {
    V32 any = overflow[0];
    for (int u = 1; u < kVectors; ++u) any = hn::Or(any, overflow[u]);
    suspect = hn::Or(suspect, hn::MaskFromVec(hn::BroadcastSignBit(any)));
  }
  if (HWY_LIKELY(hn::AllFalse(D32(), suspect) && !a_special && !b.any_special)) {
    for (int u = 0; u < kVectors; ++u) Acc::store(result[u], d, u);
    return;
  }
  V16 largest[kVectors];
  products(largest);
  for (int u = 0; u < kVectors; ++u) {
    auto wrong = out_of_range(above_fast_min(exponent[u]));
    if constexpr (kMayOverflow) wrong = hn::Or(wrong, hn::MaskFromVec(hn::BroadcastSignBit(overflow[u])));
    V32 c = hn::Zero(D32());
    if constexpr (Acc::kAccumulate) c = Acc::load_bits(d, u);
    const auto empty = without_terms<Acc>(largest[u], c);
    std::uint32_t lanes = mask_bits(hn::AndNot(empty, wrong)) | b.special[u];
    if (a_special) lanes = (1u << kLanes) - 1;
    Acc::store(hn::IfThenZeroElse(hn::RebindMask(DF(), empty), result[u]), d, u);
    if (lanes) repair<Acc>(s, lanes, a_row, b_rows + u * kLanes * kMmaRowBytes, c, d, u);
  }
}

// B is walked in blocks of columns: as many wide ones as fit, then single vectors, the last one perhaps
// ragged. A Format has RowA, a row of A decoded; B<vectors>, a block of B decoded; and
// row<Acc, vectors>(...), which computes a row of a block. f(first column, vectors) for each block:
template <class F>
HWY_INLINE void for_blocks(int n, F f) {
  int j = 0;
  for (; j + kWide * kLanes <= n; j += kWide * kLanes) f(j, std::integral_constant<int, kWide>());
  for (; j < n; j += kLanes) f(j, std::integral_constant<int, 1>());
}

template <class Format>
std::size_t decoded_bytes(int n) {
  std::size_t bytes = 0;
  for_blocks(n, [&](int, auto vectors) { bytes += sizeof(typename Format::template B<vectors>); });
  return bytes;
}

// `rows`: those of B, with zeros up to whole vectors.
template <class Format>
HWY_NOINLINE void decode_mma_b(const MmaShape& s, const std::byte* rows, std::byte* decoded) {
  for_blocks(s.n, [&](int j, auto vectors) {
    using B = typename Format::template B<vectors>;
    (new (decoded) B)->decode(s, rows + j * kMmaRowBytes);
    decoded += sizeof(B);
  });
}

template <class Format, class Acc, int kVectors>
HWY_NOINLINE void run_block(const MmaShape& s, const typename Format::RowA* rows, const std::byte* a,
                            const std::byte* decoded, const std::byte* b_rows, int column, const MmaD& d) {
  const auto& b = *reinterpret_cast<const typename Format::template B<kVectors>*>(decoded);
  const int pieces = s.n * Acc::kBytes / kPieceBytes, first = column * Acc::kBytes / kPieceBytes;
  const int own = std::min(kVectors * Acc::kPieces, pieces - first);
  if (HWY_LIKELY(own == kVectors * Acc::kPieces)) {
    for (int i = 0; i < s.m; ++i) {
      const int at = i / kPieceRows * pieces + first;
      const RowOfD row{d.base + i % kPieceRows * kPieceBytes, d.in + at, d.out + at};
      Format::template row<Acc, kVectors>(s, rows[i], a + i * kMmaRowBytes, b, b_rows, row);
    }
    return;
  }
  // Ragged: on a copy of the row, so that the kernels only ever see whole vectors.
  constexpr int kPieces = kVectors * Acc::kPieces;
  alignas(64) std::byte copy[kPieces * kPieceBytes] = {};
  std::uint32_t places[kPieces];
  for (int p = 0; p < kPieces; ++p) places[p] = static_cast<std::uint32_t>(p * kPieceBytes);
  for (int i = 0; i < s.m; ++i) {
    const int at = i / kPieceRows * pieces + first;
    std::byte* base = d.base + i % kPieceRows * kPieceBytes;
    for (int p = 0; p < own && s.accumulate; ++p)
      std::memcpy(copy + p * kPieceBytes, base + d.in[at + p], kPieceBytes);
    Format::template row<Acc, kVectors>(s, rows[i], a + i * kMmaRowBytes, b, b_rows, {copy, places, places});
    for (int p = 0; p < own; ++p) std::memcpy(base + d.out[at + p], copy + p * kPieceBytes, kPieceBytes);
  }
}

template <class Format, class Acc>
HWY_INLINE void run_blocks(const MmaShape& s, const std::byte* a, const std::byte* b_rows,
                           const std::byte* decoded, const MmaD& d) {
  typename Format::RowA rows[kMaxM];
  for (int i = 0; i < s.m; ++i) rows[i].decode(s, a + i * kMmaRowBytes);
  for_blocks(s.n, [&](int j, auto vectors) {
    run_block<Format, Acc, vectors>(s, rows, a, decoded, b_rows + j * kMmaRowBytes, j, d);
    decoded += sizeof(typename Format::template B<vectors>);
  });
}

template <class Format, AccType kAcc>
HWY_INLINE void run_mma(const MmaShape& s, const std::byte* a, const std::byte* b_rows,
                        const std::byte* decoded, const MmaD& d) {
  if (s.accumulate)
    run_blocks<Format, Accumulators<kAcc, true>>(s, a, b_rows, decoded, d);
  else
    run_blocks<Format, Accumulators<kAcc, false>>(s, a, b_rows, decoded, d);
}

}  // namespace ptxops::virt::numerics::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
