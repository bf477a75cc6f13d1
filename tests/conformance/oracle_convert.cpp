// Conversions and byte permutation (PTX ISA 9.7.9.6, 9.7.9.21, 9.7.9.22).
#include <algorithm>

#include "tests/conformance/oracle.h"

namespace ptxops::conformance {
namespace {

using isa::Type;
using Wide = __int128;

uint64_t low(int bits) {
  return bits >= 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1;
}

Wide integer_value(Type t, uint64_t bits) {
  const int width = isa::type_bits(t);
  bits &= low(width);
  if (isa::is_signed(t) && (bits >> (width - 1) & 1))
    return static_cast<Wide>(bits) - (static_cast<Wide>(1) << width);
  return static_cast<Wide>(bits);
}
Wide lowest(Type t) {
  return isa::is_signed(t) ? -(static_cast<Wide>(1) << (isa::type_bits(t) - 1)) : 0;
}
Wide highest(Type t) {
  return (static_cast<Wide>(1) << (isa::type_bits(t) - isa::is_signed(t))) - 1;
}
// An 8-bit result lies in a 16-bit register, extended by its signedness.
Expected register_pattern(Type t, Wide v) {
  const uint64_t bits = static_cast<uint64_t>(v) & low(isa::type_bits(t));
  return Expected::exactly(static_cast<uint64_t>(integer_value(t, bits)) &
                           low(std::max(16, isa::type_bits(t))));
}

void cvt_int(const Case& c, const uint64_t* in, Expected* out) {
  const Type d = c.form.type(0);
  Wide v = integer_value(c.form.type(1), in[0]);
  if (c.form.has("sat")) v = std::clamp(v, lowest(d), highest(d));
  out[0] = register_pattern(d, v);
}

uint64_t flushed(const Case& c, Type t, uint64_t bits) {
  const Format& f = *format_of(t);
  return c.form.has("ftz") && t == Type::f32 && is_subnormal(f, bits) ? bits & sign_bit(f) : bits;
}

// Out-of-range values clamp, as if .sat were written. NaN: 0, but the top bit where 64 bits are involved.
void cvt_float_to_int(const Case& c, const uint64_t* in, Expected* out) {
  const Type d = c.form.type(0), s = c.form.type(1);
  const Quad v = decode(*format_of(s), flushed(c, s, in[0]));
  if (is_nan(v)) {
    const int width = isa::type_bits(d);
    const bool wide = s == Type::f64 || width == 64;
    out[0] = !wide || c.form.has("sat") ? Expected::open()
                                        : register_pattern(d, static_cast<Wide>(1) << (width - 1));
    if (!wide) out[0] = register_pattern(d, 0);
    return;
  }
  const Quad limit = 18446744073709551616.0;
  const Quad rounded = to_integral(v, round_of(c.form.choice("irnd")));
  const Wide n = rounded > limit ? highest(d) : rounded < -limit ? lowest(d) : static_cast<Wide>(rounded);
  out[0] = register_pattern(d, std::clamp(n, lowest(d), highest(d)));
}

// .sat: [0, 1] with NaN to +0. .satfinite: overflow to the largest finite. .relu: negative to +0, NaN
// canonical.
Expected finish(const Case& c, const Format& f, Quad value, Round round, bool from_same_format) {
  if (is_nan(value)) {
    if (c.form.has("sat")) return Expected::exactly(0);
    if (c.form.has("relu")) return Expected::exactly(canonical_nan(f));
    (void)from_same_format;
    return Expected::any_nan();
  }
  uint64_t bits = encode(f, value, 0, round);
  if (c.form.has("ftz") && c.form.type(0) == Type::f32 && is_subnormal(f, bits)) bits &= sign_bit(f);
  const bool negative = bits & sign_bit(f);
  if (c.form.has("satfinite") && (bits & ~sign_bit(f)) >= (low(f.exponent_bits) << f.mantissa_bits))
    bits = (bits & sign_bit(f)) | ((low(f.exponent_bits) << f.mantissa_bits) - 1);
  if (c.form.has("sat")) {
    if (negative) return Expected::exactly(0);
    bits = std::min(bits, encode(f, 1));
  }
  if (c.form.has("relu") && negative) return Expected::exactly(0);
  return Expected::exactly(bits);
}

void cvt_int_to_float(const Case& c, const uint64_t* in, Expected* out) {
  const Format& f = *format_of(c.form.type(0));
  out[0] = finish(c, f, static_cast<Quad>(integer_value(c.form.type(1), in[0])),
                  round_of(c.form.choice("rnd")), false);
}

void cvt_float(const Case& c, const uint64_t* in, Expected* out) {
  const Type d = c.form.type(0), s = c.form.type(1);
  Quad v = decode(*format_of(s), flushed(c, s, in[0]));
  const std::string_view integral = c.form.choice("irnd");
  if (!integral.empty()) v = to_integral(v, round_of(integral));
  // Rounding to an integral value keeps the sign of a zero result: accept both zeros.
  out[0] = finish(c, *format_of(d), v, round_of(c.form.choice("rnd")), d == s);
  if (!integral.empty() && v == 0 && out[0].kind == Expected::Kind::bits && !c.form.has("sat"))
    out[0] = Expected::either(0, in[0] & sign_bit(*format_of(d)));
}

// Operand a is the upper element.
void cvt_pack_half(const Case& c, const uint64_t* in, Expected* out) {
  const Format& f = c.form.type(0) == Type::f16x2 ? kF16 : kBf16;
  Expected e;
  e.kind = Expected::Kind::halves;
  for (int i = 0; i < 2; ++i) {
    const Expected one = finish(c, f, decode(kF32, in[1 - i]), round_of(c.form.choice("rnd")), false);
    e.element[i].kind = one.kind;
    e.element[i].bits = one.bits;
  }
  out[0] = e;
}

// tf32 is an f32 register whose lower 13 mantissa bits are not significant.
void cvt_tf32(const Case& c, const uint64_t* in, Expected* out) {
  const Quad v = decode(kF32, in[0]);
  if (is_nan(v)) {
    out[0] = c.form.has("relu") || c.form.has("rna") ? Expected::open() : Expected::any_nan();
    return;
  }
  const uint64_t bits = encode(kTf32, v, 0, round_of(c.form.choice("rnd")));

  uint64_t word = bits << 13;
  if (c.form.has("satfinite") && (word & 0x7fffffff) >= 0x7f800000)
    word = (word & 0x80000000) | (0x7f800000 - 0x2000);
  if (c.form.has("relu") && (word & 0x80000000)) word = 0;
  out[0] = Expected::exactly(word);
}

// One fp8 element: round to nearest even, overflow and infinity to the largest finite, NaN to NaN.
uint64_t fp8(const Case& c, const Format& f, Quad v) {
  if (is_nan(v)) return canonical_nan(f);
  uint64_t bits = encode(f, v);
  const uint64_t largest = f.e4m3 ? 0x7e : 0x7b;
  if ((bits & 0x7f) > largest) bits = (bits & 0x80) | largest;
  if (c.form.has("relu") && (bits & 0x80)) bits = 0;
  return bits;
}
const Format& fp8_format(Type t) {
  return t == Type::e4m3x2 ? kE4m3 : kE5m2;
}

void cvt_pack_fp8(const Case& c, const uint64_t* in, Expected* out) {
  const Format& f = fp8_format(c.form.type(0));
  out[0] = Expected::exactly(fp8(c, f, decode(kF32, in[0])) << 8 | fp8(c, f, decode(kF32, in[1])));
}
void cvt_half_to_fp8(const Case& c, const uint64_t* in, Expected* out) {
  const Format& f = fp8_format(c.form.type(0));
  out[0] = Expected::exactly(fp8(c, f, decode(kF16, in[0] >> 16 & 0xffff)) << 8 |
                             fp8(c, f, decode(kF16, in[0] & 0xffff)));
}
void cvt_fp8_to_half(const Case& c, const uint64_t* in, Expected* out) {
  const Format& f = fp8_format(c.form.type(1));
  Expected e;
  e.kind = Expected::Kind::halves;
  for (int i = 0; i < 2; ++i) {
    const Quad v = decode(f, in[0] >> 8 * i & 0xff);
    uint64_t bits = encode(kF16, v);
    if (c.form.has("relu") && !is_nan(v) && (bits & 0x8000)) bits = 0;
    e.element[i].kind = is_nan(v) ? Expected::Kind::nan : Expected::Kind::bits;
    e.element[i].bits = bits;
  }
  out[0] = e;
}

Wide clamp_bits(Wide v, int bits, bool with_sign) {
  const Wide top = (static_cast<Wide>(1) << (bits - with_sign)) - 1;
  return std::clamp<Wide>(v, with_sign ? -top - 1 : 0, top);
}
void cvt_pack(const Case& c, const uint64_t* in, Expected* out) {
  const bool s = c.form.has("s16");
  const auto part = [&](uint64_t x) {
    return static_cast<uint64_t>(clamp_bits(integer_value(Type::s32, x), 16, s)) & 0xffff;
  };
  out[0] = Expected::exactly(part(in[0]) << 16 | part(in[1]));
}
// Converted a and b below the bits of c, which is shifted up to make room.
void cvt_pack_bytes(const Case& c, const uint64_t* in, Expected* out) {
  int bits = 8;
  bool s = false;
  for (const char* name : {"u2", "s2", "u4", "s4", "u8", "s8"})
    if (c.form.has(name)) bits = name[1] - '0', s = name[0] == 's';
  const auto part = [&](uint64_t x) {
    return static_cast<uint64_t>(clamp_bits(integer_value(Type::s32, x), bits, s)) & low(bits);
  };
  const uint64_t rest = (in[2] << (2 * bits)) & 0xffffffff;
  out[0] = Expected::exactly(rest | part(in[0]) << bits | part(in[1]));
}

void prmt(const Case& c, const uint64_t* in, Expected* out) {
  uint8_t bytes[8];
  for (int i = 0; i < 4; ++i)
    bytes[i] = static_cast<uint8_t>(in[0] >> 8 * i), bytes[4 + i] = static_cast<uint8_t>(in[1] >> 8 * i);
  const uint32_t sel = static_cast<uint32_t>(in[2]);
  const int k = static_cast<int>(sel & 3);
  const std::string_view mode = c.form.choice("mode");
  uint32_t v = 0;
  for (int i = 0; i < 4; ++i) {
    int pick = 0;
    bool replicate_sign = false;
    if (mode.empty()) {
      pick = static_cast<int>(sel >> 4 * i & 7);
      replicate_sign = sel >> (4 * i + 3) & 1;
    } else if (mode == "f4e") {
      pick = k + i;
    } else if (mode == "b4e") {
      pick = (k - i) & 7;
    } else if (mode == "rc8") {
      pick = k;
    } else if (mode == "ecl") {
      pick = std::max(i, k);
    } else if (mode == "ecr") {
      pick = std::min(i, k);
    } else {  // rc16
      pick = (k & 1 ? 2 : 0) + (i & 1);
    }
    uint8_t byte = bytes[pick];
    if (replicate_sign) byte = byte & 0x80 ? 0xff : 0;
    v |= static_cast<uint32_t>(byte) << 8 * i;
  }
  out[0] = Expected::exactly(v);
}

}  // namespace

void add_convert_oracles(Oracles& o) {
  using isa::Id;
  o[Id::cvt_int] = cvt_int, o[Id::cvt_float_to_int] = cvt_float_to_int,
  o[Id::cvt_int_to_float] = cvt_int_to_float;
  o[Id::cvt_float] = cvt_float, o[Id::cvt_pack_half] = cvt_pack_half, o[Id::cvt_tf32] = cvt_tf32;
  o[Id::cvt_pack_fp8] = cvt_pack_fp8, o[Id::cvt_half_to_fp8] = cvt_half_to_fp8,
  o[Id::cvt_fp8_to_half] = cvt_fp8_to_half;
  o[Id::cvt_pack] = cvt_pack, o[Id::cvt_pack_bytes] = cvt_pack_bytes, o[Id::prmt] = prmt;
}

}  // namespace ptxops::conformance
