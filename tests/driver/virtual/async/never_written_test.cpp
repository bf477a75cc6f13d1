// PTXOPS_CHECK=full: loads of bytes that nobody has written.
#include "tests/driver/virtual/exec/run_ptx.h"

namespace ptxops::virt::testing {
namespace {

std::string text(const std::string& body) {
  return header() + R"(
.visible .entry k(.param .u64 p0, .param .u64 p1)
{
.reg .b32 %me, %i0, %i1;
.reg .b64 %in, %out, %x;
.shared .align 16 .b8 buffer[256];
ld.param.u64 %in, [p0];
ld.param.u64 %out, [p1];
mov.u32 %me, %tid.x;
mul.wide.u32 %x, %me, 4;
)" + body +
         "\nret;\n}\n";
}

TEST(NeverWritten, GlobalLoadMayBeCopiedNotUsedUntilStored) {
  Buffer out(32);
  const Allocation* fresh = memory().allocate(0, 128);
  const std::string head = "add.u64 %in, %in, %x;\nadd.u64 %out, %out, %x;\nld.global.u32 %i0, [%in];\n";
  const std::string load = head + "st.global.u32 [%out], %i0;";
  auto r = run(text(load), {fresh->base, out.address()});
  EXPECT_EQ(r.fault.text, "") << "a copy is no use";
  r = run(text(head + "add.u32 %i0, %i0, 1;\nst.global.u32 [%out], %i0;"), {fresh->base, out.address()});
  EXPECT_EQ(r.fault.kind, FaultKind::never_written) << r.fault.text;
  r = run(text("add.u64 %in, %in, %x;\nst.global.u32 [%in], %me;"), {fresh->base, out.address()});
  EXPECT_EQ(r.fault.text, "");
  r = run(text(load), {fresh->base, out.address()});
  EXPECT_EQ(r.fault.text, "");
  for (uint32_t i = 0; i < 32; ++i) EXPECT_EQ(out[i], i);
  memory().release(fresh->base);
}

TEST(NeverWritten, SharedLoadIsAFaultWhenUsedUntilStored) {
  Buffer out(32);
  const std::string address = "mov.u32 %i1, buffer;\nmad.lo.u32 %i1, %me, 4, %i1;\n";
  const std::string store = "st.shared.u16 [%i1], %i1;\n", rest = "st.shared.u16 [%i1+2], %i1;\n";
  const std::string load = "ld.shared.u32 %i0, [%i1];\nadd.u32 %i0, %i0, 1;\nst.global.u32 [%out], %i0;";
  EXPECT_EQ(run(text(address + store + load), {0, out.address()}).fault.kind, FaultKind::never_written);
  EXPECT_EQ(run(text(address + store + rest + load), {0, out.address()}).fault.text, "");
}

}  // namespace
}  // namespace ptxops::virt::testing
