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

bool run(const MmaShape& s, const std::byte* a, const std::byte* b, std::byte* d) {
#if HWY_TARGET <= HWY_AVX2
  const bool f16 = s.d == AccType::f16;
  switch (s.a) {
    case MmaType::e4m3:
    case MmaType::e5m2:
      f16 ? run_mma<Fp8Kernel, AccType::f16>(s, a, b, d) : run_mma<Fp8Kernel, AccType::f32>(s, a, b, d);
      return true;
    case MmaType::f16:
      f16 ? run_mma<F16Kernel, AccType::f16>(s, a, b, d) : run_mma<F16Kernel, AccType::f32>(s, a, b, d);
      return true;
    case MmaType::bf16:
      run_mma<Bf16Kernel, AccType::f32>(s, a, b, d);
      return true;
    case MmaType::tf32:
      run_mma<Tf32Kernel, AccType::f32>(s, a, b, d);
      return true;
    case MmaType::s8:
    case MmaType::u8:
      run_mma<IntKernel, AccType::s32>(s, a, b, d);
      return true;
    case MmaType::b1:
      break;  // popcounts of 32 bytes: the scalar loop is already short
  }
#else
  (void)s, (void)a, (void)b, (void)d;
#endif
  return false;
}

const char* target() {
  return hwy::TargetName(HWY_TARGET);
}

}  // namespace ptxops::virt::numerics::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ptxops::virt::numerics {
HWY_EXPORT(run);
HWY_EXPORT(target);
bool mma_simd(const MmaShape& s, const std::byte* a, const std::byte* b, std::byte* d) {
  return HWY_DYNAMIC_DISPATCH(run)(s, a, b, d);
}
const char* mma_target() {
  return HWY_DYNAMIC_DISPATCH(target)();
}
}  // namespace ptxops::virt::numerics
#endif
