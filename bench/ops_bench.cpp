// Host cost of the ops, on the CPU: the figures "one prepared run, driver launch excluded" (1 us) and
// "choosing a configuration, cold" (50 us). The process runs on launchless_driver.cpp, so that a launch costs
// one empty call and everything else (checks, tensor maps, argument blocks, the other driver calls) counts.
#include <benchmark/benchmark.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "ops/include/ptxops.h"

namespace {

void check(ptxopsStatus_t status) {
  if (status == PTXOPS_SUCCESS) return;
  std::fprintf(stderr, "bench_ops: %s: %s\n", ptxopsGetStatusName(status), ptxopsGetLastError());
  std::exit(2);
}

ptxopsContext_t context() {
  static const ptxopsContext_t context = [] {
    ptxopsContext_t c;
    check(ptxopsContextCreate(&c, 0));
    return c;
  }();
  return context;
}

ptxopsFp8GemmDesc_t grouped(int64_t m, int64_t n, int64_t k) {
  ptxopsFp8GemmDesc_t desc = PTXOPS_FP8_GEMM_DESC_INITIALIZER;
  desc.form = PTXOPS_GEMM_GROUPED_CONTIGUOUS;
  desc.m = m, desc.n = n, desc.k = k, desc.groups = 8;
  return desc;
}

double create_and_destroy(const ptxopsFp8GemmDesc_t& desc) {
  context();
  const auto start = std::chrono::steady_clock::now();
  ptxopsPlan_t plan;
  check(ptxopsFp8GemmPlanCreate(context(), &desc, &plan));
  check(ptxopsPlanDestroy(plan));
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// The first of the process; creating the context has read the kernel's head.
void choose_first(benchmark::State& state) {
  for (auto _ : state) state.SetIterationTime(create_and_destroy(grouped(512, 4096, 7168)));
}
BENCHMARK(choose_first)->Iterations(1)->Repetitions(1)->UseManualTime()->Unit(benchmark::kMicrosecond);

// Every shape is new to the process.
void choose_cold(benchmark::State& state) {
  static int64_t shape = 0;
  for (auto _ : state) {
    ++shape;
    state.SetIterationTime(create_and_destroy(grouped(1 + shape % 4099, 8 * (1 + shape % 2053), 7168)));
  }
}
BENCHMARK(choose_cold)->UseManualTime()->Unit(benchmark::kMicrosecond);

struct Run {
  ptxopsPlan_t plan;
  ptxopsFp8GemmArgs_t args = PTXOPS_FP8_GEMM_ARGS_INITIALIZER;
};

// Never launched, so what the buffers hold does not matter; they last as long as the process.
const Run& prepared() {
  static const Run run = [] {
    constexpr int64_t kM = 512, kN = 512, kK = 1024, kGroups = 8;
    const ptxopsFp8GemmDesc_t desc = grouped(kM, kN, kK);
    Run r;
    check(ptxopsFp8GemmPlanCreate(context(), &desc, &r.plan));
    check(ptxopsPlanPrepare(r.plan));
    const auto allocate = [](int64_t bytes) {
      ptxopsDevicePtr_t p;
      check(ptxopsMemAlloc(context(), &p, static_cast<size_t>(bytes)));
      return p;
    };
    r.args.a = allocate(kM * kK), r.args.sfa = allocate(4 * kM * kK / 128);
    r.args.b = allocate(kGroups * kN * kK), r.args.sfb = allocate(4 * kGroups * kN / 128 * kK / 128);
    r.args.d = allocate(2 * 2 * kM * kN), r.args.groups = allocate(4 * (kGroups + 1));
    return r;
  }();
  return run;
}

// The steady state of serving: the same buffers each time.
void run_prepared(benchmark::State& state) {
  const Run& r = prepared();
  for (auto _ : state) check(ptxopsFp8GemmRun(r.plan, &r.args, 0, 0, nullptr));
}
BENCHMARK(run_prepared)->Unit(benchmark::kNanosecond);

// The output moves each time: arguments are checked and tensor maps encoded anew.
void run_new_arguments(benchmark::State& state) {
  Run r = prepared();
  const ptxopsDevicePtr_t d[2] = {r.args.d, r.args.d + 2 * 512 * 512};
  int turn = 0;
  for (auto _ : state) {
    r.args.d = d[turn ^= 1];
    check(ptxopsFp8GemmRun(r.plan, &r.args, 0, 0, nullptr));
  }
}
BENCHMARK(run_new_arguments)->Unit(benchmark::kNanosecond);

}  // namespace

int main(int argc, char** argv) {
  setenv("PTXOPS_DRIVER", PTXOPS_LAUNCHLESS_DRIVER_FILE, 1);
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
