// What the parser says about wrong modules: text and line.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/driver/virtual/isa/parsing.h"

namespace ptxops::virt::isa::testing {
namespace {

using ::testing::HasSubstr;

void expect_error(const std::string& text, int line, const std::string& fragment) {
  Parsed p(text);
  ASSERT_FALSE(p.ok) << text;
  EXPECT_EQ(p.diagnostics[0].line, line) << p.log();
  EXPECT_THAT(p.diagnostics[0].text, HasSubstr(fragment));
}
void expect_statement_error(const std::string& statement, const std::string& fragment) {
  SCOPED_TRACE(statement);
  expect_error(with_entry(statement), kStatementLine, fragment);
}

TEST(Diagnostics, Opcodes) {
  expect_statement_error("bogus.u32 r1, r2;", "Not a name of any known instruction: 'bogus'");
  expect_statement_error("add.foo.u32 r1, r2, r3;",
                         "Illegal modifier '.foo' in 'add.foo.u32'; expected here: ");
  expect_statement_error("add.rn r1, r2, r3;",
                         "Modifier missing at the end of 'add.rn'; expected: .ftz .sat .f32");
  expect_statement_error("exit.uni;", "Unexpected modifier '.uni' at the end of 'exit.uni'");
  expect_statement_error(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 r1;",
      "unsupported instruction 'mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32': warp-level mma");
}

TEST(Diagnostics, Operands) {
  expect_statement_error("add.u32 r1, r2;", "'add.u32': 2 operands given, 3 expected");
  expect_statement_error("add.u32 r1, f1, r2;", "operand 2, register 'f1', has type .f32, expected .u32");
  expect_statement_error("add.u32 5, r1, r2;",
                         "operand 1, constant 5, is a constant where a result register is required");
  expect_statement_error("add.s32 r1, r2, 4294967296;", "is 4294967296, which does not fit .s32");
  expect_statement_error("add.f32 f1, f2, 1;", "is an integer, expected a floating-point constant");
  expect_statement_error("add.u32 r1, %tid.x, 1;", "'%tid.x' is a special register, which only mov can read");
  expect_statement_error("mov.u32 r1, %tid;", "is a vector; select a component: %tid.x");
  expect_statement_error("bar.sync 16;", "expected to be in range [0..15]");
  expect_statement_error("setmaxnreg.inc.sync.aligned.u32 230;", "expected to be multiple of 8");
  expect_statement_error("st.global.u32 [sm], r1;",
                         "lies in .shared ('sm') but the instruction accesses .global");
  expect_statement_error("ld.global.v2.u32 {r1,r2,r3}, [d1];", "is a vector of 3, expected 2");
  expect_statement_error("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [d1, {r2}], [r4];",
                         "has 1 coordinates, expected 2 for .2d");
  expect_statement_error(
      "wgmma.mma_async.sync.aligned.m64n16k32.f32.e4m3.e4m3 {f1,f2,f3,f4}, d1, d2, p1, 1, 1;",
      "operand 1 (d) has 4 registers, expected 8 for m64n16k32.f32");
  expect_statement_error("mbarrier.arrive.shared::cluster.b64 d1, [r1];", "the first operand must be '_'");
}

TEST(Diagnostics, Names) {
  expect_statement_error("add.u32 zz, r2, r3;", "Unknown symbol 'zz'");
  expect_statement_error("add.u32 r1, r2, r999;", "Unknown symbol 'r999'");
  expect_statement_error("bra nowhere;", "Unknown symbol 'nowhere'");
  expect_statement_error("ld.global.u32 r1, [nowhere];", "Unknown symbol 'nowhere'");
  expect_statement_error(".reg .b32 x, x;", "Duplicate definition of 'x'");
  expect_statement_error(".reg .b32 r1;", "Duplicate definition of 'r1'");
  expect_statement_error("M: bra M; M: bra M;", "Duplicate definition of 'M'; first defined in line 9");
  expect_statement_error("@r1 ret;", "'r1' is not a predicate register");
  expect_error(header() + ".func f() { ret; }\n.func f() { ret; }\n", 5,
               "Duplicate definition of 'f'; first defined in line 4");
}

TEST(Diagnostics, VersionsAndTargets) {
  expect_error(".version 9.1\n.target sm_90a\n", 1, "Unsupported .version 9.1; current version is '9.0'");
  expect_error(".version 9.0\n.target sm_100\n", 2, "Target 'sm_100' cannot run on this device");
  expect_error(".version 7.8\n.target sm_90a\n", 2, "'sm_90a' requires PTX ISA .version 8.0");
  expect_error(".target sm_90a\n.entry k() { ret; }\n", 1, "Missing .version");
  auto small = [](const std::string& s, const std::string& version, const std::string& target) {
    return header(version, target) + ".entry k() { .reg .b32 r<4>; .reg .b64 d<4>;\n" + s + "\nret; }\n";
  };
  expect_error(small("wgmma.fence.sync.aligned;", "8.0", "sm_90"), 5,
               "requires .target sm_90a; the module says sm_90");
  expect_error(small("multimem.red.add.u32 [d1], r1;", "8.0", "sm_90a"), 5,
               "requires PTX ISA .version 8.1 or later; the module says 8.0");
  expect_error(small("fence.proxy.tensormap::generic.acquire.gpu [d1], 128;", "8.0", "sm_90a"), 5,
               "requires PTX ISA .version 8.3");
  expect_error(small("mov.u32 r1, %cluster_ctarank;", "7.7", "sm_90"), 5, "requires PTX ISA .version 7.8");
  EXPECT_TRUE(Parsed(small("add.u32 r1, r2, r3;", "7.0", "sm_70")).ok);
}

TEST(Diagnostics, AllErrorsAreCollectedInLineOrder) {
  Parsed p(with_entry(
      "bogus;\nadd.u32 r1;\nbra nowhere;\nld.global.u32 r1, [q9];\nbogus2 {r1, r2};\nadd.u32 r1, r2, r3;"));
  ASSERT_EQ(p.diagnostics.size(), 5u) << p.log();
  for (int i = 0; i < 5; ++i) EXPECT_EQ(p.diagnostics[i].line, kStatementLine + i);
  std::string many;
  for (int i = 0; i < 100; ++i) many += "bogus;\n";
  EXPECT_EQ(Parsed(with_entry(many)).diagnostics.size(), 20u);
}

TEST(Diagnostics, Syntax) {
  expect_error(with_entry("add.u32 r1, r2, r3"), kStatementLine + 1, "';' expected");
  expect_statement_error("add.u32 r1 r2;", "';' expected");
  expect_statement_error("ld.global.u32 r1, [d1-4];", "']' expected");
  expect_statement_error("mov.u32 r1, 0x;", "Malformed number '0x'");
  expect_statement_error("add.s32 r1, r2, 1/0;", "Division by zero");
  expect_error(header() + ".entry k() {\n ret;\n", 4, "Unterminated body of 'k'");
  expect_error(header() + ".global .u32 x[2] = {1,2,3};\n", 4, "Too many values");
}

// A name that stands further down is resolved as what its instruction takes, and nothing else.
TEST(Diagnostics, NamesOfTheWrongKind) {
  expect_statement_error("bra T; T: .branchtargets L;", "Unknown symbol 'T'");
  expect_statement_error("brx.idx r1, L;", "Unknown symbol 'L'");
  expect_statement_error("brx.idx r1, P; P: .callprototype _ (.reg .b32 _);", "Unknown symbol 'P'");
  expect_statement_error("call d1, (r1), L;", "Unknown symbol 'L'");
  expect_statement_error("call d1, (r1), T; T: .branchtargets L;", "Unknown symbol 'T'");
  Parsed p(
      with_entry("brx.idx r1, T; T: .branchtargets L; call d1, (r1), P; P: .callprototype _ (.reg .b32 _);"));
  EXPECT_TRUE(p.ok) << p.log();
}

// Arguments of another size than the parameter would be read and written beyond their frames.
TEST(Diagnostics, ArgumentsOfCalls) {
  const auto call = [](const std::string& statement) {
    return header() +
           ".func (.reg .b32 o) f(.reg .b64 a, .param .align 8 .b8 s[16]) { mov.b32 o, 0; ret; }\n"
           ".entry e() { ret; }\n"
           ".entry k(.param .b64 q) { .reg .b32 r<4>; .reg .b64 d<4>; .reg .pred p;\n"
           ".param .align 8 .b8 s[16]; .param .align 8 .b8 t[8];\n" +
           statement + "\nret; }\n";
  };
  const auto expect_refused = [&](const std::string& statement, const std::string& fragment) {
    SCOPED_TRACE(statement);
    expect_error(call(statement), 8, fragment);
  };
  Parsed good(call("call (r1), f, (d1, s); call (_), f, (7, s);"));
  EXPECT_TRUE(good.ok) << good.log();
  expect_refused("call (r1), f, (d1);", "1 arguments given, 2 expected");
  expect_refused("call f, (d1, s);", "0 return parameters given, 1 expected");
  expect_refused("call (r1), f, (r1, s);", "of 4 bytes does not match the formal parameter 'a' of 8");
  expect_refused("call (r1), f, (d1, t);", "of 8 bytes does not match the formal parameter 's' of 16");
  expect_refused("call (r1), f, (d1, d2);", "does not match the formal parameter 's' of 16");
  expect_refused("call (d1), f, (d1, s);", "of 8 bytes does not match the formal parameter 'o' of 4");
  expect_refused("call (p), f, (d1, s);", "does not match the formal parameter 'o'");
  expect_refused("call (r1), f, (q, s);", "formal parameter 'q' cannot be passed");
  expect_refused("call e;", "'e' is an entry, which cannot be called");
  expect_refused("P: .callprototype (.reg .b32 _) _ (.reg .b32 _, .reg .b32 _); call (r1), d1, (r1), P;",
                 "1 arguments given, 2 expected");
  expect_error(header() + ".func f(.reg .b32 a[4]) { ret; }\n", 4,
               "Parameter 'a' is an array, which a register cannot hold");
  expect_error(header() + ".func f(.reg .pred a) { ret; }\n", 4,
               "predicates as parameters are not implemented");
}

// Any prefix of a valid module, and any single changed byte, ends in ok or in diagnostics.
TEST(Diagnostics, NoInputBreaksTheParser) {
  std::string text =
      with_entry(
          "{ .reg .v2 .f32 v; mov.b64 {v.x, v.y}, d1; } @!p1 bra L; ld.global.v2.u32 {r1, _}, [d1+4*2];"
          "T: .branchtargets L, L; brx.idx r1, T;") +
      ".global .b32 x[2][2] = {{1,2},{gv+4, 0xff(gv)}};\n";
  for (size_t n = 0; n <= text.size(); ++n) Parsed(text.substr(0, n));
  for (size_t i = 0; i < text.size(); ++i) {
    for (char c : std::string("{}[](),;.:%<>\"x0-\n")) {
      std::string changed = text;
      changed[i] = c;
      Parsed p(changed);
      EXPECT_EQ(p.ok, p.diagnostics.empty());
    }
  }
}

}  // namespace
}  // namespace ptxops::virt::isa::testing
