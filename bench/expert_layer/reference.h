// FP64 references of the expert layer's stages. Each is computed from the inputs that the stage really had,
// so that one stage's error does not hide in the next one's; the last compares the whole layer with
// unquantised arithmetic.
#pragma once

#include <cstdint>
#include <vector>

#include "bench/expert_layer/tensors.h"

namespace ptxops::demo {

using Matrix = std::vector<double>;  // row-major

// out[r,n] = sum_k a[r,k] * b[group(r)][n,k]; rows offsets[g] .. offsets[g+1]-1 of a [rows][b.k] belong to
// group g.
Matrix grouped_product(const Matrix& a, const BlockScaledMatrix& b, const std::vector<int32_t>& offsets);

// silu(x[r,i]) * x[r,width+i]
Matrix swiglu(const Matrix& x, int rows, int width);

// Dequantised 1 x 128 scaled rows: q [rows][k], scales [k/128][ld].
Matrix dequantise(const std::vector<uint8_t>& q, const std::vector<float>& scales, int rows, int k, int ld);
Matrix widen(const std::vector<uint16_t>& bf16);

// out[t] = sum_j weight[t,j] * y[row[t,j]]
Matrix weighted_sum(const Matrix& y, const std::vector<int32_t>& row, const std::vector<float>& weight,
                    int tokens, int top_k, int hidden);

struct Error {
  double worst_row =
      0;  // largest |out - ref| / |ref| of a row (2-norms); rows that are zero in both are left out
  double difference = 0;       // 1 - 2 <x,y> / (<x,x> + <y,y>), DeepGEMM's calc_diff
  bool same_nonfinite = true;  // NaN and Inf stand in the same places
};
Error compare(const Matrix& out, const Matrix& reference, int columns);

}  // namespace ptxops::demo
