// The float formats of sm_90 and the modifiers that change how a result is rounded.
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

// Semantics are small functions that must vanish into the executor's vectorised lane loops (see
// CMakeLists.txt for the compiler flags that this takes).
#define PTXOPS_NUMERICS inline __attribute__((always_inline))

namespace ptxops::virt::numerics {

enum class Format : std::uint8_t { f16, bf16, tf32, f32, f64, e4m3, e5m2 };

struct FormatSpec {
  int exponent_bits;
  int fraction_bits;
  bool has_inf;       // e4m3 has none: its largest pattern is NaN, the one below is 448
  int storage_shift;  // tf32 lives in the high bits of an f32 register
  constexpr int bias() const { return (1 << (exponent_bits - 1)) - 1; }
  constexpr int min_exponent() const { return 1 - bias(); }
  constexpr int max_exponent() const { return has_inf ? bias() : bias() + 1; }
  constexpr int width() const { return 1 + exponent_bits + fraction_bits; }
};

constexpr FormatSpec spec(Format f) {
  switch (f) {
    case Format::f16:
      return {5, 10, true, 0};
    case Format::bf16:
      return {8, 7, true, 0};
    case Format::tf32:
      return {8, 10, true, 13};
    case Format::f32:
      return {8, 23, true, 0};
    case Format::f64:
      return {11, 52, true, 0};
    case Format::e4m3:
      return {4, 3, false, 0};
    case Format::e5m2:
      return {5, 2, true, 0};
  }
  return {};
}

// Unsigned register type that holds a format's bits.
template <Format F>
using Bits = std::conditional_t<F == Format::f64, std::uint64_t,
                                std::conditional_t<F == Format::f32 || F == Format::tf32, std::uint32_t,
                                                   std::conditional_t<F == Format::f16 || F == Format::bf16,
                                                                      std::uint16_t, std::uint8_t>>>;

// rna: nearest, ties away from zero (cvt to tf32).
enum class Round : std::uint8_t { rn, rz, rm, rp, rna };

// PTX modifiers. Order of effect: operands flushed (ftz), result rounded once, flushed (ftz), then sat or
// relu.
struct FloatMode {
  Round round = Round::rn;
  bool ftz = false;        // subnormal operands and results become zeros of their sign
  bool sat = false;        // clamp to [0, 1]; NaN becomes +0
  bool relu = false;       // negative results become +0; NaN becomes the canonical NaN
  bool satfinite = false;  // overflow becomes the largest finite value of its sign
};

// The NaN that an instruction makes: all ones but the sign, except f64 (which keeps payloads when it has
// one).
constexpr std::uint64_t canonical_nan(Format f) {
  switch (f) {
    case Format::f16:
    case Format::bf16:
      return 0x7FFF;
    case Format::tf32:
    case Format::f32:
      return 0x7FFFFFFF;
    case Format::f64:
      return 0xFFF8000000000000;
    default:
      return 0x7F;
  }
}

}  // namespace ptxops::virt::numerics
