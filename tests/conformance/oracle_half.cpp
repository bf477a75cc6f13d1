// f16 and bf16 arithmetic (PTX ISA 9.7.4): exact in 113 bits plus a sticky bit, then rounded once.
#include <cmath>

#include "tests/conformance/oracle.h"

namespace ptxops::conformance {
namespace {

using isa::Type;

struct Half {
  const Format* format;
  int elements;
};
Half half_of(Type t) {
  switch (t) {
    case Type::f16:
      return {&kF16, 1};
    case Type::f16x2:
      return {&kF16, 2};
    case Type::bf16:
      return {&kBf16, 1};
    default:
      return {&kBf16, 2};
  }
}

// One element's result: a pattern, any NaN, or a value with error bounds.
using Element = Expected::Element;
Element exactly(uint64_t bits) {
  return {Expected::Kind::bits, bits, 0, 0, 0};
}
Element any_nan() {
  return {Expected::Kind::nan, 0, 0, 0, 0};
}

uint64_t flushed(const Case& c, const Format& f, uint64_t bits) {
  return c.form.has("ftz") && is_subnormal(f, bits) ? bits & sign_bit(f) : bits;
}

// Rounds, then .ftz, .sat or .relu. NaN: +0 with .sat; canonical with .relu.
Element finish(const Case& c, const Format& f, Sum v) {
  if (is_nan(v.value)) {
    return c.form.has("sat") ? exactly(0) : any_nan();
  }
  uint64_t bits = encode(f, v.value, v.sticky);
  if (c.form.has("ftz") && is_subnormal(f, bits)) bits &= sign_bit(f);
  const bool negative = bits & sign_bit(f);
  if (c.form.has("sat")) {
    const uint64_t one = encode(f, 1);
    if (negative) return exactly(0);
    if (bits > one) return exactly(one);
  }
  if (c.form.has("relu") && negative) return exactly(0);
  return exactly(bits);
}

// Applies `f` to each element.
template <class F>
void elements(const Case& c, const uint64_t* in, Expected* out, const F& f) {
  const Half half = half_of(c.form.type());
  Expected e;
  e.kind = Expected::Kind::halves;
  for (int i = 0; i < half.elements; ++i) {
    uint64_t a[3] = {};
    for (size_t s = 0; s < c.sources.size() && s < 3; ++s) a[s] = in[s] >> 16 * i & 0xffff;
    e.element[i] = f(*half.format, a);
  }
  if (half.elements == 2) {
    out[0] = e;
    return;
  }
  const Element& single = e.element[0];
  out[0] = single.kind == Expected::Kind::nan ? Expected::any_nan()
           : single.kind == Expected::Kind::close
               ? Expected::near(single.value, single.absolute, single.relative)
               : Expected::exactly(single.bits);
}

template <class F>
void arithmetic(const Case& c, const uint64_t* in, Expected* out, const F& exact) {
  elements(c, in, out, [&](const Format& f, const uint64_t* a) {
    const Quad x = decode(f, flushed(c, f, a[0])), y = decode(f, flushed(c, f, a[1])),
               z = decode(f, flushed(c, f, a[2]));
    return finish(c, f, exact(x, y, z));
  });
}

void add(const Case& c, const uint64_t* in, Expected* out) {
  arithmetic(c, in, out, [](Quad a, Quad b, Quad) { return exact_add(a, b); });
}
void sub(const Case& c, const uint64_t* in, Expected* out) {
  arithmetic(c, in, out, [](Quad a, Quad b, Quad) { return exact_add(a, -b); });
}
void mul(const Case& c, const uint64_t* in, Expected* out) {
  arithmetic(c, in, out, [](Quad a, Quad b, Quad) { return Sum{a * b, 0}; });
}
// .oob: an operand that is the out-of-bounds NaN makes the result +0. Its pattern is not documented, so the
// full-mantissa NaNs are not judged.
void fma(const Case& c, const uint64_t* in, Expected* out) {
  elements(c, in, out, [&](const Format& f, const uint64_t* a) {
    if (c.form.has("oob"))
      for (int i = 0; i < 3; ++i)
        if ((a[i] & 0x7fff) == 0x7fff) return Element{Expected::Kind::anything, 0, 0, 0, 0};
    const Quad x = decode(f, flushed(c, f, a[0])), y = decode(f, flushed(c, f, a[1])),
               z = decode(f, flushed(c, f, a[2]));
    return finish(c, f, exact_add(x * y, z));
  });
}

// A NaN's sign and payload after abs and neg are not specified.
void sign(const Case& c, const uint64_t* in, Expected* out, bool negate) {
  elements(c, in, out, [&](const Format& f, const uint64_t* a) {
    if (is_nan(f, a[0])) return any_nan();
    const uint64_t bits = flushed(c, f, a[0]);
    return exactly(negate ? bits ^ sign_bit(f) : bits & ~sign_bit(f));
  });
}
void abs(const Case& c, const uint64_t* in, Expected* out) {
  sign(c, in, out, false);
}
void neg(const Case& c, const uint64_t* in, Expected* out) {
  sign(c, in, out, true);
}

void extremum(const Case& c, const uint64_t* in, Expected* out, bool want_max) {
  elements(c, in, out, [&](const Format& f, const uint64_t* bits) {
    uint64_t a = flushed(c, f, bits[0]), b = flushed(c, f, bits[1]);
    const bool xorsign = c.form.has("xorsign");
    const uint64_t product_sign = (bits[0] ^ bits[1]) & sign_bit(f);
    if (xorsign) a &= ~sign_bit(f), b &= ~sign_bit(f);
    const bool nan_a = is_nan(f, a), nan_b = is_nan(f, b);
    if ((nan_a && nan_b) || ((nan_a || nan_b) && c.form.has("NaN"))) return any_nan();
    uint64_t v;
    if (nan_a || nan_b) {
      v = nan_a ? b : a;
    } else {
      const Quad x = decode(f, a), y = decode(f, b);
      if (x == y)
        v = ((a & sign_bit(f)) != 0) == want_max ? b : a;
      else
        v = (x < y) == want_max ? b : a;
    }
    return exactly(xorsign ? (v & ~sign_bit(f)) | product_sign : v);
  });
}
void min(const Case& c, const uint64_t* in, Expected* out) {
  extremum(c, in, out, false);
}
void max(const Case& c, const uint64_t* in, Expected* out) {
  extremum(c, in, out, true);
}

// Within `relative` of `exact`, or the smallest subnormal.
template <class F>
void approximation(const Case& c, const uint64_t* in, Expected* out, double relative, const F& exact) {
  elements(c, in, out, [&](const Format& f, const uint64_t* bits) {
    const uint64_t a = flushed(c, f, bits[0]);
    if (is_nan(f, a)) return any_nan();
    const long double value = exact(static_cast<long double>(decode(f, a)));
    const double smallest = f.mantissa_bits == 10 ? 0x1p-24 : c.form.has("ftz") ? 0x1p-126 : 0x1p-133;
    return Element{Expected::Kind::close, 0, static_cast<Quad>(value), smallest, relative};
  });
}
void tanh(const Case& c, const uint64_t* in, Expected* out) {
  // f16: 2^-10.987 absolute; bf16: 2^-8 relative or so.
  const bool wide = half_of(c.form.type()).format->mantissa_bits == 10;
  approximation(c, in, out, wide ? 0x1p-10 : 0x1p-7, [](long double a) { return std::tanh(a); });
}
void ex2(const Case& c, const uint64_t* in, Expected* out) {
  const bool wide = half_of(c.form.type()).format->mantissa_bits == 10;
  approximation(c, in, out, wide ? 0x1p-9 : 0x1p-7, [](long double a) { return std::exp2(a); });
}

}  // namespace

void add_half_oracles(Oracles& o) {
  using isa::Id;
  o[Id::add_half] = add, o[Id::sub_half] = sub, o[Id::mul_half] = mul, o[Id::fma_half] = fma;
  o[Id::abs_half] = abs, o[Id::neg_half] = neg, o[Id::min_half] = min, o[Id::max_half] = max;
  o[Id::tanh_approx_half] = tanh, o[Id::ex2_approx_half] = ex2;
}

}  // namespace ptxops::conformance
