// Loads, stores, atomics and addresses from PTX text.
#include <fmt/format.h>

#include <functional>

#include "tests/driver/virtual/exec/run_ptx.h"
#include "tests/support/random_seed.h"

namespace ptxops::virt::testing {
namespace {

// One lane's value of `type` loaded from its own 8 bytes of `in` and stored as 8 bytes to `out`.
std::string load_text(const std::string& load, const std::string& wide_type) {
  return ".version 8.6\n.target sm_90a\n.address_size 64\n" + fmt::format(R"(
.visible .entry k(.param .u64 in, .param .u64 out)
{{
.reg .b32 %me;
.reg .b64 %in, %out, %x, %g;
.reg .{} %v;
ld.param.u64 %in, [in];
ld.param.u64 %out, [out];
mov.u32 %me, %tid.x;
mul.wide.u32 %x, %me, 8;
add.u64 %in, %in, %x;
add.u64 %out, %out, %x;
{} %v, [%in];
st.global.{} [%out], %v;
ret;
}}
)",
                                                                          wide_type, load, wide_type);
}

TEST(Load, ExtendsByTheTypesSignedness) {
  Buffer in(64), out(64);
  auto rng = test::random_engine(71);
  for (size_t i = 0; i < in.words; ++i) in.data()[i] = static_cast<uint32_t>(rng());
  const auto* bytes = reinterpret_cast<const uint8_t*>(in.data());
  const auto check = [&](const std::string& type, auto narrow, const std::string& wide) {
    for (const char* space : {".global", ""}) {
      const auto r =
          run(load_text("ld" + std::string(space) + "." + type, wide), {in.address(), out.address()});
      ASSERT_EQ(r.fault.text, "") << type;
      for (uint32_t i = 0; i < 32; ++i) {
        decltype(narrow) v;
        std::memcpy(&v, bytes + 8 * i, sizeof v);
        int64_t got;
        std::memcpy(&got, out.data() + 2 * i, 8);
        ASSERT_EQ(got, static_cast<int64_t>(v)) << type << " lane " << i;
      }
    }
  };
  check("s8", int8_t{}, "s64");
  check("u8", uint8_t{}, "u64");
  check("s16", int16_t{}, "s64");
  check("u16", uint16_t{}, "u64");
  check("s32", int32_t{}, "s64");
  check("u32", uint32_t{}, "u64");
}

std::string body_text(const std::string& body) {
  return ".version 8.6\n.target sm_90a\n.address_size 64\n" + (R"(
.visible .entry k(.param .u64 p0, .param .u64 p1)
{
.reg .pred %p;
.reg .b32 %me, %i<8>, %rank;
.reg .b64 %in, %out, %x, %y, %l<4>;
.reg .f32 %f<4>;
.reg .b16 %h<4>;
.shared .align 128 .b8 buffer[1024];
.local .align 16 .b8 mine[64];
ld.param.u64 %in, [p0];
ld.param.u64 %out, [p1];
mov.u32 %me, %tid.x;
mov.u32 %rank, %cluster_ctarank;
)" + body) +
         "\nret;\n}\n";
}

TEST(Memory, VectorsThroughEverySpace) {
  Buffer in(128), out(128);
  auto rng = test::random_engine(72);
  for (size_t i = 0; i < in.words; ++i) in.data()[i] = static_cast<uint32_t>(rng());
  const auto r = run(body_text(R"(
mul.wide.u32 %x, %me, 16;
add.u64 %in, %in, %x;
add.u64 %out, %out, %x;
ld.global.nc.v4.u32 {%i0, %i1, %i2, %i3}, [%in];
mov.u32 %i4, buffer;
mad.lo.u32 %i4, %me, 16, %i4;
st.shared.v4.u32 [%i4], {%i0, %i1, %i2, %i3};
cvt.u64.u32 %y, %i4;
cvta.shared.u64 %y, %y;
ld.v2.u64 {%l0, %l1}, [%y];
st.local.v2.u64 [mine+16], {%l1, %l0};
mov.u64 %y, mine;
cvta.local.u64 %y, %y;
ld.v4.b32 {%i0, %i1, %i2, %i3}, [%y+16];
st.global.relaxed.gpu.v2.b32 [%out], {%i2, %i3};
st.global.v2.b32 [%out+8], {%i0, %i1};
)"),
                     {in.address(), out.address()});
  ASSERT_EQ(r.fault.text, "");
  for (uint32_t i = 0; i < 128; ++i) ASSERT_EQ(out[i], in[i]) << i;
}

TEST(Memory, DivergentLanesKeepTheirRegisters) {
  Buffer in(32), out(32);
  for (uint32_t i = 0; i < 32; ++i) in.data()[i] = 100 + i;
  const auto r = run(body_text(R"(
mul.wide.u32 %x, %me, 4;
add.u64 %in, %in, %x;
add.u64 %out, %out, %x;
mov.u32 %i0, %me;
and.b32 %i1, %me, 4;
setp.ne.u32 %p, %i1, 0;
@%p ld.global.u32 %i0, [%in];
st.global.u32 [%out], %i0;
)"),
                     {in.address(), out.address()});
  ASSERT_EQ(r.fault.text, "");
  for (uint32_t i = 0; i < 32; ++i) EXPECT_EQ(out[i], i & 4 ? 100 + i : i);
}

TEST(Memory, DistributedSharedMemory) {
  Buffer out(128);
  const auto r = run(body_text(R"(
mov.u32 %i0, buffer;
mad.lo.u32 %i1, %me, 4, %i0;
mad.lo.u32 %i2, %rank, 1000, %me;
st.shared.u32 [%i1], %i2;
barrier.cluster.arrive;
barrier.cluster.wait;
add.u32 %i3, %rank, 1;
rem.u32 %i3, %i3, 4;
mapa.shared::cluster.u32 %i4, %i1, %i3;
ld.shared::cluster.u32 %i5, [%i4];
cvt.u64.u32 %y, %i1;
cvta.shared.u64 %y, %y;
mapa.u64 %y, %y, %i3;
ld.u32 %i6, [%y];
getctarank.u64 %i7, %y;
mad.lo.u32 %i6, %i7, 100000, %i6;
add.u32 %i5, %i5, %i6;
mad.lo.u32 %i4, %rank, 32, %me;
mul.wide.u32 %x, %i4, 4;
add.u64 %out, %out, %x;
st.global.u32 [%out], %i5;
barrier.cluster.arrive;
barrier.cluster.wait;
)"),
                     {0, out.address()}, {.grid = {4, 1, 1}, .cluster = {4, 1, 1}});
  ASSERT_EQ(r.fault.text, "");
  for (uint32_t rank = 0; rank < 4; ++rank)
    for (uint32_t i = 0; i < 32; ++i) {
      const uint32_t next = (rank + 1) % 4;
      ASSERT_EQ(out[rank * 32 + i], 2 * (next * 1000 + i) + 100000 * next);
    }
}

struct Atomic {
  const char* op;
  std::function<uint32_t(uint32_t, uint32_t)> next;
};

TEST(Atomics, FollowTheSequentialModel) {
  auto rng = test::random_engine(73);
  const auto s = [](uint32_t x) { return static_cast<int32_t>(x); };
  const Atomic ops[] = {
      {"add.u32", [](uint32_t a, uint32_t b) { return a + b; }},
      {"min.s32", [&](uint32_t a, uint32_t b) { return s(a) < s(b) ? a : b; }},
      {"max.u32", [](uint32_t a, uint32_t b) { return a > b ? a : b; }},
      {"inc.u32", [](uint32_t a, uint32_t b) { return a >= b ? 0 : a + 1; }},
      {"dec.u32", [](uint32_t a, uint32_t b) { return a == 0 || a > b ? b : a - 1; }},
      {"and.b32", [](uint32_t a, uint32_t b) { return a & b; }},
      {"or.b32", [](uint32_t a, uint32_t b) { return a | b; }},
      {"xor.b32", [](uint32_t a, uint32_t b) { return a ^ b; }},
      {"exch.b32", [](uint32_t, uint32_t b) { return b; }},
  };
  for (const char* space : {"global", "shared"})
    for (const Atomic& op : ops) {
      Buffer in(32), out(33);
      for (size_t i = 0; i < 32; ++i) in.data()[i] = static_cast<uint32_t>(rng());
      const bool shared = std::string(space) == "shared";
      const std::string cell = shared ? "[buffer]" : "[%out+128]";
      const auto r = run(body_text(fmt::format(R"(
mul.wide.u32 %x, %me, 4;
add.u64 %in, %in, %x;
add.u64 %y, %out, %x;
ld.global.u32 %i0, [%in];
mov.u32 %i2, 12345;
st.{0}.u32 {1}, %i2;
atom.{0}.{2} %i1, {1}, %i0;
st.global.u32 [%y], %i1;
ld.{0}.u32 %i1, {1};
st.global.u32 [%out+128], %i1;
)",
                                               space, cell, op.op)),
                         {in.address(), out.address()});
      ASSERT_EQ(r.fault.text, "") << op.op;
      uint32_t value = 12345;
      for (uint32_t i = 0; i < 32; ++i) {
        ASSERT_EQ(out[i], value) << space << " " << op.op << " lane " << i;
        value = op.next(value, in[i]);
      }
      ASSERT_EQ(out[32], value) << op.op;
    }
}

TEST(Atomics, FloatHalfCasAndVectors) {
  Buffer out(64, 0);
  const auto r = run(body_text(R"(
mov.f32 %f0, 0f3FC00000;
red.global.add.f32 [%out], %f0;
mov.b32 %i0, 0x3C004000;
red.global.add.noftz.f16x2 [%out+4], %i0;
mov.b32 %i1, 0x3F804000;
red.global.add.noftz.bf16x2 [%out+8], %i1;
red.global.add.v4.f32 [%out+16], {%f0, %f0, %f0, %f0};
mov.b64 %l0, 0;
mov.b64 %l1, 77;
atom.global.cas.b64 %l2, [%out+32], %l0, %l1;
mov.b64 %l3, -1;
atom.global.add.u64 %l2, [%out+40], %l3;
)"),
                     {0, out.address()});
  ASSERT_EQ(r.fault.text, "");
  const auto f = [&](int i) {
    float x;
    std::memcpy(&x, out.data() + i, 4);
    return x;
  };
  EXPECT_EQ(f(0), 48.0f);
  EXPECT_EQ(out[1], 0x50005400u);  // f16: 32 and 64
  EXPECT_EQ(out[2], 0x42004280u);  // bf16: 32 and 64
  for (int i = 4; i < 8; ++i) EXPECT_EQ(f(i), 48.0f);
  EXPECT_EQ(out[8], 77u);
  EXPECT_EQ(out[10], 0xFFFFFFE0u);
  EXPECT_EQ(out[11], 0xFFFFFFFFu);
}

TEST(Faults, SayWhatWhereAndHow) {
  Buffer in(32), out(32);
  const auto fault = [&](const std::string& body) {
    return run(body_text(body), {in.address(), out.address()}).fault.text;
  };
  const auto has = [](const std::string& text, const char* part) {
    return text.find(part) != std::string::npos;
  };
  std::string t = fault(
      "mul.wide.u32 %x, %me, 8;\nadd.u64 %x, %in, %x;\nld.global.u32 %i0, [%x];\nst.global.u32 [%out], %i0;");
  EXPECT_TRUE(has(t, "illegal address") && has(t, "reads 4 bytes")) << t;
  t = fault("ld.global.v2.u32 {%i0, %i1}, [%in+4];\nst.global.u32 [%out], %i0;");
  EXPECT_TRUE(has(t, "misaligned") && has(t, "multiple of 8")) << t;
  t = fault("mov.b64 %x, 0;\nst.u32 [%x], %me;");
  EXPECT_TRUE(has(t, "illegal address") && has(t, "writes 4 bytes")) << t;
  t = fault("mov.u32 %i0, 1000000;\nst.shared.u32 [%i0], %me;");
  EXPECT_TRUE(has(t, "shared memory of CTA rank 0")) << t;
  t = fault("mov.u32 %i0, 0;\nld.shared.u32 %i1, [%i0];\nst.global.u32 [%out], %i1;");
  EXPECT_TRUE(has(t, "shared memory of CTA rank 0")) << t;
  t = fault("mov.u32 %i0, buffer;\nmapa.shared::cluster.u32 %i1, %i0, 3;");
  EXPECT_TRUE(has(t, "rank 3 of a cluster of 1")) << t;
  t = fault("st.local.u32 [mine+64000], %me;");
  EXPECT_TRUE(has(t, "local memory ends")) << t;
}

}  // namespace
}  // namespace ptxops::virt::testing
