#include "driver/jit/build.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "driver/jit/report.h"
#include "tests/driver/jit/template_fixture.h"

namespace ptxops::jit {
namespace {

using ::testing::HasSubstr;

// Two wgmma on one accumulator, the step either a macro or a function.
constexpr const char* kWgmma = R"(//% kernel mm
//% param FUNCTION in 0, 1
//% param STEPS in 1..4
//% note steps = STEPS
//% include "wgmma.ptx"
.version 8.0
.target sm_90a
.address_size 64
//% if FUNCTION
.func (.reg .f32 d0, .reg .f32 d1, .reg .f32 d2, .reg .f32 d3)
  step(.reg .f32 c0, .reg .f32 c1, .reg .f32 c2, .reg .f32 c3, .reg .b64 a, .reg .b64 b)
{
  mov.f32 d0, c0; mov.f32 d1, c1; mov.f32 d2, c2; mov.f32 d3, c3;
  wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {d0, d1, d2, d3}, a, b, 1, 1, 1, 0, 0;
  ret;
}
//% end
.visible .entry mm(.param .u64 out)
.maxntid 128, 1, 1
.minnctapersm 1
{
  .reg .f32 {{regs("acc", 4)}};
  .reg .b64 p, a, b;
  .shared .align 128 .b8 tile[8192];
  ld.param.u64 p, [out];
  cvta.to.global.u64 p, p;
  mov.b64 a, 0x4000000000010000;
  mov.b64 b, 0x4000000000010040;
//% for r in 0..4
  mov.f32 acc{{r}}, {{f32(0)}};
//% end
  wgmma.fence.sync.aligned;
//% for s in 0..STEPS
//% if FUNCTION
  call ({{regs("acc", 4)}}), step, ({{regs("acc", 4)}}, a, b);
//% else
//% mma_step(acc, a, b)
//% end
//% end
  wgmma.commit_group.sync.aligned;
  wgmma.wait_group.sync.aligned 0;
//% for r in 0..4
  st.global.f32 [p+{{r * 4}}], acc{{r}};
//% end
  ret;
}
)";

class BuildTest : public TemplateTest {
 protected:
  void SetUp() override {
    file("mm.ptx", kWgmma);
    file("wgmma.ptx",
         "//% macro mma_step(acc, a, b)\n"
         "  wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 { {{regs(acc, 4)}} }, {{a}}, {{b}}, 1, 1, 1, "
         "0, 0;\n"
         "//% end\n");
    options_.cache = &cache_;
  }
  bool have_ptxas() const { return find_ptxas().tool.has_value(); }

  ScratchDirectory cache_place_;
  Cache cache_{cache_place_.path() + "/cache"};
  BuildOptions options_;
};

TEST_F(BuildTest, PtxNeedsNoTool) {
  const ScopedEnv none("PTXOPS_PTXAS", "/no/such/ptxas");
  options_.want = Want::kPtx;
  const Built ptx = build("mm.ptx", {{"FUNCTION", 0}, {"STEPS", 2}}, options_);
  EXPECT_EQ(ptx.cubin, "");
  EXPECT_EQ(ptx.status, "");
  EXPECT_EQ(ptx.image(), ptx.ptx);
  EXPECT_EQ(ptx.notes.at("steps"), 2);
  options_.want = Want::kCubin;
  const Built fallback = build("mm.ptx", {{"FUNCTION", 0}, {"STEPS", 2}}, options_);
  EXPECT_EQ(fallback.cubin, "");
  EXPECT_EQ(fallback.ptx, ptx.ptx);
  EXPECT_EQ(fallback.status, "ptxas: not found; looked in PTXOPS_PTXAS=/no/such/ptxas");
}

TEST_F(BuildTest, TheEntryIsThatOfTheHead) {
  file("k.ptx", "//% kernel k\n.visible .entry k2(.param .u64 p)\n{ ret; }\n");
  options_.want = Want::kPtx;
  try {
    build("k.ptx", {}, options_);
    FAIL();
  } catch (const TemplateError& e) {
    EXPECT_STREQ(e.what(), "k.ptx:1: '//% kernel k', but the text has no '.entry k'");
  }
}

TEST_F(BuildTest, TheSecondTimeComesFromTheCache) {
  if (!have_ptxas()) GTEST_SKIP() << find_ptxas().status;
  const Params params = {{"FUNCTION", 0}, {"STEPS", 3}};
  const Built first = build("mm.ptx", params, options_), second = build("mm.ptx", params, options_);
  EXPECT_FALSE(first.from_cache);
  EXPECT_TRUE(second.from_cache);
  EXPECT_EQ(first.status, "");
  EXPECT_EQ(second.kernel, "mm");
  EXPECT_EQ(second.cubin, first.cubin);
  EXPECT_EQ(second.ptx, first.ptx);
  EXPECT_EQ(second.log, first.log);
  EXPECT_EQ(second.notes, first.notes);
  EXPECT_EQ(second.usage.registers, first.usage.registers);
  EXPECT_GT(second.usage.registers, 0);
  EXPECT_EQ(second.usage.smem_bytes, first.usage.smem_bytes);
  for (int line = 1; line <= first.lines.line_count(); ++line)
    EXPECT_EQ(second.lines.describe(line), first.lines.describe(line));
}

TEST_F(BuildTest, EverythingThatMattersIsInTheKey) {
  if (!have_ptxas()) GTEST_SKIP() << find_ptxas().status;
  const Params params = {{"FUNCTION", 0}, {"STEPS", 1}};
  const auto cached = [&](const Params& p) { return build("mm.ptx", p, options_).from_cache; };
  EXPECT_FALSE(cached(params));
  EXPECT_TRUE(cached(params));
  EXPECT_FALSE(cached({{"FUNCTION", 0}, {"STEPS", 2}}));
  options_.ptxas.flags = {"-arch=sm_90a"};
  EXPECT_FALSE(cached(params));
  file("wgmma.ptx", read_file(root_.path() + "/wgmma.ptx") + "// changed\n");
  EXPECT_FALSE(cached(params)) << "an included file changed";
  file("mm.ptx", read_file(root_.path() + "/mm.ptx") + "// changed\n");
  EXPECT_FALSE(cached(params));
  EXPECT_TRUE(cached(params));
}

TEST_F(BuildTest, ADamagedEntryIsBuiltAgain) {
  if (!have_ptxas()) GTEST_SKIP() << find_ptxas().status;
  const Params params = {{"FUNCTION", 0}, {"STEPS", 1}};
  const Built first = build("mm.ptx", params, options_);
  for (const auto& entry : std::filesystem::recursive_directory_iterator(cache_.directory()))
    if (entry.is_regular_file()) std::filesystem::resize_file(entry.path(), entry.file_size() / 2);
  const Built again = build("mm.ptx", params, options_);
  EXPECT_FALSE(again.from_cache);
  EXPECT_EQ(again.cubin, first.cubin);
  EXPECT_TRUE(build("mm.ptx", params, options_).from_cache);
}

TEST_F(BuildTest, WithoutACacheItStillBuildsAndSaysSoOnce) {
  if (!have_ptxas()) GTEST_SKIP() << find_ptxas().status;
  write_file(cache_place_.path() + "/file", "");
  const Cache nowhere(cache_place_.path() + "/file/cache");
  options_.cache = &nowhere;
  const Params params = {{"FUNCTION", 0}, {"STEPS", 1}};
  const Built first = build("mm.ptx", params, options_), second = build("mm.ptx", params, options_);
  EXPECT_THAT(first.status, HasSubstr("kernel cache off"));
  EXPECT_EQ(second.status, "");
  EXPECT_FALSE(second.from_cache);
  EXPECT_EQ(second.cubin, first.cubin);
}

TEST_F(BuildTest, ARefusalCitesTheTemplate) {
  if (!have_ptxas()) GTEST_SKIP() << find_ptxas().status;
  file("wgmma.ptx", "//% macro mma_step(acc, a, b)\n\n  wgmmo {{a}};\n//% end\n");
  try {
    build("mm.ptx", {{"FUNCTION", 0}, {"STEPS", 1}}, options_);
    FAIL();
  } catch (const BuildError& e) {
    EXPECT_THAT(e.what(), HasSubstr("ptxas refused mm.ptx"));
    EXPECT_THAT(e.what(), HasSubstr("wgmma.ptx:3 (in mma_step, called at mm.ptx:37) [ptx line"));
  }
}

TEST_F(BuildTest, MacrosDoNotSerialiseWgmmaFunctionsDo) {
  const PtxasSearch search = find_ptxas();
  if (!search.tool) GTEST_SKIP() << search.status;
  const KernelHead head = parse_head("mm.ptx");
  const auto rows = assemble_configs(head, {{0, 2}, {1, 2}}, *search.tool, {}, 2);
  EXPECT_TRUE(rows[0].clean()) << rows[0].log;
  ASSERT_TRUE(rows[1].ok) << rows[1].log;
  EXPECT_FALSE(rows[1].clean());
  EXPECT_THAT(rows[1].usage.advisories, ::testing::Contains(HasSubstr("(C75")));
  const std::string table = format_report(head, rows);
  EXPECT_THAT(table, HasSubstr("ADVISORY"));
  EXPECT_THAT(table, HasSubstr("mm FUNCTION=1 STEPS=2:"));
}

}  // namespace
}  // namespace ptxops::jit
