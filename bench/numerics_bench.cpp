// Speed of the virtual device's arithmetic, measured on this CPU: exact tensor-core MACs a second on one core.
// Each benchmark first checks one result against the scalar rule and fails if it differs.
#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstring>
#include <random>
#include <string>
#include <vector>

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
  MmaShape shape{.m = static_cast<int>(state.range(0)), .n = static_cast<int>(state.range(1)), .k = mma_k(type)};
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
  for (auto _ : state) {
    shape.accumulate = false;
    mma(shape, a.data(), b.data(), d.data());
    shape.accumulate = true;
    mma(shape, a.data(), b.data(), d.data());
    benchmark::DoNotOptimize(d.data());
    benchmark::ClobberMemory();
  }
  const double macs = 2.0 * shape.m * shape.n * shape.k * static_cast<double>(state.iterations());
  state.counters["GMAC/s"] = benchmark::Counter(macs * 1e-9, benchmark::Counter::kIsRate);
  state.SetLabel(mma_target());
}

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

}  // namespace

BENCHMARK_MAIN();
