// Parsing speed on a large generated file; the figure is printed.
#include <gtest/gtest.h>

#include <cstdio>
#include <ctime>

#include "tests/driver/virtual/isa/parsing.h"
#include "tests/support/sanitizers.h"

namespace ptxops::virt::isa::testing {
namespace {

double cpu_ms() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

TEST(Speed, TwentyThousandLines) {
  std::string text = header() +
                     ".visible .entry k(.param .u64 a) {\n.reg .b32 %r<4096>; .reg .b64 %rd<512>;\n"
                     ".reg .f32 %f<4096>; .reg .pred %p<64>;\n";
  int lines = 6;
  for (int i = 0; lines < 20000; ++i) {
    std::string a = std::to_string(i % 4000 + 1), b = std::to_string(i % 3990 + 7),
                d = std::to_string(i % 500 + 1);
    text += "$L" + std::to_string(i) + ":\n\tmad.lo.s32 \t%r" + a + ", %r" + b +
            ", 12, %r5;\n\tfma.rn.f32 \t%f" + a + ", %f" + b +
            ", 0f3F800000, %f9;\n\tld.global.v4.f32 \t{%f1, %f2, %f3, %f4}, [%rd" + d +
            "+16];\n\tsetp.lt.s32 \t%p1, %r" + a + ", 7;\n\t@%p1 bra \t$L" + std::to_string(i) + ";\n";
    lines += 6;
    if (i % 40 == 0) {
      text += "\twgmma.mma_async.sync.aligned.m64n256k32.f32.e4m3.e4m3 {";
      for (int k = 0; k < 128; ++k) text += (k ? ", %f" : "%f") + std::to_string(100 + k);
      text += "}, %rd1, %rd2, %p1, 1, 1;\n";
      ++lines;
    }
  }
  text += "\tret;\n}\n";
  double best = 1e9;
  for (int i = 0; i < 5; ++i) {
    double start = cpu_ms();
    Parsed p(text);
    best = std::min(best, cpu_ms() - start);
    ASSERT_TRUE(p.ok) << p.log();
  }
  std::printf("parse and validate %d lines, %zu bytes: %.2f ms (CPU time, best of 5)\n", lines, text.size(),
              best);
#ifdef __OPTIMIZE__
  if (!test::kAddressSanitizer && !test::kThreadSanitizer) {
    EXPECT_LT(best, 50.0);
  }
#endif
}

}  // namespace
}  // namespace ptxops::virt::isa::testing
