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
constexpr double kBlockBytes = 64 * 576;                 // keys of a block, a byte a value

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
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
  const double block_bytes = s.e4m3 ? kBlockBytes : 2 * kBlockBytes;
  const auto param = [&](const jit::Config& c, const char* name) {
    return c[static_cast<size_t>(head.param_index(name))];
  };
  std::vector<MlaRanked> all;
  for (size_t i = 0; i < domain.configs.size(); ++i) {
    const jit::Config& c = domain.configs[i];
    if (param(c, "TYPE") != s.type || param(c, "PAGE") != s.page_size) continue;
    const auto note = [&](const char* name) {
      return domain.note(i, static_cast<size_t>(head.note_index(name)));
    };
    const auto note32 = [&](const char* name) { return static_cast<int32_t>(note(name)); };
    MlaRanked r;
    r.config.cluster = note32("cluster");
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
    all.push_back(std::move(r));
  }
  if (all.empty())
    throw std::invalid_argument(s.e4m3 ? "no configuration of mla_decode_e4m3 fits this shape"
                                       : "no configuration of mla_decode fits this shape");
  std::stable_sort(all.begin(), all.end(), [](const MlaRanked& a, const MlaRanked& b) {
    const double speed_a = a.cost.occupied / a.cost.block, speed_b = b.cost.occupied / b.cost.block;
    if (speed_a != speed_b) return speed_a > speed_b;
    return a.cost.l2 * a.config.tiles < b.cost.l2 * b.config.tiles;  // the least traffic
  });
  return all;
}

}  // namespace ptxops::autotune
