#include "driver/virtual/isa/validate.h"

#include <fmt/format.h>

#include <algorithm>

#include "driver/virtual/isa/validate_rules.h"

namespace ptxops::virt::isa {
namespace {

std::string register_name(uint32_t index, const Function& f) {
  return f.registers[index].name();
}

bool integer_fits(const Operand& o, Type t) {
  int n = type_bits(t);
  if (n >= 64) return true;
  int64_t i = static_cast<int64_t>(o.bits);
  if (o.type == Type::u64) return false;  // above INT64_MAX
  return i >= -(int64_t{1} << (n - 1)) && i <= (int64_t{1} << n) - 1;
}

// "" if the immediate may stand for a value of type `t`.
std::string check_immediate(const Operand& o, Type t) {
  bool literal_float = o.type == Type::f32 || o.type == Type::f64;
  if (t == Type::f32 || t == Type::f64) {
    return literal_float
               ? ""
               : fmt::format("is an integer, expected a floating-point constant for .{}", type_name(t));
  }
  if (is_float(t)) return fmt::format("is an immediate, but .{} takes registers only", type_name(t));
  if (literal_float) {
    bool same_bits = type_kind(t) == TypeKind::bits && type_bits(t) == type_bits(o.type);
    return same_bits ? "" : fmt::format("is a floating-point constant, expected .{}", type_name(t));
  }
  if (t == Type::pred) {
    return o.bits <= 1 ? "" : fmt::format("is {}, expected predicate 0 or 1", static_cast<int64_t>(o.bits));
  }
  if (!integer_fits(o, t))
    return fmt::format("is {}, which does not fit .{}", static_cast<int64_t>(o.bits), type_name(t));
  return "";
}

// One scalar against type `t`; returns the complaint without its subject.
std::string check_scalar(const Operand& o, Type t, const OperandSpec& spec, const Instruction& in) {
  switch (o.kind) {
    case OperandKind::reg:
      if (o.negated && !spec.negatable) return "must not be negated";
      if (!register_suits(t, o.type, spec.wider)) {
        return fmt::format("has type .{}, expected .{}{}", type_name(o.type), type_name(t),
                           spec.wider ? " or wider" : "");
      }
      return "";
    case OperandKind::immediate:
      if (spec.dest) return "is a constant where a result register is required";
      if (spec.reg_only) return "is a constant where a register is required";
      return check_immediate(o, t);
    case OperandKind::special:
      if (spec.dest) return "is read-only";
      if (in.id() == Id::cvt_int && type_bits(o.type) == type_bits(t)) return "";
      return fmt::format("'{}' is a special register, which only mov can read", special_name(o.special()));
    case OperandKind::variable:
      if (spec.symbol && !spec.dest) return "";
      return fmt::format("is the address of '{}' where a register is required", o.variable->name);
    case OperandKind::sink:
      return "discards the result, which is not allowed here";
    case OperandKind::vector:
      return "is a vector where a scalar is required";
    case OperandKind::pair:
      return "is a pair of destinations where one is required";
    case OperandKind::address:
      return "is an address where a value is required";
    case OperandKind::function:
      return "is a function where a value is required";
    case OperandKind::label:
      return "is a label where a value is required";
    default:
      return "is of the wrong kind";
  }
}

std::string check_value(const Operand& o, const ExpectedOperand& e, const Instruction& in) {
  const OperandSpec& spec = *e.spec;
  if (o.kind == OperandKind::pair) {
    if (!spec.pair && !spec.pair_required) return check_scalar(o, e.type, spec, in);
    const Operand &d = o.elements[0], &p = o.elements[1];
    if (!d.is_sink()) {
      if (std::string s = check_scalar(d, e.type, spec, in); !s.empty()) return s;
    }
    if (p.is_sink()) return "";
    return p.is_reg() && p.type == Type::pred && !p.negated ? "" : "has no predicate register after '|'";
  }
  if (spec.pair_required) return "needs a predicate destination: d|p";
  if (o.is_sink() && spec.sink) return "";
  // .x1 and :1 are vectors of one.
  const bool always_vector =
      spec.length == OperandSpec::Length::by_num || spec.length == OperandSpec::Length::fixed;
  if (o.is_vector() && (e.length > 1 || always_vector)) {
    if (o.elements.size() != static_cast<size_t>(e.length)) {
      return fmt::format("is a vector of {}, expected {}", o.elements.size(), e.length);
    }
    for (const Operand& element : o.elements) {
      if (element.is_sink() && spec.dest) continue;
      if (std::string s = check_scalar(element, e.type, spec, in); !s.empty())
        return "has an element that " + s;
    }
    return "";
  }
  if (e.length > 1 || always_vector) {
    return fmt::format("is no vector, expected one of {}", e.length);
  }
  return check_scalar(o, e.type, spec, in);
}

std::string check_listed_immediate(const Operand& o, const OperandSpec& spec) {
  if (!o.is_imm() || o.type == Type::f32 || o.type == Type::f64) return "must be an integer constant";
  int64_t v = static_cast<int64_t>(o.bits);
  if (!spec.allowed.empty()) {
    if (std::find(spec.allowed.begin(), spec.allowed.end(), v) != spec.allowed.end()) return "";
    return fmt::format("has unexpected value '{}', expected to be {}", v, fmt::join(spec.allowed, " or "));
  }
  if (v >= spec.min && v <= spec.max) return "";
  if (spec.max == INT64_MAX) return fmt::format("is {}, expected {} or more", v, spec.min);
  return fmt::format("has value '{}' out of range, expected to be in range [{}..{}]", v, spec.min, spec.max);
}

bool space_accepts(Space instruction, Space variable) {
  if (instruction == variable) return true;
  if (instruction == Space::shared_cluster) return variable == Space::shared;
  // A generic access to a variable is resolved by the variable's own space; parameters have no generic
  // address without cvta.param.
  return instruction == Space::generic && variable != Space::reg && variable != Space::param;
}

std::string check_address(const Operand& o, Space space) {
  if (!o.is_address()) return "must be an address in brackets";
  switch (o.base) {
    case AddressBase::reg: {
      int bits = type_bits(o.type);
      if (type_kind(o.type) == TypeKind::pred || is_float(o.type) || bits > 64) {
        return fmt::format("has a base register of type .{}", type_name(o.type));
      }
      bool wide = space == Space::generic || space == Space::global;
      if (bits < (wide ? 64 : 32)) {
        return fmt::format("has a {}-bit base register; .{} addresses are {}-bit", bits, space_name(space),
                           wide ? 64 : 32);
      }
      return "";
    }
    case AddressBase::variable:
      if (space_accepts(space, o.variable->space)) return "";
      return fmt::format("lies in .{} ('{}') but the instruction accesses .{}", space_name(o.variable->space),
                         o.variable->name, space_name(space));
    case AddressBase::absolute:
      return space == Space::local ? "" : "is an absolute address, which only .local allows";
  }
  return "";
}

std::string check_tensor(const Operand& o, const Instruction& in) {
  if (!o.is_address()) return "must be [tensorMap, {coordinates}]";
  std::string s = check_address(o, Space::generic);
  if (!s.empty()) return s;
  size_t dims = static_cast<size_t>(in.choice("dim")[0] - '0');
  if (o.elements.size() != dims) {
    return fmt::format("has {} coordinates, expected {} for .{}", o.elements.size(), dims, in.choice("dim"));
  }
  for (const Operand& c : o.elements) {
    bool suits =
        c.is_reg() ? register_suits(Type::s32, c.type, false) : c.is_imm() && integer_fits(c, Type::s32);
    if (!suits) return "has a coordinate that is no 32-bit integer";
  }
  return "";
}

std::string check_operand(const Operand& o, const ExpectedOperand& e, const Instruction& in) {
  using Kind = OperandSpec::Kind;
  auto u32 = [&] {
    return o.is_reg() ? register_suits(Type::u32, o.type, false) : o.is_imm() && integer_fits(o, Type::u32);
  };
  if (o.is_address() && !o.elements.empty() && e.spec->kind != Kind::tensor)
    return "has coordinates where none are expected";
  switch (e.spec->kind) {
    case Kind::value:
      return check_value(o, e, in);
    case Kind::immediate:
      return check_listed_immediate(o, *e.spec);
    case Kind::address:
      return check_address(o, e.space);
    case Kind::tensor:
      return check_tensor(o, in);
    case Kind::label:
      return o.kind == OperandKind::label ? "" : "must be a label";
    case Kind::branch_table:
      return o.is_unresolved() || o.kind == OperandKind::branch_table ? ""
                                                                      : "must name a .branchtargets list";
    case Kind::barrier:
      if (!u32()) return "must be a barrier number: .u32 register or constant";
      if (o.is_imm() && o.bits > 15) {
        return fmt::format("is barrier number '{}', expected to be in range [0..15]",
                           static_cast<int64_t>(o.bits));
      }
      return "";
    case Kind::threads:
      if (!u32()) return "must be a thread count: .u32 register or constant";
      if (o.is_imm() && (o.bits % 32 != 0 || o.bits == 0)) {
        return fmt::format("is thread count {}, expected a multiple of the warp size",
                           static_cast<int64_t>(o.bits));
      }
      return "";
    case Kind::size_or_pred:
      return u32() || (o.is_reg() && o.type == Type::pred)
                 ? ""
                 : "must be a source size (.u32) or an ignore-src predicate";
    case Kind::pointer:
      return o.is_reg() && !is_float(o.type) && type_bits(o.type) >= 32 && type_bits(o.type) <= 64
                 ? ""
                 : "must be a 32-bit or 64-bit register";
    case Kind::mov:
    case Kind::call:
    case Kind::wgmma:
      return "";  // whole forms, see validate_rules
  }
  return "";
}

std::string mismatch(const Instruction& in, size_t i, const std::string& why, const Function& f) {
  return fmt::format("Arguments mismatch for instruction '{}': operand {}, {}, {}", in.opcode->text, i + 1,
                     describe(in.operands[i], f), why);
}

}  // namespace

bool register_suits(Type wanted, Type reg, bool wider) {
  TypeKind w = type_kind(wanted), r = type_kind(reg);
  if (w == TypeKind::pred || r == TypeKind::pred) return w == r;
  int wb = type_bits(wanted), rb = type_bits(reg);
  if (wider ? rb < wb : rb != std::max(wb, 16)) return false;
  if (r == TypeKind::bits) return true;
  if (wanted == Type::u16x2 || wanted == Type::s16x2) return false;
  switch (w) {
    case TypeKind::bits:
      return true;
    case TypeKind::floating:
      return wanted == reg;
    default:
      return r != TypeKind::floating;
  }
}

std::string describe(const Operand& o, const Function& f) {
  switch (o.kind) {
    case OperandKind::reg:
      return fmt::format("register '{}{}'", o.negated ? "!" : "", register_name(o.index, f));
    case OperandKind::immediate:
      return o.type == Type::f32 || o.type == Type::f64
                 ? fmt::format("constant 0{}{:0{}X}", o.type == Type::f32 ? 'f' : 'd', o.bits,
                               type_bytes(o.type) * 2)
                 : fmt::format("constant {}", static_cast<int64_t>(o.bits));
    case OperandKind::special:
      return fmt::format("special register '{}'", special_name(o.special()));
    case OperandKind::variable:
      return fmt::format("variable '{}'", o.variable->name);
    case OperandKind::function:
      return fmt::format("function '{}'", o.function->name);
    case OperandKind::address:
      return "the address";
    case OperandKind::vector:
      return "the vector";
    case OperandKind::pair:
      return "the pair";
    case OperandKind::sink:
      return "'_'";
    case OperandKind::list:
      return "the list";
    default:
      return "the label";
  }
}

std::string check_instruction(const Instruction& in, const MatchedOpcode& matched, const Function& function) {
  const auto& expected = matched.expected;
  if (!expected.empty() && expected[0].spec->kind >= OperandSpec::Kind::mov) {
    std::string why = check_whole_form(in, function);
    return why.empty() ? ""
                       : fmt::format("Arguments mismatch for instruction '{}': {}", in.opcode->text, why);
  }
  size_t n = in.operands.size();
  if (n < matched.required || n > size_t{matched.required} + matched.optional) {
    std::string count = matched.optional
                            ? fmt::format("{} to {}", matched.required, matched.required + matched.optional)
                            : std::to_string(matched.required);
    return fmt::format("Arguments mismatch for instruction '{}': {} operands given, {} expected",
                       in.opcode->text, n, count);
  }
  size_t spare = n - matched.required, i = 0;
  for (const ExpectedOperand& e : expected) {
    if (e.spec->optional) {
      if (spare == 0) continue;
      --spare;
    }
    if (std::string why = check_operand(in.operands[i], e, in); !why.empty())
      return mismatch(in, i, why, function);
    ++i;
  }
  return check_rules(in);
}

}  // namespace ptxops::virt::isa
