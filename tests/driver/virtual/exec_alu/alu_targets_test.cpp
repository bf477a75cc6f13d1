// The handlers compiled for each SIMD target of this machine give the same bits.
#include <hwy/targets.h>

#include "tests/driver/virtual/exec/run_ptx.h"
#include "tests/support/random_seed.h"

namespace ptxops::virt::testing {
namespace {

constexpr size_t kSources = 3;

// Instructions over %a, %b, %c (random bits; %x, %y 64 bits of them) into %r or %q.
const char* const kInstructions[] = {
    "add.s32 %r, %a, %b;",
    "sub.s32 %r, %a, %b;",
    "mad.lo.s32 %r, %a, %b, %c;",
    "mul.hi.s32 %r, %a, %b;",
    "mul.wide.s32 %q, %a, %b;",
    "mad.wide.u32 %q, %a, %b, %x;",
    "min.s32 %r, %a, %b;",
    "max.u32 %r, %a, %b;",
    "div.s32 %r, %a, %b;",
    "rem.u32 %r, %a, %c;",
    "and.b32 %r, %a, %b;",
    "lop3.b32 %r, %a, %b, %c, 0x6b;",
    "shl.b32 %r, %a, %c;",
    "shr.s32 %r, %a, %c;",
    "shf.r.wrap.b32 %r, %a, %b, %c;",
    "prmt.b32 %r, %a, %b, %c;",
    "bfe.s32 %r, %a, %b, %c;",
    "popc.b32 %r, %a;",
    "clz.b32 %r, %a;",
    "dp4a.s32.u32 %r, %a, %b, %c;",
    "add.s64 %q, %x, %y;",
    "mul.lo.u64 %q, %x, %y;",
    "shr.u64 %q, %x, %c;",
    "add.f32 %r, %a, %b;",
    "mul.ftz.f32 %r, %a, %b;",
    "fma.rn.f32 %r, %a, %b, %c;",
    "fma.rz.f32 %r, %a, %b, %c;",
    "min.f32 %r, %a, %b;",
    "max.ftz.f32 %r, %a, %b;",
    "div.rn.f32 %r, %a, %b;",
    "sqrt.rn.f32 %r, %a;",
    "fma.rn.f64 %q, %x, %y, %x;",
    "add.f16x2 %r, %a, %b;",
    "fma.rn.bf16x2 %r, %a, %b, %c;",
    "fma.rn.f16x2 %r, %a, %b, %c;",
    "ex2.approx.ftz.f32 %r, %a;",
    "lg2.approx.f32 %r, %a;",
    "rcp.approx.f32 %r, %a;",
    "rsqrt.approx.f32 %r, %a;",
    "cvt.rzi.s32.f32 %r, %a;",
    "cvt.rni.u32.f32 %r, %a;",
    "cvt.rn.f32.s32 %r, %a;",
    "cvt.rn.f32.u32 %r, %a;",
    "cvt.rm.f32.u64 %r, %x;",
    "cvt.rn.f64.s64 %q, %x;",
    "cvt.rn.bf16x2.f32 %r, %a, %b;",
    "cvt.rn.f16x2.f32 %r, %a, %b;",
    "cvt.rn.satfinite.e4m3x2.f32 %h, %a, %b; cvt.u32.u16 %r, %h;",
    "cvt.rn.satfinite.e5m2x2.f32 %h, %a, %b; cvt.u32.u16 %r, %h;",
    "cvt.rna.tf32.f32 %r, %a;",
    "setp.lt.s32 %p, %a, %b; selp.b32 %r, %a, %b, %p;",
    "setp.geu.f32 %p, %a, %b; selp.b32 %r, %a, %b, %p;",
    "setp.gt.u64 %p, %x, %y; selp.b64 %q, %x, %y, %p;",
    "mov.b64 {%r, %u}, %x;",
    "mov.b64 %q, {%a, %b};",
};
constexpr size_t kCount = std::size(kInstructions);

std::string program() {
  std::string body =
      ".reg .b32 %t, %a, %b, %c, %r, %u; .reg .b64 %x, %y, %q, %i, %o; .reg .b16 %h; .reg .pred %p, %g;\n"
      "mov.u32 %t, %tid.x; mul.wide.u32 %i, %t, 12; add.u64 %i, %i, %out;\n"
      "ld.global.u32 %a, [%i]; ld.global.u32 %b, [%i+4]; ld.global.u32 %c, [%i+8];\n"
      "mov.b64 %x, {%a, %b}; mov.b64 %y, {%b, %c};\n"
      // A guard that leaves some lanes of a full warp out.
      "and.b32 %u, %c, 3; setp.ne.u32 %g, %u, 0;\n";
  for (size_t k = 0; k < kCount; ++k) {
    for (const bool guarded : {false, true}) {
      std::string code = kInstructions[k];
      if (guarded) {
        for (size_t at = 0; at != std::string::npos; at = code.find("; ", at + 1))
          code.insert(at ? at + 2 : 0, "@%g ");
      }
      const size_t slot = 2 * k + guarded;
      body += "mov.b32 %r, 0x1234567; mov.b64 %q, 0x89abcdef01234567;\n" + code + "\n";
      body += "cvt.u64.u32 %o, %r; xor.b64 %o, %o, %q; mul.wide.u32 %i, %t, 8; add.u64 %i, %i, %out;\n";
      body += "st.global.u64 [%i+" + std::to_string(32 * kSources * 4 + slot * 32 * 8) + "], %o;\n";
    }
  }
  return kernel(body);
}

TEST(AluTargets, GiveTheSameBits) {
  auto random = test::random_engine(7);
  constexpr uint32_t kSpecial[] = {0,          0x80000000, 1,          0x3f800000, 0x7f800000,
                                   0xff800000, 0x7fc00000, 0x00400000, ~0u};
  const std::string ptx = program();
  for (int round = 0; round < 20; ++round) {
    uint32_t input[32 * kSources];
    for (uint32_t& v : input)
      v = random() % 6 == 0 ? kSpecial[random() % std::size(kSpecial)] : static_cast<uint32_t>(random());
    std::vector<uint32_t> first;
    for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
      hwy::SetSupportedTargetsForTest(target);
      Buffer data(32 * kSources + 2 * kCount * 64);
      std::copy(std::begin(input), std::end(input), data.data());
      const auto r = run(ptx, {data.address()});
      hwy::SetSupportedTargetsForTest(0);
      ASSERT_EQ(r.fault.kind, FaultKind::none) << r.fault.text;
      const std::vector<uint32_t> got(data.data(), data.data() + data.words);
      if (first.empty()) first = got;
      for (size_t i = 32 * kSources; i < got.size(); ++i) {
        const size_t slot = (i - 32 * kSources) / 64;
        ASSERT_EQ(got[i], first[i]) << kInstructions[slot / 2] << " on " << hwy::TargetName(target)
                                    << " lane " << (i - 32 * kSources) % 64 / 2
                                    << (slot % 2 ? " guarded" : "");
      }
    }
  }
}

}  // namespace
}  // namespace ptxops::virt::testing
