// MLA decode: each bad input, its status and a text with name, expected and actual value, and nothing
// written.
#include <gmock/gmock.h>

#include <climits>
#include <cmath>
#include <functional>
#include <limits>

#include "tests/ops/mla_reference.h"

namespace ptxops::test {
namespace {

using ::testing::HasSubstr;

ptxopsMlaDecodeDesc_t good() {
  ptxopsMlaDecodeDesc_t d = PTXOPS_MLA_DECODE_DESC_INITIALIZER;
  d.batch = 2, d.h_q = 16, d.pages = 8, d.max_pages = 4, d.sm_count = 4;
  return d;
}

TEST(MlaBadInput, Descriptor) {
  struct Case {
    const char* name;
    std::function<void(ptxopsMlaDecodeDesc_t&)> change;
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
      {"page size", [](auto& d) { d.page_size = 0; }, kNot,
       "desc.page_size: offered are 1 .. 65536 tokens (16, 32, 64, 128 by TMA, others gathered), got 0"},
      {"large page", [](auto& d) { d.page_size = 65537; }, kNot,
       "desc.page_size: offered are 1 .. 65536 tokens (16, 32, 64, 128 by TMA, others gathered), got 65537"},
      {"merge", [](auto& d) { d.merge = 3; }, kInvalid, "desc.merge: expected 0 .. 2, got 3"},
      {"type", [](auto& d) { d.type = PTXOPS_F32; }, kNot,
       "desc.type: offered are 0 (BF16) and 2 (FP16), got 1"},
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
       "desc.q_head: expected a multiple of 8, got 580"},
      {"huge stride", [](auto& d) { d.cache_page = int64_t{1} << 39; }, kInvalid,
       "desc.cache_page: expected 0 .."},
      {"rope stride", [](auto& d) { d.cache_rope_page = 64; }, kInvalid,
       "desc.cache_rope_page: expected 0 without desc.separate_rope, got 64"},
      {"overlapping output", [](auto& d) { d.out_head = 256; }, kInvalid, "desc.out_head: expected 512 .."},
      {"overlapping tokens", [](auto& d) { d.s_q = 2, d.out_token = 15 * 512; }, kInvalid,
       "desc.out_token: expected at least 8192, or rows overlap, got 7680"},
      {"overlapping requests", [](auto& d) { d.out_request = 512, d.out_head = 1016; }, kInvalid,
       "desc.out_head: expected at least 1024, or rows overlap, got 1016"},
      {"overlapping LSE", [](auto& d) { d.s_q = 2, d.lse_head = 1; }, kInvalid,
       "desc.lse_head: expected at least 2, or rows overlap, got 1"},
      {"overlapping cache", [](auto& d) { d.cache_token = 512; }, kInvalid,
       "desc.cache_token: expected 576 .."},
      {"magic", [](auto& d) { d.magic = 0; }, kInvalid, "desc: expected magic 0x70747870, got 0x00000000"},
  };
  for (const Case& c : cases) {
    ptxopsMlaDecodeDesc_t d = good();
    c.change(d);
    EXPECT_EQ(ptxopsMlaDecodeCheck(&d), c.status) << c.name;
    EXPECT_THAT(ptxopsGetLastError(), HasSubstr(c.text)) << c.name;
    ptxopsPlan_t plan = reinterpret_cast<ptxopsPlan_t>(1);
    EXPECT_EQ(ptxopsMlaDecodePlanCreate(context(), &d, &plan), c.status) << c.name;
    EXPECT_EQ(plan, nullptr) << c.name;
  }
  EXPECT_EQ(ptxopsMlaDecodeCheck(nullptr), PTXOPS_INVALID_ARGUMENT);
  const ptxopsMlaDecodeDesc_t fine = good();
  EXPECT_OK(ptxopsMlaDecodeCheck(&fine));
}

TEST(MlaBadInput, MoreSmsThanTheDevice) {
  ptxopsMlaDecodeDesc_t d = good();
  d.sm_count = 17;
  ptxopsPlan_t plan = nullptr;
  EXPECT_EQ(ptxopsMlaDecodePlanCreate(context(), &d, &plan), PTXOPS_INVALID_ARGUMENT);
  EXPECT_THAT(ptxopsGetLastError(), HasSubstr("desc.sm_count: expected at most the device's 16, got 17"));
}

TEST(MlaBadInput, Arguments) {
  const ptxopsMlaDecodeDesc_t desc = good();
  const DeviceMemory q(2 * 16 * 576 * 2), cache(8 * 64 * 576 * 2), table(2 * 4 * 4), lengths(2 * 4),
      out(2 * 16 * 512 * 2, 0xA5), lse(2 * 16 * 4, 0xA5), flags(2 * 4, 0xA5);
  Plan plan;
  ASSERT_OK(ptxopsMlaDecodePlanCreate(context(), &desc, &plan.handle));
  size_t bytes = 0;
  ASSERT_OK(ptxopsPlanGetWorkspaceSize(plan.handle, &bytes));
  const DeviceMemory workspace(bytes + 256);
  ptxopsMlaDecodeArgs_t args = PTXOPS_MLA_DECODE_ARGS_INITIALIZER;
  args.q = q.address(), args.cache = cache.address(), args.page_table = table.address();
  args.lengths = lengths.address(), args.out = out.address(), args.lse = lse.address(),
  args.flags = flags.address();
  const auto refused = [&](ptxopsStatus_t status, const std::string& text, ptxopsDevicePtr_t space,
                           size_t size) {
    EXPECT_EQ(ptxopsMlaDecodeRun(plan.handle, &args, space, size, nullptr), status) << text;
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
  args.q_rope = q.address();
  refused(PTXOPS_INVALID_ARGUMENT, "args.q_rope: expected 0 without desc.separate_rope", workspace.address(),
          bytes);
  args.q_rope = 0;
  refused(
      PTXOPS_WORKSPACE_TOO_SMALL,
      "workspace_bytes: expected at least " + std::to_string(bytes) + ", got " + std::to_string(bytes - 1),
      workspace.address(), bytes - 1);
  refused(PTXOPS_INVALID_ARGUMENT, "workspace: expected a device address, got NULL", 0, bytes);
  refused(PTXOPS_INVALID_ARGUMENT, "workspace: expected alignment 256 bytes", workspace.address() + 16,
          bytes);
  ptxopsQuantizeArgs_t other = PTXOPS_QUANTIZE_ARGS_INITIALIZER;
  EXPECT_EQ(ptxopsQuantizeRun(plan.handle, &other, nullptr), PTXOPS_INVALID_ARGUMENT);
  EXPECT_THAT(ptxopsGetLastError(), HasSubstr("got one of mla_decode"));
}

std::string explain(const ptxopsMlaDecodeDesc_t& desc) {
  Plan plan;
  EXPECT_OK(ptxopsMlaDecodePlanCreate(context(), &desc, &plan.handle));
  size_t needed = 0;
  EXPECT_OK(ptxopsPlanExplain(plan.handle, nullptr, 0, &needed));
  std::string text(needed, 'x');
  EXPECT_OK(ptxopsPlanExplain(plan.handle, text.data(), needed, nullptr));
  return text;
}

TEST(MlaExplain, NamesTheChoiceAndSaysModelled) {
  ptxopsMlaDecodeDesc_t desc = good();
  desc.h_q = 128;
  std::string text = explain(desc);
  EXPECT_THAT(text, HasSubstr("modelled"));
  EXPECT_THAT(text, HasSubstr("1*   2 "));  // two tiles of rows share the keys
  EXPECT_THAT(text, HasSubstr("keys: boxes of TMA"));
  desc.page_size = 1, desc.max_pages = 256;
  text = explain(desc);
  EXPECT_THAT(text, HasSubstr("1*   1 "));  // a gather has no multicast
  EXPECT_THAT(text, HasSubstr("keys: gathered"));
}

// One request over all SMs: its merge is no work for one of them. More requests than SMs: each is cut in two
// at most, and a launch would cost more.
TEST(MlaExplain, WhoMerges) {
  ptxopsMlaDecodeDesc_t desc = good();
  desc.batch = 1, desc.sm_count = 16, desc.max_pages = 100;
  EXPECT_THAT(explain(desc), HasSubstr("merge: separate, mla_combine, the model's choice; 16 splits"));
  desc.merge = PTXOPS_MLA_MERGE_FUSED;
  EXPECT_THAT(explain(desc), HasSubstr("merge: fused into the attention kernel, as desc.merge says"));
  desc.batch = 40, desc.merge = PTXOPS_MLA_MERGE_AUTO;
  EXPECT_THAT(explain(desc),
              HasSubstr("merge: fused into the attention kernel, the model's choice; 2 splits"));
  desc.merge = PTXOPS_MLA_MERGE_SEPARATE;
  EXPECT_THAT(explain(desc), HasSubstr("merge: separate, mla_combine, as desc.merge says"));
  desc.split_tokens = 6400;
  EXPECT_THAT(explain(desc), HasSubstr("merge: none, no request can be split"));
}

// An empty batch is legal, and so are lengths that are all zero.
TEST(MlaBadInput, NothingToDo) {
  ptxopsMlaDecodeDesc_t d = good();
  d.batch = 0;
  Plan plan;
  ASSERT_OK(ptxopsMlaDecodePlanCreate(context(), &d, &plan.handle));
  ASSERT_OK(ptxopsPlanPrepare(plan.handle));
  const ptxopsMlaDecodeArgs_t args = PTXOPS_MLA_DECODE_ARGS_INITIALIZER;
  EXPECT_OK(ptxopsMlaDecodeRun(plan.handle, &args, 0, 0, nullptr));
  const MlaData data({.h_q = 5, .lengths = {0, 0, 0}});
  expect_close(data, run_mla(data));
}

}  // namespace
}  // namespace ptxops::test
