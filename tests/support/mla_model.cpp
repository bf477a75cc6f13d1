#include "tests/support/mla_model.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace ptxops::test::mla {

void encode_token(const std::vector<double>& x, bool power_of_two, uint8_t* token) {
  for (int b = 0; b < 4; ++b) {
    double amax = 1e-4;
    for (int i = 0; i < 128; ++i) amax = std::max(amax, std::fabs(x[128 * b + i]));
    float scale = static_cast<float>(amax / 448);
    if (power_of_two) scale = static_cast<float>(std::exp2(std::ceil(std::log2(amax / 448))));
    for (int i = 0; i < 128; ++i) {
      // nearest code by search
      const double v = x[128 * b + i] / scale;
      int low = 0, high = 126;
      while (low < high) {
        const int middle = (low + high) / 2;
        if (from_e4m3(static_cast<uint8_t>(middle)) < std::fabs(v)) {
          low = middle + 1;
        } else {
          high = middle;
        }
      }
      if (low > 0 && std::fabs(v) - from_e4m3(static_cast<uint8_t>(low - 1)) <
                         from_e4m3(static_cast<uint8_t>(low)) - std::fabs(v))
        --low;
      token[128 * b + i] = static_cast<uint8_t>(low | (v < 0 ? 0x80 : 0));
    }
    std::memcpy(token + 512 + 4 * b, &scale, 4);
  }
  for (int i = 0; i < kRope; ++i) {
    const uint16_t bits = to_bf16(x[kLatent + i]);
    std::memcpy(token + 528 + 2 * i, &bits, 2);
  }
}

std::vector<double> decode_token(const uint8_t* token) {
  std::vector<double> x(kWidth, 0);
  if (!token) return x;
  for (int i = 0; i < kLatent; ++i) {
    float scale;
    std::memcpy(&scale, token + 512 + 4 * (i / 128), 4);
    x[i] = from_e4m3(token[i]) * double(scale);
  }
  for (int i = 0; i < kRope; ++i) {
    uint16_t bits;
    std::memcpy(&bits, token + 528 + 2 * i, 2);
    x[kLatent + i] = from_bf16(bits);
  }
  return x;
}

Row exact(const std::vector<double>& q, const std::vector<const std::vector<double>*>& keys, double scale,
          double sink) {
  Row row{std::vector<double>(kLatent, 0), std::vector<double>(kLatent, 0),
          std::numeric_limits<double>::infinity(), 0};
  if (keys.empty()) return row;
  std::vector<double> s;
  double score_error = 0;
  for (const auto* key : keys) {
    double sum = 0, squares = 0;
    for (int i = 0; i < kWidth; ++i) {
      const double product = q[i] * (*key)[i];
      sum += product;
      squares += product * product;
    }
    s.push_back(sum * scale);
    // Each product is off by up to 2^-8 of itself, evenly spread; five standard deviations of an independent
    // sum.
    score_error = std::max(score_error, 5 * scale * 0x1p-8 * std::sqrt(squares / 3));
  }
  const double top = *std::max_element(s.begin(), s.end());
  double l = 0;
  for (double& v : s) l += v = std::exp(v - top);
  for (size_t k = 0; k < keys.size(); ++k)
    for (int i = 0; i < kLatent; ++i) {
      row.out[i] += s[k] * (*keys[k])[i];
      row.bound[i] += s[k] * std::fabs((*keys[k])[i]);
    }
  row.lse = top + std::log(l);
  row.lse_bound = score_error + 1e-5 + 8.01 / 65536 * std::fabs(row.lse);
  const double with_sink = l + std::exp(sink - top);
  for (double& v : row.out) v /= with_sink;
  // p and V rounded to BF16 (2^-8 each) and the error of the scores, on the sum of magnitudes; the output
  // rounded (2^-8); 1.01 for FP32 steps and second-order terms.
  for (int i = 0; i < kLatent; ++i)
    row.bound[i] =
        1.01 * (row.bound[i] / with_sink * (0x1p-7 + 2 * score_error) + std::fabs(row.out[i]) * 0x1p-8);
  return row;
}

std::vector<double> in_bf16(const std::vector<double>& q, const std::vector<const std::vector<double>*>& keys,
                            double scale, double sink) {
  std::vector<double> out(kLatent, 0);
  if (keys.empty()) return out;
  const auto rounded = [](double x) { return static_cast<float>(from_bf16(to_bf16(x))); };
  std::vector<float> s, sums(kLatent, 0);
  for (const auto* key : keys) {
    float sum = 0;
    for (int i = 0; i < kWidth; ++i) sum += static_cast<float>(q[i]) * rounded((*key)[i]);
    s.push_back(sum * static_cast<float>(scale));
  }
  const float top = *std::max_element(s.begin(), s.end());
  float l = 0;
  for (float& v : s) l += v = std::exp(v - top);
  for (size_t k = 0; k < keys.size(); ++k)
    for (int i = 0; i < kLatent; ++i) sums[i] += rounded(s[k]) * rounded((*keys[k])[i]);
  const float with_sink = l + std::exp(static_cast<float>(sink) - top);
  for (int i = 0; i < kLatent; ++i) out[i] = rounded(sums[i] / with_sink);
  return out;
}

std::vector<double> in_framework(const std::vector<double>& q,
                                 const std::vector<const std::vector<double>*>& keys, double scale) {
  const auto rounded = [](double x) { return static_cast<float>(from_bf16(to_bf16(x))); };
  std::vector<float> p, sums(kLatent, 0);
  for (const auto* key : keys) {
    float sum = 0;
    for (int i = 0; i < kWidth; ++i) sum += static_cast<float>(q[i]) * rounded((*key)[i]);
    p.push_back(sum * static_cast<float>(scale));
  }
  const float top = *std::max_element(p.begin(), p.end());
  float l = 0;
  for (float& v : p) l += v = std::exp(v - top);
  for (size_t k = 0; k < keys.size(); ++k)
    for (int i = 0; i < kLatent; ++i) sums[i] += rounded(p[k] / l) * rounded((*keys[k])[i]);
  std::vector<double> out(kLatent);
  for (int i = 0; i < kLatent; ++i) out[i] = rounded(sums[i]);
  return out;
}

}  // namespace ptxops::test::mla
