// Declarations: registers, variables and their initial values, branch and call tables.
#include <algorithm>
#include <bit>
#include <cstring>

#include "driver/virtual/isa/parser.h"

namespace ptxops::virt::isa {
namespace {

bool may_declare(Type t) {
  switch (type_kind(t)) {
    case TypeKind::none:
      return false;
    case TypeKind::pred:
      return true;
    case TypeKind::floating:
      return t == Type::f16 || t == Type::f16x2 || t == Type::f32 || t == Type::f64;
    default:
      return type_bits(t) >= 8 && t != Type::u16x2 && t != Type::s16x2;
  }
}

}  // namespace

bool Parser::is_declaration(std::string_view d) const {
  return d == ".global" || d == ".const" || d == ".shared" || d == ".local" || d == ".param" || d == ".tex" ||
         d == ".shared::cta";
}

// .reg .b32 %r<100>, a, b; .reg .v2 .f32 v;
void Parser::registers() {
  lexer_.take();
  uint8_t vector = accept(".v2") ? 2 : accept(".v4") ? 4 : 1;
  Token type_token = lexer_.take();
  Type type =
      type_token.kind == Token::Kind::directive ? type_from_token(type_token.text.substr(1)) : Type::none;
  if (!may_declare(type))
    fail_at(type_token.line, "Type '{}' cannot be declared for a register", type_token.text);
  if (type == Type::b128 && module_.version < 83) {
    fail_at(type_token.line, ".b128 registers require PTX ISA .version 8.3 or later; the module says {}",
            version_name(module_.version));
  }
  do {
    Token name = expect_name("register name");
    Name n;
    n.kind = Name::Kind::reg;
    n.type = type;
    n.vector = vector;
    n.index = static_cast<uint32_t>(function_->registers.size());
    n.line = name.line;
    if (accept('<')) {
      Constant count = constant_unary();  // no operators: '>' closes the range
      if (count.is_float || count.i < 1 || count.i > 1 << 24)
        fail_at(name.line, "Register count of '{}' out of range", name.text);
      n.count = static_cast<uint32_t>(count.i);
      expect('>', "register range");
      n.depth = static_cast<uint32_t>(scopes_.size());
      const Name* old = ranges_.find(name.text);
      if (old && old->kind != Name::Kind::none && old->depth == n.depth) {
        fail_at(name.line, "Duplicate definition of '{}<{}>'; first defined in line {}", name.text, n.count,
                old->line);
      }
      add_registers(name.text, type, n.count, vector, name.line);
      ranges_.insert(name.text, n);  // last: a range that was refused must not be found
    } else {
      add_registers(name.text, type, 0, vector, name.line);
      declare(name.text, n);
    }
  } while (accept(','));
  expect(';', ".reg");
}

// `count` = 0: one register that has no number.
void Parser::add_registers(std::string_view prefix, Type type, uint32_t count, uint32_t vector,
                           uint32_t line) {
  std::vector<Register>& all = function_->registers;
  const size_t n = size_t{std::max(count, 1u)} * vector;
  if (n > kMaxRegisters - all.size())
    fail_at(line, "'{}' has more than {} registers", function_->name, kMaxRegisters);
  for (size_t i = 0; i < n; ++i) all.push_back({prefix, count ? static_cast<int32_t>(i / vector) : -1, type});
}

void Parser::declaration(Linkage linkage) {
  Token t = lexer_.take();
  Space space = space_from_token(t.text.substr(1));
  if (space == Space::generic)
    fail_at(t.line, "unsupported directive '{}': textures are not implemented", t.text);
  if (!function_ && (space == Space::local || space == Space::param)) {
    fail_at(t.line, "State space '{}' is not allowed at module scope", t.text);
  }
  variables(space, linkage);
}

// [.attribute(...)] [.align N] [.v2|.v4] .type [.ptr [.space] [.align N]]
Variable Parser::variable_head(Space space) {
  Variable v;
  v.space = space;
  v.align = 0;
  while (true) {
    const Token t = lexer_.peek();
    if (t.kind != Token::Kind::directive) break;
    lexer_.take();
    if (t.is(".align")) {
      (v.is_pointer ? v.pointee_align : v.align) = static_cast<uint32_t>(integer(".align", 1, 1 << 20));
      if (!std::has_single_bit(v.is_pointer ? v.pointee_align : v.align)) {
        fail_at(t.line, "Alignment must be a power of two");
      }
    } else if (t.is(".v2") || t.is(".v4")) {
      v.elements = t.is(".v2") ? 2 : 4;
    } else if (t.is(".ptr")) {
      v.is_pointer = true;
    } else if (v.is_pointer && space_from_token(t.text.substr(1)) != Space::generic) {
      v.pointee = space_from_token(t.text.substr(1));
    } else if (t.is(".attribute")) {
      expect('(', ".attribute");
      Token which = lexer_.take();
      if (which.is(".managed"))
        v.managed = true;
      else if (!which.is(".unified"))
        fail_at(t.line, "Unknown variable attribute '{}'", which.text);
      while (!lexer_.peek().is(')') && lexer_.peek().kind != Token::Kind::end) lexer_.take();
      expect(')', ".attribute");
    } else if (Type type = type_from_token(t.text.substr(1)); may_declare(type) && v.type == Type::none) {
      if (type == Type::pred && space != Space::reg) fail_at(t.line, "A variable cannot have type .pred");
      v.type = type;
    } else if (t.is(".texref") || t.is(".samplerref") || t.is(".surfref")) {
      fail_at(t.line, "unsupported type '{}': textures, samplers and surfaces are not implemented", t.text);
    } else {
      fail_at(t.line, "Unknown attribute '{}' in a declaration", t.text);
    }
  }
  if (v.type == Type::none) fail_at(lexer_.peek().line, "Type expected near '{}'", lexer_.peek().text);
  return v;
}

// The dimensions after a name; sets elements, size and align, and remembers the dimensions.
void Parser::variable_extent(Variable& v) {
  dimensions_.clear();
  while (accept('[')) {
    v.is_array = true;
    if (lexer_.peek().is(']')) {
      if (!dimensions_.empty())
        fail_at(lexer_.peek().line, "Only the first dimension of '{}' may be empty", v.name);
      dimensions_.push_back(0);
      v.unsized = true;
    } else {
      dimensions_.push_back(static_cast<uint64_t>(integer("Array dimension", 1, INT64_MAX)));
    }
    if (dimensions_.size() > kMaxDimensions)
      fail_at(lexer_.peek().line, "'{}' has more than {} dimensions", v.name, kMaxDimensions);
    expect(']', "array");
  }
  uint32_t element_bytes = static_cast<uint32_t>(type_bytes(v.type));
  if (v.align == 0) v.align = element_bytes * static_cast<uint32_t>(v.elements);
  uint64_t vector = v.elements;
  for (uint64_t d : dimensions_) {
    if (d == 0) continue;
    if (v.elements > (uint64_t{1} << 40) / d) fail_at(v.line, "Variable '{}' is too large", v.name);
    v.elements *= d;
  }
  if (v.unsized) v.elements = 0;
  if (vector > 1) dimensions_.push_back(vector);
  v.size = v.elements * element_bytes;
}

void Parser::variables(Space space, Linkage linkage) {
  Variable head = variable_head(space);
  head.linkage = linkage;
  do {
    Token name = expect_name("variable name");
    Variable parsed = head;
    parsed.name = name.text;
    parsed.line = name.line;
    if (accept('<')) {  // .param .b32 p<4>: only registers and parameters of calls have ranges
      fail_at(name.line, "Variable ranges ('{}<n>') are not supported; declare each name", name.text);
    }
    variable_extent(parsed);

    // `.extern .shared x[]` may be repeated in each function; the first one stands for all.
    const Name* old = names_.find(name.text);
    if (linkage == Linkage::external && old && old->kind == Name::Kind::variable) continue;
    if (!function_ && old && old->kind == Name::Kind::variable &&
        old->variable->linkage == Linkage::external) {
      Variable& declared = module_.variables[old->variable->index];
      parsed.index = declared.index;
      declared = std::move(parsed);
      if (accept('=')) initializer(declared);
      continue;
    }
    auto& list = function_ ? function_->variables : module_.variables;
    parsed.index = static_cast<uint32_t>(list.size());
    parsed.owner = function_;
    Variable& v = list.emplace_back(std::move(parsed));
    Name n;
    n.kind = Name::Kind::variable;
    n.variable = &v;
    n.line = name.line;
    declare(name.text, n);
    if (accept('=')) initializer(v);
    if (v.unsized && linkage != Linkage::external) {
      fail_at(name.line, "Variable '{}' has no size: only .extern arrays may be declared with []", name.text);
    }
  } while (accept(','));
  expect(';', "declaration");
}

// ---- Initial values -----------------------------------------------------------------------------------

void Parser::initializer(Variable& v) {
  if (v.space != Space::global && v.space != Space::const_) {
    fail_at(v.line, "Variable '{}' in .{} cannot be initialised", v.name, space_name(v.space));
  }
  if (v.linkage == Linkage::external) fail_at(v.line, "Extern variable '{}' cannot be initialised", v.name);
  if (dimensions_.empty()) {
    v.image.resize(v.size);
    initial_value(v, 0);
    return;
  }
  uint64_t inner = 1;
  for (size_t i = 1; i < dimensions_.size(); ++i) inner *= dimensions_[i];
  initial_list(v, 0, v.unsized ? UINT64_MAX : v.elements, 0);
  if (v.unsized) {  // x[] = {...}: as long as its list
    uint64_t bytes = static_cast<uint64_t>(type_bytes(v.type));
    v.elements = (v.image.size() / bytes + inner - 1) / inner * inner;
    v.size = v.elements * bytes;
    v.unsized = false;
    if (v.size == 0) fail_at(v.line, "The initialiser of '{}' is empty, and so has no size", v.name);
  }
}

// One braced list: `room` elements from element `first`. Missing values stay zero.
void Parser::initial_list(Variable& v, uint64_t first, uint64_t room, size_t level) {
  Token open = expect('{', "initialiser");
  const Nesting nesting(*this, open.line);
  uint64_t inner = 1;
  for (size_t i = level + 1; i < dimensions_.size(); ++i) inner *= dimensions_[i];
  uint64_t position = 0;
  while (!lexer_.peek().is('}')) {
    bool nested = lexer_.peek().is('{');
    if (nested && level + 1 >= dimensions_.size())
      fail_at(open.line, "Too many braces in the initialiser of '{}'", v.name);
    uint64_t wanted = nested ? inner : 1;
    if (position > room || wanted > room - position) {
      fail_at(open.line, "Too many values in the initialiser of '{}': it has {} elements", v.name,
              v.elements);
    }
    if (nested)
      initial_list(v, first + position, inner, level + 1);
    else
      initial_value(v, first + position);
    position += wanted;
    if (!accept(',')) break;
  }
  expect('}', "initialiser");
}

// number | symbol [+ offset] | generic(symbol) [+ offset] | mask(symbol or generic(symbol))
void Parser::initial_value(Variable& v, uint64_t element) {
  uint64_t bytes = static_cast<uint64_t>(type_bytes(v.type));
  if (element >= kMaxImageBytes / bytes)
    fail_at(lexer_.peek().line, "The initialiser of '{}' has values beyond {} bytes", v.name, kMaxImageBytes);
  uint64_t at = element * bytes;
  if (v.image.size() < at + bytes) v.image.resize(at + bytes);
  auto store = [&](uint64_t bits) { std::memcpy(&v.image[at], &bits, std::min<uint64_t>(bytes, 8)); };

  Relocation r;
  r.byte_offset = at;
  r.size = static_cast<uint8_t>(bytes);
  bool relocated = false, masked = false, generic = false;
  Token t = lexer_.peek();
  auto symbol = [&] {
    Token name = expect_name("symbol");
    if (name.is("generic") && lexer_.peek().is('(')) {
      generic = true;
      lexer_.take();
      name = expect_name("symbol");
    }
    const Name* n = names_.find(name.text);
    if (n && n->kind == Name::Kind::variable)
      r.variable = n->variable;
    else if (n && n->kind == Name::Kind::function)
      r.function = n->function;
    else
      fail_at(name.line, "Unknown symbol '{}'", name.text);
    relocated = true;
    auto addend = [&] {
      if (!lexer_.peek().is('+') && !lexer_.peek().is('-')) return;
      if (lexer_.peek().is('+')) lexer_.take();
      r.addend += integer("Address offset", INT64_MIN, INT64_MAX);
    };
    addend();
    if (generic) {
      expect(')', "generic");
      addend();
    }
  };
  if (t.kind == Token::Kind::name && !t.is("WARP_SZ")) {
    symbol();
  } else {
    Constant c = constant();
    if (lexer_.peek().is('(') && !c.is_float) {  // 0xFF00(symbol): one byte of an address
      lexer_.take();
      uint64_t mask = static_cast<uint64_t>(c.i);
      int shift = mask ? std::countr_zero(mask) : 0;
      if (shift % 8 != 0 || mask >> shift != 0xff) {
        fail_at(t.line, "Mask {:#x} must select one byte of the address", mask);
      }
      r.shift = static_cast<uint8_t>(shift);
      r.size = 1;
      masked = true;
      symbol();
      expect(')', "mask");
    } else {
      Operand o = immediate_operand(c);
      if (is_float(v.type)) {
        if (v.type == Type::f16 || v.type == Type::f16x2) {
          if (c.is_float) fail_at(t.line, "Initialise .f16 variables as .b16 bit patterns");
          store(static_cast<uint64_t>(c.i));
        } else {
          store(o.immediate(v.type));
        }
      } else {
        if (c.is_float && type_bits(c.float_type) != type_bits(v.type)) {
          fail_at(t.line, "Floating-point value in the initialiser of '{}' of type .{}", v.name,
                  type_name(v.type));
        }
        if (v.type == Type::b128) fail_at(t.line, ".b128 variables cannot be initialised");
        store(c.is_float ? c.bits : static_cast<uint64_t>(c.i));
      }
    }
  }
  if (relocated) {
    if (!masked && bytes != 8 && bytes != 4) {
      fail_at(t.line, "An address needs a 32-bit or 64-bit element; '{}' has type .{}", v.name,
              type_name(v.type));
    }
    r.generic = generic;
    v.relocations.push_back(r);
  }
}

// ---- Tables -------------------------------------------------------------------------------------------

// name: .branchtargets a, b; | .calltargets f, g; | .callprototype (ret) _ (params);
void Parser::table_directive(const Token& name) {
  Token d = lexer_.take();
  Name n;
  n.line = name.line;
  if (d.is(".branchtargets")) {
    n.kind = Name::Kind::branch_table;
    n.index = static_cast<uint32_t>(function_->branch_tables.size());
    function_->branch_tables.push_back({name.text, {}});
    std::vector<uint32_t>& table = branch_labels_.emplace_back();
    do {
      Token l = expect_name("label");
      Pending p;
      p.operand = nullptr;
      p.user = Id::bra;
      p.table = &table;
      p.position = table.size();
      p.name = l.text;
      p.line = l.line;
      table.push_back(Operand::kUnresolved);
      pending_.push_back(p);
    } while (accept(','));
  } else if (d.is(".calltargets")) {
    n.kind = Name::Kind::call_targets;
    n.index = static_cast<uint32_t>(function_->call_target_lists.size());
    CallTargets targets{name.text, {}};
    do {
      Token f = expect_name("function");
      const Name* known = names_.find(f.text);
      if (!known || known->kind != Name::Kind::function) fail_at(f.line, "Unknown symbol '{}'", f.text);
      targets.functions.push_back(known->function);
    } while (accept(','));
    function_->call_target_lists.push_back(std::move(targets));
  } else {
    n.kind = Name::Kind::prototype;
    n.index = static_cast<uint32_t>(function_->prototypes.size());
    function_->prototypes.push_back(prototype(name.text));
  }
  expect(';', "table");
  declare(name.text, n);
}

Prototype Parser::prototype(std::string_view name) {
  Prototype p;
  p.name = name;
  auto list = [&](std::vector<Variable>& out) {
    if (!accept('(')) return;
    if (accept(')')) return;
    do {
      Token t = lexer_.take();
      if (!t.is(".param") && !t.is(".reg"))
        fail_at(t.line, "Parsing error near '{}': .param expected", t.text);
      Variable v = variable_head(t.is(".reg") ? Space::reg : Space::param);
      v.name = expect_name("parameter name").text;
      v.line = t.line;
      variable_extent(v);
      out.push_back(std::move(v));
    } while (accept(','));
    expect(')', "prototype");
  };
  list(p.returns);
  expect_name("'_' or a function name");
  list(p.params);
  while (lexer_.peek().kind == Token::Kind::directive) {
    Token t = lexer_.take();
    if (!t.is(".noreturn")) fail_at(t.line, "Unknown directive '{}' in a prototype", t.text);
    p.noreturn = true;
  }
  return p;
}

void Parser::pragma() {
  do {
    Token t = lexer_.take();
    if (t.kind != Token::Kind::string) fail_at(t.line, "String expected in .pragma");
    if (function_) function_->pragmas.push_back(t.text);
  } while (accept(','));
  expect(';', ".pragma");
}

}  // namespace ptxops::virt::isa
