// mma() against the oracle: facts with known answers, special values, and random operands of every kind.
#include "driver/virtual/numerics/tensor_core.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "tests/support/random_seed.h"
#include "tests/support/tensor_core_oracle.h"

namespace ptxops {
namespace {

// PTXOPS_TEST_WITHOUT_AVX512, PTXOPS_TEST_WITHOUT_AVX: pretend that the machine lacks them.
class Target : public testing::Environment {
  void SetUp() override {
    const bool no_avx = std::getenv("PTXOPS_TEST_WITHOUT_AVX");
    if (no_avx || std::getenv("PTXOPS_TEST_WITHOUT_AVX512")) {
      hwy::DisableTargets(no_avx ? HWY_AVX3 | HWY_AVX2 : HWY_AVX3);
      hwy::GetChosenTarget().DeInit();
    }
    std::printf("mma() runs on %s\n", virt::numerics::mma_target());
  }
};
[[maybe_unused]] const auto* const kTarget = testing::AddGlobalTestEnvironment(new Target);

using namespace virt::numerics;
using test::DotSpec;
using test::element_value;
using test::random_engine;

constexpr const char* kNames[] = {"f16", "bf16", "tf32", "e4m3", "e5m2", "s8", "u8", "b1"};
constexpr const char* kAccNames[] = {"f32", "f16", "s32"};

const char* name(MmaType t) {
  return kNames[static_cast<int>(t)];
}
const char* name(AccType t) {
  return kAccNames[static_cast<int>(t)];
}
int bits_of(MmaType t) {
  return 256 / mma_k(t);
}

std::uint32_t bits(float x) {
  return std::bit_cast<std::uint32_t>(x);
}

// Element patterns row by row, and their packed bytes.
using Row = std::vector<std::uint32_t>;
using Rows = std::vector<Row>;

std::vector<std::byte> pack(MmaType type, const Rows& rows) {
  std::vector<std::byte> out(rows.size() * kMmaRowBytes);
  const int width = bits_of(type);
  for (std::size_t r = 0; r < rows.size(); ++r)
    for (std::size_t k = 0; k < rows[r].size(); ++k)
      for (int bit = 0; bit < width; ++bit) {
        const std::size_t at = k * width + bit;
        if (rows[r][k] >> bit & 1) out[r * kMmaRowBytes + at / 8] |= std::byte{1} << (at % 8);
      }
  return out;
}

struct Problem {
  MmaShape shape;
  Rows a, b;
  std::vector<std::uint32_t> c;  // m x n
};

DotSpec dot_spec(const MmaShape& s) {
  return {name(s.a), name(s.b), name(s.d), s.negate_a, s.negate_b, s.satfinite};
}

std::vector<std::uint32_t> run(const Problem& p, void (*function)(const MmaShape&, const std::byte*,
                                                                  const std::byte*, std::byte*) = mma) {
  const auto a = pack(p.shape.a, p.a), b = pack(p.shape.b, p.b);
  const int bytes = p.shape.d == AccType::f16 ? 2 : 4;
  // Odd address and guard bytes: any alignment is allowed, nothing around d is touched.
  std::vector<std::byte> storage(p.c.size() * bytes + 9, std::byte{0xA5});
  std::byte* d = storage.data() + 5;
  for (std::size_t i = 0; i < p.c.size(); ++i) std::memcpy(d + i * bytes, &p.c[i], bytes);
  function(p.shape, a.data(), b.data(), d);
  std::vector<std::uint32_t> out(p.c.size(), 0);
  for (std::size_t i = 0; i < out.size(); ++i) std::memcpy(&out[i], d + i * bytes, bytes);
  for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(storage[i], std::byte{0xA5});
  for (std::size_t i = storage.size() - 4; i < storage.size(); ++i) EXPECT_EQ(storage[i], std::byte{0xA5});
  return out;
}

// Compares every output of mma() with the oracle; reports the first few differences.
void expect_oracle(const Problem& p, const std::string& what) {
  const auto got = run(p);
  const DotSpec spec = dot_spec(p.shape);
  int failures = 0;
  for (int i = 0; i < p.shape.m; ++i)
    for (int j = 0; j < p.shape.n; ++j) {
      const std::size_t at = static_cast<std::size_t>(i) * p.shape.n + j;
      const std::uint32_t want = test::tensor_core_dot(spec, p.a[i], p.b[j], p.c[at], p.shape.accumulate);
      if (got[at] != want && ++failures <= 3)
        ADD_FAILURE() << what << " " << spec.a << "*" << spec.b << "->" << spec.d << " n=" << p.shape.n
                      << " row " << i << " column " << j << std::hex << ": expected 0x" << want << ", got 0x"
                      << got[at] << ", c 0x" << p.c[at] << (p.shape.accumulate ? "" : " unused");
    }
  EXPECT_EQ(failures, 0) << what << ", wrong of " << got.size();
}

// One output element: a and b padded with zeros to K.
std::uint32_t one(MmaShape s, Row a, Row b, std::uint32_t c = 0, bool accumulate = true) {
  s.m = 1;
  s.n = 8;
  s.k = mma_k(s.a);
  s.accumulate = accumulate;
  a.resize(s.k, 0);
  b.resize(s.k, 0);
  Problem p{s, {a}, Rows(8, b), std::vector<std::uint32_t>(8, c)};
  expect_oracle(p, "known answer");
  return run(p)[0];
}

MmaShape types(MmaType a, MmaType b, AccType d) {
  MmaShape s;
  s.a = a;
  s.b = b;
  s.d = d;
  s.k = mma_k(a);
  return s;
}
const MmaShape kE4m3 = types(MmaType::e4m3, MmaType::e4m3, AccType::f32);
const MmaShape kE5m2 = types(MmaType::e5m2, MmaType::e5m2, AccType::f32);
const MmaShape kBf16 = types(MmaType::bf16, MmaType::bf16, AccType::f32);
const MmaShape kF16 = types(MmaType::f16, MmaType::f16, AccType::f32);
const MmaShape kF16F16 = types(MmaType::f16, MmaType::f16, AccType::f16);
const MmaShape kTf32 = types(MmaType::tf32, MmaType::tf32, AccType::f32);

std::uint32_t e5m2(int exponent) {
  return static_cast<std::uint32_t>(exponent + 15) << 2;
}
std::uint32_t bf16(int exponent) {
  return static_cast<std::uint32_t>(exponent + 127) << 7;
}
std::uint32_t f16(int exponent) {
  return static_cast<std::uint32_t>(exponent + 15) << 10;
}

// ---- facts with known answers ----

TEST(TensorCore, Fp8TermsBelowTheKeptFractionAreLost) {
  Row a(32, e5m2(-7)), b(32, e5m2(-7));
  a[5] = b[5] = e5m2(0);
  EXPECT_EQ(one(kE5m2, a, b), bits(1.0f));  // 31 products of 2^-14
  for (auto& x : a) x = x == e5m2(0) ? x : e5m2(-6);
  EXPECT_EQ(one(kE5m2, a, b), bits(1.0f + 31 * 0x1p-13f));  // 31 products of 2^-13
}

TEST(TensorCore, Fp8AccumulationStagnates) {
  const Row a(32, e5m2(-7));
  std::uint32_t c = bits(1.0f);
  for (int step = 0; step < 10; ++step) c = one(kE5m2, a, a, c);
  EXPECT_EQ(c, bits(1.0f));
}

TEST(TensorCore, ProductsAreNotRenormalised) {
  Row a{bf16(0) | 0x40}, b{bf16(0) | 0x40};  // 1.5 * 1.5
  for (int i = 0; i < 8; ++i) {
    a.push_back(bf16(-12));
    b.push_back(bf16(-13));
  }
  EXPECT_EQ(one(kBf16, a, b), bits(2.25f + 0x1p-22f));
}

TEST(TensorCore, Fp8ResultHasFourteenBits) {
  auto rng = random_engine(1);
  for (int i = 0; i < 2000; ++i) {
    Row a(32), b(32);
    for (auto& x : a) x = rng() & 0xBF;
    for (auto& x : b) x = rng() & 0xBF;
    EXPECT_EQ(one(kE4m3, a, b, static_cast<std::uint32_t>(rng()) & 0xBFFFFFFFu) & 0x3FF, 0u);
  }
  EXPECT_EQ(one(kE4m3, {}, {}, bits(1.0f) | 0x3FF), bits(1.0f));  // c loses its low bits on the way through
}

TEST(TensorCore, SixteenBitKeepsTwentyFiveFractionBits) {
  // 1 + 2^-25 * 4: each small term survives; 2^-26 does not.
  const Row a{bf16(0), bf16(-12), bf16(-12), bf16(-12), bf16(-12)},
      b{bf16(0), bf16(-13), bf16(-13), bf16(-13), bf16(-13)};
  EXPECT_EQ(one(kBf16, a, b), bits(1.0f + 0x1p-23f));
  const Row lost{bf16(0), bf16(-14), bf16(-14), bf16(-14), bf16(-14)};
  EXPECT_EQ(one(kBf16, lost, b), bits(1.0f));
}

TEST(TensorCore, OrderMattersOnlyBetweenSteps) {
  const Row ones{bf16(0), bf16(0), bf16(0)};
  EXPECT_EQ(one(kBf16, {bf16(24), bf16(0), bf16(24) | 0x8000}, ones), bits(1.0f));
  std::uint32_t c = one(kBf16, {bf16(24)}, ones, 0, false);
  c = one(kBf16, {bf16(0)}, ones, c);
  c = one(kBf16, {bf16(24) | 0x8000}, ones, c);
  EXPECT_EQ(c, bits(0.0f));
}

TEST(TensorCore, HalfResultIsRoundedOnce) {
  // 1 + 2^-11 is a tie; 2^-25 beyond it must decide, though f32's 24 bits cannot hold the sum.
  const Row a{f16(0), f16(-11), f16(-12)}, b{f16(0), f16(0), f16(-13)};
  EXPECT_EQ(one(kF16F16, a, b), 0x3C01u);
  EXPECT_EQ(one(kF16F16, {f16(0), f16(-11)}, b), 0x3C00u);
}

TEST(TensorCore, SpecialValues) {
  const std::uint32_t nan = 0x7FFFFFFF, inf = 0x7F800000, bf_inf = 0x7F80, bf_nan = 0x7F81, bf_one = bf16(0);
  EXPECT_EQ(one(kBf16, {bf_nan}, {bf_one}), nan);
  EXPECT_EQ(one(kBf16, {bf_inf}, {0}), nan);
  EXPECT_EQ(one(kBf16, {bf_inf}, {bf_one}), inf);
  EXPECT_EQ(one(kBf16, {bf_inf}, {bf_inf | 0x8000}), inf | 0x80000000);
  EXPECT_EQ(one(kBf16, {bf_inf, bf_inf}, {bf_one, bf_one | 0x8000}), nan);
  EXPECT_EQ(one(kBf16, {bf_inf}, {bf_one}, inf | 0x80000000), nan);
  EXPECT_EQ(one(kBf16, {bf_one}, {bf_one}, inf | 0x80000000), inf | 0x80000000);
  EXPECT_EQ(one(kBf16, {bf_one}, {bf_one}, 0xFFC00001), nan);
  EXPECT_EQ(one(kBf16, {bf_one}, {bf_one}, 0xFFC00001, false), bits(1.0f));            // c is not read
  EXPECT_EQ(one(kBf16, {bf16(120), bf16(120) | 0x8000}, {bf16(120), bf16(120)}), 0u);  // 2^240 cancels
  EXPECT_EQ(one(kBf16, {bf16(120)}, {bf16(120)}), inf);
  EXPECT_EQ(one(kBf16, {1}, {bf16(0)}), 1u << 16);  // subnormal operand
  EXPECT_EQ(one(kBf16, {}, {}, 1), 1u);             // subnormal c
  EXPECT_EQ(one(kBf16, {}, {}, 0x80000000), 0u);    // -0 + nothing
  EXPECT_EQ(one(kE4m3, {0x7F}, {0x38}), nan);
  EXPECT_EQ(one(kE4m3, {0x7E}, {0x7E}), bits(448.0f * 448.0f));
  EXPECT_EQ(one(kE5m2, {0x7C}, {0xBC}), inf | 0x80000000);
  EXPECT_EQ(one(kF16F16, {0x7C00, 0xFC00}, {f16(0), f16(0)}), 0x7FFFu);
  EXPECT_EQ(one(kF16F16, {0x7BFF, 0x7BFF}, {f16(0), f16(0)}), 0x7C00u);
  EXPECT_EQ(one(kTf32, {0x7F800001}, {bits(1.0f)}), inf);  // the NaN's payload is among the dropped bits
}

TEST(TensorCore, Tf32DropsThirteenBits) {
  EXPECT_EQ(one(kTf32, {bits(1.0f) | 0x1FFF}, {bits(1.0f)}), bits(1.0f));
  EXPECT_EQ(one(kTf32, {bits(1.0f) | 0x2000}, {bits(1.0f)}), bits(1.0f) | 0x2000);
}

TEST(TensorCore, IntegersWrapOrSaturate) {
  MmaShape s = types(MmaType::s8, MmaType::s8, AccType::s32);
  EXPECT_EQ(one(s, {1}, {1}, 0x7FFFFFFF), 0x80000000u);
  EXPECT_EQ(one(s, {0xFF}, {1}, 0x80000000), 0x7FFFFFFFu);
  s.satfinite = true;
  EXPECT_EQ(one(s, {1}, {1}, 0x7FFFFFFF), 0x7FFFFFFFu);
  EXPECT_EQ(one(s, {0xFF}, {1}, 0x80000000), 0x80000000u);
  EXPECT_EQ(one(s, Row(32, 0x80), Row(32, 0x80)), 32u * 128 * 128);
  EXPECT_EQ(one(types(MmaType::u8, MmaType::u8, AccType::s32), Row(32, 255), Row(32, 255)), 32u * 255 * 255);
}

// ---- random operands ----

enum class Flavour { any_bits, near_one, wide, cancelling, tiny, sparse, huge };
constexpr Flavour kFlavours[] = {Flavour::any_bits, Flavour::near_one, Flavour::wide, Flavour::cancelling,
                                 Flavour::tiny,     Flavour::sparse,   Flavour::huge};
constexpr const char* kFlavourNames[] = {"any bits", "near one", "wide", "cancelling",
                                         "tiny",     "sparse",   "huge"};

struct Ieee {
  int exponent_bits, fraction_bits;
};
Ieee layout(MmaType t) {
  switch (t) {
    case MmaType::bf16:
      return {8, 7};
    case MmaType::tf32:
      return {8, 23};
    case MmaType::e4m3:
      return {4, 3};
    case MmaType::e5m2:
      return {5, 2};
    default:
      return {5, 10};
  }
}

// An exponent field of the flavour, never that of Inf and NaN (except any_bits).
std::uint32_t random_float(Ieee l, Flavour flavour, std::mt19937_64& rng) {
  const int bias = (1 << (l.exponent_bits - 1)) - 1, top = 2 * bias;
  const auto pattern = static_cast<std::uint32_t>(rng());
  const auto width = l.exponent_bits + l.fraction_bits + 1;
  const std::uint32_t all = width == 32 ? ~0u : (1u << width) - 1;
  if (flavour == Flavour::any_bits) return pattern & all;
  if (flavour == Flavour::sparse && rng() % 8) return pattern & (1u << (width - 1));  // +-0
  const auto uniform = [&](int low, int high) {
    return low + static_cast<int>(rng() % static_cast<unsigned>(high - low + 1));
  };
  int field = 0;
  switch (flavour) {
    case Flavour::near_one:
      field = uniform(bias - 3, bias + 3);
      break;
    case Flavour::cancelling:
      field = bias;
      break;
    case Flavour::tiny:
      field = uniform(0, std::min(3, top));
      break;
    case Flavour::huge:
      field = uniform(top - 3, top);
      break;
    case Flavour::sparse:
      field = uniform(std::max(0, bias - 14), std::min(top, bias + 14));
      break;
    default:
      field = uniform(0, top);
      break;
  }
  std::uint32_t fraction = pattern & ((1u << l.fraction_bits) - 1);
  if (rng() % 3 == 0) fraction = rng() % 2 ? 0 : (1u << l.fraction_bits) - 1;
  return (pattern >> 31) << (width - 1) | static_cast<std::uint32_t>(field) << l.fraction_bits | fraction;
}

std::uint32_t random_element(MmaType t, Flavour flavour, std::mt19937_64& rng) {
  if (t == MmaType::b1) return rng() & 1;
  if (t == MmaType::s8 || t == MmaType::u8)
    return flavour == Flavour::huge ? 0x80 | (rng() & 0x7F) : rng() & 0xFF;
  return random_float(layout(t), flavour, rng);
}

std::uint32_t random_c(AccType d, Flavour flavour, std::mt19937_64& rng) {
  if (d == AccType::s32)
    return static_cast<std::uint32_t>(flavour == Flavour::huge ? 0x7FFFFFFF - rng() % 1000 : rng());
  return random_float(d == AccType::f16 ? Ieee{5, 10} : Ieee{8, 23}, flavour, rng);
}

Problem random_problem(MmaShape s, Flavour flavour, std::mt19937_64& rng) {
  Problem p{s, Rows(s.m, Row(s.k)), Rows(s.n, Row(s.k)), {}};
  for (auto& row : p.a)
    for (auto& x : row) x = random_element(s.a, flavour, rng);
  for (auto& row : p.b)
    for (auto& x : row) x = random_element(s.b, flavour, rng);
  if (flavour == Flavour::cancelling)  // products come in pairs of opposite sign, nearly equal
    for (auto& row : p.a)
      for (int k = 0; k + 1 < s.k; k += 2)
        row[k + 1] = row[k] ^ (1u << (bits_of(s.a) - 1)) ^ (rng() % 4 == 0);
  p.c.resize(static_cast<std::size_t>(s.m) * s.n);
  // c of another flavour half of the time: far above, far below or beside the products.
  const Flavour c_flavour = rng() % 2 ? flavour : kFlavours[rng() % std::size(kFlavours)];
  for (auto& x : p.c) x = random_c(s.d, c_flavour, rng);
  return p;
}

struct Combination {
  MmaType a, b;
  AccType d;
};
const Combination kCombinations[] = {
    {MmaType::f16, MmaType::f16, AccType::f32},   {MmaType::f16, MmaType::f16, AccType::f16},
    {MmaType::bf16, MmaType::bf16, AccType::f32}, {MmaType::tf32, MmaType::tf32, AccType::f32},
    {MmaType::e4m3, MmaType::e4m3, AccType::f32}, {MmaType::e4m3, MmaType::e5m2, AccType::f32},
    {MmaType::e5m2, MmaType::e4m3, AccType::f32}, {MmaType::e5m2, MmaType::e5m2, AccType::f32},
    {MmaType::e4m3, MmaType::e4m3, AccType::f16}, {MmaType::e5m2, MmaType::e5m2, AccType::f16},
    {MmaType::e4m3, MmaType::e5m2, AccType::f16}, {MmaType::s8, MmaType::s8, AccType::s32},
    {MmaType::u8, MmaType::u8, AccType::s32},     {MmaType::s8, MmaType::u8, AccType::s32},
    {MmaType::u8, MmaType::s8, AccType::s32},     {MmaType::b1, MmaType::b1, AccType::s32}};

class TensorCoreRandom : public testing::TestWithParam<Combination> {
 protected:
  MmaShape shape() const { return types(GetParam().a, GetParam().b, GetParam().d); }
  bool is_float() const { return GetParam().d != AccType::s32; }
};

TEST_P(TensorCoreRandom, EveryFlavour) {
  auto rng = random_engine(100);
  for (int round = 0; round < 6; ++round)
    for (const Flavour f : kFlavours) {
      MmaShape s = shape();
      s.m = 16;
      s.n = 8 * (1 + static_cast<int>(rng() % 12));
      s.accumulate = rng() % 4 != 0;
      s.negate_a = is_float() && rng() % 4 == 0;
      s.negate_b = is_float() && rng() % 4 == 0;
      s.satfinite = (s.a == MmaType::s8 || s.a == MmaType::u8) && rng() % 2;
      expect_oracle(random_problem(s, f, rng), kFlavourNames[static_cast<int>(f)]);
    }
}

TEST_P(TensorCoreRandom, EveryN) {
  auto rng = random_engine(200);
  for (int n = 8; n <= 256; n += 8) {
    MmaShape s = shape();
    s.m = 1 + static_cast<int>(rng() % 3);
    s.n = n;
    expect_oracle(random_problem(s, rng() % 2 ? Flavour::near_one : Flavour::wide, rng), "every n");
  }
}

TEST_P(TensorCoreRandom, WholeWarpgroup) {
  auto rng = random_engine(300);
  MmaShape s = shape();
  s.m = 64;
  s.n = 256;
  const Problem p = random_problem(s, Flavour::near_one, rng);
  EXPECT_EQ(run(p), run(p, mma_scalar));
}

// One MmaB for tiles that differ in bytes, in n, or only in how their bytes are read.
TEST_P(TensorCoreRandom, DecodedAgain) {
  auto rng = random_engine(350);
  MmaB b;
  std::vector<std::byte> rows;
  for (int i = 0; i < 40; ++i) {
    MmaShape s = shape();
    s.m = 8;
    s.n = i % 4 == 3 ? 40 : 72;
    s.accumulate = false;
    Problem p = random_problem(s, Flavour::near_one, rng);
    const auto fresh = pack(s.b, p.b);
    if (i % 2 == 0)
      rows = fresh;
    else
      rows[rng() % (40 * kMmaRowBytes)] ^= std::byte{1};  // the last tile but for a bit
    const auto a = pack(s.a, p.a);
    if (s.b == MmaType::e4m3 || s.b == MmaType::e5m2) {
      MmaShape other = s;
      other.b = s.b == MmaType::e4m3 ? MmaType::e5m2 : MmaType::e4m3;
      b.set(other, rows.data());
    }
    const std::size_t bytes = static_cast<std::size_t>(s.m) * s.n * (s.d == AccType::f16 ? 2 : 4);
    std::vector<std::byte> pieces(bytes), want(bytes);
    std::vector<std::uint32_t> places(bytes / (kPieceRows * kPieceBytes));
    for (std::size_t j = 0; j < places.size(); ++j)  // any order
      places[j] = static_cast<std::uint32_t>((places.size() - 1 - j) * kPieceRows * kPieceBytes);
    b.set(s, rows.data());
    mma(s, a.data(), b, {pieces.data(), places.data(), places.data()});
    mma_scalar(s, a.data(), rows.data(), want.data());
    const std::size_t row_bytes = bytes / kPieceRows;
    for (std::size_t row = 0; row < kPieceRows; ++row)
      for (std::size_t at = 0; at < row_bytes; ++at)
        ASSERT_EQ(pieces[places[at / kPieceBytes] + row * kPieceBytes + at % kPieceBytes],
                  want[row * row_bytes + at])
            << "tile " << i << " row " << row << " byte " << at;
  }
}

TEST(TensorCore, RefusesAnotherTile) {
  MmaShape s = kBf16;
  std::vector<std::byte> a(16 * kMmaRowBytes), rows(16 * kMmaRowBytes), d(16 * 16 * 4);
  const std::vector<std::uint32_t> places(8);
  const MmaD pieces{d.data(), places.data(), places.data()};
  MmaB b;
  EXPECT_THROW(mma(s, a.data(), b, pieces), std::invalid_argument);
  b.set(s, rows.data());
  mma(s, a.data(), b, pieces);
  s.n = 16;
  EXPECT_THROW(mma(s, a.data(), b, pieces), std::invalid_argument);
  s.n = 8, s.m = 12;
  EXPECT_THROW(mma(s, a.data(), b, pieces), std::invalid_argument);
}

class TensorCoreRandomFloat : public TensorCoreRandom {};

TEST_P(TensorCoreRandomFloat, SignSymmetry) {
  auto rng = random_engine(400);
  const std::uint32_t sign = GetParam().d == AccType::f16 ? 0x8000 : 0x80000000;
  for (const Flavour f : {Flavour::near_one, Flavour::wide}) {
    Problem p = random_problem(shape(), f, rng);
    const auto plus = run(p);
    p.shape.negate_b = true;
    for (auto& c : p.c) c ^= sign;
    const auto minus = run(p);
    for (std::size_t i = 0; i < plus.size(); ++i) {
      const bool signless = plus[i] == 0 || plus[i] == sign - 1;  // +0 and NaN
      EXPECT_EQ(minus[i], signless ? plus[i] : plus[i] ^ sign) << "element " << i;
    }
  }
}

TEST_P(TensorCoreRandom, OrderOfKDoesNotMatter) {
  auto rng = random_engine(500);
  Problem p = random_problem(shape(), Flavour::wide, rng);
  const auto before = run(p);
  std::vector<int> order(p.shape.k);
  for (int k = 0; k < p.shape.k; ++k) order[k] = k;
  std::shuffle(order.begin(), order.end(), rng);
  for (Rows* rows : {&p.a, &p.b})
    for (Row& row : *rows) {
      const Row old = row;
      for (int k = 0; k < p.shape.k; ++k) row[k] = old[order[k]];
    }
  EXPECT_EQ(run(p), before);
}

std::string name_of(const testing::TestParamInfo<Combination>& info) {
  return std::string(name(info.param.a)) + "_" + name(info.param.b) + "_" + name(info.param.d);
}

std::vector<Combination> float_combinations() {
  std::vector<Combination> found;
  for (const Combination& c : kCombinations)
    if (c.d != AccType::s32) found.push_back(c);
  return found;
}

INSTANTIATE_TEST_SUITE_P(Types, TensorCoreRandom, testing::ValuesIn(kCombinations), name_of);
INSTANTIATE_TEST_SUITE_P(Types, TensorCoreRandomFloat, testing::ValuesIn(float_combinations()), name_of);

// All products near 4 * 2^top overflow 31 bits in the 16-bit types.
TEST(TensorCore, LargestSums) {
  for (const auto& s : {kF16, kBf16, kF16F16}) {
    const std::uint32_t almost_two = s.a == MmaType::f16 ? 0x3FFF : 0x3FFF;
    const std::uint32_t c = s.d == AccType::f16 ? 0x3FFF : 0x3FFFFFFF;
    one(s, Row(16, almost_two), Row(16, almost_two), c);
    one(s, Row(16, almost_two), Row(16, almost_two | 0x8000), c);
  }
}

TEST(TensorCore, RejectsIllegalShapes) {
  std::byte a[32 * 64]{}, b[32 * 256]{}, d[64 * 256 * 4]{};
  const auto rejects = [&](MmaShape s, const char* why) {
    try {
      mma(s, a, b, d);
      ADD_FAILURE() << "accepted: " << why;
    } catch (const std::invalid_argument& e) {
      EXPECT_THAT(e.what(), testing::HasSubstr(why));
    }
  };
  MmaShape s = kF16;
  s.n = 12;
  rejects(s, "n = 12");
  s = kF16;
  s.m = 65;
  rejects(s, "m = 65");
  s = kF16;
  s.k = 8;
  rejects(s, "k = 8, expected 16");
  s = types(MmaType::f16, MmaType::bf16, AccType::f32);
  rejects(s, "does not multiply");
  s = types(MmaType::bf16, MmaType::bf16, AccType::f16);
  rejects(s, "does not accumulate");
  s = types(MmaType::s8, MmaType::s8, AccType::s32);
  s.negate_a = true;
  rejects(s, "float type");
  s = kF16;
  s.satfinite = true;
  rejects(s, "satfinite");
}

}  // namespace
}  // namespace ptxops
