// Runs PTX text on the engine itself, without the driver API.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <future>
#include <string>
#include <vector>

#include "driver/virtual/exec/engine.h"
#include "driver/virtual/isa/ir.h"
#include "driver/virtual/memory/memory.h"

namespace ptxops::virt::testing {

inline Memory& memory() {
  static Memory m(1);
  return m;
}

// Device memory filled with 32-bit words; freed with the object.
struct Buffer {
  explicit Buffer(size_t words, uint32_t value = 0xdeadbeef) : words(words) {
    allocation = memory().allocate(0, words * 4);
    for (size_t i = 0; i < words; ++i) data()[i] = value;
    mark_written(*allocation, allocation->base, allocation->size);
  }
  ~Buffer() { memory().release(allocation->base); }
  uint32_t* data() const { return reinterpret_cast<uint32_t*>(allocation->base); }
  uint32_t operator[](size_t i) const { return data()[i]; }
  uint64_t address() const { return allocation->base; }
  size_t words;
  const Allocation* allocation;
};

inline std::string header() {
  return ".version 8.0\n.target sm_90a\n.address_size 64\n";
}

// A kernel with one u64 parameter `out`, already in %out.
inline std::string kernel(const std::string& body) {
  return header() + ".visible .entry k(.param .u64 out)\n{\n.reg .b64 %out;\nld.param.u64 %out, [out];\n" +
         body + "\nret;\n}\n";
}

struct Run {
  Dim3 grid{1, 1, 1}, block{32, 1, 1}, cluster{1, 1, 1};
  uint32_t dynamic_smem = 0;
};

inline LaunchResult run(const std::string& ptx, std::vector<uint64_t> params, const Run& r = {},
                        const char* name = "k") {
  isa::Module module;
  std::vector<isa::Diagnostic> diagnostics;
  if (isa::parse(ptx, module, diagnostics) != isa::Result::ok) {
    ADD_FAILURE() << isa::render(diagnostics);
    return {};
  }
  std::string log;
  auto program = Program::load(std::move(module), memory(), 0, log);
  if (!program) {
    ADD_FAILURE() << log;
    return {};
  }
  LaunchDesc d;
  d.program = program.get();
  d.kernel = program->find_kernel(name);
  d.memory = &memory();
  d.grid = r.grid, d.block = r.block, d.cluster = r.cluster, d.dynamic_smem = r.dynamic_smem;
  d.params.resize(params.size() * 8);
  std::memcpy(d.params.data(), params.data(), d.params.size());
  EXPECT_EQ(Engine::refuse(d), "");
  std::promise<LaunchResult> done;
  Engine::get().submit(std::move(d), [&](const LaunchResult& result) { done.set_value(result); });
  return done.get_future().get();
}

}  // namespace ptxops::virt::testing
