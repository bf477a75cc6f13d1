#include "driver/jit/ptxas.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "driver/jit/cache.h"
#include "tests/driver/jit/template_fixture.h"

namespace ptxops::jit {
namespace {

using ::testing::HasSubstr;

constexpr const char* kEmpty =
    ".version 8.0\n.target sm_90a\n.address_size 64\n.visible .entry k(.param .u64 p)\n{\n"
    "  .reg .b64 a;\n  .reg .b32 r;\n  .shared .align 16 .b8 tile[1024];\n  bar.sync 1;\n  ld.param.u64 a, "
    "[p];\n"
    "  cvta.to.global.u64 a, a;\n  mov.u32 r, %tid.x;\n  st.global.u32 [a], r;\n  ret;\n}\n";

TEST(PtxasLog, Usage) {
  const ResourceUsage u = parse_ptxas_log(
      "ptxas info    : 0 bytes gmem\n"
      "ptxas info    : Compiling entry function 'a' for 'sm_90a'\n"
      "ptxas info    : Function properties for a\n"
      "    48 bytes stack frame, 24 bytes spill stores, 20 bytes spill loads\n"
      "ptxas info    : Used 168 registers, used 5 barriers, 48 bytes cumulative stack size, 1024 bytes smem, "
      "400 bytes cmem[0]\n"
      "ptxas info    : Function properties for b\n"
      "    16 bytes stack frame, 4 bytes spill stores, 8 bytes spill loads\n"
      "ptxas info    : Used 90 registers, used 7 barriers\n");
  EXPECT_EQ(u.registers, 168);
  EXPECT_EQ(u.barriers, 7);
  EXPECT_EQ(u.smem_bytes, 1024);
  EXPECT_EQ(u.stack_bytes, 48);
  EXPECT_EQ(u.spill_store_bytes, 28);
  EXPECT_EQ(u.spill_load_bytes, 28);
  EXPECT_TRUE(u.advisories.empty());
  EXPECT_FALSE(u.clean());
}

TEST(PtxasLog, Advisories) {
  const std::string lines[] = {
      "ptxas info    : (C7510) Potential Performance Loss: wgmma.mma_async instructions are serialized due "
      "to x",
      "ptxas info    : (C7508) Something new",
      "ptxas warning : Unresolved extern variable",
      "ptxas k.ptx, line 3; warning : Instruction 'x' is slow",
      "ptxas info    : Advisory: something",
  };
  for (const std::string& line : lines) {
    const ResourceUsage u = parse_ptxas_log("ptxas info    : 0 bytes gmem\n" + line + "\nUsed 8 registers\n");
    EXPECT_THAT(u.advisories, ::testing::ElementsAre(line));
    EXPECT_FALSE(u.clean());
    EXPECT_EQ(u.registers, 8);
  }
  EXPECT_TRUE(parse_ptxas_log("ptxas info    : (C7x) no code\n").advisories.empty());
  EXPECT_TRUE(parse_ptxas_log("").clean());
}

class PtxasTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const PtxasSearch search = find_ptxas();
    if (!search.tool) GTEST_SKIP() << search.status;
    tool_ = search.tool;
  }
  std::optional<Ptxas> tool_;
};

TEST_F(PtxasTest, AssemblesAndReports) {
  const Assembly a = tool_->assemble(kEmpty, "k");
  ASSERT_TRUE(a.ok) << a.log;
  EXPECT_EQ(a.cubin.substr(0, 4), "\177ELF");
  EXPECT_GT(a.usage.registers, 0);
  EXPECT_EQ(a.usage.barriers, 2);
  EXPECT_EQ(a.usage.smem_bytes, 1024);
  EXPECT_TRUE(a.usage.clean());
  EXPECT_EQ(tool_->assemble(kEmpty, "k").cubin, a.cubin) << "the same text gives the same bytes";
}

TEST_F(PtxasTest, ARefusalCitesTheLine) {
  std::string bad = kEmpty;
  bad.replace(bad.find("ret;"), 4, "rot;");
  const Assembly a = tool_->assemble(bad, "k");
  EXPECT_FALSE(a.ok);
  EXPECT_EQ(a.cubin, "");
  EXPECT_THAT(a.log, HasSubstr("k.ptx, line 14"));
}

TEST_F(PtxasTest, OptionsReachIt) {
  PtxasOptions options;
  options.flags = {"-arch=sm_20"};
  EXPECT_FALSE(tool_->assemble(kEmpty, "k", options).ok);
}

TEST_F(PtxasTest, IdentityIsTheVersionAndIsRemembered) {
  const ScratchDirectory scratch;
  const Cache cache(scratch.path());
  const std::string identity = tool_->identity(cache);
  EXPECT_THAT(identity, HasSubstr("release"));
  EXPECT_EQ(identity.find(tool_->path()), identity.npos);
  EXPECT_EQ(tool_->identity(cache), identity);
  EXPECT_EQ(tool_->identity(Cache("")), identity);
}

// Programs that stand in for a ptxas gone wrong.
class BrokenPtxas : public ::testing::Test {
 protected:
  Ptxas tool(const std::string& script) {
    const std::string path = scratch_.path() + "/ptxas";
    write_file(path, "#!/bin/sh\n" + script + "\n");
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
    return Ptxas(path);
  }
  static std::string error(const Ptxas& tool, std::chrono::milliseconds timeout = std::chrono::seconds(20)) {
    PtxasOptions options;
    options.timeout = timeout;
    try {
      const Assembly a = tool.assemble(kEmpty, "k", options);
      return "no error: " + a.log;
    } catch (const std::exception& e) {
      return e.what();
    }
  }
  ScratchDirectory scratch_;
};

TEST_F(BrokenPtxas, HangsDiesOrWritesNothing) {
  EXPECT_THAT(error(tool("sleep 30"), std::chrono::milliseconds(100)),
              HasSubstr("did not finish within 100 ms; killed"));
  EXPECT_THAT(error(tool("echo words; kill -11 $$")), HasSubstr("was ended by signal 11\nwords"));
  EXPECT_THAT(error(tool("exit 0")), HasSubstr("cannot read"));
  EXPECT_THAT(error(Ptxas("/no/such/ptxas")), HasSubstr("cannot run /no/such/ptxas"));
  EXPECT_THROW(tool("exit 1").identity(Cache("")), ToolError);
  EXPECT_THROW(Ptxas("/no/such/ptxas").identity(Cache("")), ToolError);
}

TEST_F(BrokenPtxas, AnotherVersionIsAnotherIdentity) {
  const ScratchDirectory place;
  const Cache cache(place.path());
  EXPECT_EQ(tool("echo version 1").identity(cache), "version 1\n");
  EXPECT_EQ(tool("echo version two").identity(cache), "version two\n");
}

}  // namespace
}  // namespace ptxops::jit
