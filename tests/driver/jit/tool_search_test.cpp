#include "driver/jit/tool_search.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "driver/jit/nvrtc.h"
#include "driver/jit/ptxas.h"
#include "tests/driver/jit/template_fixture.h"

namespace ptxops::jit {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class ToolSearch : public ::testing::Test {
 protected:
  // An executable (or not) file below the scratch directory; its path.
  std::string tool(const std::string& relative, bool executable = true) {
    const fs::path path = fs::path(scratch_.path()) / relative;
    fs::create_directories(path.parent_path());
    write_file(path, "#!/bin/sh\necho fake $0\n");
    if (executable) fs::permissions(path, fs::perms::owner_all);
    return path;
  }
  std::string at(const std::string& relative) const { return scratch_.path() + "/" + relative; }

  ScratchDirectory scratch_;
  ScopedEnv path_{"PATH", scratch_.path() + "/empty:" + scratch_.path() + "/bin"};
  ScopedEnv cuda_{"CUDA_HOME", scratch_.path() + "/cuda"};
  ScopedEnv venv_{"VIRTUAL_ENV", scratch_.path() + "/venv"};
  ScopedEnv libraries_{"LD_LIBRARY_PATH", ""};
  ScopedEnv ptxas_{"PTXOPS_PTXAS", ""};
  ScopedEnv nvrtc_{"PTXOPS_NVRTC", ""};
};

TEST_F(ToolSearch, PtxasOrder) {
  // The last place first: each new one must win over those before. The system's own toolkit lies in between.
  const std::string wheel = tool("venv/lib/python3.11/site-packages/nvidia/cuda_nvcc/bin/ptxas");
  if (!fs::exists("/usr/local/cuda/bin/ptxas")) {
    EXPECT_EQ(find_ptxas_path().path, wheel);
  }
  const std::string cuda = tool("cuda/bin/ptxas");
  EXPECT_EQ(find_ptxas_path().path, cuda);
  tool("bin/ptxas", false);
  EXPECT_EQ(find_ptxas_path().path, cuda) << "a file that cannot be run is not the tool";
  const std::string on_path = tool("bin/ptxas");
  EXPECT_EQ(find_ptxas_path().path, on_path);
  const std::string given = tool("given/ptxas-12.9");
  const ScopedEnv env("PTXOPS_PTXAS", given);
  EXPECT_EQ(find_ptxas_path().path, given);
}

TEST_F(ToolSearch, AnAbsentToolSaysWhereItWasLookedFor) {
  const ScopedEnv env("PTXOPS_PTXAS", "/no/such/ptxas");
  const PtxasSearch search = find_ptxas();
  EXPECT_FALSE(search.tool);
  EXPECT_EQ(search.status, "ptxas: not found; looked in PTXOPS_PTXAS=/no/such/ptxas");
  const ScopedEnv nvrtc_env("PTXOPS_NVRTC", "/no/such/libnvrtc.so");
  const NvrtcSearch nvrtc = find_nvrtc();
  EXPECT_EQ(nvrtc.tool, nullptr);
  EXPECT_EQ(nvrtc.status, "nvrtc: not found; looked in PTXOPS_NVRTC=/no/such/libnvrtc.so");
}

TEST_F(ToolSearch, EveryPlaceIsNamed) {
  fs::create_directories(at("venv/lib/python3.11/site-packages/nvidia/cu13"));
  if (!fs::exists("/usr/local/cuda/bin/ptxas")) {
    const ToolPath found = find_ptxas_path();
    EXPECT_EQ(found.path, "");
    EXPECT_EQ(found.looked,
              (std::vector<std::string>{at("empty"), at("bin"), at("cuda/bin"), "/usr/local/cuda/bin",
                                        at("venv/lib/python3.11/site-packages/nvidia/cu13/bin")}));
  }
  const ToolPath status{"", {"a", "b"}};
  EXPECT_EQ(status.status("tool"), "tool: not found; looked in a, b");
}

TEST_F(ToolSearch, NvrtcByName) {
  tool("cuda/lib64/libnvrtc-builtins.so.13.0");
  tool("cuda/lib64/libnvrtc.alt.so");
  const std::string library = tool("cuda/lib64/libnvrtc.so.12");
  EXPECT_EQ(find_nvrtc_path().path, library);
  const NvrtcSearch search = find_nvrtc();
  EXPECT_EQ(search.tool, nullptr) << "a text file is no library";
  EXPECT_THAT(search.status, HasSubstr("nvrtc: cannot use " + library));
}

}  // namespace
}  // namespace ptxops::jit
