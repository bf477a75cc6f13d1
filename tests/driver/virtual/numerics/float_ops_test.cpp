// add, sub, mul, fma, div, rcp, sqrt, min and max in every format and rounding. f32 and f64 are compared with
// the host's FPU in that rounding direction, f16 and bf16 with the rounding oracle.
#include "driver/virtual/numerics/float_ops.h"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>

#include "tests/support/float_oracle.h"
#include "tests/support/random_seed.h"
#include "tests/support/tensor_core_oracle.h"

namespace ptxops {
namespace {

using namespace virt::numerics;
using test::Direction;
using test::element_value;
using test::random_engine;

constexpr int kFenv[] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};
enum class Op { add, sub, mul, fma, div, rcp, sqrt };
constexpr const char* kOpNames[] = {"add", "sub", "mul", "fma", "div", "rcp", "sqrt"};

// Operands that make rounding hard: close exponents, far exponents, few set bits, runs of ones, edges of the
// range.
template <Format F>
Bits<F> random_bits(std::mt19937_64& rng) {
  constexpr FormatSpec s = spec(F);
  const std::uint64_t ones = (std::uint64_t{1} << s.fraction_bits) - 1;
  const int field_max = (1 << s.exponent_bits) - 1;
  std::uint64_t fraction = rng() & ones;
  switch (rng() % 5) {
    case 0:
      fraction = 0;
      break;
    case 1:
      fraction = ones;
      break;
    case 2:
      fraction = std::uint64_t{1} << (rng() % s.fraction_bits);
      break;
    case 3:
      fraction = ones & ~((std::uint64_t{1} << (rng() % s.fraction_bits)) - 1);
      break;
    default:
      break;
  }
  int field;
  switch (rng() % 8) {
    case 0:
      field = static_cast<int>(rng() % (field_max + 1));
      break;
    case 1:
      field = static_cast<int>(rng() % 3);
      break;
    case 2:
      field = field_max - static_cast<int>(rng() % 3);
      break;
    default:
      field = s.bias() - 4 + static_cast<int>(rng() % 9);
      break;
  }
  return static_cast<Bits<F>>((rng() & 1) << (s.width() - 1) |
                              static_cast<std::uint64_t>(field) << s.fraction_bits | fraction);
}

template <class T>
T compute(Op op, volatile T& a, volatile T& b, volatile T& c) {
  switch (op) {
    case Op::add:
      return a + b;
    case Op::sub:
      return a - b;
    case Op::mul:
      return a * b;
    case Op::fma:
      return std::fma(a, b, c);
    case Op::div:
      return a / b;
    case Op::rcp:
      return T{1} / a;
    case Op::sqrt:
      return std::sqrt(a);
  }
  return 0;
}

template <Op O, Format F, FloatMode M>
Bits<F> call(Bits<F> a, Bits<F> b, Bits<F> c) {
  if constexpr (O == Op::add) return add<F, M>(a, b);
  if constexpr (O == Op::sub) return sub<F, M>(a, b);
  if constexpr (O == Op::mul) return mul<F, M>(a, b);
  if constexpr (O == Op::fma) return fma<F, M>(a, b, c);
  if constexpr (O == Op::div) return div<F, M>(a, b);
  if constexpr (O == Op::rcp) return rcp<F, M>(a);
  if constexpr (O == Op::sqrt) return virt::numerics::sqrt<F, M>(a);
}

// sat, relu, ftz around a rounded result.
template <Format F, FloatMode M>
Bits<F> modified(Bits<F> r) {
  constexpr FormatSpec s = spec(F);
  const Bits<F> sign = static_cast<Bits<F>>(Bits<F>{1} << (s.width() - 1));
  const Bits<F> magnitude = static_cast<Bits<F>>(r & ~sign);
  const auto inf = static_cast<Bits<F>>(((Bits<F>{1} << s.exponent_bits) - 1) << s.fraction_bits);
  const auto unit = static_cast<Bits<F>>(static_cast<Bits<F>>(s.bias()) << s.fraction_bits);
  if (magnitude > inf) return M.sat ? Bits<F>{0} : static_cast<Bits<F>>(canonical_nan(F));
  if (M.ftz && magnitude < (Bits<F>{1} << s.fraction_bits)) r &= sign;
  if ((M.sat || M.relu) && (r & sign)) return 0;
  if (M.sat && r > unit) return unit;
  return r;
}

template <Format F, FloatMode M>
Bits<F> flushed_operand(Bits<F> x) {
  constexpr FormatSpec s = spec(F);
  const bool subnormal = ((x >> s.fraction_bits) & ((Bits<F>{1} << s.exponent_bits) - 1)) == 0;
  return M.ftz && subnormal ? static_cast<Bits<F>>(x & (Bits<F>{1} << (s.width() - 1))) : x;
}

// f32 and f64: the FPU itself, in the wanted direction.
template <Op O, Format F, FloatMode M>
Bits<F> native(Bits<F> a, Bits<F> b, Bits<F> c) {
  using T = std::conditional_t<F == Format::f64, double, float>;
  volatile T x = std::bit_cast<T>(a), y = std::bit_cast<T>(b), z = std::bit_cast<T>(c);
  return std::bit_cast<Bits<F>>(
      test::rounding(kFenv[static_cast<int>(M.round)], [&] { return compute<T>(O, x, y, z); }));
}

// f16 and bf16: double, rounded down and up, then the grid of the format.
template <Op O, Format F, FloatMode M>
Bits<F> by_oracle(Bits<F> a, Bits<F> b, Bits<F> c) {
  const char* type = F == Format::f16 ? "f16" : "bf16";
  volatile double x = element_value(type, a), y = element_value(type, b), z = element_value(type, c);
  const test::Real r = test::real_of([&] { return compute<double>(O, x, y, z); });
  const double exact_zero =
      test::rounding(kFenv[static_cast<int>(M.round)], [&] { return compute<double>(O, x, y, z); });
  return static_cast<Bits<F>>(test::rounded_bits(type, r, static_cast<Direction>(static_cast<int>(M.round)),
                                                 false, std::signbit(exact_zero)));
}

template <Op O, Format F, FloatMode M>
void check() {
  auto rng = random_engine(static_cast<std::uint64_t>(O) * 100 + static_cast<std::uint64_t>(F));
  int failures = 0;
  for (int i = 0; i < 30000; ++i) {
    Bits<F> a = random_bits<F>(rng), b = random_bits<F>(rng), c = random_bits<F>(rng);
    if (O == Op::fma && rng() % 4 == 0)
      c = static_cast<Bits<F>>(mul<F>(a, b) ^ (Bits<F>{1} << (spec(F).width() - 1)));
    const auto x = flushed_operand<F, M>(a), y = flushed_operand<F, M>(b), z = flushed_operand<F, M>(c);
    Bits<F> want;
    if constexpr (F == Format::f16 || F == Format::bf16)
      want = by_oracle<O, F, M>(x, y, z);
    else
      want = native<O, F, M>(x, y, z);
    const bool want_nan = is_nan<F>(want);
    want = modified<F, M>(want);
    const Bits<F> got = call<O, F, M>(a, b, c);
    const bool same = F == Format::f64 && want_nan && !M.sat ? is_nan<F>(got) : got == want;
    if (!same && ++failures <= 3)
      ADD_FAILURE() << kOpNames[static_cast<int>(O)] << " round " << static_cast<int>(M.round) << " ftz "
                    << M.ftz << " sat " << M.sat << " relu " << M.relu << std::hex << " of 0x" << a << " 0x"
                    << b << " 0x" << c << ": expected 0x" << want << ", got 0x" << got;
  }
  EXPECT_EQ(failures, 0);
}

template <Op O, Format F>
void check_modes() {
  check<O, F, FloatMode{Round::rn}>();
  check<O, F, FloatMode{Round::rz}>();
  check<O, F, FloatMode{Round::rm}>();
  check<O, F, FloatMode{Round::rp}>();
  check<O, F, FloatMode{.ftz = true}>();
  check<O, F, FloatMode{.sat = true}>();
  check<O, F, FloatMode{.relu = true}>();
  check<O, F, FloatMode{.ftz = true, .sat = true}>();
  check<O, F, FloatMode{.round = Round::rz, .ftz = true}>();
}
template <Format F>
void check_ops() {
  check_modes<Op::add, F>();
  check_modes<Op::sub, F>();
  check_modes<Op::mul, F>();
  check_modes<Op::fma, F>();
  check_modes<Op::div, F>();
  check_modes<Op::rcp, F>();
  check_modes<Op::sqrt, F>();
}

TEST(FloatOps, F16) {
  check_ops<Format::f16>();
}
TEST(FloatOps, Bf16) {
  check_ops<Format::bf16>();
}
TEST(FloatOps, F32) {
  check_ops<Format::f32>();
}
TEST(FloatOps, F64) {
  check_ops<Format::f64>();
}

TEST(FloatOps, Bf16FmaIsRoundedOnce) {
  // 1 + 2^-8 is a tie in bf16; 2^-100 beyond it decides, and neither f32 nor double can hold both.
  EXPECT_EQ(fma<Format::bf16>(0x3F81, 0x3F80, 0x0D80), 0x3F81);
  const auto tie = fma<Format::bf16>(0x3F88, 0x3F88, 0x8D80);  // 1.0625^2 = 1.12890625: a tie, minus a little
  EXPECT_EQ(tie, 0x3F90);
}

TEST(FloatOps, NaNs) {
  EXPECT_EQ(add<Format::f32>(0x7F800000, 0xFF800000), 0x7FFFFFFFu);
  EXPECT_EQ(mul<Format::f32>(0xFFC12345, 0x3F800000), 0x7FFFFFFFu);
  EXPECT_EQ(fma<Format::f16>(0x7C00, 0, 0), 0x7FFF);
  EXPECT_EQ(virt::numerics::sqrt<Format::f64>(std::bit_cast<std::uint64_t>(-1.0)), 0xFFF8000000000000u);
}

// ---- min, max ----

template <Format F, MinMaxMode M>
Bits<F> expected_min_max(Bits<F> a, Bits<F> b) {
  const char* type = F == Format::f16 ? "f16" : F == Format::bf16 ? "bf16" : "f32";
  if (M.ftz)
    a = flushed_operand<F, FloatMode{.ftz = true}>(a), b = flushed_operand<F, FloatMode{.ftz = true}>(b);
  double x = element_value(type, a), y = element_value(type, b);
  const bool negative = std::signbit(x) != std::signbit(y);
  if (std::isnan(x) || std::isnan(y)) {
    if (M.nan || (std::isnan(x) && std::isnan(y))) return static_cast<Bits<F>>(canonical_nan(F));
  }
  if (M.xorsign_abs) x = std::fabs(x), y = std::fabs(y);
  double r;
  if (std::isnan(x)) {
    r = y;
  } else if (std::isnan(y)) {
    r = x;
  } else if (x == 0 && y == 0) {
    r = M.max ? (std::signbit(x) ? y : x) : (std::signbit(x) ? x : y);
  } else {
    r = M.max ? std::fmax(x, y) : std::fmin(x, y);
  }
  if (M.xorsign_abs) r = std::copysign(r, negative ? -1.0 : 1.0);
  return static_cast<Bits<F>>(
      test::rounded_bits(type, {r, r}, Direction::nearest_even, false, std::signbit(r)));
}

template <Format F, MinMaxMode M>
void check_min_max() {
  auto rng = random_engine(900);
  for (int i = 0; i < 30000; ++i) {
    const Bits<F> a = random_bits<F>(rng);
    const Bits<F> b =
        rng() % 8 ? random_bits<F>(rng) : static_cast<Bits<F>>(a ^ (Bits<F>{1} << (spec(F).width() - 1)));
    ASSERT_EQ((min_max<F, M>(a, b)), (expected_min_max<F, M>(a, b)))
        << std::hex << "0x" << a << " 0x" << b << " max " << M.max << " nan " << M.nan << " xorsign "
        << M.xorsign_abs;
  }
}
template <Format F>
void check_min_max_modes() {
  check_min_max<F, MinMaxMode{false, false, false, false}>();
  check_min_max<F, MinMaxMode{true, false, false, false}>();
  check_min_max<F, MinMaxMode{false, true, false, true}>();
  check_min_max<F, MinMaxMode{true, true, false, false}>();
  check_min_max<F, MinMaxMode{false, false, true, false}>();
  check_min_max<F, MinMaxMode{true, true, true, true}>();
}
TEST(FloatOps, MinMax) {
  check_min_max_modes<Format::f16>();
  check_min_max_modes<Format::bf16>();
  check_min_max_modes<Format::f32>();
  EXPECT_EQ((virt::numerics::min<Format::f64>(0x8000000000000000u, 0)), 0x8000000000000000u);
  EXPECT_EQ((virt::numerics::max<Format::f64>(0x8000000000000000u, 0)), 0u);
}

}  // namespace
}  // namespace ptxops
