// Verdicts, places, the list of equivalents, and processes that crash or hang.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <map>

#include "tests/mutants/judge.h"

namespace ptxops::mutants {
namespace {

using testing::ElementsAre;

const Case kCase{"k/small", "k.ptx", {}, {{"ring", "the ring"}, {"slice", "the slice"}}, {}};

Subject subject() {
  return {&kCase, {}, {"", "wait ring @ k:A", "load ring @ k:B", "store slice @ k:B", "other @ k:C"}};
}
Mutant mutant(int line, int moved_to = 0) {
  return {FaultClass::wait, "delete mbarrier wait", "", line, line, moved_to, 1, 1, {}, {}};
}
Outcome fault(const std::string& id, const std::string& lines) {
  return {Outcome::Kind::fault, "",
          R"({"id":")" + id + R"(","what":"a \"line\":4 in a text","sites":[)" + lines + "]}"};
}

class Judge : public testing::Test {
 protected:
  Equivalents list(const std::string& text) {
    std::ofstream(path_) << text;
    return Equivalents(path_);
  }
  void TearDown() override { std::remove(path_.c_str()); }
  std::string path_ = testing::TempDir() + "equivalents-" + std::to_string(getpid());
};

TEST_F(Judge, TellsWhatTheCheckerSaid) {
  Equivalents none = list("");
  const Subject s = subject();
  EXPECT_EQ(judge(s, mutant(1), fault("A3", R"({"line":2})"), none), Verdict::right);  // the same protocol
  EXPECT_EQ(judge(s, mutant(1), fault("A3", R"({"line":3},{"line":2})"), none), Verdict::right);
  EXPECT_EQ(judge(s, mutant(1), fault("A3", R"({"line":3})"), none), Verdict::elsewhere);
  EXPECT_EQ(judge(s, mutant(4), fault("A3", R"({"line":4})"), none), Verdict::right);     // its own line
  EXPECT_EQ(judge(s, mutant(4, 3), fault("A3", R"({"line":3})"), none), Verdict::right);  // where it went
  EXPECT_EQ(judge(s, mutant(4), fault("A3", R"({"line":3})"), none), Verdict::elsewhere);
  EXPECT_EQ(judge(s, mutant(1), fault("A", R"({"line":2})"), none), Verdict::other_id);  // no part of an id
  EXPECT_EQ(judge(s, mutant(1), fault("C9", R"({"line":2})"), none), Verdict::other_id);
  EXPECT_EQ(judge(s, mutant(1), {Outcome::Kind::fault, "no finding", ""}, none), Verdict::other_id);
  EXPECT_EQ(judge(s, mutant(1), {Outcome::Kind::wrong, "", ""}, none), Verdict::result);
  EXPECT_EQ(judge(s, mutant(1), {Outcome::Kind::timeout, "", ""}, none), Verdict::result);
  EXPECT_EQ(judge(s, mutant(1), {Outcome::Kind::right, "", ""}, none), Verdict::survivor);
  EXPECT_EQ(judge(s, mutant(1), {Outcome::Kind::crashed, "", ""}, none), Verdict::crashed);
}

TEST_F(Judge, FindsEquivalentsByPattern) {
  Equivalents some = list(
      "# a list\n\noperator: delete * wait\ncase: k/*\nat: wait ring*\nbecause: it is\n\n"
      "operator: *\ncase: other\nat: *\nbecause: no reason\n");
  EXPECT_EQ(judge(subject(), mutant(1), {Outcome::Kind::right, "", ""}, some), Verdict::equivalent);
  EXPECT_EQ(judge(subject(), mutant(2), {Outcome::Kind::right, "", ""}, some), Verdict::survivor);
  EXPECT_EQ(judge(subject(), mutant(1), {Outcome::Kind::wrong, "", ""}, some), Verdict::result);
  EXPECT_THAT(some.unused(), ElementsAre("* | other | *"));
}

TEST_F(Judge, TakesBracketsOfEquivalentsLiterally) {
  Equivalents some = list("operator: *\ncase: *\nat: *[a+8]*\nbecause: so\n");
  EXPECT_EQ(some.find("x", "y", "ld [a+8];"), 0);
  EXPECT_EQ(some.find("x", "y", "ld a;"), -1);
}

TEST_F(Judge, RefusesRecordsWithoutAReason) {
  EXPECT_THROW(list("operator: *\ncase: *\nat: *\n"), std::runtime_error);
  EXPECT_THROW(list("operator: *\ncase: *\nat: *\nwhy: so\n"), std::runtime_error);
  EXPECT_THROW(Equivalents("/nonexistent/list"), std::runtime_error);
}

TEST(Findings, NameTheLinesOfSitesAndOfWhoeverWaits) {
  const Finding f = parse_finding(
      R"({"id":"B4","what":"deadlock\u000a CTA (0,0,0) warp 3 at line 17: x","sites":[{"line":9}]})");
  EXPECT_EQ(f.id, "B4");
  EXPECT_THAT(f.lines, ElementsAre(9, 17));
}

TEST(Processes, CrashesAndHangsEndOneJobOnly) {
  std::map<size_t, Outcome> outcomes;
  run_processes(
      5, {.at_once = 2, .seconds = 1},
      [](size_t i) -> Outcome {
        if (i == 0) std::abort();
        if (i == 1)
          for (;;) usleep(1000);
        if (i == 2) throw std::runtime_error("thrown");
        if (i == 3)
          return {Outcome::Kind::fault, std::string(200000, 't'), "{\n}"};  // more than a pipe holds
        return {Outcome::Kind::right, "", ""};
      },
      [&](size_t i, const Outcome& o) { outcomes[i] = o; });
  ASSERT_EQ(outcomes.size(), 5u);
  EXPECT_EQ(outcomes[0].kind, Outcome::Kind::crashed);
  EXPECT_EQ(outcomes[1].kind, Outcome::Kind::timeout);
  EXPECT_EQ(outcomes[2].kind, Outcome::Kind::crashed);
  EXPECT_EQ(outcomes[2].text, "thrown");
  EXPECT_EQ(outcomes[3].kind, Outcome::Kind::fault);
  EXPECT_EQ(outcomes[3].text.size(), 200000u);
  EXPECT_EQ(outcomes[3].finding, "{\n}");
  EXPECT_EQ(outcomes[4].kind, Outcome::Kind::right);
}

}  // namespace
}  // namespace ptxops::mutants
