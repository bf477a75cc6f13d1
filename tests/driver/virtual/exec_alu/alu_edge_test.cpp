// Corners of the ALU whose answers are written in the PTX ISA or follow from IEEE 754, one literal a line.
#include "tests/driver/virtual/exec/run_ptx.h"

namespace ptxops::virt::testing {
namespace {

struct Edge {
  const char* code;  // leaves its result in %r0 (32 bits) or, if `wide`, in %d0
  uint64_t expected;
  bool wide = false;
};

// All edges in one kernel: result i goes to out[2i], out[2i+1].
void check(const std::vector<Edge>& edges) {
  std::string body =
      ".reg .b32 %r<8>; .reg .b64 %d<8>; .reg .f32 %f<4>; .reg .f64 %g<4>; .reg .b16 %h<8>; .reg .pred "
      "%p<8>;\n"
      ".reg .b32 %t; mov.u32 %t, %tid.x;\n";
  for (size_t i = 0; i < edges.size(); ++i) {
    const std::string at = "[%out+" + std::to_string(8 * i) + "]";
    body +=
        "mov.b32 %r0, 0x5a5a5a5a; mov.b64 %d0, 0x5a5a5a5a5a5a5a5a;\n{ " + std::string(edges[i].code) + " }\n";
    if (!edges[i].wide) body += "cvt.u64.u32 %d0, %r0;\n";
    body += "st.global.u64 " + at + ", %d0;\n";
  }
  Buffer out(2 * edges.size());
  const auto r = run(kernel(body), {out.address()}, {{1, 1, 1}, {1, 1, 1}});
  ASSERT_EQ(r.fault.kind, FaultKind::none) << r.fault.text;
  for (size_t i = 0; i < edges.size(); ++i) {
    EXPECT_EQ(out[2 * i] | uint64_t{out[2 * i + 1]} << 32, edges[i].expected) << edges[i].code;
  }
}

TEST(AluEdge, Integers) {
  check({
      {"div.u32 %r0, 7, 0;", 0xffffffff},
      {"div.s32 %r0, 0x80000000, -1;", 0x80000000},
      {"rem.s32 %r0, 0x80000000, -1;", 0},
      {"rem.s32 %r0, -7, 3;", 0xffffffff},
      {"div.s32 %r0, -7, 3;", 0xfffffffe},
      {"div.u32 %r0, 0xffffffff, 0xfffffffe;", 1},
      {"div.u32 %r0, 4294967295, 3;", 1431655765},
      {"div.s64 %d0, 0x8000000000000000, -1;", 0x8000000000000000, true},
      {"div.u64 %d0, 1, 0;", ~uint64_t{0}, true},
      {"mul.hi.u64 %d0, 0xffffffffffffffff, 0xffffffffffffffff;", 0xfffffffffffffffe, true},
      {"mul.hi.s64 %d0, -1, 5;", ~uint64_t{0}, true},
      {"mul.wide.s32 %d0, 0x80000000, 0x80000000;", 0x4000000000000000, true},
      {"mul.wide.u32 %d0, 0xffffffff, 0xffffffff;", 0xfffffffe00000001, true},
      {"mul24.lo.s32 %r0, 0x00ffffff, 2;", 0xfffffffe},
      {"mul24.hi.u32 %r0, 0xffffff, 0xffffff;", 0xfffffe00},
      {"mad.hi.sat.s32 %r0, 0x7fffffff, 0x7fffffff, 0x7fffffff;", 0x7fffffff},
      {"add.sat.s32 %r0, 0x7fffffff, 1;", 0x7fffffff},
      {"sub.sat.s32 %r0, 0x80000000, 1;", 0x80000000},
      {"abs.s32 %r0, 0x80000000;", 0x80000000},
      {"sad.s32 %r0, -5, 7, 100;", 112},
      {"min.relu.s32 %r0, -5, 7;", 0},
      {"mov.b32 %r1, 0x8000ffff; mov.b32 %r2, 0x7fff0001; max.s16x2 %r0, %r1, %r2;", 0x7fff0001},
      {"mov.b32 %r1, 0xffff0001; mov.b32 %r2, 0x0001ffff; add.u16x2 %r0, %r1, %r2;", 0},
      {"add.cc.u32 %r1, 0xffffffff, 1; addc.u32 %r0, 0, 0;", 1},
      {"sub.cc.u32 %r1, 0, 1; subc.u32 %r0, 0, 0;", 0xffffffff},
      {"add.cc.u32 %r1, 0xffffffff, 1; addc.cc.u32 %r1, 0xffffffff, 0; addc.u32 %r0, 5, 0;", 6},
      {"mad.lo.cc.u32 %r1, 0xffffffff, 1, 1; madc.hi.u32 %r0, 0xffffffff, 0xffffffff, 0;", 0xffffffff},
  });
}

TEST(AluEdge, BitsAndShifts) {
  check({
      {"shl.b32 %r0, 1, 32;", 0},
      {"shr.u32 %r0, 0x80000000, 40;", 0},
      {"shr.s32 %r0, 0x80000000, 40;", 0xffffffff},
      {"shr.s64 %d0, 0x8000000000000000, 200;", ~uint64_t{0}, true},
      {"mov.b16 %h0, 0x8000; shr.s16 %h1, %h0, 20; cvt.u32.u16 %r0, %h1;", 0xffff},
      {"mov.b16 %h0, 0x8000; shl.b16 %h1, %h0, 1; cvt.u32.u16 %r0, %h1;", 0},
      {"shf.l.clamp.b32 %r0, 0x11111111, 0x22222222, 32;", 0x11111111},
      {"shf.l.wrap.b32 %r0, 0x11111111, 0x22222222, 32;", 0x22222222},
      {"shf.r.wrap.b32 %r0, 0xaabbccdd, 0x11223344, 8;", 0x44aabbcc},
      {"shf.r.clamp.b32 %r0, 0xaabbccdd, 0x11223344, 99;", 0x11223344},
      {"bfe.u32 %r0, 0xabcd1234, 8, 8;", 0x12},
      {"bfe.s32 %r0, 0x0000f000, 12, 4;", 0xffffffff},
      {"bfe.s32 %r0, 0x80000000, 28, 200;", 0xfffffff8},
      {"bfe.u32 %r0, 0xffffffff, 40, 4;", 0},
      {"bfe.s32 %r0, 0x80000000, 40, 4;", 0xffffffff},
      {"bfe.s32 %r0, 0xffffffff, 3, 0;", 0},
      {"bfi.b32 %r0, 0xff, 0, 28, 8;", 0xf0000000},
      {"bfi.b32 %r0, 0xff, 0x12345678, 32, 8;", 0x12345678},
      {"bfi.b32 %r0, 0xff, 0x12345678, 4, 0;", 0x12345678},
      {"bfind.u32 %r0, 0;", 0xffffffff},
      {"bfind.s32 %r0, 0xfffffff0;", 3},
      {"bfind.shiftamt.u32 %r0, 0x00010000;", 15},
      {"clz.b64 %r0, 1;", 63},
      {"popc.b64 %r0, 0xffff0000ffff0000;", 32},
      {"brev.b32 %r0, 0x00000001;", 0x80000000},
      {"fns.b32 %r0, 0x000000f0, 0, 2;", 5},
      {"fns.b32 %r0, 0x000000f0, 31, -1;", 7},
      {"fns.b32 %r0, 0x000000f0, 4, 0;", 4},
      {"fns.b32 %r0, 0x000000f0, 0, 5;", 0xffffffff},
      {"bmsk.clamp.b32 %r0, 4, 8;", 0xff0},
      {"bmsk.wrap.b32 %r0, 36, 40;", 0xff0},
      {"bmsk.clamp.b32 %r0, 4, 40;", 0xfffffff0},
      {"bmsk.clamp.b32 %r0, 40, 4;", 0},
      {"szext.clamp.s32 %r0, 0x80, 8;", 0xffffff80},
      {"szext.wrap.u32 %r0, 0xabcd, 40;", 0xcd},
      {"szext.clamp.s32 %r0, 0x12345678, 40;", 0x12345678},
      {"dp4a.s32.u32 %r0, 0xff01ff01, 0x01020304, 10;", 10 - 1 + 2 - 3 + 4},
      {"dp2a.hi.s32.s32 %r0, 0xffff0002, 0x03ff0000, 0;", uint32_t(-1 * 3 + 2 * -1)},
      {"lop3.b32 %r0, 0xf0f0f0f0, 0xcccccccc, 0xaaaaaaaa, 0x96;", 0x96969696},
      {"lop3.b32 %r0, 0xf0f0f0f0, 0xcccccccc, 0xaaaaaaaa, 0xca;", 0xcacacaca},
      {"lop3.b32 %r0, 0x000000f0, 0x000000cc, 0x000000aa, 0xe8;", 0xe8},
      {"prmt.b32 %r0, 0x33221100, 0x77665544, 0x7531;", 0x77553311},
      {"prmt.b32 %r0, 0x0000ff80, 0, 0x9998;", 0xffffffff},
      {"prmt.b32.f4e %r0, 0x33221100, 0x77665544, 1;", 0x44332211},
      {"prmt.b32.b4e %r0, 0x33221100, 0x77665544, 1;", 0x66770011},
      {"prmt.b32.rc8 %r0, 0x33221100, 0x77665544, 2;", 0x22222222},
      {"prmt.b32.ecl %r0, 0x33221100, 0x77665544, 1;", 0x33221111},
      {"prmt.b32.ecr %r0, 0x33221100, 0x77665544, 2;", 0x22221100},
      {"prmt.b32.rc16 %r0, 0x33221100, 0x77665544, 1;", 0x33223322},
      {"mov.b64 {%r1, %r0}, 0x1122334455667788;", 0x11223344},
      {"mov.b32 %r1, 0x11223344; mov.b32 {%h0, %h1}, %r1; mov.b32 %r0, {%h1, %h0};", 0x33441122},
      {"cnot.b32 %r0, 0;", 1},
      {"mov.u64 %d1, %clock64; mov.u64 %d2, %clock64; setp.gt.u64 %p0, %d2, %d1; selp.b32 %r0, 1, 0, %p0;",
       1},
  });
}

TEST(AluEdge, Floats) {
  check({
      {"add.f32 %r0, 0f7f800000, 0fff800000;", 0x7fffffff},
      {"add.sat.f32 %r0, 0f7fc00000, 0f3f800000;", 0},
      {"add.sat.f32 %r0, 0f40000000, 0f3f800000;", 0x3f800000},
      {"mul.f32 %r0, 0f00800000, 0f3f000000;", 0x00400000},
      {"mul.ftz.f32 %r0, 0f80800000, 0f3f000000;", 0x80000000},
      {"add.ftz.f32 %r0, 0f00400000, 0f00400000;", 0},
      {"add.f32 %r0, 0f00400000, 0f00400000;", 0x00800000},
      {"add.rz.f32 %r0, 0f3f800000, 0f33ffffff;", 0x3f800000},
      {"add.rp.f32 %r0, 0f3f800000, 0f00000001;", 0x3f800001},
      {"add.rm.f32 %r0, 0f3f800000, 0f80000001;", 0x3f7fffff},
      {"add.rm.f32 %r0, 0f3f800000, 0fbf800000;", 0x80000000},
      {"fma.rn.f32 %r0, 0f3f800001, 0f3f800001, 0fbf800002;", 0x28800000},
      {"div.rn.f32 %r0, 0f3f800000, 0f40400000;", 0x3eaaaaab},
      {"div.rz.f32 %r0, 0f3f800000, 0f40400000;", 0x3eaaaaaa},
      {"sqrt.rn.f32 %r0, 0fbf800000;", 0x7fffffff},
      {"min.f32 %r0, 0f7fc00000, 0f3f800000;", 0x3f800000},
      {"min.NaN.f32 %r0, 0f7fc00000, 0f3f800000;", 0x7fffffff},
      {"max.f32 %r0, 0f7fc00001, 0fffc00001;", 0x7fffffff},
      {"min.f32 %r0, 0f00000000, 0f80000000;", 0x80000000},
      {"max.f32 %r0, 0f80000000, 0f00000000;", 0},
      {"max.xorsign.abs.f32 %r0, 0fc0000000, 0f3f800000;", 0xc0000000},
      {"copysign.f32 %r0, 0f80000000, 0f3f800000;", 0xbf800000},
      {"testp.subnormal.f32 %p0, 0f00000001; selp.b32 %r0, 1, 0, %p0;", 1},
      {"testp.normal.f32 %p0, 0f7f800000; selp.b32 %r0, 1, 0, %p0;", 0},
      {"setp.lt.f32 %p0, 0f7fc00000, 0f3f800000; selp.b32 %r0, 1, 0, %p0;", 0},
      {"setp.ltu.f32 %p0, 0f7fc00000, 0f3f800000; selp.b32 %r0, 1, 0, %p0;", 1},
      {"setp.ne.f32 %p0, 0f7fc00000, 0f3f800000; selp.b32 %r0, 1, 0, %p0;", 0},
      {"setp.eq.ftz.f32 %p0, 0f00000001, 0f80000000; selp.b32 %r0, 1, 0, %p0;", 1},
      {"setp.lt.f32 %p0|%p1, 0f7fc00000, 0f3f800000; selp.b32 %r0, 1, 0, %p1;", 1},
      {"setp.eq.s32 %p2, 1, 1; setp.lt.and.s32 %p0|%p1, 3, 2, %p2; selp.b32 %r0, 1, 0, %p1;", 1},
      {"setp.eq.s32 %p2, 1, 1; setp.lt.xor.s32 %p0|%p1, 1, 2, !%p2; selp.b32 %r0, 1, 0, %p0;", 1},
      {"setp.lo.u32 %p0, 1, 0xffffffff; selp.b32 %r0, 1, 0, %p0;", 1},
      {"set.lt.u32.s32 %r0, -1, 0;", 0xffffffff},
      {"set.lt.f32.u32 %r0, 1, 2;", 0x3f800000},
      {"slct.b32.s32 %r0, 1, 2, -1;", 2},
      {"slct.b32.f32 %r0, 1, 2, 0f80000000;", 1},
      {"ex2.approx.ftz.f32 %r0, 0f40400000;", 0x41000000},
      {"ex2.approx.ftz.f32 %r0, 0fff800000;", 0},
      {"rcp.approx.ftz.f32 %r0, 0f40000000;", 0x3f000000},
      {"lg2.approx.f32 %r0, 0f41000000;", 0x40400000},
      {"rsqrt.approx.f32 %r0, 0f40800000;", 0x3f000000},
      {"mov.b32 %r1, 0x3c003c00; mov.b32 %r2, 0x12003c00; add.f16x2 %r0, %r1, %r2;", 0x3c014000},
      {"mov.b32 %r1, 0x3f803f80; fma.rn.bf16x2 %r0, %r1, %r1, %r1;", 0x40004000},
      {"mov.b32 %r1, 0xbf803f80; fma.rn.relu.bf16x2 %r0, %r1, %r1, %r1;", 0x00004000},
      {"mov.b32 %r1, 0x7e003c00; mov.b32 %r2, 0x3c00bc00; max.f16x2 %r0, %r1, %r2;", 0x3c003c00},
  });
}

TEST(AluEdge, Conversions) {
  check({
      {"cvt.rzi.s32.f32 %r0, 0f4f000000;", 0x7fffffff},
      {"cvt.rzi.s32.f32 %r0, 0fcf800000;", 0x80000000},
      {"cvt.rzi.s32.f32 %r0, 0f7fc00000;", 0},
      {"cvt.rzi.u32.f32 %r0, 0fbf800000;", 0},
      {"cvt.rzi.u32.f32 %r0, 0f4f7fffff;", 0xffffff00},
      {"cvt.rni.s32.f32 %r0, 0f40200000;", 2},
      {"cvt.rni.s32.f32 %r0, 0f40600000;", 4},
      {"cvt.rpi.s32.f32 %r0, 0f00000001;", 1},
      {"cvt.rpi.ftz.s32.f32 %r0, 0f00000001;", 0},
      {"cvt.rmi.s32.f32 %r0, 0fbf000000;", 0xffffffff},
      {"cvt.rzi.s64.f32 %d0, 0f7fc00000;", 0x8000000000000000, true},
      {"cvt.rzi.u32.f64 %r0, 0d7ff8000000000000;", 0x80000000},
      {"cvt.rzi.s8.f32 %r0, 0f43960000;", 0x7f},
      {"cvt.rzi.s8.f32 %r0, 0fc3960000;", 0xffffff80},
      {"mov.b32 %r1, 0x12345680; cvt.s32.s8 %r0, %r1;", 0xffffff80},
      {"cvt.sat.s8.s32 %r0, 300;", 127},
      {"cvt.sat.u8.s32 %r0, -3;", 0},
      {"cvt.s64.s32 %d0, -2;", 0xfffffffffffffffe, true},
      {"cvt.rn.f32.s32 %r0, 16777217;", 0x4b800000},
      {"cvt.rp.f32.s32 %r0, 16777217;", 0x4b800001},
      {"cvt.rm.f32.s32 %r0, 0;", 0},
      {"cvt.rn.f32.u64 %r0, 0xffffffffffffffff;", 0x5f800000},
      {"cvt.rz.f32.u64 %r0, 0xffffffffffffffff;", 0x5f7fffff},
      {"cvt.rn.f32.f64 %r0, 0d3ff0000010000000;", 0x3f800000},
      {"cvt.rp.f32.f64 %r0, 0d3ff0000000000001;", 0x3f800001},
      {"cvt.sat.f32.f32 %r0, 0fbf800000;", 0},
      {"cvt.rni.f32.f32 %r0, 0f3fc00000;", 0x40000000},
      {"cvt.rn.bf16x2.f32 %r0, 0f3f808000, 0f3f818000;", 0x3f803f82},
      {"cvt.rz.bf16x2.f32 %r0, 0f3f80ffff, 0fbf80ffff;", 0x3f80bf80},
      {"cvt.rn.relu.f16x2.f32 %r0, 0fbf800000, 0f7fc00000;", 0x00007fff},
      {"cvt.rn.f16x2.f32 %r0, 0f477ff000, 0f33000000;", 0x7c000000},
      {"cvt.rn.f16x2.f32 %r0, 0f477fefff, 0f33000001;", 0x7bff0001},
      {"cvt.rn.satfinite.e4m3x2.f32 %h0, 0f44000000, 0fc3e40000; cvt.u32.u16 %r0, %h0;", 0x7efe},
      {"cvt.rn.satfinite.e4m3x2.f32 %h0, 0f7fc00000, 0f3b000000; cvt.u32.u16 %r0, %h0;", 0x7f01},
      {"cvt.rn.satfinite.e5m2x2.f32 %h0, 0f7f800000, 0f3f800000; cvt.u32.u16 %r0, %h0;", 0x7b3c},
      {"mov.b16 %h0, 0x7e01; cvt.rn.f16x2.e4m3x2 %r0, %h0;", 0x5f001800},
      {"cvt.rna.tf32.f32 %r0, 0f3f801000;", 0x3f802000},
      {"cvt.pack.sat.s16.s32 %r0, 70000, -70000;", 0x7fff8000},
      {"cvt.pack.sat.u8.s32.b32 %r0, 300, -1, 0x1234;", 0x1234ff00},
  });
}

}  // namespace
}  // namespace ptxops::virt::testing
