// From kernel text to PTX and cubin, on the CPU: the figures "assemble one GEMM configuration, cold" (150 ms)
// and "from the cache" (2 ms), and their parts. PTXOPS_PTXAS chooses the ptxas.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <stdexcept>

#include "driver/jit/build.h"
#include "driver/jit/head.h"
#include "driver/jit/process.h"

namespace ptxops::jit {
namespace {

constexpr const char* kPath = "gemm/fp8_gemm.ptx";

const KernelHead& head() {
  static const KernelHead head = parse_head(kPath);
  return head;
}

// The workhorse: 128 x 128 tiles, grouped contiguous, no cluster.
Params params() {
  for (const Config& c : enumerate(head())) {
    const Params p = head().named(c);
    if (p.at("FORM") == 1 && p.at("OUT") == 0 && p.at("BLOCK_M") == 128 && p.at("BLOCK_N") == 128 &&
        p.at("CLUSTER") == 1)
      return p;
  }
  throw std::runtime_error("no 128 x 128 configuration");
}

void parse(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(parse_template(kPath));
}
BENCHMARK(parse)->Unit(benchmark::kMicrosecond);

void expand_parsed(benchmark::State& state) {
  const Params p = params();
  int lines = 0;
  for (auto _ : state) lines = expand(*head().parsed, p).lines.line_count();
  state.counters["ptx_lines"] = lines;
}
BENCHMARK(expand_parsed)->Unit(benchmark::kMicrosecond);

void parse_and_expand(benchmark::State& state) {
  const Params p = params();
  for (auto _ : state) benchmark::DoNotOptimize(expand(kPath, p));
}
BENCHMARK(parse_and_expand)->Unit(benchmark::kMicrosecond);

void enumerate_domain(benchmark::State& state) {
  size_t count = 0;
  for (auto _ : state) count = enumerate(head()).size();
  state.counters["configs"] = static_cast<double>(count);
}
BENCHMARK(enumerate_domain)->Unit(benchmark::kMicrosecond);

void domain_with_notes(benchmark::State& state) {
  size_t count = 0;
  for (auto _ : state) count = legal_domain(head()).configs.size();
  state.counters["configs"] = static_cast<double>(count);
}
BENCHMARK(domain_with_notes)->Unit(benchmark::kMicrosecond);

// The first build on a machine: an empty cache each time, so ptxas is also asked for its version, and what it
// made is stored.
void build_cold(benchmark::State& state) {
  if (!find_ptxas().tool) return state.SkipWithError(find_ptxas().status.c_str());
  const Params p = params();
  for (auto _ : state) {
    const ScratchDirectory place;
    const Cache cache(place.path());
    BuildOptions options;
    options.cache = &cache;
    benchmark::DoNotOptimize(build(kPath, p, options));
  }
}
// UseRealTime: most of it passes in another process.
BENCHMARK(build_cold)->Unit(benchmark::kMillisecond)->UseRealTime();

// What of it is ptxas: the same input and options, in a directory that is there.
void ptxas_alone(benchmark::State& state) {
  const PtxasSearch search = find_ptxas();
  if (!search.tool) return state.SkipWithError(search.status.c_str());
  const ScratchDirectory place;
  write_file(place.path() + "/kernel.ptx", expand(kPath, params()).ptx);
  const PtxasOptions options;
  std::vector<std::string> argv = {search.tool->path(), "-v"};
  argv.insert(argv.end(), options.flags.begin(), options.flags.end());
  argv.insert(argv.end(), {"-o", "out.cubin", "kernel.ptx"});
  for (auto _ : state)
    if (run_process(argv, place.path(), options.timeout).exit_code) state.SkipWithError("ptxas failed");
}
BENCHMARK(ptxas_alone)->Unit(benchmark::kMillisecond)->UseRealTime();

void build_cached(benchmark::State& state) {
  if (!find_ptxas().tool) return state.SkipWithError(find_ptxas().status.c_str());
  const ScratchDirectory place;
  const Cache cache(place.path());
  BuildOptions options;
  options.cache = &cache;
  const Params p = params();
  build(kPath, p, options);
  for (auto _ : state)
    if (!build(kPath, p, options).from_cache) state.SkipWithError("not from the cache");
}
BENCHMARK(build_cached)->Unit(benchmark::kMicrosecond)->UseRealTime();

}  // namespace
}  // namespace ptxops::jit

BENCHMARK_MAIN();
