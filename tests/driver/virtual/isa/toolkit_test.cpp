// ptxas and nvcc as second opinions. Skipped without them.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <sstream>

#include "tests/driver/virtual/isa/parsing.h"

namespace ptxops::virt::isa::testing {
namespace {

namespace fs = std::filesystem;

class Toolkit : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "ptxops-isa-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override {
    if (!folder_.empty()) fs::remove_all(folder_);
  }
  bool have(const std::string& tool) {
    return std::system(("command -v " + tool + " >/dev/null 2>&1").c_str()) == 0;
  }
  // Exit status; output in `output_`.
  int run(const std::string& command) {
    int status = std::system((command + " >" + (folder_ / "log").string() + " 2>&1").c_str());
    output_ = read(folder_ / "log");
    return status;
  }
  int assemble(const std::string& text) {
    std::ofstream(folder_ / "m.ptx") << text;
    return run("ptxas -arch=sm_90a " + (folder_ / "m.ptx").string() + " -o " +
               (folder_ / "m.cubin").string());
  }
  static std::string read(const fs::path& path) {
    std::stringstream s;
    s << std::ifstream(path).rdbuf();
    return s.str();
  }

  fs::path folder_;
  std::string output_;
};

TEST_F(Toolkit, PtxasAcceptsWhatWeAccept) {
  if (!have("ptxas")) GTEST_SKIP() << "ptxas is not on PATH";
  // One entry for each case, so that one run of ptxas serves many.
  auto lines = case_lines(ISA_CASES "/accept.txt");
  for (size_t first = 0; first < lines.size(); first += 100) {
    std::string text =
        header() +
        ".extern .shared .align 128 .b8 sm[];\n.global .align 16 .b8 gv[64];\n.entry k() { ret; }\n";
    for (size_t i = first; i < std::min(lines.size(), first + 100); ++i)
      text += entry("k" + std::to_string(i), lines[i]);
    EXPECT_EQ(assemble(text), 0) << output_;
    Parsed p(text);
    EXPECT_TRUE(p.ok) << p.log();
  }
}

TEST_F(Toolkit, PtxasRefusesWhatWeRefuse) {
  if (!have("ptxas")) GTEST_SKIP() << "ptxas is not on PATH";
  for (const std::string& line : case_lines(ISA_CASES "/refuse.txt"))
    EXPECT_NE(assemble(with_entry(line)), 0) << line;
}

class Nvcc : public Toolkit, public ::testing::WithParamInterface<std::pair<const char*, const char*>> {};

TEST_P(Nvcc, CompiledCodeParses) {
  if (!have("nvcc")) GTEST_SKIP() << "nvcc is not on PATH";
  auto [file, options] = GetParam();
  fs::path ptx = folder_ / "out.ptx";
  ASSERT_EQ(run(std::string("nvcc -std=c++17 -arch=sm_90a -ptx ") + options + " " ISA_CASES "/" + file +
                " -o " + ptx.string()),
            0)
      << output_;
  Parsed p(read(ptx));
  EXPECT_TRUE(p.ok) << p.log();
  size_t instructions = 0;
  std::set<Id> ids;
  for (const Function& f : p.module.functions) {
    instructions += f.instructions.size();
    for (const Instruction& in : f.instructions) ids.insert(in.id());
  }
  EXPECT_GT(instructions, 100u);
  std::printf("%s %s: %zu instructions, %zu ids\n", file, options, instructions, ids.size());
}

INSTANTIATE_TEST_SUITE_P(Sources, Nvcc,
                         ::testing::Values(std::pair{"device_code.cu", ""},
                                           std::pair{"device_code.cu", "-lineinfo"},
                                           std::pair{"device_code.cu", "-G"}, std::pair{"cuda_ptx.cu", ""},
                                           std::pair{"cuda_ptx.cu", "-G"}));

}  // namespace
}  // namespace ptxops::virt::isa::testing
