// FP8 MLA decode: each bad input, its status and a text with name, expected and actual value, and nothing
// written.
#include <gmock/gmock.h>

#include <climits>
#include <cmath>
#include <functional>
#include <limits>

#include "tests/ops/mla_e4m3_reference.h"

namespace ptxops::test {
namespace {

using ::testing::HasSubstr;

ptxopsMlaDecodeE4m3Desc_t good() {
  ptxopsMlaDecodeE4m3Desc_t d = PTXOPS_MLA_DECODE_E4M3_DESC_INITIALIZER;
  d.batch = 2, d.h_q = 16, d.pages = 8, d.max_pages = 4, d.sm_count = 4;
  return d;
}

TEST(MlaE4m3BadInput, Descriptor) {
  struct Case {
    const char* name;
    std::function<void(ptxopsMlaDecodeE4m3Desc_t&)> change;
    ptxopsStatus_t status;
    const char* text;
  };
  constexpr ptxopsStatus_t kInvalid = PTXOPS_INVALID_ARGUMENT, kNot = PTXOPS_NOT_SUPPORTED;
  const Case cases[] = {
      {"batch", [](auto& d) { d.batch = -1; }, kInvalid, "desc.batch: expected 0 .. 65535, got -1"},
      {"tokens", [](auto& d) { d.s_q = 0; }, kInvalid, "desc.s_q: expected 1 .. 65536, got 0"},
      {"heads 0", [](auto& d) { d.h_q = 0; }, kInvalid, "desc.h_q: expected 1 .. 128, got 0"},
      {"heads 129", [](auto& d) { d.h_q = 129; }, kInvalid, "desc.h_q: expected 1 .. 128, got 129"},
      {"head dimension", [](auto& d) { d.d_qk = 192; }, kNot,
       "desc.d_qk: offered is 576 (512 latent, 64 rope), got 192"},
      {"value dimension", [](auto& d) { d.d_v = 128; }, kNot, "desc.d_v: offered is 512, got 128"},
      {"page size", [](auto& d) { d.page_size = 48; }, kNot,
       "desc.page_size: offered are 16, 32, 64 and 128 tokens, got 48"},
      {"type", [](auto& d) { d.out_type = PTXOPS_F32; }, kNot,
       "desc.out_type: offered are 0 (BF16) and 2 (FP16), got 1"},
      {"pages", [](auto& d) { d.pages = 0; }, kInvalid, "desc.pages: expected 1 .. 2147483647, got 0"},
      {"table", [](auto& d) { d.max_pages = INT64_MAX; }, kInvalid, "desc.max_pages: expected 1 .. 16777216"},
      {"causal", [](auto& d) { d.causal = 2; }, kInvalid, "desc.causal: expected 0 .. 1, got 2"},
      {"negative scale", [](auto& d) { d.softmax_scale = -1; }, kInvalid,
       "desc.softmax_scale: expected a finite number above 0, got -1"},
      {"NaN scale", [](auto& d) { d.softmax_scale = std::numeric_limits<float>::quiet_NaN(); }, kInvalid,
       "desc.softmax_scale: expected a finite number above 0, got nan"},
      {"split", [](auto& d) { d.split_tokens = 100; }, kInvalid,
       "desc.split_tokens: expected a multiple of 64, got 100"},
      {"total without split", [](auto& d) { d.max_total_tokens = 100; }, kInvalid,
       "desc.max_total_tokens: expected 0 without desc.split_tokens, got 100"},
      {"total", [](auto& d) { d.split_tokens = 64, d.max_total_tokens = 10000; }, kInvalid,
       "desc.max_total_tokens: expected 0 .. 512, got 10000"},
      {"blocks", [](auto& d) { d.batch = 65535, d.max_pages = 1 << 20; }, kInvalid,
       "desc.batch * blocks of desc.max_pages: expected 0 .. 134217727"},
      {"odd stride", [](auto& d) { d.q_head = 580; }, kInvalid,
       "desc.q_head: expected a multiple of 16, got 580"},
      {"huge stride", [](auto& d) { d.cache_page = int64_t{1} << 39; }, kInvalid,
       "desc.cache_page: expected 0 .."},
      {"no scale of q", [](auto& d) { d.descale_q = 0; }, kInvalid,
       "desc.descale_q: expected a finite number above 0, got 0"},
      {"infinite scale of k", [](auto& d) { d.descale_k = std::numeric_limits<float>::infinity(); }, kInvalid,
       "desc.descale_k: expected a finite number above 0, got inf"},
      {"overlapping output", [](auto& d) { d.out_head = 256; }, kInvalid, "desc.out_head: expected 512 .."},
      {"overlapping cache", [](auto& d) { d.cache_token = 512; }, kInvalid,
       "desc.cache_token: expected 576 .."},
      {"magic", [](auto& d) { d.magic = 0; }, kInvalid, "desc: expected magic 0x70747870, got 0x00000000"},
  };
  for (const Case& c : cases) {
    ptxopsMlaDecodeE4m3Desc_t d = good();
    c.change(d);
    EXPECT_EQ(ptxopsMlaDecodeE4m3Check(&d), c.status) << c.name;
    EXPECT_THAT(ptxopsGetLastError(), HasSubstr(c.text)) << c.name;
    ptxopsPlan_t plan = reinterpret_cast<ptxopsPlan_t>(1);
    EXPECT_EQ(ptxopsMlaDecodeE4m3PlanCreate(context(), &d, &plan), c.status) << c.name;
    EXPECT_EQ(plan, nullptr) << c.name;
  }
  EXPECT_EQ(ptxopsMlaDecodeE4m3Check(nullptr), PTXOPS_INVALID_ARGUMENT);
  const ptxopsMlaDecodeE4m3Desc_t fine = good();
  EXPECT_OK(ptxopsMlaDecodeE4m3Check(&fine));
}

TEST(MlaE4m3BadInput, MoreSmsThanTheDevice) {
  ptxopsMlaDecodeE4m3Desc_t d = good();
  d.sm_count = 17;
  ptxopsPlan_t plan = nullptr;
  EXPECT_EQ(ptxopsMlaDecodeE4m3PlanCreate(context(), &d, &plan), PTXOPS_INVALID_ARGUMENT);
  EXPECT_THAT(ptxopsGetLastError(), HasSubstr("desc.sm_count: expected at most the device's 16, got 17"));
}

TEST(MlaE4m3BadInput, Arguments) {
  const ptxopsMlaDecodeE4m3Desc_t desc = good();
  const DeviceMemory q(2 * 16 * 576), cache(8 * 64 * 576), scales(8), table(2 * 4 * 4), lengths(2 * 4),
      out(2 * 16 * 512 * 2, 0xA5), lse(2 * 16 * 4, 0xA5), flags(2 * 4, 0xA5);
  Plan plan;
  ASSERT_OK(ptxopsMlaDecodeE4m3PlanCreate(context(), &desc, &plan.handle));
  size_t bytes = 0;
  ASSERT_OK(ptxopsPlanGetWorkspaceSize(plan.handle, &bytes));
  const DeviceMemory workspace(bytes + 256);
  ptxopsMlaDecodeE4m3Args_t args = PTXOPS_MLA_DECODE_E4M3_ARGS_INITIALIZER;
  args.q = q.address(), args.cache = cache.address(), args.page_table = table.address();
  args.lengths = lengths.address(), args.out = out.address(), args.lse = lse.address(),
  args.flags = flags.address();
  const auto refused = [&](ptxopsStatus_t status, const std::string& text, ptxopsDevicePtr_t space,
                           size_t size) {
    EXPECT_EQ(ptxopsMlaDecodeE4m3Run(plan.handle, &args, space, size, nullptr), status) << text;
    EXPECT_THAT(ptxopsGetLastError(), HasSubstr(text));
    EXPECT_OK(ptxopsStreamSynchronize(context(), nullptr));
    for (const DeviceMemory* written : {&out, &lse, &flags})
      for (const uint8_t byte : written->read<uint8_t>()) ASSERT_EQ(byte, 0xA5) << text;
  };
  refused(PTXOPS_NOT_PREPARED, "expected a prepared plan", workspace.address(), bytes);
  ASSERT_OK(ptxopsPlanPrepare(plan.handle));
  struct Pointer {
    ptxopsDevicePtr_t* field;
    const char* name;
    int alignment;
  };
  const Pointer pointers[] = {{&args.q, "args.q", 16},
                              {&args.cache, "args.cache", 16},
                              {&args.page_table, "args.page_table", 4},
                              {&args.lengths, "args.lengths", 4},
                              {&args.out, "args.out", 16},
                              {&args.lse, "args.lse", 4}};
  for (const Pointer& p : pointers) {
    const ptxopsDevicePtr_t kept = *p.field;
    const std::string name = p.name;
    *p.field = 0;
    refused(PTXOPS_INVALID_ARGUMENT, name + ": expected a device address, got NULL", workspace.address(),
            bytes);
    *p.field = kept + static_cast<uint64_t>(p.alignment) / 2;
    refused(PTXOPS_INVALID_ARGUMENT, name + ": expected alignment " + std::to_string(p.alignment) + " bytes",
            workspace.address(), bytes);
    *p.field = 0x1230;
    refused(PTXOPS_INVALID_ARGUMENT, "got 0x1230, which the driver does not know", workspace.address(),
            bytes);
    *p.field = kept;
  }
  for (ptxopsDevicePtr_t* scale : {&args.descale_q, &args.descale_k}) {
    const std::string name = scale == &args.descale_q ? "args.descale_q" : "args.descale_k";
    *scale = scales.address() + 2;
    refused(PTXOPS_INVALID_ARGUMENT, name + ": expected alignment 4 bytes", workspace.address(), bytes);
    *scale = 0;
  }
  refused(
      PTXOPS_WORKSPACE_TOO_SMALL,
      "workspace_bytes: expected at least " + std::to_string(bytes) + ", got " + std::to_string(bytes - 1),
      workspace.address(), bytes - 1);
  refused(PTXOPS_INVALID_ARGUMENT, "workspace: expected a device address, got NULL", 0, bytes);
  refused(PTXOPS_INVALID_ARGUMENT, "workspace: expected alignment 256 bytes", workspace.address() + 16,
          bytes);
  ptxopsQuantizeArgs_t other = PTXOPS_QUANTIZE_ARGS_INITIALIZER;
  EXPECT_EQ(ptxopsQuantizeRun(plan.handle, &other, nullptr), PTXOPS_INVALID_ARGUMENT);
  EXPECT_THAT(ptxopsGetLastError(), HasSubstr("got one of mla_decode_e4m3"));
}

TEST(MlaE4m3Explain, NamesTheChoiceAndSaysModelled) {
  ptxopsMlaDecodeE4m3Desc_t desc = good();
  desc.h_q = 128;
  Plan plan;
  ASSERT_OK(ptxopsMlaDecodeE4m3PlanCreate(context(), &desc, &plan.handle));
  size_t needed = 0;
  ASSERT_OK(ptxopsPlanExplain(plan.handle, nullptr, 0, &needed));
  std::string text(needed, 'x');
  ASSERT_OK(ptxopsPlanExplain(plan.handle, text.data(), needed, nullptr));
  EXPECT_THAT(text, HasSubstr("modelled"));
  EXPECT_THAT(text, HasSubstr("1*   2 "));  // two tiles of rows share the keys
}

// An empty batch is legal, and so are lengths that are all zero.
TEST(MlaE4m3BadInput, NothingToDo) {
  ptxopsMlaDecodeE4m3Desc_t d = good();
  d.batch = 0;
  Plan plan;
  ASSERT_OK(ptxopsMlaDecodeE4m3PlanCreate(context(), &d, &plan.handle));
  ASSERT_OK(ptxopsPlanPrepare(plan.handle));
  const ptxopsMlaDecodeE4m3Args_t args = PTXOPS_MLA_DECODE_E4M3_ARGS_INITIALIZER;
  EXPECT_OK(ptxopsMlaDecodeE4m3Run(plan.handle, &args, 0, 0, nullptr));
  const MlaE4m3Data data({.h_q = 5, .lengths = {0, 0, 0}});
  expect_close(data, run_mla_e4m3(data));
}

}  // namespace
}  // namespace ptxops::test
