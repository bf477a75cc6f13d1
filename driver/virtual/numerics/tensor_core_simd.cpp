// mma() on whatever vector instructions the machine has; machines below AVX2 run the scalar rule.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "driver/virtual/numerics/tensor_core_simd.cpp"
#include <hwy/foreach_target.h>
// foreach_target.h comes first.
#include <hwy/highway.h>

#if HWY_TARGET <= HWY_AVX2
#include "driver/virtual/numerics/tensor_core_float-inl.h"
#include "driver/virtual/numerics/tensor_core_fp8-inl.h"
#include "driver/virtual/numerics/tensor_core_int-inl.h"
#endif
#include "driver/virtual/numerics/tensor_core_simd.h"

HWY_BEFORE_NAMESPACE();
namespace ptxops::virt::numerics::HWY_NAMESPACE {

#if HWY_TARGET <= HWY_AVX2
// f(format) for the kernels of a type; false if it has none.
template <class F>
bool with_format(MmaType type, F f) {
  switch (type) {
    case MmaType::e4m3:
    case MmaType::e5m2:
      f(Fp8Format());
      return true;
    case MmaType::f16:
      f(FloatFormat<MmaType::f16>());
      return true;
    case MmaType::bf16:
      f(FloatFormat<MmaType::bf16>());
      return true;
    case MmaType::tf32:
      f(FloatFormat<MmaType::tf32>());
      return true;
    case MmaType::s8:
    case MmaType::u8:
      f(IntFormat());
      return true;
    case MmaType::b1:
      break;  // popcounts of 32 bytes: the scalar loop is already short
  }
  return false;
}
#else
template <class F>
bool with_format(MmaType, F) {
  return false;
}
#endif

std::size_t bytes(MmaType type, int n) {
  std::size_t size = 0;
  with_format(type, [&](auto format) { size = decoded_bytes<decltype(format)>(n); });
  return size;
}

void decode(const MmaShape& s, const std::byte* rows, std::byte* decoded) {
  with_format(s.b, [&](auto format) { decode_mma_b<decltype(format)>(s, rows, decoded); });
}

void run(const MmaShape& s, const std::byte* a, const std::byte* b_rows, const std::byte* decoded,
         const MmaD& d) {
  with_format(s.a, [&](auto format) {
    using Format = decltype(format);
    if constexpr (Format::accumulates(AccType::f16))
      if (s.d == AccType::f16) return run_mma<Format, AccType::f16>(s, a, b_rows, decoded, d);
    constexpr bool kInteger = Format::accumulates(AccType::s32);
    run_mma<Format, kInteger ? AccType::s32 : AccType::f32>(s, a, b_rows, decoded, d);
  });
}

const char* target() {
  return hwy::TargetName(HWY_TARGET);
}

}  // namespace ptxops::virt::numerics::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ptxops::virt::numerics {
HWY_EXPORT(bytes);
HWY_EXPORT(decode);
HWY_EXPORT(run);
HWY_EXPORT(target);
std::size_t simd_decoded_bytes(MmaType b, int n) {
  return HWY_DYNAMIC_DISPATCH(bytes)(b, n);
}
void simd_decode(const MmaShape& s, const std::byte* rows, std::byte* decoded) {
  HWY_DYNAMIC_DISPATCH(decode)(s, rows, decoded);
}
void mma_simd(const MmaShape& s, const std::byte* a, const std::byte* b_rows, const std::byte* decoded,
              const MmaD& d) {
  HWY_DYNAMIC_DISPATCH(run)(s, a, b_rows, decoded, d);
}
const char* mma_target() {
  return HWY_DYNAMIC_DISPATCH(target)();
}
}  // namespace ptxops::virt::numerics
#endif
