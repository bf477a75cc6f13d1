// Requests that were cut, merged by mla_combine and by the attention kernel itself (whose last arriver, which
// depends on the run, does it): the same bits, on every schedule, with nothing for the judge to report.
#include <gmock/gmock.h>

#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "tests/ops/mla_reference.h"
#include "tests/support/random_seed.h"

namespace ptxops::test {
namespace {

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// Both forms; the fused one against FP64 too.
MlaResult check(MlaProblem p) {
  SCOPED_TRACE(testing::Message() << p.s_q << " x " << p.h_q << " rows, pages of " << p.page_size
                                  << ", lengths " << testing::PrintToString(p.lengths) << ", split "
                                  << p.split_tokens);
  p.merge = PTXOPS_MLA_MERGE_SEPARATE;
  const MlaData data(p);
  const MlaResult separate = run_mla(data);
  p.merge = PTXOPS_MLA_MERGE_FUSED;
  const MlaData fused_data(p);
  MlaResult fused = run_mla(fused_data);
  if (fused.out.empty()) return fused;
  EXPECT_EQ(fused.out, separate.out);
  EXPECT_TRUE(same_bits(fused.lse, separate.lse));
  EXPECT_EQ(fused.flags, separate.flags);
  expect_close(fused_data, fused);
  return fused;
}

// Tiles that are full and not, one and two of them, with every pitch; 1, 4, 5 rows of a warp's four.
TEST(MlaMerge, SameBitsForAnyNumberOfRows) {
  for (const int heads : {1, 5, 16, 64, 72, 128})
    check({.h_q = heads,
           .lengths = {400, 0, 70, 600},
           .padded = heads == 72,
           .seed = random_seed() + static_cast<uint64_t>(heads)});
  check({.type = PTXOPS_F16, .s_q = 3, .h_q = 100, .page_size = 128, .lengths = {700, 0}, .sm_count = 15});
}

// More splits than lanes hold weights of (8), than a warp has lanes, and odd numbers.
TEST(MlaMerge, SameBitsForAnyNumberOfSplits) {
  for (const int blocks : {2, 3, 8, 9, 16, 17, 70})
    check({.h_q = 6, .lengths = {64 * blocks - 30}, .split_tokens = 64, .seed = random_seed()});
  check({.h_q = 16, .lengths = {1600, 0, 70, 0, 0, 0, 0, 1100}, .split_tokens = 64});
  check({.h_q = 16, .lengths = {3000}, .sm_count = 16, .growth = 40});
}

// More than 32 pieces in a part, cut ones among them: who was last is looked up 32 at a time.
TEST(MlaMerge, SameBitsWithManyPiecesInAPart) {
  MlaProblem p{.h_q = 4, .page_size = 16, .lengths = {}, .split_tokens = 64, .sm_count = 3};
  for (int i = 0; i < 90; ++i) p.lengths.push_back(i % 3 == 0 ? 150 : i % 3 == 1 ? 40 : 0);
  check(p);
}

// Rows that see no key, of a piece or at all.
TEST(MlaMerge, SameBitsForRowsWithoutKeys) {
  for (const bool negative : {false, true})
    check({.s_q = 80,
           .h_q = 1,
           .lengths = {70, 66, 130},
           .causal = true,
           .lse_base2 = negative,
           .lse_empty_neg = negative,
           .split_tokens = 64});
}

TEST(MlaMerge, SameBitsFromGatheredKeys) {
  check({.h_q = 24, .page_size = 1, .lengths = {900, 33, 0, 500}, .seed = random_seed()});
  check({.s_q = 2, .h_q = 64, .page_size = 5, .lengths = {400, 300}, .causal = true, .split_tokens = 128});
}

// By hand, or by the test below in a process of its own: a hash of the bits.
TEST(MlaMerge, DISABLED_Digest) {
  uint64_t hash = 0xcbf29ce484222325;
  const auto add = [&](const MlaProblem& p) {
    const MlaResult r = check(p);
    const auto eat = [&](const void* data, size_t size) {
      for (size_t i = 0; i < size; ++i) hash = (hash ^ static_cast<const uint8_t*>(data)[i]) * 0x100000001b3;
    };
    eat(r.out.data(), r.out.size() * 2);
    eat(r.lse.data(), r.lse.size() * 4);
  };
  add({.h_q = 72, .page_size = 32, .lengths = {700, 0, 130, 500}, .sm_count = 12});
  add({.h_q = 16, .page_size = 1, .lengths = {300, 65, 400}, .sm_count = 7});
  add({.s_q = 2, .h_q = 9, .page_size = 3, .lengths = {200, 330}, .causal = true, .split_tokens = 64});
  std::printf("digest %016llx\n", static_cast<unsigned long long>(hash));
}

// The digest under another schedule and the judge's eye, or what else was printed.
std::string digest_under(int seed) {
  char self[4096] = {};
  EXPECT_GT(readlink("/proc/self/exe", self, sizeof self - 1), 0);
  const std::string command =
      "PTXOPS_CHECK=full PTXOPS_SCHEDULE_SEED=" + std::to_string(seed) + " '" + self +
      "' --gtest_also_run_disabled_tests --gtest_filter=MlaMerge.DISABLED_Digest 2>&1";
  FILE* pipe = popen(command.c_str(), "r");
  if (!pipe) return "no process";
  std::string text;
  char buffer[4096];
  while (const size_t n = std::fread(buffer, 1, sizeof buffer, pipe)) text.append(buffer, n);
  const int status = pclose(pipe);
  const size_t at = text.find("digest ");
  return status == 0 && at != std::string::npos ? text.substr(at, 23) : text;
}

TEST(MlaMerge, SameBitsUnderEverySchedule) {
  const std::string first = digest_under(0);
  EXPECT_THAT(first, testing::StartsWith("digest "));
  for (int seed = 1; seed < 5; ++seed) EXPECT_EQ(digest_under(seed), first) << "seed " << seed;
}

}  // namespace
}  // namespace ptxops::test
