// What CUDA's device runtime gives to kernels: printf, assert, and the workspace of cooperative grids.
#include "tests/driver/virtual/api/virtual_driver.h"

namespace ptxops::virt::test {
namespace {

// print: lane i < 2 says "lane %d: %5.2f %s %lld%%\n" with i, i + 0.5, "yes" and 1 << 40.
// check: asserts that %tid.x < n.
// envreg: stores %envreg1, %envreg2 and, where they point to something, its first 16 bytes.
constexpr const char* kPtx = R"(.version 8.0
.target sm_90a
.address_size 64
.extern .func (.param .b32 r) vprintf(.param .b64 format, .param .b64 arguments);
.extern .func __assertfail(.param .b64 m, .param .b64 f, .param .b32 l, .param .b64 n, .param .b64 s);
.global .align 1 .b8 format[26] = {108, 97, 110, 101, 32, 37, 100, 58, 32, 37, 53, 46, 50, 102, 32, 37, 115, 32, 37,
                                   108, 108, 100, 37, 37, 10, 0};
.global .align 1 .b8 yes[4] = {121, 101, 115, 0};
.visible .entry print(.param .u64 out)
{
  .local .align 8 .b8 list[32];
  .reg .pred p;
  .reg .b32 t, n;
  .reg .b64 f, a, s, o;
  .reg .f64 x;
  mov.u32 t, %tid.x;
  setp.gt.u32 p, t, 1;
  @p ret;
  cvt.rn.f64.u32 x, t;
  add.f64 x, x, 0d3FE0000000000000;
  st.local.b32 [list], t;
  st.local.f64 [list+8], x;
  cvta.global.u64 s, yes;
  st.local.b64 [list+16], s;
  st.local.b64 [list+24], 1099511627776;
  cvta.global.u64 f, format;
  cvta.local.u64 a, list;
  {
    .param .b64 pf, pa;
    .param .b32 pr;
    st.param.b64 [pf], f;
    st.param.b64 [pa], a;
    call.uni (pr), vprintf, (pf, pa);
    ld.param.b32 n, [pr];
  }
  ld.param.u64 o, [out];
  st.global.b32 [o], n;
  ret;
}
.visible .entry check(.param .u32 n)
{
  .reg .pred p;
  .reg .b32 t, m;
  .reg .b64 s;
  mov.u32 t, %tid.x;
  ld.param.u32 m, [n];
  setp.lt.u32 p, t, m;
  @p ret;
  cvta.global.u64 s, yes;
  {
    .param .b64 a, b, d, e;
    .param .b32 c;
    st.param.b64 [a], s;
    st.param.b64 [b], s;
    st.param.b32 [c], 7;
    st.param.b64 [d], s;
    st.param.b64 [e], 1;
    call.uni __assertfail, (a, b, c, d, e);
  }
  ret;
}
.visible .entry envreg(.param .u64 out)
{
  .reg .pred p;
  .reg .b32 low, high, v<4>;
  .reg .b64 o, w;
  mov.b32 high, %envreg1;
  mov.b32 low, %envreg2;
  mov.b64 w, {low, high};
  ld.param.u64 o, [out];
  st.global.b64 [o], w;
  setp.eq.u64 p, w, 0;
  @p ret;
  ld.v4.b32 {v0, v1, v2, v3}, [w];
  st.global.v4.b32 [o+16], {v0, v1, v2, v3};
  ret;
}
)";

class DeviceRuntime : public ContextTest {
 protected:
  void SetUp() override {
    ContextTest::SetUp();
    ASSERT_CUDA(cuda().cuModuleLoadData(&module_, kPtx));
    ASSERT_CUDA(cuda().cuMemAlloc_v2(&out_, 64));
    ASSERT_CUDA(cuda().cuMemsetD8_v2(out_, 0xA5, 64));
  }
  CUfunction function(const char* name) {
    CUfunction f = nullptr;
    EXPECT_CUDA(cuda().cuModuleGetFunction(&f, module_, name));
    return f;
  }
  CUmodule module_ = nullptr;
  CUdeviceptr out_ = 0;
};

TEST_F(DeviceRuntime, PrintfAppearsAtSynchronisation) {
  void* parameters[] = {&out_};
  ::testing::internal::CaptureStdout();
  EXPECT_CUDA(cuda().cuLaunchKernel(function("print"), 1, 1, 1, 32, 1, 1, 0, nullptr, parameters, nullptr));
  EXPECT_CUDA(cuda().cuCtxSynchronize());
  EXPECT_EQ(::testing::internal::GetCapturedStdout(),
            "lane 0:  0.50 yes 1099511627776%\nlane 1:  1.50 yes 1099511627776%\n");
  int count = 0;
  ASSERT_CUDA(cuda().cuMemcpyDtoH_v2(&count, out_, 4));
  EXPECT_EQ(count, 4);
}

TEST_F(DeviceRuntime, AssertHasACodeAndAText) {
  uint32_t n = 32;
  void* parameters[] = {&n};
  EXPECT_CUDA(cuda().cuLaunchKernel(function("check"), 2, 1, 1, 32, 1, 1, 0, nullptr, parameters, nullptr));
  EXPECT_CUDA(cuda().cuCtxSynchronize());
  n = 31;
  ::testing::internal::CaptureStderr();
  EXPECT_CUDA(cuda().cuLaunchKernel(function("check"), 1, 1, 1, 32, 1, 1, 0, nullptr, parameters, nullptr));
  EXPECT_EQ(cuda().cuCtxSynchronize(), CUDA_ERROR_ASSERT);
  EXPECT_NE(::testing::internal::GetCapturedStderr().find(
                "yes:7: yes: block: [0,0,0], thread: [31,0,0] Assertion `yes` failed."),
            std::string::npos);
}

TEST_F(DeviceRuntime, OnlyCooperativeGridsHaveAWorkspace) {
  void* parameters[] = {&out_};
  uint32_t got[8];
  ASSERT_CUDA(cuda().cuLaunchKernel(function("envreg"), 1, 1, 1, 1, 1, 1, 0, nullptr, parameters, nullptr));
  ASSERT_CUDA(cuda().cuMemcpyDtoH_v2(got, out_, sizeof got));
  EXPECT_EQ(uint64_t{got[0]} | got[1], 0u);
  ASSERT_CUDA(cuda().cuLaunchCooperativeKernel(function("envreg"), 1, 1, 1, 1, 1, 1, 0, nullptr, parameters));
  ASSERT_CUDA(cuda().cuMemcpyDtoH_v2(got, out_, sizeof got));
  EXPECT_NE(uint64_t{got[0]} | got[1], 0u);
  for (int i = 4; i < 8; ++i) EXPECT_EQ(got[i], 0u);
}

}  // namespace
}  // namespace ptxops::virt::test
