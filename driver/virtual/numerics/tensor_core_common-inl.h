// What the vector tensor-core kernels share. Lane = one column n; a 32-bit lane of an operand vector holds the
// elements of one or more k of that column. Included once per Highway target.
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
inline constexpr int kWide = HWY_TARGET == HWY_AVX2 ? 2 : 4;  // vectors a block: as many as the registers hold
inline constexpr int kDwords = kMmaRowBytes / 4;

// Exponent of "no term": below every sum of real exponents, and still below after adding a real one.
inline constexpr int kNone16 = -1000;
inline constexpr int kNone8 = -48;

// Exponents outside this range go to the scalar rule: inside it no product or scale leaves the normal f32 range in
// a way that could change a truncated term. Below kAllNone there is no term at all and the sum is zero.
inline constexpr int kFastMin = -60, kFastMax = 120, kAllNone = -400;

HWY_INLINE V32 broadcast(std::uint32_t x) { return hn::Set(D32(), static_cast<std::int32_t>(x)); }
HWY_INLINE V16 as16(V32 v) { return hn::BitCast(D16(), v); }
HWY_INLINE V8 as8(V32 v) { return hn::BitCast(D8(), v); }
template <class V>
HWY_INLINE V32 as32(V v) {
  return hn::BitCast(D32(), v);
}
HWY_INLINE VF as_float(V32 v) { return hn::BitCast(DF(), v); }

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

// Sign-extends the even (byte 0, 2) and odd (1, 3) bytes of each 32-bit lane to int16.
HWY_INLINE V16 even_bytes(V32 v) { return hn::ShiftRight<8>(hn::ShiftLeft<8>(as16(v))); }
HWY_INLINE V16 odd_bytes(V32 v) { return hn::ShiftRight<8>(as16(v)); }

// One block of B: `vectors` * kLanes columns, 32 bytes each, zero-padded past the last column.
struct Columns {
  const std::byte* rows;
  // Dword `q` of the columns of vector `u`.
  V32 dwords(int u, int q) const {
    const V32 offsets = hn::Mul(hn::Iota(D32(), 0), hn::Set(D32(), kMmaRowBytes));
    const std::byte* base = rows + u * kLanes * kMmaRowBytes + 4 * q;
    return hn::GatherOffset(D32(), reinterpret_cast<const std::int32_t*>(base), offsets);
  }
};

// The accumulators of one vector: value (exact in f32), exponent in both int16 halves (kNone16 for zero), and the lanes
// that the scalar rule must handle because c is Inf or NaN.
struct Addend {
  VF value;
  V16 exponent;
  hn::Mask<D32> special;
};

HWY_INLINE Addend no_addend() {
  return {hn::Zero(DF()), hn::Set(D16(), kNone16), hn::FirstN(D32(), 0)};
}

// c from raw bits; field and bias of the exponent belong to the accumulator's format.
HWY_INLINE Addend make_addend(VF value, V32 field, int field_max, int bias) {
  const V32 e = hn::Sub(hn::Max(field, hn::Set(D32(), 1)), hn::Set(D32(), bias));
  const auto zero = hn::RebindMask(D32(), hn::Eq(value, hn::Zero(DF())));
  const V32 used = hn::IfThenElse(zero, hn::Set(D32(), kNone16), e);
  const V32 both = hn::Or(hn::And(used, hn::Set(D32(), 0xFFFF)), hn::ShiftLeft<16>(used));
  return {value, as16(both), hn::Eq(field, hn::Set(D32(), field_max))};
}

// f16 bits in the low half of each lane -> f32, exact for every finite value.
HWY_INLINE VF f16_to_float(V32 h) {
  const V32 magnitude = hn::ShiftLeft<13>(hn::And(h, hn::Set(D32(), 0x7FFF)));
  const V32 sign = hn::ShiftLeft<16>(hn::And(h, hn::Set(D32(), 0x8000)));
  const VF value = hn::Mul(as_float(magnitude), hn::Set(DF(), 0x1p112f));
  return as_float(hn::Or(as32(value), sign));
}

using DU16Half = hn::Rebind<std::uint16_t, D32>;
using DF16Half = hn::Rebind<hwy::float16_t, DF>;

HWY_INLINE Addend load_addend(const MmaShape& s, const std::byte* d) {
  if (!s.accumulate) return no_addend();
  if (s.d == AccType::f16) {
    const V32 h = hn::PromoteTo(D32(), hn::LoadU(DU16Half(), reinterpret_cast<const std::uint16_t*>(d)));
    return make_addend(f16_to_float(h), hn::And(hn::ShiftRight<10>(h), hn::Set(D32(), 31)), 31, 15);
  }
  const V32 bits = hn::LoadU(D32(), reinterpret_cast<const std::int32_t*>(d));
  return make_addend(as_float(bits), hn::And(hn::ShiftRight<23>(bits), hn::Set(D32(), 255)), 255, 127);
}

HWY_INLINE void store_f16(VF v, std::byte* d) {  // rounds to nearest even
  hn::StoreU(hn::DemoteTo(DF16Half(), v), DF16Half(), reinterpret_cast<hwy::float16_t*>(d));
}
HWY_INLINE void store_f32(VF v, std::byte* d) { hn::StoreU(v, DF(), reinterpret_cast<float*>(d)); }

// Recomputes the lanes set in `lanes` by the scalar rule. `c`: the block's accumulators as they were.
inline void repair(const MmaShape& s, std::uint32_t lanes, const std::byte* a_row, const std::byte* b_rows,
                   const std::byte* c, std::byte* d) {
  const int bytes = s.d == AccType::f16 ? 2 : 4;
  for (; lanes; lanes &= lanes - 1) {
    const int lane = std::countr_zero(lanes);
    std::uint32_t bits = 0;
    std::memcpy(&bits, c + lane * bytes, bytes);
    const std::uint32_t r = mma_element(s, a_row, b_rows + lane * kMmaRowBytes, bits);
    std::memcpy(d + lane * bytes, &r, bytes);
  }
}

HWY_INLINE std::uint32_t mask_bits(hn::Mask<D32> m) {
  std::uint8_t bits[8] = {};
  hn::StoreMaskBits(D32(), m, bits);
  std::uint32_t r;
  std::memcpy(&r, bits, 4);
  return r;
}

// Walks B in blocks of columns: Kernel::prepare(shape, Columns) decodes a block, Kernel::row computes one row of it.
// Ragged blocks go through padded copies, so the kernels only ever see whole vectors.
template <template <int> class Kernel, int kVectors>
HWY_NOINLINE void run_block(const MmaShape& s, const typename Kernel<kVectors>::RowA* rows, const std::byte* a,
                            const std::byte* b, std::byte* d, int columns) {
  constexpr int kWidth = kVectors * kLanes;
  const int bytes = s.d == AccType::f16 ? 2 : 4;
  const std::ptrdiff_t pitch = static_cast<std::ptrdiff_t>(s.n) * bytes;
  alignas(64) std::byte padded_b[kWidth * kMmaRowBytes];
  if (columns < kWidth) {
    std::memcpy(padded_b, b, columns * kMmaRowBytes);
    std::memset(padded_b + columns * kMmaRowBytes, 0, (kWidth - columns) * kMmaRowBytes);
    b = padded_b;
  }
  Kernel<kVectors> kernel;
  kernel.prepare(s, Columns{b});
  for (int i = 0; i < s.m; ++i, d += pitch) {
    alignas(64) std::byte padded_d[kWidth * 4] = {};
    std::byte* out = d;
    if (columns < kWidth) {
      if (s.accumulate) std::memcpy(padded_d, d, columns * bytes);
      out = padded_d;
    }
    kernel.row(s, rows[i], a + i * kMmaRowBytes, b, out);
    if (columns < kWidth) std::memcpy(d, padded_d, columns * bytes);
  }
}

template <template <int> class Kernel>
HWY_INLINE void run_mma(const MmaShape& s, const std::byte* a, const std::byte* b, std::byte* d) {
  typename Kernel<1>::RowA rows[64];
  for (int i = 0; i < s.m; ++i) rows[i].decode(s, a + i * kMmaRowBytes);
  const int bytes = s.d == AccType::f16 ? 2 : 4;
  int j = 0;
  for (; j + kWide * kLanes <= s.n; j += kWide * kLanes)
    run_block<Kernel, kWide>(s, rows, a, b + j * kMmaRowBytes, d + j * bytes, kWide * kLanes);
  for (; j < s.n; j += kLanes)
    run_block<Kernel, 1>(s, rows, a, b + j * kMmaRowBytes, d + j * bytes, std::min(kLanes, s.n - j));
}

}  // namespace ptxops::virt::numerics::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
