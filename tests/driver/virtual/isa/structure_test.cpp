// The IR of valid modules.
#include <gtest/gtest.h>

#include <cstring>

#include "tests/driver/virtual/isa/parsing.h"

namespace ptxops::virt::isa::testing {
namespace {

TEST(Structure, Functions) {
  Parsed p(header() + R"(
.func (.param .b32 out) twice(.param .b32 in);
.visible .entry k(.param .u64 .ptr .global .align 16 a, .param .u32 n, .param .align 64 .b8 map[128])
.reqntid 128, 2, 1 .minnctapersm 2 .maxnreg 168 .reqnctapercluster 2, 1, 1 .explicitcluster
{
  .param .b32 x; .param .b32 y;
  .reg .b32 %r<3>;
  .pragma "nounroll";
  call.uni (y), twice, (x);
  call twice2;
  ret;
}
.func twice2 { ret; }
.func (.param .b32 out) twice(.param .b32 in) { ret; }
)");
  ASSERT_FALSE(p.ok);  // twice2 is used before it is declared
  EXPECT_EQ(p.diagnostics.size(), 1u) << p.log();

  Parsed q(header() + R"(
.func (.param .b32 out) twice(.param .b32 in);
.visible .entry k(.param .u64 .ptr .global .align 16 a, .param .u32 n, .param .align 64 .b8 map[128])
.reqntid 128, 2, 1 .minnctapersm 2 .maxnreg 168 .reqnctapercluster 2, 1, 1 .explicitcluster
{
  .param .b32 x; .param .b32 y;
  .reg .b32 %r<3>;
  .pragma "nounroll";
  call.uni (y), twice, (x);
  ret;
}
.func (.param .b32 out) twice(.param .b32 in) { ret; }
)");
  ASSERT_TRUE(q.ok) << q.log();
  ASSERT_EQ(q.module.functions.size(), 2u);
  const Function& k = *q.module.find_function("k");
  EXPECT_TRUE(k.is_entry);
  EXPECT_EQ(k.linkage, Linkage::visible);
  EXPECT_EQ(k.reqntid.x, 128u);
  EXPECT_EQ(k.reqntid.y, 2u);
  EXPECT_EQ(k.reqntid.z, 1u);
  EXPECT_FALSE(k.maxntid.present());
  EXPECT_EQ(k.minnctapersm, 2u);
  EXPECT_EQ(k.maxnreg, 168u);
  EXPECT_EQ(k.reqnctapercluster.x, 2u);
  EXPECT_TRUE(k.explicitcluster);
  ASSERT_EQ(k.params.size(), 3u);
  EXPECT_TRUE(k.params[0]->is_pointer);
  EXPECT_EQ(k.params[0]->pointee, Space::global);
  EXPECT_EQ(k.params[0]->pointee_align, 16u);
  EXPECT_EQ(k.params[1]->offset, 8u);
  EXPECT_EQ(k.params[2]->offset, 64u);
  EXPECT_EQ(k.param_bytes(), 192u);
  ASSERT_EQ(k.instructions.size(), 2u);
  const auto& call = k.instructions[0];
  ASSERT_EQ(call.operands.size(), 4u);
  EXPECT_EQ(call.operands[0].elements[0].variable->name, "y");
  EXPECT_EQ(call.operands[1].function, q.module.find_function("twice"));
  EXPECT_TRUE(call.operands[1].function->defined);
  EXPECT_EQ(call.operands[2].elements[0].variable->name, "x");
  EXPECT_EQ(call.operands[3].kind, OperandKind::none);
  EXPECT_EQ(call.line, 12u);
  EXPECT_EQ(q.module.source_line(call.line), "call.uni (y), twice, (x);");
  for (const Function& f : q.module.functions) {
    for (const Variable& v : f.variables) EXPECT_EQ(v.owner, &f);
  }
}

TEST(Structure, Variables) {
  Parsed p(header() + R"(
.global .align 8 .u16 a[2][3] = {{1, 2}, {-1}};
.const .f32 c[] = {1.5, 0f40000000, 3};
.global .u64 ptr[3] = {a, generic(c)+4, 7};
.global .u8 bytes[9] = {0xff(a), 0xff00(a), 5};
.extern .shared .align 1024 .b8 dynamic[];
.shared .v4 .f32 tile[8];
.global .attribute(.managed) .s32 m;
.global .f64 d = 0d3FF8000000000000;
)");
  ASSERT_TRUE(p.ok) << p.log();
  const Variable& a = *p.module.find_variable("a");
  EXPECT_EQ(a.size, 12u);
  EXPECT_EQ(a.align, 8u);
  uint16_t values[6] = {};
  ASSERT_EQ(a.image.size(), 8u) << "up to the last value";
  std::memcpy(values, a.image.data(), 8);
  EXPECT_EQ(values[0], 1);
  EXPECT_EQ(values[1], 2);
  EXPECT_EQ(values[2], 0);
  EXPECT_EQ(values[3], 0xffff);
  const Variable& c = *p.module.find_variable("c");
  EXPECT_EQ(c.size, 12u);
  float floats[3];
  std::memcpy(floats, c.image.data(), 12);
  EXPECT_EQ(floats[0], 1.5f);
  EXPECT_EQ(floats[1], 2.0f);
  EXPECT_EQ(floats[2], 3.0f);
  const Variable& ptr = *p.module.find_variable("ptr");
  ASSERT_EQ(ptr.relocations.size(), 2u);
  EXPECT_EQ(ptr.relocations[0].variable, &a);
  EXPECT_FALSE(ptr.relocations[0].generic);
  EXPECT_EQ(ptr.relocations[1].byte_offset, 8u);
  EXPECT_EQ(ptr.relocations[1].addend, 4);
  EXPECT_TRUE(ptr.relocations[1].generic);
  const Variable& bytes = *p.module.find_variable("bytes");
  ASSERT_EQ(bytes.relocations.size(), 2u);
  EXPECT_EQ(bytes.relocations[1].shift, 8);
  EXPECT_EQ(bytes.relocations[1].size, 1);
  EXPECT_EQ(static_cast<int>(bytes.image[2]), 5);
  const Variable& dynamic = *p.module.find_variable("dynamic");
  EXPECT_TRUE(dynamic.unsized);
  EXPECT_EQ(dynamic.align, 1024u);
  EXPECT_EQ(dynamic.size, 0u);
  const Variable& tile = *p.module.find_variable("tile");
  EXPECT_EQ(tile.size, 128u);
  EXPECT_EQ(tile.align, 16u);
  EXPECT_TRUE(p.module.find_variable("m")->managed);
  double d;
  std::memcpy(&d, p.module.find_variable("d")->image.data(), 8);
  EXPECT_EQ(d, 1.5);
}

TEST(Structure, Operands) {
  Parsed p(with_entry(
      "mov.b64 {r1, _}, d2; setp.lt.and.f32 p1|p2, f1, 0fBF800000, !p3; ld.shared.u32 r3, [sm+64];"
      "ld.global.u32 r3, [d7+-8]; add.s32 r1, r2, -5; mov.u32 r1, %ctaid.y; mov.u64 d1, gv+4;"
      "cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [d1, {r5, 3}], [r4]; mov.f64 fd1, 1.5;"));
  ASSERT_TRUE(p.ok) << p.log();
  const Function& f = p.module.functions[0];
  const auto& in = f.instructions;
  auto name = [&](const Operand& o) { return f.registers[o.index].name(); };
  EXPECT_TRUE(in[0].operands[0].is_vector());
  EXPECT_EQ(name(in[0].operands[0].elements[0]), "r1");
  EXPECT_TRUE(in[0].operands[0].elements[1].is_sink());
  EXPECT_EQ(name(in[0].operands[1]), "d2");
  EXPECT_EQ(in[0].operands[1].type, Type::b64);
  EXPECT_EQ(in[1].operands[0].kind, OperandKind::pair);
  EXPECT_EQ(name(in[1].operands[0].elements[1]), "p2");
  EXPECT_EQ(in[1].operands[2].immediate(Type::f32), 0xBF800000u);
  EXPECT_TRUE(in[1].operands[3].negated);
  EXPECT_EQ(in[2].operands[1].base, AddressBase::variable);
  EXPECT_EQ(in[2].operands[1].variable->name, "sm");
  EXPECT_EQ(in[2].operands[1].offset, 64);
  EXPECT_EQ(in[3].operands[1].base, AddressBase::reg);
  EXPECT_EQ(name(in[3].operands[1]), "d7");
  EXPECT_EQ(in[3].operands[1].offset, -8);
  EXPECT_EQ(in[4].operands[2].immediate(Type::s32), 0xFFFFFFFBu);
  EXPECT_EQ(in[5].operands[1].special(), Special::ctaid_y);
  EXPECT_EQ(in[6].operands[1].kind, OperandKind::variable);
  EXPECT_EQ(in[6].operands[1].offset, 4);
  ASSERT_EQ(in[7].operands[0].elements.size(), 2u);
  EXPECT_EQ(name(in[7].operands[0].elements[0]), "r5");
  EXPECT_EQ(in[7].operands[0].elements[1].immediate(Type::s32), 3u);
  EXPECT_EQ(in[8].operands[1].immediate(Type::f64), 0x3FF8000000000000u);
  EXPECT_EQ(in[8].operands[1].immediate(Type::f32), 0x3FC00000u);
}

TEST(Structure, ScopesAndLabels) {
  Parsed p(with_entry(
      "bra END; { .reg .f32 r1; add.f32 r1, r1, r1; IN: bra IN; } { IN: @!p1 bra IN; } add.u32 r1, r1, r1;"
      "T: .branchtargets END, L; brx.idx r1, T; END: bra T2; T2: .reg .v2 .b32 w; mov.b32 r1, w.y;"));
  ASSERT_TRUE(p.ok) << p.log();
  const Function& f = p.module.functions[0];
  const auto& in = f.instructions;
  auto target = [&](size_t i) { return f.labels[in[i].operands[0].index].instruction; };
  EXPECT_EQ(target(0), 6u);
  EXPECT_EQ(target(2), 2u);
  EXPECT_EQ(target(3), 3u);
  EXPECT_GE(in[3].guard, 0);
  EXPECT_TRUE(in[3].guard_negated);
  EXPECT_EQ(in[1].operands[0].type, Type::f32);
  EXPECT_EQ(in[4].operands[0].type, Type::b32);
  ASSERT_EQ(f.branch_tables.size(), 1u);
  ASSERT_EQ(f.branch_tables[0].labels.size(), 2u);
  EXPECT_EQ(f.labels[f.branch_tables[0].labels[0]].name, "END");
  EXPECT_EQ(f.labels[f.branch_tables[0].labels[1]].name, "L");
  EXPECT_EQ(in[5].operands[1].kind, OperandKind::branch_table);
}

TEST(Structure, IndirectCalls) {
  Parsed p(header() + R"(
.func (.param .b32 o) f(.param .b32 i) { ret; }
.func (.param .b32 o) g(.param .b32 i) { ret; }
.entry k() {
  .reg .b64 t; .param .b32 a; .param .b32 b;
  mov.u64 t, f;
  proto: .callprototype (.param .b32 _) _ (.param .b32 _);
  call (a), t, (b), proto;
  call (a), t, (b), targets;
  targets: .calltargets f, g;
  ret;
})");
  ASSERT_TRUE(p.ok) << p.log();
  const Function& k = *p.module.find_function("k");
  EXPECT_EQ(k.instructions[0].operands[1].function->name, "f");
  EXPECT_EQ(k.instructions[1].operands[3].kind, OperandKind::prototype);
  EXPECT_EQ(k.instructions[2].operands[3].kind, OperandKind::call_targets);
  EXPECT_EQ(k.call_target_lists[0].functions.size(), 2u);
}

TEST(Structure, DebugLines) {
  Parsed p(header() +
           ".file 1 \"kernel.cu\", 12, 34\n.entry k() {\n.loc 1 7 3\nret;\n.loc 1 9 1, function_name $L, "
           "inlined_at 1 7 3\n"
           "exit;\n}\n.section .debug_str\n{\n$L:\n.b8 1,2,3\n}\n");
  ASSERT_TRUE(p.ok) << p.log();
  EXPECT_EQ(p.module.files[0].name, "kernel.cu");
  const auto& in = p.module.functions[0].instructions;
  EXPECT_EQ(p.module.locations[in[0].location].line, 7u);
  EXPECT_EQ(p.module.locations[in[1].location].line, 9u);
  EXPECT_EQ(p.module.source_place(in[0].line), "kernel.cu:7");
  EXPECT_EQ(p.module.source_place(in[1].line), "kernel.cu:9");
}

// A place holds until the next .loc or the end of its function.
TEST(Structure, PlacesOfLines) {
  Parsed p(
      header() +
      ".file 1 \"kernel.cu\"\n.file 2 \"tools.h\"\n.entry a() {\n.loc 1 7 3\nbar.sync 0;\nret;\n.loc 2 11 1\n"
      "exit;\n}\n.entry b() {\nret;\n.loc 3 1 1\nexit;\n}\n");
  ASSERT_TRUE(p.ok) << p.log();
  const auto place = [&](int function, int i) {
    return p.module.source_place(p.module.functions[function].instructions[i].line);
  };
  EXPECT_EQ(place(0, 0), "kernel.cu:7");
  EXPECT_EQ(place(0, 1), "kernel.cu:7");
  EXPECT_EQ(place(0, 2), "tools.h:11");
  EXPECT_EQ(place(1, 0), "") << "the other function's";
  EXPECT_EQ(place(1, 1), "") << "no such file";
}

TEST(Structure, ModulesMove) {
  Parsed p(with_entry("ld.shared.u32 r1, [sm];"));
  ASSERT_TRUE(p.ok);
  Module moved = std::move(p.module);
  const Operand& o = moved.functions[0].instructions[0].operands[1];
  EXPECT_EQ(o.variable, moved.find_variable("sm"));
  EXPECT_EQ(o.variable->name, "sm");
}

}  // namespace
}  // namespace ptxops::virt::isa::testing
