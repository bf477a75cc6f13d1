#include "bench/expert_layer/reference.h"

#include <tbb/parallel_for.h>

#include <array>
#include <cmath>

namespace ptxops::demo {

Matrix grouped_product(const Matrix& a, const BlockScaledMatrix& b, const std::vector<int32_t>& offsets) {
  std::array<double, 256> decoded;
  for (int i = 0; i < 256; ++i) decoded[i] = e4m3_to_float(static_cast<uint8_t>(i));
  const size_t n = b.n, k = b.k, blocks_k = k / 128, blocks_n = (n + 127) / 128;
  Matrix out(static_cast<size_t>(offsets.back()) * n);
  for (int g = 0; g < b.groups; ++g) {
    if (offsets[g] == offsets[g + 1]) continue;
    tbb::parallel_for(size_t{0}, n, [&](size_t column) {
      std::vector<double> weight(k);
      const uint8_t* elements = b.elements.data() + (g * n + column) * k;
      const float* scales = b.scales.data() + (g * blocks_n + column / 128) * blocks_k;
      for (size_t i = 0; i < k; ++i) weight[i] = decoded[elements[i]] * scales[i / 128];
      for (int r = offsets[g]; r < offsets[g + 1]; ++r) {
        const double* row = a.data() + static_cast<size_t>(r) * k;
        double partial[8] = {};
        for (size_t i = 0; i < k; i += 8)
          for (size_t j = 0; j < 8; ++j) partial[j] += row[i + j] * weight[i + j];
        double sum = 0;
        for (double p : partial) sum += p;
        out[static_cast<size_t>(r) * n + column] = sum;
      }
    });
  }
  return out;
}

Matrix swiglu(const Matrix& x, int rows, int width) {
  Matrix out(static_cast<size_t>(rows) * width);
  for (size_t r = 0; r < static_cast<size_t>(rows); ++r)
    for (size_t i = 0; i < static_cast<size_t>(width); ++i) {
      const double gate = x[r * 2 * width + i], up = x[r * 2 * width + width + i];
      out[r * width + i] = gate / (1 + std::exp(-gate)) * up;
    }
  return out;
}

Matrix dequantise(const std::vector<uint8_t>& q, const std::vector<float>& scales, int rows, int k, int ld) {
  Matrix out(static_cast<size_t>(rows) * k);
  for (size_t r = 0; r < static_cast<size_t>(rows); ++r)
    for (size_t i = 0; i < static_cast<size_t>(k); ++i)
      out[r * k + i] = static_cast<double>(e4m3_to_float(q[r * k + i])) * scales[i / 128 * ld + r];
  return out;
}

Matrix widen(const std::vector<uint16_t>& bf16) {
  Matrix out(bf16.size());
  for (size_t i = 0; i < bf16.size(); ++i) out[i] = bf16_to_float(bf16[i]);
  return out;
}

Matrix weighted_sum(const Matrix& y, const std::vector<int32_t>& row, const std::vector<float>& weight,
                    int tokens, int top_k, int hidden) {
  Matrix out(static_cast<size_t>(tokens) * hidden, 0.0);
  for (size_t t = 0; t < static_cast<size_t>(tokens); ++t)
    for (size_t j = 0; j < static_cast<size_t>(top_k); ++j) {
      const int32_t r = row[t * top_k + j];
      if (r < 0) continue;
      const double w = weight[t * top_k + j];
      for (size_t h = 0; h < static_cast<size_t>(hidden); ++h)
        out[t * hidden + h] += w * y[static_cast<size_t>(r) * hidden + h];
    }
  return out;
}

Error compare(const Matrix& out, const Matrix& reference, int columns) {
  Error error;
  double xy = 0, xx_yy = 0;
  for (size_t start = 0; start < reference.size(); start += columns) {
    double difference = 0, norm = 0;
    for (size_t i = start; i < start + columns; ++i) {
      const double x = out[i], y = reference[i];
      if (!std::isfinite(x) || !std::isfinite(y)) {
        error.same_nonfinite = error.same_nonfinite && (std::isnan(x) ? std::isnan(y) : x == y);
        continue;
      }
      difference += (x - y) * (x - y);
      norm += y * y;
      xy += x * y;
      xx_yy += x * x + y * y;
    }
    if (norm > 0)
      error.worst_row = std::max(error.worst_row, std::sqrt(difference / norm));
    else if (difference > 0)
      error.worst_row = INFINITY;
  }
  error.difference = xx_yy > 0 ? 1 - 2 * xy / xx_yy : 0;
  return error;
}

}  // namespace ptxops::demo
