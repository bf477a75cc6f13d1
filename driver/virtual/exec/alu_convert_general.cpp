// Conversions of any type to any other, one lane at a time through numerics/.
#include <cmath>
#include <limits>

#include "driver/virtual/exec/alu_convert.h"
#include "driver/virtual/exec/alu_types.h"
#include "driver/virtual/exec/machine.h"
#include "driver/virtual/numerics/convert.h"

namespace ptxops::virt::alu {
namespace {
using isa::Type;
using numerics::Format;

Format format_of(Type t) {
  switch (t) {
    case Type::f16:
    case Type::f16x2:
      return Format::f16;
    case Type::bf16:
    case Type::bf16x2:
      return Format::bf16;
    case Type::f64:
      return Format::f64;
    default:
      return Format::f32;
  }
}

double integral(double v, Round r) {
  switch (r) {
    case Round::rz:
      return std::trunc(v);
    case Round::rm:
      return std::floor(v);
    case Round::rp:
      return std::ceil(v);
    default:
      return std::nearbyint(v);
  }
}

// The value of any narrower format as f64: exact.
double as_f64(Type from, bool ftz, uint64_t bits) {
  if (ftz && from == Type::f32) bits = numerics::soft::flush(Format::f32, bits);
  return std::bit_cast<double>(numerics::convert(Format::f64, format_of(from), {}, bits));
}

i128 clamped(i128 v, i128 lo, i128 hi) {
  return v < lo ? lo : v > hi ? hi : v;
}

struct Range {
  i128 lo, hi;
};
Range range_of(bool is_signed, int bits) {
  const i128 one = 1;
  return is_signed ? Range{-(one << (bits - 1)), (one << (bits - 1)) - 1} : Range{0, (one << bits) - 1};
}
Range range_of(Type t) {
  return range_of(isa::is_signed(t), isa::type_bits(t));
}

// NaN gives 0, or only the highest bit where the source is f64 or the result has 64 bits.
uint64_t float_to_int(const CvtPlan& p, uint64_t bits) {
  const double v = integral(as_f64(p.from, p.flags.ftz, bits), p.flags.round);
  const int width = isa::type_bits(p.to);
  if (v != v) return p.from == Type::f64 || width == 64 ? uint64_t{1} << (width - 1) : 0;
  const Range r = range_of(p.to);
  const i128 exact = std::fabs(v) < 0x1p100 ? static_cast<i128>(v) : v < 0 ? r.lo : r.hi;
  return static_cast<uint64_t>(clamped(exact, r.lo, r.hi));
}

i128 integer_value(Type from, uint64_t bits) {
  const int shift = 64 - isa::type_bits(from);
  if (isa::is_signed(from)) return static_cast<int64_t>(bits << shift) >> shift;
  return static_cast<i128>(bits << shift >> shift);
}

uint64_t convert_lane(const CvtPlan& p, uint64_t bits) {
  const bool from_int = isa::is_integer(p.from), to_int = isa::is_integer(p.to);
  if (from_int && to_int) {
    const i128 v = integer_value(p.from, bits);
    const Range r = range_of(p.to);
    return static_cast<uint64_t>(p.flags.sat ? clamped(v, r.lo, r.hi) : v);
  }
  if (to_int) return float_to_int(p, bits);
  if (from_int) {
    const i128 v = integer_value(p.from, bits);
    using numerics::soft::Kind;
    if (v == 0) return 0;
    return numerics::soft::pack(format_of(p.to), p.flags,
                                {Kind::finite, v < 0, 0, static_cast<uint64_t>(v < 0 ? -v : v)});
  }
  if (p.flags.integral) {
    numerics::FloatMode mode = p.flags;
    mode.round = Round::rn;  // an integral value of the format rounds to itself
    const double v = integral(as_f64(p.from, p.flags.ftz, bits), p.flags.round);
    return numerics::convert(format_of(p.to), Format::f64, mode, std::bit_cast<uint64_t>(v));
  }
  return numerics::convert(format_of(p.to), format_of(p.from), p.flags, bits);
}

template <class D, class S>
void convert_lanes(Warp& w, const Op& op, uint32_t lanes, const CvtPlan& p) {
  const S* a = w.reg<S>(op.a);
  D* d = w.reg<D>(op.d);
  const uint64_t mask = ~uint64_t{0} >> (64 - isa::type_bits(p.to));
  for (uint32_t i = 0; i < kLanes; ++i) {
    if (lanes >> i & 1) d[i] = static_cast<D>(convert_lane(p, a[i]) & mask);
  }
}

}  // namespace

Step general_convert(Warp& w, const Op& op, uint32_t lanes) {
  const auto& p = *reinterpret_cast<const CvtPlan*>(op.imm);
  const bool wide_to = isa::type_bits(p.to) == 64, wide_from = isa::type_bits(p.from) == 64;
  if (wide_to && wide_from) convert_lanes<uint64_t, uint64_t>(w, op, lanes, p);
  if (wide_to && !wide_from) convert_lanes<uint64_t, uint32_t>(w, op, lanes, p);
  if (!wide_to && wide_from) convert_lanes<uint32_t, uint64_t>(w, op, lanes, p);
  if (!wide_to && !wide_from) convert_lanes<uint32_t, uint32_t>(w, op, lanes, p);
  return Step::next;
}

Step general_pack(Warp& w, const Op& op, uint32_t lanes) {
  const auto& p = *reinterpret_cast<const CvtPlan*>(op.imm);
  const Format to = format_of(p.to);
  const uint32_t* a = w.reg<uint32_t>(op.a);
  const uint32_t* b = w.reg<uint32_t>(op.b);
  uint32_t* d = w.reg<uint32_t>(op.d);
  for (uint32_t i = 0; i < kLanes; ++i) {
    if (!(lanes >> i & 1)) continue;
    const auto upper = static_cast<uint32_t>(numerics::convert(to, Format::f32, p.flags, a[i]));
    const auto lower = static_cast<uint32_t>(numerics::convert(to, Format::f32, p.flags, b[i]));
    d[i] = upper << 16 | lower;
  }
  return Step::next;
}

Step saturating_pack(Warp& w, const Op& op, uint32_t lanes) {
  const int32_t* a = w.reg<int32_t>(op.a);
  const int32_t* b = w.reg<int32_t>(op.b);
  const uint32_t* c = w.reg<uint32_t>(op.c);
  uint32_t* d = w.reg<uint32_t>(op.d);
  const uint32_t n = op.f, mask = (1u << n) - 1;
  const Range r = range_of(op.imm != 0, static_cast<int>(n));
  for (uint32_t i = 0; i < kLanes; ++i) {
    if (!(lanes >> i & 1)) continue;
    const auto upper = static_cast<uint32_t>(clamped(a[i], r.lo, r.hi)) & mask;
    const auto lower = static_cast<uint32_t>(clamped(b[i], r.lo, r.hi)) & mask;
    const uint32_t rest = n < 16 ? c[i] << (2 * n) : 0;
    d[i] = rest | upper << n | lower;
  }
  return Step::next;
}

}  // namespace ptxops::virt::alu
