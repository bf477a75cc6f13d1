#include "driver/virtual/isa/validate_rules.h"

#include <fmt/format.h>

#include <bit>
#include <charconv>

#include "driver/virtual/isa/validate.h"

namespace ptxops::virt::isa {
namespace {

bool float_constant(const Operand& o) {
  return o.is_imm() && (o.type == Type::f32 || o.type == Type::f64);
}

// ---- mov ----------------------------------------------------------------------------------------------

// Sum of the register sizes of a pack or unpack; 0 if an element cannot stand there.
int packed_bits(const Operand& vector, bool dest, int whole, std::string& why) {
  int sum = 0, each = vector.elements.empty() ? 0 : whole / static_cast<int>(vector.elements.size());
  for (const Operand& e : vector.elements) {
    if (e.is_sink() && dest) {
      sum += each;
    } else if (e.is_reg() && e.type != Type::pred) {
      sum += type_bits(e.type);
    } else if (e.is_imm() && !dest) {
      sum += each;
    } else {
      why = "an element of the vector is no register";
      return 0;
    }
  }
  return sum;
}

std::string check_mov(const Instruction& in, const Function& f) {
  if (in.operands.size() != 2) return fmt::format("{} operands given, 2 expected", in.operands.size());
  const Operand &d = in.operands[0], &a = in.operands[1];
  Type t = in.type();
  if (d.is_vector() || a.is_vector()) {
    if (d.is_vector() && a.is_vector()) return "only one side may be a vector";
    if (type_kind(t) != TypeKind::bits)
      return fmt::format("packing and unpacking need a .b type, not .{}", type_name(t));
    const Operand &vector = d.is_vector() ? d : a, &scalar = d.is_vector() ? a : d;
    size_t n = vector.elements.size();
    if (n != 2 && n != 4) return fmt::format("a vector of {} where 2 or 4 are expected", n);
    std::string why;
    int bits = packed_bits(vector, d.is_vector(), type_bits(t), why);
    if (!why.empty()) return why;
    if (bits != type_bits(t)) return fmt::format("vector elements of {} bits for .{}", bits, type_name(t));
    if (scalar.is_imm() && &scalar == &a) return "";
    if (!scalar.is_reg() || !register_suits(t, scalar.type, false)) {
      return fmt::format("{} does not suit .{}", describe(scalar, f), type_name(t));
    }
    return "";
  }
  if (!d.is_reg() || d.negated) return fmt::format("result register required, found {}", describe(d, f));
  if (!register_suits(t, d.type, false)) {
    return fmt::format("{} has type .{}, expected .{}", describe(d, f), type_name(d.type), type_name(t));
  }
  switch (a.kind) {
    case OperandKind::reg:
      if (a.negated && t != Type::pred) return fmt::format("{} must not be negated", describe(a, f));
      return register_suits(t, a.type, false) ? ""
                                              : fmt::format("{} has type .{}, expected .{}", describe(a, f),
                                                            type_name(a.type), type_name(t));
    case OperandKind::immediate: {
      bool fp = float_constant(a);
      bool suits =
          is_float(t) ? fp : !fp || (type_kind(t) == TypeKind::bits && type_bits(t) == type_bits(a.type));
      if (!suits) return fmt::format("{} does not suit .{}", describe(a, f), type_name(t));
      int64_t i = static_cast<int64_t>(a.bits);
      int n = type_bits(t);
      if (!fp && n < 64 &&
          (a.type == Type::u64 || i > (int64_t{1} << n) - 1 || i < -(int64_t{1} << (n - 1)))) {
        return fmt::format("{} does not fit .{}", describe(a, f), type_name(t));
      }
      return "";
    }
    case OperandKind::special: {
      // 64-bit counters may be read in halves only where the ISA has a name for it; 16-bit reads are legacy.
      int have = type_bits(a.type), want = type_bits(t);
      bool legacy = a.special() == Special::gridid || (want == 16 && have == 32);
      if (is_float(t) || (have != want && !legacy)) {
        return fmt::format("{} has type .{}, expected .{}", describe(a, f), type_name(a.type), type_name(t));
      }
      return "";
    }
    case OperandKind::variable:
    case OperandKind::function:
      if (is_float(t) || t == Type::pred || type_bits(t) < 32 || type_bits(t) > 64) {
        return fmt::format("an address needs a 32-bit or 64-bit integer type, not .{}", type_name(t));
      }
      return "";
    default:
      return fmt::format("{} cannot be moved", describe(a, f));
  }
}

// An argument or result of a call against the parameter that it becomes.
std::string check_passed(const Operand& o, const Variable& formal, const Function& f) {
  const bool variable = o.kind == OperandKind::variable;
  if (variable && (o.variable->space != Space::param || o.offset != 0))
    return fmt::format("'{}' is not in .param space, and cannot be passed", o.variable->name);
  if (variable && f.is_entry && o.variable->index < f.params.size())
    return fmt::format("formal parameter '{}' cannot be passed", o.variable->name);
  if (!variable && !o.is_reg()) return "";  // a sink, or a constant, which takes the parameter's type
  const uint64_t bytes = variable ? o.variable->size : static_cast<uint64_t>(type_bytes(o.type));
  if (bytes != formal.size || (!variable && formal.is_array) || o.type == Type::pred)
    return fmt::format("{} of {} bytes does not match the formal parameter '{}' of {}", describe(o, f), bytes,
                       formal.name, formal.size);
  return "";
}

// ---- call ---------------------------------------------------------------------------------------------

std::string check_call(const Instruction& in, const Function& f) {
  const Operand &results = in.operands[0], &callee = in.operands[1], &arguments = in.operands[2],
                &proto = in.operands[3];
  size_t n_results = results.elements.size(), n_arguments = arguments.elements.size();
  size_t want_results = n_results, want_arguments = n_arguments;
  if (callee.kind == OperandKind::function) {
    if (callee.function->is_entry)
      return fmt::format("'{}' is an entry, which cannot be called", callee.function->name);
    if (proto.kind != OperandKind::none) return "a direct call takes no prototype";
    want_results = callee.function->returns.size();
    want_arguments = callee.function->params.size();
  } else if (callee.is_reg()) {
    if (!register_suits(Type::u64, callee.type, false))
      return fmt::format("{} is no 64-bit function address", describe(callee, f));
    bool table = proto.kind == OperandKind::prototype || proto.kind == OperandKind::call_targets ||
                 proto.is_unresolved();
    if (!table) return "an indirect call needs a .callprototype or .calltargets name";
    if (proto.kind == OperandKind::prototype) {
      want_results = f.prototypes[proto.index].returns.size();
      want_arguments = f.prototypes[proto.index].params.size();
    }
  } else {
    return fmt::format("{} cannot be called", describe(callee, f));
  }
  if (n_results != want_results)
    return fmt::format("{} return parameters given, {} expected", n_results, want_results);
  if (n_arguments != want_arguments)
    return fmt::format("{} arguments given, {} expected", n_arguments, want_arguments);
  for (const Operand& r : results.elements) {
    if (!r.is_reg() && !r.is_sink() && r.kind != OperandKind::variable)
      return fmt::format("{} cannot receive a result", describe(r, f));
  }
  for (const Operand& a : arguments.elements) {
    if (!a.is_reg() && !a.is_imm() && a.kind != OperandKind::variable)
      return fmt::format("{} cannot be an argument", describe(a, f));
  }
  if (callee.kind == OperandKind::function) {
    for (size_t i = 0; i < n_results; ++i)
      if (auto why = check_passed(results.elements[i], *callee.function->returns[i], f); !why.empty())
        return why;
    for (size_t i = 0; i < n_arguments; ++i)
      if (auto why = check_passed(arguments.elements[i], *callee.function->params[i], f); !why.empty())
        return why;
  } else if (proto.kind == OperandKind::prototype) {
    const Prototype& p = f.prototypes[proto.index];
    for (size_t i = 0; i < n_results; ++i)
      if (auto why = check_passed(results.elements[i], p.returns[i], f); !why.empty()) return why;
    for (size_t i = 0; i < n_arguments; ++i)
      if (auto why = check_passed(arguments.elements[i], p.params[i], f); !why.empty()) return why;
  }
  return "";
}

// ---- wgmma --------------------------------------------------------------------------------------------

std::string check_wgmma(const Instruction& in, const Function& f) {
  auto o = in.operands;
  std::string_view shape = in.choice("shape");
  int n = 0;
  std::from_chars(shape.data() + 4, shape.data() + shape.size(), n);
  Type d = in.type(0);
  Type element = d == Type::f16 ? Type::f16x2 : d;
  size_t count = static_cast<size_t>(d == Type::f16 ? n / 4 : n / 2);

  if (o.size() < 4) return fmt::format("{} operands given, at least 4 expected", o.size());
  if (!o[0].is_vector()) return "operand 1 (d) must be a vector of registers";
  if (o[0].elements.size() != count) {
    return fmt::format("operand 1 (d) has {} registers, expected {} for {}.{}", o[0].elements.size(), count,
                       shape, type_name(d));
  }
  for (const Operand& e : o[0].elements) {
    if (!e.is_reg() || !register_suits(element, e.type, false)) {
      return fmt::format("operand 1 (d): {} does not suit .{}", describe(e, f), type_name(element));
    }
  }
  bool a_in_registers = o[1].is_vector();
  if (a_in_registers) {
    if (o[1].elements.size() != 4)
      return fmt::format("operand 2 (a) has {} registers, expected 4", o[1].elements.size());
    for (const Operand& e : o[1].elements) {
      bool suits = e.is_reg() && type_bits(e.type) == 32 &&
                   (type_kind(e.type) == TypeKind::bits || e.type == Type::f16x2 ||
                    (in.id() == Id::wgmma_int8 && !is_float(e.type)));
      if (!suits) return fmt::format("operand 2 (a): {} is no .b32 register", describe(e, f));
    }
  } else if (!o[1].is_reg() || !register_suits(Type::b64, o[1].type, false) || is_float(o[1].type)) {
    return "operand 2 (a) must be a 64-bit matrix descriptor or a vector of 4 registers";
  }
  if (!o[2].is_reg() || !register_suits(Type::b64, o[2].type, false) || is_float(o[2].type)) {
    return "operand 3 (b) must be a 64-bit matrix descriptor";
  }
  if (!(o[3].is_reg() && o[3].type == Type::pred) && !(o[3].is_imm() && o[3].bits <= 1)) {
    return "operand 4 (scale-d) must be a predicate";
  }
  bool integer = d == Type::s32, half = in.id() == Id::wgmma_f16 || in.id() == Id::wgmma_bf16;
  size_t scales = integer ? 0 : 2, transposes = half ? (a_in_registers ? 1 : 2) : 0;
  if (o.size() != 4 + scales + transposes)
    return fmt::format("{} operands given, {} expected", o.size(), 4 + scales + transposes);
  for (size_t i = 4; i < o.size(); ++i) {
    bool scale = i < 4 + scales;
    int64_t v = static_cast<int64_t>(o[i].bits);
    if (!o[i].is_imm() || float_constant(o[i]) || !(v == 1 || v == (scale ? -1 : 0))) {
      return fmt::format("operand {} ({}) must be {}", i + 1, scale ? "imm-scale" : "imm-trans",
                         scale ? "1 or -1" : "0 or 1");
    }
  }
  return "";
}

// ---- Rules by instruction -----------------------------------------------------------------------------

std::string check_comparison(const Instruction& in) {
  Type t = in.type(in.opcode->types.size() - 1);
  std::string_view cmp = in.choice("cmp");
  auto one_of = [&](std::string_view list) {
    for (std::string_view rest = list; !rest.empty();) {
      size_t space = rest.find(' ');
      if (rest.substr(0, space) == cmp) return true;
      rest = space == rest.npos ? std::string_view{} : rest.substr(space + 1);
    }
    return false;
  };
  std::string_view allowed = is_float(t) ? "eq ne lt le gt ge equ neu ltu leu gtu geu num nan"
                             : type_kind(t) == TypeKind::bits       ? "eq ne"
                             : type_kind(t) == TypeKind::signed_int ? "eq ne lt le gt ge"
                                                                    : "eq ne lt le gt ge lo ls hi hs";
  if (!one_of(allowed)) {
    return fmt::format("Mismatch between instruction type and comparison qualifier in '{}': .{} allows {}",
                       in.opcode->text, type_name(t), allowed);
  }
  if (in.has("ftz") && t != Type::f32 && t != Type::f16 && t != Type::f16x2) {
    return fmt::format("Illegal modifier '.ftz' in '{}': .{} has no subnormals to flush", in.opcode->text,
                       type_name(t));
  }
  return "";
}

std::string check_memory(const Instruction& in) {
  Type t = in.type();
  int n = in.opcode->vector_length();
  if (n * type_bits(t) > 128) {
    return fmt::format("'{}' accesses {} bits; more than 128 require .target sm_100 or higher",
                       in.opcode->text, n * type_bits(t));
  }
  Space s = in.space();
  bool ordered = in.has("relaxed") || in.has("acquire") || in.has("release");
  if (ordered && (s == Space::const_ || s == Space::param || s == Space::local)) {
    return fmt::format("Modifier '.{}' requires '.global' or '.shared' space in '{}'", in.choice("sem"),
                       in.opcode->text);
  }
  if (in.has("volatile") && (s == Space::local || s == Space::const_ || s == Space::param)) {
    return fmt::format("Modifier '.volatile' cannot be applied to '.{}' space in '{}'", space_name(s),
                       in.opcode->text);
  }
  for (std::string_view modifier : in.opcode->choices) {
    bool hint = modifier.starts_with("L1::") || modifier.starts_with("L2::");
    if (hint && s != Space::global && s != Space::generic) {
      return fmt::format("Modifier '.{}' requires '.global' space in '{}'", modifier, in.opcode->text);
    }
  }
  return "";
}

std::string check_global_hint(const Instruction& in) {
  Space s = in.space();
  if (!in.has("L2::cache_hint") || s == Space::global || s == Space::generic) return "";
  return fmt::format("Modifier '.L2::cache_hint' cannot be applied to '.{}' space in '{}'", space_name(s),
                     in.opcode->text);
}

// .sem and .scope come together or not at all.
std::string check_order_and_scope(const Instruction& in) {
  std::string_view sem = in.choice("sem"), scope = in.choice("scope");
  if (sem.empty() == scope.empty()) return "";
  return sem.empty() ? fmt::format("Modifier '.{}' requires order with '{}'", scope, in.opcode->text)
                     : fmt::format("Modifier '.{}' requires scope with '{}'", sem, in.opcode->text);
}

// .sat where every source value fits has no meaning.
std::string check_saturation(const Instruction& in) {
  Type d = in.type(0), a = in.type(1);
  bool fits = is_signed(d) == is_signed(a) ? type_bits(d) >= type_bits(a)
                                           : is_signed(d) && type_bits(d) > type_bits(a);
  if (!in.has("sat") || !fits) return "";
  return fmt::format("Illegal modifier '.sat' in '{}': every .{} fits .{}", in.opcode->text, type_name(a),
                     type_name(d));
}

std::string check_conversion(const Instruction& in) {
  Type d = in.type(0), a = in.type(1);
  if (in.has("ftz") && d != Type::f32 && a != Type::f32) {
    return fmt::format("Illegal modifier '.ftz' in '{}': neither type is .f32", in.opcode->text);
  }
  return "";
}

}  // namespace

std::string check_whole_form(const Instruction& in, const Function& f) {
  switch (in.id()) {
    case Id::mov:
      return check_mov(in, f);
    case Id::call:
      return check_call(in, f);
    default:
      return check_wgmma(in, f);
  }
}

std::string check_rules(const Instruction& in) {
  auto constant = [&](size_t i) { return static_cast<int64_t>(in.operands[i].bits); };
  switch (in.id()) {
    case Id::set:
    case Id::set_bool:
    case Id::setp:
    case Id::setp_bool:
    case Id::set_half:
    case Id::set_half_bool:
    case Id::setp_half:
    case Id::setp_half_bool:
      return check_comparison(in);
    case Id::ld:
    case Id::ld_nc:
    case Id::ldu:
    case Id::st:
    case Id::st_async:
      return check_memory(in);
    case Id::cvt_float_to_int:
    case Id::cvt_int_to_float:
    case Id::cvt_float:
      return check_conversion(in);
    case Id::setmaxnreg:
      if (constant(0) % 8 != 0) {
        return fmt::format(
            "Argument 1 of instruction '{}': unexpected value '{}', expected to be multiple of 8",
            in.opcode->text, constant(0));
      }
      return "";
    case Id::bfe:
    case Id::bfi:
      for (size_t i = in.operands.size() - 2; i < in.operands.size(); ++i) {
        if (in.operands[i].is_imm() && (constant(i) < 0 || constant(i) > 255)) {
          return fmt::format(
              "Argument {} of instruction '{}': value '{}' out of range, expected to be in range [0..255]",
              i + 1, in.opcode->text, constant(i));
        }
      }
      return "";
    case Id::cvt_int:
      return check_saturation(in);
    case Id::atom:
    case Id::atom_cas:
    case Id::red:
      return check_global_hint(in);
    case Id::mbarrier_expect_tx:
    case Id::mbarrier_complete_tx:
    case Id::mbarrier_arrive_nocomplete:
    case Id::mbarrier_arrive_drop_nocomplete:
    case Id::mbarrier_test_wait:
    case Id::mbarrier_test_wait_parity:
    case Id::mbarrier_try_wait:
    case Id::mbarrier_try_wait_parity:
    case Id::multimem_red:
      return check_order_and_scope(in);
    case Id::mbarrier_arrive:
    case Id::mbarrier_arrive_expect_tx:
    case Id::mbarrier_arrive_drop:
    case Id::mbarrier_arrive_drop_expect_tx:
      if (std::string s = check_order_and_scope(in); !s.empty()) return s;
      if (in.space() == Space::shared_cluster && !in.operands[0].is_sink()) {
        return fmt::format("'{}' returns no state: the first operand must be '_'", in.opcode->text);
      }
      return "";
    case Id::cp_async_bulk_g2s:
    case Id::cp_async_bulk_s2s:
    case Id::cp_async_bulk_s2g:
    case Id::cp_reduce_async_bulk_s2s:
    case Id::cp_reduce_async_bulk_s2g:
    case Id::cp_async_bulk_prefetch: {
      size_t i = in.id() == Id::cp_async_bulk_prefetch ? 1 : 2;
      if (in.operands[i].is_imm() && (constant(i) % 16 != 0 || constant(i) < 0)) {
        return fmt::format("Argument {} of instruction '{}': size {} is no multiple of 16 bytes", i + 1,
                           in.opcode->text, constant(i));
      }
      return "";
    }
    default:
      return "";
  }
}

}  // namespace ptxops::virt::isa
