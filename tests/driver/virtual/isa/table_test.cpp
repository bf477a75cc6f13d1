// The table against itself: every spelling a row describes is matched, and by a row of the same id.
#include <gtest/gtest.h>

#include <cstdio>
#include <random>
#include <set>

#include "driver/virtual/isa/opcode.h"
#include "tests/driver/virtual/isa/parsing.h"

namespace ptxops::virt::isa::testing {
namespace {

std::string spelling(const Row& row, std::mt19937& rng, bool optional_ones) {
  std::string s(row.root);
  for (const Slot& slot : row.slots) {
    if (slot.optional && (!optional_ones || rng() % 2)) continue;
    s += "." + std::string(slot.tokens[rng() % slot.tokens.size()]);
  }
  return s;
}

TEST(Table, EverySpellingFindsItsId) {
  unsigned seed = std::random_device{}();
  std::printf("seed %u\n", seed);
  std::mt19937 rng(seed);
  Module module;
  module.version = 90;
  module.target = 90;
  module.target_a = true;
  Arena arena;
  OpcodeMatcher matcher(arena, module);
  std::deque<std::string> texts;  // the matcher keeps views
  for (const Row& row : rows()) {
    for (int i = 0; i < 20; ++i) {
      const std::string& text = texts.emplace_back(spelling(row, rng, i > 0));
      const MatchedOpcode& m = matcher.match(text);
      if (row.supported()) {
        ASSERT_NE(m.opcode.row, nullptr) << text << " of '" << row.pattern << "': " << m.error;
        EXPECT_EQ(id_name(m.opcode.id()), row.name) << text;
      } else {
        EXPECT_EQ(m.opcode.row, nullptr) << text << " is unsupported but matches " << m.opcode.row->pattern;
        EXPECT_EQ(m.error, "unsupported instruction '" + text + "': " + std::string(row.why_not));
      }
    }
  }
}

TEST(Table, EveryIdHasRowsAndAPlausibleVersion) {
  std::set<Id> seen;
  for (const Row& row : rows()) {
    EXPECT_GE(row.min_ptx, 10) << row.pattern;
    EXPECT_LE(row.min_ptx, 90) << row.pattern;
    EXPECT_FALSE(row.chapter.empty()) << row.pattern;
    EXPECT_NE(row.supported(), !row.why_not.empty()) << row.pattern;
    seen.insert(row.id);
  }
  EXPECT_EQ(seen.size(), static_cast<size_t>(Id::count)) << "one for each id, and unsupported";
  std::printf("%zu ids, %zu rows\n", seen.size() - 1, rows().size());
}

// Which semantics the accepted cases exercise: all of them.
TEST(Table, EveryIdHasAnAcceptedCase) {
  std::set<Id> seen{Id::unsupported};
  for (const std::string& line : case_lines(ISA_CASES "/accept.txt")) {
    Parsed p(with_entry(line));
    for (const Function& f : p.module.functions) {
      for (const Instruction& in : f.instructions) seen.insert(in.id());
    }
  }
  for (size_t i = 0; i < static_cast<size_t>(Id::count); ++i) {
    EXPECT_TRUE(seen.contains(static_cast<Id>(i))) << "no case for " << id_name(static_cast<Id>(i));
  }
}

TEST(Table, ChoicesTypesAndSpaces) {
  Parsed p(
      with_entry("fma.rz.ftz.f32 f1, f2, f3, f4; ld.global.acquire.gpu.v2.u64 {d1,d2}, [d3]; "
                 "cvt.rzi.sat.s32.f64 r1, fd1;"));
  ASSERT_TRUE(p.ok) << p.log();
  const auto& in = p.module.functions[0].instructions;
  EXPECT_EQ(in[0].choice("rnd"), "rz");
  EXPECT_TRUE(in[0].has("ftz"));
  EXPECT_FALSE(in[0].has("sat"));
  EXPECT_EQ(in[1].choice("sem"), "acquire");
  EXPECT_EQ(in[1].choice("scope"), "gpu");
  EXPECT_EQ(in[1].space(), Space::global);
  EXPECT_EQ(in[1].opcode->vector_length(), 2);
  EXPECT_EQ(in[2].type(0), Type::s32);
  EXPECT_EQ(in[2].type(1), Type::f64);
  EXPECT_EQ(in[2].type(2), Type::none);
}

}  // namespace
}  // namespace ptxops::virt::isa::testing
