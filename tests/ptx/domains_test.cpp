// Every kernel of ptx/ over its whole declared domain: ptxas takes it without spills, stack or advisories.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "driver/jit/head.h"
#include "driver/jit/ptxas.h"
#include "driver/jit/report.h"
#include "driver/jit/source.h"

namespace ptxops::jit {
namespace {

std::vector<std::string> kernel_paths() {
  std::vector<std::string> paths;
  for (const std::string& path : source_paths())
    if (path.ends_with(".ptx") && read_source(path)->find("//% kernel ") != std::string::npos)
      paths.push_back(path);
  return paths;
}

class Domain : public testing::TestWithParam<std::string> {};

TEST_P(Domain, IsNotEmptyAndNamesItsFile) {
  const KernelHead head = parse_head(GetParam());
  EXPECT_EQ(GetParam().substr(GetParam().rfind('/') + 1), head.name + ".ptx");
  EXPECT_FALSE(enumerate(head).empty());
  for (const char* note : {"smem_bytes", "threads"}) EXPECT_GE(head.note_index(note), 0) << note;
}

TEST_P(Domain, FitsTheMachine) {
  const KernelHead head = parse_head(GetParam());
  for (const Config& config : enumerate(head)) {
    EXPECT_LE(evaluate_note(head, "smem_bytes", config).value(), 232448);
    const int64_t threads = evaluate_note(head, "threads", config).value();
    EXPECT_TRUE(threads > 0 && threads <= 1024 && threads % 32 == 0) << threads;
  }
}

TEST_P(Domain, AssemblesWithoutSpillsOrAdvisories) {
  const PtxasSearch search = find_ptxas();
  if (!search.tool) GTEST_SKIP() << search.status;
  const KernelHead head = parse_head(GetParam());
  const std::vector<Config> configs = enumerate(head);
  const unsigned threads = std::clamp(std::thread::hardware_concurrency(), 1u, 8u);
  std::vector<ReportRow> faults;
  for (ReportRow& row : assemble_configs(head, configs, *search.tool, {}, threads))
    if (!row.clean() || row.usage.stack_bytes != 0) faults.push_back(std::move(row));
  EXPECT_TRUE(faults.empty()) << faults.size() << " of " << configs.size() << " configurations\n"
                              << format_report(head, faults);
}

std::string test_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); }, '_');
  return name;
}
INSTANTIATE_TEST_SUITE_P(Kernels, Domain, testing::ValuesIn(kernel_paths()), test_name);

}  // namespace
}  // namespace ptxops::jit
