// Every statement of cases/: what parses, what is refused and in which line.
#include <gtest/gtest.h>

#include "tests/driver/virtual/isa/parsing.h"

namespace ptxops::virt::isa::testing {
namespace {

TEST(Cases, Accepted) {
  auto lines = case_lines(ISA_CASES "/accept.txt");
  ASSERT_GT(lines.size(), 400u);
  for (const std::string& line : lines) {
    Parsed p(with_entry(line));
    EXPECT_TRUE(p.ok) << line << "\n" << p.log();
  }
}

void expect_refused(const char* path, size_t at_least) {
  auto lines = case_lines(path);
  ASSERT_GT(lines.size(), at_least);
  for (const std::string& line : lines) {
    Parsed p(with_entry(line));
    ASSERT_FALSE(p.ok) << line;
    ASSERT_FALSE(p.diagnostics.empty()) << line;
    // A missing ';' is seen at the next token.
    EXPECT_GE(p.diagnostics[0].line, kStatementLine) << line;
    EXPECT_LE(p.diagnostics[0].line, kStatementLine + 1) << line;
    EXPECT_FALSE(p.diagnostics[0].text.empty()) << line;
  }
}
TEST(Cases, Refused) {
  expect_refused(ISA_CASES "/refuse.txt", 100);
}
TEST(Cases, RefusedThoughPtxasAccepts) {
  expect_refused(ISA_CASES "/stricter.txt", 5);
}

}  // namespace
}  // namespace ptxops::virt::isa::testing
