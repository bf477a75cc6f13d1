#include "driver/jit/head.h"

#include <random>
#include <set>
#include <stdexcept>

#include "tests/driver/jit/template_fixture.h"

namespace ptxops::jit {
namespace {

constexpr const char* kHead = R"(//% kernel gemm
// D = A B
//% param M in 64, 128
//% param N in 16..64 step 16
//% param S in 2..4
//% let BYTES = (M + N) * 128 * S
//% require BYTES <= 40000 "{{BYTES}} bytes do not fit"
//% require M == 64 || N >= 32 "narrow"
//% note smem_bytes = BYTES
//% note threads = M == 64 ? 128 : 256
//% smem 0 M*128 A
//% role producer warp 0
//% cost M * N clocks
.version 8.0
)";

TEST(Head, Contract) {
  const KernelHead head = parse_head_text("gemm.ptx", kHead);
  EXPECT_EQ(head.name, "gemm");
  EXPECT_EQ(head.path, "gemm.ptx");
  ASSERT_EQ(head.params.size(), 3u);
  EXPECT_EQ(head.params[1].name, "N");
  EXPECT_EQ(head.params[1].domain, (std::vector<int64_t>{16, 32, 48, 64}));
  EXPECT_EQ(head.params[1].domain_text, "16..64 step 16");
  EXPECT_EQ(head.params[1].line, 4);
  ASSERT_EQ(head.requirements.size(), 2u);
  EXPECT_EQ(head.requirements[0].kind, "BYTES <= 40000");
  EXPECT_EQ(head.requirements[0].text, "{{BYTES}} bytes do not fit");
  EXPECT_EQ(head.notes, (std::vector<std::string>{"smem_bytes", "threads"}));
  ASSERT_EQ(head.contract.size(), 3u);
  EXPECT_EQ(head.contract[0].kind, "smem");
  EXPECT_EQ(head.contract[0].text, "0 M*128 A");
  EXPECT_EQ(head.contract[1].kind, "role");
  EXPECT_EQ(head.contract[1].text, "producer warp 0");
  EXPECT_EQ(head.contract[2].line, 13);
}

TEST(Head, EnumerationIsTheWholeLegalDomainInOrder) {
  const KernelHead head = parse_head_text("gemm.ptx", kHead);
  std::vector<Config> expected;
  for (const int64_t m : {64, 128})
    for (const int64_t n : {16, 32, 48, 64})
      for (const int64_t s : {2, 3, 4})
        if ((m + n) * 128 * s <= 40000 && (m == 64 || n >= 32)) expected.push_back({m, n, s});
  ASSERT_GT(expected.size(), 4u);
  ASSERT_LT(expected.size(), 24u);
  EXPECT_EQ(enumerate(head), expected);
  const std::set<Config> legal(expected.begin(), expected.end());
  for (const int64_t m : {64, 65, 128})
    for (const int64_t n : {16, 32, 48, 64})
      for (const int64_t s : {2, 3, 4, 5})
        EXPECT_EQ(is_legal(head, Config{m, n, s}), legal.contains({m, n, s}));
}

TEST(Head, SaysWhyNot) {
  const KernelHead head = parse_head_text("gemm.ptx", kHead);
  std::string why;
  EXPECT_FALSE(is_legal(head, Config{64, 17, 2}, &why));
  EXPECT_EQ(why, "N = 17 is not in its domain 16..64 step 16");
  EXPECT_FALSE(is_legal(head, Config{128, 16, 2}, &why));
  EXPECT_EQ(why, "narrow: required M == 64 || N >= 32");
  EXPECT_THROW(is_legal(head, Config{64, 16}), std::invalid_argument);
}

TEST(Head, NotesOfAConfiguration) {
  const KernelHead head = parse_head_text("gemm.ptx", kHead);
  for (const Config& c : enumerate(head)) {
    EXPECT_EQ(evaluate_note(head, "smem_bytes", c), (c[0] + c[1]) * 128 * c[2]);
    EXPECT_EQ(evaluate_note(head, "threads", c), c[0] == 64 ? 128 : 256);
    const Expansion e = expand(*head.parsed, head.named(c));
    EXPECT_EQ(e.notes.at("smem_bytes"), evaluate_note(head, "smem_bytes", c));
  }
  EXPECT_EQ(evaluate_note(head, "nothing", Config{64, 16, 2}), std::nullopt);
  EXPECT_THROW(evaluate_note(head, "threads", Config{128, 16, 2}), TemplateError);
}

TEST(Head, TheDomainHoldsEveryNote) {
  const KernelHead head = parse_head_text("gemm.ptx", kHead);
  const Domain domain = legal_domain(head);
  ASSERT_EQ(domain.configs, enumerate(head));
  ASSERT_EQ(domain.note_count, 2u);
  ASSERT_EQ(domain.notes.size(), domain.configs.size() * 2);
  for (size_t i = 0; i < domain.configs.size(); ++i)
    for (size_t n = 0; n < 2; ++n)
      EXPECT_EQ(domain.note(i, n), evaluate_note(head, head.notes[n], domain.configs[i]));
}

TEST(Head, NamesAndPositions) {
  const KernelHead head = parse_head_text("gemm.ptx", kHead);
  const Config c{64, 32, 3};
  EXPECT_EQ(head.config(head.named(c)), c);
  EXPECT_THROW(head.config({{"M", 64}}), std::invalid_argument);
  EXPECT_THROW(head.config({{"M", 64}, {"N", 16}, {"S", 2}, {"X", 1}}), std::invalid_argument);
}

TEST(Head, ARequirementGuardsALaterLet) {
  // The let reads B alone and fails for B = 1; the requirement before it, which forbids that, also reads A,
  // so pruning meets the failing let first.
  const KernelHead head = parse_head_text(
      "g.ptx",
      "//% kernel g\n//% param B in 1..3\n//% param A in 0..1\n//% require B != 1 || A == 7 \"guard\"\n"
      "//% let Q = 12 / (B - 1)\n//% require Q != 6 || A == 1 \"q\"\n//% note q = Q\n");
  EXPECT_EQ(enumerate(head), (std::vector<Config>{{2, 0}, {2, 1}, {3, 1}}));
}

TEST(Head, AFailingLetOfALegalCombinationIsAnError) {
  const KernelHead head = parse_head_text(
      "g.ptx", "//% kernel g\n//% param B in 0..3\n//% param A in 0..1\n//% let Q = 12 / B\n");
  try {
    enumerate(head);
    FAIL();
  } catch (const TemplateError& e) {
    EXPECT_STREQ(e.what(), "g.ptx:4: division by zero in 12 / 0");
  }
}

TEST(Head, RandomHeadsAgreeWithBruteForce) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 200; ++round) {
    const char names[] = "ABCD";
    std::string text = "//% kernel r\n";
    for (int p = 0; p < 4; ++p)
      text += std::string("//% param ") + names[p] + " in 0.." + std::to_string(random() % 4) + "\n";
    for (int r = 0; r < 4; ++r) {
      const std::string x(1, names[random() % 4]), y(1, names[random() % 4]);
      const std::string let = "L" + std::to_string(r);
      text += "//% let " + let + " = " + x + " * 2 + " + y + "\n";
      text += "//% require " + let + " != " + std::to_string(random() % 8) + " \"no\"\n";
    }
    const KernelHead head = parse_head_text("r.ptx", text);
    std::vector<Config> expected;
    Config c(4);
    for (c[0] = 0; c[0] < 4; ++c[0])
      for (c[1] = 0; c[1] < 4; ++c[1])
        for (c[2] = 0; c[2] < 4; ++c[2])
          for (c[3] = 0; c[3] < 4; ++c[3]) {
            try {
              expand(*head.parsed, head.named(c));
              expected.push_back(c);
            } catch (const TemplateError&) {
            }
          }
    ASSERT_EQ(enumerate(head), expected) << text;
  }
}

}  // namespace
}  // namespace ptxops::jit
