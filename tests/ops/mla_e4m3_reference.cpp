#include "tests/ops/mla_e4m3_reference.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <random>

#include "tests/support/mla_model.h"

namespace ptxops::test {
namespace {

constexpr size_t kLatent = 512, kWidth = 576;
constexpr int32_t kUnusedEntry = 2147480000;
constexpr uint8_t kNaN = 0x7F;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

double round_to(double x, int bits, int least_exponent) {  // nearest even
  if (x == 0 || !std::isfinite(x)) return x;
  const int exponent = std::max(std::ilogb(x), least_exponent);
  return std::ldexp(std::rint(std::ldexp(x, bits - 1 - exponent)), exponent - bits + 1);
}
double round_e4m3(double x) {
  return std::clamp(round_to(x, 4, -6), -448.0, 448.0);
}
uint8_t e4m3_code(double x) {
  const double v = std::fabs(round_e4m3(x));
  const int exponent = v >= 0x1p-6 ? std::ilogb(v) : -7;
  const int code = exponent < -6 ? static_cast<int>(std::ldexp(v, 9))
                                 : (exponent + 7) * 8 + static_cast<int>(std::ldexp(v, 3 - exponent)) - 8;
  return static_cast<uint8_t>(code | (std::signbit(x) ? 0x80 : 0));
}
double value(uint8_t code) {
  static const std::array<double, 256> values = [] {
    std::array<double, 256> v{};
    for (int i = 0; i < 256; ++i) v[size_t(i)] = mla::e4m3_value(static_cast<uint8_t>(i));
    return v;
  }();
  return values[code];
}
double output_value(const MlaE4m3Problem& p, uint16_t bits) {
  if (p.out_type == PTXOPS_BF16) return mla::bf16_value(bits);
  const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
  const double v = exponent == 31 ? (mantissa ? std::numeric_limits<double>::quiet_NaN() : kInfinity)
                   : exponent     ? std::ldexp(1024 + mantissa, exponent - 25)
                                  : std::ldexp(mantissa, -24);
  return bits & 0x8000 ? -v : v;
}

// One row in double precision, how far the kernel may be from it, and the row with p in e4m3 and nothing else
// rounded.
struct Row {
  std::vector<double> out, bound, in_fp8;
  double lse = -kInfinity, lse_bound = 0;
};

// keys: their codes' values, [length][576].
Row reference_row(const MlaE4m3Data& data, const std::vector<double>& keys, int b, int t, int h) {
  const MlaE4m3Problem& p = data.p;
  const int length = p.lengths[size_t(b)];
  const auto limit = static_cast<size_t>(std::max(0, p.causal ? length - (p.s_q - 1 - t) : length));
  Row row;
  row.out.assign(kLatent, 0), row.bound.assign(kLatent, 0), row.in_fp8.assign(kLatent, 0);
  if (limit == 0) return row;
  const uint8_t* q = &data.q[data.q_at(b, t, h)];
  const double softmax_scale = data.desc.softmax_scale != 0 ? data.desc.softmax_scale : 1 / std::sqrt(576.0);
  const double scale = softmax_scale * data.q_scale() * data.k_scale();
  std::vector<double> w(limit), rounded(limit), error(limit);
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
  double sum = 0, rounded_sum = 0, mean_error = 0;
  for (size_t k = 0; k < limit; ++k) {
    w[k] = std::exp(w[k] - top);
    sum += w[k];
    rounded[k] = round_e4m3(256 * w[k]);
    rounded_sum += rounded[k];
    mean_error += w[k] * error[k];
  }
  row.lse = top + std::log(sum);
  mean_error /= sum;
  row.lse_bound = mean_error + 4e-6 * std::max(1.0, std::fabs(row.lse));
  for (size_t k = 0; k < limit; ++k)
    for (size_t c = 0; c < kLatent; ++c) {
      row.out[c] += w[k] / sum * keys[k * kWidth + c];
      row.in_fp8[c] += rounded[k] / rounded_sum * keys[k * kWidth + c];
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
    row.in_fp8[c] = round_to(row.in_fp8[c] * data.k_scale(), p.out_type == PTXOPS_F16 ? 11 : 8, -14);
  }
  return row;
}

}  // namespace

MlaE4m3Data::MlaE4m3Data(const MlaE4m3Problem& problem) : p(problem) {
  const int batch = static_cast<int>(p.lengths.size());
  int needed = 0, total = 0;
  for (const int length : p.lengths) {
    const int pages = (std::max(length, 0) + p.page_size - 1) / p.page_size;
    needed = std::max(needed, pages);
    total += pages;
  }
  const int columns = p.max_pages ? p.max_pages : needed + 1;
  const int pages = total + 3;  // some that nobody uses
  desc.batch = batch, desc.s_q = p.s_q, desc.h_q = p.h_q, desc.pages = pages, desc.page_size = p.page_size;
  desc.max_pages = columns, desc.out_type = p.out_type, desc.causal = p.causal, desc.lse_base2 = p.lse_base2;
  desc.lse_empty_neg = p.lse_empty_neg, desc.sm_count = p.sm_count;
  desc.split_tokens = p.split_tokens, desc.max_total_tokens = p.max_total_tokens;
  const int pad = p.padded ? 1 : 0;
  desc.q_head = kWidth + 128 * pad;
  desc.q_token = p.h_q * desc.q_head + 16 * pad;
  desc.q_request = p.s_q * desc.q_token + 32 * pad;
  desc.cache_token = kWidth + 64 * pad;
  desc.cache_page = p.page_size * desc.cache_token + 16 * pad;
  desc.out_head = kLatent + 16 * pad;
  desc.out_token = p.h_q * desc.out_head + 8 * pad;
  desc.out_request = p.s_q * desc.out_token + 24 * pad;
  desc.lse_token = 1 + pad, desc.lse_head = p.s_q * desc.lse_token + pad;
  desc.lse_request = p.h_q * desc.lse_head + pad;
  desc.table_request = columns + 3 * pad;
  // Codes of deviation 12 are near the middle of e4m3's range; the scales make it 1, half of it or all on the
  // device.
  constexpr double kUnit = 12;
  desc.descale_q = static_cast<float>(1 / kUnit), desc.descale_k = static_cast<float>(1 / kUnit);
  if (p.scales_on_device) {
    desc.descale_q = 1, device_descale_q = static_cast<float>(1 / kUnit);
    desc.descale_k = 0.25F, device_descale_k = static_cast<float>(4 / kUnit);
  }
  q.assign(static_cast<size_t>(batch * desc.q_request), kNaN);
  cache.assign(static_cast<size_t>(pages * desc.cache_page), kNaN);
  table.assign(static_cast<size_t>(batch * desc.table_request), kUnusedEntry);
  lengths.assign(p.lengths.begin(), p.lengths.end());

  std::mt19937_64 random(p.seed * 0x9E3779B97F4A7C15u + 77);
  std::normal_distribution<double> normal;
  std::vector<int> order(static_cast<size_t>(pages));
  for (int i = 0; i < pages; ++i) order[static_cast<size_t>(i)] = i;
  std::shuffle(order.begin(), order.end(), random);
  // A common direction of q and keys makes scores grow along the keys.
  std::vector<double> direction(kWidth);
  for (double& x : direction) x = normal(random);
  const auto fill = [&](std::vector<uint8_t>& to, size_t at, double scale, double along, double mean) {
    for (size_t c = 0; c < kWidth; ++c)
      to[at + c] = e4m3_code(kUnit * (scale * normal(random) + along * direction[c] + mean));
  };
  size_t next = 0;
  for (int b = 0; b < batch; ++b) {
    const int length = p.lengths[size_t(b)];
    for (int i = 0; i < (length + p.page_size - 1) / p.page_size; ++i)
      table[static_cast<size_t>(b * desc.table_request + i)] = order[next++];
    for (int k = 0; k < length; ++k)
      fill(cache, key_at(b, k), 1, p.growth * k / length / std::sqrt(576.0), p.mean);
    for (int t = 0; t < p.s_q; ++t)
      for (int h = 0; h < p.h_q; ++h) fill(q, q_at(b, t, h), p.spread, p.growth != 0 ? 1 : 0, 0);
  }
}

size_t MlaE4m3Data::q_at(int b, int t, int h) const {
  return static_cast<size_t>(b * desc.q_request + t * desc.q_token + h * desc.q_head);
}
size_t MlaE4m3Data::key_at(int b, int k) const {
  const int64_t page = table[static_cast<size_t>(b * desc.table_request + k / p.page_size)];
  return static_cast<size_t>(page * desc.cache_page + k % p.page_size * desc.cache_token);
}

MlaE4m3Result run_mla_e4m3(const MlaE4m3Data& data) {
  MlaE4m3Result result;
  const ptxopsMlaDecodeE4m3Desc_t& d = data.desc;
  const DeviceMemory q(data.q), cache(data.cache), table(data.table), lengths(data.lengths),
      scales(std::vector<float>{data.device_descale_q, data.device_descale_k});
  const DeviceMemory out(static_cast<size_t>(d.batch * d.out_request) * 2, 0xA7),
      lse(static_cast<size_t>(d.batch * d.lse_request) * 4, 0xA7),
      flags(static_cast<size_t>(d.batch) * 4, 0xA7);
  Plan plan;
  EXPECT_OK(ptxopsMlaDecodeE4m3PlanCreate(context(), &d, &plan.handle));
  if (!plan.handle) return result;
  EXPECT_OK(ptxopsPlanPrepare(plan.handle));
  size_t bytes = 0;
  EXPECT_OK(ptxopsPlanGetWorkspaceSize(plan.handle, &bytes));
  const DeviceMemory workspace(bytes, 0xFF);
  ptxopsMlaDecodeE4m3Args_t args = PTXOPS_MLA_DECODE_E4M3_ARGS_INITIALIZER;
  args.q = q.address(), args.cache = cache.address();
  if (data.p.scales_on_device) args.descale_q = scales.address(), args.descale_k = scales.address() + 4;
  args.page_table = table.address(), args.lengths = lengths.address();
  args.out = out.address(), args.lse = lse.address(), args.flags = flags.address();
  EXPECT_OK(ptxopsMlaDecodeE4m3Run(plan.handle, &args, workspace.address(), bytes, nullptr));
  EXPECT_OK(ptxopsStreamSynchronize(context(), nullptr));
  result.out = out.read<uint16_t>();
  result.lse = lse.read<float>();
  result.flags = flags.read<int32_t>();
  return result;
}

void expect_close(const MlaE4m3Data& data, const MlaE4m3Result& result) {
  const MlaE4m3Problem& p = data.p;
  const ptxopsMlaDecodeE4m3Desc_t& d = data.desc;
  std::vector<bool> written(result.out.size()), lse_written(result.lse.size());
  int faults = 0;
  const auto fault = [&](const std::string& text) {
    if (++faults <= 5) ADD_FAILURE() << text;
  };
  double square = 0, fp8_square = 0;
  for (int b = 0; b < d.batch; ++b) {
    std::vector<double> keys;
    for (int k = 0; k < p.lengths[size_t(b)]; ++k)
      for (size_t c = 0; c < kWidth; ++c) keys.push_back(value(data.cache[data.key_at(b, k) + c]));
    for (int t = 0; t < p.s_q; ++t)
      for (int h = 0; h < p.h_q; ++h) {
        const Row row = reference_row(data, keys, b, t, h);
        const auto at = static_cast<size_t>(b * d.out_request + t * d.out_token + h * d.out_head);
        for (size_t c = 0; c < kLatent; ++c) {
          written[at + c] = true;
          const double have = output_value(p, result.out[at + c]), want = row.out[c];
          if (!(std::fabs(have - want) <= row.bound[c]))
            fault(fmt::format("request {} token {} head {} column {}: {}, expected {} +- {:.2g}", b, t, h, c,
                              have, want, row.bound[c]));
          square += (have - want) * (have - want);
          fp8_square += (row.in_fp8[c] - want) * (row.in_fp8[c] - want);
        }
        const auto lse_at = static_cast<size_t>(b * d.lse_request + h * d.lse_head + t * d.lse_token);
        lse_written[lse_at] = true;
        double lse = row.lse, bound = row.lse_bound;
        if (std::isinf(lse) && !p.lse_empty_neg) lse = -lse;
        if (p.lse_base2) lse /= std::log(2.0), bound /= std::log(2.0);
        const double have = result.lse[lse_at];
        if (!(have == lse || std::fabs(have - lse) <= bound))
          fault(fmt::format("request {} token {} head {}: LSE {}, expected {} +- {:.2g}", b, t, h, have, lse,
                            bound));
      }
  }
  // With scores of ordinary size the error is that of p in e4m3, and a little.
  if (p.spread <= 2 && p.growth == 0) {
    EXPECT_LE(std::sqrt(square), 1.1 * std::sqrt(fp8_square) + 1e-9) << "by norm";
  }
  for (size_t i = 0; i < written.size(); ++i)
    if (!written[i] && result.out[i] != 0xA7A7) fault(fmt::format("element {} of OUT was written", i));
  for (size_t i = 0; i < lse_written.size(); ++i)
    if (!lse_written[i] && std::bit_cast<uint32_t>(result.lse[i]) != 0xA7A7A7A7)
      fault(fmt::format("element {} of LSE was written", i));
}

}  // namespace ptxops::test
