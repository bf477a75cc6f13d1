#include <chrono>
#include <cstdlib>
#include <cstring>
#include <future>

#include "driver/virtual/exec/engine.h"
#include "driver/virtual/isa/ir.h"
#include "driver/virtual/memory/memory.h"
#include "tests/driver/virtual/check/run_twin.h"
#include "tests/support/sanitizers.h"

namespace ptxops::virt::testing {
namespace {

// Far more than any kernel takes. Under ThreadSanitizer the spinning ones take minutes.
constexpr std::chrono::seconds kDeadline(test::kThreadSanitizer ? 3600 : 120);

// Two devices: the launch's own and a peer.
Memory& memory() {
  static Memory m(2);
  return m;
}

class Allocations {
 public:
  ~Allocations() {
    for (const uint64_t base : live_) memory().release(base);
  }
  uint64_t make(int device, const void* data, size_t bytes, bool written) {
    const Allocation* a =
        memory().allocate(device, bytes, device == kHostDevice ? "host" : "device", device != kHostDevice);
    std::memcpy(reinterpret_cast<void*>(a->base), data, bytes);
    if (written) mark_written(*a, a->base, bytes);
    live_.push_back(a->base);
    return a->base;
  }
  void free(uint64_t base) {
    memory().release(base);
    std::erase(live_, base);
  }

 private:
  std::vector<uint64_t> live_;
};

}  // namespace

Outcome run_on_engine(const Twin& twin, const std::string& ptx) {
  Outcome outcome;
  outcome.before = initial_contents(twin);
  isa::Module module;
  std::vector<isa::Diagnostic> diagnostics;
  if (isa::parse(ptx, module, diagnostics) != isa::Result::ok) {
    outcome.report = isa::render(diagnostics);
    return outcome;
  }
  auto program = Program::load(std::move(module), memory(), 0, outcome.report);
  if (!program) return outcome;

  Allocations allocations;
  std::map<std::string, uint64_t> address;
  for (const auto& p : twin.parameters) {
    if (p.kind != Twin::Parameter::Kind::buffer) continue;
    const int device = p.place == Twin::Place::host ? kHostDevice : p.place == Twin::Place::peer ? 1 : 0;
    address[p.name] =
        allocations.make(device, outcome.before[p.name].data(), p.bytes, p.fill != Twin::Fill::fresh);
  }
  for (const auto& p : twin.parameters) {
    if (p.kind != Twin::Parameter::Kind::map || !p.in_global) continue;
    const TensorMap m = map_at(p, address.at(p.of));
    address[p.name] = allocations.make(0, &m, sizeof m, true);
  }
  for (const auto& p : twin.parameters)
    if (p.place == Twin::Place::freed) allocations.free(address.at(p.name));

  const Twin::Launch& launch = twin.launches.front();
  LaunchDesc d;
  d.program = program.get();
  d.kernel = program->find_kernel(launch.entry);
  d.memory = &memory();
  d.grid = launch.grid, d.block = launch.block, d.cluster = launch.cluster;
  d.explicit_cluster = launch.cluster.count() > 1;
  d.dynamic_smem = launch.smem;
  d.params = parameter_block(twin, address);
  d.check = CheckLevel::full;
  if (!d.kernel || d.params.size() != d.kernel->param_bytes) {
    outcome.report =
        "no kernel " + launch.entry + " with " + std::to_string(d.params.size()) + " bytes of parameters";
    return outcome;
  }
  if (outcome.report = Engine::refuse(d); !outcome.report.empty()) return outcome;
  std::promise<LaunchResult> done;
  auto future = done.get_future();
  Engine::get().submit(std::move(d), [&](const LaunchResult& result) { done.set_value(result); });
  if (future.wait_for(kDeadline) != std::future_status::ready) {
    std::fprintf(stderr, "%s: the kernel neither ends nor is reported\n", twin.name.c_str());
    std::abort();  // nothing can stop the grid
  }
  const LaunchResult result = future.get();
  outcome.ran = true;
  outcome.report = result.fault.text;
  if (result.fault.kind != FaultKind::none) {
    outcome.code = rule(result.fault.id).code;
    const Finding& f = result.fault.finding;
    for (int i = 0; i < f.site_count; ++i) outcome.lines.insert(f.sites[i].line);
  }
  for (const auto& p : twin.parameters) {
    if (p.kind != Twin::Parameter::Kind::buffer || p.place == Twin::Place::freed) continue;
    auto& words = outcome.after[p.name];
    words.resize(p.bytes / 4);
    std::memcpy(words.data(), reinterpret_cast<const void*>(address.at(p.name)), words.size() * 4);
  }
  return outcome;
}

}  // namespace ptxops::virt::testing
