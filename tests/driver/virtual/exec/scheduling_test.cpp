// Progress: spins within a warp, between warps, clusters and grids; deadlocks and faults end in reports.
#include "tests/driver/virtual/exec/run_ptx.h"

namespace ptxops::virt::testing {
namespace {

// Lane 0 releases what the other lanes of its own warp spin on.
TEST(Scheduling, SpinInsideAWarpMakesProgress) {
  Buffer out(2, 0);
  const auto r =
      run(kernel(".reg .b32 %t,%v; .reg .pred %p;\n mov.u32 %t, %tid.x;\n setp.eq.u32 %p, %t, 0;\n"
                 "@%p bra SET;\nSPIN: ld.relaxed.gpu.global.u32 %v, [%out];\n setp.eq.u32 %p, %v, 0;\n"
                 "@%p bra SPIN;\n atom.global.add.u32 %v, [%out+4], 1;\n bra END;\n"
                 "SET: st.relaxed.gpu.global.u32 [%out], 1;\nEND:\n"),
          {out.address()});
  ASSERT_EQ(r.fault.kind, FaultKind::none) << r.fault.text;
  EXPECT_EQ(out[1], 31u);
}

// A later CTA sets the flag that an earlier one waits for: more CTAs than workers must be resident.
TEST(Scheduling, LaterBlockReleasesEarlierOnes) {
  Buffer out(64, 0);
  const auto r =
      run(kernel(".reg .b32 %c,%v; .reg .pred %p; .reg .b64 %a;\n mov.u32 %c, %ctaid.x;\n"
                 "setp.eq.u32 %p, %c, 31;\n @%p st.release.gpu.global.u32 [%out], 1;\n"
                 "SPIN: ld.acquire.gpu.global.u32 %v, [%out];\n setp.eq.u32 %p, %v, 0;\n @%p bra SPIN;\n"
                 "mul.wide.u32 %a, %c, 4;\n add.u64 %a, %a, %out;\n st.global.u32 [%a+4], %c;\n"),
          {out.address()}, {{32, 1, 1}, {32, 1, 1}});
  ASSERT_EQ(r.fault.kind, FaultKind::none) << r.fault.text;
  for (uint32_t i = 0; i < 32; ++i) EXPECT_EQ(out[i + 1], i);
}

// Clusters on several workers: what stands before a fence is seen behind another, though the flag between
// them is relaxed. That the workers' own accesses are ordered is ThreadSanitizer's to say.
TEST(Scheduling, FencesPublishAcrossClusters) {
  for (int i = 0; i < 20; ++i) {
    Buffer out(3, 0);
    const auto r =
        run(kernel(".reg .b32 %c,%v; .reg .pred %p;\n mov.u32 %c, %ctaid.x;\n setp.eq.u32 %p, %c, 0;\n"
                   "@%p bra PUBLISH;\nSPIN: ld.relaxed.gpu.global.u32 %v, [%out];\n setp.eq.u32 %p, %v, 0;\n"
                   "@%p bra SPIN;\n fence.acq_rel.gpu;\n ld.global.u32 %v, [%out+4];\n"
                   "st.global.u32 [%out+8], %v;\n bra END;\n"
                   "PUBLISH: st.global.u32 [%out+4], 7;\n fence.acq_rel.gpu;\n"
                   "st.relaxed.gpu.global.u32 [%out], 1;\nEND:\n"),
            {out.address()}, {{2, 1, 1}, {32, 1, 1}});
    ASSERT_EQ(r.fault.kind, FaultKind::none) << r.fault.text;
    ASSERT_EQ(out[2], 7u);
  }
}

TEST(Scheduling, BarrierAndSharedMemoryReverse) {
  Buffer out(256);
  const auto r =
      run(kernel(".reg .b32 %t,%v,%s; .reg .b64 %a;\n.shared .b32 buffer[256];\n mov.u32 %t, %tid.x;\n"
                 "mov.u32 %s, buffer;\n mad.lo.u32 %s, %t, 4, %s;\n mul.lo.u32 %v, %t, %t;\n"
                 "st.shared.u32 [%s], %v;\n bar.sync 0;\n mov.u32 %s, buffer;\n sub.u32 %v, 255, %t;\n"
                 "mad.lo.u32 %s, %v, 4, %s;\n ld.shared.u32 %v, [%s];\n"
                 "mul.wide.u32 %a, %t, 4;\n add.u64 %a, %a, %out;\n st.global.u32 [%a], %v;\n"),
          {out.address()}, {{1, 1, 1}, {256, 1, 1}});
  ASSERT_EQ(r.fault.kind, FaultKind::none) << r.fault.text;
  for (uint32_t i = 0; i < 256; ++i) EXPECT_EQ(out[i], (255 - i) * (255 - i));
}

TEST(Scheduling, DeadlockNamesTheBarrier) {
  Buffer out(1);
  const auto r = run(kernel(".reg .b32 %t; .reg .pred %p;\n mov.u32 %t, %tid.x;\n setp.lt.u32 %p, %t, 32;\n"
                            "@%p bar.sync 3, 64;\n"),
                     {out.address()}, {{1, 1, 1}, {64, 1, 1}});
  EXPECT_EQ(r.fault.kind, FaultKind::deadlock);
  EXPECT_NE(r.fault.text.find("bar.sync 3, 64"), std::string::npos) << r.fault.text;
  EXPECT_NE(r.fault.text.find("warp 0"), std::string::npos) << r.fault.text;
}

TEST(Scheduling, OutOfBoundsStoreNamesLaneAndLine) {
  Buffer out(32);
  const auto r = run(kernel(".reg .b32 %t; .reg .b64 %a;\n mov.u32 %t, %tid.x;\n mul.wide.u32 %a, %t, 8;\n"
                            "add.u64 %a, %a, %out;\n st.global.u32 [%a], %t;\n"),
                     {out.address()});
  EXPECT_EQ(r.fault.kind, FaultKind::illegal_address);
  EXPECT_NE(r.fault.text.find("lane 16"), std::string::npos) << r.fault.text;
  EXPECT_NE(r.fault.text.find("st.global.u32 [%a], %t"), std::string::npos) << r.fault.text;
  EXPECT_EQ(out[0], 0xdeadbeefu) << "a faulting store must not be half done";
}

// While one worker drops the suspended clusters of a grid that faults, another one ends the last running one:
// the grid is done once. A matter of luck, hence often.
TEST(Scheduling, AGridThatFaultsAmongSpinningOnesEndsOnce) {
  for (int i = 0; i < 200; ++i) {
    Buffer out(1, 0);
    const auto r = run(kernel(".reg .b32 %c,%v; .reg .pred %p;\n mov.u32 %c, %ctaid.x;\n"
                              "setp.ge.u32 %p, %c, 4;\n @%p trap;\n"
                              "SPIN: ld.relaxed.gpu.global.u32 %v, [%out];\n setp.eq.u32 %p, %v, 0;\n"
                              "@%p bra SPIN;\n"),
                       {out.address()}, {{8, 1, 1}, {32, 1, 1}});
    ASSERT_EQ(r.fault.kind, FaultKind::trap) << r.fault.text;
  }
}

TEST(Scheduling, TwoGridsThatWaitForEachOther) {
  Buffer flags(2, 0);
  isa::Module module;
  std::vector<isa::Diagnostic> diagnostics;
  const std::string ptx =
      header() +
      ".visible .entry k(.param .u64 mine, .param .u64 other)\n{\n.reg .b64 %m,%o; .reg .b32 %v; .reg .pred "
      "%p;\n"
      "ld.param.u64 %m, [mine];\n ld.param.u64 %o, [other];\n st.release.sys.global.u32 [%m], 1;\n"
      "SPIN: ld.acquire.sys.global.u32 %v, [%o];\n setp.eq.u32 %p, %v, 0;\n @%p bra SPIN;\n ret;\n}\n";
  ASSERT_EQ(isa::parse(ptx, module, diagnostics), isa::Result::ok) << isa::render(diagnostics);
  std::string log;
  auto program = Program::load(std::move(module), memory(), 0, log);
  ASSERT_TRUE(program) << log;
  std::promise<LaunchResult> done[2];
  for (int i = 0; i < 2; ++i) {
    LaunchDesc d;
    d.program = program.get();
    d.kernel = program->find_kernel("k");
    d.memory = &memory();
    d.block = {32, 1, 1};
    const uint64_t params[] = {flags.address() + 4u * static_cast<uint64_t>(i),
                               flags.address() + 4u * static_cast<uint64_t>(1 - i)};
    d.params.resize(16);
    std::memcpy(d.params.data(), params, 16);
    Engine::get().submit(std::move(d), [&done, i](const LaunchResult& r) { done[i].set_value(r); });
  }
  for (auto& d : done) {
    const LaunchResult r = d.get_future().get();
    EXPECT_EQ(r.fault.kind, FaultKind::none) << r.fault.text;
  }
}

}  // namespace
}  // namespace ptxops::virt::testing
