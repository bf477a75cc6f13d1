#include "tests/support/float_oracle.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace ptxops::test {
namespace {

struct Grid {
  int fraction_bits, least_exponent, greatest_exponent;
  double largest;
  std::uint32_t nan, inf;  // inf: what an overflow becomes
  int width, low_zeros;
};

Grid grid(const std::string& type) {
  if (type == "f16") return {10, -14, 15, 65504, 0x7FFF, 0x7C00, 16, 0};
  if (type == "bf16") return {7, -126, 127, 0x1.FEp127, 0x7FFF, 0x7F80, 16, 0};
  if (type == "tf32") return {10, -126, 127, 0x1.FFCp127, 0x7FFFFFFF, 0x7F800000, 32, 13};
  if (type == "f32") return {23, -126, 127, 0x1.FFFFFEp127, 0x7FFFFFFF, 0x7F800000, 32, 0};
  if (type == "e4m3") return {3, -6, 8, 448, 0x7F, 0x7F, 8, 0};
  if (type == "e5m2") return {2, -14, 15, 57344, 0x7F, 0x7C, 8, 0};
  throw std::invalid_argument("no grid for " + type);
}

// -1, 0, 1: the number against a double.
int compare(Real x, double y) {
  if (x.lo == x.hi) return x.lo < y ? -1 : x.lo > y;
  return x.hi <= y ? -1 : 1;
}

}  // namespace

std::uint32_t rounded_bits(const std::string& type, Real x, Direction direction, bool satfinite,
                           bool zero_negative) {
  const Grid g = grid(type);
  const std::uint32_t sign_bit = 1u << (g.width - 1);
  if (std::isnan(x.lo) || std::isnan(x.hi)) return g.nan;
  const bool negative = compare(x, 0) < 0 || (compare(x, 0) == 0 && zero_negative);
  const std::uint32_t sign = negative ? sign_bit : 0;
  if (negative) {
    x = {-x.hi, -x.lo};
    if (direction == Direction::down || direction == Direction::up)
      direction = direction == Direction::down ? Direction::up : Direction::down;
  }
  if (compare(x, 0) == 0) return sign;
  if (std::isinf(x.lo))
    return sign | (satfinite ? 0 : g.inf) |
           (satfinite ? rounded_bits(type, {g.largest, g.largest}, direction, false, false) : 0);

  const int e = x.lo == 0 ? g.least_exponent : std::max(std::ilogb(x.lo), g.least_exponent);
  const double quantum = std::ldexp(1.0, e - g.fraction_bits);
  const double below = std::floor(x.lo / quantum) * quantum, above = below + quantum,
               middle = below + quantum / 2;
  double r;
  const int side = compare(x, middle);
  if (compare(x, below) == 0) {
    r = below;
  } else if (direction == Direction::nearest_even || direction == Direction::nearest_away) {
    const bool even_below = std::fmod(below / quantum, 2) == 0;
    const bool up = side > 0 || (side == 0 && (direction == Direction::nearest_away || !even_below));
    r = up ? above : below;
  } else {
    r = direction == Direction::up ? above : below;
  }
  if (r > g.largest) {
    const bool to_inf = direction != Direction::zero && direction != Direction::down;
    if (to_inf && !satfinite) return sign | g.inf;
    r = g.largest;
  }
  if (r == 0) return sign;
  const int re = std::max(std::ilogb(r), g.least_exponent);
  const auto units =
      static_cast<std::uint32_t>(std::ldexp(r, g.fraction_bits - re));  // below 2^(fraction + 1)
  const bool normal = units >> g.fraction_bits;
  const std::uint32_t field = normal ? static_cast<std::uint32_t>(re - g.least_exponent + 1) : 0;
  return sign | (field << g.fraction_bits | (units & ((1u << g.fraction_bits) - 1))) << g.low_zeros;
}

}  // namespace ptxops::test
