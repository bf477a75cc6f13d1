// cvt between every pair of types against the rounding oracle: exhaustive for 8- and 16-bit sources, random
// and edge values for the rest.
#include "driver/virtual/numerics/convert.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "tests/support/float_oracle.h"
#include "tests/support/random_seed.h"
#include "tests/support/tensor_core_oracle.h"

namespace ptxops {
namespace {

using namespace virt::numerics;
using test::Direction;
using test::element_value;
using test::random_engine;
using test::rounded_bits;

constexpr const char* kNames[] = {"f16", "bf16", "tf32", "f32", "f64", "e4m3", "e5m2"};
const char* name(Format f) {
  return kNames[static_cast<int>(f)];
}
Direction direction(Round r) {
  return static_cast<Direction>(static_cast<int>(r));
}

double value_of(Format f, std::uint64_t bits) {
  if (f == Format::f64) return std::bit_cast<double>(bits);
  return element_value(name(f), static_cast<std::uint32_t>(bits));
}

// Bit patterns of a source format: all of them, or edges around every power of two and random ones.
template <Format F>
std::vector<Bits<F>> patterns() {
  std::vector<Bits<F>> all;
  constexpr int width = F == Format::tf32 ? 32 : spec(F).width();
  if constexpr (width <= 16) {
    for (std::uint32_t i = 0; i < (1u << width); ++i) all.push_back(static_cast<Bits<F>>(i));
  } else {
    constexpr int fraction = F == Format::f64 ? 52 : 23;
    auto rng = random_engine(static_cast<std::uint64_t>(F));
    // Fractions at and beside the places where the smaller formats round, f64 also beside f32's.
    for (std::uint64_t field = 0; field < (1u << (width - 1 - fraction));
         field += F == Format::f64 ? 1 + rng() % 3 : 1)
      for (int place = 0; place < fraction; ++place)
        for (int offset = -1; offset <= 1; ++offset) {
          const std::uint64_t low = (std::uint64_t{1} << place) + static_cast<std::uint64_t>(offset);
          const std::uint64_t high = rng() << (place + 1);
          const std::uint64_t f = (rng() % 2 ? low : low | high) & ((std::uint64_t{1} << fraction) - 1);
          all.push_back(static_cast<Bits<F>>((rng() & 1) << (width - 1) | field << fraction | f));
        }
    for (int i = 0; i < 50000; ++i) all.push_back(static_cast<Bits<F>>(rng()));
  }
  return all;
}

// The oracle with PTX's modifiers around it.
std::uint32_t expected(Format to, Format from, const FloatMode& m, std::uint64_t bits) {
  double x = value_of(from, bits);
  if (m.ftz && from == Format::f32 && std::fabs(x) < 0x1p-126) x = std::copysign(0.0, x);
  if (m.sat && !(x > 0)) return 0;
  if (m.relu && x <= 0) return 0;
  if (m.sat && x > 1) x = 1;
  std::uint32_t r = rounded_bits(name(to), {x, x}, direction(m.round), m.satfinite, std::signbit(x));
  if (m.ftz && to == Format::f32 && (r & 0x7F800000) == 0) r &= 0x80000000;
  return r;
}

template <Format To, Format From, FloatMode M = FloatMode{}>
void check() {
  int failures = 0;
  for (const auto bits : patterns<From>()) {
    const std::uint32_t want = expected(To, From, M, bits);
    const auto got = convert<To, From, M>(bits);
    const auto runtime = convert(To, From, M, std::uint64_t{bits});
    if ((got != want || runtime != want) && ++failures <= 3)
      ADD_FAILURE() << "cvt." << name(To) << "." << name(From) << " round " << static_cast<int>(M.round)
                    << " ftz " << M.ftz << " sat " << M.sat << " relu " << M.relu << " satfinite "
                    << M.satfinite << std::hex << " of 0x" << +bits << ": expected 0x" << want << ", got 0x"
                    << +got << " (runtime modes: 0x" << runtime << ")";
  }
  EXPECT_EQ(failures, 0);
}

template <Format To, Format From>
void check_roundings() {
  check<To, From, FloatMode{Round::rn}>();
  check<To, From, FloatMode{Round::rz}>();
  check<To, From, FloatMode{Round::rm}>();
  check<To, From, FloatMode{Round::rp}>();
  check<To, From, FloatMode{.relu = true}>();
  check<To, From, FloatMode{.satfinite = true}>();
  check<To, From, FloatMode{Round::rz, false, false, true, true}>();
  check<To, From, FloatMode{.sat = true}>();
  check<To, From, FloatMode{.ftz = true}>();
}

TEST(Convert, ToF16) {
  check_roundings<Format::f16, Format::f32>();
  check_roundings<Format::f16, Format::f64>();
  check_roundings<Format::f16, Format::bf16>();
  check_roundings<Format::f16, Format::f16>();
  check_roundings<Format::f16, Format::e4m3>();
  check_roundings<Format::f16, Format::e5m2>();
}
TEST(Convert, ToBf16) {
  check_roundings<Format::bf16, Format::f32>();
  check_roundings<Format::bf16, Format::f64>();
  check_roundings<Format::bf16, Format::f16>();
}
TEST(Convert, ToF32) {
  check_roundings<Format::f32, Format::f64>();
  check_roundings<Format::f32, Format::f16>();
  check_roundings<Format::f32, Format::bf16>();
  check_roundings<Format::f32, Format::f32>();
}
TEST(Convert, ToTf32) {
  check_roundings<Format::tf32, Format::f32>();
  check<Format::tf32, Format::f32, FloatMode{Round::rna}>();
  check<Format::tf32, Format::f32, FloatMode{.round = Round::rna, .satfinite = true}>();
}
TEST(Convert, ToFp8) {
  check<Format::e4m3, Format::f32, FloatMode{.satfinite = true}>();
  check<Format::e5m2, Format::f32, FloatMode{.satfinite = true}>();
  check<Format::e4m3, Format::f16, FloatMode{.satfinite = true}>();
  check<Format::e5m2, Format::f16, FloatMode{.satfinite = true}>();
  check<Format::e4m3, Format::f32, FloatMode{.relu = true, .satfinite = true}>();
  check<Format::e5m2, Format::f16, FloatMode{.relu = true, .satfinite = true}>();
}

TEST(Convert, F64IsExact) {
  for (const auto bits : patterns<Format::f32>()) {
    const double x = element_value("f32", bits);
    const auto want = x == x ? std::bit_cast<std::uint64_t>(x) : canonical_nan(Format::f64);
    EXPECT_EQ((convert<Format::f64, Format::f32>(bits)), want);
    EXPECT_EQ(convert(Format::f64, Format::f32, {}, bits), want);
  }
}

TEST(Convert, Pairs) {
  EXPECT_EQ((pack2<Format::e4m3, FloatMode{.satfinite = true}>(1.0f, 500.0f)), 0x387E);
  EXPECT_EQ((pack2<Format::e5m2, FloatMode{.satfinite = true}>(-1e9f, 1.0f)), 0xFB3C);
  EXPECT_EQ((pack2<Format::f16>(1.0f, -2.0f)), 0x3C00C000u);
  EXPECT_EQ((pack2<Format::bf16, FloatMode{.relu = true}>(1.0f, -2.0f)), 0x3F800000u);
  EXPECT_EQ((convert2<Format::f16, Format::e4m3>(0x38FF)), 0x3C007FFFu);
  EXPECT_EQ((convert2<Format::e4m3, Format::f16, FloatMode{.satfinite = true}>(0x3C00FC00u)), 0x38FE);
}

// ---- integers ----

template <class Int, Format From, Round R>
void check_to_int() {
  constexpr int fenv[] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};
  constexpr auto low = std::numeric_limits<Int>::min(), high = std::numeric_limits<Int>::max();
  int failures = 0;
  for (const auto bits : patterns<From>()) {
    const volatile long double x = value_of(From, bits);
    Int want;
    if (std::isnan(x)) {
      want = sizeof(Int) == 8 || From == Format::f64 ? static_cast<Int>(Int{1} << (8 * sizeof(Int) - 1))
                                                     : Int{0};
    } else {
      const long double y = test::rounding(fenv[static_cast<int>(R)], [&] { return std::rint(x); });
      want = y < static_cast<long double>(low)    ? low
             : y > static_cast<long double>(high) ? high
                                                  : static_cast<Int>(y);
    }
    const Int got = to_int<Int, From, R>(bits);
    if (got != want && ++failures <= 3)
      ADD_FAILURE() << "float to " << (std::is_signed_v<Int> ? "s" : "u") << 8 * sizeof(Int) << " from "
                    << name(From) << std::hex << " 0x" << +bits << " round " << static_cast<int>(R)
                    << std::dec << ": expected " << +want << ", got " << +got;
  }
  EXPECT_EQ(failures, 0);
}
template <class Int, Format From>
void check_to_int_roundings() {
  check_to_int<Int, From, Round::rn>();
  check_to_int<Int, From, Round::rz>();
  check_to_int<Int, From, Round::rm>();
  check_to_int<Int, From, Round::rp>();
}
template <class Int>
void check_to_int_sources() {
  check_to_int_roundings<Int, Format::f16>();
  check_to_int_roundings<Int, Format::bf16>();
  check_to_int_roundings<Int, Format::f32>();
  check_to_int_roundings<Int, Format::f64>();
}
TEST(Convert, ToInteger) {
  check_to_int_sources<std::int8_t>();
  check_to_int_sources<std::uint8_t>();
  check_to_int_sources<std::int16_t>();
  check_to_int_sources<std::uint16_t>();
  check_to_int_sources<std::int32_t>();
  check_to_int_sources<std::uint32_t>();
  check_to_int_sources<std::int64_t>();
  check_to_int_sources<std::uint64_t>();
}

TEST(Convert, RoundToIntegral) {
  for (const auto bits : patterns<Format::f32>()) {
    const float x = std::bit_cast<float>(bits);
    const auto want = [&](float y) { return y == y ? std::bit_cast<std::uint32_t>(y) : 0x7FFFFFFFu; };
    EXPECT_EQ((round_integral<Format::f32, Round::rn>(bits)), want(std::nearbyint(x)));
    EXPECT_EQ((round_integral<Format::f32, Round::rz>(bits)), want(std::trunc(x)));
    EXPECT_EQ((round_integral<Format::f32, Round::rm>(bits)), want(std::floor(x)));
    EXPECT_EQ((round_integral<Format::f32, Round::rp>(bits)), want(std::ceil(x)));
  }
  EXPECT_EQ((round_integral<Format::f16, Round::rn>(0xB800)), 0x8000);  // -0.5 -> -0
}

template <Format To, class Int, FloatMode M>
void check_from_int() {
  auto rng = random_engine(77);
  int failures = 0;
  for (int i = 0; i < 20000; ++i) {
    const auto x = static_cast<Int>(static_cast<Int>(rng()) >> (rng() % (8 * sizeof(Int))));
    const volatile long double exact = x;
    const test::Real r = test::real_of([&] { return static_cast<double>(exact); });
    const std::uint32_t want = rounded_bits(name(To), r, direction(M.round), M.satfinite, false);
    const auto got = from_int<To, Int, M>(x);
    if (got != want && ++failures <= 3)
      ADD_FAILURE() << name(To) << " from " << +x << " round " << static_cast<int>(M.round) << std::hex
                    << ": expected 0x" << want << ", got 0x" << +got;
  }
  EXPECT_EQ(failures, 0);
}
template <Format To, class Int>
void check_from_int_roundings() {
  check_from_int<To, Int, FloatMode{Round::rn}>();
  check_from_int<To, Int, FloatMode{Round::rz}>();
  check_from_int<To, Int, FloatMode{Round::rm}>();
  check_from_int<To, Int, FloatMode{Round::rp}>();
}
template <class Int>
void check_from_int_targets() {
  check_from_int_roundings<Format::f16, Int>();
  check_from_int_roundings<Format::bf16, Int>();
  check_from_int_roundings<Format::f32, Int>();
}
TEST(Convert, FromInteger) {
  check_from_int_targets<std::int8_t>();
  check_from_int_targets<std::uint16_t>();
  check_from_int_targets<std::int32_t>();
  check_from_int_targets<std::uint32_t>();
  check_from_int_targets<std::int64_t>();
  check_from_int_targets<std::uint64_t>();
}
TEST(Convert, F64FromInteger) {
  auto rng = random_engine(78);
  constexpr int fenv[] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};
  for (int i = 0; i < 20000; ++i) {
    const auto x = static_cast<std::int64_t>(rng()) >> (rng() % 64);
    const volatile long double exact = x;
    const auto want = [&](Round r) {
      return std::bit_cast<std::uint64_t>(
          test::rounding(fenv[static_cast<int>(r)], [&] { return static_cast<double>(exact); }));
    };
    EXPECT_EQ((from_int<Format::f64, std::int64_t, FloatMode{Round::rn}>(x)), want(Round::rn)) << x;
    EXPECT_EQ((from_int<Format::f64, std::int64_t, FloatMode{Round::rz}>(x)), want(Round::rz)) << x;
    EXPECT_EQ((from_int<Format::f64, std::int64_t, FloatMode{Round::rm}>(x)), want(Round::rm)) << x;
    EXPECT_EQ((from_int<Format::f64, std::int64_t, FloatMode{Round::rp}>(x)), want(Round::rp)) << x;
  }
}

}  // namespace
}  // namespace ptxops
