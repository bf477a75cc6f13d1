// FP8 MLA decode through the C ABI against FP64. Unused pages, the tail of the last page and gaps between
// rows are NaN, unused table entries are far out of range, outputs are poisoned; sizes are scaled to the
// virtual device.
#include <gmock/gmock.h>

#include <algorithm>
#include <climits>
#include <random>

#include "tests/ops/mla_e4m3_reference.h"
#include "tests/support/random_seed.h"

namespace ptxops::test {
namespace {

void check(MlaE4m3Problem p) {
  p.seed = random_seed() + p.seed;
  const MlaE4m3Data data(p);
  const MlaE4m3Result result = run_mla_e4m3(data);
  if (result.out.empty()) return;
  expect_close(data, result);
  for (const int32_t flags : result.flags) EXPECT_EQ(flags, 0);
}

// Lengths at the edges of blocks and pages, mixed with empty requests.
const std::vector<int> kEdges = {0, 1, 63, 64, 65, 127, 128, 129, 0, 300};

TEST(MlaDecodeE4m3, OneBlock) {
  check({.h_q = 64, .lengths = {64}, .sm_count = 1});
}

TEST(MlaDecodeE4m3, LengthsAroundTheBlocks) {
  check({.h_q = 16, .lengths = kEdges});
}

}  // namespace
}  // namespace ptxops::test
