// Comparison and selection (PTX ISA 9.7.5-9.7.7).
#include "tests/conformance/oracle.h"

namespace ptxops::conformance {
namespace {

using isa::Type;

uint64_t low(int bits) {
  return bits >= 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1;
}

enum class Order { less, equal, greater, unordered };

Order order_of(Type t, uint64_t a, uint64_t b, bool ftz) {
  if (const Format* f = format_of(t)) {
    if (ftz && is_subnormal(*f, a)) a &= sign_bit(*f);
    if (ftz && is_subnormal(*f, b)) b &= sign_bit(*f);
    if (is_nan(*f, a) || is_nan(*f, b)) return Order::unordered;
    const Quad x = decode(*f, a), y = decode(*f, b);
    return x < y ? Order::less : x == y ? Order::equal : Order::greater;
  }
  const int bits = isa::type_bits(t);
  a &= low(bits), b &= low(bits);
  if (isa::is_signed(t)) a ^= uint64_t{1} << (bits - 1), b ^= uint64_t{1} << (bits - 1);
  return a < b ? Order::less : a == b ? Order::equal : Order::greater;
}

// eq ne lt le gt ge, lo ls hi hs; ...u: also true when unordered; num, nan.
bool holds(std::string_view cmp, Order o) {
  if (cmp == "num") return o != Order::unordered;
  if (cmp == "nan") return o == Order::unordered;
  if (o == Order::unordered) return cmp.size() == 3;  // equ, neu, ltu ...
  const std::string_view base = cmp.substr(0, 2);
  if (base == "eq") return o == Order::equal;
  if (base == "ne") return o != Order::equal;
  if (base == "lt" || base == "lo") return o == Order::less;
  if (base == "le" || base == "ls") return o != Order::greater;
  if (base == "gt" || base == "hi") return o == Order::greater;
  return o != Order::less;  // ge, hs
}

bool combine(std::string_view op, bool a, bool c) {
  if (op == "and") return a && c;
  if (op == "or") return a || c;
  if (op == "xor") return a != c;
  return a;
}

Type element_of(Type t) {
  return t == Type::f16x2 ? Type::f16 : t == Type::bf16x2 ? Type::bf16 : t;
}

bool compare(const Case& c, Type t, uint64_t a, uint64_t b) {
  return holds(c.form.choice("cmp"), order_of(t, a, b, c.form.has("ftz")));
}

// The pattern that stands for true in the destination type.
uint64_t true_pattern(Type t) {
  switch (t) {
    case Type::f32:
      return encode(kF32, 1);
    case Type::f16:
      return encode(kF16, 1);
    case Type::bf16:
      return encode(kBf16, 1);
    default:
      return low(isa::type_bits(t));
  }
}

void set(const Case& c, const uint64_t* in, Expected* out) {
  const Type d = c.form.type(0), s = c.form.types.back();
  const std::string_view op = c.form.choice("bool");
  const bool p = op.empty() ? false : in[2];
  const Type element = element_of(s);
  if (element == s) {
    out[0] = Expected::exactly(combine(op, compare(c, s, in[0], in[1]), p) ? true_pattern(d) : 0);
    return;
  }
  uint64_t bits = 0;
  for (int i = 0; i < 2; ++i) {
    const bool v = combine(op, compare(c, element, in[0] >> 16 * i & 0xffff, in[1] >> 16 * i & 0xffff), p);
    const uint64_t t = d == Type::f16x2 ? encode(kF16, 1) : d == Type::bf16x2 ? encode(kBf16, 1) : 0xffff;
    if (v) bits |= t << 16 * i;
  }
  out[0] = Expected::exactly(bits);
}

// p|q: q is the combination with the opposite comparison; for packed types p is the lower half, q the upper.
void setp(const Case& c, const uint64_t* in, Expected* out) {
  const Type s = c.form.types.back();
  const std::string_view op = c.form.choice("bool");
  const bool p = op.empty() ? false : in[2];
  const Type element = element_of(s);
  if (element == s) {
    const bool v = compare(c, s, in[0], in[1]);
    out[0] = Expected::exactly(combine(op, v, p));
    if (c.pair) out[1] = Expected::exactly(combine(op, !v, p));
    return;
  }
  for (int i = 0; i < (c.pair ? 2 : 1); ++i)
    out[i] = Expected::exactly(
        combine(op, compare(c, element, in[0] >> 16 * i & 0xffff, in[1] >> 16 * i & 0xffff), p));
}

void selp(const Case& c, const uint64_t* in, Expected* out) {
  out[0] = Expected::exactly((in[2] ? in[0] : in[1]) & low(isa::type_bits(c.form.type())));
}
// a where c >= 0, else b; a NaN selects b, -0 counts as 0.
void slct(const Case& c, const uint64_t* in, Expected* out) {
  const Type s = c.form.types.back();
  bool nonnegative;
  if (s == Type::s32) {
    nonnegative = !(in[2] >> 31 & 1);
  } else {
    const Order o = order_of(Type::f32, in[2], 0, c.form.has("ftz"));
    nonnegative = o == Order::equal || o == Order::greater;
  }
  out[0] = Expected::exactly((nonnegative ? in[0] : in[1]) & low(isa::type_bits(c.form.type())));
}

}  // namespace

void add_compare_oracles(Oracles& o) {
  using isa::Id;
  o[Id::set] = set, o[Id::set_bool] = set, o[Id::set_half] = set, o[Id::set_half_bool] = set;
  o[Id::setp] = setp, o[Id::setp_bool] = setp, o[Id::setp_half] = setp, o[Id::setp_half_bool] = setp;
  o[Id::selp] = selp, o[Id::slct] = slct;
}

}  // namespace ptxops::conformance
