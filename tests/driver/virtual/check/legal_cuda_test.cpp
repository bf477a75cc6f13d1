// What the compiler makes of ordinary CUDA C++ is legal: silent, and right. Skipped without nvrtc.
#include <gtest/gtest.h>

#include <filesystem>

#include "driver/jit/nvrtc.h"
#include "driver/jit/tool_search.h"
#include "tests/driver/virtual/check/legal.h"

namespace ptxops::virt::testing {
namespace {

class LegalCuda : public ::testing::TestWithParam<std::string> {};

TEST_P(LegalCuda, Compiled) {
  const jit::NvrtcSearch search = jit::find_nvrtc();
  if (!search.tool) GTEST_SKIP() << search.status;
  const Twin twin = read_twin(GetParam());
  for (const bool debug : {false, true}) {
    SCOPED_TRACE(debug ? "-G" : "optimised");
    jit::NvrtcOptions options;
    // nvrtc has no <cstdint>; libcu++ lies in a folder of its own in the toolkit's include path.
    options.headers = {{"cstdint",
                        "typedef unsigned char uint8_t;\ntypedef unsigned int uint32_t;\n"
                        "typedef unsigned long long uint64_t;\n"}};
    const auto include =
        std::filesystem::path(jit::find_nvrtc_path().path).parent_path().parent_path() / "include";
    options.flags.push_back("--include-path=" + (include / "cccl").string());
    if (debug) options.flags.push_back("-G");
    const jit::NvrtcResult compiled = search.tool->compile(twin.text, twin.name + ".cu", options);
    if (!compiled.ok && compiled.log.find("not open source file") != std::string::npos)
      GTEST_SKIP() << "the toolkit's headers are not at hand:\n" << compiled.log;
    ASSERT_TRUE(compiled.ok) << compiled.log;
    expect_silent_and_right(twin, compiled.image);
  }
}
INSTANTIATE_TEST_SUITE_P(Kernels, LegalCuda, ::testing::ValuesIn(files_of(LEGAL_FOLDER, ".cu")), name_of);

}  // namespace
}  // namespace ptxops::virt::testing
