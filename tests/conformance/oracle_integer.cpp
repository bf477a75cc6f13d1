// Integer, extended-precision and logic instructions (PTX ISA 9.7.1, 9.7.2, 9.7.8) in 128-bit arithmetic.
#include <algorithm>

#include "tests/conformance/oracle.h"

namespace ptxops::conformance {
namespace {

using isa::Type;
using Wide = __int128;
using UWide = unsigned __int128;

int bits_of(const Case& c) {
  return isa::type_bits(c.form.type());
}
bool is_signed(const Case& c) {
  return isa::is_signed(c.form.type());
}
uint64_t low(int bits) {
  return bits >= 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1;
}

// The value of a bit pattern.
Wide value(uint64_t bits, int width, bool with_sign) {
  bits &= low(width);
  if (with_sign && (bits >> (width - 1) & 1))
    return static_cast<Wide>(bits) - (static_cast<Wide>(1) << width);
  return static_cast<Wide>(bits);
}
Wide value(const Case& c, uint64_t bits) {
  return value(bits, bits_of(c), is_signed(c));
}

Expected pattern(Wide v, int width) {
  return Expected::exactly(static_cast<uint64_t>(v) & low(width));
}
Expected pattern(const Case& c, Wide v) {
  return pattern(v, bits_of(c));
}

Wide clamp_s32(Wide v) {
  return std::clamp<Wide>(v, INT32_MIN, INT32_MAX);
}

void add(const Case& c, const uint64_t* in, Expected* out) {
  const Wide v = value(c, in[0]) + value(c, in[1]);
  out[0] = pattern(c, c.form.has("sat") ? clamp_s32(v) : v);
}
void sub(const Case& c, const uint64_t* in, Expected* out) {
  const Wide v = value(c, in[0]) - value(c, in[1]);
  out[0] = pattern(c, c.form.has("sat") ? clamp_s32(v) : v);
}

// Two 16-bit halves, each by `f` on values.
template <class F>
void halves(const Case& c, const uint64_t* in, Expected* out, const F& f) {
  const bool s = c.form.type() == Type::s16x2;
  uint64_t result = 0;
  for (int h = 0; h < 2; ++h)
    result |=
        (static_cast<uint64_t>(f(value(in[0] >> 16 * h, 16, s), value(in[1] >> 16 * h, 16, s))) & 0xffff)
        << 16 * h;
  out[0] = Expected::exactly(result);
}
void add16x2(const Case& c, const uint64_t* in, Expected* out) {
  halves(c, in, out, [](Wide a, Wide b) { return a + b; });
}
void min16x2(const Case& c, const uint64_t* in, Expected* out) {
  const bool relu = c.form.has("relu");
  halves(c, in, out,
         [=](Wide a, Wide b) { return std::max(std::min(a, b), relu ? Wide{0} : std::min(a, b)); });
}
void max16x2(const Case& c, const uint64_t* in, Expected* out) {
  const bool relu = c.form.has("relu");
  halves(c, in, out,
         [=](Wide a, Wide b) { return std::max(std::max(a, b), relu ? Wide{0} : std::max(a, b)); });
}

// Product as the part named: low or high half, or all of it.
Wide product_part(const Case& c, uint64_t a, uint64_t b) {
  const std::string_view part = c.form.choice("part");
  if (is_signed(c)) {
    const Wide p = value(c, a) * value(c, b);
    return part == "hi" ? p >> bits_of(c) : p;
  }
  const UWide p = static_cast<UWide>(a & low(bits_of(c))) * (b & low(bits_of(c)));
  return static_cast<Wide>(part == "hi" ? p >> bits_of(c) : p);
}
int product_bits(const Case& c) {
  return c.form.choice("part") == "wide" ? 2 * bits_of(c) : bits_of(c);
}

void mul(const Case& c, const uint64_t* in, Expected* out) {
  out[0] = pattern(product_part(c, in[0], in[1]), product_bits(c));
}
void mad(const Case& c, const uint64_t* in, Expected* out) {
  const Wide v = product_part(c, in[0], in[1]) + value(in[2], product_bits(c), is_signed(c));
  out[0] = pattern(c.form.has("sat") ? clamp_s32(v) : v, product_bits(c));
}

// 24-bit operands; hi is bits 16-47 of the 48-bit product.
Wide product24(const Case& c, const uint64_t* in) {
  const bool s = is_signed(c);
  const Wide p = value(in[0], 24, s) * value(in[1], 24, s);
  return c.form.choice("part") == "hi" ? p >> 16 : value(static_cast<uint64_t>(p), 32, s);
}
void mul24(const Case& c, const uint64_t* in, Expected* out) {
  out[0] = pattern(product24(c, in), 32);
}
void mad24(const Case& c, const uint64_t* in, Expected* out) {
  const Wide v = product24(c, in) + value(in[2], 32, is_signed(c));
  out[0] = pattern(c.form.has("sat") ? clamp_s32(v) : v, 32);
}

void sad(const Case& c, const uint64_t* in, Expected* out) {
  const Wide a = value(c, in[0]), b = value(c, in[1]);
  out[0] = pattern(c, value(c, in[2]) + (a < b ? b - a : a - b));
}
// Division by zero has an unspecified result.
void div(const Case& c, const uint64_t* in, Expected* out) {
  const Wide a = value(c, in[0]), b = value(c, in[1]);
  out[0] = b == 0 ? Expected::open() : pattern(c, a / b);
}
void rem(const Case& c, const uint64_t* in, Expected* out) {
  const Wide a = value(c, in[0]), b = value(c, in[1]);
  out[0] = b == 0 ? Expected::open() : pattern(c, a % b);
}
void abs(const Case& c, const uint64_t* in, Expected* out) {
  const Wide a = value(c, in[0]);
  out[0] = pattern(c, a < 0 ? -a : a);
}
void neg(const Case& c, const uint64_t* in, Expected* out) {
  out[0] = pattern(c, -value(c, in[0]));
}
void min(const Case& c, const uint64_t* in, Expected* out) {
  const Wide v = std::min(value(c, in[0]), value(c, in[1]));
  out[0] = pattern(c, c.form.has("relu") ? std::max<Wide>(v, 0) : v);
}
void max(const Case& c, const uint64_t* in, Expected* out) {
  const Wide v = std::max(value(c, in[0]), value(c, in[1]));
  out[0] = pattern(c, c.form.has("relu") ? std::max<Wide>(v, 0) : v);
}

void popc(const Case&, const uint64_t* in, Expected* out) {
  uint64_t n = 0;
  for (int i = 0; i < 64; ++i) n += in[0] >> i & 1;
  out[0] = Expected::exactly(n);
}
void clz(const Case& c, const uint64_t* in, Expected* out) {
  uint64_t n = 0;
  for (int i = bits_of(c) - 1; i >= 0 && !(in[0] >> i & 1); --i) ++n;
  out[0] = Expected::exactly(n);
}
// Most significant bit that differs from the sign; ones when there is none.
void bfind(const Case& c, const uint64_t* in, Expected* out) {
  const int width = bits_of(c);
  uint64_t a = in[0];
  if (is_signed(c) && (a >> (width - 1) & 1)) a = ~a & low(width);
  int found = -1;
  for (int i = 0; i < width; ++i)
    if (a >> i & 1) found = i;
  if (found >= 0 && c.form.has("shiftamt")) found = width - 1 - found;
  out[0] = Expected::exactly(static_cast<uint32_t>(found));
}
// The offset-th set bit from `base` on, upwards for positive offsets, downwards for negative.
void fns(const Case&, const uint64_t* in, Expected* out) {
  const uint32_t mask = static_cast<uint32_t>(in[0]), base = static_cast<uint32_t>(in[1]);
  const int32_t offset = static_cast<int32_t>(in[2]);
  if (base > 31) {
    out[0] = Expected::open();
    return;
  }
  int64_t left = offset < 0 ? -static_cast<int64_t>(offset) : offset;
  const int step = offset < 0 ? -1 : 1;
  uint32_t result = 0xffffffffu;
  if (offset == 0) {
    if (mask >> base & 1) result = base;
  } else {
    for (int i = static_cast<int>(base); i >= 0 && i < 32; i += step)
      if (mask >> i & 1 && --left == 0) {
        result = static_cast<uint32_t>(i);
        break;
      }
  }
  out[0] = Expected::exactly(result);
}
void brev(const Case& c, const uint64_t* in, Expected* out) {
  uint64_t v = 0;
  for (int i = 0; i < bits_of(c); ++i) v |= (in[0] >> i & 1) << (bits_of(c) - 1 - i);
  out[0] = Expected::exactly(v);
}
void bfe(const Case& c, const uint64_t* in, Expected* out) {
  const int msb = bits_of(c) - 1;
  const int pos = static_cast<int>(in[1] & 0xff), len = static_cast<int>(in[2] & 0xff);
  const auto bit = [&](int i) { return in[0] >> i & 1; };
  const uint64_t sign = !is_signed(c) || len == 0 ? 0 : bit(std::min(pos + len - 1, msb));
  uint64_t v = 0;
  for (int i = 0; i <= msb; ++i) v |= (i < len && pos + i <= msb ? bit(pos + i) : sign) << i;
  out[0] = Expected::exactly(v);
}
void bfi(const Case& c, const uint64_t* in, Expected* out) {
  const int msb = bits_of(c) - 1;
  const int pos = static_cast<int>(in[2] & 0xff), len = static_cast<int>(in[3] & 0xff);
  uint64_t v = in[1];
  for (int i = 0; i < len && pos + i <= msb; ++i)
    v = (v & ~(uint64_t{1} << (pos + i))) | (in[0] >> i & 1) << (pos + i);
  out[0] = Expected::exactly(v);
}
// Extends the low N bits of a; N = b, clamped to 32 or taken modulo 32.
void szext(const Case& c, const uint64_t* in, Expected* out) {
  const uint32_t b = static_cast<uint32_t>(in[1]);
  const uint32_t n = c.form.has("clamp") ? std::min(b, 32u) : b % 32;
  out[0] = pattern(n == 0 ? 0 : value(in[0], static_cast<int>(n), is_signed(c)), 32);
}
// b ones from bit a on.
void bmsk(const Case& c, const uint64_t* in, Expected* out) {
  const bool clamp = c.form.has("clamp");
  const uint32_t a = static_cast<uint32_t>(in[0]), b = static_cast<uint32_t>(in[1]);
  const uint32_t start = clamp ? std::min(a, 32u) : a % 32, count = clamp ? std::min(b, 32u) : b % 32;
  uint64_t v = 0;
  for (uint32_t i = 0; i < count && start + i < 32; ++i) v |= uint64_t{1} << (start + i);
  out[0] = Expected::exactly(v);
}
void dp4a(const Case& c, const uint64_t* in, Expected* out) {
  const bool sa = isa::is_signed(c.form.type(0)), sb = isa::is_signed(c.form.type(1));
  Wide v = value(in[2], 32, false);
  for (int i = 0; i < 4; ++i) v += value(in[0] >> 8 * i, 8, sa) * value(in[1] >> 8 * i, 8, sb);
  out[0] = pattern(v, 32);
}
void dp2a(const Case& c, const uint64_t* in, Expected* out) {
  const bool sa = isa::is_signed(c.form.type(0)), sb = isa::is_signed(c.form.type(1));
  const int half = c.form.choice("part") == "hi" ? 16 : 0;
  Wide v = value(in[2], 32, false);
  for (int i = 0; i < 2; ++i) v += value(in[0] >> 16 * i, 16, sa) * value(in[1] >> (half + 8 * i), 8, sb);
  out[0] = pattern(v, 32);
}

// ---- Extended precision: the carry flag is a source (0 or 1) behind the others, and a result
// ----------------------
UWide plain(const Case& c, uint64_t bits) {
  return bits & low(bits_of(c));
}

void sum_with_carry(const Case& c, UWide sum, Expected* out) {
  out[0] = Expected::exactly(static_cast<uint64_t>(sum) & low(bits_of(c)));
  if (c.form.has("cc")) out[1] = Expected::exactly(static_cast<uint64_t>(sum >> bits_of(c)) & 1);
}
void add_cc(const Case& c, const uint64_t* in, Expected* out) {
  sum_with_carry(c, plain(c, in[0]) + plain(c, in[1]), out);
}
void addc(const Case& c, const uint64_t* in, Expected* out) {
  sum_with_carry(c, plain(c, in[0]) + plain(c, in[1]) + (in[2] & 1), out);
}
void difference(const Case& c, UWide a, UWide b, Expected* out) {
  out[0] = Expected::exactly(static_cast<uint64_t>(a - b) & low(bits_of(c)));
  if (c.form.has("cc")) out[1] = Expected::exactly(a < b ? 0xffffffffu : 0);
}
void sub_cc(const Case& c, const uint64_t* in, Expected* out) {
  difference(c, plain(c, in[0]), plain(c, in[1]), out);
}
void subc(const Case& c, const uint64_t* in, Expected* out) {
  difference(c, plain(c, in[0]), plain(c, in[1]) + (in[2] & 1), out);
}
void mad_cc(const Case& c, const uint64_t* in, Expected* out) {
  const UWide p = static_cast<UWide>(product_part(c, in[0], in[1])) & low(bits_of(c));
  sum_with_carry(c, p + plain(c, in[2]), out);
}
void madc(const Case& c, const uint64_t* in, Expected* out) {
  const UWide p = static_cast<UWide>(product_part(c, in[0], in[1])) & low(bits_of(c));
  sum_with_carry(c, p + plain(c, in[2]) + (in[3] & 1), out);
}

// ---- Logic and shift
// ----------------------------------------------------------------------------------------------
void bitwise(const Case& c, uint64_t result, Expected* out) {
  out[0] = Expected::exactly(result & low(c.form.type() == Type::pred ? 1 : bits_of(c)));
}
void and_(const Case& c, const uint64_t* in, Expected* out) {
  bitwise(c, in[0] & in[1], out);
}
void or_(const Case& c, const uint64_t* in, Expected* out) {
  bitwise(c, in[0] | in[1], out);
}
void xor_(const Case& c, const uint64_t* in, Expected* out) {
  bitwise(c, in[0] ^ in[1], out);
}
void not_(const Case& c, const uint64_t* in, Expected* out) {
  bitwise(c, ~in[0], out);
}
void cnot(const Case& c, const uint64_t* in, Expected* out) {
  out[0] = Expected::exactly((in[0] & low(bits_of(c))) == 0);
}
uint32_t lut(const uint64_t* in) {
  uint32_t v = 0;
  for (int i = 0; i < 32; ++i) {
    const uint64_t index = (in[0] >> i & 1) << 2 | (in[1] >> i & 1) << 1 | (in[2] >> i & 1);
    v |= static_cast<uint32_t>(in[3] >> index & 1) << i;
  }
  return v;
}
void lop3(const Case&, const uint64_t* in, Expected* out) {
  out[0] = Expected::exactly(lut(in));
}
void lop3_bool(const Case& c, const uint64_t* in, Expected* out) {
  const uint32_t v = lut(in);
  out[0] = Expected::exactly(v);
  if (c.pair) out[1] = Expected::exactly(c.form.has("or") ? (v != 0) || in[4] : (v != 0) && in[4]);
}
void shf(const Case& c, const uint64_t* in, Expected* out) {
  const uint32_t n = c.form.has("clamp") ? std::min<uint32_t>(static_cast<uint32_t>(in[2]), 32) : in[2] & 31;
  const uint64_t both = in[1] << 32 | (in[0] & 0xffffffffu);
  out[0] = Expected::exactly(c.form.choice("dir") == "l"
                                 ? static_cast<uint32_t>(static_cast<UWide>(both) << n >> 32)
                                 : static_cast<uint32_t>(both >> n));
}
void shl(const Case& c, const uint64_t* in, Expected* out) {
  const uint32_t n = static_cast<uint32_t>(in[1]);
  out[0] = Expected::exactly(n >= static_cast<uint32_t>(bits_of(c)) ? 0 : in[0] << n & low(bits_of(c)));
}
void shr(const Case& c, const uint64_t* in, Expected* out) {
  const uint32_t n = std::min<uint32_t>(static_cast<uint32_t>(in[1]), 127);
  out[0] = pattern(c, value(c, in[0]) >> n);
}

}  // namespace

void add_integer_oracles(Oracles& o) {
  using isa::Id;
  o[Id::add_int] = add, o[Id::sub_int] = sub, o[Id::add_int16x2] = add16x2;
  o[Id::mul_int] = mul, o[Id::mad_int] = mad, o[Id::mul24] = mul24, o[Id::mad24] = mad24;
  o[Id::sad] = sad, o[Id::div_int] = div, o[Id::rem_int] = rem, o[Id::abs_int] = abs, o[Id::neg_int] = neg;
  o[Id::min_int] = min, o[Id::max_int] = max, o[Id::min_int16x2] = min16x2, o[Id::max_int16x2] = max16x2;
  o[Id::popc] = popc, o[Id::clz] = clz, o[Id::bfind] = bfind, o[Id::fns] = fns, o[Id::brev] = brev;
  o[Id::bfe] = bfe, o[Id::bfi] = bfi, o[Id::szext] = szext, o[Id::bmsk] = bmsk, o[Id::dp4a] = dp4a;
  o[Id::dp2a] = dp2a;
  o[Id::add_cc] = add_cc, o[Id::addc] = addc, o[Id::sub_cc] = sub_cc, o[Id::subc] = subc,
  o[Id::mad_cc] = mad_cc;
  o[Id::madc] = madc;
  o[Id::and_] = and_, o[Id::or_] = or_, o[Id::xor_] = xor_, o[Id::not_] = not_, o[Id::cnot] = cnot;
  o[Id::lop3] = lop3, o[Id::lop3_bool] = lop3_bool, o[Id::shf] = shf, o[Id::shl] = shl, o[Id::shr] = shr;
}

}  // namespace ptxops::conformance
