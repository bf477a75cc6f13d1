// fp8_gemm in configurations that take every path: one and two math warpgroups, one and two waves, one and
// two scale rows, BF16 and FP32, whole tiles and tails, clusters, the three forms. A cluster takes at least
// nine tiles of several k-blocks, so that every slot of both rings is used again.
#include <fmt/format.h>

#include <memory>
#include <utility>

#include "tests/mutants/cases.h"
#include "tests/ptx/fp8_gemm_reference.h"

namespace ptxops::mutants {
namespace {

using test::GemmData;
using test::GemmProblem;
using test::GemmReference;

constexpr const char* kStage = "stage ring";
constexpr const char* kTile = "tile ring";
constexpr const char* kSlice = "D slice";
constexpr const char* kRegisters = "accumulators";
constexpr const char* kLaunch = "dependent launch";

std::vector<Protocol> protocols() {
  std::vector<Protocol> out;
  for (const char* text :
       {"SMEM_FULL", "SMEM_EMPTY", "_stage()", "load_a(", "load_b(", "mbar_wait(empty", "next_k_block(",
        "wgmma", "sfa", "cluster_barrier", "mbar_init_fence", "bar.sync 0;"})
    out.push_back({text, kStage});
  for (const char* text :
       {"SMEM_TILE", "publish_tile(", "fetch_tile()", "cluster_barrier", "mbar_init_fence", "bar.sync 0;"})
    out.push_back({text, kTile});
  for (const char* text : {"store_tile(", "bulk_wait"}) out.push_back({text, kSlice});
  for (const char* text : {"wgmma", "acc{{"}) out.push_back({text, kRegisters});
  for (const char* text : {"dependency_wait()", "ld.global", "st.global", "tensor_load", "tensor_store"})
    out.push_back({text, kLaunch});
  out.push_back({"setmaxnreg", "registers"});
  return out;
}

constexpr uint32_t kPoison = 0x7FC5A5C5;  // a NaN in both output types: what must not be written keeps it

template <class T>
std::string run(const GemmReference& reference, const Device& device, const Notes& notes) {
  const GemmProblem& p = reference.p;
  const GemmData& data = reference.data;
  const auto note = [&](const char* name) { return static_cast<uint32_t>(notes.at(name)); };
  const bool early = p.flags & 1;  // B, SFB and the tables are older than the launch before
  Memory memory(device);
  const uint64_t a = memory.input(data.a), b = memory.input(data.b, early), sfa = memory.input(data.sfa),
                 sfb = memory.input(data.sfb, early);
  const uint64_t begin = memory.input(p.form == 2 ? p.end : p.begin, early), end = memory.input(p.end, early);
  std::vector<T> expected(reference.value.size(), static_cast<T>(sizeof(T) == 4 ? kPoison : kPoison >> 16));
  const uint64_t d = memory.output(expected);
  for (size_t i = 0; i < expected.size(); ++i)
    if (reference.written[i])
      expected[i] = sizeof(T) == 4 ? static_cast<T>(std::bit_cast<uint32_t>(reference.value[i]))
                                   : static_cast<T>(test::to_bf16(reference.value[i]));

  const driver::Driver& driver = device.context().driver();
  const auto encode = [&](auto... arguments) {
    return driver::encode_tiled(driver, test::matrix(arguments...));
  };
  const auto uint8 = abi::CU_TENSOR_MAP_DATA_TYPE_UINT8;
  const auto tm_a = encode(uint8, a, p.k, data.rows, p.k, 128, note("a_box_rows"), 128);
  const auto tm_b = encode(uint8, b, p.k, uint64_t(data.groups) * p.n, p.k, 128, note("tile_n"), 128);
  const auto tm_sfa =
      encode(abi::CU_TENSOR_MAP_DATA_TYPE_FLOAT32, sfa, p.m,
             uint64_t(data.kblocks) * (p.form == 2 ? data.groups : 1), data.ld_sfa * 4, note("tile_m"), 1, 0);
  const auto tm_d =
      encode(sizeof(T) == 4 ? abi::CU_TENSOR_MAP_DATA_TYPE_FLOAT32 : abi::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, d,
             p.n, data.rows, data.ldd * sizeof(T), note("d_box_cols"), 64, note("d_swizzle_bytes"));
  memory.prime();
  device.kernel().set_max_dynamic_shared_bytes(static_cast<int>(note("smem_bytes")));
  driver::LaunchShape shape{.grid = {static_cast<uint32_t>(p.grid)}, .block = {note("threads")}};
  if (note("cluster") > 1) shape.cluster = {note("cluster"), 1, 1};
  shape.dynamic_shared_bytes = note("smem_bytes");
  shape.programmatic = true;
  driver::Launch launch(device.kernel(), shape);
  launch(nullptr, tm_a, tm_b, tm_sfa, tm_d, d, sfb, begin, end, uint32_t(p.m), uint32_t(p.n), uint32_t(p.k),
         uint32_t(data.groups), uint32_t(data.ldd), p.raster, p.flags);
  device.context().synchronize();
  return memory.compare("D", d, expected);
}

struct Shape {
  int form, out, block_m, block_n, cluster, stages;
};

void add(std::vector<Case>& cases, const std::string& name, const Shape& s,
         const std::vector<GemmProblem>& problems) {
  Case c{.name = "fp8_gemm/" + name,
         .path = "gemm/fp8_gemm.ptx",
         .params = {{"FORM", s.form},
                    {"OUT", s.out},
                    {"BLOCK_M", s.block_m},
                    {"BLOCK_N", s.block_n},
                    {"CLUSTER", s.cluster},
                    {"STAGES", s.stages}},
         .protocols = protocols(),
         .problems = {}};
  for (const GemmProblem& p : problems) {
    const auto reference = std::make_shared<const GemmReference>(p);
    c.problems.push_back([reference, fp32 = s.out == 1](const Device& device, const Notes& notes) {
      return fp32 ? run<uint32_t>(*reference, device, notes) : run<uint16_t>(*reference, device, notes);
    });
  }
  cases.push_back(std::move(c));
}

}  // namespace

void add_gemm_cases(std::vector<Case>& cases, uint64_t seed) {
  // begin and end of groups with these numbers of rows, one behind the other
  const auto grouped = [&](GemmProblem p, std::initializer_list<int> rows) {
    p.form = 1;
    p.m = 0;
    for (const int r : rows) {
      p.begin.push_back(p.m);
      p.end.push_back(p.m += r);
    }
    p.m += 4;  // rows of no group
    p.seed = ++seed;
    return p;
  };
  const auto masked = [&](GemmProblem p, std::initializer_list<int> counts) {
    p.form = 2;
    p.end = counts;
    p.seed = ++seed;
    return p;
  };
  const auto dense = [&](GemmProblem p) {
    p.seed = ++seed;
    return p;
  };
  // The first problem laps both rings. In the second a tile is one k-block: the tile ring alone holds the
  // producer back. flags: 1 has the weights loaded early, without it everything comes from the launch before.
  add(cases, "dense 64x64", {0, 0, 64, 64, 1, 6},
      {dense({.m = 3 * 64 - 8, .n = 3 * 64 - 16, .k = 3 * 128, .grid = 1, .raster = 2, .flags = 0}),
       dense({.m = 3 * 64, .n = 4 * 64 - 8, .k = 128, .grid = 1, .raster = 8, .flags = 1}),
       dense({.m = 20, .n = 64, .k = 128, .grid = 2, .raster = 8, .flags = 1})});
  add(cases, "dense 128x96 cluster", {0, 1, 128, 96, 2, 6},
      {dense({.m = 3 * 128 - 50, .n = 5 * 96 - 8, .k = 2 * 128, .grid = 2, .raster = 1, .flags = 1}),
       dense({.m = 3 * 128, .n = 5 * 96, .k = 128, .grid = 2, .raster = 1, .flags = 2}),
       dense({.m = 60, .n = 200, .k = 128, .grid = 6, .raster = 1, .flags = 0})});
  add(cases, "dense 256x128 cluster", {0, 0, 256, 128, 2, 4},
      {dense({.m = 3 * 256 - 100, .n = 5 * 128, .k = 2 * 128, .grid = 2, .raster = 1, .flags = 3}),
       dense({.m = 2 * 256 + 4, .n = 5 * 128 - 8, .k = 128, .grid = 2, .raster = 8, .flags = 0})});
  add(cases, "grouped 128x64", {1, 0, 128, 64, 1, 4},
      {grouped({.n = 3 * 64 - 8, .k = 2 * 128, .grid = 1, .raster = 8, .flags = 1}, {0, 130, 127, 63}),
       grouped({.n = 3 * 64, .k = 128, .grid = 1, .raster = 8, .flags = 0}, {1, 0, 130, 9, 64})});
  add(cases, "grouped 256x64 cluster", {1, 0, 256, 64, 2, 5},
      {grouped({.n = 5 * 64 - 8, .k = 2 * 128, .grid = 2, .raster = 1, .flags = 0}, {0, 260, 126, 30}),
       grouped({.n = 5 * 64, .k = 128, .grid = 2, .raster = 8, .flags = 1}, {3, 0, 0, 129, 260})});
  add(cases, "masked 64x32", {2, 0, 64, 32, 1, 6},
      {masked({.m = 132, .n = 3 * 32 - 8, .k = 3 * 128, .grid = 1, .raster = 8, .flags = 0},
              {125, 0, 132, 60}),
       masked({.m = 72, .n = 3 * 32, .k = 128, .grid = 1, .raster = 8, .flags = 1}, {12, 3, 0, 70})});
  add(cases, "masked 128x192 cluster", {2, 1, 128, 192, 2, 4},
      {masked({.m = 132, .n = 3 * 192 - 16, .k = 2 * 128, .grid = 2, .raster = 1, .flags = 1},
              {62, 132, 0, 9}),
       masked({.m = 132, .n = 3 * 192, .k = 128, .grid = 2, .raster = 8, .flags = 0}, {12, 3, 7, 130})});
}

}  // namespace ptxops::mutants
