// Comparison semantics (PTX ISA 9.7.5 to 9.7.7), one lane at a time, and the types its files share.
#pragma once

#include <cmath>
#include <string_view>

#include "driver/virtual/exec/alu_float.h"
#include "driver/virtual/isa/types.h"

namespace ptxops::virt {
struct Warp;
}
namespace ptxops::virt::alu {

enum class Cmp : uint8_t { eq, ne, lt, le, gt, ge, equ, neu, ltu, leu, gtu, geu, num, nan };

// lo, ls, hi and hs are the unsigned names of lt, le, gt and ge.
inline Cmp cmp_from_token(std::string_view s) {
  constexpr std::string_view names[] = {"eq",  "ne",  "lt",  "le",  "gt",  "ge",  "equ",
                                        "neu", "ltu", "leu", "gtu", "geu", "num", "nan"};
  if (s == "lo") return Cmp::lt;
  if (s == "ls") return Cmp::le;
  if (s == "hi") return Cmp::gt;
  if (s == "hs") return Cmp::ge;
  uint8_t k = 0;
  while (names[k] != s) ++k;  // the table admits no other token
  return static_cast<Cmp>(k);
}

// Relations without a `u` are false, those with one are true where an operand is NaN.
template <Cmp kCmp, class T, bool kFtz = false>
struct Compare {
  PTXOPS_ALU bool apply(T a, T b) {
    if constexpr (kFtz) {
      a = flush(a);
      b = flush(b);
    }
    switch (kCmp) {
      case Cmp::eq:
        return a == b;
      case Cmp::ne:
        return std::is_integral_v<T> ? a != b : (a < b) | (a > b);
      case Cmp::lt:
        return a < b;
      case Cmp::le:
        return a <= b;
      case Cmp::gt:
        return a > b;
      case Cmp::ge:
        return a >= b;
      case Cmp::equ:
        return !((a < b) | (a > b));
      case Cmp::neu:
        return a != b;
      case Cmp::ltu:
        return !(a >= b);
      case Cmp::leu:
        return !(a > b);
      case Cmp::gtu:
        return !(a <= b);
      case Cmp::geu:
        return !(a < b);
      case Cmp::num:
        return (a == a) & (b == b);
      case Cmp::nan:
        return (a != a) | (b != b);
    }
    return false;
  }
};

// Lanes where the comparison of a and b holds, inactive lanes included.
using Truth = uint32_t (*)(Warp& w, const Op& op);

// How a comparison is combined with predicate c: (a cmp b) op c.
enum class BoolOp : uint8_t { none, and_, or_, xor_ };
PTXOPS_ALU uint32_t combine(BoolOp op, uint32_t t, uint32_t c) {
  switch (op) {
    case BoolOp::and_:
      return t & c;
    case BoolOp::or_:
      return t | c;
    case BoolOp::xor_:
      return t ^ c;
    default:
      return t;
  }
}
inline BoolOp bool_from_token(std::string_view s) {
  return s == "and" ? BoolOp::and_ : s == "or" ? BoolOp::or_ : s == "xor" ? BoolOp::xor_ : BoolOp::none;
}

// Comparison of the half in bits 0..15 (upper = false) or 16..31; nullptr for types other than f16 and bf16
// and their packs.
Truth half_truth(Cmp cmp, isa::Type type, bool ftz, bool upper);

}  // namespace ptxops::virt::alu
