// The operators on small texts whose mutants are written out, and what must hold of every mutant of every
// kernel.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "driver/jit/head.h"
#include "driver/jit/source.h"
#include "tests/mutants/operators.h"

namespace ptxops::mutants {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string kernel(const std::string& body) {
  return ".version 8.0\n.target sm_90a\n.address_size 64\n.visible .entry k(.param .u64 a)\n{\n" + body +
         "}\n";
}

// The bodies of the mutants made by one operator, without line breaks.
std::vector<std::string> mutants_of(const std::string& body, const std::string& op) {
  const std::string text = kernel(body);
  std::vector<std::string> out;
  for (const Mutant& m : all_mutants(text))
    if (m.op == op) {
      std::string flat = flatten(apply_edits(text, m.edits));
      const size_t begin = flat.find('{') + 2, end = flat.rfind('}');
      out.push_back(end > begin ? flat.substr(begin, end - 1 - begin) : "");
    }
  return out;
}

TEST(Statements, HaveGuardsOperandsAndPlaces) {
  const std::string text = kernel(
      "  .reg .b32 x, acc<4>;  // a comment; with a semicolon\nL:\n  @!p st.shared.v2.b32\n"
      "    [x+4], {a, b}; /* and\n another */ ret;\n");
  const std::vector<Statement> s = parse_body(text);
  ASSERT_EQ(s.size(), 6u);  // with the braces
  EXPECT_EQ(s[1].kind, Statement::Kind::declaration);
  EXPECT_THAT(s[1].operands, ElementsAre("x", "acc<4>"));
  EXPECT_EQ(s[2].kind, Statement::Kind::label);
  EXPECT_EQ(s[2].opcode, "L");
  EXPECT_EQ(s[3].guard, "@!p");
  EXPECT_EQ(s[3].opcode, "st.shared.v2.b32");
  EXPECT_THAT(s[3].operands, ElementsAre("[x+4]", "{a, b}"));
  EXPECT_EQ(s[3].line, 8);
  EXPECT_EQ(s[3].last_line, 9);
  EXPECT_EQ(s[4].opcode, "ret");
  EXPECT_EQ(s[4].line, 10);
}

TEST(Statements, RefusesTextsWithoutAnEnd) {
  EXPECT_THROW(parse_body(".version 8.0\n"), std::invalid_argument);
  EXPECT_THROW(parse_body(".entry k()\n{ ret;"), std::invalid_argument);
}

TEST(Operators, ABarrierMovesBothWaysPastTheNearestAccess) {
  const std::string body = "st.shared.b32 [x], a;\nadd.u32 b, b, 1;\nbar.sync 0;\nld.shared.b32 c, [x];\n";
  EXPECT_THAT(mutants_of(body, "delete CTA barrier"),
              ElementsAre("st.shared.b32 [x], a; add.u32 b, b, 1; ld.shared.b32 c, [x];"));
  EXPECT_THAT(mutants_of(body, "hoist CTA barrier"),
              ElementsAre("bar.sync 0; st.shared.b32 [x], a; add.u32 b, b, 1; ld.shared.b32 c, [x];"));
  EXPECT_THAT(mutants_of(body, "sink CTA barrier"),
              ElementsAre("st.shared.b32 [x], a; add.u32 b, b, 1; ld.shared.b32 c, [x]; bar.sync 0;"));
  EXPECT_THAT(mutants_of(body, "CTA barrier index + 1"),
              ElementsAre("st.shared.b32 [x], a; add.u32 b, b, 1; bar.sync 1; ld.shared.b32 c, [x];"));
}

TEST(Operators, NothingMovesPastLabelsBranchesItsRegistersAndTheirScopes) {
  EXPECT_THAT(mutants_of("st.shared.b32 [x], a;\nL:\nbar.sync 0;\nbra L;\nst.shared.b32 [x], a;\n",
                         "hoist CTA barrier"),
              IsEmpty());
  EXPECT_THAT(mutants_of("bar.sync 0;\n@p bra L;\nst.shared.b32 [x], a;\nL:\n", "sink CTA barrier"),
              IsEmpty());
  EXPECT_THAT(
      mutants_of("st.shared.b32 [x], a;\nadd.u32 id, id, 1;\nbar.sync id, 64;\n", "hoist CTA barrier"),
      IsEmpty());
  EXPECT_THAT(
      mutants_of("st.shared.b32 [x], a;\n{\n.reg .b32 id;\nbar.sync id, 64;\n}\n", "hoist CTA barrier"),
      IsEmpty());
  EXPECT_THAT(
      mutants_of("{\n.reg .b32 id;\nst.shared.b32 [x], id;\n}\nbar.sync id, 64;\n", "hoist CTA barrier"),
      IsEmpty());
  EXPECT_THAT(
      mutants_of("{\n.reg .b32 t;\nst.shared.b32 [x], t;\n}\nbar.sync id, 64;\n", "hoist CTA barrier"),
      ElementsAre("{ .reg .b32 t; bar.sync id, 64; st.shared.b32 [x], t; }"));
  // acc<4> declares acc3
  EXPECT_THAT(
      mutants_of("{\n.reg .b32 acc<4>;\nst.shared.b32 [x], a;\n}\nbar.sync acc3, 64;\n", "hoist CTA barrier"),
      IsEmpty());
}

TEST(Operators, AWaitIsItsWholeLoop) {
  const std::string wait =
      "{\n.reg .pred done;\nW_1:\nmbarrier.try_wait.parity.shared::cta.b64 done, [b+8], parity;\n@!done bra "
      "W_1;\n}\n";
  const std::string body = wait + "ld.shared.b32 c, [x];\n";
  EXPECT_THAT(mutants_of(body, "delete mbarrier wait"), ElementsAre("ld.shared.b32 c, [x];"));
  EXPECT_THAT(mutants_of(body, "sink mbarrier wait"), ElementsAre("ld.shared.b32 c, [x]; " + flatten(wait)));
  EXPECT_THAT(mutants_of(body, "flip wait parity"),
              ElementsAre(HasSubstr(
                  "{ .reg .b32 mutant_; xor.b32 mutant_, parity, 1; mbarrier.try_wait.parity.shared::cta.b64 "
                  "done, [b+8], mutant_; } @!done bra W_1;")));
  EXPECT_THAT(mutants_of(body, "mbarrier - 8"), ElementsAre(HasSubstr("[b+0]")));
  EXPECT_THAT(mutants_of(body, "default semantics made relaxed"),
              ElementsAre(HasSubstr(".parity.relaxed.cta.shared::cta.b64")));
  // An arrival goes above it as a whole.
  EXPECT_THAT(mutants_of(wait + "mbarrier.arrive.shared.b64 _, [e];\n", "hoist mbarrier arrive"),
              ElementsAre("mbarrier.arrive.shared.b64 _, [e]; " + flatten(wait)));
}

TEST(Operators, ExpectTxLosesItsBytesOrSixteen) {
  const std::string body = "mbarrier.arrive.expect_tx.release.cta.shared::cta.b64 _, [b], 1024;\n";
  EXPECT_THAT(mutants_of(body, "delete arrive.expect_tx"), ElementsAre(""));
  EXPECT_THAT(mutants_of(body, "arrive without expect_tx"),
              ElementsAre("mbarrier.arrive.release.cta.shared::cta.b64 _, [b];"));
  EXPECT_THAT(mutants_of(body, "expect_tx + 16 bytes"), ElementsAre(HasSubstr("1040")));
  EXPECT_THAT(mutants_of(body, "expect_tx - 16 bytes"), ElementsAre(HasSubstr("1008")));
  EXPECT_THAT(
      mutants_of("mbarrier.arrive.expect_tx.b64 _, [b], n;\n", "expect_tx - 16 bytes"),
      ElementsAre(
          "{ .reg .b32 mutant_; add.s32 mutant_, n, -16; mbarrier.arrive.expect_tx.b64 _, [b], mutant_; }"));
}

TEST(Operators, WgmmaWaitsSinkToTheArrivalAndToTheFirstUse) {
  const std::string wgmma = "wgmma.mma_async.sync.aligned.m64n8k32.f32.e4m3.e4m3 {d0, d1}, da, db, p, 1, 1; ";
  const std::string body =
      wgmma +
      "\nwgmma.wait_group.sync.aligned 1;\nmbarrier.arrive.shared.b64 _, [e];\nmul.f32 s, s, s;\n"
      "fma.rn.f32 f, d1, s, f;\n";
  EXPECT_THAT(
      mutants_of(body, "sink wgmma.wait_group past an arrival"),
      ElementsAre(wgmma +
                  "mbarrier.arrive.shared.b64 _, [e]; wgmma.wait_group.sync.aligned 1; mul.f32 s, s, s; "
                  "fma.rn.f32 f, d1, s, f;"));
  EXPECT_THAT(
      mutants_of(body, "sink wgmma.wait_group past a use"),
      ElementsAre(wgmma + "mbarrier.arrive.shared.b64 _, [e]; mul.f32 s, s, s; fma.rn.f32 f, d1, s, f; "
                          "wgmma.wait_group.sync.aligned 1;"));
  EXPECT_THAT(mutants_of(body, "wgmma.wait_group + 1"), ElementsAre(HasSubstr("aligned 2;")));
  EXPECT_THAT(mutants_of(body, "wgmma.wait_group - 1"), ElementsAre(HasSubstr("aligned 0;")));
}

TEST(Operators, SemanticsAndScopesAreWeakened) {
  EXPECT_THAT(mutants_of("st.release.sys.global.b32 [a], x;\n", "scope .sys made .gpu"),
              ElementsAre("st.release.gpu.global.b32 [a], x;"));
  EXPECT_THAT(mutants_of("st.release.sys.global.b32 [a], x;\n", "release made relaxed"),
              ElementsAre("st.relaxed.sys.global.b32 [a], x;"));
  EXPECT_THAT(mutants_of("st.release.sys.global.b32 [a], x;\n", "release store made weak"),
              ElementsAre("st.global.b32 [a], x;"));
  EXPECT_THAT(mutants_of("ld.acquire.gpu.global.b32 x, [a];\n", "scope .gpu made .cluster"),
              ElementsAre("ld.acquire.cluster.global.b32 x, [a];"));
  EXPECT_THAT(mutants_of("fence.proxy.async.shared::cta;\n", "proxy fence of another space"),
              ElementsAre("fence.proxy.async.global;"));
  // relaxed mbarrier operations need a newer version
  const std::string text = kernel("mbarrier.arrive.release.cta.shared::cta.b64 _, [b];\n");
  for (const Mutant& m : all_mutants(text))
    EXPECT_EQ(apply_edits(text, m.edits).starts_with(".version 8.6\n"), m.op == "release made relaxed")
        << m.op;
}

TEST(Operators, RingsCountsAndInitialValues) {
  const std::string ring = "add.u32 s, s, 1;\nsetp.eq.u32 w, s, 5;\n@w mov.b32 s, 0;\n";
  EXPECT_THAT(mutants_of(ring, "ring length - 1"), ElementsAre(HasSubstr("s, 4;")));
  EXPECT_THAT(mutants_of(ring, "ring length + 1"), ElementsAre(HasSubstr("s, 6;")));
  EXPECT_THAT(mutants_of("add.u32 s, s, 1;\nand.b32 s, s, 7;\n", "ring length / 2"),
              ElementsAre(HasSubstr("s, 3;")));
  EXPECT_THAT(mutants_of("mbarrier.init.shared::cta.b64 [b], 4;\n", "mbarrier.init count - 1"),
              ElementsAre(HasSubstr("[b], 3;")));
  EXPECT_THAT(mutants_of("mov.b32 i, 0;\nadd.u32 i, i, 1;\nmov.b32 i, 0;\n", "drop initial value"),
              ElementsAre("add.u32 i, i, 1; mov.b32 i, 0;"));
}

TEST(Operators, ADroppedValueIsReadByWhatIsComputedFromIt) {
  const std::string text = kernel(
      "mov.b32 i, 0;\nadd.u32 k, i, 1;\n{\n.reg .b32 i;\nadd.u32 x, i, 1;\n}\nst.global.b32 [a], k;\n"
      "st.global.b32 [x], y;\n@p st.global.b32 [a], i;\n");
  for (const Mutant& m : all_mutants(text)) {
    if (m.op == "drop initial value") EXPECT_THAT(m.readers, ElementsAre(7, 12, 14));
  }
}

TEST(Operators, TensorCopies) {
  const std::string load =
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster\n"
      "  [d], [m, {c, row}], [b], mask;\n";
  EXPECT_THAT(mutants_of(load, "tensor coordinate 1 + 1"),
              ElementsAre(HasSubstr("add.s32 mutant_, row, 1; cp.async")));
  EXPECT_THAT(mutants_of(load, "multicast mask bit 1 flipped"),
              ElementsAre(HasSubstr("xor.b16 mutant_, mask, 2; cp.async")));
  EXPECT_THAT(mutants_of(load, "shared address - 1024"), ElementsAre(HasSubstr("[d+-1024], [m, {c, row}]")));
  EXPECT_THAT(mutants_of("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [m, {c, r}], [s+32];\n",
                         "shared address + 16"),
              ElementsAre(HasSubstr("[m, {c, r}], [s+48];")));
}

// Every mutant differs from its original in its own lines alone, and its lines keep their numbers.
TEST(Operators, KeepTheLinesOfEveryKernel) {
  for (const std::string& path : jit::source_paths()) {
    if (!path.ends_with(".ptx") || !jit::is_kernel(*jit::read_source(path))) continue;
    const jit::KernelHead head = jit::parse_head(path);
    const std::string text = jit::expand(path, head.named(jit::enumerate(head).back())).ptx;
    const std::vector<Mutant> mutants = all_mutants(text);
    EXPECT_FALSE(mutants.empty()) << path;
    for (const Mutant& m : mutants) {
      const std::string mutated = apply_edits(text, m.edits);
      ASSERT_NE(mutated, text) << path << ": " << m.op;
      int line = 1;
      auto a = text.begin(), b = mutated.begin();
      for (; a != text.end() && b != mutated.end(); ++line) {
        const auto a_end = std::find(a, text.end(), '\n'), b_end = std::find(b, mutated.end(), '\n');
        const bool mine = (line >= m.line && line <= m.last_line) || line == m.moved_to ||
                          std::string_view(&*a, static_cast<size_t>(a_end - a)).starts_with(".version");
        ASSERT_TRUE(mine || std::equal(a, a_end, b, b_end))
            << path << ": " << m.op << " changed line " << line;
        a = a_end + (a_end != text.end());
        b = b_end + (b_end != mutated.end());
      }
      ASSERT_TRUE(a == text.end() && b == mutated.end())
          << path << ": " << m.op << ": another number of lines";
    }
  }
}

}  // namespace
}  // namespace ptxops::mutants
