// PTX text: parse, validate, decode, place in device memory. Never runs it.
#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "driver/virtual/exec/engine.h"
#include "driver/virtual/exec/program.h"
#include "driver/virtual/isa/ir.h"
#include "driver/virtual/memory/memory.h"
#include "tests/fuzz/target.h"

namespace ptxops::fuzz {
namespace {

void check_diagnostics(const std::vector<virt::isa::Diagnostic>& diagnostics, std::string_view text) {
  const int lines = 1 + static_cast<int>(std::count(text.begin(), text.end(), '\n'));
  FUZZ_CHECK(!diagnostics.empty() && diagnostics.size() <= 20, std::to_string(diagnostics.size()));
  for (const auto& d : diagnostics) {
    FUZZ_CHECK(d.line >= 0 && d.line <= lines, fmt::format("line {} of {}", d.line, lines));
    FUZZ_CHECK(!d.text.empty(), "");
  }
}

void load(Bytes input) {
  static virt::Memory memory(1);
  const std::string text(input.begin(), input.end());
  virt::isa::Module module;
  std::vector<virt::isa::Diagnostic> diagnostics;
  if (virt::isa::parse(text, module, diagnostics) != virt::isa::Result::ok)
    return check_diagnostics(diagnostics, text);
  FUZZ_CHECK(diagnostics.empty(), virt::isa::render(diagnostics));
  {
    std::string log;
    const auto program = virt::Program::load(std::move(module), memory, 0, log);
    FUZZ_CHECK(!!program || !log.empty(), "refused without a reason");
    if (!program) return FUZZ_CHECK(memory.used_bytes(0) == 0, "a refused program keeps memory");
    for (const auto& kernel : program->kernels()) {
      virt::LaunchDesc launch;
      launch.program = program.get();
      launch.kernel = kernel.get();
      launch.memory = &memory;
      launch.grid = launch.cluster = {1, 1, 1};
      launch.block = {128, 1, 1};
      launch.params.resize(kernel->param_bytes);
      virt::Engine::refuse(launch);
      virt::Engine::ctas_per_sm(*kernel, 128, 0);
    }
  }
  FUZZ_CHECK(memory.used_bytes(0) == 0, "an unloaded program keeps memory");
}

const Registration registration("ptx_loader", load, true);

}  // namespace
}  // namespace ptxops::fuzz
