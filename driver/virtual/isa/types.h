// PTX types and state spaces.
#pragma once

#include <cstdint>
#include <string_view>

namespace ptxops::virt::isa {

enum class Type : uint8_t {
  none,
#define PTXOPS_TYPE(name, bits, kind) name,
#include "driver/virtual/isa/table/types.def"
#undef PTXOPS_TYPE
};

enum class TypeKind : uint8_t { none, pred, bits, unsigned_int, signed_int, floating };

// Size in bits of one value (packed types: the whole pack); 1 for pred.
int type_bits(Type t);
inline int type_bytes(Type t) {
  return (type_bits(t) + 7) / 8;
}
TypeKind type_kind(Type t);
std::string_view type_name(Type t);
// Type::none if `token` ("u32") is not a type.
Type type_from_token(std::string_view token);
inline bool is_signed(Type t) {
  return type_kind(t) == TypeKind::signed_int;
}
inline bool is_float(Type t) {
  return type_kind(t) == TypeKind::floating;
}
inline bool is_integer(Type t) {
  return type_kind(t) == TypeKind::signed_int || type_kind(t) == TypeKind::unsigned_int;
}

enum class Space : uint8_t { reg, generic, global, shared, shared_cluster, local, param, const_ };
std::string_view space_name(Space s);
// Space::generic if `token` ("shared::cta") is not a state space.
Space space_from_token(std::string_view token);

}  // namespace ptxops::virt::isa
