// Each diagnostic of policy.def against a minimal kernel that violates its rule and the legal twin of that
// kernel. The violation is reported under the rule's id at a line that the file marks; the twin is silent,
// and right.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>

#include "tests/driver/virtual/check/run_twin.h"

namespace ptxops::virt::testing {
namespace {

bool pedantic_run() {
  const char* text = std::getenv("PTXOPS_CHECK_PEDANTIC");
  return text && std::string(text) == "1";
}

const Rule* rule_of(const std::string& code) {
#define DIAGNOSTIC(name, ...) \
  if (code == #name) return &rule(Diagnostic::name);
#include "driver/virtual/check/policy.def"
#undef DIAGNOSTIC
  return nullptr;
}

struct Row {
  std::string bad = "-", good = "-";
};
// The table of what was run, printed at the end.
class Table : public ::testing::Environment {
 public:
  static std::map<std::string, Row>& rows() {
    static std::map<std::string, Row> r;
    return r;
  }
  // A livelock is told from a slow machine by this many seconds of wall time.
  void SetUp() override { setenv("PTXOPS_VIRTUAL_SPIN_LIMIT", "10", 0); }
  void TearDown() override {
    if (rows().empty()) return;
    int red = 0, silent = 0;
    std::printf("%-5s %-46s %-26s %s\n", "code", "twin", "bad", "good");
    for (const auto& [name, row] : rows()) {
      const size_t dash = name.find('-');
      std::printf("%-5s %-46s %-26s %s\n", name.substr(0, dash).c_str(), name.substr(dash + 1).c_str(),
                  row.bad.c_str(), row.good.c_str());
      red += row.bad == "red" || row.bad == "silent (pedantic)", silent += row.good == "silent";
    }
    std::printf("%zu twins: %d violations reported as they should be, %d legal ones silent and right%s\n",
                rows().size(), red, silent, pedantic_run() ? " (PTXOPS_CHECK_PEDANTIC=1)" : "");
  }
};
[[maybe_unused]] const auto* const table = ::testing::AddGlobalTestEnvironment(new Table);

std::string list(const std::set<uint32_t>& lines) {
  return fmt::format("{}", fmt::join(lines, ", "));
}

class Twins : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    twin_ = read_twin(GetParam());
    ASSERT_NE(twin_.code, "") << "no //! bad: and //! good: lines";
    rule_ = rule_of(twin_.code);
    ASSERT_NE(rule_, nullptr) << "no diagnostic " << twin_.code;
    ASSERT_EQ(twin_.name.find(fmt::format("{}-{}", rule_->code, rule_->slug)), 0u)
        << "the name begins with code and slug";
  }
  Twin twin_;
  const Rule* rule_ = nullptr;
};

TEST_P(Twins, Bad) {
  std::string& cell = Table::rows()[twin_.name].bad;
  const auto here = twin_.lines_here(Variant::bad);
  ASSERT_FALSE(here.empty()) << "no line is marked //! here";
  const Outcome o = run_twin(twin_, twin_.expand(Variant::bad));
  if (!o.ran) {
    cell = "not run";
    FAIL() << o.report;
  }
  if (rule_->level == Level::pedantic && !pedantic_run()) {
    cell = o.code.empty() ? "silent (pedantic)" : "reported as " + o.code;
    EXPECT_EQ(o.code, "") << "pedantic, but reported without PTXOPS_CHECK_PEDANTIC:\n" << o.report;
    return;
  }
  if (o.code.empty()) {
    cell = "MISSED";
    FAIL() << "not reported";
  }
  if (o.code != twin_.code && !twin_.also.count(o.code)) {
    cell = "WRONG ID " + o.code;
    FAIL() << "reported as " << o.code << ":\n" << o.report;
  }
  bool named = false;
  for (const uint32_t line : o.lines) named |= here.count(line) != 0;
  cell = named ? "red" : fmt::format("WRONG LINE {}", list(o.lines));
  EXPECT_TRUE(named) << "expected a report of line " << list(here) << ", got:\n" << o.report;
}

TEST_P(Twins, Good) {
  std::string& cell = Table::rows()[twin_.name].good;
  ASSERT_FALSE(twin_.expectations.empty()) << "no result is expected";
  const Outcome o = run_twin(twin_, twin_.expand(Variant::good));
  const std::string wrong = o.ran && o.code.empty() ? compare(twin_, o) : "";
  cell = !o.ran            ? "not run"
         : !o.code.empty() ? "REPORTED " + o.code
         : wrong.empty()   ? "silent"
                           : "WRONG RESULT";
  EXPECT_TRUE(o.ran && o.code.empty()) << o.report;
  EXPECT_EQ(wrong, "");
}

std::string name_of(const ::testing::TestParamInfo<std::string>& info) {
  std::string name = read_twin(info.param).name;
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  return name;
}

std::vector<std::string> twins_of(bool pedantic) {
  std::vector<std::string> out;
  for (const std::string& file : files_of(TWINS_FOLDER, ".ptx")) {
    const Rule* r = rule_of(read_twin(file).code);
    if ((r && r->level == Level::pedantic) == pedantic) out.push_back(file);
  }
  return out;
}

INSTANTIATE_TEST_SUITE_P(Default, Twins, ::testing::ValuesIn(twins_of(false)), name_of);
INSTANTIATE_TEST_SUITE_P(Pedantic, Twins, ::testing::ValuesIn(twins_of(true)), name_of);

TEST(TwinsOfThePolicy, EveryDiagnosticHasOne) {
  std::set<std::string> codes;
  for (const std::string& file : files_of(TWINS_FOLDER, ".ptx")) codes.insert(read_twin(file).code);
#define DIAGNOSTIC(name, ...) EXPECT_TRUE(codes.count(#name)) << "no twin of " #name;
#include "driver/virtual/check/policy.def"
#undef DIAGNOSTIC
}

}  // namespace
}  // namespace ptxops::virt::testing
