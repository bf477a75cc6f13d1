// Approximations: correctly rounded (checked against long double), PTX's special cases, and perturbation that
// stays within the documented bound, moves something, and repeats.
#include "driver/virtual/numerics/approx.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <functional>
#include <string>

#include "tests/support/float_oracle.h"
#include "tests/support/random_seed.h"
#include "tests/support/tensor_core_oracle.h"

namespace ptxops {
namespace {

using namespace virt::numerics;
using test::random_engine;

std::uint32_t bits(float x) {
  return std::bit_cast<std::uint32_t>(x);
}
float value(std::uint32_t x) {
  return std::bit_cast<float>(x);
}

struct Function {
  std::string name;
  std::function<std::uint32_t(std::uint32_t, const Perturbation&)> run;
  std::function<long double(long double)> exact;
  std::function<long double(long double x, long double y)> bound;  // absolute
  std::function<float(std::mt19937_64&)> operand;
  std::string type = "f32";
};

long double ulp(long double y) {
  return std::ldexp(1.0L, std::max(std::ilogb(y), -126) - 23);
}

float uniform(std::mt19937_64& rng, float low, float high) {
  return std::uniform_real_distribution<float>(low, high)(rng);
}
float positive(std::mt19937_64& rng) {
  return value(static_cast<std::uint32_t>(rng()) % 0x7F000000u + 0x00800000u);
}
float signed_normal(std::mt19937_64& rng) {
  return rng() % 2 ? positive(rng) : -positive(rng);
}

const Function kFunctions[] = {
    {"ex2", ex2_approx<Format::f32, false>, [](long double x) { return std::exp2(x); },
     [](long double, long double y) { return 2 * ulp(y); },
     [](auto& rng) { return uniform(rng, -130, 128); }},
    {"ex2 small", ex2_approx<Format::f32, true>, [](long double x) { return std::exp2(x); },
     [](long double, long double y) { return 2 * ulp(y); }, [](auto& rng) { return uniform(rng, -1, 1); }},
    {"lg2", lg2_approx<false>, [](long double x) { return std::log2(x); },
     [](long double x, long double y) { return x > 0.5 && x < 2 ? 0x1p-22L : std::fabs(y) * 0x1p-22L; },
     [](auto& rng) { return rng() % 2 ? positive(rng) : uniform(rng, 0.4f, 2.1f); }},
    {"rcp", rcp_approx<false>, [](long double x) { return 1 / x; },
     [](long double, long double y) { return ulp(y); }, signed_normal},
    {"rsqrt", rsqrt_approx<true>, [](long double x) { return 1 / std::sqrt(x); },
     [](long double, long double y) { return y * std::exp2(-22.9L); }, positive},
    {"sqrt", sqrt_approx<true>, [](long double x) { return std::sqrt(x); },
     [](long double, long double y) { return y * 0x1p-23L; }, positive},
    {"sin", trig_approx<Approx::sin, false>, [](long double x) { return std::sin(x); },
     [](long double, long double) { return std::exp2(-20.5L); },
     [](auto& rng) { return uniform(rng, -6.28f, 6.28f); }},
    {"cos", trig_approx<Approx::cos, false>, [](long double x) { return std::cos(x); },
     [](long double, long double) { return std::exp2(-20.5L); },
     [](auto& rng) { return uniform(rng, -6.28f, 6.28f); }},
    {"tanh", tanh_approx<Format::f32>, [](long double x) { return std::tanh(x); },
     [](long double, long double y) { return std::fabs(y) * 0x1p-11L; },
     [](auto& rng) { return uniform(rng, -9, 9); }},
};

TEST(Approx, CorrectlyRounded) {
  for (const Function& f : kFunctions) {
    auto rng = random_engine(1);
    int failures = 0;
    for (int i = 0; i < 200000; ++i) {
      const float x = f.operand(rng);
      const auto y = static_cast<double>(f.exact(x));
      const float want = static_cast<float>(y);
      const std::uint32_t got = f.run(bits(x), {});
      if (got != bits(want) && ++failures <= 3)
        ADD_FAILURE() << f.name << std::hexfloat << " of " << x << ": expected " << want << ", got "
                      << value(got);
    }
    EXPECT_EQ(failures, 0) << f.name;
  }
}

TEST(Approx, PerturbationStaysWithinTheBound) {
  for (const Function& f : kFunctions) {
    auto rng = random_engine(2);
    int moved = 0, moved_otherwise = 0;
    for (int i = 0; i < 50000; ++i) {
      const float x = f.operand(rng);
      const long double y = f.exact(x);
      const Perturbation p{true, 7}, q{true, 8};
      const std::uint32_t got = f.run(bits(x), p);
      ASSERT_EQ(got, f.run(bits(x), p)) << f.name;
      ASSERT_LE(std::fabs(value(got) - y), f.bound(x, y))
          << f.name << std::hexfloat << " of " << x << ": " << value(got);
      moved += got != f.run(bits(x), {});
      moved_otherwise += got != f.run(bits(x), q);
    }
    EXPECT_GT(moved, 100) << f.name;
    EXPECT_GT(moved_otherwise, 100) << f.name;
  }
}

TEST(Approx, SpecialValues) {
  const std::uint32_t inf = 0x7F800000, minus_inf = 0xFF800000, nan = 0x7FFFFFFF, zero = 0,
                      minus_zero = 0x80000000;
  const std::uint32_t tiny = 0x00000100, minus_tiny = 0x80000100, one = bits(1.0f);
  for (const bool perturbed : {false, true}) {
    const Perturbation p{perturbed, 3};
    const auto ex2 = [&](std::uint32_t x) { return ex2_approx<Format::f32, true>(x, p); };
    EXPECT_EQ(ex2(minus_inf), zero);
    EXPECT_EQ(ex2(inf), inf);
    EXPECT_EQ(ex2(nan), nan);
    for (const auto x : {zero, minus_zero, tiny, minus_tiny}) EXPECT_EQ(ex2(x), one);
    EXPECT_EQ(ex2(bits(-127.0f)), zero);  // flushed
    EXPECT_EQ(ex2(bits(1e30f)), inf);
    EXPECT_EQ((ex2_approx<Format::f32, false>(bits(-1e30f), p)), zero);

    EXPECT_EQ(lg2_approx<true>(zero, p), minus_inf);
    EXPECT_EQ(lg2_approx<true>(minus_zero, p), minus_inf);
    EXPECT_EQ(lg2_approx<true>(minus_tiny, p), minus_inf);
    EXPECT_EQ(lg2_approx<false>(minus_tiny, p), nan);
    EXPECT_EQ(lg2_approx<true>(bits(-1.0f), p), nan);
    EXPECT_EQ(lg2_approx<true>(inf, p), inf);
    EXPECT_EQ(lg2_approx<true>(nan, p), nan);

    EXPECT_EQ(rcp_approx<true>(zero, p), inf);
    EXPECT_EQ(rcp_approx<true>(minus_tiny, p), minus_inf);
    EXPECT_EQ(rcp_approx<true>(minus_inf, p), minus_zero);
    EXPECT_EQ(rcp_approx<true>(bits(0x1.8p126f), p), zero);  // subnormal result flushed
    EXPECT_EQ(rcp_approx<true>(0xFFC00000, p), nan);

    EXPECT_EQ(rsqrt_approx<true>(minus_zero, p), minus_inf);
    EXPECT_EQ(rsqrt_approx<true>(zero, p), inf);
    EXPECT_EQ(rsqrt_approx<true>(inf, p), zero);
    EXPECT_EQ(rsqrt_approx<true>(bits(-1.0f), p), nan);

    EXPECT_EQ(sqrt_approx<true>(minus_zero, p), minus_zero);
    EXPECT_EQ(sqrt_approx<true>(bits(-4.0f), p), nan);
    EXPECT_EQ(sqrt_approx<true>(inf, p), inf);

    EXPECT_EQ((trig_approx<Approx::sin, true>(minus_zero, p)), minus_zero);
    EXPECT_EQ((trig_approx<Approx::sin, true>(inf, p)), nan);
    EXPECT_EQ((trig_approx<Approx::cos, true>(nan, p)), nan);
    EXPECT_EQ(tanh_approx<Format::f32>(minus_zero, p), minus_zero);
    EXPECT_EQ(tanh_approx<Format::f32>(nan, p), nan);
    EXPECT_EQ(tanh_approx<Format::f16>(0x7E00, p), 0x7FFF);

    EXPECT_EQ((div_approx<true, false>(bits(1e38f), bits(2e38f), p)), zero);
    EXPECT_EQ((div_approx<true, false>(inf, bits(2e38f), p)), nan);
    EXPECT_EQ((div_approx<true, false>(bits(-3.0f), zero, p)), minus_inf);
    EXPECT_EQ((div_approx<true, true>(zero, zero, p)), nan);
  }
  EXPECT_EQ((div_approx<true, true>(bits(1e38f), bits(2e38f))), bits(0.5f));
  EXPECT_EQ((div_approx<false, false>(bits(1.0f), bits(3.0f))), bits(1.0f / 3.0f));
}

TEST(Approx, HalfFormatsExhaustively) {
  for (std::uint32_t i = 0; i < 0x10000; ++i) {
    const auto h = static_cast<std::uint16_t>(i);
    for (const bool bf16 : {false, true}) {
      const char* type = bf16 ? "bf16" : "f16";
      const double x = test::element_value(type, i);
      const double e = std::exp2(x), t = std::tanh(x);
      const auto want = [&](double y) {
        return test::rounded_bits(type, {y, y}, test::Direction::nearest_even, false, std::signbit(y));
      };
      std::uint32_t want_e = want(e);
      if (bf16 && (want_e & 0x7F80) == 0) want_e = 0;  // ex2.approx.ftz.bf16
      const std::uint32_t got_e =
          bf16 ? ex2_approx<Format::bf16, true>(h) : ex2_approx<Format::f16, false>(h);
      const std::uint32_t got_t = bf16 ? tanh_approx<Format::bf16>(h) : tanh_approx<Format::f16>(h);
      ASSERT_EQ(got_e, want_e) << "ex2." << type << std::hex << " 0x" << i;
      ASSERT_EQ(got_t, want(t)) << "tanh." << type << std::hex << " 0x" << i;
    }
  }
}

}  // namespace
}  // namespace ptxops
