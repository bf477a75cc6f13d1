// Control flow (PTX ISA 9.7.12) and mov (9.7.9.4).
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/conformance/body.h"
#include "tests/conformance/cases.h"
#include "tests/conformance/values.h"

namespace ptxops::conformance {
namespace {

using isa::Id;

void expect_words(const Body& b, const std::function<uint32_t(uint32_t)>& expected) {
  const auto out = run_body(b);
  for (uint32_t i = 0; i < out.size(); ++i) EXPECT_EQ(out[i], expected(i)) << "word " << i << "\n" << b.text;
}

void branches() {
  for (const char* bra : {"bra", "bra.uni"}) {  // .uni on the branches that all lanes take
    Body b;
    b.text = fmt::format(
        "    mov.u32 r0, 0;\n    mov.u32 r1, 0;\nLOOP:\n    add.u32 r0, r0, 3;\n    add.u32 r1, r1, 1;\n"
        "    setp.le.u32 p0, r1, lane;\n    @p0 bra LOOP;\n    setp.lt.u32 p1, lane, 20;\n"
        "    @!p1 bra HIGH;\n    add.u32 r0, r0, 1000;\nHIGH:\n    {} END;\n    mov.u32 r0, 7;\nEND:\n"
        "    st.global.b32 [mine], r0;",
        bra);
    expect_words(b, [](uint32_t i) { return 3 * (i + 1) + (i < 20 ? 1000 : 0); });
  }
}

void branch_table() {
  for (const char* brx : {"brx.idx", "brx.idx.uni"}) {
    const bool uniform = std::string(brx).ends_with("uni");
    Body b;
    b.text = fmt::format(
        "    and.b32 r0, {}, 3;\nts: .branchtargets A, B, C, A;\n    {} r0, ts;\nA:\n    mov.u32 r1, 10;\n"
        "    bra E;\nB:\n    mov.u32 r1, 20;\n    bra E;\nC:\n    mov.u32 r1, 30;\nE:\n    add.u32 r1, r1, "
        "lane;\n"
        "    st.global.b32 [mine], r1;",
        uniform ? "2" : "lane", brx);
    const uint32_t values[] = {10, 20, 30, 10};
    expect_words(b, [&](uint32_t i) { return values[uniform ? 2 : i & 3] + i; });
  }
}

void calls() {
  for (const char* uni : {"", ".uni"}) {
    Body b;
    b.module = R"(
.func (.reg .b32 r) square_plus(.reg .b32 x, .reg .b32 y)
{
    mad.lo.u32 r, x, x, y;
    ret.uni;
}
.func (.param .b32 r) weight(.param .align 8 .b8 pair[8])
{
    .reg .b32 a, b;
    .reg .pred p;
    ld.param.b32 a, [pair];
    ld.param.b32 b, [pair+4];
    setp.gt.u32 p, a, 9;
    st.param.b32 [r], 5;
    @p ret;
    add.u32 a, a, b;
    st.param.b32 [r], a;
    ret;
}
)";
    b.text = fmt::format(R"(    call{0} (r1), square_plus, (lane, 7);
    {{
    .param .align 8 .b8 arg[8];
    .param .b32 result;
    st.param.b32 [arg], lane;
    st.param.b32 [arg+4], 100;
    call{0} (result), weight, (arg);
    ld.param.b32 r2, [result];
    }}
    mov.u64 d3, square_plus;
proto: .callprototype (.reg .b32 _) _ (.reg .b32 _, .reg .b32 _);
    call{0} (r3), d3, (r2, r1), proto;
    st.global.b32 [mine], r3;)",
                         uni);
    expect_words(b, [](uint32_t i) {
      const uint32_t w = i > 9 ? 5 : i + 100;
      return w * w + i * i + 7;
    });
  }
}

void returns() {
  Body b;
  b.text =
      "    setp.lt.u32 p0, lane, 4;\n    @p0 exit;\n    setp.lt.u32 p0, lane, 8;\n    @p0 ret;\n"
      "    st.global.b32 [mine], lane;\n    ret.uni;";
  expect_words(b, [](uint32_t i) { return i < 8 ? kPoisonWord : i; });
}

// Every type, packing and unpacking of vectors, addresses of variables, special registers.
void mov() {
  Body b;
  b.module = ".global .align 4 .b32 table[4] = {11, 22, 33, 44};\n";
  b.input = random_words(32, 21);
  b.text = R"(    .reg .b128 q0, q1;
    .reg .f32 f0;
    .reg .f64 g0;
    .reg .u16 u0;
    .reg .s16 s0;
    .reg .s64 l0;
    mad.wide.u32 d0, index, 4, in;
    ld.global.b32 r0, [d0];
    mov.b32 {h0, h1}, r0;
    mov.b16 h2, h1;
    mov.u16 u0, h0;
    mov.s16 s0, u0;
    mov.b32 r1, {h2, s0};
    mov.b64 d1, {r1, r0};
    mov.u64 d2, d1;
    mov.s64 l0, d2;
    mov.b64 d3, l0;
    mov.b128 q0, {d3, d0};
    mov.b128 q1, q0;
    mov.b128 {d4, d5}, q1;
    mov.b64 {r2, r3}, d4;
    mov.f32 f0, 0f3fc00000;
    mov.f64 g0, 0d4004000000000000;
    mov.b32 r4, f0;
    mov.b64 {r5, r6}, g0;
    setp.lt.u32 p0, lane, 9;
    mov.pred p1, p0;
    selp.u32 r7, 1, 0, p1;
    mov.u64 d6, table;
    ld.global.b32 r8, [d6+8];
    mov.u32 r9, %laneid;
    mad.wide.u32 d7, index, 32, out;
    st.global.v4.b32 [d7], {r2, r3, r4, r5};
    st.global.v4.b32 [d7+16], {r6, r7, r8, r9};
)";
  b.output_words = 256;
  const auto out = run_body(b);
  if (out.empty()) return;
  for (uint32_t i = 0; i < 32; ++i) {
    const uint32_t x = b.input[i];
    EXPECT_EQ(out[8 * i], x >> 16 | x << 16);
    EXPECT_EQ(out[8 * i + 1], x);
    EXPECT_EQ(out[8 * i + 2], 0x3fc00000u);
    EXPECT_EQ(out[8 * i + 3], 0u);
    EXPECT_EQ(out[8 * i + 4], 0x40040000u);
    EXPECT_EQ(out[8 * i + 5], i < 9 ? 1u : 0u);
    EXPECT_EQ(out[8 * i + 6], 33u);
    EXPECT_EQ(out[8 * i + 7], i);
  }
}

const WrittenCases cases({
    {"control", "bra", {Id::bra}, branches},
    {"control", "brx_idx", {Id::brx_idx}, branch_table},
    {"control", "call_ret", {Id::call, Id::ret}, calls},
    {"control", "ret_exit", {Id::ret, Id::exit_}, returns},
    {"convert", "mov", {Id::mov}, mov},
});

}  // namespace
}  // namespace ptxops::conformance
