#include "driver/jit/expander.h"

#include <chrono>
#include <thread>

#include "driver/jit/source.h"
#include "tests/driver/jit/template_fixture.h"

namespace ptxops::jit {
namespace {

using Expand = TemplateTest;

TEST_F(Expand, TextAndCommentsStayDirectivesVanish) {
  EXPECT_EQ(run("// a comment\n  mov.u32 a, b; // why\n\n//% let A = 1\n\tret;"),
            "// a comment\n  mov.u32 a, b; // why\n\n\tret;\n");
}

TEST_F(Expand, Substitutions) {
  EXPECT_EQ(run("//% let A = 6\nx{{A}} {{ A * 7 }} {{hex(A + 250)}} {{f32(A)}} {{f32(-1)}}\n"),
            "x6 42 0x100 0f40C00000 0fBF800000\n");
  EXPECT_EQ(run("{ {{regs(\"acc\", 3)}} } {{regs(\"r\", 2, 4)}} [{{regs(\"z\", 0)}}]\n"),
            "{ acc0, acc1, acc2 } r2, r3 []\n");
}

TEST_F(Expand, BracesOfPtxMayTouchSubstitutions) {
  EXPECT_EQ(run("{{{regs(\"a\", 2)}}}; { .reg .b32 x; }\n"), "{a0, a1}; { .reg .b32 x; }\n");
}

TEST_F(Expand, ParamsOfListsRangesAndMixes) {
  const std::string body = "//% param A in 8, 16..64 step 16\n//% param B in -1..1\n{{A}} {{B}}\n";
  for (const int64_t a : {8, 16, 32, 48, 64})
    for (const int64_t b : {-1, 0, 1})
      EXPECT_EQ(run(body, {{"A", a}, {"B", b}}), std::to_string(a) + " " + std::to_string(b) + "\n");
}

TEST_F(Expand, LoopsAreHalfOpenAndNest) {
  EXPECT_EQ(run("//% for i in 0..2\n//% for j in i..6 step 2 + 1\n{{i}}{{j}}\n//% end\n//% end\n"),
            "00\n03\n11\n14\n");
  EXPECT_EQ(run("//% for i in 3..3\nnever\n//% end\n"), "");
  EXPECT_EQ(run("//% for step in 0..2\n{{step}}\n//% end\n"), "0\n1\n");
}

TEST_F(Expand, LetsEndWithTheirBlock) {
  EXPECT_EQ(run("//% for i in 0..2\n//% let D = i * 10\n{{D}}\n//% end\n//% let D = 7 // again\n{{D}}\n"),
            "0\n10\n7\n");
}

TEST_F(Expand, IfElifElse) {
  const std::string body =
      "//% param A in 0..3\n//% if A == 0\nzero\n//% elif A == 1\none\n//% elif A == 2\ntwo\n//% "
      "else\nmany\n//% end\n";
  const char* words[] = {"zero\n", "one\n", "two\n", "many\n"};
  for (int64_t a = 0; a < 4; ++a) EXPECT_EQ(run(body, {{"A", a}}), words[a]);
}

TEST_F(Expand, MacrosTakeText) {
  EXPECT_EQ(
      run("//% macro wait(addr, parity)\nW{{uid}}: try [{{addr}}], {{parity}};\n@!p bra W{{uid}};\n//% end\n"
          "//% wait(full + 8, par_{{1 + 1}})\n//% wait([a, b], f(x, y))\n"),
      "W0: try [full + 8], par_2;\n@!p bra W0;\nW1: try [[a, b]], f(x, y);\n@!p bra W1;\n");
}

TEST_F(Expand, MacroArgumentsAreExpressionsWhereOneIsNeeded) {
  EXPECT_EQ(
      run("//% macro m(n, name)\n//% let twice = n * 2\n//% for i in 0..n\n{{name}}{{i}} {{twice}}\n//% end\n"
          "{{regs(name, n)}} {{n}}\n//% end\n"
          "//% for k in 1..3\n//% m(k + 1, r{{k}}_)\n//% end\n"),
      "r1_0 4\nr1_1 4\nr1_0, r1_1 k + 1\nr2_0 6\nr2_1 6\nr2_2 6\nr2_0, r2_1, r2_2 k + 1\n");
}

TEST_F(Expand, MacrosCallMacrosAndSeeTheKernelsNames) {
  EXPECT_EQ(run("//% let BASE = 100\n//% macro inner(x)\n{{x + BASE}} u{{uid}}\n//% end\n"
                "//% macro outer(y)\n//% inner(y * 2)\n//% inner({{y}} + 1)\n//% end\n//% outer(5)\n//% "
                "outer(6)\n"),
            "110 u1\n106 u2\n112 u4\n107 u5\n");
}

TEST_F(Expand, AMacrosNamesAreItsOwn) {
  EXPECT_EQ(run("//% let i = 9\n//% macro m(n)\n//% let i = n\n{{i}}\n//% end\n//% m(3)\n{{i}}\n"), "3\n9\n");
  EXPECT_EQ(
      run("//% macro none()\nx\n//% end\n//% none()\n//% for i in 0..1\n  //% none() // twice\n//% end\n"),
      "x\nx\n");
}

TEST_F(Expand, IncludesOfMacrosCountOnceOfTextEachTime) {
  file(
      "common/m.ptx",
      "// only macros: this comment vanishes\n\n//% let SIZE = 8\n//% macro m(a)\n{{a}}:{{SIZE}}\n//% end\n");
  file("text.ptx", "text {{A}}\n");
  EXPECT_EQ(run("//% include \"common/m.ptx\"\n//% include \"common/m.ptx\"\n//% let A = 1\n//% m(x)\n"
                "//% include \"text.ptx\"\n//% for i in 0..2\n//% include \"text.ptx\"\n//% end\n"),
            "x:8\ntext 1\ntext 1\ntext 1\n");
}

TEST_F(Expand, AnIncludeMayBringParamsAndNames) {
  file("head.ptx", "//% param N in 1..4\n//% let TWICE = N * 2\n//% require TWICE != 4 \"not two\"\n");
  EXPECT_EQ(run("//% include \"head.ptx\"\n{{TWICE}}\n", {{"N", 3}}), "6\n");
}

TEST_F(Expand, NotesAreReported) {
  const Expansion e = expansion(
      "//% param N in 1..4\n//% note threads = N * 128\n//% note smem_bytes = max(N, 2)\n", {{"N", 3}});
  EXPECT_EQ(e.kernel, "k");
  EXPECT_EQ(e.notes.at("threads"), 384);
  EXPECT_EQ(e.notes.at("smem_bytes"), 3);
}

TEST_F(Expand, CarriageReturnsAndAMissingLastNewline) {
  EXPECT_EQ(run("//% let A = 1\r\na{{A}}\r\nb"), "a1\nb\n");
}

TEST_F(Expand, SourcesComeFromTheDirectoryWhenItIsSet) {
  file("gemm/x.ptx", "//% kernel x\nhello\n");
  EXPECT_EQ(expand("gemm/x.ptx", {}).ptx, "hello\n");
  EXPECT_EQ(read_source("../x.ptx"), std::nullopt);
  EXPECT_EQ(read_source("/etc/passwd"), std::nullopt);
  EXPECT_EQ(source_paths(), std::vector<std::string>{"gemm/x.ptx"});
}

TEST_F(Expand, ManyThreadsShareATemplate) {
  const auto t = parse_template_text(
      "k.ptx", "//% kernel k\n//% param N in 1..64\n//% for i in 0..N\n{{i * N}}\n//% end\n");
  std::vector<std::thread> threads;
  std::vector<std::string> results(8);
  for (int64_t n = 0; n < 8; ++n)
    threads.emplace_back([&, n] {
      for (int i = 0; i < 200; ++i) results[static_cast<size_t>(n)] = expand(*t, {{"N", n + 1}}).ptx;
    });
  for (std::thread& thread : threads) thread.join();
  for (int64_t n = 0; n < 8; ++n) {
    std::string expected;
    for (int64_t i = 0; i <= n; ++i) expected += std::to_string(i * (n + 1)) + "\n";
    EXPECT_EQ(results[static_cast<size_t>(n)], expected);
  }
}

TEST(Embedded, EveryKernelFileIsThere) {
  ASSERT_FALSE(embedded_paths().empty());
  for (const auto path : embedded_paths()) {
    const auto text = embedded_source(path);
    ASSERT_TRUE(text) << path;
    EXPECT_EQ(text->data()[text->size()], '\0') << path;
    EXPECT_EQ(text->find('\0'), text->npos) << path;
  }
  EXPECT_EQ(embedded_source("no/such.ptx"), std::nullopt);
}

}  // namespace
}  // namespace ptxops::jit
