// Barriers, fences, warp collectives, atomics (PTX ISA 9.7.13) and miscellany (9.7.19).
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <bit>
#include <map>

#include "tests/conformance/body.h"
#include "tests/conformance/cases.h"
#include "tests/conformance/oracle.h"
#include "tests/conformance/values.h"

namespace ptxops::conformance {
namespace {

using isa::Id;

std::string load_input(const char* reg) {
  return fmt::format("    mad.wide.u32 d0, index, 4, in;\n    ld.global.b32 {}, [d0];\n", reg);
}

// ---- Named barriers
// -----------------------------------------------------------------------------------------------

// Four warps: each stores its word, meets the others, reads the next warp's.
void barrier_sync(const char* instruction) {
  Body b;
  b.module = ".shared .b32 box[128];\n";
  b.text = load_input("r0") +
           "    mov.u32 r1, box;\n    mad.lo.u32 r2, tid, 4, r1;\n    st.shared.b32 [r2], r0;\n    " +
           instruction +
           "\n    add.u32 r3, tid, 32;\n    and.b32 r3, r3, 127;\n    mad.lo.u32 r3, r3, 4, r1;\n"
           "    ld.shared.b32 r4, [r3];\n    st.global.b32 [mine], r4;";
  b.shape.block = 128;
  b.input = random_words(128, 1);
  b.output_words = 128;
  const auto out = run_body(b);
  for (size_t i = 0; i < out.size(); ++i)
    EXPECT_EQ(out[i], b.input[(i + 32) % 128]) << instruction << " thread " << i;
}
void bar_sync() {
  for (const char* text :
       {"bar.sync 0;", "bar.cta.sync 3, 128;", "barrier.sync 5;", "barrier.cta.sync.aligned 15, 128;",
        "mov.u32 r9, 7; mov.u32 r10, 128; bar.sync r9, r10;"})
    barrier_sync(text);
  // Unaligned: halves of a warp arrive separately.
  barrier_sync("setp.lt.u32 p0, lane, 11; @p0 bra A; barrier.sync 1; bra C; A: barrier.sync 1; C:");
  // Warps that have exited are not waited for.
  Body b;
  b.text = "    setp.eq.u32 p0, warp, 1;\n    @p0 exit;\n    bar.sync 0;\n    st.global.b32 [mine], tid;";
  b.shape.block = 128;
  b.output_words = 128;
  const auto out = run_body(b);
  for (size_t i = 0; i < out.size(); ++i) EXPECT_EQ(out[i], i / 32 == 1 ? kPoisonWord : i) << i;
}
void bar_sync_misuse() {
  Body b;
  b.shape.block = 64;
  b.output_words = 64;
  b.text = "    mov.u32 r0, 16;\n    bar.sync r0;";
  expect_fault(b, "expected 0 to 15");
  b.text = "    mov.u32 r0, 33;\n    bar.sync 1, r0;";
  expect_fault(b, "multiple of 32");
  b.text = "    setp.lt.u32 p0, lane, 7;\n    @p0 bar.sync 0;";
  expect_fault(b, "divergent aligned barrier");
  b.text = "    setp.eq.u32 p0, warp, 0;\n    @p0 bar.sync 1, 64;\n    @!p0 bar.sync 1, 32;";
  expect_fault(b, "differs from");
  b.text = "    setp.eq.u32 p0, warp, 0;\n    @p0 bar.sync 1, 64;";
  expect_fault(b, "32 of 64 threads");
}
// Warps 0 and 1 produce and arrive, warps 2 and 3 wait.
void bar_arrive() {
  for (const char* text :
       {"bar.arrive 4, 128;", "barrier.cta.arrive 4, 128;", "barrier.arrive.aligned 4, 128;"}) {
    Body b;
    b.module = ".shared .b32 box[64];\n";
    b.text = load_input("r0") +
             fmt::format(
                 "    mov.u32 r1, box;\n    setp.ge.u32 p0, warp, 2;\n    @p0 bra CONSUME;\n"
                 "    mad.lo.u32 r2, tid, 4, r1;\n    st.shared.b32 [r2], r0;\n    {}\n    exit;\nCONSUME:\n"
                 "    bar.sync 4, 128;\n    sub.u32 r3, tid, 64;\n    mad.lo.u32 r3, r3, 4, r1;\n"
                 "    ld.shared.b32 r4, [r3];\n    st.global.b32 [mine], r4;",
                 text);
    b.shape.block = 128;
    b.input = random_words(128, 2);
    b.output_words = 128;
    const auto out = run_body(b);
    for (size_t i = 64; i < out.size(); ++i) EXPECT_EQ(out[i], b.input[i - 64]) << text << " thread " << i;
  }
}
void bar_red() {
  const auto input = random_words(96, 3);
  uint32_t count = 0;
  for (uint32_t w : input) count += w & 1;
  for (const char* text : {"bar.red.popc.u32 r5, 2, p0;", "barrier.cta.red.popc.aligned.u32 r5, 2, 96, p0;",
                           "barrier.red.popc.u32 r5, 2, !p1;"}) {
    Body b;
    b.text = load_input("r0") +
             "    and.b32 r1, r0, 1;\n    setp.ne.u32 p0, r1, 0;\n    not.pred p1, p0;\n    " + text +
             "\n    st.global.b32 [mine], r5;";
    b.shape.block = 96;
    b.input = input;
    b.output_words = 96;
    const auto out = run_body(b);
    for (size_t i = 0; i < out.size(); ++i) EXPECT_EQ(out[i], count) << text << " thread " << i;
  }
  // and, or: over a predicate that one thread (70), none, or all have.
  for (const char* op :
       {"bar.red.and.pred", "bar.red.or.pred", "barrier.cta.red.and.aligned.pred", "barrier.red.or.pred"})
    for (int mode = 0; mode < 3; ++mode) {
      Body b;
      b.text = fmt::format(
          "    setp.eq.u32 p0, tid, 70;\n    {}\n    {} p2, 0, p0;\n    selp.u32 r5, 1, 0, p2;\n"
          "    st.global.b32 [mine], r5;",
          mode == 0   ? ""
          : mode == 1 ? "setp.gt.u32 p0, tid, 999;"
                      : "setp.lt.u32 p0, tid, 999;",
          op);
      b.shape.block = 96;
      b.output_words = 96;
      const bool is_and = std::string(op).find("and") != std::string::npos;
      const uint32_t expected = mode == 2 || (mode == 0 && !is_and);
      const auto out = run_body(b);
      for (size_t i = 0; i < out.size(); ++i)
        EXPECT_EQ(out[i], expected) << op << " mode " << mode << " thread " << i;
    }
}

// Two CTAs exchange words through each other's shared memory.
void barrier_cluster() {
  const char* pairs[][2] = {
      {"barrier.cluster.arrive;", "barrier.cluster.wait;"},
      {"barrier.cluster.arrive.aligned;", "barrier.cluster.wait.aligned;"},
      {"barrier.cluster.arrive.release;", "barrier.cluster.wait.acquire;"},
      {"barrier.cluster.arrive.release.aligned;", "barrier.cluster.wait.acquire.aligned;"},
      {"fence.acq_rel.cluster; barrier.cluster.arrive.relaxed.aligned;",
       "barrier.cluster.wait.acquire.aligned; "
       "fence.acq_rel.cluster;"}};
  for (const auto& pair : pairs) {
    Body b;
    b.module = ".shared .b32 box[64];\n";
    const std::string both = std::string("    ") + pair[0] + "\n    " + pair[1] + "\n";
    b.text = load_input("r0") +
             "    mov.u32 r1, box;\n    mad.lo.u32 r2, tid, 4, r1;\n    st.shared.b32 [r2], r0;\n" + both +
             "    xor.b32 r3, rank, 1;\n    mapa.shared::cluster.u32 r4, r2, r3;\n"
             "    ld.shared::cluster.b32 r5, [r4];\n    st.global.b32 [mine], r5;\n" +
             both;
    b.shape.grid = 4;
    b.shape.block = 64;
    b.shape.cluster = 2;
    b.input = random_words(256, 4);
    b.output_words = 256;
    const auto out = run_body(b);
    for (size_t i = 0; i < out.size(); ++i) EXPECT_EQ(out[i], b.input[i ^ 64]) << pair[0] << " thread " << i;
  }
  Body b;
  b.shape.cluster = 2, b.shape.grid = 2;
  b.output_words = 64;
  b.text = "    barrier.cluster.arrive;\n    barrier.cluster.arrive;";
  expect_fault(b, "double arrive");
  b.text = "    barrier.cluster.wait;";
  expect_fault(b, "without arrive");
}

// Fences have no result of their own: a producer and a consumer with each fence between still see the data.
void fences() {
  for (const isa::Row& row : isa::rows()) {
    if (!row.supported() || (row.root != "fence" && row.root != "membar")) continue;
    for (const Form& f : forms_of(row)) {
      const bool tensormap = f.has("tensormap::generic") && f.has("acquire");
      Body b;
      b.module = ".shared .b32 box[64];\n";
      b.text = load_input("r0") +
               "    mov.u32 r1, box;\n    mad.lo.u32 r2, tid, 4, r1;\n    st.shared.b32 [r2], r0;\n    " +
               f.opcode + (tensormap ? " [in], 128;" : ";") +
               "\n    bar.sync 0;\n    xor.b32 r3, tid, 32;\n    mad.lo.u32 r3, r3, 4, r1;\n"
               "    ld.shared.b32 r4, [r3];\n    st.global.b32 [mine], r4;";
      b.shape.block = 64;
      b.input = random_words(64, 5);
      b.output_words = 64;
      const auto out = run_body(b);
      for (size_t i = 0; i < out.size(); ++i)
        EXPECT_EQ(out[i], b.input[i ^ 32]) << f.opcode << " thread " << i;
    }
  }
}

// ---- Warp collectives
// ---------------------------------------------------------------------------------------------

void shfl() {
  for (const char* mode : {"up", "down", "bfly", "idx"})
    for (uint32_t variant = 0; variant < 24; ++variant) {
      const uint32_t width = 32u >> (variant % 4), segment = (32 - width) & 31;
      const bool up = std::string(mode) == "up";
      const uint32_t clamp = segment << 8 | (up ? 0 : 31);
      const auto input = random_words(64, 100 + variant);
      Body b;
      // Lane-dependent source operands in half of the variants, one immediate otherwise.
      const bool varying = variant & 1;
      const uint32_t fixed = variant * 5 % 32;
      b.text = load_input("r0") +
               "    add.u32 r9, index, 32;\n    mad.wide.u32 d1, r9, 4, in;\n    ld.global.b32 r1, [d1];\n" +
               fmt::format("    shfl.sync.{}.b32 r2|p0, r0, {}, {}, 0xffffffff;\n", mode,
                           varying ? "r1" : std::to_string(fixed), clamp) +
               "    selp.u32 r3, 1, 0, p0;\n    mad.wide.u32 d2, index, 8, out;\n    st.global.v2.b32 [d2], "
               "{r2, r3};";
      b.input = input;
      b.output_words = 64;
      const auto out = run_body(b);
      if (out.empty()) return;
      for (uint32_t lane = 0; lane < 32; ++lane) {
        // By the definition in segments of `width` lanes.
        const uint32_t operand = (varying ? input[32 + lane] : fixed) & 31;
        const uint32_t base = lane & ~(width - 1), local = lane - base;
        int64_t from = 0;
        if (up) from = static_cast<int64_t>(local) - operand;
        if (std::string(mode) == "down") from = local + operand;
        if (std::string(mode) == "bfly") from = static_cast<int64_t>(lane ^ operand) - base;
        if (std::string(mode) == "idx") from = operand & (width - 1);
        bool valid = from >= 0 && from < width;
        // bfly may leave the segment downwards: only the upper bound is tested.
        if (std::string(mode) == "bfly")
          valid = static_cast<int64_t>(base) + from <= static_cast<int64_t>(base + width - 1);
        const uint32_t source = valid ? static_cast<uint32_t>(base + from) : lane;
        EXPECT_EQ(out[2 * lane], input[source])
            << mode << " width " << width << " operand " << operand << " lane " << lane;
        EXPECT_EQ(out[2 * lane + 1], valid)
            << mode << " width " << width << " operand " << operand << " lane " << lane;
      }
    }
}
// Lanes reach different copies of the instruction.
void shfl_apart() {
  Body b;
  b.text = load_input("r0") +
           "    and.b32 r1, lane, 1;\n    setp.eq.u32 p0, r1, 0;\n    @p0 bra EVEN;\n"
           "    shfl.sync.bfly.b32 r2, r0, 1, 31, 0xffffffff;\n    bra JOIN;\nEVEN:\n    add.u32 r3, r0, 1;\n"
           "    shfl.sync.bfly.b32 r2, r3, 1, 31, 0xffffffff;\nJOIN:\n    st.global.b32 [mine], r2;";
  b.input = random_words(32, 6);
  const auto out = run_body(b);
  for (uint32_t i = 0; i < out.size(); ++i)
    EXPECT_EQ(out[i], b.input[i ^ 1] + (i & 1)) << i;  // odd lanes read evens + 1
  // Undefined by the text; below full checking lanes outside the mask take part, as on hardware.
  b.text = load_input("r0") + "    shfl.sync.bfly.b32 r2, r0, 1, 31, 0xffff;\n    st.global.b32 [mine], r2;";
  const auto outside = run_body(b);
  for (uint32_t i = 0; i < outside.size(); ++i) EXPECT_EQ(outside[i], b.input[i ^ 1]) << i;
  b.text =
      "    setp.lt.u32 p0, lane, 9;\n    @p0 bra WAIT;\n    bar.warp.sync 0xfffffe00;\n    bra OUT;\nWAIT:\n"
      "    bar.warp.sync 0xffffffff;\nOUT:\n    st.global.b32 [mine], lane;";
  expect_fault(b, "deadlock");
}

void vote() {
  for (int pattern = 0; pattern < 6; ++pattern)
    for (const char* mode : {"all", "any", "uni", "ballot"})
      for (const char* negate : {"", "!"}) {
        const uint32_t masks[] = {0, 0xffffffff, 0x1, 0x80000001, 0x0f0f3355, 0x7fffffff};
        uint32_t votes = masks[pattern];
        Body b;
        const bool ballot = std::string(mode) == "ballot";
        b.text = fmt::format(
            "    mov.u32 r0, {};\n    shr.u32 r0, r0, lane;\n    and.b32 r0, r0, 1;\n"
            "    setp.ne.u32 p0, r0, 0;\n    {} {}p0, 0xffffffff;\n{}    st.global.b32 [mine], r1;",
            votes, ballot ? "vote.sync.ballot.b32 r1," : fmt::format("vote.sync.{}.pred p1,", mode), negate,
            ballot ? "" : "    selp.u32 r1, 1, 0, p1;\n");
        if (*negate) votes = ~votes;
        const std::string m = mode;
        const uint32_t expected = ballot       ? votes
                                  : m == "all" ? votes == ~0u
                                  : m == "any" ? votes != 0
                                               : votes == 0 || votes == ~0u;
        const auto out = run_body(b);
        for (uint32_t i = 0; i < out.size(); ++i)
          EXPECT_EQ(out[i], expected) << mode << negate << " lane " << i;
      }
}

void match() {
  for (const char* type : {"b32", "b64"})
    for (int kind = 0; kind < 3; ++kind) {  // few values, all equal, half in the mask
      Body b;
      const bool wide = std::string(type) == "b64";
      b.input = random_words(32, 7 + kind);
      for (uint32_t& w : b.input) w = kind == 1 ? 77 : w % 4;
      const char* value = wide ? "d3" : "r0";
      // Lanes 0-15 and 16-31 form two groups when kind is 2.
      b.text =
          load_input("r0") +
          "    cvt.u64.u32 d3, r0;\n    shl.b64 d3, d3, 40;\n    mov.u32 r5, 0xffffffff;\n" +
          (kind == 2 ? "    setp.lt.u32 p1, lane, 16;\n    selp.b32 r5, 0x0000ffff, 0xffff0000, p1;\n" : "") +
          fmt::format("    match.any.sync.{0} r1, {1}, r5;\n    match.all.sync.{0} r2|p0, {1}, r5;\n", type,
                      value) +
          "    selp.u32 r3, 1, 0, p0;\n    mad.wide.u32 d2, index, 16, out;\n    mov.u32 r4, 0;\n"
          "    st.global.v4.b32 [d2], {r1, r2, r3, r4};";
      b.output_words = 128;
      const auto out = run_body(b);
      if (out.empty()) return;
      for (uint32_t lane = 0; lane < 32; ++lane) {
        const uint32_t group = kind == 2 ? (lane < 16 ? 0xffffu : 0xffff0000u) : ~0u;
        uint32_t equal = 0;
        for (uint32_t j = 0; j < 32; ++j)
          if ((group >> j & 1) && b.input[j] == b.input[lane]) equal |= 1u << j;
        EXPECT_EQ(out[4 * lane], equal) << type << " any, lane " << lane;
        EXPECT_EQ(out[4 * lane + 1], equal == group ? group : 0) << type << " all, lane " << lane;
        EXPECT_EQ(out[4 * lane + 2], equal == group) << type << " all predicate, lane " << lane;
      }
    }
}

void redux() {
  for (const isa::Row& row : isa::rows()) {
    if (row.id != Id::redux_sync) continue;
    for (const Form& f : forms_of(row))
      for (const uint32_t members : {0xffffffffu, 0x00ff00f0u}) {
        Body b;
        b.input = random_words(32, 9);
        b.text = load_input("r0") + fmt::format(
                                        "    mov.u32 r5, {};\n    shr.u32 r6, r5, lane;\n    and.b32 r6, r6, "
                                        "1;\n    setp.ne.u32 p0, r6, 0;\n"
                                        "    @p0 {} r1, r0, r5;\n    @p0 st.global.b32 [mine], r1;",
                                        members, f.opcode);
        const std::string_view op = f.choice("op");
        const bool s = isa::is_signed(f.type());
        bool first = true;
        uint32_t v = 0;
        for (uint32_t i = 0; i < 32; ++i) {
          if (!(members >> i & 1)) continue;
          const uint32_t x = b.input[i];
          const bool less = s ? static_cast<int32_t>(x) < static_cast<int32_t>(v) : x < v;
          v = first                   ? x
              : op == "add"           ? v + x
              : op == "and"           ? v & x
              : op == "or"            ? v | x
              : op == "xor"           ? v ^ x
              : (op == "min") == less ? x
                                      : v;
          first = false;
        }
        const auto out = run_body(b);
        for (uint32_t i = 0; i < out.size(); ++i)
          EXPECT_EQ(out[i], members >> i & 1 ? v : kPoisonWord) << f.opcode << " lane " << i;
      }
  }
}

void elect_and_active() {
  Body b;
  b.text =
      "    setp.lt.u32 p0, lane, 5;\n    @p0 exit;\n    elect.sync r1|p1, 0xffffffff;\n    selp.u32 r2, 100, "
      "0, p1;\n"
      "    add.u32 r3, r1, r2;\n    activemask.b32 r4;\n    mad.wide.u32 d2, index, 8, out;\n"
      "    st.global.v2.b32 [d2], {r3, r4};";
  b.output_words = 64;
  const auto out = run_body(b);
  if (out.empty()) return;
  // Exactly one participating lane is the leader, and all agree on it.
  uint32_t leaders = 0;
  for (uint32_t i = 5; i < 32; ++i) {
    const uint32_t leader = out[2 * i] % 100;
    leaders += out[2 * i] >= 100;
    EXPECT_EQ(leader, out[2 * 5] % 100) << i;
    EXPECT_GE(leader, 5u);
    EXPECT_EQ(out[2 * i] >= 100, leader == i) << i;
    EXPECT_EQ(out[2 * i + 1], 0xffffffe0u) << i;
  }
  EXPECT_EQ(leaders, 1u);
}

void warp_sync() {
  // A word is handed from the upper half to the lower through shared memory, in divergent code.
  Body b;
  b.module = ".shared .b32 box[32];\n";
  b.text =
      load_input("r0") +
      "    mov.u32 r1, box;\n    mad.lo.u32 r2, lane, 4, r1;\n    setp.lt.u32 p0, lane, 16;\n    @p0 bra "
      "READ;\n"
      "    st.shared.b32 [r2], r0;\n    bar.warp.sync 0xffffffff;\n    bra DONE;\nREAD:\n"
      "    bar.warp.sync 0xffffffff;\n    ld.shared.b32 r3, [r2+64];\n    st.global.b32 [mine], r3;\nDONE:";
  b.input = random_words(32, 10);
  const auto out = run_body(b);
  for (uint32_t i = 0; i < 16 && i < out.size(); ++i) EXPECT_EQ(out[i], b.input[i + 16]) << i;

  // Lanes that have left are not waited for, although all are named: 20 of them before, two in each round.
  b.text = load_input("r0") +
           "    mov.u32 r1, box;\n    mad.lo.u32 r2, lane, 4, r1;\n    st.shared.b32 [r2], r0;\n"
           "    bar.warp.sync 0xffffffff;\n    setp.gt.u32 p0, lane, 11;\n    @p0 bra DONE;\n"
           "    mov.u32 r4, lane;\n    mov.u32 r5, 0;\nROUND:\n    ld.shared.b32 r3, [r2+80];\n"
           "    bar.warp.sync 0xffffffff;\n    add.u32 r5, r5, r3;\n    st.shared.b32 [r2+80], r5;\n"
           "    bar.warp.sync 0xffffffff;\n    st.global.b32 [mine], r5;\n    add.u32 r4, r4, 2;\n"
           "    setp.lt.u32 p0, r4, 12;\n    @p0 bra ROUND;\nDONE:";
  const auto late = run_body(b);
  for (uint32_t i = 0; i < 12 && i < late.size(); ++i) {
    uint32_t sum = 0, box = b.input[i + 20];
    for (uint32_t round = i; round < 12; round += 2) box = sum += box;
    EXPECT_EQ(late[i], sum) << i;
  }
}

void grid_dependency() {
  Body b;
  b.text = "    griddepcontrol.wait;\n    st.global.b32 [mine], tid;\n    griddepcontrol.launch_dependents;";
  const auto out = run_body(b);
  for (uint32_t i = 0; i < out.size(); ++i) EXPECT_EQ(out[i], i);
}

// ---- Atomics
// ------------------------------------------------------------------------------------------------------

// Up to `most` spellings of each (op, types) of a row.
std::vector<Form> sample(const isa::Row& row, size_t most) {
  std::map<std::string, std::vector<Form>> groups;
  for (Form& f : forms_of(row)) {
    std::string key(f.choice("op"));
    for (isa::Type t : f.types) key += std::string(".") + std::string(isa::type_name(t));
    key += f.choice("vec");
    groups[key].push_back(std::move(f));
  }
  Random random(seed() + 11);
  std::vector<Form> out;
  for (auto& [key, forms] : groups)
    for (size_t i = 0; i < most && !forms.empty(); ++i) {
      const size_t pick = random() % forms.size();
      out.push_back(std::move(forms[pick]));
      forms.erase(forms.begin() + static_cast<ptrdiff_t>(pick));
    }
  return out;
}

using Words = unsigned __int128;  // up to 16 bytes

// The new value of one element.
Words combined(std::string_view op, isa::Type t, Words old, Words b) {
  using isa::Type;
  const int bits = isa::type_bits(t);
  const Words mask = bits == 128 ? ~Words{0} : (Words{1} << bits) - 1;
  if (op == "exch") return b & mask;
  if (op == "and") return old & b;
  if (op == "or") return old | b;
  if (op == "xor") return old ^ b;
  if (op == "inc") return old >= b ? 0 : old + 1;
  if (op == "dec") return old == 0 || old > b ? b : old - 1;
  const Type element = t == Type::f16x2 ? Type::f16 : t == Type::bf16x2 ? Type::bf16 : t;
  if (const Format* f = format_of(element)) {
    const int width = isa::type_bits(element);
    Words result = 0;
    for (int i = 0; i < bits / width; ++i) {
      const uint64_t x =
          static_cast<uint64_t>(old >> width * i) & (width == 64 ? ~0ull : (1ull << width) - 1);
      const uint64_t y = static_cast<uint64_t>(b >> width * i) & (width == 64 ? ~0ull : (1ull << width) - 1);
      const Quad p = decode(*f, x), q = decode(*f, y);
      uint64_t v;
      if (op == "add") {
        const Sum s = exact_add(p, q);
        v = encode(*f, s.value, s.sticky);
      } else {
        v = (op == "min") == (p < q) ? x : y;
      }
      result |= Words{v} << width * i;
    }
    return result;
  }
  if (op == "add") return (old + b) & mask;
  const bool s = isa::is_signed(t);
  const auto key = [&](Words v) { return s ? v ^ (Words{1} << (bits - 1)) : v; };
  return (op == "min") == (key(old) < key(b)) ? old : b;
}

// A value whose arithmetic has no special cases: normal floats of moderate size, any integer.
Words operand(isa::Type t, Random& random) {
  using isa::Type;
  const auto one = [&](Type e) -> uint64_t {
    const Format* f = format_of(e);
    if (!f) return random();
    return (random() & ((1ull << f->mantissa_bits) - 1)) |
           (uint64_t(f->bias()) - 2 + random() % 5) << f->mantissa_bits | (random() & 1 ? sign_bit(*f) : 0);
  };
  if (t == Type::f16x2) return one(Type::f16) | one(Type::f16) << 16;
  if (t == Type::bf16x2) return one(Type::bf16) | one(Type::bf16) << 16;
  const int bits = isa::type_bits(t);
  const Words v = bits == 128 ? Words{random()} << 64 | random() : Words{one(t)};
  return bits == 128 ? v : v & ((Words{1} << bits) - 1);
}

int vector_length(const Form& f) {
  for (int n : {2, 4, 8})
    if (f.has("v" + std::to_string(n))) return n;
  return 1;
}

// Each of 32 threads has a 32-byte slot: memory before, operand b, operand c; the result and memory after
// come back.
void atomic(const Form& f) {
  const isa::Type t = f.types.back();
  const bool returns = f.row->root == "atom", cas = f.has("cas");
  const int bits = isa::type_bits(t), bytes = bits / 8, n = vector_length(f);
  const bool shared = f.has("shared") || f.has("shared::cta") || f.has("shared::cluster");
  const std::string reg = bits == 128 ? "q" : fmt::format("b{}_", bits);
  const int sources = cas ? 2 : 1;
  Random random(seed() ^ std::hash<std::string>{}(f.opcode));
  std::vector<Words> memory(32 * n), b(32 * n), c(32 * n);
  Body body;
  body.input.resize(32 * 24);
  const auto put = [&](int lane, int slot, int i, Words v) {
    std::memcpy(reinterpret_cast<uint8_t*>(body.input.data()) + lane * 96 + slot * 32 + i * bytes, &v, bytes);
  };
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < n; ++i) {
      const int k = lane * n + i;
      memory[k] = operand(t, random), b[k] = operand(t, random), c[k] = operand(t, random);
      if (cas && lane % 2) b[k] = memory[k];  // compare equal in odd lanes
      if (f.has("inc") || f.has("dec")) {
        if (lane % 4 == 1) b[k] = memory[k];
        if (lane % 4 == 2) memory[k] = 0;
      }
      put(lane, 0, i, memory[k]), put(lane, 1, i, b[k]), put(lane, 2, i, c[k]);
    }
  std::string vb, vd, vc;
  std::string text;
  for (int i = 0; i < n; ++i) {
    text += fmt::format("    .reg .b{} vd{}, vb{}, vc{}, vm{};\n", bits, i, i, i, i);
    vd += fmt::format("{}vd{}", i ? ", " : "", i);
    vb += fmt::format("{}vb{}", i ? ", " : "", i);
  }
  if (n > 1) vd = "{" + vd + "}", vb = "{" + vb + "}";
  text +=
      "    mad.wide.u32 d0, index, 96, in;\n    mad.wide.u32 d1, index, 64, out;\n    mov.b64 d5, 0;\n"
      "    createpolicy.fractional.L2::evict_last.b64 d6;\n";
  for (int i = 0; i < n; ++i)
    text += fmt::format(
        "    ld.global.b{0} vm{1}, [d0+{2}];\n    ld.global.b{0} vb{1}, [d0+{3}];\n    ld.global.b{0} vc{1}, "
        "[d0+{4}];\n",
        bits, i, i * bytes, 32 + i * bytes, 64 + i * bytes);
  // Where the atomic works: the thread's output slot, or shared memory.
  const char* store = shared ? "st.shared" : "st.global";
  text += shared ? "    mov.u32 r1, box;\n    mad.lo.u32 r1, lane, 32, r1;\n" : "";
  const std::string place = shared ? "r1" : "d1";
  for (int i = 0; i < n; ++i)
    text += fmt::format("    {}.b{} [{}+{}], vm{};\n", store, bits, place, i * bytes, i);
  std::string address = place;
  if (shared && !f.has("shared") && !f.has("shared::cta") && !f.has("shared::cluster")) address = place;
  text += "    " + f.opcode + " " + (returns ? vd + ", " : "") + "[" + address + "], " + vb +
          (cas ? ", vc0" : "") + (f.has("L2::cache_hint") ? ", d6" : "") + ";\n";
  for (int i = 0; i < n; ++i) {
    if (returns) text += fmt::format("    st.global.b{} [d1+{}], vd{};\n", bits, 32 + i * bytes, i);
    if (shared)
      text += fmt::format("    ld.shared.b{0} vm{1}, [r1+{2}];\n    st.global.b{0} [d1+{2}], vm{1};\n", bits,
                          i, i * bytes);
  }
  body.module = ".shared .align 32 .b8 box[1024];\n";
  body.text = text;
  body.output_words = 32 * 16;
  (void)reg, (void)sources, (void)vc;
  const auto out = run_body(body);
  if (out.empty()) return;
  const auto* bytes_out = reinterpret_cast<const uint8_t*>(out.data());
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < n; ++i) {
      const int k = lane * n + i;
      Words after = 0, result = 0;
      std::memcpy(&after, bytes_out + lane * 64 + i * bytes, bytes);
      std::memcpy(&result, bytes_out + lane * 64 + 32 + i * bytes, bytes);
      const Words expected =
          cas ? (memory[k] == b[k] ? c[k] : memory[k]) : combined(f.choice("op"), t, memory[k], b[k]);
      EXPECT_TRUE(after == expected) << f.opcode << " lane " << lane << " element " << i << ": memory "
                                     << fmt::format("{:x}", static_cast<uint64_t>(after)) << ", expected "
                                     << fmt::format("{:x}", static_cast<uint64_t>(expected));
      if (returns) EXPECT_TRUE(result == memory[k]) << f.opcode << " lane " << lane << ": returned value";
    }
}
void atomics(Id id) {
  for (const isa::Row& row : isa::rows())
    if (row.id == id)
      for (const Form& f : sample(row, 3)) {
        atomic(f);
        if (::testing::Test::HasFailure()) return;
      }
}
// All threads of several CTAs on one word.
void contended(const char* instruction, bool returns) {
  Body b;
  b.input = {0};
  b.text = fmt::format(
      "    mov.u32 r0, 1;\n    {}\n{}", instruction,
      returns ? "    add.u32 r2, r1, 1;\n    mad.wide.u32 d1, r2, 4, out;\n    st.global.b32 [d1], index;"
              : "");
  b.shape.grid = 4;
  b.shape.block = 128;
  b.output_words = 513;
  // Word 0 counts; it starts as poison, so the expectation is relative to it.
  const auto out = run_body(b);
  if (out.empty()) return;
  EXPECT_EQ(out[0], kPoisonWord + 512u) << instruction;
}

// ---- Miscellany
// ---------------------------------------------------------------------------------------------------

void setmaxnreg() {
  // One warpgroup gives registers, the other takes them.
  Body b;
  b.directives = ".maxntid 256, 1, 1\n.minnctapersm 1\n";
  b.text =
      "    setp.lt.u32 p0, tid, 128;\n    @p0 bra GIVE;\n    setmaxnreg.inc.sync.aligned.u32 256;\n    bra "
      "DONE;\nGIVE:\n"
      "    setmaxnreg.dec.sync.aligned.u32 24;\nDONE:\n    st.global.b32 [mine], tid;";
  b.shape.block = 256;
  b.output_words = 256;
  const auto out = run_body(b);
  for (uint32_t i = 0; i < out.size(); ++i) EXPECT_EQ(out[i], i);

  // The launch gets as many registers as the largest request: the directives would allow 255 here.
  b.text =
      "    setp.lt.u32 p0, tid, 128;\n    @p0 bra GIVE;\n    setmaxnreg.inc.sync.aligned.u32 200;\n    bra "
      "DONE;\nGIVE:\n"
      "    setmaxnreg.dec.sync.aligned.u32 40;\nDONE:\n    add.u32 r0, tid, 1;\n    st.global.b32 [mine], "
      "r0;";
  const auto next = run_body(b);
  for (uint32_t i = 0; i < next.size(); ++i) EXPECT_EQ(next[i], i + 1);
}
void misc() {
  Body b;
  b.text =
      "    nanosleep.u32 100;\n    mov.u32 r0, 20;\n    nanosleep.u32 r0;\n    pmevent 3;\n    pmevent.mask "
      "5;\n"
      "    st.global.b32 [mine], tid;";
  const auto out = run_body(b);
  for (uint32_t i = 0; i < out.size(); ++i) EXPECT_EQ(out[i], i);
}
void traps() {
  Body b;
  b.text = "    setp.eq.u32 p0, tid, 17;\n    @p0 trap;";
  expect_fault(b, "trap");
  b.text = "    brkpt;";
  expect_fault(b, "brkpt");
}

const WrittenCases cases({
    {"parallel", "bar_sync", {Id::bar_sync}, bar_sync},
    {"parallel", "bar_sync_misuse", {Id::bar_sync}, bar_sync_misuse},
    {"parallel", "bar_arrive", {Id::bar_arrive}, bar_arrive},
    {"parallel", "bar_red", {Id::bar_red_popc, Id::bar_red_pred}, bar_red},
    {"parallel", "barrier_cluster", {Id::barrier_cluster_arrive, Id::barrier_cluster_wait}, barrier_cluster},
    {"parallel",
     "fences",
     {Id::membar, Id::fence, Id::fence_restrict, Id::fence_mbarrier_init, Id::fence_proxy_alias,
      Id::fence_proxy_async, Id::fence_proxy_async_generic, Id::fence_proxy_tensormap_release,
      Id::fence_proxy_tensormap_acquire},
     fences},
    {"parallel", "shfl_sync", {Id::shfl_sync}, shfl},
    {"parallel", "shfl_sync_apart", {Id::shfl_sync, Id::bar_warp_sync}, shfl_apart},
    {"parallel", "vote_sync", {Id::vote_sync_pred, Id::vote_sync_ballot}, vote},
    {"parallel", "match_sync", {Id::match_any_sync, Id::match_all_sync}, match},
    {"parallel", "redux_sync", {Id::redux_sync}, redux},
    {"parallel", "elect_sync_activemask", {Id::elect_sync, Id::activemask}, elect_and_active},
    {"parallel", "bar_warp_sync", {Id::bar_warp_sync}, warp_sync},
    {"parallel",
     "griddepcontrol",
     {Id::griddepcontrol_launch_dependents, Id::griddepcontrol_wait},
     grid_dependency},
    {"parallel", "atom", {Id::atom}, [] { atomics(Id::atom); }},
    {"parallel", "atom_cas", {Id::atom_cas}, [] { atomics(Id::atom_cas); }},
    {"parallel", "atom_vector", {Id::atom_vector}, [] { atomics(Id::atom_vector); }},
    {"parallel", "red", {Id::red}, [] { atomics(Id::red); }},
    {"parallel", "red_vector", {Id::red_vector}, [] { atomics(Id::red_vector); }},
    {"parallel",
     "atom_contended",
     {Id::atom},
     [] { contended("atom.global.add.u32 r1, [out], r0;", false); }},
    {"parallel",
     "red_contended",
     {Id::red},
     [] { contended("red.relaxed.gpu.global.add.u32 [out], r0;", false); }},
    {"misc", "setmaxnreg", {Id::setmaxnreg}, setmaxnreg},
    {"misc", "nanosleep_pmevent", {Id::nanosleep, Id::pmevent}, misc},
    {"misc", "trap_brkpt", {Id::trap, Id::brkpt}, traps},
});

}  // namespace
}  // namespace ptxops::conformance
