// One gtest case a row of the instruction table: generated from the row, or hand-written. "Coverage" fails
// for a supported row without a case and writes coverage.md into the working folder.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <stdexcept>

#include "tests/conformance/cases.h"
#include "tests/conformance/generated.h"
#include "tests/conformance/values.h"

namespace ptxops::conformance {

std::vector<WrittenCase>& written_cases() {
  static std::vector<WrittenCase> all;
  return all;
}

std::string read_case(const std::string& path) {
  const std::string full = std::string(PTXOPS_CONFORMANCE_DIR) + "/" + path;
  std::ifstream file(full);
  if (!file) throw std::runtime_error("cannot read " + full);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

namespace {

bool is_generated(const isa::Row& row) {
  return row.supported() && oracles().count(row.id) != 0;
}

class GeneratedRow : public ::testing::Test {
 public:
  explicit GeneratedRow(const isa::Row& row) : row_(row) {}
  void TestBody() override { run_cases(row_, cases_of(row_)); }

 private:
  const isa::Row& row_;
};

class WrittenRow : public ::testing::Test {
 public:
  explicit WrittenRow(const WrittenCase& c) : case_(c) {}
  void TestBody() override { case_.run(); }

 private:
  const WrittenCase& case_;
};

// Row by row: what is supported, and which cases try it.
class Coverage : public ::testing::Test {
 public:
  void TestBody() override {
    std::map<isa::Id, std::vector<std::string>> written;
    for (const WrittenCase& c : written_cases())
      for (isa::Id id : c.rows) written[id].push_back(c.name);
    std::ofstream report("coverage.md");
    report << "# Conformance coverage, row by row of the instruction table\n\n"
              "| row | supported | cases |\n|---|---|---|\n";
    size_t supported = 0, covered = 0;
    std::string chapter;
    for (const isa::Row& row : isa::rows()) {
      if (row.chapter != chapter) {
        chapter = row.chapter;
        report << "| **" << chapter << "** | | |\n";
      }
      std::string pattern;
      for (char ch : row.pattern) pattern += ch == '|' ? std::string("\\|") : std::string(1, ch);
      if (!row.supported()) {
        report << fmt::format("| `{}` | no: {} | |\n", pattern, row.why_not);
        continue;
      }
      ++supported;
      std::string cases;
      if (is_generated(row)) cases = fmt::format("{} generated", cases_of(row).size());
      if (const auto it = written.find(row.id); it != written.end())
        for (const std::string& name : it->second) cases += (cases.empty() ? "" : ", ") + name;
      if (cases.empty()) {
        ADD_FAILURE() << "row \"" << row.pattern << "\" (" << row.chapter << ", " << row.name
                      << ") is supported but has no conformance case";
        cases = "**none**";
      } else {
        ++covered;
      }
      report << fmt::format("| `{}` | yes | {} |\n", pattern, cases);
    }
    report << fmt::format("\n{} of {} supported rows have cases.\n", covered, supported);
    RecordProperty("supported", static_cast<int>(supported));
    RecordProperty("covered", static_cast<int>(covered));
  }
};

void register_all() {
  std::set<std::string> names;
  const auto unique = [&](const std::string& suite, std::string name) {
    while (!names.insert(suite + "." + name).second) name += "_";
    return name;
  };
  for (const isa::Row& row : isa::rows()) {
    if (!is_generated(row)) continue;
    const std::string suite(row.chapter), name = unique(suite, test_name(row));
    ::testing::RegisterTest(suite.c_str(), name.c_str(), nullptr, nullptr, __FILE__, __LINE__,
                            [&row]() -> ::testing::Test* { return new GeneratedRow(row); });
  }
  for (const WrittenCase& c : written_cases()) {
    const std::string name = unique(c.chapter, c.name);
    ::testing::RegisterTest(c.chapter.c_str(), name.c_str(), nullptr, nullptr, __FILE__, __LINE__,
                            [&c]() -> ::testing::Test* { return new WrittenRow(c); });
  }
  ::testing::RegisterTest("Coverage", "every_supported_row_has_a_case", nullptr, nullptr, __FILE__, __LINE__,
                          []() -> ::testing::Test* { return new Coverage; });
}

}  // namespace
}  // namespace ptxops::conformance

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  fmt::print("PTXOPS_SEED={}\n", ptxops::conformance::seed());
  ptxops::conformance::register_all();
  return RUN_ALL_TESTS();
}
