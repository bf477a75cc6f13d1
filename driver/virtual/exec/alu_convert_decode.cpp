// Decoding of cvt (PTX ISA 9.7.9.21 and .22).
#include "driver/virtual/exec/alu_convert.h"
#include "driver/virtual/exec/alu_decode.h"
#include "driver/virtual/exec/alu_rounding.h"

namespace ptxops::virt {
namespace {
using alu::CvtFlags;
using alu::CvtPlan;
using alu::Round;
using isa::Instruction;
using isa::Type;

Round round_from_token(std::string_view s) {
  if (s == "rna") return Round::rna;
  if (s.starts_with("rz")) return Round::rz;
  if (s.starts_with("rm")) return Round::rm;
  return s.starts_with("rp") ? Round::rp : Round::rn;
}

CvtFlags flags_of(const Instruction& i) {
  CvtFlags f;
  const std::string_view integral = i.choice("irnd");
  f.integral = !integral.empty();
  f.round = round_from_token(f.integral ? integral : i.choice("rnd"));
  f.ftz = i.has("ftz");
  f.sat = i.has("sat");
  f.relu = i.has("relu");
  f.satfinite = i.has("satfinite");
  return f;
}

// Issue cycles: 16 results a cycle and SM, twice that with 64 bits; 64 results for f16 and bf16 to f32.
uint16_t cost(Type to, Type from) {
  if (isa::type_bits(to) == 64 || isa::type_bits(from) == 64) return 16;
  if (isa::is_integer(to) && isa::is_integer(from)) return 2;
  return to == Type::f32 && isa::type_bits(from) == 16 ? 2 : 8;
}

void emit_general(Decoder& d, const Instruction& i, const CvtPlan& plan) {
  Op& op = alu::emit_op(d, i, alu::general_convert, plan.to, {plan.from}, cost(plan.to, plan.from));
  op.imm = reinterpret_cast<uint64_t>(d.keep(plan));
}

void decode_convert(Decoder& d, const Instruction& i) {
  const CvtPlan plan{i.type(0), i.type(1), flags_of(i)};
  const Handler fast = alu::fast_convert(plan.to, plan.from, plan.flags);
  if (fast == nullptr) {
    emit_general(d, i, plan);
    return;
  }
  Op& op = alu::emit_op(d, i, fast, plan.to, {plan.from}, cost(plan.to, plan.from));
  if (!plan.flags.integral) alu::set_rounding(op, i.choice("rnd"));
}
}  // namespace

void decode_cvt_int(Decoder& d, const Instruction& i) {
  decode_convert(d, i);
}
void decode_cvt_float_to_int(Decoder& d, const Instruction& i) {
  decode_convert(d, i);
}
void decode_cvt_int_to_float(Decoder& d, const Instruction& i) {
  decode_convert(d, i);
}
void decode_cvt_float(Decoder& d, const Instruction& i) {
  decode_convert(d, i);
}

void decode_cvt_pack_half(Decoder& d, const Instruction& i) {
  const CvtPlan plan{i.type(0), Type::f32, flags_of(i)};
  const bool fast = plan.flags.round == Round::rn && !plan.flags.satfinite;
  const Handler handler = fast ? alu::fast_pack(plan.to, plan.flags.relu) : alu::general_pack;
  Op& op = alu::emit_op(d, i, handler, plan.to, {Type::f32, Type::f32}, 8);
  if (!fast) op.imm = reinterpret_cast<uint64_t>(d.keep(plan));
}
void decode_cvt_pack_fp8(Decoder& d, const Instruction& i) {
  alu::emit_op(d, i, alu::fast_pack(i.type(0), i.has("relu")), i.type(0), {Type::f32, Type::f32}, 8);
}
void decode_cvt_half_to_fp8(Decoder& d, const Instruction& i) {
  alu::emit_op(d, i, alu::fast_fp8(i.type(0), i.type(1), i.has("relu")), i.type(0), {Type::f16x2}, 8);
}
void decode_cvt_fp8_to_half(Decoder& d, const Instruction& i) {
  alu::emit_op(d, i, alu::fast_fp8(i.type(0), i.type(1), i.has("relu")), Type::f16x2, {i.type(1)}, 2);
}
void decode_cvt_tf32(Decoder& d, const Instruction& i) {
  const CvtFlags f = flags_of(i);
  const Handler handler = alu::tf32_convert(f.round, f.relu, f.satfinite);
  alu::emit_op(d, i, handler, Type::tf32, {Type::f32}, 2);
}

namespace {
// "cvt.pack.sat.u4.s32.b32": the third modifier is the element, of 2, 4, 8 or 16 bits.
void decode_saturating_pack(Decoder& d, const Instruction& i, bool with_c) {
  constexpr std::string_view prefix = "cvt.pack.sat.";
  const std::string_view element = i.opcode->text.substr(prefix.size());
  const uint32_t bits = element.substr(1, 2) == "16" ? 16 : static_cast<uint32_t>(element[1] - '0');
  Op& op = with_c ? alu::emit_op(d, i, alu::saturating_pack, Type::b32, {Type::s32, Type::s32, Type::b32}, 8)
                  : alu::emit_op(d, i, alu::saturating_pack, Type::b32, {Type::s32, Type::s32}, 8);
  op.f = bits;
  op.imm = element[0] == 's';
}
}  // namespace
void decode_cvt_pack(Decoder& d, const Instruction& i) {
  decode_saturating_pack(d, i, false);
}
void decode_cvt_pack_bytes(Decoder& d, const Instruction& i) {
  decode_saturating_pack(d, i, true);
}

}  // namespace ptxops::virt
