// Speed of the virtual device's wgmma, measured on this CPU: exact multiply-adds a second of one core, all
// that the executor does for them included. A CTA of one warpgroup runs as the scheduler runs it: each round
// a bulk copy brings four stages of fresh tiles, as in a GEMM's main loop, and sixteen m64n256 wgmmas follow.
// Each benchmark first checks every result of two rounds against the scalar rule, and fails if one differs.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <cstring>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "driver/virtual/exec/grid.h"
#include "driver/virtual/exec/program.h"
#include "driver/virtual/memory/memory.h"
#include "driver/virtual/numerics/tensor_core.h"

namespace ptxops::virt {
namespace {

using numerics::AccType;
using numerics::MmaShape;
using numerics::MmaType;

// Tiles K-major with rows of 128 bytes, swizzled: four steps of 32 bytes of K.
constexpr int kM = 64, kN = 256, kThreads = 128, kRegisters = kN / 2;
constexpr int kStages = 4, kSteps = 4, kRow = 128;
constexpr int kStageBytes = (kM + kN) * kRow, kRoundBytes = kStages * kStageBytes;
constexpr int kRounds = 16;

struct Operands {
  const char *name, *types;  // of D, A, B
  const char* scales;        // the immediates behind scale-d
  MmaType type;
  AccType acc;
};
constexpr Operands kOperands[] = {
    {"bf16_f32", "f32.bf16.bf16", ", 1, 1, 0, 0", MmaType::bf16, AccType::f32},
    {"f16_f32", "f32.f16.f16", ", 1, 1, 0, 0", MmaType::f16, AccType::f32},
    {"tf32_f32", "f32.tf32.tf32", ", 1, 1", MmaType::tf32, AccType::f32},
    {"e4m3_f32", "f32.e4m3.e4m3", ", 1, 1", MmaType::e4m3, AccType::f32},
    {"s8_s32", "s32.s8.s8", "", MmaType::s8, AccType::s32},
};

std::string kernel_text(const Operands& o) {
  std::string d, stores, steps;
  for (int r = 0; r < kRegisters; ++r) {
    d += fmt::format("{}d{}", r ? ", " : "", r);
    stores += fmt::format("st.global.b32 [out + {}], d{};\n", 4 * r, r);
  }
  for (int stage = 0; stage < kStages; ++stage)
    for (int step = 0; step < kSteps; ++step)
      steps += fmt::format(
          "add.s64 da, desc, {};\nadd.s64 db, desc, {};\n"
          "wgmma.mma_async.sync.aligned.m64n{}k{}.{} {{{}}}, da, db, accumulate{};\n"
          "setp.eq.u32 accumulate, 0, 0;\n",
          (stage * kStageBytes + step * 32) / 16, (stage * kStageBytes + kM * kRow + step * 32) / 16, kN,
          numerics::mma_k(o.type), o.types, d, o.scales);
  return fmt::format(R"(.version 8.0
.target sm_90a
.address_size 64
.extern .shared .align 1024 .b8 tiles[];
.visible .entry k(.param .u64 data_, .param .u64 out_, .param .u32 rounds_)
{{
.reg .pred accumulate, more, leader, done, kept;
.reg .b32 me, start, bar, round, rounds, parity, offset;
.reg .b64 data, out, desc, da, db, from, wide;
.reg .{0} d<{1}>;
ld.param.u64 data, [data_];
ld.param.u64 out, [out_];
ld.param.u32 rounds, [rounds_];
mov.u32 me, %tid.x;
setp.eq.u32 leader, me, 0;
setp.ne.u32 accumulate, 0, 0;
mov.u32 start, tiles;
add.u32 bar, start, {2};
@leader mbarrier.init.shared.b64 [bar], 1;
bar.sync 0;
// 128-byte swizzle, 1024 bytes from one group of 8 rows to the next.
shr.u32 offset, start, 4;
cvt.u64.u32 desc, offset;
or.b64 desc, desc, {3};
mov.u32 round, 0;
LOOP:
and.b32 parity, round, 1;
mul.wide.u32 from, parity, {2};
add.s64 from, data, from;
@leader mbarrier.arrive.expect_tx.shared.b64 _, [bar], {2};
@leader cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [start], [from], {2}, [bar];
WAIT:
mbarrier.try_wait.parity.shared.b64 done, [bar], parity;
@!done bra WAIT;
wgmma.fence.sync.aligned;
{4}wgmma.commit_group.sync.aligned;
wgmma.wait_group.sync.aligned 0;
bar.sync 0;
add.u32 round, round, 1;
setp.lt.u32 more, round, rounds;
@more bra LOOP;
setp.eq.u64 kept, out, 0;
@kept bra END;
mul.wide.u32 wide, me, {5};
add.s64 out, out, wide;
{6}END:
ret;
}}
)",
                     o.acc == AccType::f32 ? "f32" : "b32", kRegisters, kRoundBytes,
                     uint64_t{1} << 62 | uint64_t{1024 / 16} << 32 | uint64_t{1} << 16, steps, 4 * kRegisters,
                     stores);
}

Memory& memory() {
  static Memory m(1);
  return m;
}

struct Buffer {
  explicit Buffer(size_t bytes) : allocation(memory().allocate(0, bytes)) {
    if (!allocation) throw std::runtime_error("no memory");
    std::memset(data(), 0, bytes);
    mark_written(*allocation, allocation->base, allocation->size);
  }
  ~Buffer() { memory().release(allocation->base); }
  std::byte* data() const { return reinterpret_cast<std::byte*>(allocation->base); }
  uint64_t address() const { return allocation->base; }
  const Allocation* allocation;
};

// Finite operands of moderate size: exponents vary, Inf and NaN do not occur.
void fill(std::byte* out, size_t bytes, MmaType type) {
  std::mt19937 rng(2024);
  std::normal_distribution<float> normal;
  for (size_t i = 0; i < bytes; i += 4) {
    const float x = normal(rng), y = normal(rng);
    uint32_t xb, yb;
    std::memcpy(&xb, &x, 4);
    std::memcpy(&yb, &y, 4);
    uint32_t bits = rng();  // integers
    if (type == MmaType::tf32) bits = xb;
    if (type == MmaType::bf16) bits = (xb >> 16) | (yb & 0xFFFF0000u);
    if (type == MmaType::f16) bits &= 0xBFFFBFFFu;
    if (type == MmaType::e4m3) bits &= 0xBFBFBFBFu;
    std::memcpy(out + i, &bits, 4);
  }
}

// Runs the kernel on this thread.
void run(const Program& program, uint64_t data, uint64_t out, uint32_t rounds) {
  Grid grid;
  grid.desc.program = &program;
  grid.desc.kernel = program.find_kernel("k");
  grid.desc.memory = &memory();
  grid.desc.block = {kThreads, 1, 1};
  grid.desc.dynamic_smem = kRoundBytes + 8;
  grid.smem_bytes = grid.desc.kernel->static_smem + grid.desc.dynamic_smem;
  grid.clusters_total = 1;
  grid.durations.assign(1, 0);
  const Buffer params(20);
  std::memcpy(params.data(), &data, 8);
  std::memcpy(params.data() + 8, &out, 8);
  std::memcpy(params.data() + 16, &rounds, 4);
  grid.params = params.address();
  const auto cluster = make_cluster(grid, 0);
  const ClusterState state = run_cluster(*cluster);
  if (const Fault fault = grid.take_fault(); fault.kind != FaultKind::none)
    throw std::runtime_error(fault.text);
  if (state != ClusterState::finished) throw std::runtime_error("the kernel did not finish");
}

// The 32 bytes of K of a step, row by row, out of a swizzled tile.
std::vector<std::byte> rows_of(const std::byte* tile, int rows, int step) {
  std::vector<std::byte> out(static_cast<size_t>(rows) * 32);
  for (int r = 0; r < rows; ++r)
    for (int half = 0; half < 2; ++half)
      std::memcpy(&out[r * 32 + 16 * half], tile + r * kRow + ((2 * step + half) ^ r % 8) * 16, 16);
  return out;
}

// Whether D of two rounds is what the scalar rule gives.
bool is_right(const Operands& o, const std::byte* data, const std::byte* fragments) {
  MmaShape shape{.m = kM, .n = kN, .k = numerics::mma_k(o.type), .a = o.type, .b = o.type, .d = o.acc};
  std::vector<std::byte> d(static_cast<size_t>(kM) * kN * 4);
  shape.accumulate = false;
  for (int stage = 0; stage < 2 * kStages; ++stage)
    for (int step = 0; step < kSteps; ++step) {
      const std::byte* tiles = data + stage * kStageBytes;
      numerics::mma_scalar(shape, rows_of(tiles, kM, step).data(),
                           rows_of(tiles + kM * kRow, kN, step).data(), d.data());
      shape.accumulate = true;
    }
  for (int t = 0; t < kThreads; ++t)
    for (int r = 0; r < kRegisters; ++r) {
      const int row = t / 32 * 16 + t % 32 / 4 + 8 * (r / 2 % 2), column = r / 4 * 8 + t % 4 * 2 + r % 2;
      if (std::memcmp(fragments + 4 * (t * kRegisters + r), &d[4 * (row * kN + column)], 4)) return false;
    }
  return true;
}

void wgmma(benchmark::State& state, const Operands& o) {
  isa::Module module;
  std::vector<isa::Diagnostic> diagnostics;
  if (isa::parse(kernel_text(o), module, diagnostics) != isa::Result::ok)
    return state.SkipWithError(isa::render(diagnostics).c_str());
  std::string log;
  const auto program = Program::load(std::move(module), memory(), 0, log);
  if (!program) return state.SkipWithError(log.c_str());
  const Buffer data(2 * kRoundBytes), out(kThreads * kRegisters * 4);
  fill(data.data(), 2 * kRoundBytes, o.type);
  try {
    run(*program, data.address(), out.address(), 2);
    if (!is_right(o, data.data(), out.data()))
      return state.SkipWithError("a result differs from the scalar rule");
    for (auto _ : state) run(*program, data.address(), 0, kRounds);
  } catch (const std::runtime_error& e) {
    return state.SkipWithError(e.what());
  }
  const double macs = double{kRounds} * kStages * kSteps * kM * kN * numerics::mma_k(o.type);
  state.counters["GMAC/s"] =
      benchmark::Counter(macs * 1e-9 * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
  state.SetLabel(numerics::mma_target());
}

}  // namespace
}  // namespace ptxops::virt

int main(int argc, char** argv) {
  using namespace ptxops::virt;
  for (const Operands& o : kOperands)
    benchmark::RegisterBenchmark(fmt::format("wgmma/{}", o.name).c_str(), [&o](benchmark::State& s) {
      wgmma(s, o);
    })->Unit(benchmark::kMillisecond);
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
