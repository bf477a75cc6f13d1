// Routing against a brute-force reading of the definition, and properties that must hold whatever the data.
#include "bench/expert_layer/routing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <set>

#include "tests/support/random_seed.h"

namespace ptxops::demo {
namespace {

TEST(Routing, MatchesTheDefinition) {
  auto random = test::random_engine(1);
  std::normal_distribution<float> normal;
  const RoutingConfig c{64, 8, 3, 6, 2.5f};
  const int tokens = 50;
  std::vector<float> logits(tokens * c.experts), bias(c.experts);
  for (float& v : logits) v = normal(random);
  for (float& v : bias) v = 0.3f * normal(random);
  const Routing r = route(logits, bias, tokens, c);
  for (int t = 0; t < tokens; ++t) {
    const auto affinity = [&](int e) { return 1 / (1 + std::exp(-double(logits[t * c.experts + e]))); };
    const auto biased = [&](int e) { return affinity(e) + bias[e]; };
    // A group's score: the largest sum of two of its experts.
    std::vector<std::pair<double, int>> groups;
    for (int g = 0; g < c.groups; ++g) {
      double best = -1e9;
      for (int i = 0; i < 8; ++i)
        for (int j = 0; j < i; ++j) best = std::max(best, biased(g * 8 + i) + biased(g * 8 + j));
      groups.push_back({-best, g});
    }
    std::sort(groups.begin(), groups.end());
    std::vector<std::pair<double, int>> experts;
    for (int i = 0; i < c.groups_chosen; ++i)
      for (int j = 0; j < 8; ++j)
        experts.push_back({-biased(groups[i].second * 8 + j), groups[i].second * 8 + j});
    std::sort(experts.begin(), experts.end());
    double sum = 0, total = 0;
    for (int j = 0; j < c.top_k; ++j) sum += affinity(experts[j].second);
    for (int j = 0; j < c.top_k; ++j) {
      EXPECT_EQ(r.expert[t * c.top_k + j], experts[j].second) << t << " " << j;
      EXPECT_NEAR(r.weight[t * c.top_k + j], affinity(experts[j].second) / sum * c.scale, 1e-5);
      total += r.weight[t * c.top_k + j];
    }
    EXPECT_NEAR(total, c.scale, 1e-4);
  }
}

TEST(Routing, LocalRowsAreAPermutationOfTheLocalSlots) {
  auto random = test::random_engine(2);
  std::normal_distribution<float> normal;
  const RoutingConfig c;
  const int tokens = 100, first = 16, count = 24;
  std::vector<float> logits(size_t(tokens) * c.experts), bias(c.experts, 0);
  for (float& v : logits) v = normal(random);
  const Routing r = route(logits, bias, tokens, c);
  const LocalRows rows = local_rows(r, tokens, c.top_k, first, count);
  std::set<int32_t> seen;
  for (size_t slot = 0; slot < r.expert.size(); ++slot) {
    const int32_t e = r.expert[slot] - first, row = rows.row_of[slot];
    if (e < 0 || e >= count) {
      EXPECT_EQ(row, -1);
      continue;
    }
    EXPECT_GE(row, rows.offsets[e]);
    EXPECT_LT(row, rows.offsets[e + 1]);
    EXPECT_EQ(rows.token[row], static_cast<int32_t>(slot / c.top_k));
    EXPECT_TRUE(seen.insert(row).second);
  }
  EXPECT_EQ(static_cast<int>(seen.size()), rows.rows());
}

TEST(Routing, RefusesWhatCannotBeMet) {
  EXPECT_THROW(route({}, {}, 0, RoutingConfig{10, 3, 1, 1, 1}), std::invalid_argument);
  EXPECT_THROW(route({}, {}, 0, RoutingConfig{16, 8, 1, 3, 1}), std::invalid_argument);
}

}  // namespace
}  // namespace ptxops::demo
