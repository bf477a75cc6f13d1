#include "driver/virtual/numerics/tensor_core.h"

#include <fmt/format.h>

#include <cstring>
#include <stdexcept>

#include "driver/virtual/numerics/tensor_core_exact.h"
#include "driver/virtual/numerics/tensor_core_simd.h"

namespace ptxops::virt::numerics {
namespace {

constexpr const char* kTypeNames[] = {"f16", "bf16", "tf32", "e4m3", "e5m2", "s8", "u8", "b1"};
constexpr const char* kAccNames[] = {"f32", "f16", "s32"};

// Types that multiply with one another.
int family(MmaType t) {
  switch (t) {
    case MmaType::e4m3:
    case MmaType::e5m2:
      return 3;
    case MmaType::s8:
    case MmaType::u8:
      return 4;
    case MmaType::b1:
      return 5;
    default:
      return static_cast<int>(t);
  }
}

void check(const MmaShape& s) {
  const auto fail = [&](const std::string& what) { throw std::invalid_argument("mma: " + what); };
  if (s.m < 1 || s.m > 64) fail(fmt::format("m = {}, expected 1..64", s.m));
  if (s.n < 8 || s.n > 256 || s.n % 8) fail(fmt::format("n = {}, expected a multiple of 8 in 8..256", s.n));
  const char* a = kTypeNames[static_cast<int>(s.a)];
  const char* b = kTypeNames[static_cast<int>(s.b)];
  if (family(s.a) != family(s.b)) fail(fmt::format("a = {} does not multiply with b = {}", a, b));
  if (s.k != mma_k(s.a)) fail(fmt::format("k = {}, expected {} for {}", s.k, mma_k(s.a), a));
  const int f = family(s.a);
  const bool integer = f >= 4;
  const bool legal = s.d == AccType::s32 ? integer : s.d == AccType::f32 ? !integer : (f == 0 || f == 3);
  if (!legal)
    fail(fmt::format("d = {} does not accumulate {} products", kAccNames[static_cast<int>(s.d)], a));
  if (integer && (s.negate_a || s.negate_b)) fail("negate_a/negate_b need a float type");
  if (s.satfinite && f != 4) fail(fmt::format("satfinite needs s8 or u8, got {}", a));
}

void run_scalar(const MmaShape& s, const std::byte* a, const std::byte* b, std::byte* d) {
  const int bytes = s.d == AccType::f16 ? 2 : 4;
  for (int i = 0; i < s.m; ++i)
    for (int j = 0; j < s.n; ++j) {
      std::byte* out = d + (static_cast<std::ptrdiff_t>(i) * s.n + j) * bytes;
      std::uint32_t c = 0;
      if (s.accumulate) std::memcpy(&c, out, bytes);
      const std::uint32_t r = mma_element(s, a + i * kMmaRowBytes, b + j * kMmaRowBytes, c);
      std::memcpy(out, &r, bytes);
    }
}

}  // namespace

void mma_scalar(const MmaShape& s, const std::byte* a, const std::byte* b, std::byte* d) {
  check(s);
  run_scalar(s, a, b, d);
}

void mma(const MmaShape& s, const std::byte* a, const std::byte* b, std::byte* d) {
  check(s);
  if (!mma_simd(s, a, b, d)) run_scalar(s, a, b, d);
}

}  // namespace ptxops::virt::numerics
