// Larger kernels that are legal as they stand, written as shipped kernels are: silent, and right.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "driver/jit/nvrtc.h"
#include "tests/driver/virtual/check/run_twin.h"

namespace ptxops::virt::testing {
namespace {

void expect_silent_and_right(const Twin& twin, const std::string& ptx) {
  ASSERT_FALSE(twin.expectations.empty()) << "no result is expected";
  const Outcome o = run_twin(twin, ptx);
  ASSERT_TRUE(o.ran) << o.report;
  ASSERT_EQ(o.code, "") << o.report;
  EXPECT_EQ(compare(twin, o), "");
}

std::string name_of(const ::testing::TestParamInfo<std::string>& info) {
  std::string name = read_twin(info.param).name;
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  return name;
}

class Legal : public ::testing::TestWithParam<std::string> {};

TEST_P(Legal, Ptx) {
  const Twin twin = read_twin(GetParam());
  expect_silent_and_right(twin, twin.text);
}
INSTANTIATE_TEST_SUITE_P(Kernels, Legal, ::testing::ValuesIn(files_of(LEGAL_FOLDER, ".ptx")), name_of);

// What the compiler makes of ordinary CUDA C++, with and without debug information.
class LegalCuda : public ::testing::TestWithParam<std::string> {};

TEST_P(LegalCuda, Compiled) {
  const jit::NvrtcSearch search = jit::find_nvrtc();
  if (!search.tool) GTEST_SKIP() << search.status;
  const Twin twin = read_twin(GetParam());
  for (const bool debug : {false, true}) {
    SCOPED_TRACE(debug ? "-G" : "optimised");
    jit::NvrtcOptions options;
    if (debug) options.flags.push_back("-G");
    const jit::NvrtcResult compiled = search.tool->compile(twin.text, twin.name + ".cu", options);
    if (!compiled.ok && compiled.log.find("could not open source file") != std::string::npos)
      GTEST_SKIP() << "the toolkit's headers are not at hand:\n" << compiled.log;
    ASSERT_TRUE(compiled.ok) << compiled.log;
    expect_silent_and_right(twin, compiled.image);
  }
}
INSTANTIATE_TEST_SUITE_P(Kernels, LegalCuda, ::testing::ValuesIn(files_of(LEGAL_FOLDER, ".cu")), name_of);

}  // namespace
}  // namespace ptxops::virt::testing
