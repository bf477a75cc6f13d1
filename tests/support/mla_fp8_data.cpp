#include "tests/support/mla_fp8_data.h"

#include <algorithm>
#include <climits>
#include <cmath>
#include <limits>
#include <random>

namespace ptxops::test::mla {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr int32_t kUnused = 2147480000;

int ceil_div(int a, int b) {
  return (a + b - 1) / b;
}

}  // namespace

std::string Problem::text() const {
  return std::string(sparse ? "sparse" : "dense") + " batch " + std::to_string(batch) + " s_q " +
         std::to_string(s_q) + " h_q " + std::to_string(h_q) + " page " + std::to_string(page_size) +
         " capacity " + std::to_string(capacity) + (causal ? " causal" : "") + (sinks ? " sinks" : "") +
         (gaps ? " gaps" : "");
}

Data::Data(const Problem& problem, uint64_t seed) : p(problem), scale(1 / std::sqrt(double(kWidth))) {
  std::mt19937_64 random(seed);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<uint64_t>(n)); };
  std::normal_distribution<double> normal;
  requests = p.sparse ? p.batch * p.s_q : p.batch;
  rows = p.sparse ? p.h_q : p.h_q * p.s_q;
  p.lengths.resize(static_cast<size_t>(requests), p.capacity);

  token_stride = kTokenBytes + (p.gaps ? 48 : 0);
  page_stride = p.page_size * token_stride + (p.gaps ? 80 : 0);
  const int slots = p.pages * p.page_size;
  cache.assign(static_cast<size_t>(p.pages * page_stride), 0xff);  // NaN
  tokens_.resize(static_cast<size_t>(slots));
  const auto fill = [&](int slot) {
    std::vector<double>& token = tokens_[static_cast<size_t>(slot)];
    if (!token.empty()) return;
    std::vector<double> x(kWidth);
    const double size = std::exp2(below(5) - 2);
    for (int i = 0; i < kWidth; ++i)
      x[i] = std::clamp(normal(random) * (i < kLatent ? size : 1), -30.0, 30.0);
    uint8_t* at =
        &cache[static_cast<size_t>(slot / p.page_size * page_stride + slot % p.page_size * token_stride)];
    encode_token(x, p.power_of_two, at);
    token = decode_token(at);
  };

  table_width = p.sparse ? p.capacity : ceil_div(p.capacity, p.page_size);
  table.assign(size_t(requests) * size_t(table_width), kUnused);
  const int outside[] = {-1, -1, -1, INT_MIN, INT_MAX, slots};
  for (int r = 0; r < requests; ++r)
    for (int k = 0; k < length(r); ++k) {
      int32_t& entry = table[size_t(r) * table_width + (p.sparse ? k : k / p.page_size)];
      if (p.sparse) {
        entry = below(slots);
        if (std::uniform_real_distribution<double>()(random) < p.invalid)
          entry = outside[below(6)];
        else
          fill(entry);
      } else {
        if (entry == kUnused) entry = below(p.pages);
        fill(entry * p.page_size + k % p.page_size);
      }
    }

  q_head = kWidth + (p.gaps ? 128 : 0), q_token = p.h_q * q_head + (p.gaps ? 16 : 0),
  q_batch = p.s_q * q_token + (p.gaps ? 24 : 0);
  out_head = kLatent + (p.gaps ? 8 : 0), out_token = p.h_q * out_head + (p.gaps ? 16 : 0),
  out_batch = p.s_q * out_token + (p.gaps ? 24 : 0);
  q.resize(static_cast<size_t>(p.batch * q_batch));
  for (auto& v : q) v = to_bf16(normal(random));
  sink.resize(static_cast<size_t>(p.h_q));
  for (auto& v : sink) v = static_cast<float>(normal(random) * 3);
  if (p.h_q > 2) sink[1] = INFINITY, sink[2] = -INFINITY;
}

size_t Data::out_at(int request, int row) const {
  return static_cast<size_t>(batch_of(request) * out_batch + token_of(request, row) * out_token +
                             head_of(row) * out_head);
}
size_t Data::lse_at(int request, int row) const {
  return static_cast<size_t>((batch_of(request) * p.h_q + head_of(row)) * p.s_q + token_of(request, row));
}
int Data::length(int request) const {
  return std::clamp(p.lengths[static_cast<size_t>(request)], 0, p.capacity);
}

std::vector<const std::vector<double>*> Data::visible(int request, int row) const {
  static const std::vector<double> zero(kWidth, 0);
  std::vector<const std::vector<double>*> seen;
  int limit = length(request);
  if (p.causal) limit -= p.s_q - 1 - row / p.h_q;
  for (int k = 0; k < limit; ++k) {
    const int entry = table[size_t(request) * table_width + (p.sparse ? k : k / p.page_size)];
    if (p.sparse) {
      if (entry >= 0 && entry < p.pages * p.page_size) seen.push_back(&tokens_[size_t(entry)]);
    } else {
      const bool exists = entry >= 0 && entry < p.pages;
      seen.push_back(exists ? &tokens_[size_t(entry * p.page_size + k % p.page_size)] : &zero);
    }
  }
  return seen;
}

std::vector<double> Data::query(int request, int row) const {
  std::vector<double> x(kWidth);
  const auto at = static_cast<size_t>(batch_of(request) * q_batch + token_of(request, row) * q_token +
                                      head_of(row) * q_head);
  for (size_t i = 0; i < x.size(); ++i) x[i] = from_bf16(q[at + i]);
  return x;
}

// Every output within the bound of BF16 arithmetic, and all of them together as close as BF16 arithmetic with
// FP32 sums comes: 5 % for the tensor core's truncating sums and ex2.approx; with few rows chance has its
// share.
std::string Data::difference(const std::vector<double>& out, const std::vector<double>& lse,
                             Accuracy* against_framework) const {
  Accuracy accuracy;
  double error = 0;
  for (int request = 0; request < requests; ++request)
    for (int row = 0; row < rows; ++row) {
      const std::string place = "request " + std::to_string(request) + " row " + std::to_string(row) + ": ";
      const double row_sink = p.sinks ? sink[size_t(head_of(row))] : -kInf;
      const auto keys = visible(request, row);
      const std::vector<double> x = query(request, row);
      const Row want = exact(x, keys, scale, row_sink);
      const std::vector<double> bf16 = in_bf16(x, keys, scale, row_sink);
      std::vector<double> framework;
      if (against_framework) framework = in_framework(x, keys, scale);
      const size_t index = size_t(request) * rows + row;
      for (size_t i = 0; i < kLatent; ++i) {
        const double have = out[index * kLatent + i], d = std::fabs(have - want.out[i]);
        if (!(d <= want.bound[i]))
          return place + "column " + std::to_string(i) + ": " + std::to_string(have) + ", expected " +
                 std::to_string(want.out[i]) + " +- " + std::to_string(want.bound[i]);
        error = std::max(error, d);
        accuracy.add(want.out[i], have, bf16[i]);
        if (against_framework) against_framework->add(want.out[i], have, framework[i]);
      }
      if (keys.empty() ? lse[index] != kInf : !(std::fabs(lse[index] - want.lse) <= want.lse_bound))
        return place + "LSE " + std::to_string(lse[index]) + ", expected " + std::to_string(want.lse);
    }
  const double ratio = accuracy.rms(), most = 1.05 + 1 / std::sqrt(requests * rows);
  if (error > 0 && !(ratio <= most))
    return "error is " + std::to_string(ratio) + " of BF16 arithmetic's, expected at most " +
           std::to_string(most);
  return {};
}

std::string Data::difference(const std::vector<uint16_t>& out, const std::vector<float>& lse,
                             Accuracy* against_framework) const {
  std::vector<double> wide(size_t(requests) * rows * kLatent), natural(size_t(requests) * rows);
  for (int request = 0; request < requests; ++request)
    for (int row = 0; row < rows; ++row) {
      const size_t index = size_t(request) * rows + row;
      for (size_t i = 0; i < kLatent; ++i)
        wide[index * kLatent + i] = from_bf16(out[out_at(request, row) + i]);
      natural[index] = lse[lse_at(request, row)] * (p.base2 ? std::log(2.0) : 1);
      if (p.empty_minus_inf && std::isinf(natural[index])) natural[index] = -natural[index];
    }
  return difference(wide, natural, against_framework);
}

Cut::Cut(const Data& data, int splits, int parts)
    : first_slot(data.requests, -1), splits_of(data.requests, 1) {
  for (int r = 0; r < data.requests; ++r) {
    const int blocks = ceil_div(data.length(r), 64), n = std::max(1, std::min(splits, blocks));
    splits_of[r] = n;
    if (n > 1) first_slot[r] = slots, slots += n;
    for (int s = 0; s < n; ++s)
      for (const int v :
           {r, blocks * s / n, blocks * (s + 1) / n, data.length(r), n > 1 ? first_slot[r] + s : -1, s, 0, 0})
        pieces.push_back(v);
  }
  for (int part = 0; part <= parts; ++part)
    part_begin.push_back(static_cast<int32_t>(pieces.size() / 8) * part / parts);
}

std::string Cut::difference(const Data& data, const std::vector<uint16_t>& direct_out,
                            const std::vector<float>& direct_lse, const std::vector<float>& partial,
                            const std::vector<float>& partial_lse) const {
  const Problem& p = data.p;
  std::vector<double> out(size_t(data.requests) * data.rows * kLatent),
      lse(size_t(data.requests) * data.rows);
  for (int request = 0; request < data.requests; ++request)
    for (int row = 0; row < data.rows; ++row) {
      const size_t index = size_t(request) * data.rows + row;
      double* to = &out[index * kLatent];
      const float direct = direct_lse[data.lse_at(request, row)];
      if (first_slot[request] < 0) {
        for (size_t i = 0; i < kLatent; ++i) to[i] = from_bf16(direct_out[data.out_at(request, row) + i]);
        lse[index] = direct * (p.base2 ? std::log(2.0) : 1);
        if (p.empty_minus_inf && std::isinf(direct)) lse[index] = -lse[index];
        continue;
      }
      if (!std::isnan(direct)) return "a request that was cut wrote its LSE";
      const auto slot_row = [&](int s) { return size_t(first_slot[request] + s) * data.rows + row; };
      double top = -kInf, sum = 0;
      for (int s = 0; s < splits_of[request]; ++s) top = std::max<double>(top, partial_lse[slot_row(s)]);
      for (int s = 0; s < splits_of[request]; ++s) {
        const double w = std::exp2(partial_lse[slot_row(s)] - (std::isinf(top) ? 0 : top));
        sum += w;
        for (size_t i = 0; i < kLatent; ++i) {
          const float part = partial[slot_row(s) * kLatent + i];
          if (!(w > 0 ? std::isfinite(part) : part == 0))
            return "request " + std::to_string(request) + " split " + std::to_string(s) + ": " +
                   std::to_string(part);
          to[i] += w * part;
        }
      }
      const double lse2 = top + std::log2(sum);
      lse[index] = sum > 0 ? lse2 * std::log(2.0) : kInf;
      const double row_sink = p.sinks ? data.sink[size_t(data.head_of(row))] : -kInf;
      for (size_t i = 0; i < kLatent; ++i)
        if (sum > 0) to[i] *= 1 / sum / (1 + std::exp2(row_sink / std::log(2.0) - lse2));
    }
  return data.difference(out, lse);
}

}  // namespace ptxops::test::mla
