// Divergence, loops, calls and early exits: each lane's result is recomputed by plain C++.
#include <gmock/gmock.h>

#include "tests/driver/virtual/exec/run_ptx.h"

namespace ptxops::virt::testing {
namespace {

const std::string kLaneStore =
    "mov.u32 %t, %tid.x;\nmul.wide.u32 %a, %t, 4;\nadd.u64 %a, %a, %out;\nst.global.u32 [%a], %v;\n";

TEST(ControlFlow, DivergentIfElseMeetsAgain) {
  Buffer out(32);
  const auto r = run(kernel(".reg .b32 %t,%v; .reg .b64 %a; .reg .pred %p; .reg .b32 %m;\n"
                            "mov.u32 %t, %tid.x;\n setp.lt.u32 %p, %t, 7;\n @%p bra SMALL;\n"
                            "mul.lo.u32 %v, %t, 3;\n bra JOIN;\nSMALL: add.u32 %v, %t, 100;\nJOIN:\n"
                            "vote.sync.ballot.b32 %m, 1, 0xffffffff;\n setp.ne.u32 %p, %m, 0xffffffff;\n"
                            "@%p trap;\n" +
                            kLaneStore),
                     {out.address()});
  ASSERT_EQ(r.fault.kind, FaultKind::none) << r.fault.text;
  for (uint32_t i = 0; i < 32; ++i) EXPECT_EQ(out[i], i < 7 ? i + 100 : i * 3) << i;
}

TEST(ControlFlow, LoopWithLaneDependentTripCount) {
  Buffer out(32);
  const auto r =
      run(kernel(".reg .b32 %t,%v,%i; .reg .b64 %a; .reg .pred %p;\n"
                 "mov.u32 %t, %tid.x;\n mov.u32 %v, 0;\n mov.u32 %i, 0;\n"
                 "LOOP: add.u32 %i, %i, 1;\n mad.lo.u32 %v, %i, %i, %v;\n setp.le.u32 %p, %i, %t;\n"
                 "@%p bra LOOP;\n" +
                 kLaneStore),
          {out.address()});
  ASSERT_EQ(r.fault.kind, FaultKind::none) << r.fault.text;
  for (uint32_t i = 0; i < 32; ++i) {
    uint32_t sum = 0;
    for (uint32_t j = 1; j <= i + 1; ++j) sum += j * j;
    EXPECT_EQ(out[i], sum) << i;
  }
}

// Nested: an inner loop inside a branch inside an outer loop, with an early exit of some lanes.
TEST(ControlFlow, NestedDivergenceAndEarlyExit) {
  Buffer out(32, 0x5a5a5a5a);
  const auto r = run(
      kernel(".reg .b32 %t,%v,%i,%j,%x; .reg .b64 %a; .reg .pred %p,%q;\n"
             "mov.u32 %t, %tid.x;\n setp.eq.u32 %p, %t, 13;\n @%p exit;\n"
             "mov.u32 %v, 0;\n mov.u32 %i, 0;\n"
             "OUTER: and.b32 %x, %i, 1;\n and.b32 %j, %t, 1;\n setp.eq.u32 %q, %x, %j;\n"
             "@!%q bra SKIP;\n mov.u32 %j, 0;\n"
             "INNER: add.u32 %v, %v, %j;\n add.u32 %j, %j, 1;\n setp.lt.u32 %p, %j, %t;\n @%p bra INNER;\n"
             "SKIP: add.u32 %i, %i, 1;\n setp.lt.u32 %p, %i, 5;\n @%p bra OUTER;\n" +
             kLaneStore),
      {out.address()});
  ASSERT_EQ(r.fault.kind, FaultKind::none) << r.fault.text;
  for (uint32_t t = 0; t < 32; ++t) {
    uint32_t v = 0;
    for (uint32_t i = 0; i < 5; ++i)
      if ((i & 1) == (t & 1))
        for (uint32_t j = 0; j == 0 || j < t; ++j) v += j;
    EXPECT_EQ(out[t], t == 13 ? 0x5a5a5a5au : v) << t;
  }
}

TEST(ControlFlow, DivergentCallOfRecursiveFunction) {
  Buffer out(32);
  const std::string ptx =
      header() +
      ".func (.param .b32 r) fib(.param .b32 n)\n{\n.reg .b32 %n,%x,%y; .reg .pred %p;\n"
      "ld.param.b32 %n, [n];\n setp.lt.u32 %p, %n, 2;\n @%p bra BASE;\n"
      "sub.u32 %x, %n, 1;\n{ .param .b32 a; .param .b32 b; st.param.b32 [a], %x; call (b), fib, (a); "
      "ld.param.b32 %y, [b]; }\n"
      "sub.u32 %x, %n, 2;\n{ .param .b32 a; .param .b32 b; st.param.b32 [a], %x; call (b), fib, (a); "
      "ld.param.b32 %x, [b]; }\n"
      "add.u32 %y, %x, %y;\n st.param.b32 [r], %y;\n ret;\nBASE: st.param.b32 [r], %n;\n ret;\n}\n"
      ".visible .entry k(.param .u64 out)\n{\n.reg .b64 %out,%a; .reg .b32 %t,%v; .reg .pred %p;\n"
      "ld.param.u64 %out, [out];\n mov.u32 %t, %tid.x;\n mov.u32 %v, 77;\n and.b32 %t, %t, 15;\n setp.ne.u32 "
      "%p, %t, 3;\n"
      "{ .param .b32 a; .param .b32 b; st.param.b32 [a], %t; @%p call (b), fib, (a); @%p ld.param.b32 %v, "
      "[b]; }\n" +
      kLaneStore + "ret;\n}\n";
  const auto r = run(ptx, {out.address()});
  ASSERT_EQ(r.fault.kind, FaultKind::none) << r.fault.text;
  const auto fib = [](uint32_t n) {
    uint32_t a = 0, b = 1;
    while (n--) {
      const uint32_t c = a + b;
      a = b, b = c;
    }
    return a;
  };
  for (uint32_t t = 0; t < 32; ++t) EXPECT_EQ(out[t], t % 16 == 3 ? 77u : fib(t % 16)) << t;
}

TEST(ControlFlow, IndirectCallAndBranchTable) {
  Buffer out(32);
  const std::string ptx =
      header() +
      ".func (.reg .b32 r) twice(.reg .b32 x) { shl.b32 r, x, 1; ret; }\n"
      ".func (.reg .b32 r) square(.reg .b32 x) { mul.lo.u32 r, x, x; ret; }\n"
      ".visible .entry k(.param .u64 out)\n{\n.reg .b64 %out,%a,%f,%g; .reg .b32 %t,%v,%i; .reg .pred %p;\n"
      "ld.param.u64 %out, [out];\n mov.u32 %t, %tid.x;\n and.b32 %i, %t, 3;\n"
      "mov.u64 %f, twice;\n mov.u64 %g, square;\n setp.eq.u32 %p, %i, 1;\n selp.b64 %f, %g, %f, %p;\n"
      "P: .callprototype (.reg .b32 _) _ (.reg .b32 _);\n call (%v), %f, (%t), P;\n"
      "TABLE: .branchtargets A, B, C, D;\n brx.idx %i, TABLE;\n"
      "A: add.u32 %v, %v, 1000;\n bra JOIN;\nB: add.u32 %v, %v, 2000;\n bra JOIN;\nC: D: add.u32 %v, %v, "
      "3000;\nJOIN:\n" +
      kLaneStore + "ret;\n}\n";
  const auto r = run(ptx, {out.address()});
  ASSERT_EQ(r.fault.kind, FaultKind::none) << r.fault.text;
  for (uint32_t t = 0; t < 32; ++t)
    EXPECT_EQ(out[t], (t % 4 == 1 ? t * t : 2 * t) + (t % 4 == 0 ? 1000 : t % 4 == 1 ? 2000 : 3000)) << t;
}

// Of an indirect call, what it calls is known only when it is made.
TEST(ControlFlow, AnIndirectCallOfAnotherSignatureFaults) {
  const auto call = [](const std::string& prototype, const std::string& operands) {
    return header() + ".func (.reg .b32 o) f(.reg .b32 a) { mov.b32 o, a; ret; }\n" +
           ".visible .entry k(.param .u64 out) { .reg .b64 g, d; .reg .b32 r; mov.b64 g, f; mov.b64 d, 1;\n"
           "mov.b32 r, 7;\n P: .callprototype " +
           prototype + ";\n call " + operands + ", P;\nret; }\n";
  };
  const auto text = [&](const std::string& prototype, const std::string& operands) {
    return run(call(prototype, operands), {0}).fault.text;
  };
  EXPECT_EQ(text("(.reg .b32 _) _ (.reg .b32 _)", "(r), g, (r)"), "");
  EXPECT_EQ(text("(.reg .b32 _) _ (.reg .b32 _)", "(_), g, (r)"), "");
  EXPECT_THAT(text("(.reg .b32 _) _ (.reg .b64 _)", "(r), g, (d)"),
              ::testing::HasSubstr("call of 'f' with 8 bytes for its parameter 'a', which has 4"));
  EXPECT_THAT(text("(.reg .b64 _) _ (.reg .b32 _)", "(d), g, (r)"),
              ::testing::HasSubstr("call of 'f' with 8 bytes for its result 'o', which has 4"));
  EXPECT_THAT(text("(.reg .b32 _) _ (.reg .b32 _, .reg .b32 _)", "(r), g, (r, r)"),
              ::testing::HasSubstr("call of 'f' with 2 arguments and 1 results; it takes 1 and returns 1"));
  EXPECT_THAT(text("_ (.reg .b32 _)", "g, (r)"),
              ::testing::HasSubstr("call of 'f' with 1 arguments and 0 results; it takes 1 and returns 1"));
}

}  // namespace
}  // namespace ptxops::virt::testing
