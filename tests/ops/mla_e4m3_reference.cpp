#include "tests/ops/mla_e4m3_reference.h"

#include <array>
#include <cmath>
#include <limits>

#include "tests/support/formats.h"

namespace ptxops::test {
namespace {

constexpr uint8_t kNaN = 0x7F;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

double value(uint8_t code) {
  static const std::array<double, 256> values = [] {
    std::array<double, 256> v{};
    for (int i = 0; i < 256; ++i) v[size_t(i)] = from_e4m3(static_cast<uint8_t>(i));
    return v;
  }();
  return values[code];
}

// And the row with p in e4m3 and nothing else rounded.
struct Row : MlaExpected {
  std::vector<double> in_fp8;
};

// keys: their codes' values, [length][576].
Row reference_row(const MlaE4m3Data& data, const std::vector<double>& keys, int b, int t, int h) {
  const MlaE4m3Problem& p = data.p;
  const size_t limit = visible_keys(p, b, t);
  Row row;
  row.out.assign(kLatent, 0), row.bound.assign(kLatent, 0), row.in_fp8.assign(kLatent, 0);
  if (limit == 0) return row;
  const uint8_t* q = &data.q[data.q_at(b, t, h)];
  const double softmax_scale = data.desc.softmax_scale != 0 ? data.desc.softmax_scale : 1 / std::sqrt(576.0);
  const double scale = softmax_scale * data.q_scale() * data.k_scale();
  std::vector<double> w(limit), in_e4m3(limit), error(limit);
  double top = -kInfinity;
  for (size_t k = 0; k < limit; ++k) {
    const double* key = &keys[k * kWidth];
    double s = 0, largest = 0;
    for (size_t c = 0; c < kWidth; ++c) {
      const double product = value(q[c]) * key[c];
      s += product;
      largest = std::max({largest, std::fabs(product), std::fabs(s)});
    }
    // 18 steps add 33 terms each, cut off at 2^-13 of the power of two below the largest: 594 errors, even in
    // 0 .. u and of either sign. Five standard deviations of their sum.
    error[k] = 5 * std::sqrt(594.0 / 3) * 0x1p-13 * largest * scale;
    w[k] = s * scale;
    top = std::max(top, w[k]);
  }
  double sum = 0, e4m3_sum = 0, mean_error = 0;
  for (size_t k = 0; k < limit; ++k) {
    w[k] = std::exp(w[k] - top);
    sum += w[k];
    in_e4m3[k] = from_e4m3(to_e4m3(256 * w[k]));
    e4m3_sum += in_e4m3[k];
    mean_error += w[k] * error[k];
  }
  row.lse = top + std::log(sum);
  mean_error /= sum;
  row.lse_bound = mean_error + 4e-6 * std::max(1.0, std::fabs(row.lse));
  for (size_t k = 0; k < limit; ++k)
    for (size_t c = 0; c < kLatent; ++c) {
      row.out[c] += w[k] / sum * keys[k * kWidth + c];
      row.in_fp8[c] += in_e4m3[k] / e4m3_sum * keys[k * kWidth + c];
    }
  // Weights are off by half a step of e4m3 (1/16; an absolute 2^-18 of the largest below its normal numbers)
  // and by the scores' errors, and divided by their own sum: what moves OUT is how far a value lies from it.
  // Sums of 64 products keep 14 bits: 2^-9 of the magnitudes. Then the output's rounding.
  const double half_ulp = p.out_type == PTXOPS_F16 ? 0x1p-11 : 0x1p-8;
  for (size_t k = 0; k < limit; ++k) {
    const double off = (w[k] * (1.0 / 16 + error[k] + mean_error) + 0x1p-18) / sum;
    for (size_t c = 0; c < kLatent; ++c) {
      const double v = keys[k * kWidth + c];
      row.bound[c] += 1.1 * off * std::fabs(v - row.out[c]) + 0x1p-9 * w[k] / sum * std::fabs(v);
    }
  }
  for (size_t c = 0; c < kLatent; ++c) {
    row.bound[c] = data.k_scale() * (row.bound[c] + 1.1 * half_ulp * std::fabs(row.out[c])) + 1e-7;
    row.out[c] *= data.k_scale();
    row.in_fp8[c] = rounded(row.in_fp8[c] * data.k_scale(), p.out_type == PTXOPS_F16 ? 11 : 8, -14);
  }
  return row;
}

}  // namespace

MlaE4m3Data::MlaE4m3Data(const MlaE4m3Problem& problem) : p(problem) {
  const int batch = static_cast<int>(p.lengths.size());
  describe(desc, p, kWidth, 16);
  desc.out_type = p.out_type;
  // Codes of deviation 12 are near the middle of e4m3's range; the scales make it 1, half of it or all on the
  // device.
  constexpr double kUnit = 12;
  desc.descale_q = static_cast<float>(1 / kUnit), desc.descale_k = static_cast<float>(1 / kUnit);
  if (p.scales_on_device) {
    desc.descale_q = 1, device_descale_q = static_cast<float>(1 / kUnit);
    desc.descale_k = 0.25F, device_descale_k = static_cast<float>(4 / kUnit);
  }
  q.assign(static_cast<size_t>(batch * desc.q_request), kNaN);
  cache.assign(static_cast<size_t>(desc.pages * desc.cache_page), kNaN);
  lengths.assign(p.lengths.begin(), p.lengths.end());

  std::mt19937_64 random(p.seed * 0x9E3779B97F4A7C15u + 77);
  std::normal_distribution<double> normal;
  table = page_table(desc, p, random);
  // A common direction of q and keys makes scores grow along the keys.
  std::vector<double> direction(kWidth);
  for (double& x : direction) x = normal(random);
  const auto fill = [&](std::vector<uint8_t>& to, size_t at, double scale, double along, double mean) {
    for (size_t c = 0; c < kWidth; ++c)
      to[at + c] = to_e4m3(kUnit * (scale * normal(random) + along * direction[c] + mean));
  };
  for (int b = 0; b < batch; ++b) {
    const int length = p.lengths[size_t(b)];
    for (int k = 0; k < length; ++k)
      fill(cache, key_at(b, k), 1, p.growth * k / length / std::sqrt(576.0), p.mean);
    for (int t = 0; t < p.s_q; ++t)
      for (int h = 0; h < p.h_q; ++h) fill(q, q_at(b, t, h), p.spread, p.growth != 0 ? 1 : 0, 0);
  }
}

size_t MlaE4m3Data::q_at(int b, int t, int h) const {
  return q_row(desc, b, t, h);
}
size_t MlaE4m3Data::key_at(int b, int k) const {
  return cache_row(desc, table, b, k);
}

MlaResult run_mla_e4m3(const MlaE4m3Data& data) {
  const DeviceMemory q(data.q), cache(data.cache), table(data.table), lengths(data.lengths),
      scales(std::vector<float>{data.device_descale_q, data.device_descale_k});
  return run_poisoned(data.desc, ptxopsMlaDecodeE4m3PlanCreate,
                      [&](ptxopsPlan_t plan, const MlaOutputs& outputs, uint64_t workspace, size_t bytes) {
                        ptxopsMlaDecodeE4m3Args_t args = PTXOPS_MLA_DECODE_E4M3_ARGS_INITIALIZER;
                        args.q = q.address(), args.cache = cache.address();
                        if (data.p.scales_on_device)
                          args.descale_q = scales.address(), args.descale_k = scales.address() + 4;
                        args.page_table = table.address(), args.lengths = lengths.address();
                        args.out = outputs.out, args.lse = outputs.lse, args.flags = outputs.flags;
                        return ptxopsMlaDecodeE4m3Run(plan, &args, workspace, bytes, nullptr);
                      });
}

void expect_close(const MlaE4m3Data& data, const MlaResult& result) {
  const MlaE4m3Problem& p = data.p;
  std::vector<double> keys;
  Row row;
  int request = -1;
  double in_fp8 = 0;
  int rows = 0;  // that have keys
  const double error = compare_rows(
      data.desc, result,
      [&](uint16_t bits) { return p.out_type == PTXOPS_BF16 ? from_bf16(bits) : from_f16(bits); },
      [&](int b, int t, int h) -> const MlaExpected& {
        if (b != request) {
          keys.clear();
          for (int k = 0; k < p.lengths[size_t(b)]; ++k)
            for (size_t c = 0; c < kWidth; ++c) keys.push_back(value(data.cache[data.key_at(b, k) + c]));
          request = b;
        }
        row = reference_row(data, keys, b, t, h);
        rows += std::isfinite(row.lse);
        for (size_t c = 0; c < kLatent; ++c)
          in_fp8 += (row.in_fp8[c] - row.out[c]) * (row.in_fp8[c] - row.out[c]);
        return row;
      });
  // With scores of ordinary size the error is that of p in e4m3. A few weights make up a row's, and need not
  // be rounded alike here and there: the ratio strays by 0.05 / sqrt(rows) (one deviation, of 60 seeds), with
  // a long tail (0.22 / sqrt(rows), the largest of 1600).
  if (p.spread <= 2 && p.growth == 0 && rows > 0) {
    EXPECT_LE(std::sqrt(error), (1.01 + 0.5 / std::sqrt(rows)) * std::sqrt(in_fp8) + 1e-9) << "by norm";
  }
}

}  // namespace ptxops::test
