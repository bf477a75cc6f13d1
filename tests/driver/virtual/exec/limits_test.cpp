// PTX text that is wrong by its size: time, memory and stack stay in proportion to the text, and the refusal
// says so.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <functional>

#include "tests/driver/virtual/exec/run_ptx.h"

namespace ptxops::virt::testing {
namespace {

using ::testing::HasSubstr;

std::string repeat(const std::string& piece, size_t n) {
  std::string text;
  text.reserve(piece.size() * n);
  for (size_t i = 0; i < n; ++i) text += piece;
  return text;
}
std::string numbered(size_t n, const std::function<std::string(size_t)>& piece) {
  std::string text;
  for (size_t i = 0; i < n; ++i) text += piece(i);
  return text;
}
std::string entry(const std::string& body, const std::string& directives = "") {
  return header() + ".visible .entry k(.param .u64 p) " + directives + " {\n" + body + "\nret;\n}\n";
}

// What loading says; "" when it succeeds.
std::string load(const std::string& ptx) {
  isa::Module module;
  std::vector<isa::Diagnostic> diagnostics;
  if (isa::parse(ptx, module, diagnostics) != isa::Result::ok) return isa::render(diagnostics);
  std::string log;
  const auto program = Program::load(std::move(module), memory(), 0, log);
  return program ? "" : log;
}

TEST(Limits, Nesting) {
  constexpr size_t kDeep = 200'000;
  const auto global = [](const std::string& value) { return header() + ".global .u32 x = " + value + ";\n"; };
  EXPECT_THAT(load(global(repeat("(", kDeep))), HasSubstr("Brackets nest deeper than 200"));
  EXPECT_THAT(load(global(repeat("-", kDeep) + "1")), HasSubstr("Brackets nest deeper than 200"));
  EXPECT_THAT(load(global(repeat("1?1:", kDeep) + "1")), HasSubstr("Brackets nest deeper than 200"));
  EXPECT_THAT(load(entry("mov.b64 a, " + repeat("{", kDeep))), HasSubstr("Brackets nest deeper than 200"));
  EXPECT_THAT(load(entry(repeat("{\n", kDeep) + repeat("}\n", kDeep))),
              HasSubstr("Blocks nest deeper than 250"));
  EXPECT_THAT(load(header() + ".global .u8 x" + repeat("[1]", kDeep) + ";\n"),
              HasSubstr("more than 16 dimensions"));
  EXPECT_EQ(load(global(repeat("(", 150) + "1" + repeat(")", 150))), "");
  EXPECT_EQ(load(entry(repeat("{\n", 200) + repeat("}\n", 200))), "");
}

TEST(Limits, Registers) {
  EXPECT_THAT(load(entry(".reg .b64 r<16777216>;")), HasSubstr("more than 1048576 registers"));
  EXPECT_THAT(
      load(entry(numbered(20, [](size_t i) { return fmt::format(".reg .v4 .b32 r{}_<100000>;\n", i); }))),
      HasSubstr("more than 1048576 registers"));
  EXPECT_EQ(load(entry(".reg .b32 r<100000>;")), "");
  // A name of digits is looked up once, not once for each of its digits.
  EXPECT_THAT(load(entry(".reg .b32 r<4>;\nmov.b32 r1, r" + repeat("1", 1 << 20) + ";")),
              HasSubstr("Unknown symbol"));
}

TEST(Limits, Variables) {
  EXPECT_THAT(load(header() + ".global .u8 x[0];\n"), HasSubstr("Array dimension is 0"));
  EXPECT_THAT(load(header() + ".global .u8 x[] = {};\n"), HasSubstr("is empty"));
  EXPECT_THAT(load(header() + ".global .u8 x[][1099511627776][1099511627776] = {{{1}}};\n"),
              HasSubstr("'x' is too large"));
  EXPECT_THAT(load(header() + ".global .u64 x[2][17179869184] = {{1}, {2}};\n"),
              HasSubstr("has values beyond 268435456 bytes"));
  EXPECT_THAT(load(header() + ".global .u8 x[1099511627776];\n"),
              HasSubstr("no memory for the 1099511627776 bytes"));
  // 64 GiB of zeros behind one value take no memory.
  EXPECT_EQ(load(header() + ".global .u8 x[68719476736] = {7};\n"), "");
  EXPECT_THAT(load(entry(".local .b8 x[1099511627776];")),
              HasSubstr("more than 524288 bytes of local memory"));
  EXPECT_THAT(load(entry(".shared .b8 x[4294967297];\n.reg .b32 r;\nmov.b32 r, x;")),
              HasSubstr("uses too much shared memory"));
  EXPECT_THAT(load(entry(".reg .b32 r;\n" +
                         numbered(5000,
                                  [](size_t i) {
                                    return fmt::format(".shared .b8 x{}[1048576];\nmov.b32 r, x{};\n", i, i);
                                  }))),
              HasSubstr("uses too much shared memory"));
}

TEST(Limits, Directives) {
  EXPECT_EQ(load(entry("", ".reqntid 65536, 65536, 1")), "");
  EXPECT_EQ(load(entry("", ".maxntid 1024 .minnctapersm 4194304")), "");
  EXPECT_EQ(load(entry("", ".maxntid 2147483647, 2147483647, 2147483647 .maxnreg 2147483647")), "");
  EXPECT_THAT(load(header() + ".global .f64 x = (.s64)1e300;\n"), HasSubstr("does not fit 64 bits"));
}

// Text of a megabyte whose parts refer to each other in every way that a lookup or a scan could make
// quadratic. The test's time limit is the check: each takes well under a second.
TEST(Limits, LongModules) {
  constexpr size_t n = 20'000;
  // Unsupported instructions: a report has 20 lines.
  const std::string refused = load(entry(".reg .b64 d<2>;\n" + repeat("istypep.texref p, d1;\n", n)));
  EXPECT_LE(std::count(refused.begin(), refused.end(), '\n'), 20);
  EXPECT_EQ(load(entry(".reg .b32 r<20000>;\n.reg .b64 a;\n" +
                       numbered(n, [](size_t i) { return fmt::format("ld.global.b32 r{}, [a];\n", i); }))),
            "");
  EXPECT_EQ(load(entry(numbered(n, [](size_t i) { return fmt::format("L{}: bra M{};\nM{}:\n", i, i, i); }))),
            "");
  EXPECT_EQ(
      load(entry(".reg .pred p;\n" +
                 numbered(n, [](size_t i) { return fmt::format("L{}: @p bra L{};\n", i, n - 1 - i); }))),
      "");
  EXPECT_EQ(
      load(header() + numbered(n, [](size_t i) { return fmt::format(".func f{}() {{ ret; }}\n", i); }) +
           numbered(n, [](size_t i) { return fmt::format(".func g{}();\n.alias g{}, f{};\n", i, i, i); })),
      "");
  std::string labels, places;
  for (size_t i = 0; i < 2000; ++i) {
    labels += fmt::format("{}L{}", i ? ", " : "", i);
    places += fmt::format("L{}: brx.idx r, T;\n", i);
  }
  EXPECT_THAT(load(entry(".reg .b32 r;\nT: .branchtargets " + labels + ";\n" + places)),
              HasSubstr("more than 1048576 targets in all"));
  std::string params, loads;
  for (size_t i = 0; i < 8000; ++i) {
    params += fmt::format("{}.param .b32 p{}", i ? ", " : "", i);
    loads += fmt::format("ld.param.b32 r, [p{}];\n", i);
  }
  EXPECT_EQ(load(header() + ".entry k(" + params + ") { .reg .b32 r;\n" + loads + "ret; }\n"), "");
  EXPECT_EQ(load(header() + ".func f(" + params + ") { .reg .b32 r;\n" + loads + "ret; }\n"), "");
}

}  // namespace
}  // namespace ptxops::virt::testing
