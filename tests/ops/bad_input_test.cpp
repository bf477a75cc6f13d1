// Each bad input: its status, a text with name, expected and actual value, and no launch.
#include <gmock/gmock.h>

#include <climits>
#include <functional>

#include "tests/ops/device.h"

namespace ptxops::test {
namespace {

using ::testing::HasSubstr;

ptxopsFp8GemmDesc_t good() {
  ptxopsFp8GemmDesc_t d = PTXOPS_FP8_GEMM_DESC_INITIALIZER;
  d.form = PTXOPS_GEMM_GROUPED_CONTIGUOUS, d.m = 64, d.n = 64, d.k = 256, d.groups = 2, d.sm_count = 4;
  return d;
}

struct BadDesc {
  const char* name;
  std::function<void(ptxopsFp8GemmDesc_t&)> change;
  const char* text;
};

TEST(BadInput, Descriptor) {
  const BadDesc cases[] = {
      {"form", [](auto& d) { d.form = 3; }, "desc.form: expected 0 .. 2, got 3"},
      {"layout", [](auto& d) { d.group_layout = -1; }, "desc.group_layout: expected 0 .. 1, got -1"},
      {"negative m", [](auto& d) { d.m = -1; }, "desc.m: expected 0 .. 2147483391, got -1"},
      {"huge m", [](auto& d) { d.m = INT64_MAX; }, "got 9223372036854775807"},
      {"n 0", [](auto& d) { d.n = 0; }, "desc.n: expected 8 .. 2147483391, got 0"},
      {"n 12", [](auto& d) { d.n = 12; }, "desc.n: expected a multiple of 8, got 12"},
      {"k 64", [](auto& d) { d.k = 64; }, "desc.k: expected 128 .. 2147483391, got 64"},
      {"k 200", [](auto& d) { d.k = 200; }, "desc.k: expected a multiple of 128, got 200"},
      {"groups 0", [](auto& d) { d.groups = 0; }, "desc.groups: expected 1 .. 65536, got 0"},
      {"dense groups", [](auto& d) { d.form = PTXOPS_GEMM_DENSE; },
       "desc.groups: expected 1 for a dense GEMM, got 2"},
      {"overflow", [](auto& d) { d.groups = 65536, d.n = 1 << 20; },
       "desc.groups * desc.n: expected 1 .. 2147483647, got 68719476736"},
      {"masked overflow",
       [](auto& d) { d.form = PTXOPS_GEMM_GROUPED_MASKED, d.groups = 65536, d.m = 1 << 20; },
       "desc.groups * desc.m"},
      {"ldd small", [](auto& d) { d.ldd = 56; }, "desc.ldd: expected 64 .. 2147483647, got 56"},
      {"ldd odd", [](auto& d) { d.ldd = 68; },
       "desc.ldd: expected rows of a multiple of 16 bytes, got 68 elements of 2 bytes"},
      {"sfa small", [](auto& d) { d.ld_sfa = 60; }, "desc.ld_sfa: expected 64 .. 2147483647, got 60"},
      {"sfa odd", [](auto& d) { d.ld_sfa = 66; }, "desc.ld_sfa: expected a multiple of 4, got 66"},
      {"out", [](auto& d) { d.out_type = 2; }, "desc.out_type: expected 0 .. 1, got 2"},
      {"odd sms", [](auto& d) { d.sm_count = 7; }, "desc.sm_count: expected a multiple of 2, got 7"},
      {"static", [](auto& d) { d.weights_static = 2; }, "desc.weights_static: expected 0 .. 1, got 2"},
      {"magic", [](auto& d) { d.magic = 0; }, "desc: expected magic 0x70747870, got 0x00000000"},
      {"size", [](auto& d) { d.size = 3; }, "desc.size: expected"},
      {"larger struct", [](auto& d) { d.size += 8; }, "desc.size: expected"},
      {"half a field", [](auto& d) { d.size = 42; }, "desc.size: expected"},
      {"no version", [](auto& d) { d.version = 0; }, "desc.version: expected 100 (or an older one), got 0"},
      {"newer", [](auto& d) { d.version = 200; }, "desc.version: expected 100 (or an older one), got 200"},
      {"rows of scales", [](auto& d) { d.form = PTXOPS_GEMM_GROUPED_MASKED, d.groups = 1024, d.k = 1 << 29; },
       "desc.groups * desc.k / 128: expected 1 .. 2147483647, got 4294967296"},
  };
  for (const BadDesc& c : cases) {
    ptxopsFp8GemmDesc_t d = good();
    c.change(d);
    EXPECT_EQ(ptxopsFp8GemmCheck(&d), PTXOPS_INVALID_ARGUMENT) << c.name;
    EXPECT_THAT(ptxopsGetLastError(), HasSubstr(c.text)) << c.name;
    ptxopsPlan_t plan = reinterpret_cast<ptxopsPlan_t>(1);
    EXPECT_EQ(ptxopsFp8GemmPlanCreate(context(), &d, &plan), PTXOPS_INVALID_ARGUMENT) << c.name;
    EXPECT_EQ(plan, nullptr) << c.name;
  }
  EXPECT_EQ(ptxopsFp8GemmCheck(nullptr), PTXOPS_INVALID_ARGUMENT);
  EXPECT_THAT(ptxopsGetLastError(), HasSubstr("desc: expected a pointer to a struct, got NULL"));
}

TEST(BadInput, MoreSmsThanTheDevice) {
  ptxopsFp8GemmDesc_t d = good();
  d.sm_count = 512;
  ptxopsPlan_t plan = nullptr;
  EXPECT_EQ(ptxopsFp8GemmPlanCreate(context(), &d, &plan), PTXOPS_INVALID_ARGUMENT);
  EXPECT_THAT(ptxopsGetLastError(), HasSubstr("desc.sm_count: expected at most the device's 132, got 512"));
}

// A descriptor of an older, shorter version: the missing fields take their defaults.
TEST(BadInput, ShorterStructIsAccepted) {
  ptxopsFp8GemmDesc_t d = good();
  d.size = offsetof(ptxopsFp8GemmDesc_t, sm_count);
  d.sm_count = 7;
  EXPECT_EQ(ptxopsFp8GemmCheck(&d), PTXOPS_SUCCESS) << ptxopsGetLastError();
}

TEST(BadInput, HostTables) {
  const ptxopsFp8GemmDesc_t d = good();
  const int32_t falling[] = {0, 40, 30}, beyond[] = {0, 40, 65}, negative[] = {-1, 0, 64},
                fine[] = {0, 0, 64};
  EXPECT_EQ(ptxopsFp8GemmCheckOffsets(&d, falling), PTXOPS_INVALID_ARGUMENT);
  EXPECT_THAT(ptxopsGetLastError(), HasSubstr("offsets[2]: expected at least offsets[1] = 40, got 30"));
  EXPECT_EQ(ptxopsFp8GemmCheckOffsets(&d, beyond), PTXOPS_INVALID_ARGUMENT);
  EXPECT_THAT(ptxopsGetLastError(), HasSubstr("offsets[2]: expected at most desc.m = 64, got 65"));
  EXPECT_EQ(ptxopsFp8GemmCheckOffsets(&d, negative), PTXOPS_INVALID_ARGUMENT);
  EXPECT_EQ(ptxopsFp8GemmCheckOffsets(&d, fine), PTXOPS_SUCCESS);
  const int32_t above[] = {64, 65}, below[] = {0, -2};
  EXPECT_EQ(ptxopsFp8GemmCheckCounts(&d, above), PTXOPS_INVALID_ARGUMENT);
  EXPECT_THAT(ptxopsGetLastError(), HasSubstr("counts[1]: expected 0 .. desc.m = 64, got 65"));
  EXPECT_EQ(ptxopsFp8GemmCheckCounts(&d, below), PTXOPS_INVALID_ARGUMENT);
}

class BadRun : public ::testing::Test {
 protected:
  BadRun()
      : a(64 * 256, 0x38),
        sfa(4 * 2 * 64, 0),
        b(2 * 64 * 256, 0x38),
        sfb(4 * 2 * 2, 0),
        d(64 * 64 * 2, 0xa5),
        groups(64 * 4 + 16, 0) {
    args.a = a.address(), args.sfa = sfa.address(), args.b = b.address(), args.sfb = sfb.address(),
    args.d = d.address();
    args.groups = groups.address();
  }
  void expect_refused(ptxopsPlan_t plan, ptxopsStatus_t status, const std::string& text,
                      ptxopsDevicePtr_t workspace = 0, size_t bytes = 0, ptxopsStream_t stream = nullptr) {
    EXPECT_EQ(ptxopsFp8GemmRun(plan, &args, workspace, bytes, stream), status) << text;
    EXPECT_THAT(ptxopsGetLastError(), HasSubstr(text));
    EXPECT_OK(ptxopsStreamSynchronize(context(), nullptr));
    for (uint8_t byte : d.read<uint8_t>()) ASSERT_EQ(byte, 0xa5) << text;  // nothing written
  }
  DeviceMemory a, sfa, b, sfb, d, groups;
  ptxopsFp8GemmArgs_t args = PTXOPS_FP8_GEMM_ARGS_INITIALIZER;
};

TEST_F(BadRun, Arguments) {
  const ptxopsFp8GemmDesc_t desc = good();
  Plan plan;
  ASSERT_OK(ptxopsFp8GemmPlanCreate(context(), &desc, &plan.handle));
  expect_refused(plan.handle, PTXOPS_NOT_PREPARED, "expected a prepared plan");
  ASSERT_OK(ptxopsPlanPrepare(plan.handle));
  const std::pair<ptxopsDevicePtr_t*, const char*> tensors[] = {{&args.a, "args.a"},
                                                                {&args.sfa, "args.sfa"},
                                                                {&args.b, "args.b"},
                                                                {&args.sfb, "args.sfb"},
                                                                {&args.d, "args.d"}};
  for (const auto& [pointer, name] : tensors) {
    const ptxopsDevicePtr_t kept = *pointer;
    *pointer = 0;
    expect_refused(plan.handle, PTXOPS_INVALID_ARGUMENT,
                   std::string(name) + ": expected a device address, got NULL");
    *pointer = kept + 8;
    expect_refused(plan.handle, PTXOPS_INVALID_ARGUMENT,
                   std::string(name) + ": expected alignment 16 bytes, got 0x");
    *pointer = 0x1230;
    expect_refused(plan.handle, PTXOPS_INVALID_ARGUMENT, "got 0x1230, which the driver does not know");
    *pointer = kept;
  }
  const ptxopsDevicePtr_t kept = args.groups;
  args.groups = kept + 2;
  expect_refused(plan.handle, PTXOPS_INVALID_ARGUMENT, "args.groups: expected alignment 4 bytes");
  args.groups = kept;
  args.magic = 1;
  expect_refused(plan.handle, PTXOPS_INVALID_ARGUMENT, "args: expected magic");
  args.magic = PTXOPS_MAGIC;
  EXPECT_EQ(ptxopsFp8GemmRun(nullptr, &args, 0, 0, nullptr), PTXOPS_INVALID_ARGUMENT);
  EXPECT_EQ(ptxopsFp8GemmRun(plan.handle, nullptr, 0, 0, nullptr), PTXOPS_INVALID_ARGUMENT);
  ptxopsQuantizeArgs_t other = PTXOPS_QUANTIZE_ARGS_INITIALIZER;
  EXPECT_EQ(ptxopsQuantizeRun(plan.handle, &other, nullptr), PTXOPS_INVALID_ARGUMENT);
  EXPECT_THAT(ptxopsGetLastError(),
              HasSubstr("plan: expected a plan of quantize_1x128, got one of fp8_gemm"));
}

TEST_F(BadRun, Workspace) {
  ptxopsFp8GemmDesc_t desc = good();
  desc.group_layout = PTXOPS_GROUPS_ROW_MAP;
  Plan plan;
  ASSERT_OK(ptxopsFp8GemmPlanCreate(context(), &desc, &plan.handle));
  ASSERT_OK(ptxopsPlanPrepare(plan.handle));
  size_t needed = 0;
  ASSERT_OK(ptxopsPlanGetWorkspaceSize(plan.handle, &needed));
  ASSERT_GT(needed, 0u);
  const DeviceMemory workspace(needed + 256);
  expect_refused(plan.handle, PTXOPS_WORKSPACE_TOO_SMALL, "workspace_bytes: expected at least 256, got 255",
                 workspace.address(), needed - 1);
  expect_refused(plan.handle, PTXOPS_INVALID_ARGUMENT, "workspace: expected a device address, got NULL", 0,
                 needed);
  expect_refused(plan.handle, PTXOPS_INVALID_ARGUMENT, "workspace: expected alignment 256 bytes",
                 workspace.address() + 16, needed);
}

TEST_F(BadRun, AnotherDevice) {
  ptxopsContext_t second = nullptr;
  ASSERT_OK(ptxopsContextCreate(&second, 1));  // two virtual devices: CMakeLists.txt
  const ptxopsFp8GemmDesc_t desc = good();
  {
    Plan plan;
    ASSERT_OK(ptxopsFp8GemmPlanCreate(second, &desc, &plan.handle));
    ASSERT_OK(ptxopsPlanPrepare(plan.handle));
    expect_refused(plan.handle, PTXOPS_WRONG_DEVICE, "args.a: expected memory of device 1, got 0x");
  }
  Plan here;
  ASSERT_OK(ptxopsFp8GemmPlanCreate(context(), &desc, &here.handle));
  ASSERT_OK(ptxopsPlanPrepare(here.handle));
  ptxopsStream_t stream = nullptr;
  ASSERT_OK(ptxopsStreamCreate(second, &stream));
  expect_refused(here.handle, PTXOPS_WRONG_DEVICE, "stream: expected one of device 0's primary context", 0, 0,
                 stream);
  EXPECT_OK(ptxopsStreamDestroy(second, stream));
  EXPECT_OK(ptxopsContextDestroy(second));
}

TEST(BadInput, OtherOps) {
  ptxopsQuantizeDesc_t q = PTXOPS_QUANTIZE_DESC_INITIALIZER;
  q.m = 4, q.k = 100;
  EXPECT_EQ(ptxopsQuantizeCheck(&q), PTXOPS_INVALID_ARGUMENT);
  q.k = 256, q.ldx = 250;
  EXPECT_EQ(ptxopsQuantizeCheck(&q), PTXOPS_INVALID_ARGUMENT);
  EXPECT_THAT(ptxopsGetLastError(), HasSubstr("desc.ldx: expected 256 .. 2147483647, got 250"));
  ptxopsSwigluQuantizeDesc_t s = PTXOPS_SWIGLU_QUANTIZE_DESC_INITIALIZER;
  s.m = 4, s.width = 128, s.ld_sf = 2;
  EXPECT_EQ(ptxopsSwigluQuantizeCheck(&s), PTXOPS_INVALID_ARGUMENT);
  ptxopsGatherRowsDesc_t g = PTXOPS_GATHER_ROWS_DESC_INITIALIZER;
  g.m = 4, g.source_rows = 4, g.hidden = 12;
  EXPECT_EQ(ptxopsGatherRowsCheck(&g), PTXOPS_INVALID_ARGUMENT);
  ptxopsWeightedScatterDesc_t w = PTXOPS_WEIGHTED_SCATTER_DESC_INITIALIZER;
  w.tokens = 4, w.rows = 4, w.hidden = 64, w.top_k = 33;
  EXPECT_EQ(ptxopsWeightedScatterCheck(&w), PTXOPS_INVALID_ARGUMENT);
  EXPECT_THAT(ptxopsGetLastError(), HasSubstr("desc.top_k: expected 1 .. 32, got 33"));
}

// Columns that are more CTAs than a grid's second dimension has.
TEST(BadInput, WiderThanAGrid) {
  ptxopsQuantizeDesc_t q = PTXOPS_QUANTIZE_DESC_INITIALIZER;
  q.m = 4, q.k = 65536 * 1024;
  EXPECT_EQ(ptxopsQuantizeCheck(&q), PTXOPS_INVALID_ARGUMENT);
  EXPECT_THAT(ptxopsGetLastError(), HasSubstr("desc.k: expected 128 .. 67107840, got 67108864"));
  ptxopsSwigluQuantizeDesc_t s = PTXOPS_SWIGLU_QUANTIZE_DESC_INITIALIZER;
  s.m = 4, s.width = q.k;
  EXPECT_EQ(ptxopsSwigluQuantizeCheck(&s), PTXOPS_INVALID_ARGUMENT);
  ptxopsGatherRowsDesc_t g = PTXOPS_GATHER_ROWS_DESC_INITIALIZER;
  g.m = 4, g.source_rows = 4, g.hidden = 65536 * 2048;
  EXPECT_EQ(ptxopsGatherRowsCheck(&g), PTXOPS_INVALID_ARGUMENT);
  ptxopsWeightedScatterDesc_t w = PTXOPS_WEIGHTED_SCATTER_DESC_INITIALIZER;
  w.tokens = 4, w.rows = 4, w.hidden = 65536 * 2048;
  EXPECT_EQ(ptxopsWeightedScatterCheck(&w), PTXOPS_INVALID_ARGUMENT);
  EXPECT_THAT(ptxopsGetLastError(), HasSubstr("desc.hidden: expected 8 .. 134215680, got 134217728"));
}

// Two tokens of a cache in the same bytes; a page's tokens may lie apart, and pages in between.
TEST(BadInput, OverlappingCache) {
  ptxopsMlaAppendDesc_t d = PTXOPS_MLA_APPEND_DESC_INITIALIZER;
  d.tokens = 1, d.pages = 4, d.page_size = 16, d.page_stride_bytes = 15 * 1152;
  EXPECT_EQ(ptxopsMlaAppendCheck(&d), PTXOPS_INVALID_ARGUMENT);
  EXPECT_THAT(ptxopsGetLastError(),
              HasSubstr("desc.page_stride_bytes: expected at least 18432, or rows overlap, got 17280"));
  d.page_stride_bytes = 1152, d.token_stride_bytes = 4 * 1152;
  EXPECT_OK(ptxopsMlaAppendCheck(&d));
  d.page_stride_bytes = 0, d.token_stride_bytes = 0, d.rope_token_stride_bytes = 128;
  EXPECT_EQ(ptxopsMlaAppendCheck(&d), PTXOPS_INVALID_ARGUMENT);
  EXPECT_THAT(ptxopsGetLastError(),
              HasSubstr("desc.rope_token_stride_bytes: expected 0 without desc.separate_rope, got 128"));
  d.separate_rope = 1, d.rope_page_stride_bytes = 1024;
  EXPECT_EQ(ptxopsMlaAppendCheck(&d), PTXOPS_INVALID_ARGUMENT);
  EXPECT_THAT(ptxopsGetLastError(),
              HasSubstr("desc.rope_page_stride_bytes: expected at least 2048, or rows overlap, got 1024"));
}

TEST(BadInput, ContextAndMemory) {
  ptxopsContext_t c = nullptr;
  EXPECT_EQ(ptxopsContextCreate(&c, 99), PTXOPS_INVALID_ARGUMENT);
  EXPECT_THAT(ptxopsGetLastError(), HasSubstr("device: expected 0 .. 1, got 99"));
  EXPECT_EQ(ptxopsContextCreate(nullptr, 0), PTXOPS_INVALID_ARGUMENT);
  ptxopsDevicePtr_t p = 1;
  EXPECT_EQ(ptxopsMemAlloc(context(), &p, 0), PTXOPS_INVALID_ARGUMENT);
  EXPECT_EQ(p, 0u);
  EXPECT_EQ(ptxopsMemAlloc(context(), &p, size_t{1} << 45), PTXOPS_OUT_OF_MEMORY);
  EXPECT_EQ(ptxopsMemFree(nullptr, p), PTXOPS_INVALID_ARGUMENT);
}

// The wrong order is refused, and then the right one still works.
TEST(BadInput, ContextDestroyedBeforeItsPlans) {
  ptxopsContext_t c = nullptr;
  ASSERT_OK(ptxopsContextCreate(&c, 0));
  const ptxopsFp8GemmDesc_t desc = good();
  ptxopsPlan_t plan = nullptr;
  ptxopsTimer_t timer = nullptr;
  ASSERT_OK(ptxopsFp8GemmPlanCreate(c, &desc, &plan));
  ASSERT_OK(ptxopsTimerCreate(c, &timer));
  EXPECT_EQ(ptxopsContextDestroy(c), PTXOPS_INVALID_ARGUMENT);
  EXPECT_THAT(ptxopsGetLastError(), HasSubstr("got 1 plans and 1 timers alive"));
  EXPECT_OK(ptxopsPlanPrepare(plan));
  EXPECT_OK(ptxopsPlanDestroy(plan));
  EXPECT_EQ(ptxopsContextDestroy(c), PTXOPS_INVALID_ARGUMENT);
  EXPECT_OK(ptxopsTimerDestroy(timer));
  EXPECT_OK(ptxopsContextDestroy(c));
  double seconds = 0;
  EXPECT_EQ(ptxopsTimerStop(nullptr, nullptr, &seconds), PTXOPS_INVALID_ARGUMENT);
  EXPECT_THAT(ptxopsGetLastError(), HasSubstr("timer: expected a timer, got NULL"));
}

// Explain truncates like snprintf.
TEST(Explain, NamesTheChoiceAndSaysModelled) {
  const ptxopsFp8GemmDesc_t desc = good();
  Plan plan;
  ASSERT_OK(ptxopsFp8GemmPlanCreate(context(), &desc, &plan.handle));
  size_t needed = 0;
  ASSERT_OK(ptxopsPlanExplain(plan.handle, nullptr, 0, &needed));
  std::string text(needed, 'x');
  ASSERT_OK(ptxopsPlanExplain(plan.handle, text.data(), needed, nullptr));
  EXPECT_EQ(text.back(), '\0');
  EXPECT_THAT(text, HasSubstr("modelled"));
  EXPECT_THAT(text, HasSubstr("1*"));
  char small[8] = "yyyyyyy";
  ASSERT_OK(ptxopsPlanExplain(plan.handle, small, 4, nullptr));
  EXPECT_EQ(std::string(small), text.substr(0, 3));
  EXPECT_EQ(small[4], 'y');
}

}  // namespace
}  // namespace ptxops::test
