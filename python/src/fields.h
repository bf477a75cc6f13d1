// C structs from keywords: a table names each field once, for the values and for the text that says what
// there is.
#pragma once

#include <span>
#include <string>
#include <type_traits>
#include <variant>

#include "python/src/binding.h"

namespace ptxops::python {

template <class Struct>
struct Field {
  const char* name;
  std::variant<int32_t Struct::*, int64_t Struct::*, uint64_t Struct::*, float Struct::*> member;
};

// A struct, const or not, and its table.
template <class Struct>
struct Fields {
  Struct& object;
  std::span<const Field<std::remove_const_t<Struct>>> table;
};
template <class Struct, class Table>
auto fields_of(Struct& object, const Table& table) {
  return Fields<Struct>{object, table};
}

// Sets the field `name`, if it is one of these. Needs the GIL.
template <class Struct>
bool set(const Fields<Struct>& fields, const std::string& name, const py::handle& value) {
  for (const auto& field : fields.table) {
    if (name != field.name) continue;
    std::visit(
        [&](auto member) {
          using Value = std::remove_reference_t<decltype(fields.object.*member)>;
          try {
            fields.object.*member = py::cast<Value>(value);
          } catch (const py::cast_error&) {
            throw py::type_error(name + ": expected a number, got " + py::cast<std::string>(py::repr(value)));
          }
        },
        field.member);
    return true;
  }
  return false;
}

template <class... Struct>
void assign(const py::kwargs& values, const Fields<Struct>&... structs) {
  for (const auto& [key, value] : values) {
    const auto name = py::cast<std::string>(key);
    if (!(set(structs, name, value) || ...)) throw py::type_error(name + ": there is no field of that name");
  }
}

// "(*, batch: int = 0, ...)", in pybind11's manner.
template <class... Struct>
std::string signature(const Fields<Struct>&... structs) {
  std::string text = "(*";
  const auto add = [&](const auto& fields) {
    for (const auto& field : fields.table)
      std::visit(
          [&](auto member) {
            const auto value = fields.object.*member;
            text += std::string(", ") + field.name +
                    (std::is_same_v<decltype(value), const float> ? ": float = " : ": int = ") +
                    py::cast<std::string>(py::repr(py::cast(value)));
          },
          field.member);
  };
  (add(structs), ...);
  return text + ")";
}

}  // namespace ptxops::python
