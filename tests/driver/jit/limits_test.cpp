// Templates that are wrong by what they cost: time, memory and stack are bounded, and the refusal says so.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include "driver/jit/head.h"
#include "tests/driver/jit/template_fixture.h"

namespace ptxops::jit {
namespace {

using ::testing::HasSubstr;

class Limits : public TemplateTest {
 protected:
  static std::string repeat(const std::string& piece, size_t n) {
    std::string text;
    for (size_t i = 0; i < n; ++i) text += piece;
    return text;
  }
  // A macro for each level that calls the one below with `argument`.
  static std::string tower(int levels, const std::string& argument) {
    std::string text = "//% macro m0(x)\n{{x + 0}}\n//% end\n";
    for (int i = 1; i < levels; ++i)
      text += fmt::format("//% macro m{}(x)\n//% m{}({})\n//% end\n", i, i - 1, argument);
    return text + fmt::format("//% m{}(1)\n", levels - 1);
  }
  std::string enumerate_error(const std::string& body) {
    try {
      legal_domain(parse_head_text("k.ptx", "//% kernel k\n" + body));
      return "no error";
    } catch (const TemplateError& e) {
      return e.what();
    }
  }
};

TEST_F(Limits, Expressions) {
  // 150 brackets, each around a chain of 150 operators: a tree too high to walk.
  std::string nested = "1";
  for (int i = 0; i < 150; ++i) nested = "(" + nested + repeat("+1", 150) + ")";
  EXPECT_THAT(error("//% let a = " + nested + "\n"), HasSubstr("expression is too long"));
  EXPECT_EQ(run("//% let a = 1" + repeat("+1", 199) + "\n{{a}}\n"), "200\n");
}

TEST_F(Limits, MacroArguments) {
  // x + x in the terms of the caller, whose x is x + x ...: 2^24 evaluations of one line.
  EXPECT_THAT(error(tower(25, "x + x")), HasSubstr("more than 2000000 steps"));
  EXPECT_EQ(run(tower(8, "x + x")), "128\n");
  EXPECT_THAT(error(tower(100, "x")), HasSubstr("macro calls nest deeper than 32"));
}

TEST_F(Limits, Output) {
  // One line of 4000 arguments of 60,000 characters each.
  EXPECT_THAT(
      error("//% macro m(x)\n" + repeat("{{x}}", 4000) + "\n//% end\n//% m(" + repeat("y", 60000) + ")\n"),
      HasSubstr("the expansion exceeds 8 MiB"));
}

TEST_F(Limits, Names) {
  std::string lets, notes;
  for (int i = 0; i < 20000; ++i) {
    lets += fmt::format("//% let a{} = {}\n", i, i);
    notes += fmt::format("//% note n{} = {}\n", i, i);
  }
  EXPECT_THAT(error(lets), HasSubstr("k.ptx:4098: more than 4096 names"));
  EXPECT_THAT(error(notes), HasSubstr("k.ptx:4098: more than 4096 notes"));
}

TEST_F(Limits, Domain) {
  EXPECT_THAT(enumerate_error("//% param A in 0..2000\n//% param B in 0..2000\n"),
              HasSubstr("more than 131072 legal configurations"));
  EXPECT_THAT(enumerate_error("//% param A in 0..4000\n//% param B in 0..4000\n//% param C in 0..4000\n"
                              "//% require A + B + C < 0 \"never\"\n"),
              HasSubstr("steps to enumerate the configurations"));
}

// Each file includes the next one twice.
TEST_F(Limits, Includes) {
  for (int i = 0; i < 40; ++i)
    file(fmt::format("f{}.ptx", i),
         fmt::format("//% include \"f{}.ptx\"\n//% include \"f{}.ptx\"\n", i + 1, i + 1));
  file("f40.ptx", "text\n");
  EXPECT_THAT(error("//% include \"f0.ptx\"\n"), HasSubstr("more than 255 files are included"));
}

}  // namespace
}  // namespace ptxops::jit
