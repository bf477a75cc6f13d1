// Loading PTX into the virtual device, on the CPU: the figure "load of a 20,000-line PTX file" (100 ms). A
// load is what cuModuleLoadData does: parse, validate, decode. The text is generated: integer and
// floating-point arithmetic, vector loads, predicates, forward and backward branches, and a wgmma of the
// largest shape every 40 blocks.
#include <benchmark/benchmark.h>

#include <memory>
#include <string>
#include <vector>

#include "driver/virtual/exec/program.h"
#include "driver/virtual/memory/memory.h"

namespace ptxops::virt {
namespace {

constexpr int kLines = 20000;

std::string generate() {
  std::string text =
      ".version 8.0\n.target sm_90a\n.address_size 64\n.visible .entry k(.param .u64 a)\n{\n"
      ".reg .b32 %r<4096>; .reg .b64 %rd<512>; .reg .f32 %f<4096>; .reg .pred %p<64>;\n"
      "ld.param.u64 %rd0, [a];\n";
  std::string wgmma = "\twgmma.mma_async.sync.aligned.m64n256k32.f32.e4m3.e4m3 {";
  for (int k = 0; k < 128; ++k) wgmma += (k ? ", %f" : "%f") + std::to_string(100 + k);
  wgmma += "}, %rd1, %rd2, %p1, 1, 1;\n";
  int lines = 9;  // with the last two
  for (int block = 0; lines < kLines; ++block) {
    const auto number = [block](int modulus, int offset) { return std::to_string(block % modulus + offset); };
    const std::string a = number(4000, 1), b = number(3990, 7), d = number(500, 1),
                      label = std::to_string(block);
    const std::vector<std::string> body = {
        "$L" + label + ":\n",
        "\tmad.lo.s32 \t%r" + a + ", %r" + b + ", 12, %r5;\n",
        "\tfma.rn.f32 \t%f" + a + ", %f" + b + ", 0f3F800000, %f9;\n",
        "\tld.global.v4.f32 \t{%f1, %f2, %f3, %f4}, [%rd" + d + "+16];\n",
        "\tsetp.lt.s32 \t%p2, %r" + a + ", 7;\n",
        block % 2 ? "\t@%p2 bra \t$L" + label + ";\n" : "\t@%p2 bra \t$LEND;\n",
        block % 40 ? "\tadd.s64 \t%rd" + d + ", %rd" + d + ", 64;\n" : wgmma};
    for (const std::string& line : body) {
      if (lines == kLines) break;
      text += line;
      ++lines;
    }
  }
  return text + "$LEND:\tret;\n}\n";
}

void load(benchmark::State& state) {
  const std::string text = generate();
  Memory memory(1);
  for (auto _ : state) {
    isa::Module module;
    std::vector<isa::Diagnostic> diagnostics;
    std::string log;
    std::unique_ptr<Program> program;
    if (isa::parse(text, module, diagnostics) == isa::Result::ok)
      program = Program::load(std::move(module), memory, 0, log);
    if (!program) {
      state.SkipWithError((isa::render(diagnostics) + log).c_str());
      break;
    }
    benchmark::DoNotOptimize(program->find_kernel("k"));
  }
  state.counters["lines"] = kLines;
  state.counters["bytes"] = static_cast<double>(text.size());
}
BENCHMARK(load)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace ptxops::virt

BENCHMARK_MAIN();
