// Every error of the text layer: message, line, and how it was reached. Bodies start at line 2 of k.ptx.
#include <vector>

#include "driver/jit/build.h"
#include "tests/driver/jit/template_fixture.h"

namespace ptxops::jit {
namespace {

using ExpandError = TemplateTest;

struct Case {
  const char* body;
  const char* what;
};

TEST_F(ExpandError, CiteTheLine) {
  const std::vector<Case> cases = {
      {"x\n{{FOO}}\n", "k.ptx:3: unknown name 'FOO'"},
      {"//% if 0\n{{FOO}}\n//% end\n", "k.ptx:3: unknown name 'FOO'"},
      {"//% frob 1\n", "k.ptx:2: unknown directive or macro 'frob'"},
      {"//%\n", "k.ptx:2: expected a directive after '//%'"},
      {"//% 3\n", "k.ptx:2: expected a name before '3'"},
      {"mov a, b; //% let A = 1\n", "k.ptx:2: '//%' must be the first thing in its line"},
      {"//% kernel again\n", "k.ptx:2: a second 'kernel' directive"},
      {"//% end\n", "k.ptx:2: 'end' without an open block"},
      {"//% else\n", "k.ptx:2: 'else' without an open block"},
      {"//% for i in 0..2\n//% else\n//% end\n", "k.ptx:3: 'else' inside 'for' of line 2"},
      {"//% if 1\n//% else\n//% else\n//% end\n", "k.ptx:4: 'else' inside 'else' of line 3"},
      {"//% if 1\n//% else\n//% elif 1\n//% end\n", "k.ptx:4: 'elif' inside 'else' of line 3"},
      {"//% if 1\n//% end 1\n", "k.ptx:3: unexpected '1'"},
      {"\n//% for i in 0..2\nx\n", "k.ptx:3: 'for' is not closed by '//% end'"},
      {"//% if 1\nx\n//% elif 1\n", "k.ptx:4: 'elif' is not closed by '//% end'"},
      {"//% macro m()\nx\n", "k.ptx:2: 'macro' is not closed by '//% end'"},
      {"//% let A = 1\n//% let A = 2\n", "k.ptx:3: duplicate name 'A': first at k.ptx:2"},
      {"//% let A = 1\n//% for A in 0..1\n//% end\n", "k.ptx:3: duplicate name 'A': first at k.ptx:2"},
      {"//% macro m(a, a)\n//% end\n", "k.ptx:2: duplicate name 'a': first at k.ptx:2"},
      {"//% macro m()\n//% end\n//% macro m()\n//% end\n", "k.ptx:4: duplicate macro 'm': first at k.ptx:2"},
      {"//% note n = 1\n//% note n = 2\n", "k.ptx:3: duplicate note 'n': first at line 2"},
      {"//% let min = 1\n", "k.ptx:2: 'min' is a reserved word"},
      {"//% macro if()\n//% end\n", "k.ptx:2: 'if' is a reserved word"},
      {"//% let A\n", "k.ptx:2: expected '=' at the end of 'let A'"},
      {"//% let A = 1 2\n", "k.ptx:2: unexpected '2'"},
      {"//% let A = {{1}}\n", "k.ptx:2: '{{' inside an expression: write the name alone"},
      {"//% let A = A + 1\n", "k.ptx:2: unknown name 'A'"},
      {"//% for i in 0\n//% end\n", "k.ptx:2: expected '..' at the end of 'for i in 0'"},
      {"//% for i 0..2\n//% end\n", "k.ptx:2: expected 'in' before '0..2'"},
      {"//% for i in 0..2 step 0\n//% end\n", "k.ptx:2: step 0 is not positive"},
      {"//% for i in 0..99999999\n//% end\n", "k.ptx:2: more than 2000000 steps"},
      {"//% for i in 0..2\n//% let D = i\n//% end\n{{D}}\n", "k.ptx:5: unknown name 'D'"},
      {"//% for i in 0..2\n//% end\n{{i}}\n", "k.ptx:4: unknown name 'i'"},
      {"{{1 / 0}}\n", "k.ptx:2: division by zero in 1 / 0"},
      {"{{1\n", "k.ptx:2: '{{' without '}}'"},
      {"1}}\n", "k.ptx:2: '}}' without '{{'"},
      {"{{}}\n", "k.ptx:2: expected an expression at the end of ''"},
      {"{{1 1}}\n", "k.ptx:2: unexpected '1'"},
      {"{{hex(0 - 1)}}\n", "k.ptx:2: hex() of a negative value: -1"},
      {"{{f32(16777217)}}\n", "k.ptx:2: f32(16777217): not exact in 24 bits"},
      {"{{regs(\"a\", 0 - 1)}}\n", "k.ptx:2: regs(): expected 0 <= low <= high <= low + 1024, got 0 and -1"},
      {"{{regs(\"a\", 4, 2)}}\n", "k.ptx:2: regs(): expected 0 <= low <= high <= low + 1024, got 4 and 2"},
      {"{{regs(\"a\", 1025)}}\n", "k.ptx:2: regs(): expected 0 <= low <= high <= low + 1024, got 0 and 1025"},
      {"{{regs(a, 4)}}\n", "k.ptx:2: regs(): expected \"prefix\" or a macro argument, not 'a'"},
      {"{{uid}}\n", "k.ptx:2: 'uid' has a value only inside a macro"},
      {"//% error \"tile {{8 * 8}} is bad\"\n", "k.ptx:2: tile 64 is bad"},
      {"//% error oops\n", "k.ptx:2: expected a \"quoted text\""},
      {"//% error \"oops\n", "k.ptx:2: unterminated \"quoted text\""},
      {"//% require 1 > 2 \"order\"\n", "k.ptx:2: order: required 1 > 2, given "},
      {"//% if 1\n//% param A in 1\n//% end\n",
       "k.ptx:3: 'param' belongs to the file's top level, not inside a block"},
      {"//% for i in 0..1\n//% macro m()\n//% end\n//% end\n",
       "k.ptx:3: 'macro' belongs to the file's top level, not inside a block"},
      {"//% include \"no.ptx\"\n", "k.ptx:2: no file 'no.ptx' below ptx/"},
      {"//% include no.ptx\n", "k.ptx:2: expected a \"quoted text\""},
      {"//% m(1)\n//% macro m(a)\n//% end\n", "k.ptx:2: unknown directive or macro 'm'"},
      {"//% macro m(a)\n//% end\n//% m(1, 2)\n", "k.ptx:4: macro 'm' takes 1 arguments, not 2"},
      {"//% macro m(a)\n//% end\n//% m()\n", "k.ptx:4: macro 'm' takes 1 arguments, not 0"},
      {"//% macro m(a)\n//% end\n//% m\n", "k.ptx:4: expected '(' at the end of 'm'"},
      {"//% macro m(a)\n//% end\n//% m(1\n", "k.ptx:4: the call of 'm' is not closed"},
      {"//% macro m(a)\n//% end\n//% m([1)]\n", "k.ptx:4: unbalanced ')' in the call of 'm'"},
      {"//% macro m(a)\n//% end\n//% m(1) 2\n", "k.ptx:4: unexpected '2'"},
      {"//% param A in\n", "k.ptx:2: expected an expression at the end of ''"},
      {"//% param A in 1, 2, 1\n", "k.ptx:2: duplicate value 1 in the domain of A"},
      {"//% param A in 4..1\n", "k.ptx:2: empty range 4..1"},
      {"//% param A in 1..4 step 0\n", "k.ptx:2: step 0 is not positive"},
      {"//% param A in 1..9999\n", "k.ptx:2: the domain of A has more than 4096 values"},
      {"//% let B = 2\n//% param A in 1..B\n", "k.ptx:3: unknown name 'B'"},
  };
  for (const Case& c : cases) EXPECT_EQ(error(c.body), c.what) << c.body;
}

TEST_F(ExpandError, Parameters) {
  const std::string body =
      "//% param A in 1, 4..8 step 2  // why\n//% param B in 0..1\n//% let C = A * B\n//% require C != 4 \"C "
      "= {{C}} is out\"\n";
  EXPECT_EQ(error(body, {{"A", 2}, {"B", 0}}), "k.ptx:2: A = 2 is not in its domain 1, 4..8 step 2");
  EXPECT_EQ(error(body, {{"A", 1}}), "k.ptx:3: parameter 'B' is missing: expected a value in 0..1");
  EXPECT_EQ(error(body, {{"A", 1}, {"B", 0}, {"X", 3}}), "k.ptx:1: kernel k has no parameter 'X' (given 3)");
  EXPECT_EQ(error(body, {{"A", 4}, {"B", 1}}), "k.ptx:5: C = 4 is out: required C != 4, given A = 4, B = 1");
  EXPECT_EQ(error(body, {{"A", 4}, {"B", 0}}), "no error, but:\n");
}

TEST_F(ExpandError, TheKernelDirectiveComesFirst) {
  const auto what = [](const std::string& text) -> std::string {
    try {
      parse_template_text("k.ptx", text);
      return "";
    } catch (const TemplateError& e) {
      return e.what();
    }
  };
  EXPECT_EQ(what("x\n//% let A = 1\n"), "k.ptx:2: expected '//% kernel NAME' as the first directive");
  EXPECT_EQ(what("x\n"), "k.ptx:1: expected '//% kernel NAME' as the first directive");
  EXPECT_EQ(what("//% kernel\n"), "k.ptx:1: expected a name at the end of the line");
  try {
    parse_template("no/such.ptx");
    FAIL();
  } catch (const TemplateError& e) {
    EXPECT_EQ(e.file(), "no/such.ptx");
    EXPECT_EQ(e.message(), "no such file below ptx/ (PTXOPS_PTX_DIR reads them from disk)");
  }
  const ScopedEnv nowhere("PTXOPS_PTX_DIR", "/no/such/folder");
  try {
    parse_template("k.ptx");
    FAIL();
  } catch (const BuildError& e) {
    EXPECT_STREQ(e.what(), "PTXOPS_PTX_DIR: expected a folder of kernels, got /no/such/folder");
  }
}

TEST_F(ExpandError, TellMacroCallsAndIncludes) {
  file("lib.ptx",
       "//% macro inner(n)\n{{100 / n}}\n//% end\n//% macro outer(n)\n\n//% inner(n - 1)\n//% end\n");
  EXPECT_EQ(error("//% include \"lib.ptx\"\n//% outer(2)\n//% outer(1)\n"),
            "lib.ptx:2: division by zero in 100 / 0\n  included from k.ptx:2\n"
            "  in macro inner, called at lib.ptx:6\n  in macro outer, called at k.ptx:4");
  file("a.ptx", "\n//% include \"b.ptx\"\n");
  file("b.ptx", "{{NO}}\n");
  EXPECT_EQ(error("//% include \"a.ptx\"\n"),
            "b.ptx:1: unknown name 'NO'\n  included from a.ptx:2\n  included from k.ptx:2");
}

TEST_F(ExpandError, MacroArgumentsThatAreNoIntegers) {
  EXPECT_EQ(error("//% macro m(a)\n{{a + 1}}\n//% end\n//% m(mb_full)\n"),
            "k.ptx:3: macro argument 'mb_full' is not an integer here: unknown name 'mb_full'\n"
            "  in macro m, called at k.ptx:5");
  // A macro does not see the block it is called from.
  EXPECT_EQ(error("//% macro m()\n{{k}}\n//% end\n//% for k in 0..1\n//% m()\n//% end\n"),
            "k.ptx:3: unknown name 'k'");
}

TEST_F(ExpandError, IncludeCycles) {
  file("a.ptx", "//% include \"b.ptx\"\n");
  file("b.ptx", "text\n//% include \"a.ptx\"\n");
  EXPECT_EQ(error("//% include \"a.ptx\"\n"),
            "b.ptx:2: 'a.ptx' includes itself\n  included from a.ptx:1\n  included from k.ptx:2");
}

TEST_F(ExpandError, RunawayTemplatesEnd) {
  std::string body = "//% macro m0(a)\n{{a}}\n//% end\n";
  for (int i = 1; i < 40; ++i)
    body += "//% macro m" + std::to_string(i) + "(a)\n//% m" + std::to_string(i - 1) + "({{a}}{{a}})\n//% m" +
            std::to_string(i - 1) + "({{a}}{{a}})\n//% end\n";
  EXPECT_NE(error(body + "//% m39(x)\n").find("a macro argument exceeds 65536 characters"),
            std::string::npos);
  EXPECT_NE(error("//% for i in 0..2000000\n{{regs(\"abcdefgh\", 100)}}\n//% end\n")
                .find("the expansion exceeds 8 MiB"),
            std::string::npos);
}

}  // namespace
}  // namespace ptxops::jit
