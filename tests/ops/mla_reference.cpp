#include "tests/ops/mla_reference.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>

namespace ptxops::test {
namespace {

constexpr int kLatent = 512, kRope = 64;
constexpr int32_t kUnusedEntry = 2147480000;

double from_f16(uint16_t h) {
  const int exponent = h >> 10 & 31, mantissa = h & 1023;
  double v = exponent == 0    ? std::ldexp(mantissa, -24)
             : exponent == 31 ? (mantissa ? std::numeric_limits<double>::quiet_NaN()
                                          : std::numeric_limits<double>::infinity())
                              : std::ldexp(1024 + mantissa, exponent - 25);
  return h & 0x8000 ? -v : v;
}
uint16_t to_f16(double x) {  // nearest even; |x| < 65504
  const uint16_t sign = std::signbit(x) ? 0x8000 : 0;
  x = std::fabs(x);
  int exponent = x >= 0x1p-14 ? std::ilogb(x) : -14;
  const int units = static_cast<int>(std::rint(std::ldexp(x, 10 - exponent)));
  return static_cast<uint16_t>(sign | (((exponent + 15) << 10) + units - 1024));
}

}  // namespace

double MlaData::value(uint16_t b) const {
  static const std::vector<double> f16 = [] {
    std::vector<double> values(65536);
    for (size_t i = 0; i < values.size(); ++i) values[i] = from_f16(static_cast<uint16_t>(i));
    return values;
  }();
  return p.type == PTXOPS_F16 ? f16[b] : std::bit_cast<float>(static_cast<uint32_t>(b) << 16);
}
uint16_t MlaData::bits(double v) const {
  if (p.type == PTXOPS_F16) return to_f16(v);
  const auto word = std::bit_cast<uint32_t>(static_cast<float>(v));
  return static_cast<uint16_t>((word + 0x7FFF + ((word >> 16) & 1)) >> 16);
}

MlaData::MlaData(const MlaProblem& problem) : p(problem) {
  const int batch = static_cast<int>(p.lengths.size());
  const int width = p.separate_rope ? kLatent : kLatent + kRope;
  int needed = 0, total = 0;
  for (const int length : p.lengths) {
    const int pages = (std::max(length, 0) + p.page_size - 1) / p.page_size;
    needed = std::max(needed, pages);
    total += pages;
  }
  const int columns = p.max_pages ? p.max_pages : needed + 1;
  const int pages = total + 3;  // some that nobody uses
  desc.batch = batch, desc.s_q = p.s_q, desc.h_q = p.h_q, desc.pages = pages, desc.page_size = p.page_size;
  desc.max_pages = columns, desc.type = p.type, desc.causal = p.causal, desc.lse_base2 = p.lse_base2;
  desc.lse_empty_neg = p.lse_empty_neg, desc.separate_rope = p.separate_rope, desc.sm_count = p.sm_count;
  desc.split_tokens = p.split_tokens, desc.max_total_tokens = p.max_total_tokens;
  desc.merge = p.merge;
  const int pad = p.padded ? 1 : 0;
  desc.q_head = width + 128 * pad;
  desc.q_token = p.h_q * desc.q_head + 8 * pad;
  desc.q_request = p.s_q * desc.q_token + 16 * pad;
  desc.cache_token = width + 64 * pad;
  desc.cache_page = p.page_size * desc.cache_token + 8 * pad;
  desc.out_head = kLatent + 16 * pad;
  desc.out_token = p.h_q * desc.out_head + 8 * pad;
  desc.out_request = p.s_q * desc.out_token + 24 * pad;
  desc.lse_token = 1 + pad, desc.lse_head = p.s_q * desc.lse_token + pad;
  desc.lse_request = p.h_q * desc.lse_head + pad;
  desc.table_request = columns + 3 * pad;
  if (p.separate_rope) {
    desc.q_rope_head = kRope + 8 * pad, desc.q_rope_token = p.h_q * desc.q_rope_head + 8 * pad;
    desc.q_rope_request = p.s_q * desc.q_rope_token;
    desc.cache_rope_token = kRope + 8 * pad,
    desc.cache_rope_page = p.page_size * desc.cache_rope_token + 8 * pad;
  }
  const uint16_t nan = p.type == PTXOPS_F16 ? 0x7E00 : 0x7FC0;
  q.assign(static_cast<size_t>(batch * desc.q_request), nan);
  cache.assign(static_cast<size_t>(pages * desc.cache_page), nan);
  q_rope.assign(static_cast<size_t>(batch * desc.q_rope_request), nan);
  cache_rope.assign(static_cast<size_t>(pages * desc.cache_rope_page), nan);
  table.assign(static_cast<size_t>(batch * desc.table_request), kUnusedEntry);
  lengths.assign(p.lengths.begin(), p.lengths.end());

  std::mt19937_64 random(p.seed * 0x9E3779B97F4A7C15u + 77);
  std::normal_distribution<double> normal;
  std::vector<int> order(static_cast<size_t>(pages));
  for (int i = 0; i < pages; ++i) order[static_cast<size_t>(i)] = i;
  std::shuffle(order.begin(), order.end(), random);
  size_t next = 0;
  // A common direction of q and keys makes scores grow along the keys.
  std::vector<double> direction(kLatent + kRope);
  for (double& x : direction) x = normal(random);
  const auto fill = [&](std::vector<uint16_t>& latent, size_t at, std::vector<uint16_t>& rope, size_t rope_at,
                        double scale, double along) {
    for (int c = 0; c < kLatent; ++c)
      latent[at + static_cast<size_t>(c)] =
          bits(scale * normal(random) + along * direction[static_cast<size_t>(c)]);
    for (int c = 0; c < kRope; ++c)
      rope[rope_at + static_cast<size_t>(c)] =
          bits(scale * normal(random) + along * direction[static_cast<size_t>(kLatent + c)]);
  };
  auto& keys_rope = p.separate_rope ? cache_rope : cache;
  auto& queries_rope = p.separate_rope ? q_rope : q;
  const double root = std::sqrt(576.0);
  for (int b = 0; b < batch; ++b) {
    for (int i = 0; i < (p.lengths[static_cast<size_t>(b)] + p.page_size - 1) / p.page_size; ++i)
      table[static_cast<size_t>(b * desc.table_request + i)] = order[next++];
    for (int k = 0; k < p.lengths[static_cast<size_t>(b)]; ++k)
      fill(cache, key_at(b, k), keys_rope, key_rope_at(b, k), 1,
           p.growth * k / p.lengths[static_cast<size_t>(b)] / root);
    for (int t = 0; t < p.s_q; ++t)
      for (int h = 0; h < p.h_q; ++h)
        fill(q, q_at(b, t, h), queries_rope, q_rope_at(b, t, h), p.spread, p.growth != 0 ? 1 : 0);
  }
}

size_t MlaData::q_at(int b, int t, int h) const {
  return static_cast<size_t>(b * desc.q_request + t * desc.q_token + h * desc.q_head);
}
size_t MlaData::q_rope_at(int b, int t, int h) const {
  return p.separate_rope
             ? static_cast<size_t>(b * desc.q_rope_request + t * desc.q_rope_token + h * desc.q_rope_head)
             : q_at(b, t, h) + kLatent;
}
size_t MlaData::key_at(int b, int k) const {
  const int64_t page = table[static_cast<size_t>(b * desc.table_request + k / p.page_size)];
  return static_cast<size_t>(page * desc.cache_page + k % p.page_size * desc.cache_token);
}
size_t MlaData::key_rope_at(int b, int k) const {
  if (!p.separate_rope) return key_at(b, k) + kLatent;
  const int64_t page = table[static_cast<size_t>(b * desc.table_request + k / p.page_size)];
  return static_cast<size_t>(page * desc.cache_rope_page + k % p.page_size * desc.cache_rope_token);
}

std::vector<double> decode_keys(const MlaData& data, int b) {
  const int length = data.p.lengths[static_cast<size_t>(b)];
  const auto& keys_rope = data.p.separate_rope ? data.cache_rope : data.cache;
  std::vector<double> keys;
  keys.reserve(static_cast<size_t>(length) * 576);
  for (int k = 0; k < length; ++k) {
    const uint16_t* latent = &data.cache[data.key_at(b, k)];
    const uint16_t* rope = &keys_rope[data.key_rope_at(b, k)];
    for (int c = 0; c < kLatent; ++c) keys.push_back(data.value(latent[c]));
    for (int c = 0; c < kRope; ++c) keys.push_back(data.value(rope[c]));
  }
  return keys;
}

MlaRow reference_row(const MlaData& data, const std::vector<double>& keys, int b, int t, int h) {
  const MlaProblem& p = data.p;
  const int length = p.lengths[static_cast<size_t>(b)];
  const int limit = std::max(0, p.causal ? length - (p.s_q - 1 - t) : length);
  std::vector<double> q(kLatent + kRope), scores(static_cast<size_t>(limit));
  const uint16_t* latent = &data.q[data.q_at(b, t, h)];
  const uint16_t* rope = &(p.separate_rope ? data.q_rope : data.q)[data.q_rope_at(b, t, h)];
  for (size_t c = 0; c < q.size(); ++c) q[c] = data.value(c < kLatent ? latent[c] : rope[c - kLatent]);
  const double scale = data.desc.softmax_scale != 0 ? data.desc.softmax_scale : 1 / std::sqrt(576.0);
  double top = -std::numeric_limits<double>::infinity();
  for (size_t k = 0; k < scores.size(); ++k) {
    const double* key = &keys[k * q.size()];
    double s = 0;
    for (size_t c = 0; c < q.size(); ++c) s += q[c] * key[c];
    scores[k] = s * scale;
    top = std::max(top, s * scale);
  }
  MlaRow row;
  row.out.assign(kLatent, 0);
  row.magnitude.assign(kLatent, 0);
  double sum = 0;
  for (const double s : scores) sum += std::exp(s - top);
  row.lse = limit ? top + std::log(sum) : -std::numeric_limits<double>::infinity();
  for (size_t k = 0; k < scores.size(); ++k) {
    const double w = std::exp(scores[k] - row.lse);
    for (size_t c = 0; c < kLatent; ++c) {
      const double v = keys[k * q.size() + c];
      row.out[c] += w * v;
      row.magnitude[c] += w * std::fabs(v);
    }
  }
  return row;
}

MlaResult run_mla(const MlaData& data) {
  MlaResult result;
  const ptxopsMlaDecodeDesc_t& d = data.desc;
  const DeviceMemory q(data.q), cache(data.cache),
      q_rope(data.q_rope.empty() ? std::vector<uint16_t>(8) : data.q_rope),
      cache_rope(data.cache_rope.empty() ? std::vector<uint16_t>(8) : data.cache_rope), table(data.table),
      lengths(data.lengths);
  const DeviceMemory out(static_cast<size_t>(d.batch * d.out_request) * 2, 0xA7),
      lse(static_cast<size_t>(d.batch * d.lse_request) * 4, 0xA7),
      flags(static_cast<size_t>(d.batch) * 4, 0xA7);
  Plan plan;
  EXPECT_OK(ptxopsMlaDecodePlanCreate(context(), &d, &plan.handle));
  if (!plan.handle) return result;
  EXPECT_OK(ptxopsPlanPrepare(plan.handle));
  size_t bytes = 0;
  EXPECT_OK(ptxopsPlanGetWorkspaceSize(plan.handle, &bytes));
  const DeviceMemory workspace(bytes, 0xFF);
  ptxopsMlaDecodeArgs_t args = PTXOPS_MLA_DECODE_ARGS_INITIALIZER;
  args.q = q.address(), args.cache = cache.address();
  if (data.p.separate_rope) args.q_rope = q_rope.address(), args.cache_rope = cache_rope.address();
  args.page_table = table.address(), args.lengths = lengths.address();
  args.out = out.address(), args.lse = lse.address(), args.flags = flags.address();
  EXPECT_OK(ptxopsMlaDecodeRun(plan.handle, &args, workspace.address(), bytes, nullptr));
  EXPECT_OK(ptxopsStreamSynchronize(context(), nullptr));
  result.out = out.read<uint16_t>();
  result.lse = lse.read<float>();
  result.flags = flags.read<int32_t>();
  return result;
}

// By element: each weight p is rounded once to the input type (half an ulp of it, relative), and so is the
// result; a tenth for the rest, FP32 with the tensor core's truncation. By norm: these roundings are
// independent, and uniform in an interval: less than half of half an ulp each. LSE: FP32 sums, ex2.approx
// (2^-22), scores of 576 products that the tensor core adds up with some bits less than FP32.
void expect_close(const MlaData& data, const MlaResult& result) {
  const MlaProblem& p = data.p;
  const ptxopsMlaDecodeDesc_t& d = data.desc;
  const double half_ulp = p.type == PTXOPS_F16 ? 0x1p-11 : 0x1p-8;  // relative to the value, at most
  std::vector<bool> written(result.out.size()), lse_written(result.lse.size());
  int faults = 0;
  const auto fault = [&](const std::string& text) {
    if (++faults <= 5) ADD_FAILURE() << text;
  };
  double error_square = 0, square = 0;
  for (int b = 0; b < d.batch; ++b) {
    const std::vector<double> keys = decode_keys(data, b);
    for (int t = 0; t < p.s_q; ++t)
      for (int h = 0; h < p.h_q; ++h) {
        const MlaRow row = reference_row(data, keys, b, t, h);
        const auto at = static_cast<size_t>(b * d.out_request + t * d.out_token + h * d.out_head);
        for (int c = 0; c < kLatent; ++c) {
          const auto i = static_cast<size_t>(c);
          written[at + i] = true;
          const double have = data.value(result.out[at + i]), want = row.out[i];
          const double bound = 1.1 * half_ulp * (row.magnitude[i] + std::fabs(want)) + 1e-7;
          if (!(std::fabs(have - want) <= bound))
            fault(fmt::format("request {} token {} head {} column {}: {}, expected {} +- {:.2g}", b, t, h, c,
                              have, want, bound));
          error_square += (have - want) * (have - want);
          square += want * want;
        }
        const auto lse_at = static_cast<size_t>(b * d.lse_request + h * d.lse_head + t * d.lse_token);
        lse_written[lse_at] = true;
        double lse = row.lse;
        if (std::isinf(lse) && !p.lse_empty_neg) lse = -lse;
        if (p.lse_base2) lse /= std::log(2.0);
        const double have = result.lse[lse_at];
        if (!(have == lse || std::fabs(have - lse) <= 4e-6 * std::max(1.0, std::fabs(lse))))
          fault(fmt::format("request {} token {} head {}: LSE {}, expected {}", b, t, h, have, lse));
      }
  }
  EXPECT_LE(std::sqrt(error_square), 0.75 * half_ulp * std::sqrt(square) + 1e-12) << "by norm";
  for (size_t i = 0; i < written.size(); ++i)
    if (!written[i] && result.out[i] != 0xA7A7) fault(fmt::format("element {} of OUT was written", i));
  for (size_t i = 0; i < lse_written.size(); ++i)
    if (!lse_written[i] && std::bit_cast<uint32_t>(result.lse[i]) != 0xA7A7A7A7)
      fault(fmt::format("element {} of LSE was written", i));
}

}  // namespace ptxops::test
