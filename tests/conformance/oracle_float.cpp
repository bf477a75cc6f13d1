// f32 and f64 arithmetic (PTX ISA 9.7.3) with the host's IEEE unit in the instruction's rounding mode.
#include <cfenv>
#include <cmath>
#include <cstring>

#include "tests/conformance/oracle.h"

namespace ptxops::conformance {
namespace {

using isa::Type;

// Sets the rounding mode for a scope. The file is compiled with -frounding-math.
class Rounding {
 public:
  explicit Rounding(Round r) : old_(std::fegetround()) {
    std::fesetround(r == Round::toward_zero ? FE_TOWARDZERO
                    : r == Round::down      ? FE_DOWNWARD
                    : r == Round::up        ? FE_UPWARD
                                            : FE_TONEAREST);
  }
  ~Rounding() { std::fesetround(old_); }

 private:
  int old_;
};

template <class T>
T from(uint64_t bits) {
  T v;
  std::memcpy(&v, &bits, sizeof v);
  return v;
}
template <class T>
uint64_t to(T v) {
  uint64_t bits = 0;
  std::memcpy(&bits, &v, sizeof v);
  return bits;
}
template <class T>
const Format& format() {
  return sizeof(T) == 4 ? kF32 : kF64;
}

template <class T>
T flushed(const Case& c, uint64_t bits) {
  if (c.form.has("ftz") && is_subnormal(format<T>(), bits)) bits &= sign_bit(format<T>());
  return from<T>(bits);
}

// .ftz flushes a subnormal result, .sat clamps to [0, 1] with NaN to +0; arithmetic NaNs of f32 are
// canonical.
template <class T>
Expected finish(const Case& c, T v) {
  if (c.form.has("sat")) {
    if (std::isnan(v)) return Expected::exactly(0);
    v = std::signbit(v) ? T(0) : v > T(1) ? T(1) : v;
  }
  if (std::isnan(v)) return sizeof(T) == 4 ? Expected::exactly(canonical_nan(kF32)) : Expected::any_nan();
  uint64_t bits = to(v);
  if (c.form.has("ftz") && is_subnormal(format<T>(), bits)) bits &= sign_bit(format<T>());
  return Expected::exactly(bits);
}

// volatile: operands are read and the result is stored inside the scope of the rounding mode.
template <class T, class F>
void arithmetic(const Case& c, const uint64_t* in, Expected* out, const F& f) {
  volatile T a = flushed<T>(c, in[0]);
  volatile T b = c.sources.size() > 1 ? flushed<T>(c, in[1]) : T(0);
  volatile T d = c.sources.size() > 2 ? flushed<T>(c, in[2]) : T(0);
  volatile T result;
  {
    const Rounding mode(round_of(c.form.choice("rnd")));
    result = f(a, b, d);
  }
  out[0] = finish<T>(c, result);
}

#define PTXOPS_ARITHMETIC(name, expression)                                              \
  template <class T>                                                                     \
  void name(const Case& c, const uint64_t* in, Expected* out) {                          \
    arithmetic<T>(c, in, out,                                                            \
                  [](const volatile T& a, [[maybe_unused]] const volatile T& b,          \
                     [[maybe_unused]] const volatile T& d) -> T { return expression; }); \
  }
PTXOPS_ARITHMETIC(add, a + b)
PTXOPS_ARITHMETIC(sub, a - b)
PTXOPS_ARITHMETIC(mul, a* b)
PTXOPS_ARITHMETIC(fma_, std::fma(T(a), T(b), T(d)))
PTXOPS_ARITHMETIC(div, a / b)
PTXOPS_ARITHMETIC(rcp, T(1) / a)
PTXOPS_ARITHMETIC(sqrt_, std::sqrt(T(a)))
#undef PTXOPS_ARITHMETIC

template <class T>
void abs_(const Case& c, const uint64_t* in, Expected* out) {
  const T a = flushed<T>(c, in[0]);
  out[0] = std::isnan(a) ? Expected::any_nan() : Expected::exactly(to(std::fabs(a)));
}
template <class T>
void neg(const Case& c, const uint64_t* in, Expected* out) {
  const T a = flushed<T>(c, in[0]);
  out[0] = std::isnan(a) ? Expected::any_nan() : Expected::exactly(to(a) ^ sign_bit(format<T>()));
}

// One NaN loses to a number, unless .NaN; -0 < +0; .xorsign.abs compares magnitudes and gives the product's
// sign.
template <class T>
void extremum(const Case& c, const uint64_t* in, Expected* out, bool want_max) {
  const Format& f = format<T>();
  T a = flushed<T>(c, in[0]), b = flushed<T>(c, in[1]);
  const bool xorsign = c.form.has("xorsign");
  const uint64_t sign = (in[0] ^ in[1]) & sign_bit(f);
  if (xorsign) a = std::fabs(a), b = std::fabs(b);
  T v;
  if (std::isnan(a) && std::isnan(b)) {
    out[0] = Expected::any_nan();
    return;
  }
  if (std::isnan(a) || std::isnan(b)) {
    if (c.form.has("NaN")) {
      out[0] = Expected::any_nan();
      return;
    }
    v = std::isnan(a) ? b : a;
  } else if (a == b) {
    v = std::signbit(a) == want_max ? b : a;
  } else {
    v = (a < b) == want_max ? b : a;
  }
  out[0] = Expected::exactly(xorsign ? (to(v) & ~sign_bit(f)) | sign : to(v));
}
template <class T>
void min(const Case& c, const uint64_t* in, Expected* out) {
  extremum<T>(c, in, out, false);
}
template <class T>
void max(const Case& c, const uint64_t* in, Expected* out) {
  extremum<T>(c, in, out, true);
}

void testp(const Case& c, const uint64_t* in, Expected* out) {
  const bool wide = c.form.type() == Type::f64;
  const int kind = wide ? std::fpclassify(from<double>(in[0])) : std::fpclassify(from<float>(in[0]));
  const std::string_view test = c.form.choice("test");
  bool v = false;
  if (test == "finite") v = kind != FP_NAN && kind != FP_INFINITE;
  if (test == "infinite") v = kind == FP_INFINITE;
  if (test == "number") v = kind != FP_NAN;
  if (test == "notanumber") v = kind == FP_NAN;
  if (test == "normal") v = kind == FP_NORMAL;
  if (test == "subnormal") v = kind == FP_SUBNORMAL;
  if (test == "normal" && kind == FP_ZERO) v = false;
  out[0] = Expected::exactly(v);
}
// Magnitude of b, sign of a.
void copysign(const Case& c, const uint64_t* in, Expected* out) {
  const uint64_t sign = c.form.type() == Type::f64 ? sign_bit(kF64) : sign_bit(kF32);
  const Format& f = c.form.type() == Type::f64 ? kF64 : kF32;
  out[0] = is_nan(f, in[1]) ? Expected::any_nan() : Expected::exactly((in[1] & ~sign) | (in[0] & sign));
}

}  // namespace

void add_float_oracles(Oracles& o) {
  using isa::Id;
  o[Id::add_f32] = add<float>, o[Id::add_f64] = add<double>;
  o[Id::sub_f32] = sub<float>, o[Id::sub_f64] = sub<double>;
  o[Id::mul_f32] = mul<float>, o[Id::mul_f64] = mul<double>;
  o[Id::fma_f32] = fma_<float>, o[Id::fma_f64] = fma_<double>;
  o[Id::div_f32] = div<float>, o[Id::div_f64] = div<double>;
  o[Id::rcp_f32] = rcp<float>, o[Id::rcp_f64] = rcp<double>;
  o[Id::sqrt_f32] = sqrt_<float>, o[Id::sqrt_f64] = sqrt_<double>;
  o[Id::abs_f32] = abs_<float>, o[Id::abs_f64] = abs_<double>;
  o[Id::neg_f32] = neg<float>, o[Id::neg_f64] = neg<double>;
  o[Id::min_f32] = min<float>, o[Id::min_f64] = min<double>;
  o[Id::max_f32] = max<float>, o[Id::max_f64] = max<double>;
  o[Id::testp] = testp, o[Id::copysign] = copysign;
}

}  // namespace ptxops::conformance
