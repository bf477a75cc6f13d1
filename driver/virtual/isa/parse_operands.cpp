// Operands of instructions.
#include <charconv>
#include <unordered_map>

#include "driver/virtual/isa/parser.h"

namespace ptxops::virt::isa {
namespace {

struct SpecialRow {
  Special special;
  int min_ptx;
};

const std::unordered_map<std::string_view, SpecialRow>& specials() {
  static const std::unordered_map<std::string_view, SpecialRow> map = {
#define PTXOPS_SPECIAL(id, spelling, type, min_ptx) {spelling, {Special::id, min_ptx}},
#include "driver/virtual/isa/table/special.def"
#undef PTXOPS_SPECIAL
  };
  return map;
}

int component(std::string_view directive) {
  if (directive.size() != 2) return -1;
  switch (directive[1]) {
    case 'x':
    case 'r':
      return 0;
    case 'y':
    case 'g':
      return 1;
    case 'z':
    case 'b':
      return 2;
    case 'w':
    case 'a':
      return 3;
    default:
      return -1;
  }
}

Operand reg_operand(uint32_t index, Type type) {
  Operand o;
  o.kind = OperandKind::reg;
  o.index = index;
  o.type = type;
  return o;
}

}  // namespace

// Exact names and ranges ("%r57" of %r<100>) alike; the innermost scope wins. A register of a range is
// returned in `storage`.
const Name* Parser::lookup(std::string_view text, Name& storage) const {
  const Name* exact = names_.find(text);
  if (exact && exact->kind == Name::Kind::none) exact = nullptr;
  if (text.back() < '0' || text.back() > '9') return exact;
  size_t first_digit = text.size();
  // No range has numbers of more digits.
  constexpr size_t kMaxDigits = 8;
  while (first_digit > 1 && text[first_digit - 1] >= '0' && text[first_digit - 1] <= '9' &&
         text.size() - first_digit < kMaxDigits)
    --first_digit;
  for (size_t split = first_digit; split < text.size(); ++split) {
    if (text[split] == '0' && split + 1 < text.size()) continue;  // %r01 is not %r1
    const Name* range = ranges_.find(text.substr(0, split));
    if (!range || range->kind == Name::Kind::none) continue;
    if (exact && exact->depth >= range->depth) break;
    uint32_t number = 0;
    auto [end, status] = std::from_chars(text.data() + split, text.data() + text.size(), number);
    if (status != std::errc{} || number >= range->count) continue;
    storage = *range;
    storage.index += number * range->vector;
    storage.count = 0;
    return &storage;
  }
  return exact;
}

Operand Parser::special_operand(const Token& t) {
  std::string_view spelling = t.text;
  if (lexer_.peek().kind == Token::Kind::directive && component(lexer_.peek().text) >= 0) {
    Token c = lexer_.take();
    spelling = {t.text.data(), static_cast<size_t>(c.text.data() + c.text.size() - t.text.data())};
  }
  auto it = specials().find(spelling);
  if (it == specials().end()) {
    if (specials().contains(std::string(spelling) + ".x")) {
      fail_at(t.line, "Special register '{}' is a vector; select a component: {}.x", spelling, spelling);
    }
    fail_at(t.line, "Unknown symbol '{}'", spelling);
  }
  if (it->second.min_ptx > module_.version) {
    fail_at(t.line, "Special register '{}' requires PTX ISA .version {} or later; the module says {}",
            spelling, version_name(it->second.min_ptx), version_name(module_.version));
  }
  if (spelling.find("cluster") != spelling.npos && module_.target < 90) {
    fail_at(t.line, "Special register '{}' requires .target sm_90 or higher; the module says sm_{}", spelling,
            module_.target);
  }
  Operand o;
  o.kind = OperandKind::special;
  o.index = static_cast<uint32_t>(it->second.special);
  o.type = special_type(it->second.special);
  return o;
}

Operand Parser::pair_operand(const Operand& first) {
  Token t = lexer_.take();
  bool negated = false;
  if (t.is('!')) {
    negated = true;
    t = lexer_.take();
  }
  if (t.kind != Token::Kind::name) fail_at(t.line, "Register expected after '|', found '{}'", t.text);
  Operand second;
  if (t.is("_")) {
    second.kind = OperandKind::sink;
  } else {
    second = name_operand(t);
    second.negated = negated;
  }
  Operand o;
  o.kind = OperandKind::pair;
  o.elements = keep({first, second});
  return o;
}

Operand Parser::name_operand(const Token& t) {
  Name storage;
  const Name* name = lookup(t.text, storage);
  Operand o;
  if (!name) {
    if (t.text[0] == '%') return special_operand(t);
    o.kind = OperandKind::label;  // defined further down, or unknown
    o.index = Operand::kUnresolved;
    new_pending_.push_back({nullptr, nullptr, 0, Id::bra, t.text, t.line});
    return o;
  }
  switch (name->kind) {
    case Name::Kind::reg:
      if (name->vector == 1) return reg_operand(name->index, name->type);
      if (lexer_.peek().kind == Token::Kind::directive) {
        int c = component(lexer_.peek().text);
        if (c < 0 || c >= name->vector) {
          fail_at(t.line, "Vector register '{}' has no component '{}'", t.text, lexer_.peek().text);
        }
        lexer_.take();
        return reg_operand(name->index + static_cast<uint32_t>(c), name->type);
      } else {
        std::vector<Operand> elements;
        for (uint32_t i = 0; i < name->vector; ++i)
          elements.push_back(reg_operand(name->index + i, name->type));
        o.kind = OperandKind::vector;
        o.elements = keep(elements);
        return o;
      }
    case Name::Kind::variable:
      o.kind = OperandKind::variable;
      o.variable = name->variable;
      o.type = name->variable->type;
      if (name->variable->space == Space::reg) {
        return reg_operand(static_cast<uint32_t>(name->variable->reg), name->variable->type);
      }
      if (accept('+')) o.offset = integer("Offset", INT32_MIN, INT32_MAX);
      return o;
    case Name::Kind::function:
      o.kind = OperandKind::function;
      o.function = name->function;
      return o;
    case Name::Kind::label:
      o.kind = OperandKind::label;
      break;
    case Name::Kind::branch_table:
      o.kind = OperandKind::branch_table;
      break;
    case Name::Kind::call_targets:
      o.kind = OperandKind::call_targets;
      break;
    case Name::Kind::prototype:
      o.kind = OperandKind::prototype;
      break;
    case Name::Kind::none:
      break;
  }
  o.index = name->index;
  return o;
}

Operand Parser::immediate_operand(const Constant& c) {
  Operand o;
  o.kind = OperandKind::immediate;
  if (c.is_float) {
    o.type = c.float_type;
    o.bits = c.bits;
  } else {
    o.type = c.is_unsigned && c.i < 0 ? Type::u64 : Type::s64;
    o.bits = static_cast<uint64_t>(c.i);
  }
  return o;
}

Operand Parser::vector_operand() {
  const Nesting nesting(*this, lexer_.take().line);
  std::vector<Operand> elements;
  if (!lexer_.peek().is('}')) {
    do {
      elements.push_back(operand());
    } while (accept(','));
  }
  expect('}', "vector operand");
  Operand o;
  o.kind = OperandKind::vector;
  o.elements = keep(elements);
  return o;
}

Operand Parser::address_operand() {
  lexer_.take();
  Token t = lexer_.peek();
  Operand o;
  o.kind = OperandKind::address;
  if (t.kind == Token::Kind::name && !t.is("WARP_SZ")) {
    lexer_.take();
    size_t pending = new_pending_.size();
    Operand base = name_operand(t);
    if (new_pending_.size() != pending) {
      new_pending_.pop_back();
      fail_at(t.line, "Unknown symbol '{}'", t.text);
    }
    if (base.kind == OperandKind::reg) {
      o.base = AddressBase::reg;
      o.index = base.index;
    } else if (base.kind == OperandKind::variable) {
      o.base = AddressBase::variable;
      o.variable = base.variable;
      o.offset = base.offset;
    } else {
      fail_at(t.line, "'{}' cannot be the base of an address; expected a register, a variable or a number",
              t.text);
    }
    o.type = base.type;
    // [a-4] is no PTX; [a+-4] is.
    if (accept('+')) o.offset += integer("Address offset", INT32_MIN, INT32_MAX);
  } else {
    Constant c = constant();
    if (c.is_float) fail_at(t.line, "An address must be an integer");
    o.base = AddressBase::absolute;
    o.offset = c.i;
  }
  if (accept(',')) {
    if (!lexer_.peek().is('{')) fail_at(t.line, "Vector of coordinates expected in an address");
    o.elements = vector_operand().elements;
  }
  expect(']', "address");
  return o;
}

Operand Parser::operand() {
  const Token& next = lexer_.peek();
  if (next.kind == Token::Kind::name) {
    if (next.is("WARP_SZ")) return immediate_operand(constant());
    Token t = lexer_.take();
    Operand o;
    if (t.is("_"))
      o.kind = OperandKind::sink;
    else
      o = name_operand(t);
    if (lexer_.peek().is('|')) {
      lexer_.take();
      return pair_operand(o);
    }
    return o;
  }
  if (next.is('{')) return vector_operand();
  if (next.is('[')) return address_operand();
  if (next.is('!')) {
    Token bang = lexer_.take();
    if (lexer_.peek().kind == Token::Kind::name) {
      Operand o = name_operand(lexer_.take());
      if (o.kind != OperandKind::reg && o.kind != OperandKind::special) {
        fail_at(bang.line, "Predicate register expected after '!'");
      }
      o.negated = true;
      return o;
    }
    Constant c = constant_unary();
    if (c.is_float) fail_at(bang.line, "Predicate register expected after '!'");
    c.i = !c.i;
    return immediate_operand(c);
  }
  return immediate_operand(constant());
}

Operand Parser::operand_list() {
  Operand o;
  o.kind = OperandKind::list;
  expect('(', "call");
  std::vector<Operand> elements;
  if (!lexer_.peek().is(')')) {
    do {
      elements.push_back(operand());
    } while (accept(','));
  }
  expect(')', "call");
  o.elements = keep(elements);
  return o;
}

// call (results), callee, (arguments), prototype: always four operands, absent ones of kind none.
void Parser::operands_of_call(std::vector<Operand>& out) {
  out.assign(4, Operand{});
  if (lexer_.peek().is('(')) {
    out[0] = operand_list();
    expect(',', "call");
  }
  out[1] = operand();
  if (!accept(',')) return;
  if (lexer_.peek().is('(')) {
    out[2] = operand_list();
    if (!accept(',')) return;
  }
  out[3] = operand();
}

}  // namespace ptxops::virt::isa
