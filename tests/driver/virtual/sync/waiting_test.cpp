// Who waits for whom: lanes in several splits, lanes and warps that exit, reports of those that wait for
// ever.
#include "tests/driver/virtual/exec/run_ptx.h"

namespace ptxops::virt::testing {
namespace {

const std::string kHead =
    ".reg .b32 %t, %l, %r<8>; .reg .b64 %a, %d<4>; .reg .pred %p<6>;\n"
    "mov.u32 %t, %tid.x;\n and.b32 %l, %t, 31;\n mul.wide.u32 %a, %t, 4;\n add.u64 %a, %a, %out;\n";

using Launch = Run;  // inside a test, Run is GoogleTest's

LaunchResult run_body(const std::string& body, const Buffer& out, const Launch& r = {}) {
  return run(kernel(kHead + body), {out.address()}, r);
}
Launch threads(uint32_t n) {
  Launch r;
  r.block = {n, 1, 1};
  return r;
}
void expect_report(const std::string& body, const Launch& r, FaultKind kind,
                   std::initializer_list<const char*> texts) {
  Buffer out(1024);
  const auto result = run_body(body, out, r);
  EXPECT_EQ(result.fault.kind, kind) << result.fault.text;
  for (const char* text : texts)
    EXPECT_NE(result.fault.text.find(text), std::string::npos) << "expected \"" << text << "\" in:\n"
                                                               << result.fault.text;
}

// Three splits at three copies of the instruction; the last one computes for all.
TEST(Collective, ThreeSplitsExchange) {
  Buffer out(32);
  const auto r = run_body(
      "rem.u32 %r0, %l, 3;\n setp.eq.u32 %p0, %r0, 0;\n setp.eq.u32 %p1, %r0, 1;\n"
      "mul.lo.u32 %r1, %l, 5;\n @%p0 bra A;\n @%p1 bra B;\n"
      "shfl.sync.idx.b32 %r2, %r1, 30, 31, -1;\n bra J;\n"
      "A: add.u32 %r1, %r1, 1;\n shfl.sync.idx.b32 %r2, %r1, 31, 31, -1;\n bra J;\n"
      "B: shfl.sync.idx.b32 %r2, %r1, 2, 31, -1;\n"
      "J: st.global.u32 [%a], %r2;\n",
      out);
  ASSERT_EQ(r.fault.kind, FaultKind::none) << r.fault.text;
  // Lane 30 has residue 0 (value + 1), 31 residue 1, 2 residue 2.
  for (uint32_t i = 0; i < 32; ++i) EXPECT_EQ(out[i], i % 3 == 2 ? 151u : i % 3 == 0 ? 155u : 10u) << i;
}

// The groups that match.any found are the member masks of the next collective, all in one split.
TEST(Collective, SeveralMasksInOneSplit) {
  Buffer out(32);
  const auto r = run_body(
      "rem.u32 %r0, %l, 5;\n match.any.sync.b32 %r1, %r0, -1;\n redux.sync.add.u32 %r2, %l, %r1;\n"
      "st.global.u32 [%a], %r2;\n",
      out);
  ASSERT_EQ(r.fault.kind, FaultKind::none) << r.fault.text;
  for (uint32_t i = 0; i < 32; ++i) {
    uint32_t sum = 0;
    for (uint32_t j = i % 5; j < 32; j += 5) sum += j;
    EXPECT_EQ(out[i], sum) << i;
  }
}

// Masks that overlap splits: half of each group comes late.
TEST(Collective, SeveralMasksAcrossSplits) {
  Buffer out(32);
  const auto r = run_body(
      "and.b32 %r0, %l, 3;\n match.any.sync.b32 %r1, %r0, -1;\n setp.lt.u32 %p0, %l, 16;\n @%p0 bra LOW;\n"
      "redux.sync.max.u32 %r2, %l, %r1;\n bra J;\nLOW: redux.sync.max.u32 %r2, %l, %r1;\n"
      "J: st.global.u32 [%a], %r2;\n",
      out);
  ASSERT_EQ(r.fault.kind, FaultKind::none) << r.fault.text;
  for (uint32_t i = 0; i < 32; ++i) EXPECT_EQ(out[i], 28 + i % 4) << i;
}

TEST(Collective, ExitedLanesAreNotWaitedFor) {
  Buffer out(32, 7);
  const auto r = run_body(
      "setp.ge.u32 %p0, %l, 20;\n @%p0 bra LATE;\n vote.sync.ballot.b32 %r0, 1, -1;\n st.global.u32 [%a], "
      "%r0;\n"
      "bra J;\nLATE: nanosleep.u32 10;\n exit;\nJ:",
      out);
  ASSERT_EQ(r.fault.kind, FaultKind::none) << r.fault.text;
  for (uint32_t i = 0; i < 32; ++i) EXPECT_EQ(out[i], i < 20 ? 0xfffffu : 7u) << i;
}

TEST(Collective, PartialWarp) {
  Buffer out(64, 7);
  const auto r = run_body("vote.sync.ballot.b32 %r0, 1, -1;\n bar.sync 0;\n st.global.u32 [%a], %r0;\n", out,
                          threads(40));
  ASSERT_EQ(r.fault.kind, FaultKind::none) << r.fault.text;
  for (uint32_t i = 0; i < 40; ++i) EXPECT_EQ(out[i], i < 32 ? 0xffffffffu : 0xffu) << i;
}

TEST(Collective, ReportNamesMissingLanes) {
  expect_report(
      "setp.eq.u32 %p0, %l, 4;\n @%p0 bra OTHER;\n bar.warp.sync -1;\n bra J;\nOTHER: bar.warp.sync 0x10;\n "
      "bar.sync 1, 64;\nJ:",
      threads(64), FaultKind::barrier, {"divergent aligned barrier"});
  expect_report(
      "setp.eq.u32 %p0, %l, 4;\n @%p0 bra OTHER;\n bar.warp.sync -1;\n bra J;\nOTHER: barrier.sync 1, "
      "64;\nJ:",
      threads(64), FaultKind::deadlock, {"missing 0x00000010", "only lanes 0x00000010"});
}

TEST(NamedBarrier, ExitReleasesAndReductionsReachAllSplits) {
  Buffer out(96, 7);
  // Warp 2 exits after the others wait; lanes of warp 0 arrive in two parts.
  const auto r = run_body(
      "setp.ge.u32 %p0, %t, 64;\n @%p0 bra GONE;\n setp.lt.u32 %p1, %t, 5;\n @%p1 bra PART;\n"
      "barrier.red.popc.u32 %r0, 3, %p1;\n bra J;\nPART: barrier.red.popc.u32 %r0, 3, %p1;\n"
      "J: st.global.u32 [%a], %r0;\n exit;\nGONE: nanosleep.u32 100;\n",
      out, threads(96));
  ASSERT_EQ(r.fault.kind, FaultKind::none) << r.fault.text;
  for (uint32_t i = 0; i < 96; ++i) EXPECT_EQ(out[i], i < 64 ? 5u : 7u) << i;
}

TEST(NamedBarrier, ReusedManyTimes) {
  Buffer out(128, 0);
  // A ring of words moves by one warp in each round.
  const auto r = run_body(
      ".shared .b32 box[128];\n mov.u32 %r0, box;\n mad.lo.u32 %r1, %t, 4, %r0;\n add.u32 %r2, %t, 32;\n"
      "and.b32 %r2, %r2, 127;\n mad.lo.u32 %r2, %r2, 4, %r0;\n mov.u32 %r3, %t;\n mov.u32 %r4, 0;\n"
      "L: st.shared.u32 [%r1], %r3;\n bar.sync 2;\n ld.shared.u32 %r3, [%r2];\n bar.sync 2;\n"
      "add.u32 %r4, %r4, 1;\n setp.lt.u32 %p0, %r4, 7;\n @%p0 bra L;\n st.global.u32 [%a], %r3;\n",
      out, threads(128));
  ASSERT_EQ(r.fault.kind, FaultKind::none) << r.fault.text;
  for (uint32_t i = 0; i < 128; ++i) EXPECT_EQ(out[i], (i + 7 * 32) % 128) << i;
}

TEST(NamedBarrier, MixedUse) {
  expect_report(
      "setp.lt.u32 %p0, %t, 32;\n @!%p0 bra B;\n bar.red.or.pred %p1, 1, 64, %p0;\n bra J;\nB: bar.sync 1, "
      "64;\nJ:",
      threads(64), FaultKind::barrier, {".red mixed"});
}

TEST(ClusterBarrier, ExitedThreadsAreNotWaitedFor) {
  Buffer out(256, 7);
  Launch r = threads(64);
  r.grid = r.cluster = {2, 1, 1};
  const auto result = run_body(
      "mov.u32 %r0, %cluster_ctarank;\n setp.eq.u32 %p0, %r0, 1;\n setp.ge.u32 %p1, %t, 32;\n"
      "and.pred %p1, %p0, %p1;\n @%p1 exit;\n barrier.cluster.arrive.aligned;\n "
      "barrier.cluster.wait.aligned;\n"
      "mad.lo.u32 %r0, %r0, 64, %t;\n mul.wide.u32 %a, %r0, 4;\n add.u64 %a, %a, %out;\n st.global.u32 [%a], "
      "%t;\n",
      out, r);
  ASSERT_EQ(result.fault.kind, FaultKind::none) << result.fault.text;
  for (uint32_t i = 0; i < 128; ++i) EXPECT_EQ(out[i], i >= 96 ? 7u : i % 64) << i;
}

TEST(ClusterBarrier, ReportNamesWhoIsMissing) {
  Launch r = threads(64);
  r.grid = r.cluster = {2, 1, 1};
  // A named barrier that nobody completes keeps one warp from arriving.
  expect_report(
      "mov.u32 %r0, %cluster_ctarank;\n setp.eq.u32 %p0, %r0, 1;\n setp.ge.u32 %p1, %t, 32;\n and.pred %p1, "
      "%p0, %p1;\n"
      "@%p1 bar.sync 5, 64;\n barrier.cluster.arrive;\n barrier.cluster.wait;\n",
      r, FaultKind::deadlock, {"not arrived: CTA 1 warp 1", "barrier 5: 32 of 64 threads"});
}

const std::string kBar = ".shared .align 8 .b64 bar;\n mov.u32 %r1, bar;\n setp.eq.u32 %p5, %t, 0;\n";

TEST(Mbarrier, CopyInFlightWhenThePhaseCompletes) {
  expect_report(
      kBar +
          ".shared .align 16 .b8 tile[64];\n mov.u32 %r2, tile;\n @!%p5 exit;\n "
          "mbarrier.init.shared::cta.b64 [%r1], 1;\n"
          "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r2], [%out], 64, [%r1];\n"
          "mbarrier.arrive.shared::cta.b64 %d0, [%r1];\n",
      {}, FaultKind::barrier, {"64 bytes of copies issued for it are undelivered"});
}

TEST(Mbarrier, WaitOnAnotherCta) {
  Launch r;
  r.grid = r.cluster = {2, 1, 1};
  expect_report(kBar +
                    "mapa.shared::cluster.u32 %r2, %r1, 1;\n @%p5 mbarrier.init.shared::cta.b64 [%r1], 1;\n "
                    "barrier.cluster.arrive;\n"
                    "barrier.cluster.wait;\n mov.u32 %r3, %cluster_ctarank;\n setp.eq.u32 %p0, %r3, 0;\n"
                    "@%p0 mbarrier.try_wait.parity.shared::cta.b64 %p1, [%r2], 0;\n "
                    "barrier.cluster.arrive;\n barrier.cluster.wait;\n",
                r, FaultKind::barrier, {"lies in cluster CTA 1"});
}

TEST(Mbarrier, TokenTwoPhasesOld) {
  expect_report(kBar +
                    "@!%p5 exit;\n mbarrier.init.shared::cta.b64 [%r1], 1;\n mbarrier.arrive.shared::cta.b64 "
                    "%d0, [%r1];\n"
                    "mbarrier.arrive.shared::cta.b64 %d1, [%r1];\n mbarrier.test_wait.shared::cta.b64 %p0, "
                    "[%r1], %d0;\n",
                {}, FaultKind::barrier, {"wait on phase 0", "current phase is 2"});
}

// A lone waiter gets its false answer and may do something else.
TEST(Mbarrier, TryWaitGivesUp) {
  Buffer out(32);
  const auto r = run_body(kBar +
                              "@%p5 mbarrier.init.shared::cta.b64 [%r1], 1;\n bar.sync 0;\n"
                              "mbarrier.try_wait.parity.shared::cta.b64 %p0, [%r1], 0;\n selp.u32 %r2, 1, 0, "
                              "%p0;\n st.global.u32 [%a], %r2;\n",
                          out);
  ASSERT_EQ(r.fault.kind, FaultKind::none) << r.fault.text;
  for (uint32_t i = 0; i < 32; ++i) EXPECT_EQ(out[i], 0u);
}

TEST(Setmaxnreg, WrongDirection) {
  expect_report("setmaxnreg.dec.sync.aligned.u32 40;\n setmaxnreg.dec.sync.aligned.u32 48;\n", threads(128),
                FaultKind::barrier, {"setmaxnreg.dec to 48 registers: expected at most the current 40"});
}
TEST(Setmaxnreg, PoolNeverFills) {
  expect_report("setmaxnreg.inc.sync.aligned.u32 256;\n", threads(256), FaultKind::barrier,
                {"setmaxnreg.inc", "CTA's pool"});
}

}  // namespace
}  // namespace ptxops::virt::testing
