// Speed of the virtual device's arithmetic, measured on this CPU: exact tensor-core MACs a second on one
// core, B decoded already (`decode` times that). Each benchmark first checks one result against the scalar
// rule and fails if it differs. What a wgmma costs with all around it: wgmma_bench.cpp.
#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "driver/virtual/numerics/approx.h"
#include "driver/virtual/numerics/convert.h"
#include "driver/virtual/numerics/tensor_core.h"

namespace {

using namespace ptxops::virt::numerics;

// Random finite operand bits of moderate size: exponents vary, specials do not occur.
std::vector<std::byte> random_rows(MmaType type, int rows, std::mt19937& rng) {
  std::vector<std::byte> out(static_cast<std::size_t>(rows) * kMmaRowBytes);
  std::normal_distribution<float> normal;
  for (std::size_t i = 0; i < out.size(); i += 4) {
    const float x = normal(rng), y = normal(rng);
    std::uint32_t xb, yb;
    std::memcpy(&xb, &x, 4);
    std::memcpy(&yb, &y, 4);
    std::uint32_t bits = xb;  // tf32
    if (type == MmaType::bf16) bits = (xb >> 16) | (yb & 0xFFFF0000u);
    if (type == MmaType::f16) bits = rng() & 0xBFFFBFFFu;
    if (type == MmaType::e4m3) bits = rng() & 0xBFBFBFBFu;
    if (type == MmaType::e5m2) bits = rng() & 0xBFBFBFBFu;
    if (type == MmaType::s8 || type == MmaType::u8 || type == MmaType::b1) bits = rng();
    std::memcpy(&out[i], &bits, 4);
  }
  return out;
}

void mma_benchmark(benchmark::State& state, MmaType type, AccType acc) {
  MmaShape shape{
      .m = static_cast<int>(state.range(0)), .n = static_cast<int>(state.range(1)), .k = mma_k(type)};
  shape.a = shape.b = type;
  shape.d = acc;
  std::mt19937 rng(2024);
  const auto a = random_rows(type, shape.m, rng), b = random_rows(type, shape.n, rng);
  std::vector<std::byte> d(static_cast<std::size_t>(shape.m) * shape.n * 4), expected = d;
  for (int step = 0; step < 2; ++step) {
    mma(shape, a.data(), b.data(), d.data());
    mma_scalar(shape, a.data(), b.data(), expected.data());
  }
  if (d != expected) {
    state.SkipWithError("result differs from the scalar rule");
    return;
  }
  MmaB decoded;
  decoded.set(shape, b.data());
  std::vector<std::uint32_t> places(d.size() / (kPieceRows * kPieceBytes));
  for (std::size_t i = 0; i < places.size(); ++i)
    places[i] = static_cast<std::uint32_t>(i * kPieceRows * kPieceBytes);
  const MmaD pieces{d.data(), places.data(), places.data()};
  for (auto _ : state) {
    shape.accumulate = false;
    mma(shape, a.data(), decoded, pieces);
    shape.accumulate = true;
    mma(shape, a.data(), decoded, pieces);
    benchmark::DoNotOptimize(d.data());
    benchmark::ClobberMemory();
  }
  const double macs = 2.0 * shape.m * shape.n * shape.k * static_cast<double>(state.iterations());
  state.counters["GMAC/s"] = benchmark::Counter(macs * 1e-9, benchmark::Counter::kIsRate);
  state.SetLabel(mma_target());
}

void decode(benchmark::State& state, MmaType type) {
  MmaShape shape{.n = static_cast<int>(state.range(0)), .k = mma_k(type)};
  shape.a = shape.b = type;
  std::mt19937 rng(2024);
  const std::vector<std::byte> b[2] = {random_rows(type, shape.n, rng), random_rows(type, shape.n, rng)};
  MmaB decoded;
  int turn = 0;
  for (auto _ : state) decoded.set(shape, b[turn ^= 1].data());
  state.SetLabel(mma_target());
}
BENCHMARK_CAPTURE(decode, e4m3, MmaType::e4m3)->ArgName("n")->Arg(256);
BENCHMARK_CAPTURE(decode, bf16, MmaType::bf16)->ArgName("n")->Arg(256);

void sizes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"m", "n"})->Args({16, 256})->Args({16, 128})->Args({16, 64})->Args({16, 8})->Args({64, 256});
}

BENCHMARK_CAPTURE(mma_benchmark, e4m3_f32, MmaType::e4m3, AccType::f32)->Apply(sizes);
BENCHMARK_CAPTURE(mma_benchmark, e5m2_f16, MmaType::e5m2, AccType::f16)->Apply(sizes);
BENCHMARK_CAPTURE(mma_benchmark, bf16_f32, MmaType::bf16, AccType::f32)->Apply(sizes);
BENCHMARK_CAPTURE(mma_benchmark, f16_f32, MmaType::f16, AccType::f32)->Apply(sizes);
BENCHMARK_CAPTURE(mma_benchmark, f16_f16, MmaType::f16, AccType::f16)->Apply(sizes);
BENCHMARK_CAPTURE(mma_benchmark, tf32_f32, MmaType::tf32, AccType::f32)->Apply(sizes);
BENCHMARK_CAPTURE(mma_benchmark, s8_s32, MmaType::s8, AccType::s32)->Apply(sizes);
BENCHMARK_CAPTURE(mma_benchmark, b1_s32, MmaType::b1, AccType::s32)->Apply(sizes);

// ---- one warp of an elementwise operation, vectorised by the compiler as in the executor's lane loops ----

constexpr int kWarp = 32;
#define PTXOPS_EVERY_TARGET \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"), noinline))

PTXOPS_EVERY_TARGET void warp_ex2(const std::uint32_t* a, std::uint32_t* d) {
  for (int i = 0; i < kWarp; ++i) d[i] = ex2_approx<Format::f32, true>(a[i]);
}
PTXOPS_EVERY_TARGET void warp_lg2(const std::uint32_t* a, std::uint32_t* d) {
  for (int i = 0; i < kWarp; ++i) d[i] = lg2_approx<true>(a[i]);
}
PTXOPS_EVERY_TARGET void warp_rcp(const std::uint32_t* a, std::uint32_t* d) {
  for (int i = 0; i < kWarp; ++i) d[i] = rcp_approx<true>(a[i]);
}
PTXOPS_EVERY_TARGET void warp_to_bf16(const std::uint32_t* a, std::uint32_t* d) {
  for (int i = 0; i < kWarp; ++i) d[i] = convert<Format::bf16, Format::f32>(a[i]);
}
PTXOPS_EVERY_TARGET void warp_to_e4m3(const std::uint32_t* a, std::uint32_t* d) {
  for (int i = 0; i < kWarp; ++i)
    d[i] = convert<Format::e4m3, Format::f32, FloatMode{.satfinite = true}>(a[i]);
}
PTXOPS_EVERY_TARGET void warp_fma_bf16(const std::uint32_t* a, std::uint32_t* d) {
  for (int i = 0; i < kWarp; ++i) d[i] = fma<Format::bf16>(a[i] >> 16, a[i] >> 16, d[i] >> 16);
}

void warp_benchmark(benchmark::State& state, void (*function)(const std::uint32_t*, std::uint32_t*)) {
  alignas(64) std::uint32_t a[kWarp], d[kWarp] = {};
  for (int i = 0; i < kWarp; ++i) {
    const float x = 0.37f * static_cast<float>(i + 1);
    std::memcpy(&a[i], &x, 4);
  }
  for (auto _ : state) {
    function(a, d);
    benchmark::DoNotOptimize(d);
    benchmark::ClobberMemory();
  }
  state.counters["warp-op/s"] =
      benchmark::Counter(static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

BENCHMARK_CAPTURE(warp_benchmark, ex2_f32, warp_ex2);
BENCHMARK_CAPTURE(warp_benchmark, lg2_f32, warp_lg2);
BENCHMARK_CAPTURE(warp_benchmark, rcp_f32, warp_rcp);
BENCHMARK_CAPTURE(warp_benchmark, cvt_bf16_f32, warp_to_bf16);
BENCHMARK_CAPTURE(warp_benchmark, cvt_e4m3_f32, warp_to_e4m3);
BENCHMARK_CAPTURE(warp_benchmark, fma_bf16, warp_fma_bf16);

}  // namespace

BENCHMARK_MAIN();
