// Rounding oracle: a real number, held between two neighbouring doubles that the host's FPU computed by
// rounding down and up, is rounded onto the grid of a smaller format. Shares no code with the virtual device.
#pragma once

#include <cfenv>
#include <cstdint>
#include <string>

namespace ptxops::test {

// lo == hi: exactly that double. Otherwise the number lies strictly between two neighbouring doubles.
struct Real {
  double lo, hi;
};

// Evaluates f() with the FPU rounding in direction `mode` (FE_...), and restores it. f must use volatile
// operands.
template <class F>
auto rounding(int mode, F f) -> decltype(f()) {
  const int before = std::fegetround();
  std::fesetround(mode);
  const volatile auto r = f();  // volatile: the last operation must not sink below the next line
  std::fesetround(before);
  return r;
}

// f() -> double, one operation on volatile operands.
template <class F>
Real real_of(F f) {
  return {rounding(FE_DOWNWARD, f), rounding(FE_UPWARD, f)};
}

enum class Direction { nearest_even, zero, down, up, nearest_away };

// Bits of the number in `type` (f16, bf16, tf32, e4m3, e5m2, f32). NaN gives the canonical NaN.
// zero_negative: sign of an exact zero.
std::uint32_t rounded_bits(const std::string& type, Real x, Direction direction, bool satfinite,
                           bool zero_negative);

}  // namespace ptxops::test
