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

// 2^e as a float, -126 <= e <= 127.
HWY_INLINE VF power_of_two(V32 e) {
  return as_float(hn::ShiftLeft<23>(hn::Add(e, hn::Set(D32(), 127))));
}

// The larger int16 of each 32-bit lane, in both halves.
HWY_INLINE V16 max_in_lane(V16 v) {
  const hn::RebindToUnsigned<D32> du;
  return hn::Max(v, hn::BitCast(D16(), hn::RotateRight<16>(hn::BitCast(du, v))));
}

// The low int16 of each 32-bit lane, in both halves.
HWY_INLINE V16 both_halves(V32 v) {
  return as16(hn::Or(hn::And(v, hn::Set(D32(), 0xFFFF)), hn::ShiftLeft<16>(v)));
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

using DU16Half = hn::Rebind<std::uint16_t, D32>;
using DF16Half = hn::Rebind<hwy::float16_t, DF>;

// What a kernel knows at compile time about its accumulators.
template <AccType kAcc, bool kAccumulate_>
struct Accumulators {
  static constexpr AccType kType = kAcc;
  static constexpr bool kAccumulate = kAccumulate_;
  static constexpr int kBytes = kAcc == AccType::f16 ? 2 : 4;
  static constexpr int kStep = kLanes * kBytes;  // bytes of one vector

  static HWY_INLINE V32 load_bits(const std::byte* d) {
    if constexpr (kAcc == AccType::f16)
      return hn::PromoteTo(D32(), hn::LoadU(DU16Half(), reinterpret_cast<const std::uint16_t*>(d)));
    else
      return hn::LoadU(D32(), reinterpret_cast<const std::int32_t*>(d));
  }
  static HWY_INLINE void store(VF v, std::byte* d) {  // f16: rounds to nearest even
    if constexpr (kAcc == AccType::f16)
      hn::StoreU(hn::DemoteTo(DF16Half(), v), DF16Half(), reinterpret_cast<hwy::float16_t*>(d));
    else
      hn::StoreU(v, DF(), reinterpret_cast<float*>(d));
  }
};

HWY_INLINE std::uint32_t mask_bits(hn::Mask<D32> m) {
  std::uint8_t bits[8] = {};
  hn::StoreMaskBits(D32(), m, bits);
  std::uint32_t r;
  std::memcpy(&r, bits, 4);
  return r;
}

// The common exponent of each lane, and c truncated to it.
struct Aligned {
  V32 exponent;            // within kFastMin..kFastMax
  V32 addend;              // T_c
  hn::Mask<D32> suspects;  // lanes out of the fast range, or whose c is Inf or NaN
};

// `products`: largest exponent of the products, in both int16 halves; kNone16 or less where there is none.
template <class Acc, int kFraction>
HWY_INLINE Aligned align(V16 products, const std::byte* d) {
  V32 e = hn::ShiftRight<16>(as32(products));
  VF value = hn::Zero(DF());
  if constexpr (Acc::kAccumulate) {
    const V32 bits = Acc::load_bits(d);
    if constexpr (Acc::kType == AccType::f16) {
      value = f16_to_float(bits);
      const V32 field = hn::And(hn::ShiftRight<10>(bits), hn::Set(D32(), 31));
      const V32 finite = hn::Sub(hn::Max(field, hn::Set(D32(), 1)), hn::Set(D32(), 15));
      const V32 any = hn::IfThenElse(hn::Eq(field, hn::Set(D32(), 31)), hn::Set(D32(), 128), finite);
      const auto zero = hn::RebindMask(D32(), hn::Eq(value, hn::Zero(DF())));
      e = hn::Max(e, hn::IfThenElse(zero, hn::Set(D32(), kNone16), any));
    } else {
      // Zero and subnormal c count as 2^-127, Inf and NaN as 2^128: both outside the fast range.
      value = as_float(bits);
      e = hn::Max(e, hn::Sub(hn::And(hn::ShiftRight<23>(bits), hn::Set(D32(), 255)), hn::Set(D32(), 127)));
    }
  }
  if constexpr (Acc::kType == AccType::f16) e = hn::Max(e, hn::Set(D32(), kMinExponentF16));
  const V32 exponent = hn::Min(hn::Max(e, hn::Set(D32(), kFastMin)), hn::Set(D32(), kFastMax));
  V32 addend = hn::Zero(D32());
  if constexpr (Acc::kAccumulate)
    addend = truncate(hn::Mul(value, power_of_two(hn::Sub(hn::Set(D32(), kFraction), exponent))));
  return {exponent, addend, hn::Ne(e, exponent)};
}

// Of the suspects, the lanes that do need the scalar rule: a lane without any term is suspect, but its zero
// is right.
template <class Acc>
inline std::uint32_t condemned(V16 products, const std::byte* d, hn::Mask<D32> suspects) {
  auto empty = hn::Lt(hn::ShiftRight<16>(as32(products)), hn::Set(D32(), kAllNone));
  if constexpr (Acc::kAccumulate) {
    const int sign_bit = Acc::kType == AccType::f16 ? 0x8000 : std::numeric_limits<int>::min();
    const V32 magnitude = hn::AndNot(hn::Set(D32(), sign_bit), Acc::load_bits(d));
    empty = hn::And(empty, hn::Eq(magnitude, hn::Zero(D32())));
  }
  return mask_bits(hn::And(suspects, hn::Not(empty)));
}

// Recomputes the lanes set in `lanes` by the scalar rule. `c`: the accumulators as they were.
template <class Acc>
HWY_NOINLINE void repair(const MmaShape& s, std::uint32_t lanes, const std::byte* a_row,
                         const std::byte* b_rows, const std::byte* c, std::byte* d) {
  for (; lanes; lanes &= lanes - 1) {
    const int lane = std::countr_zero(lanes);
    std::uint32_t bits = 0;
    std::memcpy(&bits, c + lane * Acc::kBytes, Acc::kBytes);
    const std::uint32_t r = mma_element(s, a_row, b_rows + lane * kMmaRowBytes, bits);
    std::memcpy(d + lane * Acc::kBytes, &r, Acc::kBytes);
  }
}

// Rounds and stores one row of a block. round(u) gives vector u's result, and may add suspects.
template <class Acc, int kVectors, class Round>
HWY_INLINE void finish_row(const MmaShape& s, bool a_special, const hn::Mask<D32>* b_special,
                           bool any_b_special, const V16* products, hn::Mask<D32>* suspects,
                           const std::byte* a_row, const std::byte* b_rows, std::byte* d, Round round) {
  VF result[kVectors];
  for (int u = 0; u < kVectors; ++u) result[u] = round(u);
  auto suspect = suspects[0];
  for (int u = 1; u < kVectors; ++u) suspect = hn::Or(suspect, suspects[u]);
  if (HWY_LIKELY(hn::AllFalse(D32(), suspect) && !a_special && !any_b_special)) {
    for (int u = 0; u < kVectors; ++u) Acc::store(result[u], d + u * Acc::kStep);
    return;
  }
  alignas(64) std::byte c[Acc::kStep];
  for (int u = 0; u < kVectors; ++u, d += Acc::kStep, b_rows += kLanes * kMmaRowBytes) {
    std::uint32_t lanes = condemned<Acc>(products[u], d, suspects[u]) | mask_bits(b_special[u]);
    if (a_special) lanes = (1u << kLanes) - 1;
    std::memcpy(c, d, Acc::kStep);
    Acc::store(result[u], d);
    repair<Acc>(s, lanes, a_row, b_rows, c, d);
  }
}

// Walks B in blocks of columns: Kernel::prepare(shape, rows of B) decodes a block, Kernel::row computes one
// row of it. Ragged blocks go through padded copies, so the kernels only ever see whole vectors.
template <class Kernel>
HWY_NOINLINE void run_block(const MmaShape& s, const typename Kernel::RowA* rows, const std::byte* a,
                            const std::byte* b, std::byte* d, int columns) {
  constexpr int kWidth = Kernel::kVectorCount * kLanes;
  constexpr int kBytes = Kernel::kAccBytes;
  const std::ptrdiff_t pitch = static_cast<std::ptrdiff_t>(s.n) * kBytes;
  Kernel kernel;
  if (HWY_LIKELY(columns == kWidth)) {
    kernel.prepare(s, b);
    for (int i = 0; i < s.m; ++i) kernel.row(s, rows[i], a + i * kMmaRowBytes, b, d + i * pitch);
    return;
  }
  alignas(64) std::byte padded_b[kWidth * kMmaRowBytes] = {}, padded_d[kWidth * kBytes] = {};
  std::memcpy(padded_b, b, columns * kMmaRowBytes);
  kernel.prepare(s, padded_b);
  for (int i = 0; i < s.m; ++i, d += pitch) {
    if (s.accumulate) std::memcpy(padded_d, d, columns * kBytes);
    kernel.row(s, rows[i], a + i * kMmaRowBytes, padded_b, padded_d);
    std::memcpy(d, padded_d, columns * kBytes);
  }
}

template <template <class, int> class Kernel, class Acc>
HWY_INLINE void run_blocks(const MmaShape& s, const std::byte* a, const std::byte* b, std::byte* d) {
  typename Kernel<Acc, 1>::RowA rows[64];
  for (int i = 0; i < s.m; ++i) rows[i].decode(s, a + i * kMmaRowBytes);
  int j = 0;
  for (; j + kWide * kLanes <= s.n; j += kWide * kLanes)
    run_block<Kernel<Acc, kWide>>(s, rows, a, b + j * kMmaRowBytes, d + j * Acc::kBytes, kWide * kLanes);
  for (; j < s.n; j += kLanes)
    run_block<Kernel<Acc, 1>>(s, rows, a, b + j * kMmaRowBytes, d + j * Acc::kBytes,
                              std::min(kLanes, s.n - j));
}

template <template <class, int> class Kernel, AccType kAcc>
HWY_INLINE void run_mma(const MmaShape& s, const std::byte* a, const std::byte* b, std::byte* d) {
  if (s.accumulate)
    run_blocks<Kernel, Accumulators<kAcc, true>>(s, a, b, d);
  else
    run_blocks<Kernel, Accumulators<kAcc, false>>(s, a, b, d);
}

}  // namespace ptxops::virt::numerics::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
