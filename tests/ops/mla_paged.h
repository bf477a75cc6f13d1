// What the tests of dense decode share, 16-bit or in FP8: the layout of a problem with every trap, where
// things lie in it, and the comparison of a result with the rows of a reference.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <random>
#include <vector>

#include "tests/ops/device.h"

namespace ptxops::test {

inline constexpr int kLatent = 512, kRope = 64, kWidth = kLatent + kRope;

struct MlaResult {
  std::vector<uint16_t> out;
  std::vector<float> lse;
  std::vector<int32_t> flags;
};

// One row of the reference, and how far a kernel may be from it. LSE in nats, -inf: no key.
struct MlaExpected {
  std::vector<double> out, bound;  // kLatent
  double lse = -std::numeric_limits<double>::infinity(), lse_bound = 0;
};

// Sizes and strides. Padded: gaps everywhere, of `unit` elements where alignment wants no more. width: of
// rows of q and cache.
template <class Desc, class Problem>
void describe(Desc& desc, const Problem& p, int width, int unit) {
  int longest = 0, used = 0;
  for (const int length : p.lengths) {
    const int pages = (std::max(length, 0) + p.page_size - 1) / p.page_size;
    longest = std::max(longest, pages);
    used += pages;
  }
  const int pad = p.padded ? 1 : 0;
  desc.batch = static_cast<int>(p.lengths.size()), desc.s_q = p.s_q, desc.h_q = p.h_q;
  desc.pages = used + 3;  // some that nobody uses
  desc.page_size = p.page_size, desc.max_pages = p.max_pages ? p.max_pages : longest + 1;
  desc.causal = p.causal, desc.lse_base2 = p.lse_base2, desc.lse_empty_neg = p.lse_empty_neg;
  desc.sm_count = p.sm_count, desc.split_tokens = p.split_tokens, desc.max_total_tokens = p.max_total_tokens;
  desc.q_head = width + 128 * pad;
  desc.q_token = p.h_q * desc.q_head + unit * pad;
  desc.q_request = p.s_q * desc.q_token + 2 * unit * pad;
  desc.cache_token = width + 64 * pad;
  desc.cache_page = p.page_size * desc.cache_token + unit * pad;
  desc.out_head = kLatent + 16 * pad;
  desc.out_token = p.h_q * desc.out_head + 8 * pad;
  desc.out_request = p.s_q * desc.out_token + 24 * pad;
  desc.lse_token = 1 + pad, desc.lse_head = p.s_q * desc.lse_token + pad;
  desc.lse_request = p.h_q * desc.lse_head + pad;
  desc.table_request = desc.max_pages + 3 * pad;
}

// The pages of the requests, at random; entries that no length reaches are no pages.
template <class Desc, class Problem>
std::vector<int32_t> page_table(const Desc& desc, const Problem& p, std::mt19937_64& random) {
  std::vector<int32_t> order(static_cast<size_t>(desc.pages));
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), random);
  std::vector<int32_t> table(static_cast<size_t>(desc.batch * desc.table_request), 2147480000);
  for (size_t b = 0, next = 0; b < p.lengths.size(); ++b)
    for (int i = 0; i < (p.lengths[b] + p.page_size - 1) / p.page_size; ++i)
      table[b * static_cast<size_t>(desc.table_request) + static_cast<size_t>(i)] = order[next++];
  return table;
}

// The first element of a row of q or of a token of the cache.
template <class Desc>
size_t q_row(const Desc& desc, int b, int t, int h) {
  return static_cast<size_t>(b * desc.q_request + t * desc.q_token + h * desc.q_head);
}
template <class Desc>
int64_t page_of(const Desc& desc, const std::vector<int32_t>& table, int b, int k) {
  return table[static_cast<size_t>(b * desc.table_request + k / desc.page_size)];
}
template <class Desc>
size_t cache_row(const Desc& desc, const std::vector<int32_t>& table, int b, int k) {
  return static_cast<size_t>(page_of(desc, table, b, k) * desc.cache_page +
                             k % desc.page_size * desc.cache_token);
}

// Keys that a row sees.
template <class Problem>
size_t visible_keys(const Problem& p, int b, int t) {
  const int length = p.lengths[static_cast<size_t>(b)];
  return static_cast<size_t>(std::max(0, p.causal ? length - (p.s_q - 1 - t) : length));
}

// The op on fresh memory, outputs poisoned. create: its PlanCreate. launch(plan, outputs, workspace, bytes)
// runs it.
struct MlaOutputs {
  uint64_t out, lse, flags;
};
template <class Desc, class Create, class Launch>
MlaResult run_poisoned(const Desc& d, Create create, Launch launch) {
  const DeviceMemory out(static_cast<size_t>(d.batch * d.out_request) * 2, 0xA7),
      lse(static_cast<size_t>(d.batch * d.lse_request) * 4, 0xA7),
      flags(static_cast<size_t>(d.batch) * 4, 0xA7);
  Plan plan;
  EXPECT_OK(create(context(), &d, &plan.handle));
  if (!plan.handle) return {};
  EXPECT_OK(ptxopsPlanPrepare(plan.handle));
  size_t bytes = 0;
  EXPECT_OK(ptxopsPlanGetWorkspaceSize(plan.handle, &bytes));
  const DeviceMemory workspace(bytes, 0xFF);
  EXPECT_OK(launch(plan.handle, MlaOutputs{out.address(), lse.address(), flags.address()},
                   workspace.address(), bytes));
  EXPECT_OK(ptxopsStreamSynchronize(context(), nullptr));
  return {out.read<uint16_t>(), lse.read<float>(), flags.read<int32_t>()};
}

// Every element against expected(b, t, h), and what lies between the rows against the poison. value: of an
// element's bits. Returns the sum of the squared errors.
template <class Desc, class Value, class Expected>
double compare_rows(const Desc& d, const MlaResult& result, Value value, Expected expected) {
  std::vector<bool> written(result.out.size()), lse_written(result.lse.size());
  int faults = 0;
  const auto fault = [&](const std::string& text) {
    if (++faults <= 5) ADD_FAILURE() << text;
  };
  double square = 0;
  for (int b = 0; b < d.batch; ++b)
    for (int t = 0; t < d.s_q; ++t)
      for (int h = 0; h < d.h_q; ++h) {
        const MlaExpected& row = expected(b, t, h);
        const auto at = static_cast<size_t>(b * d.out_request + t * d.out_token + h * d.out_head);
        for (size_t c = 0; c < kLatent; ++c) {
          written[at + c] = true;
          const double have = value(result.out[at + c]), want = row.out[c];
          if (!(std::fabs(have - want) <= row.bound[c]))
            fault(fmt::format("request {} token {} head {} column {}: {}, expected {} +- {:.2g}", b, t, h, c,
                              have, want, row.bound[c]));
          square += (have - want) * (have - want);
        }
        const auto lse_at = static_cast<size_t>(b * d.lse_request + h * d.lse_head + t * d.lse_token);
        lse_written[lse_at] = true;
        const double unit = d.lse_base2 ? std::log(2.0) : 1, have = result.lse[lse_at];
        const double lse = (std::isinf(row.lse) && !d.lse_empty_neg ? -row.lse : row.lse) / unit;
        if (!(have == lse || std::fabs(have - lse) <= row.lse_bound / unit))
          fault(fmt::format("request {} token {} head {}: LSE {}, expected {} +- {:.2g}", b, t, h, have, lse,
                            row.lse_bound / unit));
      }
  for (size_t i = 0; i < written.size(); ++i)
    if (!written[i] && result.out[i] != 0xA7A7) fault(fmt::format("element {} of OUT was written", i));
  for (size_t i = 0; i < lse_written.size(); ++i)
    if (!lse_written[i] && std::bit_cast<uint32_t>(result.lse[i]) != 0xA7A7A7A7)
      fault(fmt::format("element {} of LSE was written", i));
  return square;
}

}  // namespace ptxops::test
