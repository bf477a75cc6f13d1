#include "driver/jit/nvrtc.h"

#include <gmock/gmock.h>

namespace ptxops::jit {
namespace {

using ::testing::HasSubstr;

class NvrtcTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const NvrtcSearch search = find_nvrtc();
    if (!search.tool) GTEST_SKIP() << search.status;
    tool_ = search.tool;
  }
  std::shared_ptr<const Nvrtc> tool_;
};

TEST_F(NvrtcTest, PtxAndCubin) {
  const std::string source =
      "#include \"n.h\"\nextern \"C\" __global__ void twice(int* p) { p[threadIdx.x] *= N; }\n";
  NvrtcOptions options;
  options.headers = {{"n.h", "#define N 2\n"}};
  const NvrtcResult ptx = tool_->compile(source, "twice.cu", options);
  ASSERT_TRUE(ptx.ok) << ptx.log;
  EXPECT_THAT(ptx.image, HasSubstr(".entry twice"));
  EXPECT_THAT(ptx.image, HasSubstr(".target sm_90a"));
  EXPECT_EQ(ptx.image.find('\0'), ptx.image.npos);
  options.cubin = true;
  const NvrtcResult cubin = tool_->compile(source, "twice.cu", options);
  ASSERT_TRUE(cubin.ok) << cubin.log;
  EXPECT_EQ(cubin.image.substr(0, 4), "\177ELF");
  EXPECT_THAT(tool_->identity(), HasSubstr("nvrtc "));
}

TEST_F(NvrtcTest, ErrorsAreInTheLog) {
  const NvrtcResult r = tool_->compile("__global__ void f() { nonsense; }\n", "f.cu");
  EXPECT_FALSE(r.ok);
  EXPECT_EQ(r.image, "");
  EXPECT_THAT(r.log, HasSubstr("nonsense"));
  EXPECT_THAT(r.log, HasSubstr("f.cu(1)"));
}

}  // namespace
}  // namespace ptxops::jit
