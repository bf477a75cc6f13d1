// Read-modify-write operations, shared by atom, red, red.async, cp.reduce and multimem.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "driver/virtual/isa/types.h"

namespace ptxops::virt {

enum class AtomicOp : uint8_t { add, min, max, inc, dec, and_, or_, xor_, exch };

inline bool atomic_op_from(std::string_view token, AtomicOp& op) {
  constexpr std::string_view kNames[] = {"add", "min", "max", "inc", "dec", "and", "or", "xor", "exch"};
  for (size_t i = 0; i < std::size(kNames); ++i)
    if (kNames[i] == token) {
      op = static_cast<AtomicOp>(i);
      return true;
    }
  return false;
}

namespace atomics {

using isa::Type;

// f16 and bf16 through f32: with 24 bits against 11 or 8, rounding the f32 sum once more is exact (p >= 2q +
// 2).
inline float from_f16(uint16_t h) {
  const uint32_t exponent = h >> 10 & 31, fraction = h & 0x3FF;
  const float magnitude = exponent == 31
                              ? (fraction ? NAN : INFINITY)
                              : std::ldexp(static_cast<float>(exponent ? fraction | 0x400 : fraction),
                                           static_cast<int>(exponent ? exponent : 1) - 25);
  return h & 0x8000 ? -magnitude : magnitude;
}
inline uint16_t to_f16(float value) {
  if (std::isnan(value)) return 0x7FFF;
  const uint32_t bits = std::bit_cast<uint32_t>(value), sign = bits >> 16 & 0x8000;
  const uint32_t magnitude = bits & 0x7FFFFFFF;
  if (magnitude >= 0x477FF000) return static_cast<uint16_t>(sign | 0x7C00);  // rounds to 65536 or more
  if (magnitude < 0x38800000)  // subnormal: the quantum is 2^-24, and nearbyint rounds to even
    return static_cast<uint16_t>(sign |
                                 static_cast<uint32_t>(std::nearbyint(std::ldexp(std::fabs(value), 24))));
  const uint32_t rounded = magnitude + 0xFFF + (magnitude >> 13 & 1);
  return static_cast<uint16_t>(sign | ((rounded >> 13) - (112u << 10)));
}
inline float from_bf16(uint16_t b) {
  return std::bit_cast<float>(static_cast<uint32_t>(b) << 16);
}
inline uint16_t to_bf16(float value) {
  if (std::isnan(value)) return 0x7FFF;
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

// What a type computes on: `Raw` as stored, `Value` as added and compared.
template <Type T>
struct Traits;
template <class R, class V>
struct Plain {
  using Raw = R;
  using Value = V;
  static Value value(Raw r) { return std::bit_cast<Value>(r); }
  static Raw raw(Value v) { return std::bit_cast<Raw>(v); }
};
template <>
struct Traits<Type::u32> : Plain<uint32_t, uint32_t> {};
template <>
struct Traits<Type::s32> : Plain<uint32_t, int32_t> {};
template <>
struct Traits<Type::b32> : Plain<uint32_t, uint32_t> {};
template <>
struct Traits<Type::u64> : Plain<uint64_t, uint64_t> {};
template <>
struct Traits<Type::s64> : Plain<uint64_t, int64_t> {};
template <>
struct Traits<Type::b64> : Plain<uint64_t, uint64_t> {};
template <>
struct Traits<Type::f32> : Plain<uint32_t, float> {
  static Raw raw(float v) { return std::isnan(v) ? 0x7FFFFFFF : std::bit_cast<Raw>(v); }
};
template <>
struct Traits<Type::f64> : Plain<uint64_t, double> {};
template <>
struct Traits<Type::f16> {
  using Raw = uint16_t;
  using Value = float;
  static float value(Raw r) { return from_f16(r); }
  static Raw raw(float v) { return to_f16(v); }
};
template <>
struct Traits<Type::bf16> {
  using Raw = uint16_t;
  using Value = float;
  static float value(Raw r) { return from_bf16(r); }
  static Raw raw(float v) { return to_bf16(v); }
};

inline float flush(float v) {
  return std::fpclassify(v) == FP_SUBNORMAL ? std::copysign(0.0f, v) : v;
}

template <class V>
V smaller(V a, V b) {
  if constexpr (std::is_floating_point_v<V>) {
    if (std::isnan(a)) return b;
    if (std::isnan(b)) return a;
    if (a == b) return std::signbit(a) ? a : b;  // -0 < +0
  }
  return b < a ? b : a;
}
template <class V>
V larger(V a, V b) {
  if constexpr (std::is_floating_point_v<V>) {
    if (std::isnan(a)) return b;
    if (std::isnan(b)) return a;
    if (a == b) return std::signbit(a) ? b : a;
  }
  return a < b ? b : a;
}

// The new value from the old one and the operand. kFlush: f32 additions in global memory flush subnormal
// inputs and results to zero of the same sign; those in shared memory do not.
template <AtomicOp O, Type T, bool kFlush>
struct Combine {
  using Traits_ = Traits<T>;
  using Raw = typename Traits_::Raw;
  using Value = typename Traits_::Value;
  static Raw apply(Raw old, Raw operand) {
    if constexpr (O == AtomicOp::exch)
      return operand;
    else if constexpr (O == AtomicOp::and_)
      return old & operand;
    else if constexpr (O == AtomicOp::or_)
      return old | operand;
    else if constexpr (O == AtomicOp::xor_)
      return old ^ operand;
    else if constexpr (O == AtomicOp::inc)
      return old >= operand ? 0 : old + 1;
    else if constexpr (O == AtomicOp::dec)
      return old == 0 || old > operand ? operand : old - 1;
    else if constexpr (O == AtomicOp::min)
      return Traits_::raw(smaller(Traits_::value(old), Traits_::value(operand)));
    else if constexpr (O == AtomicOp::max)
      return Traits_::raw(larger(Traits_::value(old), Traits_::value(operand)));
    else if constexpr (std::is_integral_v<Value>)
      return old + operand;  // unsigned: wraps
    else if constexpr (T == Type::f32 && kFlush)
      return Traits_::raw(flush(flush(Traits_::value(old)) + flush(Traits_::value(operand))));
    else
      return Traits_::raw(Traits_::value(old) + Traits_::value(operand));
  }
};
// Pairs of halves: each half on its own, in one 4-byte access.
template <AtomicOp O, Type kHalf, bool kFlush>
struct CombinePair {
  using Raw = uint32_t;
  static Raw apply(Raw old, Raw operand) {
    using C = Combine<O, kHalf, kFlush>;
    const uint32_t low = C::apply(static_cast<uint16_t>(old), static_cast<uint16_t>(operand));
    const uint32_t high = C::apply(static_cast<uint16_t>(old >> 16), static_cast<uint16_t>(operand >> 16));
    return high << 16 | low;
  }
};
template <AtomicOp O, bool F>
struct Combine<O, Type::f16x2, F> : CombinePair<O, Type::f16, F> {};
template <AtomicOp O, bool F>
struct Combine<O, Type::bf16x2, F> : CombinePair<O, Type::bf16, F> {};

constexpr bool legal(AtomicOp op, Type t) {
  const bool whole = t == Type::u32 || t == Type::s32 || t == Type::u64 || t == Type::s64;
  const bool bits = t == Type::b32 || t == Type::b64;
  const bool half = t == Type::f16 || t == Type::bf16 || t == Type::f16x2 || t == Type::bf16x2;
  switch (op) {
    case AtomicOp::add:
      return whole || half || t == Type::f32 || t == Type::f64;
    case AtomicOp::min:
    case AtomicOp::max:
      return whole || half;
    case AtomicOp::inc:
    case AtomicOp::dec:
      return t == Type::u32;
    default:
      return bits;
  }
}

// Calls f.template operator()<Combine<...>>() for a legal (op, type) and returns its result; F::Result{}
// otherwise.
template <bool kFlush, class F>
typename F::Result dispatch(AtomicOp op, Type type, const F& f) {
  typename F::Result result{};
  auto by_type = [&]<AtomicOp O>() {
    auto with = [&]<Type T>() {
      if constexpr (legal(O, T))
        if (type == T) result = f.template operator()<Combine<O, T, kFlush>>();
    };
    with.template operator()<Type::u32>();
    with.template operator()<Type::s32>();
    with.template operator()<Type::u64>();
    with.template operator()<Type::s64>();
    with.template operator()<Type::b32>();
    with.template operator()<Type::b64>();
    with.template operator()<Type::f32>();
    with.template operator()<Type::f64>();
    with.template operator()<Type::f16>();
    with.template operator()<Type::bf16>();
    with.template operator()<Type::f16x2>();
    with.template operator()<Type::bf16x2>();
  };
  switch (op) {
    case AtomicOp::add:
      by_type.template operator()<AtomicOp::add>();
      break;
    case AtomicOp::min:
      by_type.template operator()<AtomicOp::min>();
      break;
    case AtomicOp::max:
      by_type.template operator()<AtomicOp::max>();
      break;
    case AtomicOp::inc:
      by_type.template operator()<AtomicOp::inc>();
      break;
    case AtomicOp::dec:
      by_type.template operator()<AtomicOp::dec>();
      break;
    case AtomicOp::and_:
      by_type.template operator()<AtomicOp::and_>();
      break;
    case AtomicOp::or_:
      by_type.template operator()<AtomicOp::or_>();
      break;
    case AtomicOp::xor_:
      by_type.template operator()<AtomicOp::xor_>();
      break;
    case AtomicOp::exch:
      by_type.template operator()<AtomicOp::exch>();
      break;
  }
  return result;
}

// One atomic update of memory that other host threads may be updating; returns the old value. `p` is aligned.
template <class C>
typename C::Raw update(std::byte* p, typename C::Raw operand) {
  using Raw = typename C::Raw;
  Raw* at = reinterpret_cast<Raw*>(p);
  Raw old = __atomic_load_n(at, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(at, &old, C::apply(old, operand), true, __ATOMIC_ACQ_REL,
                                      __ATOMIC_RELAXED)) {
  }
  return old;
}

// `count` elements from `source` combined into `p` one by one: the data path of bulk reductions.
using ReduceFunction = void (*)(std::byte* p, const std::byte* source, uint32_t count);
template <class C>
void reduce(std::byte* p, const std::byte* source, uint32_t count) {
  using Raw = typename C::Raw;
  for (uint32_t i = 0; i < count; ++i) {
    Raw operand;
    __builtin_memcpy(&operand, source + i * sizeof(Raw), sizeof operand);
    update<C>(p + i * sizeof(Raw), operand);
  }
}
struct PickReduce {
  using Result = ReduceFunction;
  template <class C>
  ReduceFunction operator()() const {
    return reduce<C>;
  }
};
// nullptr for a combination that does not exist.
inline ReduceFunction reduce_function(AtomicOp op, Type type, bool global) {
  return global ? dispatch<true>(op, type, PickReduce{}) : dispatch<false>(op, type, PickReduce{});
}

}  // namespace atomics
}  // namespace ptxops::virt
