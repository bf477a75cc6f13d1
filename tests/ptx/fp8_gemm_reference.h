// The oracle of fp8_gemm, on data whose exact result is representable: small integers and short scales, so
// that every rounding of the kernel's arithmetic is exact and the expected bits follow from FP64. Any wrong
// index, scale, mask or race shows.
#pragma once

#include <algorithm>
#include <stdexcept>

#include "driver/client/tensor_map.h"
#include "tests/ptx/numbers.h"

namespace ptxops::test {

struct GemmProblem {
  int form = 0;
  int m = 0, n = 0, k = 0;                    // m: rows of A, or max_m
  std::vector<int32_t> begin = {}, end = {};  // form 1: rows; form 2: end holds counts
  int grid = 6;
  uint32_t raster = 8, flags = 1;
  uint64_t seed = 1;
};

// Values whose products and sums stay exact: |a|, |b| <= 3; scales with two significant bits from 1/4 to 3.
struct GemmData {
  int rows, groups, kblocks, nblocks, ld_sfa, ldd;
  std::vector<uint8_t> a, b;
  std::vector<float> sfa, sfb;

  explicit GemmData(const GemmProblem& p) {
    Random random{p.seed};
    groups = p.form == 0 ? 1 : static_cast<int>(p.end.size());
    rows = p.form == 2 ? groups * p.m : p.m;
    kblocks = p.k / 128;
    nblocks = (p.n + 127) / 128;
    ld_sfa = (p.m + 3) / 4 * 4;
    ldd = p.n + 8;
    const auto small = [&] { return to_e4m3(static_cast<double>(random.between(-3, 3))); };
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
  void product(const GemmProblem& p, int row, int g, int at, std::vector<double>& out) const {
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
      if (static_cast<double>(static_cast<float>(out[n])) != out[n])
        throw std::logic_error("the data of the fp8_gemm oracle are not exact");
    }
  }
};

// Inputs and, for each element of D, the exact value or nothing.
struct GemmReference {
  GemmProblem p;
  GemmData data;
  std::vector<float> value;
  std::vector<bool> written;

  explicit GemmReference(const GemmProblem& problem) : p(problem), data(problem) {
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

inline driver::TiledTensor matrix(abi::CUtensorMapDataType type, uint64_t address, uint64_t columns,
                                  uint64_t rows, uint64_t stride, uint32_t box_columns, uint32_t box_rows,
                                  uint32_t swizzle_bytes) {
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

}  // namespace ptxops::test
