// Loads, stores, addresses and cache control (PTX ISA 9.7.9).
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "tests/conformance/body.h"
#include "tests/conformance/cases.h"
#include "tests/conformance/values.h"

namespace ptxops::conformance {
namespace {

using isa::Id;
using isa::Type;

int vector_length(const Form& f) {
  return f.has("v2") ? 2 : f.has("v4") ? 4 : f.has("v8") ? 8 : 1;
}

// Combinations that the patterns admit although PTX does not.
bool is_legal_access(const Form& f) {
  const int bytes = isa::type_bits(f.type()) / 8 * vector_length(f);
  if (bytes > 16) return false;
  std::string_view space = "generic";
  for (const char* s : {"global", "shared", "shared::cta", "shared::cluster", "local", "param",
                        "param::entry", "param::func", "const"})
    if (f.has(s)) space = s;
  if (space.starts_with("param") || space == "const") return false;  // tried by cases of their own
  const bool hints = f.has("L2::cache_hint") || !f.choice("l1").empty() || !f.choice("prefetch").empty();
  const bool plain_space = space == "global" || space == "generic";
  if (hints && !plain_space) return false;
  const bool strong = f.has("relaxed") || f.has("acquire") || f.has("release");
  if ((strong || f.has("volatile")) && space == "local") return false;
  return true;
}

// A sample of a row's spellings in which every modifier and every type and length occurs.
std::vector<Form> sample(const isa::Row& row, size_t most) {
  std::vector<Form> all;
  for (Form& f : forms_of(row))
    if (is_legal_access(f)) all.push_back(std::move(f));
  Random random(seed() + row.pattern.size());
  std::shuffle(all.begin(), all.end(), random);
  std::set<std::string> seen;
  std::vector<Form> out, rest;
  for (Form& f : all) {
    bool fresh =
        seen.insert(std::string(isa::type_name(f.type())) + "v" + std::to_string(vector_length(f))).second;
    for (size_t i = 0; i < f.choices.size(); ++i)
      fresh |= seen.insert(std::to_string(i) + std::string(f.choices[i])).second;
    (fresh ? out : rest).push_back(std::move(f));
  }
  for (Form& f : rest)
    if (out.size() < most) out.push_back(std::move(f));
  return out;
}

// Copies 16 bytes of input a thread through the instruction; `through` is the other half of the way.
void access(const Form& f) {
  const bool is_store = f.row->root == "st";
  const Type t = f.type();
  const int n = vector_length(f), bytes = isa::type_bits(t) / 8;
  const bool shared = f.has("shared") || f.has("shared::cta") || f.has("shared::cluster"),
             local = f.has("local");
  const int reg_bits = std::max(16, bytes * 8);
  Body b;
  b.input = random_words(32 * 4, std::hash<std::string>{}(f.opcode));
  b.output_words = 32 * 4;
  b.module = ".shared .align 16 .b8 box[512];\n";
  std::string text = "    .local .align 16 .b8 own[16];\n";
  std::string names, plain;
  for (int i = 0; i < n; ++i) {
    text += fmt::format("    .reg .b{} v{};\n", reg_bits, i);
    names += fmt::format("{}v{}", i ? ", " : "", i);
  }
  if (n > 1) names = "{" + names + "}";
  text +=
      "    mad.wide.u32 d0, index, 16, in;\n    mad.wide.u32 d1, index, 16, out;\n    mov.u64 d3, own;\n    "
      "mov.u32 r1, box;\n"
      "    mad.lo.u32 r1, lane, 16, r1;\n    createpolicy.fractional.L2::evict_first.b64 d6;\n";
  // The instruction's place: global memory, shared memory or the thread's local variable.
  const std::string place = shared ? "r1" : local ? "d3" : is_store ? "d1" : "d0";
  const char* space = shared ? "shared" : "local";
  const bool staged = shared || local;
  if (!is_store && staged)
    text += fmt::format(
        "    ld.global.v4.b32 {{r2, r3, r4, r5}}, [d0];\n    st.{}.v4.b32 [{}], {{r2, r3, r4, r5}};\n", space,
        place);
  const std::string operand = f.has("L2::cache_hint") ? ", d6" : "";
  const auto each = [&](const char* op, const std::string& from) {
    std::string s;
    for (int i = 0; i < n; ++i) {
      const std::string address = fmt::format("[{}+{}]", from, i * bytes);
      s += std::string(op) == "ld" ? fmt::format("    ld.global.b{} v{}, {};\n", bytes * 8, i, address)
                                   : fmt::format("    st.global.b{} {}, v{};\n", bytes * 8, address, i);
    }
    return s;
  };
  if (is_store) {
    text += each("ld", "d0") + "    " + f.opcode + " [" + place + "], " + names + operand + ";\n";
    if (staged)
      for (int i = 0; i < n; ++i)
        text += fmt::format("    ld.{0}.b{1} v{2}, [{3}+{4}];\n    st.global.b{1} [d1+{4}], v{2};\n", space,
                            bytes * 8, i, place, i * bytes);
  } else {
    text += "    " + f.opcode + " " + names + ", [" + place + "]" + operand + ";\n" + each("st", "d1");
  }
  b.text = text;
  const auto out = run_body(b);
  if (out.empty()) return;
  const auto* got = reinterpret_cast<const uint8_t*>(out.data());
  const auto* expected = reinterpret_cast<const uint8_t*>(b.input.data());
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 16; ++i)
      ASSERT_EQ(got[lane * 16 + i], i < n * bytes ? expected[lane * 16 + i] : kPoison)
          << f.opcode << " lane " << lane << " byte " << i;
}
void accesses(Id id, size_t most) {
  for (const isa::Row& row : isa::rows())
    if (row.id == id)
      for (const Form& f : sample(row, most)) {
        access(f);
        if (::testing::Test::HasFailure()) return;
      }
}

// Narrow loads extend by the type's signedness, narrow stores drop the upper bits.
void widths() {
  for (const char* type : {"u8", "s8", "b8", "u16", "s16", "b16", "u32", "s32"})
    for (int reg : {32, 64}) {
      Body b;
      b.input = random_words(32, 31);
      b.output_words = 64;
      b.text = fmt::format(
          "    mad.wide.u32 d0, index, 4, in;\n    mad.wide.u32 d1, index, 8, out;\n    .reg .b{0} v;\n"
          "    ld.global.{1} v, [d0];\n    {2} d2, v;\n    st.global.b64 [d1], d2;",
          reg, type,
          reg == 64                     ? "mov.b64"
          : std::string(type)[0] == 's' ? "cvt.s64.s32"
                                        : "cvt.u64.u32");
      const auto out = run_body(b);
      if (out.empty()) return;
      const int bits = std::atoi(type + 1);
      for (int i = 0; i < 32; ++i) {
        uint64_t v = b.input[i] & ((uint64_t{1} << bits) - 1);
        if (type[0] == 's' && (v >> (bits - 1))) v |= ~uint64_t{0} << bits;
        const uint64_t got = out[2 * i] | uint64_t{out[2 * i + 1]} << 32;
        EXPECT_EQ(got, v) << "ld." << type << " into " << reg << " bits, lane " << i;
      }
    }
}

void const_and_param() {
  Body b;
  b.module =
      ".const .align 4 .b32 table[32] = {5, 4, 3, 2, 1, 0, 9, 8};\n.global .align 8 .b32 start[2] = {123, "
      "456};\n";
  b.text =
      "    mov.u64 d2, table;\n    and.b32 r1, lane, 7;\n    mad.wide.u32 d3, r1, 4, d2;\n    ld.const.b32 "
      "r2, [d3];\n"
      "    ld.const.v2.b32 {r3, r4}, [table+8];\n    ld.param.b32 r5, [p_n];\n    ld.param::entry.u32 r6, "
      "[p_n];\n"
      "    ld.global.v2.u32 {r7, r8}, [start];\n    mad.lo.u32 r2, r2, 1000, r3;\n    mad.lo.u32 r2, r2, 10, "
      "r4;\n"
      "    add.u32 r5, r5, r6;\n    add.u32 r2, r2, r5;\n    add.u32 r2, r2, r7;\n    add.u32 r2, r2, r8;\n"
      "    st.global.b32 [mine], r2;";
  const uint32_t table[] = {5, 4, 3, 2, 1, 0, 9, 8};
  const auto out = run_body(b);
  for (uint32_t i = 0; i < out.size(); ++i)
    EXPECT_EQ(out[i], (table[i & 7] * 1000 + 3) * 10 + 2 + 64 + 579) << i;
  // Of a function's scope, as static as the module's.
  Body inner;
  inner.text =
      "    .global .align 4 .b32 inner[4] = {11, 12, 13, 14};\n    .const .align 4 .b32 fixed[2] = {7, 8};\n"
      "    and.b32 r1, lane, 3;\n    mov.u64 d1, inner;\n    mad.wide.u32 d1, r1, 4, d1;\n"
      "    ld.global.b32 r2, [d1];\n    ld.const.b32 r3, [fixed+4];\n    add.u32 r2, r2, r3;\n"
      "    st.global.b32 [mine], r2;";
  const auto found = run_body(inner);
  for (uint32_t i = 0; i < found.size(); ++i) EXPECT_EQ(found[i], 19 + i % 4) << i;
}

void hints() {
  // No architectural effect but discard, whose bytes are undefined afterwards.
  Body b;
  b.input = random_words(64, 33);
  b.text = R"(    mad.wide.u32 d0, index, 4, in;
    prefetch.global.L1 [d0];
    prefetch.global.L2 [d0];
    prefetch.L2 [d0];
    prefetch.global.L2::evict_last [d0];
    prefetch.global.L2::evict_normal [d0];
    prefetchu.L1 [d0];
    applypriority.global.L2::evict_normal [in], 128;
    applypriority.L2::evict_normal [in], 128;
    createpolicy.fractional.L2::evict_last.b64 d2, 0f3f000000;
    createpolicy.fractional.L2::evict_first.L2::evict_unchanged.b64 d3, 0f3f800000;
    createpolicy.range.global.L2::evict_last.L2::evict_unchanged.b64 d4, [in], 64, 128;
    createpolicy.cvt.L2.b64 d5, d2;
    ld.global.L2::cache_hint.b32 r1, [d0], d2;
    ld.global.L2::cache_hint.b32 r2, [d0], d3;
    ld.global.L2::cache_hint.b32 r3, [d0], d4;
    ld.global.L2::cache_hint.b32 r4, [d0], d5;
    add.u32 r1, r1, r2;
    add.u32 r3, r3, r4;
    add.u32 r1, r1, r3;
    st.global.b32 [mine], r1;
    setp.eq.u32 p0, lane, 0;
    @p0 discard.global.L2 [out+128], 128;)";
  b.output_words = 64;
  const auto out = run_body(b);
  for (uint32_t i = 0; i < 32 && i < out.size(); ++i) EXPECT_EQ(out[i], 4 * b.input[i]) << i;
}

void address_spaces() {
  Body b;
  b.module =
      ".shared .align 4 .b32 box[32];\n.const .align 4 .b32 table[4] = {1, 2, 3, 4};\n.global .align 4 .b32 "
      "word;\n";
  std::string text =
      "    .local .align 4 .b32 own[4];\n    .reg .b64 a<8>;\n    cvta.shared.u64 a0, box;\n"
      "    mov.u64 d1, own;\n    cvta.local.u64 a1, d1;\n    cvta.global.u64 a2, word;\n    cvta.const.u64 "
      "a3, table;\n"
      "    mov.u32 r31, 0;\n";
  // Bit 4 * k + s of the result: does address k lie in space s?
  const char* spaces[] = {"shared", "local", "global", "const"};
  for (int k = 0; k < 4; ++k)
    for (int s = 0; s < 4; ++s)
      text += fmt::format("    isspacep.{} p0, a{};\n    @p0 or.b32 r31, r31, {};\n", spaces[s], k,
                          1 << (4 * k + s));
  text +=
      "    isspacep.shared::cta p0, a0;\n    @p0 or.b32 r31, r31, 0x10000;\n"
      "    isspacep.shared::cluster p0, a0;\n    @p0 or.b32 r31, r31, 0x20000;\n"
      // Through the generic address and back.
      "    st.b32 [a0], lane;\n    cvta.to.shared.u64 a4, a0;\n    ld.shared.b32 r1, [box];\n    "
      "bar.warp.sync 0xffffffff;\n"
      "    mad.wide.u32 a0, lane, 4, a0;\n    mul.lo.u32 r2, lane, 3;\n    st.b32 [a0], r2;\n    mov.u32 r3, "
      "box;\n"
      "    mad.lo.u32 r3, lane, 4, r3;\n    ld.shared.b32 r4, [r3];\n    mov.u64 a6, box;\n    setp.eq.u64 "
      "p0, a4, a6;\n"
      "    @p0 or.b32 r31, r31, 0x40000;\n    cvta.to.local.u64 a5, a1;\n    setp.eq.u64 p0, a5, d1;\n"
      "    @p0 or.b32 r31, r31, 0x80000;\n    st.b32 [a1+4], r2;\n    ld.local.b32 r5, [d1+4];\n    "
      "cvta.to.global.u64 a7, a2;\n"
      "    cvta.to.const.u64 a3, a3;\n    ld.const.b32 r6, [a3+8];\n    add.u32 r4, r4, r5;\n    add.u32 r4, "
      "r4, r6;\n"
      "    mad.wide.u32 d2, index, 8, out;\n    st.global.v2.b32 [d2], {r31, r4};";
  b.text = text;
  b.output_words = 64;
  const auto out = run_body(b);
  if (out.empty()) return;
  for (uint32_t i = 0; i < 32; ++i) {
    // A constant's address lies in const; whether generic constants also count as global is open on this
    // device.
    EXPECT_EQ(out[2 * i] & 0xf0fff & 0xfffff, (0xf0000u | 1 | 2 << 4 | 4 << 8) & 0xf0fffu) << i;
    EXPECT_EQ(out[2 * i] >> 12 & 8, 8u) << i;
    EXPECT_EQ(out[2 * i + 1], 6 * i + 3) << i;
  }
}

void cluster_addresses() {
  Body b;
  b.module = ".shared .align 4 .b32 box[32];\n";
  b.text = R"(    mov.u32 r1, box;
    mad.lo.u32 r2, lane, 4, r1;
    mad.lo.u32 r3, rank, 100, lane;
    st.shared.b32 [r2], r3;
    barrier.cluster.arrive;
    barrier.cluster.wait;
    add.u32 r4, rank, 1;
    and.b32 r4, r4, 3;
    mapa.shared::cluster.u32 r5, r2, r4;
    ld.shared::cluster.b32 r6, [r5];
    getctarank.shared::cluster.u32 r7, r5;
    cvta.shared.u64 d2, box;
    mapa.u64 d3, d2, r4;
    mad.wide.u32 d3, lane, 4, d3;
    ld.b32 r8, [d3];
    getctarank.u64 r9, d3;
    mapa.shared::cluster.u32 r10, box, r4;
    getctarank.shared::cluster.u32 r11, box;
    mad.lo.u32 r10, lane, 4, r10;
    ld.shared::cluster.b32 r10, [r10];
    mad.wide.u32 d4, index, 32, out;
    st.global.v4.b32 [d4], {r6, r7, r8, r9};
    st.global.v2.b32 [d4+16], {r10, r11};
    barrier.cluster.arrive;
    barrier.cluster.wait;)";
  b.shape.grid = 4;
  b.shape.cluster = 4;
  b.output_words = 4 * 32 * 8;
  const auto out = run_body(b);
  if (out.empty()) return;
  for (uint32_t i = 0; i < 128; ++i) {
    const uint32_t next = (i / 32 + 1) & 3, lane = i % 32;
    EXPECT_EQ(out[8 * i], next * 100 + lane) << i;
    EXPECT_EQ(out[8 * i + 1], next) << i;
    EXPECT_EQ(out[8 * i + 2], next * 100 + lane) << i;
    EXPECT_EQ(out[8 * i + 3], next) << i;
    EXPECT_EQ(out[8 * i + 4], next * 100 + lane) << i;
    EXPECT_EQ(out[8 * i + 5], i / 32) << i;
  }
}

void access_faults() {
  Body b;
  // Far from what other cases have allocated and freed.
  b.text = "    mov.u64 d0, 0x10000000000;\n    add.u64 d0, d0, out;\n    st.global.b32 [d0], lane;";
  expect_fault(b, "illegal address");
  b.text = "    st.global.b32 [mine+2], lane;";
  expect_fault(b, "misaligned");
  b.text = "    mov.u32 r0, 300000;\n    ld.shared.b32 r1, [r0];\n    st.global.b32 [mine], r1;";
  expect_fault(b, "illegal address");
  b.text = "    mov.u64 d0, 64;\n    ld.b32 r1, [d0];\n    st.global.b32 [mine], r1;";
  expect_fault(b, "illegal address");
}

const WrittenCases cases({
    {"memory", "ld", {Id::ld}, [] { accesses(Id::ld, 60); }},
    {"memory", "ld_nc", {Id::ld_nc}, [] { accesses(Id::ld_nc, 40); }},
    {"memory", "ldu", {Id::ldu}, [] { accesses(Id::ldu, 40); }},
    {"memory", "st", {Id::st}, [] { accesses(Id::st, 60); }},
    {"memory", "ld_widths", {Id::ld}, widths},
    {"memory", "ld_const_param", {Id::ld}, const_and_param},
    {"memory",
     "cache_hints",
     {Id::prefetch, Id::prefetchu, Id::applypriority, Id::discard, Id::createpolicy_fractional,
      Id::createpolicy_range, Id::createpolicy_cvt},
     hints},
    {"memory", "isspacep_cvta", {Id::isspacep, Id::cvta, Id::cvta_to}, address_spaces},
    {"memory", "mapa_getctarank", {Id::mapa, Id::getctarank}, cluster_addresses},
    {"memory", "access_faults", {Id::ld, Id::st}, access_faults},
});

}  // namespace
}  // namespace ptxops::conformance
