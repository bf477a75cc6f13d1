// Approximate instructions: the exact value and the error that PTX ISA 9.7.3 and 9.7.4 allow.
#include <cmath>
#include <cstring>

#include "tests/conformance/oracle.h"

namespace ptxops::conformance {
namespace {

using isa::Type;

// Input after .ftz (the approximations without .ftz take subnormals as they are).
double input(const Case& c, const Format& f, uint64_t bits) {
  if (c.form.has("ftz") && is_subnormal(f, bits)) bits &= sign_bit(f);
  return static_cast<double>(decode(f, bits));
}

// `value` known to 2^-60 or so; errors in units of the last place are relative 2^-23. Subnormal results may
// be flushed with .ftz, and are accurate to the smallest subnormal without.
Expected judge(const Case& c, long double value, double absolute, double relative) {
  if (std::isnan(value)) return Expected::any_nan();
  const long double smallest_normal = 0x1p-126L;
  if (std::fabs(value) < smallest_normal && value != 0) {
    // Flushed, or rounded to a subnormal.
    const double slack = c.form.has("ftz") ? 0x1p-126 : 0x1p-148;
    return Expected::near(static_cast<Quad>(value), absolute + slack, relative);
  }
  return Expected::near(static_cast<Quad>(value), absolute, relative);
}
constexpr double kUlp = 0x1p-23;

void div(const Case& c, const uint64_t* in, Expected* out) {
  const double a = input(c, kF32, in[0]), b = input(c, kF32, in[1]);
  const double magnitude = std::fabs(b);
  // 2 ulp for |b| in [2^-126, 2^126]; beyond, .approx gives 0 and .full keeps the range by scaling.
  if (c.form.has("approx") && magnitude > 0x1p126 && !std::isinf(b)) {
    out[0] = std::isnan(a)   ? Expected::any_nan()
             : std::isinf(a) ? Expected::any_nan()
                             : Expected::near(0, 0x1p-100, 2 * kUlp);
    if (!std::isnan(a) && !std::isinf(a))
      out[0] =
          Expected::near(static_cast<Quad>(a) / static_cast<Quad>(b), 1.001 * std::fabs(a / b) + 0x1p-126, 0);
    return;
  }
  if (magnitude != 0 && magnitude < 0x1p-126) {  // subnormal divisors: outside the stated range
    out[0] = Expected::open();
    return;
  }
  out[0] = judge(c, static_cast<long double>(a) / b, 0, 2 * kUlp);
}
void rcp(const Case& c, const uint64_t* in, Expected* out) {
  out[0] = judge(c, 1.0L / static_cast<long double>(input(c, kF32, in[0])), 0, kUlp);
}
void sqrt(const Case& c, const uint64_t* in, Expected* out) {
  const double a = input(c, kF32, in[0]);
  out[0] = judge(c, std::sqrt(static_cast<long double>(a)), 0, 0x1p-23);
}
void rsqrt(const Case& c, const uint64_t* in, Expected* out) {
  const double a = input(c, kF32, in[0]);
  if (a == 0) {
    out[0] = Expected::near(std::signbit(a) ? -HUGE_VAL : HUGE_VAL, 0, 0);
    return;
  }
  out[0] = judge(c, 1.0L / std::sqrt(static_cast<long double>(a)), 0, 0x1p-22);
}
// sin and cos: 2^-20.5 absolute in [-2 pi, 2 pi], 2^-14.7 in [-100 pi, 100 pi], nothing promised outside.
void trigonometric(const Case& c, const uint64_t* in, Expected* out, bool sine) {
  const double a = input(c, kF32, in[0]);
  if (std::isnan(a) || std::isinf(a)) {
    out[0] = Expected::any_nan();
    return;
  }
  const long double value =
      sine ? std::sin(static_cast<long double>(a)) : std::cos(static_cast<long double>(a));
  const double magnitude = std::fabs(a), pi = 3.14159265358979;
  if (magnitude > 100 * pi) {
    out[0] = Expected::open();
    return;
  }
  out[0] = Expected::near(static_cast<Quad>(value), magnitude <= 2 * pi ? 0x1p-20 : 0x1p-14, 0);
}
void sin(const Case& c, const uint64_t* in, Expected* out) {
  trigonometric(c, in, out, true);
}
void cos(const Case& c, const uint64_t* in, Expected* out) {
  trigonometric(c, in, out, false);
}
// lg2: 2^-22 absolute in [0.5, 2], relative 2^-22 outside.
void lg2(const Case& c, const uint64_t* in, Expected* out) {
  const double a = input(c, kF32, in[0]);
  if (a == 0) {
    out[0] = Expected::near(-HUGE_VAL, 0, 0);
    return;
  }
  const long double value = std::log2(static_cast<long double>(a));
  out[0] = judge(c, value, a >= 0.5 && a <= 2 ? 0x1p-22 : 0, 0x1p-22);
}
void ex2(const Case& c, const uint64_t* in, Expected* out) {
  const double a = input(c, kF32, in[0]);
  out[0] = judge(c, std::exp2(static_cast<long double>(a)), 0, 0x1p-22);
}
void tanh(const Case&, const uint64_t* in, Expected* out) {
  const double a = static_cast<double>(decode(kF32, in[0]));
  if (std::isnan(a)) {
    out[0] = Expected::any_nan();
    return;
  }
  out[0] = Expected::near(static_cast<Quad>(std::tanh(static_cast<long double>(a))), 0x1p-126, 0x1p-11);
}

// f64 approximations work on the upper 32 bits: relative error 2^-20 or so; the lower 32 bits are zero.
void rcp64(const Case&, const uint64_t* in, Expected* out) {
  uint64_t bits = in[0];
  if (is_subnormal(kF64, bits)) bits &= sign_bit(kF64);
  const double a = static_cast<double>(decode(kF64, bits));
  const double value = 1.0 / a;
  if (std::isnan(a))
    out[0] = Expected::any_nan();
  else
    out[0] = Expected::near(static_cast<Quad>(value), 0x1p-1022, 0x1p-19);
}
void rsqrt64(const Case& c, const uint64_t* in, Expected* out) {
  uint64_t bits = in[0];
  if (c.form.has("ftz") && is_subnormal(kF64, bits)) bits &= sign_bit(kF64);
  const double a = static_cast<double>(decode(kF64, bits));
  if (std::isnan(a) || a < 0)
    out[0] = Expected::any_nan();
  else if (a == 0)
    out[0] = Expected::near(std::signbit(a) ? -HUGE_VAL : HUGE_VAL, 0, 0);
  else
    out[0] = Expected::near(static_cast<Quad>(1.0 / std::sqrt(a)), 0, 0x1p-19);
}

}  // namespace

void add_approximation_oracles(Oracles& o) {
  using isa::Id;
  o[Id::div_approx_f32] = div, o[Id::rcp_approx_f32] = rcp, o[Id::sqrt_approx_f32] = sqrt;
  o[Id::rsqrt_approx_f32] = rsqrt, o[Id::sin_approx_f32] = sin, o[Id::cos_approx_f32] = cos;
  o[Id::lg2_approx_f32] = lg2, o[Id::ex2_approx_f32] = ex2, o[Id::tanh_approx_f32] = tanh;
  o[Id::rcp_approx_f64] = rcp64, o[Id::rsqrt_approx_f64] = rsqrt64;
}

}  // namespace ptxops::conformance
