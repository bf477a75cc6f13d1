#include "driver/virtual/isa/ir.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "driver/virtual/isa/arena.h"

namespace ptxops::virt::isa {
namespace {

struct SpecialInfo {
  std::string_view name;
  Type type;
};
constexpr SpecialInfo kSpecials[] = {
#define PTXOPS_SPECIAL(id, spelling, type, min_ptx) {spelling, Type::type},
#include "driver/virtual/isa/table/special.def"
#undef PTXOPS_SPECIAL
};

double as_double(const Operand& o) {
  switch (o.type) {
    case Type::f64:
      return std::bit_cast<double>(o.bits);
    case Type::f32:
      return std::bit_cast<float>(static_cast<uint32_t>(o.bits));
    case Type::u64:
      return static_cast<double>(o.bits);
    default:
      return static_cast<double>(static_cast<int64_t>(o.bits));
  }
}

}  // namespace

std::string_view special_name(Special s) {
  return kSpecials[static_cast<size_t>(s)].name;
}
Type special_type(Special s) {
  return kSpecials[static_cast<size_t>(s)].type;
}

uint64_t Operand::immediate(Type t) const {
  if (t == Type::f32) {
    return type == Type::f32 ? bits : std::bit_cast<uint32_t>(static_cast<float>(as_double(*this)));
  }
  if (t == Type::f64) return std::bit_cast<uint64_t>(as_double(*this));
  int n = type_bits(t);
  return n >= 64 ? bits : bits & ((uint64_t{1} << n) - 1);
}

bool Opcode::has(std::string_view token) const {
  return std::find(choices.begin(), choices.end(), token) != choices.end();
}

std::string_view Opcode::choice(std::string_view slot_name) const {
  for (size_t i = 0; i < choices.size(); ++i) {
    if (row->slots[i].name == slot_name && !choices[i].empty()) return choices[i];
  }
  return {};
}

Space Opcode::space(size_t i) const {
  for (std::string_view c : choices) {
    Space s = space_from_token(c);
    if (s != Space::generic && i-- == 0) return s;
  }
  return Space::generic;
}

int Opcode::vector_length() const {
  return has("v2") ? 2 : has("v4") ? 4 : has("v8") ? 8 : 1;
}

std::string Register::name() const {
  return number < 0 ? std::string(prefix) : fmt::format("{}{}", prefix, number);
}

Module::Module() : arena_(std::make_unique<Arena>()) {}
Module::~Module() = default;
Module::Module(Module&&) noexcept = default;
Module& Module::operator=(Module&&) noexcept = default;

const Function* Module::find_function(std::string_view name) const {
  for (const Function& f : functions) {
    if (f.name == name) return &f;
  }
  return nullptr;
}

const Variable* Module::find_variable(std::string_view name) const {
  for (const Variable& v : variables) {
    if (v.name == name) return &v;
  }
  return nullptr;
}

std::string_view Module::text() const {
  return text_;
}

std::string_view Module::source_line(uint32_t line) const {
  std::string_view rest = text_;
  for (uint32_t n = 1; n < line; ++n) {
    size_t end = rest.find('\n');
    if (end == rest.npos) return {};
    rest.remove_prefix(end + 1);
  }
  rest = rest.substr(0, rest.find('\n'));
  size_t first = rest.find_first_not_of(" \t\r"), last = rest.find_last_not_of(" \t\r");
  return first == rest.npos ? std::string_view{} : rest.substr(first, last - first + 1);
}

std::string Module::source_place(uint32_t line) const {
  const auto behind = std::upper_bound(locations.begin(), locations.end(), line,
                                       [](uint32_t n, const SourceLocation& l) { return n < l.at; });
  if (behind == locations.begin()) return {};
  const SourceLocation& l = behind[-1];
  const auto file =
      std::find_if(files.begin(), files.end(), [&](const SourceFile& f) { return f.number == l.file; });
  return l.file && file != files.end() ? fmt::format("{}:{}", file->name, l.line) : std::string{};
}

std::string render(const std::vector<Diagnostic>& diagnostics) {
  std::string s;
  for (const Diagnostic& d : diagnostics) s += fmt::format("error   : line {}; {}\n", d.line, d.text);
  return s;
}

}  // namespace ptxops::virt::isa
