// fp8_gemm on data whose exact result is representable: small integers and short scales, so that every
// rounding of the kernel's arithmetic is exact and the expected bits follow from FP64. Any wrong index,
// scale, mask or race shows.
#include <fmt/format.h>

#include <algorithm>

#include "driver/jit/head.h"
#include "tests/ptx/device.h"

namespace ptxops::test {
namespace {

constexpr const char* kPath = "gemm/fp8_gemm.ptx";
constexpr uint32_t kPoison = 0x7FC5A5C5;  // a NaN in both output types: what must not be written keeps it

struct Problem {
  int form = 0;
  int m = 0, n = 0, k = 0;                    // m: rows of A, or max_m
  std::vector<int32_t> begin = {}, end = {};  // form 1: rows; form 2: end holds counts
  int grid = 6;
  uint32_t raster = 8, flags = 1;
  uint64_t seed = 1;
};

// Values whose products and sums stay exact: |a|, |b| <= 3; scales with two significant bits from 1/4 to 3.
struct Data {
  int rows, groups, kblocks, nblocks, ld_sfa, ldd;
  std::vector<uint8_t> a, b;
  std::vector<float> sfa, sfb;

  explicit Data(const Problem& p) {
    Random random{p.seed};
    groups = p.form == 0 ? 1 : static_cast<int>(p.end.size());
    rows = p.form == 2 ? groups * p.m : p.m;
    kblocks = p.k / 128;
    nblocks = (p.n + 127) / 128;
    ld_sfa = (p.m + 3) / 4 * 4;
    ldd = p.n + 8;
    const auto small = [&] { return e4m3(static_cast<double>(random.between(-3, 3))); };
    const auto scale = [&] {
      return std::ldexp(static_cast<float>(random.between(2, 3)), static_cast<int>(random.between(-3, 0)));
    };
    a.resize(size_t(rows) * p.k);
    std::generate(a.begin(), a.end(), small);
    b.resize(size_t(groups) * p.n * p.k);
    std::generate(b.begin(), b.end(), small);
    sfa.resize(size_t(p.form == 2 ? groups : 1) * kblocks * ld_sfa);
    std::generate(sfa.begin(), sfa.end(), scale);
    sfb.resize(size_t(groups) * nblocks * kblocks);
    std::generate(sfb.begin(), sfb.end(), scale);
  }

  // D[row][0..n): row belongs to group g, at place `at` of its scales
  void product(const Problem& p, int row, int g, int at, std::vector<double>& out) const {
    const float* scales = &sfa[size_t(p.form == 2 ? g : 0) * kblocks * ld_sfa];
    std::vector<int> left(p.k);
    for (int i = 0; i < p.k; ++i) left[i] = static_cast<int>(from_e4m3(a[size_t(row) * p.k + i]));
    static const std::vector<int> decode = [] {
      std::vector<int> table(256);
      for (int i = 0; i < 256; ++i)
        table[i] = (i & 0x7F) == 0x7F ? 0 : static_cast<int>(from_e4m3(static_cast<uint8_t>(i)));
      return table;
    }();
    out.assign(p.n, 0);
    for (int n = 0; n < p.n; ++n) {
      const uint8_t* right = &b[(size_t(g) * p.n + n) * p.k];
      for (int kb = 0; kb < kblocks; ++kb) {
        int sum = 0;
        for (int i = 128 * kb; i < 128 * kb + 128; ++i) sum += left[i] * decode[right[i]];
        out[n] += double(sum) * scales[size_t(kb) * ld_sfa + at] *
                  sfb[(size_t(g) * nblocks + n / 128) * kblocks + kb];
      }
      ASSERT_EQ(static_cast<double>(static_cast<float>(out[n])), out[n]) << "the data are not exact";
    }
  }
};

driver::TiledTensor matrix(abi::CUtensorMapDataType type, uint64_t address, uint64_t columns, uint64_t rows,
                           uint64_t stride, uint32_t box_columns, uint32_t box_rows, uint32_t swizzle_bytes) {
  driver::TiledTensor t{.type = type, .address = address};
  t.dim[0] = columns;
  t.dim[1] = rows;
  t.stride[0] = stride;
  t.box[0] = box_columns;
  t.box[1] = box_rows;
  t.swizzle = swizzle_bytes == 128  ? abi::CU_TENSOR_MAP_SWIZZLE_128B
              : swizzle_bytes == 64 ? abi::CU_TENSOR_MAP_SWIZZLE_64B
              : swizzle_bytes == 32 ? abi::CU_TENSOR_MAP_SWIZZLE_32B
                                    : abi::CU_TENSOR_MAP_SWIZZLE_NONE;
  return t;
}

// Inputs and, for each element of D, the exact value or nothing.
struct Reference {
  Problem p;
  Data data;
  std::vector<float> value;
  std::vector<bool> written;

  explicit Reference(const Problem& problem) : p(problem), data(problem) {
    value.resize(size_t(data.rows) * data.ldd);
    written.resize(value.size());
    for (int g = 0; g < data.groups; ++g) {
      const int first = p.form == 1 ? std::clamp(p.begin[g], 0, p.m) : 0;
      const int last = p.form == 0 ? p.m : std::clamp(p.end[g], 0, p.m);
      for (int at = first; at < last; ++at) {
        const size_t row = p.form == 2 ? size_t(g) * p.m + at : at;
        std::vector<double> line;
        data.product(p, static_cast<int>(row), g, at, line);
        for (int n = 0; n < p.n; ++n) {
          value[row * data.ldd + n] = static_cast<float>(line[n]);
          written[row * data.ldd + n] = true;
        }
      }
    }
  }
};

void run(const LoadedKernel& loaded, bool fp32, const Reference& reference) {
  const driver::Context::Guard current(context());
  const Problem& p = reference.p;
  const Data& data = reference.data;
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
    if (reference.written[i]) want = fp32 ? std::bit_cast<uint32_t>(value) : bf16(value);
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
