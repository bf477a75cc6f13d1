// fp8_gemm on data whose exact result is representable: small integers and short scales, so that every
// rounding of the kernel's arithmetic is exact and the expected bits follow from FP64. Any wrong index,
// scale, mask or race shows.
#include <fmt/format.h>

#include <algorithm>

#include "driver/jit/head.h"
#include "tests/ptx/device.h"
#include "tests/ptx/fp8_gemm_reference.h"

namespace ptxops::test {
namespace {

constexpr const char* kPath = "gemm/fp8_gemm.ptx";
constexpr uint32_t kPoison = 0x7FC5A5C5;  // a NaN in both output types: what must not be written keeps it

using Problem = GemmProblem;
using Reference = GemmReference;

void run(const LoadedKernel& loaded, bool fp32, const Reference& reference) {
  const driver::Context::Guard current(context());
  const Problem& p = reference.p;
  const GemmData& data = reference.data;
  SCOPED_TRACE(fmt::format("form {} m {} n {} k {} seed {}", p.form, p.m, p.n, p.k, p.seed));
  const Input<uint8_t> a(data.a), b(data.b);
  const Input<float> sfa(data.sfa), sfb(data.sfb);
  const Input<int32_t> begin(p.form == 2 ? p.end : p.begin), end(p.end);
  const size_t elements = size_t(data.rows) * data.ldd;
  const int out_bytes = fp32 ? 4 : 2;
  std::vector<uint8_t> poisoned(elements * out_bytes);
  for (size_t i = 0; i < elements; ++i)
    if (fp32)
      std::memcpy(&poisoned[4 * i], &kPoison, 4);
    else
      std::memcpy(&poisoned[2 * i], reinterpret_cast<const uint8_t*>(&kPoison) + 2, 2);
  const Guarded<uint8_t> d(poisoned);

  const driver::Driver& driver = context().driver();
  const auto tm_a = driver::encode_tiled(driver, matrix(abi::CU_TENSOR_MAP_DATA_TYPE_UINT8, a.address(), p.k,
                                                        data.rows, p.k, 128, loaded.note("a_box_rows"), 128));
  const auto tm_b =
      driver::encode_tiled(driver, matrix(abi::CU_TENSOR_MAP_DATA_TYPE_UINT8, b.address(), p.k,
                                          uint64_t(data.groups) * p.n, p.k, 128, loaded.note("tile_n"), 128));
  const auto tm_sfa =
      driver::encode_tiled(driver, matrix(abi::CU_TENSOR_MAP_DATA_TYPE_FLOAT32, sfa.address(), p.m,
                                          uint64_t(data.kblocks) * (p.form == 2 ? data.groups : 1),
                                          data.ld_sfa * 4, loaded.note("tile_m"), 1, 0));
  const auto tm_d = driver::encode_tiled(
      driver, matrix(fp32 ? abi::CU_TENSOR_MAP_DATA_TYPE_FLOAT32 : abi::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                     d.address(), p.n, data.rows, uint64_t(data.ldd) * out_bytes, loaded.note("d_box_cols"),
                     64, loaded.note("d_swizzle_bytes")));
  loaded.kernel.set_max_dynamic_shared_bytes(static_cast<int>(loaded.note("smem_bytes")));
  const uint32_t cluster = loaded.note("cluster");
  driver::LaunchShape shape{.grid = {static_cast<uint32_t>(p.grid)}, .block = {loaded.note("threads")}};
  if (cluster > 1) shape.cluster = {cluster, 1, 1};
  shape.dynamic_shared_bytes = loaded.note("smem_bytes");
  driver::Launch launch(loaded.kernel, shape);
  launch(nullptr, tm_a, tm_b, tm_sfa, tm_d, d.address(), sfb.address(), begin.address(), end.address(),
         uint32_t(p.m), uint32_t(p.n), uint32_t(p.k), uint32_t(data.groups), uint32_t(data.ldd), p.raster,
         p.flags);
  context().synchronize();

  const std::vector<uint8_t> got = d.download();
  int faults = 0;
  for (size_t i = 0; i < elements && faults < 8; ++i) {
    uint32_t want = 0, have = 0;
    const float value = reference.value[i];
    std::memcpy(&want, &poisoned[i * out_bytes], out_bytes);
    if (reference.written[i]) want = fp32 ? std::bit_cast<uint32_t>(value) : to_bf16(value);
    std::memcpy(&have, &got[i * out_bytes], out_bytes);
    if (want == have) continue;
    ++faults;
    ADD_FAILURE() << fmt::format("row {} column {}: {:#x}, expected {:#x}", i / data.ldd, i % data.ldd, have,
                                 want);
  }
}
void run(const LoadedKernel& loaded, bool fp32, const Problem& p) {
  run(loaded, fp32, Reference(p));
}

// Forms of a problem: rows of every length around the tile edges.
Problem small_problem(int form, uint64_t seed) {
  Problem p{.form = form, .m = 200, .n = 328, .k = 384, .seed = seed};
  if (form == 1) {
    const int lengths[] = {0, 1, 63, 0, 64, 65, 130, 7};
    p.m = 0;
    for (const int length : lengths) {
      p.begin.push_back(p.m);
      p.end.push_back(p.m += length);
    }
    p.m += 5;  // rows of no group
  }
  if (form == 2) {
    p.m = 150;
    p.end = {3, 0, 150, 64, 129};
  }
  return p;
}

class Fp8Gemm : public testing::TestWithParam<int> {};

// The whole domain, one small problem each: every tile shape, both outputs, the three forms.
TEST_P(Fp8Gemm, IsExactInEveryConfiguration) {
  const jit::KernelHead head = jit::parse_head(kPath);
  const Reference reference(small_problem(GetParam(), 11));
  for (const jit::Config& config : jit::enumerate(head)) {
    const jit::Params params = head.named(config);
    if (params.at("FORM") != GetParam()) continue;
    std::string name;
    for (const auto& [key, value] : params) name += fmt::format(" {}={}", key, value);
    SCOPED_TRACE(name);
    const LoadedKernel loaded(kPath, params);
    run(loaded, params.at("OUT") == 1, reference);
    if (HasFailure()) return;
  }
}
INSTANTIATE_TEST_SUITE_P(Forms, Fp8Gemm, testing::Values(0, 1, 2));

jit::Params config(int form, int out, int block_m, int block_n, int cluster) {
  const jit::KernelHead head = jit::parse_head(kPath);
  jit::Params best;
  for (const jit::Config& c : jit::enumerate(head)) {  // the last has the most stages
    jit::Params params = head.named(c);
    if (params.at("FORM") == form && params.at("OUT") == out && params.at("BLOCK_M") == block_m &&
        params.at("BLOCK_N") == block_n && params.at("CLUSTER") == cluster)
      best = params;
  }
  return best;
}

TEST(Fp8GemmShapes, LongKCrossesTheScaleSpans) {
  for (const int block_n : {112, 128}) {
    const LoadedKernel loaded(kPath, config(0, 1, 128, block_n, 1));
    run(loaded, true, {.m = 70, .n = 136, .k = 128 * 37, .grid = 2});
  }
}

TEST(Fp8GemmShapes, SmallestAndOneBlock) {
  const LoadedKernel loaded(kPath, config(0, 0, 64, 16, 1));
  run(loaded, false, {.m = 1, .n = 8, .k = 128, .grid = 3});
  run(loaded, false, {.m = 64, .n = 16, .k = 128, .grid = 1});
}

TEST(Fp8GemmShapes, RasterAndFlagsDoNotMatter) {
  const LoadedKernel loaded(kPath, config(1, 0, 128, 96, 2));
  for (const uint32_t raster : {1u, 2u, 100u})
    for (const uint32_t flags : {0u, 1u, 2u, 3u}) {
      Problem p = small_problem(1, 5);
      p.raster = raster;
      p.flags = flags;
      p.grid = 4;
      run(loaded, false, p);
    }
}

TEST(Fp8GemmShapes, ManyGroups) {
  const LoadedKernel loaded(kPath, config(1, 0, 64, 32, 1));
  Problem p{.form = 1, .n = 40, .k = 128, .grid = 5};
  Random random{3};
  for (int g = 0; g < 100; ++g) {
    p.begin.push_back(p.m);
    p.m += static_cast<int>(random.between(0, 3)) * static_cast<int>(random.between(0, 2));
    p.end.push_back(p.m);
  }
  run(loaded, false, p);
}

TEST(Fp8GemmShapes, CorruptTablesStayInside) {
  const LoadedKernel loaded(kPath, config(1, 0, 64, 64, 1));
  run(loaded, false,
      {.form = 1,
       .m = 90,
       .n = 64,
       .k = 128,
       .begin = {-50, 20, 60, 1 << 30},
       .end = {10, 5, 5000, INT32_MAX}});
  const LoadedKernel masked(kPath, config(2, 0, 64, 64, 1));
  run(masked, false, {.form = 2, .m = 20, .n = 64, .k = 128, .end = {-1, 1000, INT32_MIN, INT32_MAX, 7}});
}

}  // namespace
}  // namespace ptxops::test
