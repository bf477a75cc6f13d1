#include "autotune/mla_model.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace ptxops::autotune {
namespace {

// Hopper SXM, published figures (per SM and clock unless said otherwise).
constexpr double kL2BytesPerSm = 64;                     // port of one SM
constexpr double kL2BytesTotal = 6154;                   // whole L2
constexpr double kDramBytes = 0.93 * 3.35e12 / 1.755e9;  // whole device, per clock
constexpr double kL2Latency = 340;                       // near and far half
constexpr double kLaunch = 1.37e-6 * 1.755e9;            // one more kernel in a graph
constexpr double kBlockValues = 64 * 576;                // keys of a block
constexpr double kRowBytes = 512 * 4;                    // of a partial result

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// Pieces of a request that is cut. Lengths are not known: as if all were equal, and as long as they may be.
int64_t splits_of(const MlaShape& s, int64_t parts) {
  const int64_t blocks = ceil_div(s.keys, 64);
  if (s.split_keys) {
    const int64_t share = s.total_keys ? ceil_div(s.total_keys, s.requests) : s.keys;
    if (s.keys <= s.split_keys) return 1;
    return std::max<int64_t>(2, ceil_div(std::min(s.keys, share), s.split_keys));
  }
  if (parts == 1) return 1;
  return std::min(std::max<int64_t>(2, ceil_div(parts, std::max<int64_t>(1, s.requests))), blocks);
}

// Separate: a launch; then all SMs read all partial rows, after a record and beside their weights. Fused: no
// launch, but a tile is merged by one SM, the last to finish, 16 rows and two splits a round trip.
double merge_cycles(const MlaShape& s, const MlaConfig& c, int64_t splits) {
  if (splits == 1) return 0;
  const int64_t merges = s.split_keys ? s.requests : std::min<int64_t>(s.requests, c.parts - 1);
  const double all_l2 = std::min(kL2BytesTotal, kL2BytesPerSm * s.sm_count);
  if (!c.fused)
    return kLaunch + 3 * kL2Latency + static_cast<double>(merges * splits * s.rows) * kRowBytes / all_l2;
  const int64_t tiles = ceil_div(s.rows, 64), rows = std::min<int64_t>(s.rows, 64);
  const int64_t at_once = std::min<int64_t>(merges * tiles, s.sm_count);
  const double bytes = static_cast<double>(splits * rows) * kRowBytes;
  const auto round_trips = static_cast<double>(ceil_div(rows, 16) * ceil_div(splits, 2));
  const double one = std::max(bytes / std::min(kL2BytesPerSm, kL2BytesTotal / static_cast<double>(at_once)),
                              round_trips * kL2Latency);
  return 2 * kL2Latency + one * static_cast<double>(ceil_div(merges * tiles, s.sm_count));
}

struct Kernel {
  explicit Kernel(const char* path) : head(jit::parse_head(path)), domain(jit::legal_domain(head)) {}
  jit::KernelHead head;
  jit::Domain domain;
};

const Kernel& kernel(bool e4m3) {
  if (e4m3) {
    static const Kernel k(kMlaDecodeE4m3Path);
    return k;
  }
  static const Kernel k(kMlaDecodePath);
  return k;
}

}  // namespace

std::vector<MlaRanked> rank(const MlaShape& s) {
  const auto& [head, domain] = kernel(s.e4m3);
  const double block_bytes = kBlockValues * (s.e4m3 ? 1 : 2);
  const auto param = [&](const jit::Config& c, const char* name) {
    return c[static_cast<size_t>(head.param_index(name))];
  };
  // Boxes of TMA where the kernel has them for this page size, else the gather.
  const std::vector<int64_t>& pages = head.params[static_cast<size_t>(head.param_index("PAGE"))].domain;
  const bool boxes = s.page_size != 0 && std::find(pages.begin(), pages.end(), s.page_size) != pages.end();
  std::vector<MlaRanked> all;
  for (size_t i = 0; i < domain.configs.size(); ++i) {
    const jit::Config& c = domain.configs[i];
    if (param(c, "TYPE") != s.type || param(c, "PAGE") != (boxes ? s.page_size : 0)) continue;
    const bool fused = !s.e4m3 && param(c, "FUSED") != 0;
    if (s.merge != MlaMerge::kAny && fused != (s.merge == MlaMerge::kFused)) continue;
    const auto note = [&](const char* name) {
      return domain.note(i, static_cast<size_t>(head.note_index(name)));
    };
    const auto note32 = [&](const char* name) { return static_cast<int32_t>(note(name)); };
    MlaRanked r;
    r.config.cluster = note32("cluster");
    r.config.fused = fused, r.config.gather = !boxes;
    const int64_t tiles = ceil_div(ceil_div(s.rows, 64), r.config.cluster) * r.config.cluster;
    if (r.config.cluster > s.sm_count) continue;
    r.config.tiles = static_cast<int32_t>(tiles);
    r.config.parts = static_cast<int32_t>(std::max<int64_t>(1, s.sm_count / tiles));
    r.config.threads = note32("threads"), r.config.smem_bytes = note32("smem_bytes");
    r.config.latent_box_rows = note32("latent_box_rows");
    r.config.latent_box_chunks = note32("latent_box_chunks");
    r.config.rope_box_rows = note32("rope_box_rows");
    r.config.params = head.named(c);
    MlaCost& cost = r.cost;
    const double ctas = static_cast<double>(std::min<int64_t>(s.sm_count, tiles * r.config.parts));
    const int64_t useful = std::min<int64_t>(ceil_div(s.rows, 64) * r.config.parts, s.sm_count);
    cost.tensor = static_cast<double>(note("tensor_clocks"));
    cost.shared = static_cast<double>(note("smem_clocks"));
    cost.l2 = block_bytes / r.config.cluster / std::min(kL2BytesPerSm, kL2BytesTotal / ctas);
    // the tiles of a part read the same keys at about the same time: once from memory
    cost.dram = block_bytes * ctas / static_cast<double>(std::min<int64_t>(tiles, s.sm_count)) / kDramBytes;
    cost.block = std::max({cost.tensor, cost.shared, cost.l2, cost.dram});
    cost.occupied = static_cast<double>(useful) / s.sm_count;
    cost.splits = splits_of(s, r.config.parts);
    cost.merge = merge_cycles(s, r.config, cost.splits);
    all.push_back(std::move(r));
  }
  if (all.empty())
    throw std::invalid_argument(s.e4m3 ? "no configuration of mla_decode_e4m3 fits this shape"
                                       : "no configuration of mla_decode fits this shape");
  std::stable_sort(all.begin(), all.end(), [](const MlaRanked& a, const MlaRanked& b) {
    const double speed_a = a.cost.occupied / a.cost.block, speed_b = b.cost.occupied / b.cost.block;
    if (speed_a != speed_b) return speed_a > speed_b;
    const double traffic_a = a.cost.l2 * a.config.tiles, traffic_b = b.cost.l2 * b.config.tiles;
    if (traffic_a != traffic_b) return traffic_a < traffic_b;
    return a.cost.merge < b.cost.merge;
  });
  return all;
}

}  // namespace ptxops::autotune
