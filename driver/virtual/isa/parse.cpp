// Modules, functions, statements.
#include <algorithm>
#include <optional>

#include "driver/virtual/isa/parser.h"

namespace ptxops::virt::isa {

Parser::Parser(std::string_view text, Module& module, std::vector<Diagnostic>& diagnostics)
    : module_(module),
      diagnostics_(diagnostics),
      arena_(*module.arena_),
      lexer_((module.text_ = arena_.copy(text.substr(0, text.find('\0'))))),
      matcher_(arena_, module) {
  module_.locations.push_back({});
}

Result parse(std::string_view text, Module& module, std::vector<Diagnostic>& diagnostics) {
  module = Module();
  return Parser(text, module, diagnostics).run();
}

Result Parser::run() {
  size_t before = diagnostics_.size();
  try {
    while (lexer_.peek().kind != Token::Kind::end) {
      try {
        module_item();
      } catch (const StatementError& e) {
        error(e.line, e.text);
        recover();
      }
    }
    if (!version_seen_) error(1, "Missing .version directive at start of file");
  } catch (const TooManyErrors&) {
  }
  std::stable_sort(diagnostics_.begin() + static_cast<std::ptrdiff_t>(before), diagnostics_.end(),
                   [](const Diagnostic& a, const Diagnostic& b) { return a.line < b.line; });
  return diagnostics_.size() == before ? Result::ok : Result::invalid;
}

// ---- Helpers ------------------------------------------------------------------------------------------

void Parser::error(uint32_t line, std::string text) {
  diagnostics_.push_back({static_cast<int>(line), std::move(text)});
  if (diagnostics_.size() >= kMaxErrors) throw TooManyErrors{};
}

// To the end of the statement: past ';', or up to a brace.
void Parser::recover() {
  int depth = 0;  // braces of a vector operand or an initialiser
  while (lexer_.peek().kind != Token::Kind::end) {
    const Token& t = lexer_.peek();
    if (t.is(';')) {
      lexer_.take();
      return;
    }
    if (t.is('{')) ++depth;
    if (t.is('}') && depth-- == 0) return;
    lexer_.take();
  }
}

Token Parser::expect(char c, const char* where) {
  if (!lexer_.peek().is(c)) {
    const Token& t = lexer_.peek();
    fail_at(t.line, "Parsing error near '{}': '{}' expected ({})",
            t.kind == Token::Kind::end ? "end of file" : t.text, c, where);
  }
  return lexer_.take();
}

bool Parser::accept(char c) {
  if (!lexer_.peek().is(c)) return false;
  lexer_.take();
  return true;
}

bool Parser::accept(std::string_view directive) {
  if (!lexer_.peek().is(directive)) return false;
  lexer_.take();
  return true;
}

Token Parser::expect_name(const char* what) {
  const Token& t = lexer_.peek();
  if (t.kind != Token::Kind::name) fail_at(t.line, "Parsing error near '{}': {} expected", t.text, what);
  return lexer_.take();
}

void Parser::declare(std::string_view name, Name value) {
  value.depth = static_cast<uint32_t>(scopes_.size());
  Name storage;
  const Name* old = lookup(name, storage);
  if (old && old->kind != Name::Kind::none && old->depth == value.depth) {
    fail_at(value.line, "Duplicate definition of '{}'; first defined in line {}", name, old->line);
  }
  names_.insert(name, value);
}

// ---- Module level -------------------------------------------------------------------------------------

void Parser::module_item() {
  const Token t = lexer_.peek();
  if (t.is('@')) return lexer_.skip_line();  // @@DWARF
  if (t.is(';')) {
    lexer_.take();
    return;
  }
  if (t.kind != Token::Kind::directive) {
    lexer_.take();
    fail_at(t.line, "Parsing error near '{}': directive expected at module scope", t.text);
  }
  if (t.is(".version")) return header();
  if (!version_seen_) {
    error(t.line, "Missing .version directive at start of file");
    throw TooManyErrors{};
  }
  if (t.is(".target") || t.is(".address_size")) return header();
  if (t.is(".loc")) return loc();
  if (t.is(".file")) return file();
  if (t.is(".section")) return section();
  if (t.is(".alias")) return alias();
  if (t.is(".pragma")) {
    lexer_.take();
    return pragma();
  }
  Linkage linkage = Linkage::internal;
  while (true) {
    if (accept(".visible"))
      linkage = Linkage::visible;
    else if (accept(".extern"))
      linkage = Linkage::external;
    else if (accept(".weak"))
      linkage = Linkage::weak;
    else if (accept(".common"))
      linkage = Linkage::common;
    else
      break;
  }
  if (accept(".entry")) return function_item(linkage, true);
  if (accept(".func")) return function_item(linkage, false);
  if (is_declaration(lexer_.peek().text)) return declaration(linkage);
  Token bad = lexer_.take();
  fail_at(bad.line, "Unknown directive '{}'", bad.text);
}

void Parser::header() {
  Token d = lexer_.take();
  if (d.is(".version")) {
    Token t = lexer_.take();
    size_t dot = t.text.find('.');
    if (t.kind != Token::Kind::number || dot != 1 || t.text.size() != 3)
      fail_at(t.line, "Malformed .version '{}'", t.text);
    module_.version = (t.text[0] - '0') * 10 + (t.text[2] - '0');
    version_seen_ = true;
    if (module_.version > 90) {
      error(t.line, fmt::format("Unsupported .version {}; current version is '9.0'", t.text));
    }
  } else if (d.is(".address_size")) {
    module_.address_size = static_cast<int>(integer(".address_size", 32, 64));
    if (module_.address_size != 64) {
      error(d.line, ".address_size is 32; only 64 is supported on sm_90");
    }
  } else {
    target_directive();
  }
}

void Parser::target_directive() {
  do {
    Token t = expect_name("target");
    if (t.text.starts_with("sm_")) {
      std::string_view arch = t.text.substr(3);
      bool feature = !arch.empty() && (arch.back() == 'a' || arch.back() == 'f');
      std::string_view number = feature ? arch.substr(0, arch.size() - 1) : arch;
      static constexpr std::pair<std::string_view, int> kKnown[] = {{"70", 70}, {"72", 72}, {"75", 75},
                                                                    {"80", 80}, {"86", 86}, {"87", 87},
                                                                    {"88", 88}, {"89", 89}, {"90", 90}};
      module_.target = 0;
      for (auto [name, value] : kKnown) {
        if (number == name) module_.target = value;
      }
      module_.target_a = feature;
      target_seen_ = true;
      if (module_.target == 0 || (feature && arch != "90a")) {
        module_.target = 90;
        error(
            t.line,
            fmt::format("Target '{}' cannot run on this device (sm_90a); expected sm_70 ... sm_90 or sm_90a",
                        t.text));
      } else if (feature && module_.version < 80) {
        error(t.line,
              fmt::format("Target 'sm_90a' requires PTX ISA .version 8.0 or later; the module says {}",
                          version_name(module_.version)));
      }
    } else if (t.is("debug")) {
      module_.debug = true;
    } else if (!t.is("texmode_unified") && !t.is("map_f64_to_f32")) {
      error(t.line, fmt::format("Unsupported .target option '{}'", t.text));
    }
  } while (accept(','));
  if (!target_seen_) error(lexer_.peek().line, ".target names no architecture; expected sm_90a");
}

void Parser::file() {
  Token d = lexer_.take();
  SourceFile f;
  f.number = static_cast<uint32_t>(integer(".file index", 0, INT32_MAX));
  Token name = lexer_.take();
  if (name.kind != Token::Kind::string) fail_at(d.line, "File name expected in .file");
  f.name = name.text;
  module_.files.push_back(f);
  if (accept(',')) {  // timestamp, size
    integer(".file timestamp", 0, INT64_MAX);
    if (accept(',')) integer(".file size", 0, INT64_MAX);
  }
}

// .loc file line column [, function_name label, inlined_at ...]: ends with its line.
void Parser::loc() {
  Token d = lexer_.take();
  SourceLocation l;
  l.at = d.line;
  l.file = static_cast<uint32_t>(integer(".loc file", 0, INT32_MAX));
  l.line = static_cast<uint32_t>(integer(".loc line", 0, INT32_MAX));
  l.column = static_cast<uint32_t>(integer(".loc column", 0, INT32_MAX));
  while (accept(',')) {
    Token key = expect_name("function_name or inlined_at");
    if (key.is("function_name")) {
      expect_name("label");
      if (lexer_.peek().is('+')) {
        lexer_.take();
        integer("function_name offset", 0, INT32_MAX);
      }
    } else if (key.is("inlined_at")) {
      for (int i = 0; i < 3; ++i) integer("inlined_at", 0, INT32_MAX);
    } else {
      fail_at(d.line, "Unknown .loc attribute '{}'", key.text);
    }
  }
  location_ = static_cast<uint32_t>(module_.locations.size());
  module_.locations.push_back(l);
}

// DWARF sections carry nothing that execution needs.
void Parser::section() {
  Token d = lexer_.take();
  while (lexer_.peek().kind != Token::Kind::end && !lexer_.peek().is('{')) lexer_.take();
  while (lexer_.peek().kind != Token::Kind::end && !lexer_.peek().is('}')) lexer_.take();
  if (!accept('}')) fail_at(d.line, "Unterminated .section");
}

void Parser::alias() {
  lexer_.take();
  Token alias_name = expect_name("alias");
  expect(',', ".alias");
  Token target = expect_name("aliased function");
  expect(';', ".alias");
  const auto function_named = [&](std::string_view name) -> Function* {
    const Name* n = names_.find(name);
    return n && n->kind == Name::Kind::function ? &module_.functions[n->index] : nullptr;
  };
  Function *from = function_named(alias_name.text), *to = function_named(target.text);
  if (!from) fail_at(alias_name.line, "Unknown symbol '{}'", alias_name.text);
  if (!to) fail_at(target.line, "Unknown symbol '{}'", target.text);
  if (from->defined) fail_at(alias_name.line, ".alias '{}' must not have a body", alias_name.text);
  from->alias_of = to;
}

// ---- Functions ----------------------------------------------------------------------------------------

void Parser::function_item(Linkage linkage, bool is_entry) {
  if (!target_seen_) {
    error(lexer_.peek().line, "Missing .target directive");
    throw TooManyErrors{};
  }
  location_ = 0;
  module_.locations.push_back({.at = lexer_.peek().line});
  function_ = &module_.functions.emplace_back();
  function_->is_entry = is_entry;
  function_->linkage = linkage;
  function_->index = static_cast<uint32_t>(module_.functions.size() - 1);
  try {
    function_head();
  } catch (const StatementError& e) {
    error(e.line, e.text);
    skip_function();
    function_ = nullptr;
    return;
  }
  if (lexer_.peek().is('{')) {
    function_->defined = true;
    body(*function_);
  } else {
    lexer_.take();  // ';', as function_head has seen
  }
  function_ = nullptr;
}

// Everything up to '{' or ';'. Leaves function_ at the one Function of that name.
void Parser::function_head() {
  Function& f = *function_;
  while (lexer_.peek().is(".attribute")) {
    Token t = lexer_.take();
    expect('(', ".attribute");
    Token which = lexer_.take();
    if (!which.is(".unified")) fail_at(t.line, "Unsupported function attribute '{}'", which.text);
    while (!lexer_.peek().is(')') && lexer_.peek().kind != Token::Kind::end) lexer_.take();
    expect(')', ".attribute");
  }
  if (!f.is_entry && lexer_.peek().is('(')) parameters(f, f.returns, false);
  Token name = expect_name("function name");
  f.name = name.text;
  f.line = name.line;
  if (lexer_.peek().is('(')) parameters(f, f.params, f.is_entry);
  function_directives(f);
  bool has_body = lexer_.peek().is('{');
  if (!has_body && !lexer_.peek().is(';')) {
    fail_at(lexer_.peek().line, "Parsing error near '{}': function body or ';' expected", lexer_.peek().text);
  }
  if (f.is_entry && f.param_bytes() > 32764) {
    fail_at(f.line, "Formal parameter space of '{}' is {} bytes; at most 32764 are allowed", f.name,
            f.param_bytes());
  }

  const Name* old = names_.find(f.name);
  if (!old || old->kind == Name::Kind::none) {
    Name n;
    n.kind = Name::Kind::function;
    n.index = f.index;
    n.line = f.line;
    n.function = &f;
    names_.insert(f.name, n);
    return;
  }
  if (old->kind != Name::Kind::function || (old->function->defined && has_body)) {
    fail_at(f.line, "Duplicate definition of '{}'; first defined in line {}", f.name, old->line);
  }
  // Calls already point to the declaration: its place receives the definition.
  Function& declared = module_.functions[old->index];
  if (f.is_entry != declared.is_entry || f.params.size() != declared.params.size() ||
      f.returns.size() != declared.returns.size()) {
    fail_at(f.line, "Definition of '{}' does not match its declaration in line {}", f.name, old->line);
  }
  if (!declared.defined) {
    uint32_t index = declared.index;
    if (f.linkage == Linkage::internal) f.linkage = declared.linkage;
    f.noreturn |= declared.noreturn;
    declared = std::move(f);
    declared.index = index;
    for (Variable& v : declared.variables) v.owner = &declared;
  }
  module_.functions.pop_back();
  function_ = &declared;
}

// After an error in a function's head: past its body or its ';'.
void Parser::skip_function() {
  while (lexer_.peek().kind != Token::Kind::end && !lexer_.peek().is('{') && !lexer_.peek().is(';'))
    lexer_.take();
  int depth = 0;
  do {
    Token t = lexer_.take();
    if (t.is('{')) ++depth;
    if (t.is('}')) --depth;
    if (t.kind == Token::Kind::end) return;
  } while (depth > 0);
}

void Parser::parameters(Function& f, std::vector<const Variable*>& list, bool is_entry) {
  expect('(', "parameter list");
  if (accept(')')) return;
  do {
    Token t = lexer_.take();
    Space space = t.is(".reg") ? Space::reg : Space::param;
    if (!t.is(".param") && (is_entry || space != Space::reg)) {
      fail_at(t.line, "Parsing error near '{}': .param expected", t.text);
    }
    Variable v = variable_head(space);
    Token name = expect_name("parameter name");
    v.name = name.text;
    v.line = name.line;
    variable_extent(v);
    if (v.unsized) fail_at(name.line, "Parameter '{}' has no size", name.text);
    if (space == Space::reg && (v.is_array || v.elements > 1))
      fail_at(name.line, "Parameter '{}' is an array, which a register cannot hold", name.text);
    if (v.type == Type::pred)
      fail_at(name.line, "unsupported parameter '{}': predicates as parameters are not implemented",
              name.text);
    v.index = static_cast<uint32_t>(f.variables.size());
    v.owner = &f;
    if (!list.empty()) v.offset = list.back()->offset + list.back()->size;
    if (space == Space::param) v.offset = (v.offset + v.align - 1) / v.align * v.align;
    if (space == Space::reg) {
      v.reg = static_cast<int32_t>(f.registers.size());
      f.registers.push_back({v.name, -1, v.type});
    }
    list.push_back(&f.variables.emplace_back(std::move(v)));
  } while (accept(','));
  expect(')', "parameter list");
}

void Parser::function_directives(Function& f) {
  while (lexer_.peek().kind == Token::Kind::directive) {
    Token t = lexer_.take();
    auto number = [&] { return static_cast<uint32_t>(integer(std::string(t.text).c_str(), 1, INT32_MAX)); };
    auto dim = [&](Dim3& d) {
      d.x = number();
      if (accept(',')) d.y = number();
      if (accept(',')) d.z = number();
    };
    if (t.is(".maxntid"))
      dim(f.maxntid);
    else if (t.is(".reqntid"))
      dim(f.reqntid);
    else if (t.is(".reqnctapercluster"))
      dim(f.reqnctapercluster);
    else if (t.is(".minnctapersm"))
      f.minnctapersm = number();
    else if (t.is(".maxnctapersm"))
      f.maxnctapersm = number();
    else if (t.is(".maxnreg"))
      f.maxnreg = number();
    else if (t.is(".maxclusterrank"))
      f.maxclusterrank = number();
    else if (t.is(".explicitcluster"))
      f.explicitcluster = true;
    else if (t.is(".noreturn"))
      f.noreturn = true;
    else if (t.is(".pragma"))
      pragma();
    else
      fail_at(t.line, "Unknown directive '{}' on function '{}'", t.text, f.name);
  }
}

void Parser::open_scope() {
  if (scopes_.size() > kMaxScopes) fail_at(lexer_.peek().line, "Blocks nest deeper than {}", kMaxScopes);
  scopes_.push_back({names_.mark(), ranges_.mark(), pending_.size()});
}

namespace {

// What a name that stands further down may be to the instruction that uses it.
std::optional<OperandKind> resolved_kind(Id user, Name::Kind kind) {
  switch (kind) {
    case Name::Kind::label:
      return user == Id::bra ? std::optional(OperandKind::label) : std::nullopt;
    case Name::Kind::branch_table:
      return user == Id::brx_idx ? std::optional(OperandKind::branch_table) : std::nullopt;
    case Name::Kind::call_targets:
      return user == Id::call ? std::optional(OperandKind::call_targets) : std::nullopt;
    case Name::Kind::prototype:
      return user == Id::call ? std::optional(OperandKind::prototype) : std::nullopt;
    default:
      return std::nullopt;
  }
}

}  // namespace

// Labels of this scope become known; references left over belong to an enclosing one.
void Parser::close_scope() {
  const Scope& s = scopes_.back();
  uint32_t depth = static_cast<uint32_t>(scopes_.size());
  size_t kept = s.pending_begin;
  for (size_t i = s.pending_begin; i < pending_.size(); ++i) {
    Pending& p = pending_[i];
    const Name* n = names_.find(p.name);
    const std::optional<OperandKind> kind =
        n && n->depth == depth ? resolved_kind(p.user, n->kind) : std::nullopt;
    if (kind && p.operand) {
      p.operand->kind = *kind;
      p.operand->index = n->index;
    } else if (kind) {
      (*p.table)[p.position] = n->index;
    } else {
      pending_[kept++] = p;
    }
  }
  pending_.resize(kept);
  names_.restore(s.names_mark);
  ranges_.restore(s.ranges_mark);
  scopes_.pop_back();
}

void Parser::body(Function& f) {
  Token open = lexer_.take();
  open_scope();  // of the parameters: the body may shadow them
  for (Variable& v : f.variables) {
    Name n;
    n.kind = Name::Kind::variable;
    n.variable = &v;
    n.line = v.line;
    try {
      declare(v.name, n);
    } catch (const StatementError& e) {
      error(e.line, e.text);
    }
  }
  open_scope();
  f.instructions.reserve(256);
  while (scopes_.size() > 1) {
    if (lexer_.peek().kind == Token::Kind::end) {
      error(open.line, fmt::format("Unterminated body of '{}'", f.name));
      break;
    }
    try {
      statement();
    } catch (const StatementError& e) {
      error(e.line, e.text);
      recover();
    }
  }
  while (!scopes_.empty()) close_scope();
  for (const Pending& p : pending_) error(p.line, fmt::format("Unknown symbol '{}'", p.name));
  pending_.clear();
  for (size_t i = 0; i < branch_labels_.size(); ++i) f.branch_tables[i].labels = std::move(branch_labels_[i]);
  branch_labels_.clear();
}

// ---- Statements ---------------------------------------------------------------------------------------

void Parser::statement() {
  const Token& t = lexer_.peek();
  switch (t.kind) {
    case Token::Kind::name:
      if (lexer_.next_char() == ':') return label(lexer_.take());
      return instruction(-1, false);
    case Token::Kind::directive: {
      if (t.is(".loc")) return loc();
      if (t.is(".reg")) return registers();
      if (is_declaration(t.text)) return declaration(Linkage::internal);
      if (t.is(".pragma")) {
        lexer_.take();
        return pragma();
      }
      if (t.is(".file")) return file();
      fail_at(t.line, "Unknown directive '{}'", t.text);
    }
    default:
      break;
  }
  if (accept('{')) return open_scope();
  if (accept('}')) return close_scope();
  if (accept(';')) return;
  if (t.is('@')) {
    lexer_.take();
    bool negated = accept('!');
    Token p = expect_name("predicate register");
    Name storage;
    const Name* name = lookup(p.text, storage);
    if (!name) fail_at(p.line, "Unknown symbol '{}'", p.text);
    if (name->kind != Name::Kind::reg || name->type != Type::pred) {
      fail_at(p.line, "Predicate expression expected; '{}' is not a predicate register", p.text);
    }
    return instruction(static_cast<int32_t>(name->index), negated);
  }
  Token bad = lexer_.take();
  fail_at(bad.line, "Parsing error near '{}': instruction expected", bad.text);
}

void Parser::label(const Token& name) {
  expect(':', "label");
  const Token& next = lexer_.peek();
  if (next.is(".branchtargets") || next.is(".calltargets") || next.is(".callprototype"))
    return table_directive(name);
  Name n;
  n.kind = Name::Kind::label;
  n.index = static_cast<uint32_t>(function_->labels.size());
  n.line = name.line;
  function_->labels.push_back({name.text, static_cast<uint32_t>(function_->instructions.size()), name.line});
  declare(name.text, n);
}

void Parser::instruction(int32_t guard, bool guard_negated) {
  if (lexer_.peek().kind != Token::Kind::name) {
    fail_at(lexer_.peek().line, "Parsing error near '{}': instruction expected", lexer_.peek().text);
  }
  Token opcode = lexer_.take_opcode();
  if (lexer_.peek().kind == Token::Kind::directive) {  // spaces between modifiers
    std::string joined(opcode.text);
    while (lexer_.peek().kind == Token::Kind::directive) joined += lexer_.take().text;
    opcode.text = arena_.copy(std::string_view(joined));
  }
  const MatchedOpcode& matched = matcher_.match(opcode.text);
  if (!matched.opcode.row) fail(opcode.line, matched.error);

  operands_.clear();
  new_pending_.clear();
  if (matched.opcode.id() == Id::call) {
    operands_of_call(operands_);
  } else if (!lexer_.peek().is(';')) {
    do {
      operands_.push_back(operand());
    } while (accept(','));
  }
  expect(';', "end of instruction");

  Instruction in;
  in.opcode = matched.interned;
  in.guard = guard;
  in.guard_negated = guard_negated;
  in.line = opcode.line;
  in.location = location_;
  std::span<Operand> operands = arena_.copy(std::span<const Operand>(operands_));
  in.operands = operands;
  // These take {x} for x, as Triton writes it.
  const Id id = matched.opcode.id();
  if (id == Id::ld || id == Id::ld_nc || id == Id::st || id == Id::mov)
    for (Operand& o : operands)
      if (o.is_vector() && o.elements.size() == 1) o = Operand(o.elements[0]);
  if (!new_pending_.empty()) {
    // Names not known yet are labels or tables further down, where one may stand.
    bool branches = matched.opcode.id() == Id::bra || matched.opcode.id() == Id::brx_idx ||
                    matched.opcode.id() == Id::call;
    size_t n = 0;
    for (Operand& o : operands) {
      if (!branches || !o.is_unresolved()) continue;
      new_pending_[n].user = matched.opcode.id();
      new_pending_[n++].operand = &o;
    }
    if (n != new_pending_.size()) fail_at(new_pending_[n].line, "Unknown symbol '{}'", new_pending_[n].name);
    pending_.insert(pending_.end(), new_pending_.begin(), new_pending_.end());
  }
  if (matched.opcode.id() == Id::call && in.operands[1].is_unresolved()) {
    // The callee must be declared before; the complaint about the name is enough.
    function_->instructions.push_back(in);
    return;
  }
  std::string problem = check_instruction(in, matched, *function_);
  if (!problem.empty()) error(opcode.line, std::move(problem));
  function_->instructions.push_back(in);
}

}  // namespace ptxops::virt::isa
