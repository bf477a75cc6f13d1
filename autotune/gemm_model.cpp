#include "autotune/gemm_model.h"

#include <algorithm>
#include <stdexcept>

namespace ptxops::autotune {
namespace {

// Hopper SXM, published figures (per SM and clock unless said otherwise).
constexpr double kSharedBytes = 128;                     // shared-memory reads by wgmma
constexpr double kL2BytesPerSm = 64;                     // port of one SM
constexpr double kL2BytesTotal = 6154;                   // whole L2, DeepGEMM's model limit
constexpr double kDramBytes = 0.93 * 3.35e12 / 1.755e9;  // whole device, per clock
constexpr double kFmaLanes = 128;
constexpr double kLoadLatency = 1000;  // DRAM-resident TMA load, clocks
constexpr double kTileFixed = 2300;    // published lower estimate for one tile's fixed cost
constexpr double kHidden = 0.5;        // of it, when another warpgroup's MMA runs meanwhile (inference)

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

}  // namespace

GemmCost estimate(const GemmConfig& c, const GemmShape& s) {
  GemmCost cost;
  const int64_t kblocks = s.k / 128;
  const int64_t m_tiles = std::max<int64_t>(1, ceil_div(s.rows_per_group, c.block_m)) * s.groups;
  const int64_t n_tiles = ceil_div(ceil_div(s.n, c.block_n), c.cluster) * c.cluster;
  const int sms = std::max(c.cluster, s.sm_count / c.cluster * c.cluster);
  cost.tiles = m_tiles * n_tiles;
  cost.waves = ceil_div(cost.tiles, sms);
  const double m64 = c.block_m / 64.0;
  const int64_t active = std::min<int64_t>(sms, cost.tiles);
  cost.tensor = m64 * c.block_n * 2;
  cost.shared = m64 * 4 * (64 + c.block_n) * 32 / kSharedBytes;
  cost.promotion = 1.0 * c.block_m * c.block_n / kFmaLanes / (c.math_warpgroups > 1 ? 2 : 1);
  const double l2_bytes = (1.0 * c.block_m / c.cluster + c.block_n) * 128 + c.block_m * 4.0;
  cost.l2 = l2_bytes / std::min(kL2BytesPerSm, kL2BytesTotal / static_cast<double>(active));
  cost.latency = kLoadLatency / c.stages;
  // One math warpgroup promotes between its own MMAs; two alternate.
  const double math = std::max(cost.tensor, cost.shared) + (c.math_warpgroups == 1 ? cost.promotion : 0);
  const double block = std::max({math, cost.promotion, cost.l2, cost.latency});
  const double store = 1.0 * c.block_m * c.block_n * (s.out ? 4 : 2) / 32;
  cost.fixed = kTileFixed + store;
  // All but the last tile's fixed cost hides, in part, behind the other warpgroup's MMA.
  const double waves = static_cast<double>(cost.waves);
  const double exposed = cost.fixed * (1 + (waves - 1) * (c.math_warpgroups > 1 ? kHidden : 1));
  const double bytes = static_cast<double>(s.groups) * static_cast<double>(s.n) * static_cast<double>(s.k) +
                       static_cast<double>(s.m) * static_cast<double>(s.k) +
                       static_cast<double>(s.m) * static_cast<double>(s.n) * (s.out ? 4 : 2);
  cost.dram = bytes / kDramBytes;
  cost.cycles = std::max(waves * static_cast<double>(kblocks) * block + exposed, cost.dram);
  return cost;
}

std::vector<Ranked> rank(const GemmShape& shape, size_t most) {
  const std::vector<GemmConfig>& configs = GemmSpace::get().configs(shape.form, shape.out);
  std::vector<Ranked> all;
  all.reserve(configs.size());
  for (const GemmConfig& c : configs) {
    if (c.cluster > shape.sm_count) continue;
    all.push_back({&c, estimate(c, shape)});
  }
  const auto better = [](const Ranked& a, const Ranked& b) {
    if (a.cost.cycles != b.cost.cycles) return a.cost.cycles < b.cost.cycles;
    // Where something else bounds the launch: the least tensor work, hence the least power.
    const double work_a = a.cost.tensor * static_cast<double>(a.cost.tiles);
    const double work_b = b.cost.tensor * static_cast<double>(b.cost.tiles);
    if (work_a != work_b) return work_a < work_b;
    return a.config < b.config;
  };
  most = std::min(most, all.size());
  std::partial_sort(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(most), all.end(), better);
  all.resize(most);
  return all;
}

const GemmConfig& choose(const GemmShape& shape) {
  const std::vector<Ranked> best = rank(shape, 1);
  if (best.empty()) throw std::invalid_argument("no configuration of the FP8 GEMM fits this shape");
  return *best.front().config;
}

}  // namespace ptxops::autotune
