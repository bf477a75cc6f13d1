#include "tests/support/tensor_core_oracle.h"

#include <bit>
#include <cmath>
#include <limits>
#include <stdexcept>

namespace ptxops::test {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

struct Ieee {
  int exponent_bits, fraction_bits;
};

Ieee layout(const std::string& type) {
  if (type == "f16") return {5, 10};
  if (type == "bf16") return {8, 7};
  if (type == "tf32" || type == "f32") return {8, 23};
  if (type == "e4m3") return {4, 3};
  if (type == "e5m2") return {5, 2};
  throw std::invalid_argument("no float type " + type);
}

int least_exponent(const std::string& type) {
  return 2 - (1 << (layout(type).exponent_bits - 1));
}

// e of value = s * 2^e, where 1 <= |s| < 2 for normal and |s| < 1 for subnormal numbers.
int exponent_of(const std::string& type, double value) {
  return std::max(std::ilogb(value), least_exponent(type));
}

std::uint32_t float_result(const std::string& d, bool fp8, double v) {
  const bool half = d == "f16";
  const std::uint32_t sign = std::signbit(v) ? (half ? 0x8000u : 0x80000000u) : 0;
  const double size = std::fabs(v);
  if (size == 0) return 0;
  const int fraction = half ? 10 : fp8 ? 13 : 23;
  const double quantum = std::ldexp(1.0, exponent_of(d, size) - fraction);
  const double units = size / quantum;
  const double rounded = (half ? std::nearbyint(units) : std::trunc(units)) * quantum;
  if (half) {
    if (rounded >= 65536) return sign | 0x7C00;
    if (rounded < 0x1p-14) return sign | static_cast<std::uint32_t>(std::ldexp(rounded, 24));
    const int e = std::ilogb(rounded);
    return sign | static_cast<std::uint32_t>(e + 15) << 10 |
           (static_cast<std::uint32_t>(std::ldexp(rounded, 10 - e)) & 0x3FF);
  }
  if (rounded >= 0x1p128) return sign | 0x7F800000;
  return sign | std::bit_cast<std::uint32_t>(static_cast<float>(rounded));
}

std::uint32_t integer_dot(const DotSpec& s, const std::vector<std::uint32_t>& a,
                          const std::vector<std::uint32_t>& b, std::uint32_t c, bool use_c) {
  long double sum = use_c ? static_cast<std::int32_t>(c) : 0;
  const auto value = [](const std::string& type, std::uint32_t x) -> long double {
    return type == "s8" && x >= 128 ? static_cast<long double>(x) - 256 : static_cast<long double>(x);
  };
  for (std::size_t k = 0; k < a.size(); ++k) sum += value(s.a, a[k]) * value(s.b, b[k]);
  if (s.satfinite) sum = std::fmin(std::fmax(sum, -2147483648.0L), 2147483647.0L);
  return static_cast<std::uint32_t>(static_cast<std::int64_t>(sum));
}

}  // namespace

double element_value(const std::string& type, std::uint32_t bits) {
  const Ieee l = layout(type);
  if (type == "tf32") bits &= ~0x1FFFu;
  const auto fraction = static_cast<double>(bits % (1u << l.fraction_bits));
  const int field = static_cast<int>(bits >> l.fraction_bits) % (1 << l.exponent_bits);
  const bool negative = bits >> (l.fraction_bits + l.exponent_bits) & 1;
  double magnitude;
  if (type == "e4m3" && (bits & 0x7F) == 0x7F)
    magnitude = std::numeric_limits<double>::quiet_NaN();
  else if (type != "e4m3" && field == (1 << l.exponent_bits) - 1)
    magnitude = fraction == 0 ? kInf : std::numeric_limits<double>::quiet_NaN();
  else
    magnitude = std::ldexp(fraction + (field ? std::ldexp(1.0, l.fraction_bits) : 0),
                           (field ? field : 1) + least_exponent(type) - 1 - l.fraction_bits);
  return negative ? -magnitude : magnitude;
}

std::uint32_t tensor_core_dot(const DotSpec& s, const std::vector<std::uint32_t>& a,
                              const std::vector<std::uint32_t>& b, std::uint32_t c_bits, bool use_c) {
  if (s.d == "s32") return integer_dot(s, a, b, c_bits, use_c);
  const bool fp8 = s.a == "e4m3" || s.a == "e5m2";
  const int kept_fraction = fp8 ? 13 : 25;

  struct Term {
    double significand;
    int exponent;
  };
  std::vector<Term> terms;
  double specials = 0;  // sum of Inf and NaN terms in IEEE arithmetic: what kind of special comes out
  const auto take = [&](double significand, int exponent) {
    if (significand != 0) terms.push_back({significand, exponent});
  };
  for (std::size_t k = 0; k < a.size(); ++k) {
    double x = element_value(s.a, a[k]), y = element_value(s.b, b[k]);
    if (s.negate_a) x = -x;
    if (s.negate_b) y = -y;
    if (!std::isfinite(x) || !std::isfinite(y)) {
      specials += x * y;
    } else if (x != 0 && y != 0) {
      const int ex = exponent_of(s.a, x), ey = exponent_of(s.b, y);
      take(std::ldexp(x, -ex) * std::ldexp(y, -ey), ex + ey);
    }
  }
  if (use_c) {
    const double c = element_value(s.d, c_bits);
    if (!std::isfinite(c))
      specials += c;
    else if (c != 0)
      take(std::ldexp(c, -exponent_of(s.d, c)), exponent_of(s.d, c));
  }
  if (std::isnan(specials)) return s.d == "f16" ? 0x7FFF : 0x7FFFFFFF;
  if (specials != 0) {
    const std::uint32_t inf = s.d == "f16" ? 0x7C00 : 0x7F800000;
    return specials > 0 ? inf : inf | (s.d == "f16" ? 0x8000 : 0x80000000);
  }
  int top = s.d == "f16" ? -21 : -133;
  for (const Term& t : terms) top = std::max(top, t.exponent);
  double sum = 0;  // integers below 2^34: exact
  for (const Term& t : terms) sum += std::trunc(std::ldexp(t.significand, kept_fraction + t.exponent - top));
  return float_result(s.d, fp8, std::ldexp(sum, top - kept_fraction));
}

}  // namespace ptxops::test
