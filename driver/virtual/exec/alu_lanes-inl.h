// Lane loops, compiled once for each SIMD target. A semantic is a struct with
//   PTXOPS_ALU D apply(A a, B b, C c);            or with a first parameter `const Op& op`
// `lanewise<S>` reads a, b, c, e (in this order) and writes d; `predicate<S>` (D = bool) writes predicate d,
// and its complement to e where e is not 0.
#if defined(PTXOPS_ALU_LANES_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef PTXOPS_ALU_LANES_INL_H
#undef PTXOPS_ALU_LANES_INL_H
#else
#define PTXOPS_ALU_LANES_INL_H
#endif

#include <hwy/highway.h>

#include <cstring>
#include <utility>

#include "driver/virtual/exec/alu_types.h"
#include "driver/virtual/exec/machine.h"

HWY_BEFORE_NAMESPACE();
namespace ptxops::virt::alu::HWY_NAMESPACE {

template <class T>
PTXOPS_ALU T* lanes_at(Warp& w, uint32_t offset) {
  return static_cast<T*>(__builtin_assume_aligned(w.regs + offset, 64));
}

template <class T>
PTXOPS_ALU void blend(T* __restrict d, const T* __restrict r, uint32_t lanes) {
  for (uint32_t i = 0; i < kLanes; ++i) d[i] = (lanes >> i & 1) ? r[i] : d[i];
}

// One bit for each lane that holds ~0 (the others hold 0).
PTXOPS_ALU uint32_t mask_of(const uint32_t* HWY_RESTRICT r) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::ScalableTag<int32_t> d;
  constexpr size_t n = hn::MaxLanes(d);
  uint32_t mask = 0;
  if constexpr (n == 8 || n == 16) {
    for (size_t i = 0; i < kLanes; i += n) {
      const auto v = hn::Load(d, reinterpret_cast<const int32_t*>(r) + i);
      uint32_t bits = 0;
      hn::StoreMaskBits(d, hn::MaskFromVec(v), reinterpret_cast<uint8_t*>(&bits));
      mask |= bits << i;
    }
  } else {
    for (uint32_t i = 0; i < kLanes; ++i) mask |= r[i] & (1u << i);
  }
  return mask;
}

template <class S, class Signature>
struct Loops;

template <class S, bool kTakesOp, class D, class... Args>
struct LoopsOf {
  template <size_t k>
  PTXOPS_ALU uint32_t source(const Op& op) {
    if constexpr (k == 0) return op.a;
    if constexpr (k == 1) return op.b;
    if constexpr (k == 2) return op.c;
    if constexpr (k == 3) return op.e;
  }
  template <size_t... k>
  PTXOPS_ALU void load(Warp& w, const Op& op, std::index_sequence<k...>, const void** p) {
    ((p[k] = w.regs + source<k>(op)), ...);
  }
  template <size_t... k>
  PTXOPS_ALU D one(const Op& op, const void* const* p, uint32_t i, std::index_sequence<k...>) {
    if constexpr (kTakesOp) {
      return S::apply(
          op, from_lane<Args>(static_cast<const LaneBits<Args>*>(__builtin_assume_aligned(p[k], 64))[i])...);
    } else {
      return S::apply(
          from_lane<Args>(static_cast<const LaneBits<Args>*>(__builtin_assume_aligned(p[k], 64))[i])...);
    }
  }

  static Step lanewise(Warp& w, const Op& op, uint32_t lanes) {
    constexpr auto sequence = std::index_sequence_for<Args...>{};
    const void* p[sizeof...(Args) + 1];
    load(w, op, sequence, p);
    using Bits = LaneBits<D>;
    Bits* d = lanes_at<Bits>(w, op.d);
    if (lanes == kAllLanes) {
      // Sources may be the destination itself, never a shifted view of it.
#pragma GCC ivdep
      for (uint32_t i = 0; i < kLanes; ++i) d[i] = to_lane<D>(one(op, p, i, sequence));
    } else {
      alignas(64) Bits r[kLanes];
      for (uint32_t i = 0; i < kLanes; ++i) r[i] = to_lane<D>(one(op, p, i, sequence));
      blend(d, r, lanes);
    }
    return Step::next;
  }

  PTXOPS_ALU uint32_t truth(Warp& w, const Op& op) {
    constexpr auto sequence = std::index_sequence_for<Args...>{};
    const void* p[sizeof...(Args) + 1];
    load(w, op, sequence, p);
    alignas(64) uint32_t r[kLanes];
    for (uint32_t i = 0; i < kLanes; ++i) r[i] = one(op, p, i, sequence) ? ~0u : 0u;
    return mask_of(r);
  }
};

template <class S, class D, class... Args>
struct Loops<S, D (*)(Args...)> : LoopsOf<S, false, D, Args...> {};
template <class S, class D, class... Args>
struct Loops<S, D (*)(const Op&, Args...)> : LoopsOf<S, true, D, Args...> {};

template <class S>
using LoopsFor = Loops<S, decltype(&S::apply)>;

template <class S>
inline constexpr Handler lanewise = &LoopsFor<S>::lanewise;

}  // namespace ptxops::virt::alu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
