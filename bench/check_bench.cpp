// Warp instructions a second of the judged virtual device, one core: a block that loads from global memory,
// exchanges through shared memory behind barriers, and computes in between, as the code around matrix
// products does. The same unjudged for comparison. Measured on the CPU; says nothing about a GPU.
#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <future>
#include <string>

#include "driver/virtual/exec/engine.h"
#include "driver/virtual/isa/ir.h"
#include "driver/virtual/memory/memory.h"

namespace ptxops::virt {
namespace {

constexpr uint32_t kThreads = 256, kRounds = 64;

// A round: 40 of arithmetic, 4 of memory, a barrier; every word is written by one thread and read by another.
std::string text() {
  std::string arithmetic;
  for (int k = 0; k < 10; ++k)
    arithmetic += "fma.rn.f32 f0, f0, f1, f2; fma.rn.f32 f2, f2, f1, f0; xor.b32 m, m, i; add.s32 m, m, t;\n";
  return R"(.version 8.0
.target sm_90a
.address_size 64
.visible .entry k(.param .u64 data)
{
  .shared .align 16 .b8 tile[2048];
  .reg .pred p;
  .reg .b32 t, i, m, x, y, s;
  .reg .f32 f0, f1, f2;
  .reg .b64 g, o;
  mov.u32 t, %tid.x;
  ld.param.u64 g, [data];
  mul.wide.u32 o, t, 4;
  add.u64 g, g, o;
  mov.u32 s, tile;
  mad.lo.u32 x, t, 4, s;
  xor.b32 y, t, 37;
  mad.lo.u32 y, y, 4, s;
  mov.b32 i, 0;
  mov.b32 m, 1;
  mov.f32 f1, 0f3F000000;
  mov.f32 f2, 0f3F000000;
ROUND:
  ld.global.f32 f0, [g];
)" + arithmetic +
         R"(
  st.shared.f32 [x], f0;
  bar.sync 0;
  ld.shared.f32 f2, [y];
  bar.sync 0;
  add.s32 i, i, 1;
  setp.lt.u32 p, i, )" +
         std::to_string(kRounds) + R"(;
  @p bra ROUND;
  add.f32 f2, f2, f0;
  st.global.f32 [g], f2;
  ret;
}
)";
}

void run(benchmark::State& state, CheckLevel level) {
  static Memory memory(1);
  isa::Module module;
  std::vector<isa::Diagnostic> diagnostics;
  std::string log;
  const bool parsed = isa::parse(text(), module, diagnostics) == isa::Result::ok;
  const auto program = parsed ? Program::load(std::move(module), memory, 0, log) : nullptr;
  if (!program) {
    state.SkipWithError((isa::render(diagnostics) + log).c_str());
    return;
  }
  const Allocation* data = memory.allocate(0, kThreads * 4);
  std::memset(reinterpret_cast<void*>(data->base), 0x3c, data->size);
  mark_written(*data, data->base, data->size);
  uint64_t instructions = 0;
  for (auto _ : state) {
    LaunchDesc d;
    d.program = program.get();
    d.kernel = program->find_kernel("k");
    d.memory = &memory;
    d.grid = {1, 1, 1}, d.block = {kThreads, 1, 1}, d.cluster = {1, 1, 1};
    d.check = level;
    d.params.resize(8);
    std::memcpy(d.params.data(), &data->base, 8);
    std::promise<LaunchResult> done;
    Engine::get().submit(std::move(d), [&](const LaunchResult& r) { done.set_value(r); });
    const LaunchResult result = done.get_future().get();
    if (result.fault.kind != FaultKind::none) {
      state.SkipWithError(result.fault.text.c_str());
      return;
    }
    instructions += result.instructions;
  }
  memory.release(data->base);
  state.counters["warp_instructions/s"] =
      benchmark::Counter(static_cast<double>(instructions), benchmark::Counter::kIsRate);
}

}  // namespace
}  // namespace ptxops::virt

int main(int argc, char** argv) {
  using ptxops::virt::CheckLevel;
  const std::pair<const char*, CheckLevel> levels[] = {
      {"full", CheckLevel::full}, {"bounds", CheckLevel::bounds}, {"off", CheckLevel::off}};
  for (const auto& [name, level] : levels)
    benchmark::RegisterBenchmark(name, [level = level](benchmark::State& s) {
      ptxops::virt::run(s, level);
    })->UseRealTime();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
