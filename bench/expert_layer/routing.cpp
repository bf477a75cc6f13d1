#include "bench/expert_layer/routing.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <utility>

namespace ptxops::demo {

Routing route(const std::vector<float>& logits, const std::vector<float>& bias, int tokens,
              const RoutingConfig& c) {
  const int per_group = c.groups > 0 ? c.experts / c.groups : 0;
  if (c.groups < 1 || c.experts % c.groups != 0 || per_group < 2 || c.groups_chosen < 1 ||
      c.groups_chosen > c.groups || c.top_k < 1 || c.top_k > c.groups_chosen * per_group)
    throw std::invalid_argument(
        "routing: top_k experts must fit in the chosen groups of experts / groups >= 2 experts");
  Routing out;
  out.expert.resize(static_cast<size_t>(tokens) * c.top_k);
  out.weight.resize(out.expert.size());
  std::vector<float> affinity(c.experts), biased(c.experts), group_score(c.groups);
  std::vector<int> order(c.experts), group_order(c.groups);
  for (int t = 0; t < tokens; ++t) {
    for (int e = 0; e < c.experts; ++e) {
      affinity[e] = 1.0f / (1.0f + std::exp(-logits[static_cast<size_t>(t) * c.experts + e]));
      biased[e] = affinity[e] + bias[e];
    }
    for (int g = 0; g < c.groups; ++g) {
      float best = -INFINITY, second = -INFINITY;
      for (int e = g * per_group; e < (g + 1) * per_group; ++e) {
        if (biased[e] > best)
          second = std::exchange(best, biased[e]);
        else
          second = std::max(second, biased[e]);
      }
      group_score[g] = best + second;
    }
    std::iota(group_order.begin(), group_order.end(), 0);
    std::stable_sort(group_order.begin(), group_order.end(),
                     [&](int a, int b) { return group_score[a] > group_score[b]; });
    order.clear();
    for (int i = 0; i < c.groups_chosen; ++i)
      for (int e = group_order[i] * per_group; e < (group_order[i] + 1) * per_group; ++e) order.push_back(e);
    std::sort(order.begin(), order.end(),
              [&](int a, int b) { return biased[a] != biased[b] ? biased[a] > biased[b] : a < b; });
    float sum = 0;
    for (int j = 0; j < c.top_k; ++j) sum += affinity[order[j]];
    for (int j = 0; j < c.top_k; ++j) {
      out.expert[static_cast<size_t>(t) * c.top_k + j] = order[j];
      out.weight[static_cast<size_t>(t) * c.top_k + j] = affinity[order[j]] / sum * c.scale;
    }
  }
  return out;
}

LocalRows local_rows(const Routing& routing, int tokens, int top_k, int first, int count) {
  LocalRows rows;
  rows.offsets.assign(count + 1, 0);
  rows.row_of.assign(static_cast<size_t>(tokens) * top_k, -1);
  for (int32_t e : routing.expert)
    if (e >= first && e < first + count) ++rows.offsets[e - first + 1];
  std::partial_sum(rows.offsets.begin(), rows.offsets.end(), rows.offsets.begin());
  rows.token.resize(rows.rows());
  std::vector<int32_t> next(rows.offsets.begin(), rows.offsets.end() - 1);
  for (int t = 0; t < tokens; ++t)
    for (int j = 0; j < top_k; ++j) {
      const size_t slot = static_cast<size_t>(t) * top_k + j;
      const int32_t e = routing.expert[slot] - first;
      if (e < 0 || e >= count) continue;
      rows.row_of[slot] = next[e];
      rows.token[next[e]++] = t;
    }
  return rows;
}

}  // namespace ptxops::demo
