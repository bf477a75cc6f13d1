// MLA decode over paged caches, 16-bit and in FP8: each bad input, its status and a text with name, expected
// and actual value, and nothing written.
#include <gmock/gmock.h>

#include <climits>
#include <cmath>
#include <functional>
#include <limits>

#include "tests/ops/mla_e4m3_reference.h"
#include "tests/ops/mla_reference.h"

namespace ptxops::test {
namespace {

using ::testing::HasSubstr;

constexpr ptxopsStatus_t kInvalid = PTXOPS_INVALID_ARGUMENT, kNot = PTXOPS_NOT_SUPPORTED;

template <class Desc>
struct Bad {
  const char* name;
  std::function<void(Desc&)> change;
  ptxopsStatus_t status;
  const char* text;
};

struct Dense {
  using Desc = ptxopsMlaDecodeDesc_t;
  using Args = ptxopsMlaDecodeArgs_t;
  static constexpr Desc kDesc = PTXOPS_MLA_DECODE_DESC_INITIALIZER;
  static constexpr Args kArgs = PTXOPS_MLA_DECODE_ARGS_INITIALIZER;
  static constexpr auto kCheck = ptxopsMlaDecodeCheck;
  static constexpr auto kCreate = ptxopsMlaDecodePlanCreate;
  static constexpr auto kRun = ptxopsMlaDecodeRun;
  static constexpr const char* kName = "mla_decode";
  static constexpr int kElement = 2;  // bytes of Q and cache
  static std::vector<Bad<Desc>> bad() {
    return {
        {"page size", [](auto& d) { d.page_size = 0; }, kNot,
         "desc.page_size: offered are 1 .. 65536 tokens (16, 32, 64, 128 by TMA, others gathered), got 0"},
        {"large page", [](auto& d) { d.page_size = 65537; }, kNot,
         "desc.page_size: offered are 1 .. 65536 tokens (16, 32, 64, 128 by TMA, others gathered), got "
         "65537"},
        {"merge", [](auto& d) { d.merge = 3; }, kInvalid, "desc.merge: expected 0 .. 2, got 3"},
        {"type", [](auto& d) { d.type = PTXOPS_F32; }, kNot,
         "desc.type: offered are 0 (BF16) and 2 (FP16), got 1"},
        {"odd stride", [](auto& d) { d.q_head = 580; }, kInvalid,
         "desc.q_head: expected a multiple of 8, got 580"},
        {"rope stride", [](auto& d) { d.cache_rope_page = 64; }, kInvalid,
         "desc.cache_rope_page: expected 0 without desc.separate_rope, got 64"},
    };
  }
  // Calls refuse(text) with each argument that only this op has wrong.
  template <class Refuse>
  static void bad_arguments(Args& args, Refuse refuse) {
    args.q_rope = args.q;
    refuse("args.q_rope: expected 0 without desc.separate_rope");
    args.q_rope = 0;
  }
  static void expect_empty_rows() {
    const MlaData data({.h_q = 5, .lengths = {0, 0, 0}});
    expect_close(data, run_mla(data));
  }
};

struct E4m3 {
  using Desc = ptxopsMlaDecodeE4m3Desc_t;
  using Args = ptxopsMlaDecodeE4m3Args_t;
  static constexpr Desc kDesc = PTXOPS_MLA_DECODE_E4M3_DESC_INITIALIZER;
  static constexpr Args kArgs = PTXOPS_MLA_DECODE_E4M3_ARGS_INITIALIZER;
  static constexpr auto kCheck = ptxopsMlaDecodeE4m3Check;
  static constexpr auto kCreate = ptxopsMlaDecodeE4m3PlanCreate;
  static constexpr auto kRun = ptxopsMlaDecodeE4m3Run;
  static constexpr const char* kName = "mla_decode_e4m3";
  static constexpr int kElement = 1;
  static std::vector<Bad<Desc>> bad() {
    return {
        {"page size", [](auto& d) { d.page_size = 48; }, kNot,
         "desc.page_size: offered are 16, 32, 64 and 128 tokens, got 48"},
        {"type", [](auto& d) { d.out_type = PTXOPS_F32; }, kNot,
         "desc.out_type: offered are 0 (BF16) and 2 (FP16), got 1"},
        {"odd stride", [](auto& d) { d.q_head = 580; }, kInvalid,
         "desc.q_head: expected a multiple of 16, got 580"},
        {"no scale of q", [](auto& d) { d.descale_q = 0; }, kInvalid,
         "desc.descale_q: expected a finite number above 0, got 0"},
        {"infinite scale of k", [](auto& d) { d.descale_k = std::numeric_limits<float>::infinity(); },
         kInvalid, "desc.descale_k: expected a finite number above 0, got inf"},
    };
  }
  template <class Refuse>
  static void bad_arguments(Args& args, Refuse refuse) {
    for (const bool query : {true, false}) {
      ptxopsDevicePtr_t& scale = query ? args.descale_q : args.descale_k;
      scale = args.lengths + 2;
      refuse(std::string(query ? "args.descale_q" : "args.descale_k") + ": expected alignment 4 bytes");
      scale = 0;
    }
  }
  static void expect_empty_rows() {
    const MlaE4m3Data data({.h_q = 5, .lengths = {0, 0, 0}});
    expect_close(data, run_mla_e4m3(data));
  }
};

template <class Op>
typename Op::Desc good() {
  typename Op::Desc d = Op::kDesc;
  d.batch = 2, d.h_q = 16, d.pages = 8, d.max_pages = 4, d.sm_count = 4;
  return d;
}

template <class Op>
class MlaBadInput : public ::testing::Test {};
using Ops = ::testing::Types<Dense, E4m3>;
class OpName {
 public:
  template <class Op>
  static std::string GetName(int) {
    return Op::kName;
  }
};
TYPED_TEST_SUITE(MlaBadInput, Ops, OpName);

TYPED_TEST(MlaBadInput, Descriptor) {
  using Op = TypeParam;
  std::vector<Bad<typename Op::Desc>> cases = {
      {"batch", [](auto& d) { d.batch = -1; }, kInvalid, "desc.batch: expected 0 .. 65535, got -1"},
      {"tokens", [](auto& d) { d.s_q = 0; }, kInvalid, "desc.s_q: expected 1 .. 65536, got 0"},
      {"heads 0", [](auto& d) { d.h_q = 0; }, kInvalid, "desc.h_q: expected 1 .. 128, got 0"},
      {"heads 129", [](auto& d) { d.h_q = 129; }, kInvalid, "desc.h_q: expected 1 .. 128, got 129"},
      {"head dimension", [](auto& d) { d.d_qk = 192; }, kNot,
       "desc.d_qk: offered is 576 (512 latent, 64 rope), got 192"},
      {"value dimension", [](auto& d) { d.d_v = 128; }, kNot, "desc.d_v: offered is 512, got 128"},
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
      {"huge stride", [](auto& d) { d.cache_page = int64_t{1} << 39; }, kInvalid,
       "desc.cache_page: expected 0 .."},
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
  for (auto& own : Op::bad()) cases.push_back(std::move(own));
  for (const auto& c : cases) {
    typename Op::Desc d = good<Op>();
    c.change(d);
    EXPECT_EQ(Op::kCheck(&d), c.status) << c.name;
    EXPECT_THAT(ptxopsGetLastError(), HasSubstr(c.text)) << c.name;
    ptxopsPlan_t plan = reinterpret_cast<ptxopsPlan_t>(1);
    EXPECT_EQ(Op::kCreate(context(), &d, &plan), c.status) << c.name;
    EXPECT_EQ(plan, nullptr) << c.name;
  }
  EXPECT_EQ(Op::kCheck(nullptr), PTXOPS_INVALID_ARGUMENT);
  const typename Op::Desc fine = good<Op>();
  EXPECT_OK(Op::kCheck(&fine));
}

TYPED_TEST(MlaBadInput, MoreSmsThanTheDevice) {
  typename TypeParam::Desc d = good<TypeParam>();
  d.sm_count = 17;
  ptxopsPlan_t plan = nullptr;
  EXPECT_EQ(TypeParam::kCreate(context(), &d, &plan), PTXOPS_INVALID_ARGUMENT);
  EXPECT_THAT(ptxopsGetLastError(), HasSubstr("desc.sm_count: expected at most the device's 16, got 17"));
}

TYPED_TEST(MlaBadInput, Arguments) {
  using Op = TypeParam;
  const typename Op::Desc desc = good<Op>();
  const DeviceMemory q(2 * 16 * 576 * Op::kElement), cache(8 * 64 * 576 * Op::kElement), table(2 * 4 * 4),
      lengths(2 * 4), out(2 * 16 * 512 * 2, 0xA5), lse(2 * 16 * 4, 0xA5), flags(2 * 4, 0xA5);
  Plan plan;
  ASSERT_OK(Op::kCreate(context(), &desc, &plan.handle));
  size_t bytes = 0;
  ASSERT_OK(ptxopsPlanGetWorkspaceSize(plan.handle, &bytes));
  const DeviceMemory workspace(bytes + 256);
  typename Op::Args args = Op::kArgs;
  args.q = q.address(), args.cache = cache.address(), args.page_table = table.address();
  args.lengths = lengths.address(), args.out = out.address(), args.lse = lse.address(),
  args.flags = flags.address();
  const auto refused_with = [&](ptxopsStatus_t status, const std::string& text, ptxopsDevicePtr_t space,
                                size_t size) {
    EXPECT_EQ(Op::kRun(plan.handle, &args, space, size, nullptr), status) << text;
    EXPECT_THAT(ptxopsGetLastError(), HasSubstr(text));
    EXPECT_OK(ptxopsStreamSynchronize(context(), nullptr));
    for (const DeviceMemory* written : {&out, &lse, &flags})
      for (const uint8_t byte : written->template read<uint8_t>()) ASSERT_EQ(byte, 0xA5) << text;
  };
  const auto refused = [&](const std::string& text) {
    refused_with(kInvalid, text, workspace.address(), bytes);
  };
  refused_with(PTXOPS_NOT_PREPARED, "expected a prepared plan", workspace.address(), bytes);
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
    refused(name + ": expected a device address, got NULL");
    *p.field = kept + static_cast<uint64_t>(p.alignment) / 2;
    refused(name + ": expected alignment " + std::to_string(p.alignment) + " bytes");
    *p.field = 0x1230;
    refused("got 0x1230, which the driver does not know");
    *p.field = kept;
  }
  Op::bad_arguments(args, refused);
  refused_with(
      PTXOPS_WORKSPACE_TOO_SMALL,
      "workspace_bytes: expected at least " + std::to_string(bytes) + ", got " + std::to_string(bytes - 1),
      workspace.address(), bytes - 1);
  refused_with(kInvalid, "workspace: expected a device address, got NULL", 0, bytes);
  refused_with(kInvalid, "workspace: expected alignment 256 bytes", workspace.address() + 16, bytes);
  ptxopsQuantizeArgs_t other = PTXOPS_QUANTIZE_ARGS_INITIALIZER;
  EXPECT_EQ(ptxopsQuantizeRun(plan.handle, &other, nullptr), PTXOPS_INVALID_ARGUMENT);
  EXPECT_THAT(ptxopsGetLastError(), HasSubstr(std::string("got one of ") + Op::kName));
}

// An empty batch is legal, and so are lengths that are all zero.
TYPED_TEST(MlaBadInput, NothingToDo) {
  using Op = TypeParam;
  typename Op::Desc d = good<Op>();
  d.batch = 0;
  Plan plan;
  ASSERT_OK(Op::kCreate(context(), &d, &plan.handle));
  ASSERT_OK(ptxopsPlanPrepare(plan.handle));
  const typename Op::Args args = Op::kArgs;
  EXPECT_OK(Op::kRun(plan.handle, &args, 0, 0, nullptr));
  Op::expect_empty_rows();
}

template <class Op>
std::string explain(const typename Op::Desc& desc) {
  Plan plan;
  EXPECT_OK(Op::kCreate(context(), &desc, &plan.handle));
  size_t needed = 0;
  EXPECT_OK(ptxopsPlanExplain(plan.handle, nullptr, 0, &needed));
  std::string text(needed, 'x');
  EXPECT_OK(ptxopsPlanExplain(plan.handle, text.data(), needed, nullptr));
  return text;
}

TYPED_TEST(MlaBadInput, ExplainNamesTheChoiceAndSaysModelled) {
  typename TypeParam::Desc desc = good<TypeParam>();
  desc.h_q = 128;
  const std::string text = explain<TypeParam>(desc);
  EXPECT_THAT(text, HasSubstr("modelled"));
  EXPECT_THAT(text, HasSubstr("1*   2 "));  // two tiles of rows share the keys
}

TEST(MlaExplain, SaysHowKeysAreFetched) {
  ptxopsMlaDecodeDesc_t desc = good<Dense>();
  desc.h_q = 128;
  EXPECT_THAT(explain<Dense>(desc), HasSubstr("keys: boxes of TMA"));
  desc.page_size = 1, desc.max_pages = 256;
  const std::string text = explain<Dense>(desc);
  EXPECT_THAT(text, HasSubstr("1*   1 "));  // a gather has no multicast
  EXPECT_THAT(text, HasSubstr("keys: gathered"));
}

// One request over all SMs: its merge is no work for one of them. More requests than SMs: each is cut in two
// at most, and a launch would cost more.
TEST(MlaExplain, WhoMerges) {
  ptxopsMlaDecodeDesc_t desc = good<Dense>();
  desc.batch = 1, desc.sm_count = 16, desc.max_pages = 100;
  EXPECT_THAT(explain<Dense>(desc), HasSubstr("merge: separate, mla_combine, the model's choice; 16 splits"));
  desc.merge = PTXOPS_MLA_MERGE_FUSED;
  EXPECT_THAT(explain<Dense>(desc), HasSubstr("merge: fused into the attention kernel, as desc.merge says"));
  desc.batch = 40, desc.merge = PTXOPS_MLA_MERGE_AUTO;
  EXPECT_THAT(explain<Dense>(desc),
              HasSubstr("merge: fused into the attention kernel, the model's choice; 2 splits"));
  desc.merge = PTXOPS_MLA_MERGE_SEPARATE;
  EXPECT_THAT(explain<Dense>(desc), HasSubstr("merge: separate, mla_combine, as desc.merge says"));
  desc.split_tokens = 6400;
  EXPECT_THAT(explain<Dense>(desc), HasSubstr("merge: none, no request can be split"));
}

}  // namespace
}  // namespace ptxops::test
