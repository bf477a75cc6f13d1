#include "tests/ops/mla_reference.h"

#include <cmath>
#include <limits>

#include "tests/support/formats.h"

namespace ptxops::test {

namespace {

double half_ulp(const MlaData& data) {  // relative to the value, at most
  return data.p.type == PTXOPS_F16 ? 0x1p-11 : 0x1p-8;
}

}  // namespace

double MlaData::value(uint16_t b) const {
  static const std::vector<double> f16 = [] {
    std::vector<double> values(65536);
    for (size_t i = 0; i < values.size(); ++i) values[i] = from_f16(static_cast<uint16_t>(i));
    return values;
  }();
  return p.type == PTXOPS_F16 ? f16[b] : from_bf16(b);
}
uint16_t MlaData::bits(double v) const {
  return p.type == PTXOPS_F16 ? to_f16(v) : to_bf16(v);
}

MlaData::MlaData(const MlaProblem& problem) : p(problem) {
  const int batch = static_cast<int>(p.lengths.size()), pad = p.padded ? 1 : 0;
  describe(desc, p, p.separate_rope ? kLatent : kWidth, 8);
  desc.type = p.type, desc.separate_rope = p.separate_rope, desc.merge = p.merge;
  if (p.separate_rope) {
    desc.q_rope_head = kRope + 8 * pad, desc.q_rope_token = p.h_q * desc.q_rope_head + 8 * pad;
    desc.q_rope_request = p.s_q * desc.q_rope_token;
    desc.cache_rope_token = kRope + 8 * pad,
    desc.cache_rope_page = p.page_size * desc.cache_rope_token + 8 * pad;
  }
  const uint16_t nan = p.type == PTXOPS_F16 ? 0x7E00 : 0x7FC0;
  q.assign(static_cast<size_t>(batch * desc.q_request), nan);
  cache.assign(static_cast<size_t>(desc.pages * desc.cache_page), nan);
  q_rope.assign(static_cast<size_t>(batch * desc.q_rope_request), nan);
  cache_rope.assign(static_cast<size_t>(desc.pages * desc.cache_rope_page), nan);
  lengths.assign(p.lengths.begin(), p.lengths.end());

  std::mt19937_64 random(p.seed * 0x9E3779B97F4A7C15u + 77);
  std::normal_distribution<double> normal;
  table = page_table(desc, p, random);
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
    for (int k = 0; k < p.lengths[static_cast<size_t>(b)]; ++k)
      fill(cache, key_at(b, k), keys_rope, key_rope_at(b, k), 1,
           p.growth * k / p.lengths[static_cast<size_t>(b)] / root);
    for (int t = 0; t < p.s_q; ++t)
      for (int h = 0; h < p.h_q; ++h)
        fill(q, q_at(b, t, h), queries_rope, q_rope_at(b, t, h), p.spread, p.growth != 0 ? 1 : 0);
  }
}

size_t MlaData::q_at(int b, int t, int h) const {
  return q_row(desc, b, t, h);
}
size_t MlaData::q_rope_at(int b, int t, int h) const {
  return p.separate_rope
             ? static_cast<size_t>(b * desc.q_rope_request + t * desc.q_rope_token + h * desc.q_rope_head)
             : q_at(b, t, h) + kLatent;
}
size_t MlaData::key_at(int b, int k) const {
  return cache_row(desc, table, b, k);
}
size_t MlaData::key_rope_at(int b, int k) const {
  return p.separate_rope ? static_cast<size_t>(page_of(desc, table, b, k) * desc.cache_rope_page +
                                               k % p.page_size * desc.cache_rope_token)
                         : key_at(b, k) + kLatent;
}

std::vector<double> decode_keys(const MlaData& data, int b) {
  const int length = data.p.lengths[static_cast<size_t>(b)];
  const auto& keys_rope = data.p.separate_rope ? data.cache_rope : data.cache;
  std::vector<double> keys;
  keys.reserve(static_cast<size_t>(length) * kWidth);
  for (int k = 0; k < length; ++k) {
    const uint16_t* latent = &data.cache[data.key_at(b, k)];
    const uint16_t* rope = &keys_rope[data.key_rope_at(b, k)];
    for (int c = 0; c < kLatent; ++c) keys.push_back(data.value(latent[c]));
    for (int c = 0; c < kRope; ++c) keys.push_back(data.value(rope[c]));
  }
  return keys;
}

// By element: each weight p is rounded once to the input type (half an ulp of it, relative), and so is the
// result; a tenth for the rest, FP32 with the tensor core's truncation. LSE: FP32 sums, ex2.approx (2^-22),
// scores of 576 products that the tensor core adds up with some bits less than FP32.
MlaExpected reference_row(const MlaData& data, const std::vector<double>& keys, int b, int t, int h) {
  const MlaProblem& p = data.p;
  std::vector<double> q(kWidth), scores(visible_keys(p, b, t));
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
  MlaExpected row;
  row.out.assign(kLatent, 0);
  std::vector<double> magnitude(kLatent);
  double sum = 0;
  for (const double s : scores) sum += std::exp(s - top);
  if (!scores.empty()) row.lse = top + std::log(sum);
  row.lse_bound = 4e-6 * std::max(1.0, std::fabs(row.lse));
  for (size_t k = 0; k < scores.size(); ++k) {
    const double w = std::exp(scores[k] - row.lse);
    for (size_t c = 0; c < kLatent; ++c) {
      const double v = keys[k * q.size() + c];
      row.out[c] += w * v;
      magnitude[c] += w * std::fabs(v);
    }
  }
  for (size_t c = 0; c < kLatent; ++c)
    row.bound.push_back(1.1 * half_ulp(data) * (magnitude[c] + std::fabs(row.out[c])) + 1e-7);
  return row;
}

MlaResult run_mla(const MlaData& data) {
  const DeviceMemory q(data.q), cache(data.cache),
      q_rope(data.q_rope.empty() ? std::vector<uint16_t>(8) : data.q_rope),
      cache_rope(data.cache_rope.empty() ? std::vector<uint16_t>(8) : data.cache_rope), table(data.table),
      lengths(data.lengths);
  return run_poisoned(data.desc, ptxopsMlaDecodePlanCreate,
                      [&](ptxopsPlan_t plan, const MlaOutputs& outputs, uint64_t workspace, size_t bytes) {
                        ptxopsMlaDecodeArgs_t args = PTXOPS_MLA_DECODE_ARGS_INITIALIZER;
                        args.q = q.address(), args.cache = cache.address();
                        if (data.p.separate_rope)
                          args.q_rope = q_rope.address(), args.cache_rope = cache_rope.address();
                        args.page_table = table.address(), args.lengths = lengths.address();
                        args.out = outputs.out, args.lse = outputs.lse, args.flags = outputs.flags;
                        return ptxopsMlaDecodeRun(plan, &args, workspace, bytes, nullptr);
                      });
}

// By norm: the roundings of the weights and of the result are independent, and uniform in an interval: less
// than half of half an ulp each.
void expect_close(const MlaData& data, const MlaResult& result) {
  std::vector<double> keys;
  MlaExpected row;
  int request = -1;
  double square = 0;
  const double error = compare_rows(
      data.desc, result, [&](uint16_t bits) { return data.value(bits); },
      [&](int b, int t, int h) -> const MlaExpected& {
        if (b != request) keys = decode_keys(data, request = b);
        row = reference_row(data, keys, b, t, h);
        for (const double x : row.out) square += x * x;
        return row;
      });
  EXPECT_LE(std::sqrt(error), 0.75 * half_ulp(data) * std::sqrt(square) + 1e-12) << "by norm";
}

}  // namespace ptxops::test
