// Speed of the virtual device's ALU on one core: dispatch and handler, without the scheduler. Each benchmark
// is a straight line of one instruction, or of a mix, over one warp. Measured on the CPU; says nothing about
// a GPU.
#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>

#include "driver/virtual/exec/machine.h"
#include "driver/virtual/exec/program.h"
#include "driver/virtual/memory/memory.h"

namespace ptxops::virt {
namespace {

constexpr int kRegisters = 16;  // of each kind

Memory& memory() {
  static Memory m(1);
  return m;
}

// "$" in an instruction is a register number that changes from copy to copy.
std::string unroll(const std::string& instructions, int copies) {
  std::string body;
  for (int k = 0; k < copies; ++k) {
    int salt = k;
    for (char c : instructions) {
      if (c == '$')
        body += std::to_string((salt++ * 5 + 3) % kRegisters);
      else
        body += c;
    }
    body += '\n';
  }
  return body;
}

void run(benchmark::State& state, const std::string& instructions) {
  const std::string ptx =
      ".version 8.0\n.target sm_90a\n.address_size 64\n.visible .entry k()\n{\n.reg .b32 %r<16>; .reg .b64 "
      "%d<16>;\n"
      ".reg .f32 %f<16>; .reg .b16 %h<16>; .reg .pred %p<16>;\n" +
      unroll(instructions, 64) + "ret;\n}\n";
  isa::Module module;
  std::vector<isa::Diagnostic> diagnostics;
  if (isa::parse(ptx, module, diagnostics) != isa::Result::ok) {
    std::fprintf(stderr, "%s", isa::render(diagnostics).c_str());
    std::abort();
  }
  std::string log;
  const auto program = Program::load(std::move(module), memory(), 0, log);
  if (!program) {
    std::fprintf(stderr, "%s", log.c_str());
    std::abort();
  }
  const Code& code = *program->find_kernel("k")->code;
  const size_t bytes = (code.frame_bytes + 63) / 64 * 64;
  std::byte* frame = static_cast<std::byte*>(std::aligned_alloc(64, bytes));
  std::mt19937 random(1);
  for (size_t i = 0; i < bytes; ++i) frame[i] = static_cast<std::byte>(random());
  Warp w;
  w.regs = frame;
  w.present = w.mask = kAllLanes;
  w.pred(0) = kAllLanes;
  for (const ConstantSlot& c : code.constants) {
    if (c.bytes == 4) std::fill_n(w.reg<uint32_t>(c.offset), kLanes, static_cast<uint32_t>(c.value));
  }
  const Op* const begin = code.ops.data();
  const Op* const end = begin + code.ops.size() - 2;  // ret and the end of the text
  for (auto _ : state) {
    for (const Op* pc = begin; pc != end; ++pc) {
      const uint32_t lanes = w.mask & (w.pred(pc->guard) ^ pc->guard_flip);
      w.clock += pc->cost;
      if (lanes && pc->fn(w, *pc, lanes) != Step::next) std::abort();
    }
    benchmark::ClobberMemory();
  }
  std::free(frame);
  state.counters["warp_instructions/s"] =
      benchmark::Counter(static_cast<double>(state.iterations()) * static_cast<double>(end - begin),
                         benchmark::Counter::kIsRate);
}

// What the address and loop code around a GEMM or an attention kernel looks like.
const char* const kMix =
    "add.s32 %r$, %r$, %r$; mad.lo.s32 %r$, %r$, %r$, %r$; and.b32 %r$, %r$, 31; shl.b32 %r$, %r$, 3;\n"
    "setp.lt.s32 %p$, %r$, %r$; selp.b32 %r$, %r$, %r$, %p$; add.s64 %d$, %d$, %d$; mul.wide.u32 %d$, %r$, "
    "%r$;\n"
    "fma.rn.f32 %f$, %f$, %f$, %f$; mul.f32 %f$, %f$, %f$; add.f32 %f$, %f$, %f$; max.f32 %f$, %f$, %f$;\n"
    "cvt.rn.bf16x2.f32 %r$, %f$, %f$; mov.b32 %r$, %r$; xor.b32 %r$, %r$, %r$; lop3.b32 %r$, %r$, %r$, %r$, "
    "0x96;";

const std::pair<const char*, const char*> kCases[] = {
    {"mix", kMix},
    {"add.s32", "add.s32 %r$, %r$, %r$;"},
    {"guarded add.s32", "@%p$ add.s32 %r$, %r$, %r$;"},
    {"add.s64", "add.s64 %d$, %d$, %d$;"},
    {"mad.lo.s32", "mad.lo.s32 %r$, %r$, %r$, %r$;"},
    {"mul.wide.u32", "mul.wide.u32 %d$, %r$, %r$;"},
    {"mul.hi.u32", "mul.hi.u32 %r$, %r$, %r$;"},
    {"div.u32", "div.u32 %r$, %r$, %r$;"},
    {"min.s32", "min.s32 %r$, %r$, %r$;"},
    {"xor.b32", "xor.b32 %r$, %r$, %r$;"},
    {"lop3.b32", "lop3.b32 %r$, %r$, %r$, %r$, 0x96;"},
    {"shl.b32", "shl.b32 %r$, %r$, %r$;"},
    {"shf.l.wrap.b32", "shf.l.wrap.b32 %r$, %r$, %r$, %r$;"},
    {"prmt.b32", "prmt.b32 %r$, %r$, %r$, 0x5410;"},
    {"mov.b32", "mov.b32 %r$, %r$;"},
    {"mov.b64 pack", "mov.b64 %d$, {%r$, %r$};"},
    {"mov.b32 unpack", "mov.b32 {%h$, %h$}, %r$;"},
    {"setp.lt.s32", "setp.lt.s32 %p$, %r$, %r$;"},
    {"setp.lt.f32", "setp.lt.f32 %p$, %f$, %f$;"},
    {"selp.b32", "selp.b32 %r$, %r$, %r$, %p$;"},
    {"and.pred", "and.pred %p$, %p$, %p$;"},
    {"add.f32", "add.f32 %f$, %f$, %f$;"},
    {"fma.rn.f32", "fma.rn.f32 %f$, %f$, %f$, %f$;"},
    {"fma.rn.ftz.f32", "fma.rn.ftz.f32 %f$, %f$, %f$, %f$;"},
    {"max.f32", "max.f32 %f$, %f$, %f$;"},
    {"fma.rn.bf16x2", "fma.rn.bf16x2 %r$, %r$, %r$, %r$;"},
    {"fma.rn.f16x2", "fma.rn.f16x2 %r$, %r$, %r$, %r$;"},
    {"ex2.approx.ftz.f32", "ex2.approx.ftz.f32 %f$, %f$;"},
    {"rcp.approx.ftz.f32", "rcp.approx.ftz.f32 %f$, %f$;"},
    {"cvt.rn.f32.s32", "cvt.rn.f32.s32 %f$, %r$;"},
    {"cvt.rzi.s32.f32", "cvt.rzi.s32.f32 %r$, %f$;"},
    {"cvt.f32.f16", "cvt.f32.f16 %f$, %h$;"},
    {"cvt.rn.bf16x2.f32", "cvt.rn.bf16x2.f32 %r$, %f$, %f$;"},
    {"cvt.rn.f16x2.f32", "cvt.rn.f16x2.f32 %r$, %f$, %f$;"},
    {"cvt.rn.satfinite.e4m3x2.f32", "cvt.rn.satfinite.e4m3x2.f32 %h$, %f$, %f$;"},
    {"cvt.u64.u32", "cvt.u64.u32 %d$, %r$;"},
};

}  // namespace
}  // namespace ptxops::virt

int main(int argc, char** argv) {
  for (const auto& [name, text] : ptxops::virt::kCases) {
    benchmark::RegisterBenchmark(
        name, [text = std::string(text)](benchmark::State& s) { ptxops::virt::run(s, text); });
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
