// Expert routing as the DeepSeek-V3 technical report defines it (arXiv 2412.19437, section 2.1.2, with the
// group limit of section 2.1.2's node-limited routing): sigmoid affinities, a bias that takes part in the
// selection only, the best groups by the sum of their two best biased affinities, the best experts of those
// groups; gate values are the unbiased affinities of the chosen, normalised to sum 1 and scaled.
#pragma once

#include <cstdint>
#include <vector>

namespace ptxops::demo {

struct RoutingConfig {
  int experts = 256;
  int groups = 8;  // of experts / groups neighbours each
  int groups_chosen = 4;
  int top_k = 8;
  float scale = 2.5f;  // of the normalised gate values
};

struct Routing {
  std::vector<int32_t> expert;  // [tokens][top_k], best first
  std::vector<float> weight;    // [tokens][top_k]
};

// logits [tokens][experts], bias [experts]. Ties go to the lower index. Throws std::invalid_argument for a
// configuration that cannot be met.
Routing route(const std::vector<float>& logits, const std::vector<float>& bias, int tokens,
              const RoutingConfig& config);

// The rows that experts first .. first+count-1 compute, sorted by expert, then token.
struct LocalRows {
  std::vector<int32_t> offsets;  // [count+1]
  std::vector<int32_t> token;    // [rows]: source of each row
  std::vector<int32_t> row_of;   // [tokens][top_k]: row of a token's slot, -1 where the expert is not local
  int rows() const { return offsets.back(); }
};
LocalRows local_rows(const Routing& routing, int tokens, int top_k, int first, int count);

}  // namespace ptxops::demo
