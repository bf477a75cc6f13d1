#include "driver/virtual/isa/types.h"

namespace ptxops::virt::isa {
namespace {

struct TypeInfo {
  std::string_view name;
  int bits;
  TypeKind kind;
};

constexpr TypeKind kPred = TypeKind::pred, kBits = TypeKind::bits, kUnsigned = TypeKind::unsigned_int,
                   kSigned = TypeKind::signed_int, kFloating = TypeKind::floating;
constexpr TypeKind pick(std::string_view kind) {
  return kind == "pred"           ? kPred
         : kind == "bits"         ? kBits
         : kind == "unsigned_int" ? kUnsigned
         : kind == "signed_int"   ? kSigned
                                  : kFloating;
}

constexpr TypeInfo kTypes[] = {
    {"none", 0, TypeKind::none},
#define PTXOPS_TYPE(name, bits, kind) {#name, bits, pick(#kind)},
#include "driver/virtual/isa/table/types.def"
#undef PTXOPS_TYPE
};

}  // namespace

int type_bits(Type t) {
  return kTypes[static_cast<int>(t)].bits;
}
TypeKind type_kind(Type t) {
  return kTypes[static_cast<int>(t)].kind;
}
std::string_view type_name(Type t) {
  return kTypes[static_cast<int>(t)].name;
}

Type type_from_token(std::string_view token) {
  for (size_t i = 1; i < std::size(kTypes); ++i) {
    if (kTypes[i].name == token) return static_cast<Type>(i);
  }
  return Type::none;
}

std::string_view space_name(Space s) {
  switch (s) {
    case Space::reg:
      return "reg";
    case Space::generic:
      return "generic";
    case Space::global:
      return "global";
    case Space::shared:
      return "shared";
    case Space::shared_cluster:
      return "shared::cluster";
    case Space::local:
      return "local";
    case Space::param:
      return "param";
    case Space::const_:
      return "const";
  }
  return "?";
}

Space space_from_token(std::string_view t) {
  if (t == "global") return Space::global;
  if (t == "shared" || t == "shared::cta") return Space::shared;
  if (t == "shared::cluster") return Space::shared_cluster;
  if (t == "local") return Space::local;
  if (t == "param" || t == "param::entry" || t == "param::func") return Space::param;
  if (t == "const") return Space::const_;
  if (t == "reg") return Space::reg;
  return Space::generic;
}

}  // namespace ptxops::virt::isa
