// Fast conversion handlers.
#include "driver/virtual/exec/alu_select.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "driver/virtual/exec/alu_convert.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <limits>

#include "driver/virtual/exec/alu_convert.h"
#include "driver/virtual/exec/alu_float.h"
#include "driver/virtual/exec/alu_half_bits.h"
#include "driver/virtual/exec/alu_lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ptxops::virt::alu::HWY_NAMESPACE {

// Integers: the low bits, or an extension by the source's signedness.
template <class D, class S>
struct IntToInt {
  PTXOPS_ALU D apply(S a) { return static_cast<D>(a); }
};
// Directed modes can make the vector forms of zero negative.
template <class D, class S>
struct IntToFloat {
  PTXOPS_ALU D apply(S a) { return a == 0 ? D{0} : static_cast<D>(a); }
};

template <Round kRounding, class T>
PTXOPS_ALU T integral(T v) {
  switch (kRounding) {
    case Round::rn:
      return std::rint(v);
    case Round::rz:
      return std::trunc(v);
    case Round::rm:
      return std::floor(v);
    case Round::rp:
      return std::ceil(v);
    case Round::rna:
      break;
  }
  return v;
}
// To 32 bits, clamped; NaN becomes 0.
template <class D, Round kRounding, bool kFtz>
struct FloatToInt {
  PTXOPS_ALU D apply(float a) {
    const float v = integral<kRounding>(kFtz ? flush(a) : a);
    constexpr float end = std::is_signed_v<D> ? 0x1p31f : 0x1p32f,
                    begin = std::is_signed_v<D> ? -0x1p31f : 0.0f;
    const bool inside = (v >= begin) & (v < end);
    const float safe = inside ? v : 0.0f;
    const D converted = std::is_signed_v<D> ? static_cast<D>(static_cast<int32_t>(safe))
                                            : static_cast<D>(static_cast<uint32_t>(safe));
    const D outside = v >= end    ? std::numeric_limits<D>::max()
                      : v < begin ? std::numeric_limits<D>::min()
                                  : D{0};
    return inside ? converted : outside;
  }
};

struct F32FromF16 {
  PTXOPS_ALU float apply(F16 a) { return canonical(f32_from_f16(a.bits)); }
};
struct F32FromBf16 {
  PTXOPS_ALU float apply(BF16 a) { return canonical(f32_from_bf16(a.bits)); }
};
struct F16FromF32 {
  PTXOPS_ALU F16 apply(float a) { return {f16_from_f32(a)}; }
};
struct Bf16FromF32 {
  PTXOPS_ALU BF16 apply(float a) { return {bf16_from_f32(a)}; }
};
struct F64FromF32 {
  PTXOPS_ALU double apply(float a) { return a; }
};
struct F32FromF64 {
  PTXOPS_ALU float apply(double a) { return canonical(static_cast<float>(a)); }
};
template <Round kRounding>
struct Integral32 {
  PTXOPS_ALU float apply(float a) { return canonical(integral<kRounding>(a)); }
};

template <bool kRelu>
PTXOPS_ALU float relu(float v) {
  return kRelu && v <= 0.0f ? 0.0f : v;
}
template <bool kRelu>
struct F16x2Pack {
  PTXOPS_ALU uint32_t apply(float a, float b) {
    return uint32_t{f16_from_f32(relu<kRelu>(a))} << 16 | f16_from_f32(relu<kRelu>(b));
  }
};
template <bool kRelu>
struct Bf16x2Pack {
  PTXOPS_ALU uint32_t apply(float a, float b) {
    return uint32_t{bf16_from_f32(relu<kRelu>(a))} << 16 | bf16_from_f32(relu<kRelu>(b));
  }
};
template <bool kRelu>
struct E4m3Pack {
  PTXOPS_ALU uint32_t apply(float a, float b) {
    return uint32_t{e4m3_from_f32(relu<kRelu>(a))} << 8 | e4m3_from_f32(relu<kRelu>(b));
  }
};
template <bool kRelu>
struct E5m2Pack {
  PTXOPS_ALU uint32_t apply(float a, float b) {
    return uint32_t{e5m2_from_f32(relu<kRelu>(a))} << 8 | e5m2_from_f32(relu<kRelu>(b));
  }
};
template <template <bool> class Pack, bool kRelu>
struct PackOfHalves {
  PTXOPS_ALU uint32_t apply(uint32_t a) {
    return Pack<kRelu>::apply(f32_from_f16(static_cast<uint16_t>(a >> 16)),
                              f32_from_f16(static_cast<uint16_t>(a)));
  }
};
template <bool kRelu>
struct HalvesOfE4m3 {
  PTXOPS_ALU uint32_t apply(uint32_t a) {
    return F16x2Pack<kRelu>::apply(f32_from_e4m3(static_cast<uint8_t>(a >> 8)),
                                   f32_from_e4m3(static_cast<uint8_t>(a)));
  }
};
template <bool kRelu>
struct HalvesOfE5m2 {
  PTXOPS_ALU uint32_t apply(uint32_t a) {
    return F16x2Pack<kRelu>::apply(f32_from_e5m2(static_cast<uint8_t>(a >> 8)),
                                   f32_from_e5m2(static_cast<uint8_t>(a)));
  }
};

// The 13 low bits go. Magnitudes beyond the largest tf32 become infinity, or that number with satfinite.
template <Round kRounding, bool kRelu, bool kSatfinite>
struct Tf32 {
  PTXOPS_ALU uint32_t apply(float a) {
    const uint32_t u = bits_of(relu<kRelu>(a));
    const uint32_t add = kRounding == Round::rna  ? 0x1000u
                         : kRounding == Round::rn ? 0xfffu + (u >> 13 & 1)
                                                  : 0u;
    const uint32_t rounded = (u + add) & ~0x1fffu;
    const bool overflow = (rounded & 0x7fffffffu) >= 0x7f800000u;
    const uint32_t result = kSatfinite && overflow ? (u & 0x80000000u) | 0x7f7fe000u : rounded;
    return a == a ? result : kNanF32;
  }
};

template <class D>
Handler int_to_int(isa::Type from) {
  using isa::Type;
  switch (from) {
    case Type::u8:
      return lanewise<IntToInt<D, uint8_t>>;
    case Type::u16:
      return lanewise<IntToInt<D, uint16_t>>;
    case Type::u32:
      return lanewise<IntToInt<D, uint32_t>>;
    case Type::u64:
      return lanewise<IntToInt<D, uint64_t>>;
    case Type::s8:
      return lanewise<IntToInt<D, int8_t>>;
    case Type::s16:
      return lanewise<IntToInt<D, int16_t>>;
    case Type::s32:
      return lanewise<IntToInt<D, int32_t>>;
    case Type::s64:
      return lanewise<IntToInt<D, int64_t>>;
    default:
      return nullptr;
  }
}
template <class D>
Handler int_to_float(isa::Type from) {
  using isa::Type;
  switch (from) {
    case Type::u8:
      return lanewise<IntToFloat<D, uint8_t>>;
    case Type::u16:
      return lanewise<IntToFloat<D, uint16_t>>;
    case Type::u32:
      return lanewise<IntToFloat<D, uint32_t>>;
    case Type::u64:
      return lanewise<IntToFloat<D, uint64_t>>;
    case Type::s8:
      return lanewise<IntToFloat<D, int8_t>>;
    case Type::s16:
      return lanewise<IntToFloat<D, int16_t>>;
    case Type::s32:
      return lanewise<IntToFloat<D, int32_t>>;
    case Type::s64:
      return lanewise<IntToFloat<D, int64_t>>;
    default:
      return nullptr;
  }
}
template <class D, bool kFtz>
Handler float_to_int(Round r) {
  switch (r) {
    case Round::rn:
      return lanewise<FloatToInt<D, Round::rn, kFtz>>;
    case Round::rz:
      return lanewise<FloatToInt<D, Round::rz, kFtz>>;
    case Round::rm:
      return lanewise<FloatToInt<D, Round::rm, kFtz>>;
    case Round::rp:
      return lanewise<FloatToInt<D, Round::rp, kFtz>>;
    case Round::rna:
      break;
  }
  return nullptr;
}
Handler integral32(Round r) {
  switch (r) {
    case Round::rn:
      return lanewise<Integral32<Round::rn>>;
    case Round::rz:
      return lanewise<Integral32<Round::rz>>;
    case Round::rm:
      return lanewise<Integral32<Round::rm>>;
    case Round::rp:
      return lanewise<Integral32<Round::rp>>;
    case Round::rna:
      break;
  }
  return nullptr;
}

Handler fast_convert(isa::Type to, isa::Type from, const CvtFlags& flags) {
  using isa::Type;
  if (from == Type::f32 && (to == Type::s32 || to == Type::u32)) {
    if (to == Type::s32) {
      return flags.ftz ? float_to_int<int32_t, true>(flags.round) : float_to_int<int32_t, false>(flags.round);
    }
    return flags.ftz ? float_to_int<uint32_t, true>(flags.round) : float_to_int<uint32_t, false>(flags.round);
  }
  if (!flags.none()) return nullptr;
  if (isa::is_integer(from)) {
    if (to == Type::f32) return int_to_float<float>(from);
    if (to == Type::f64) return int_to_float<double>(from);
    if (!isa::is_integer(to)) return nullptr;
    switch (isa::type_bits(to)) {  // signedness of the result does not matter: it is the slot's low bits
      case 8:
        return int_to_int<uint8_t>(from);
      case 16:
        return int_to_int<uint16_t>(from);
      case 32:
        return int_to_int<uint32_t>(from);
      default:
        return int_to_int<uint64_t>(from);
    }
  }
  if (to == Type::f32) {
    if (from == Type::f16) return lanewise<F32FromF16>;
    if (from == Type::bf16) return lanewise<F32FromBf16>;
    if (from == Type::f64) return lanewise<F32FromF64>;
    if (from == Type::f32 && flags.integral) return integral32(flags.round);
  }
  if (from == Type::f32) {
    if (to == Type::f64) return lanewise<F64FromF32>;
    if (flags.round == Round::rn) {
      if (to == Type::f16) return lanewise<F16FromF32>;
      if (to == Type::bf16) return lanewise<Bf16FromF32>;
    }
  }
  return nullptr;
}

Handler fast_pack(isa::Type to, bool relu) {
  using isa::Type;
  switch (to) {
    case Type::f16x2:
      return relu ? lanewise<F16x2Pack<true>> : lanewise<F16x2Pack<false>>;
    case Type::bf16x2:
      return relu ? lanewise<Bf16x2Pack<true>> : lanewise<Bf16x2Pack<false>>;
    case Type::e4m3x2:
      return relu ? lanewise<E4m3Pack<true>> : lanewise<E4m3Pack<false>>;
    case Type::e5m2x2:
      return relu ? lanewise<E5m2Pack<true>> : lanewise<E5m2Pack<false>>;
    default:
      return nullptr;
  }
}

template <bool kRelu>
Handler fp8(isa::Type to, isa::Type from) {
  using isa::Type;
  if (to == Type::e4m3x2) return lanewise<PackOfHalves<E4m3Pack, kRelu>>;
  if (to == Type::e5m2x2) return lanewise<PackOfHalves<E5m2Pack, kRelu>>;
  return from == Type::e4m3x2 ? lanewise<HalvesOfE4m3<kRelu>> : lanewise<HalvesOfE5m2<kRelu>>;
}
Handler fast_fp8(isa::Type to, isa::Type from, bool relu) {
  return relu ? fp8<true>(to, from) : fp8<false>(to, from);
}

template <Round kRounding>
Handler tf32(bool relu, bool satfinite) {
  if (relu) return satfinite ? lanewise<Tf32<kRounding, true, true>> : lanewise<Tf32<kRounding, true, false>>;
  return satfinite ? lanewise<Tf32<kRounding, false, true>> : lanewise<Tf32<kRounding, false, false>>;
}
Handler tf32_convert(Round rounding, bool relu, bool satfinite) {
  if (rounding == Round::rna) return tf32<Round::rna>(relu, satfinite);
  return rounding == Round::rz ? tf32<Round::rz>(relu, satfinite) : tf32<Round::rn>(relu, satfinite);
}

}  // namespace ptxops::virt::alu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ptxops::virt::alu {
HWY_EXPORT(fast_convert);
HWY_EXPORT(fast_pack);
HWY_EXPORT(fast_fp8);
HWY_EXPORT(tf32_convert);
Handler fast_convert(isa::Type to, isa::Type from, const CvtFlags& flags) {
  return HWY_DYNAMIC_DISPATCH(fast_convert)(to, from, flags);
}
Handler fast_pack(isa::Type to, bool relu) {
  return HWY_DYNAMIC_DISPATCH(fast_pack)(to, relu);
}
Handler fast_fp8(isa::Type to, isa::Type from, bool relu) {
  return HWY_DYNAMIC_DISPATCH(fast_fp8)(to, from, relu);
}
Handler tf32_convert(Round rounding, bool relu, bool satfinite) {
  return HWY_DYNAMIC_DISPATCH(tf32_convert)(rounding, relu, satfinite);
}
}  // namespace ptxops::virt::alu
#endif
