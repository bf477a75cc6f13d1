#include "autotune/mla_fp8_model.h"

#include <algorithm>
#include <stdexcept>

#include "driver/jit/head.h"

namespace ptxops::autotune {
namespace {

// Hopper SXM, published figures (per SM and clock unless said otherwise).
constexpr double kL2BytesPerSm = 64;                     // port of one SM
constexpr double kL2BytesTotal = 6154;                   // whole L2
constexpr double kDramBytes = 0.93 * 3.35e12 / 1.755e9;  // whole device, per clock
constexpr double kBlockBytes = 64 * 656;

}  // namespace

MlaFp8Cost mla_fp8_cost(bool sparse, int64_t rows, int64_t sm_count) {
  static const jit::KernelHead head = jit::parse_head(kMlaDecodeFp8Path);
  static const jit::Domain domain = jit::legal_domain(head);
  const auto sparse_index = static_cast<size_t>(head.param_index("SPARSE"));
  for (size_t i = 0; i < domain.configs.size(); ++i) {
    if (domain.configs[i][sparse_index] != (sparse ? 1 : 0)) continue;
    const auto note = [&](const char* name) {
      return domain.note(i, static_cast<size_t>(head.note_index(name)));
    };
    MlaFp8Cost c;
    c.threads = note("threads"), c.smem_bytes = note("smem_bytes");
    c.tensor = static_cast<double>(note("tensor_clocks"));
    c.shared = static_cast<double>(note("smem_clocks"));
    c.issue = static_cast<double>(note("issue_slots"));
    const int64_t tiles = (rows + 63) / 64;
    const auto ctas = static_cast<double>(std::min(sm_count, tiles * std::max<int64_t>(1, sm_count / tiles)));
    c.l2 = kBlockBytes / std::min(kL2BytesPerSm, kL2BytesTotal / ctas);
    // the tiles of a part read the same keys at about the same time: once from memory
    c.dram = kBlockBytes * ctas / static_cast<double>(std::min(tiles, sm_count)) / kDramBytes;
    c.block = std::max({c.tensor, c.shared, c.issue, c.l2, c.dram});
    return c;
  }
  throw std::invalid_argument("no configuration of mla_decode_fp8 fits");
}

}  // namespace ptxops::autotune
