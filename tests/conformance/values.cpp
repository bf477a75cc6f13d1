#include "tests/conformance/values.h"

#include <fmt/format.h>

#include <cstdlib>
#include <cstring>
#include <map>

#include "tests/conformance/reference.h"

namespace ptxops::conformance {

uint64_t seed() {
  static const uint64_t value = [] {
    const char* text = std::getenv("PTXOPS_SEED");
    return text ? std::strtoull(text, nullptr, 0) : 20240607ull;
  }();
  return value;
}

namespace {

uint64_t mask_of(int bits) {
  return bits >= 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1;
}

std::vector<uint64_t> integer_edges(int bits) {
  const uint64_t mask = mask_of(bits), top = uint64_t{1} << (bits - 1);
  std::vector<uint64_t> v{0,
                          1,
                          2,
                          3,
                          7,
                          8,
                          15,
                          16,
                          31,
                          32,
                          33,
                          63,
                          64,
                          127,
                          128,
                          255,
                          256,
                          top,
                          top - 1,
                          top + 1,
                          mask,
                          mask - 1,
                          mask >> 2,
                          0x5555555555555555u & mask,
                          0xaaaaaaaaaaaaaaaau & mask,
                          0x0123456789abcdefu & mask};
  for (uint64_t& x : v) x &= mask;
  return v;
}

// Zeros, subnormals, ones, halves, ties, extremes, infinities, NaNs of one format.
std::vector<uint64_t> float_edges(const Format& f) {
  const int mant = f.mantissa_bits, exp = f.exponent_bits;
  const uint64_t one = uint64_t(f.bias()) << mant, max_exp = mask_of(exp) << mant,
                 sign = uint64_t{1} << (mant + exp);
  std::vector<uint64_t> magnitudes{0,
                                   1,
                                   mask_of(mant),        // largest subnormal
                                   uint64_t{1} << mant,  // smallest normal
                                   (uint64_t{1} << mant) + 1,
                                   one,
                                   one + 1,
                                   one - 1,
                                   one - (uint64_t{1} << mant),                                // 0.5
                                   one + (uint64_t{1} << (mant - 1)),                          // 1.5
                                   one + (uint64_t{1} << mant),                                // 2
                                   one + (uint64_t{1} << mant) + (uint64_t{1} << (mant - 2)),  // 2.5
                                   max_exp - 1,  // largest finite
                                   max_exp - (uint64_t{1} << mant),
                                   max_exp,                              // infinity
                                   max_exp | uint64_t{1} << (mant - 1),  // quiet NaN
                                   max_exp | 1};                         // signalling NaN
  std::vector<uint64_t> v;
  for (uint64_t m : magnitudes) {
    v.push_back(m);
    v.push_back(m | sign);
  }
  return v;
}

Type element_of(Type t) {
  switch (t) {
    case Type::f16x2:
      return Type::f16;
    case Type::bf16x2:
      return Type::bf16;
    case Type::u16x2:
      return Type::u16;
    case Type::s16x2:
      return Type::s16;
    case Type::e4m3x2:
      return Type::b8;
    case Type::e5m2x2:
      return Type::b8;
    default:
      return t;
  }
}

std::vector<uint64_t> make_edges(Type type) {
  const Type element = element_of(type);
  if (type == Type::pred) return {0, 1};
  std::vector<uint64_t> single =
      format_of(element) ? float_edges(*format_of(element)) : integer_edges(virt::isa::type_bits(element));
  if (element == type) return single;
  const int bits = virt::isa::type_bits(element);
  std::vector<uint64_t> pairs;
  for (size_t i = 0; i < single.size(); ++i)
    pairs.push_back(single[i] | single[(i * 7 + 3) % single.size()] << bits);
  return pairs;
}

}  // namespace

const std::vector<uint64_t>& edges(Type type) {
  static std::map<Type, std::vector<uint64_t>> known;
  auto [it, fresh] = known.try_emplace(type);
  if (fresh) it->second = make_edges(type);
  return it->second;
}

uint64_t random_value(Type type, Random& random) {
  const int bits = virt::isa::type_bits(type);
  const uint64_t any = random() & mask_of(bits);
  if (type == Type::pred) return any & 1;
  if (random() & 1) return any;
  const Type element = element_of(type);
  if (element != type) {
    const int half = virt::isa::type_bits(element);
    return random_value(element, random) | random_value(element, random) << half;
  }
  if (const Format* f = format_of(type)) {  // an exponent near that of 1, so that sums interact
    const int span = std::min(12, f->bias() / 2);
    const uint64_t exponent = uint64_t(f->bias()) + random() % (2 * span) - span;
    const uint64_t sign = random() & 1;
    return (any & mask_of(f->mantissa_bits)) | exponent << f->mantissa_bits | sign << (bits - 1);
  }
  const uint64_t small = random() % 200;
  return (random() & 1 ? small : uint64_t{0} - small) & mask_of(bits);
}

std::string show(Type type, uint64_t bits) {
  const int width = std::max(1, virt::isa::type_bits(type) / 4);
  std::string text = fmt::format("0x{:0{}x}", bits, width);
  if (const Format* f = format_of(type))
    text += fmt::format(" ({:.9g})", static_cast<double>(decode(*f, bits)));
  return text;
}

}  // namespace ptxops::conformance
