#include "driver/jit/template.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <unordered_map>
#include <unordered_set>

#include "driver/jit/source.h"

namespace ptxops::jit {
namespace {

constexpr int kMaxNesting = 64;
constexpr size_t kMaxDomain = 4096;
constexpr size_t kMaxNames = 4096;
constexpr size_t kMaxSources = 256;
constexpr uint32_t kAllParams = ~0u;

constexpr std::array kDirectives = {"kernel", "param",   "require", "let",  "note", "smem",
                                    "role",   "cost",    "for",     "if",   "elif", "else",
                                    "end",    "include", "macro",   "error"};
constexpr std::array kReserved = {"min", "max", "ceil_div", "log2", "align", "regs", "hex", "f32", "uid"};

bool contains(const auto& list, std::string_view word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

// What a block is inside of. A macro body has a frame of its own.
struct Context {
  bool file_scope = true;               // not inside any block: params, requires, notes, macros are allowed
  Macro* macro = nullptr;               // the macro being defined
  const Binding* frame_base = nullptr;  // bindings beyond this one belong to an outer frame (may be shadowed)
};

// Lines of one source.
struct Cursor {
  uint32_t source;
  std::string_view text;
  uint32_t line = 0;

  bool next(std::string_view& out) {
    if (text.empty()) return false;
    const size_t end = text.find('\n');
    out = text.substr(0, end);
    text.remove_prefix(end == text.npos ? text.size() : end + 1);
    if (!out.empty() && out.back() == '\r') out.remove_suffix(1);
    ++line;
    return true;
  }
  Where where() const { return {source, line}; }
};

class TemplateParser {
 public:
  std::shared_ptr<Template> run(const std::string& path, std::string text) {
    Cursor cursor = open(path, std::move(text), std::nullopt);
    Context context;
    parse_block(cursor, t_.body, context, nullptr, {});
    if (!kernel_seen_) fail({0, 1}, "expected '//% kernel NAME' as the first directive");
    return std::make_shared<Template>(std::move(t_));
  }

 private:
  enum class Ended { kFile, kEnd, kElif, kElse };
  struct Outer {
    std::string_view directive;  // the block's opener, empty at file level
    Where where;
  };

  [[noreturn]] void fail(Where where, const std::string& message) const { t_.fail(where, message); }

  Cursor open(const std::string& path, std::string text, std::optional<Where> from) {
    if (t_.sources.size() == kMaxSources)
      throw ExpressionError(fmt::format("more than {} files are included", kMaxSources - 1));
    t_.sources.push_back(std::make_unique<Source>(Source{path, std::move(text), from}));
    return {static_cast<uint32_t>(t_.sources.size() - 1), t_.sources.back()->text};
  }

  // Reads statements up to the directive that closes the block. Extends `scope` privately: names made here
  // vanish with the block, except at file scope, where `file_scope_` keeps them for the includer.
  Ended parse_block(Cursor& cursor, Block& block, Context context, const Binding* scope, Outer outer,
                    std::string_view* closing = nullptr, bool included = false) {
    if (++nesting_ > kMaxNesting)
      fail(cursor.where(), fmt::format("blocks nest deeper than {}", kMaxNesting));
    std::string_view line;
    while (cursor.next(line)) {
      const Where where = cursor.where();
      const auto directive = directive_of(line);
      try {
        if (!directive) {
          block.push_back(text_statement(line, where, scope));
          continue;
        }
        Parser p(*directive, scope, t_.pool);
        if (p.at_end()) throw ExpressionError("expected a directive after '//%'");
        const auto word = p.identifier();
        if (!kernel_seen_ && (word != "kernel"))
          throw ExpressionError("expected '//% kernel NAME' as the first directive");
        if (word == "end" || word == "elif" || word == "else") {
          if (outer.directive.empty()) throw ExpressionError(fmt::format("'{}' without an open block", word));
          if (word != "end" && outer.directive != "if" && outer.directive != "elif")
            throw ExpressionError(
                fmt::format("'{}' inside '{}' of line {}", word, outer.directive, outer.where.line));
          if (word != "elif") p.expect_end();
          if (closing) *closing = p.rest();
          --nesting_;
          return word == "end" ? Ended::kEnd : word == "elif" ? Ended::kElif : Ended::kElse;
        }
        parse_directive(word, p, cursor, block, context, scope);
      } catch (const ExpressionError& e) {
        fail(where, e.what());
      }
    }
    if (!outer.directive.empty())
      fail(outer.where, fmt::format("'{}' is not closed by '//% end'", outer.directive));
    if (included || context.file_scope) included_scope_ = scope;
    --nesting_;
    return Ended::kFile;
  }

  void parse_directive(std::string_view word, Parser& p, Cursor& cursor, Block& block, const Context& context,
                       const Binding*& scope) {
    const Where where = cursor.where();
    if (word == "kernel") return kernel(p);
    if (word == "let") return let(p, where, block, context, scope);
    if (word == "for") return for_block(p, cursor, block, context, scope);
    if (word == "if") return if_block(p, cursor, block, context, scope);
    if (word == "include") return include(p, where, block, context, scope);
    if (word == "error") {
      Statement s{.kind = Statement::Kind::kError, .where = where};
      s.text = segments_of(p.string_literal(), scope);
      p.expect_end();
      block.push_back(std::move(s));
      return;
    }
    if (!contains(kDirectives, word)) return call(word, p, where, block, scope);
    if (!context.file_scope)
      throw ExpressionError(fmt::format("'{}' belongs to the file's top level, not inside a block", word));
    if (word == "param") return param(p, where, scope);
    if (word == "require") return require(p, where, block, scope);
    if (word == "note") return note(p, where);
    if (word == "macro") return macro(p, cursor, scope);
    t_.contract.push_back({std::string(word), std::string(trim(p.rest())), where});
  }

  void kernel(Parser& p) {
    if (kernel_seen_) throw ExpressionError("a second 'kernel' directive");
    t_.name = p.identifier();
    p.expect_end();
    kernel_seen_ = true;
  }

  // A new name. Within one frame every visible name is unique; a macro's own names may hide the kernel's.
  const Binding* bind(std::string_view name, Binding::Kind kind, uint32_t slot, Where where,
                      const Context& context, const Binding* scope) {
    if (contains(kReserved, name)) throw ExpressionError(fmt::format("'{}' is a reserved word", name));
    if (t_.bindings.size() >= kMaxNames) throw ExpressionError(fmt::format("more than {} names", kMaxNames));
    for (const Binding* b = scope; b && b != context.frame_base; b = b->parent)
      if (b->name == name)
        throw ExpressionError(fmt::format("duplicate name '{}': first at {}:{}", name,
                                          t_.sources[b->where.source]->path, b->where.line));
    t_.bindings.push_back({name, kind, slot, where, scope});
    return &t_.bindings.back();
  }

  const Binding* bind_slot(std::string_view name, Where where, const Context& context, const Binding* scope) {
    return context.macro ? bind(name, Binding::Kind::kLocal, context.macro->locals++, where, context, scope)
                         : bind(name, Binding::Kind::kGlobal, t_.global_slots++, where, context, scope);
  }

  void param(Parser& p, Where where, const Binding*& scope) {
    const auto name = p.identifier();
    ParamDecl decl{.name = std::string(name), .where = where};
    if (!p.accept_word("in")) p.expect("in");
    const size_t domain_begin = p.position();
    std::unordered_set<int64_t> seen;
    do {
      const int64_t low = constant(p);
      int64_t high = low, step = 1;
      if (p.accept("..")) {
        high = constant(p);
        if (p.accept_word("step")) step = constant(p);
        if (step <= 0) throw ExpressionError(fmt::format("step {} is not positive", step));
        if (high < low) throw ExpressionError(fmt::format("empty range {}..{}", low, high));
      }
      for (int64_t value = low; value <= high;) {
        if (!seen.insert(value).second)
          throw ExpressionError(fmt::format("duplicate value {} in the domain of {}", value, decl.name));
        if (decl.domain.size() == kMaxDomain)
          throw ExpressionError(
              fmt::format("the domain of {} has more than {} values", decl.name, kMaxDomain));
        decl.domain.push_back(value);
        if (__builtin_add_overflow(value, step, &value)) break;
      }
    } while (p.accept(","));
    decl.domain_text = trim(p.since(domain_begin));
    p.expect_end();
    scope = bind_slot(name, where, {}, scope);
    decl.slot = scope->slot;
    reads_.resize(t_.global_slots, kAllParams);
    reads_[decl.slot] = static_cast<uint32_t>(t_.params.size()) + 1;
    t_.params.push_back(std::move(decl));
  }

  int64_t constant(Parser& p) {
    Parser plain(p.rest(), nullptr, t_.pool);
    const Expr e = plain.expression();
    p.seek(p.position() + plain.position());
    return evaluate(t_.pool, e.root, NoNames());
  }
  struct NoNames final : EvalContext {};

  // How many leading params an expression reads, through lets as well; kAllParams when it reads a loop
  // variable, which cannot happen at file scope.
  uint32_t params_read(uint32_t root) const {
    const ExprNode& n = t_.pool[root];
    switch (n.op) {
      case Op::kConst:
        return 0;
      case Op::kGlobal:
        return n.a < reads_.size() ? reads_[n.a] : kAllParams;
      case Op::kLocal:
      case Op::kArg:
      case Op::kUid:
        return kAllParams;
      case Op::kNeg:
      case Op::kNot:
      case Op::kBitNot:
      case Op::kLog2:
        return params_read(n.a);
      case Op::kSelect:
        return std::max({params_read(n.a), params_read(n.b), params_read(n.c)});
      default:
        return std::max(params_read(n.a), params_read(n.b));
    }
  }

  void let(Parser& p, Where where, Block& block, const Context& context, const Binding*& scope) {
    const auto name = p.identifier();
    p.expect("=");
    Statement s{.kind = Statement::Kind::kLet, .global_slot = !context.macro, .where = where};
    s.expr[0] = p.expression();
    p.expect_end();
    scope = bind_slot(name, where, context, scope);
    s.slot = scope->slot;
    if (!context.macro) {
      reads_.resize(t_.global_slots, kAllParams);
      reads_[s.slot] = params_read(s.expr[0].root);
      if (context.file_scope)
        t_.head.push_back({HeadStep::Kind::kLet, s.slot, s.expr[0], reads_[s.slot], where});
    }
    block.push_back(std::move(s));
  }

  void require(Parser& p, Where where, Block& block, const Binding* scope) {
    Statement s{.kind = Statement::Kind::kRequire, .where = where};
    s.expr[0] = p.expression();
    s.text = segments_of(p.string_literal(), scope);
    p.expect_end();
    t_.head.push_back({HeadStep::Kind::kRequire, static_cast<uint32_t>(t_.requirements.size()), s.expr[0],
                       params_read(s.expr[0].root), where});
    t_.requirements.push_back({s.expr[0], s.text, where});
    block.push_back(std::move(s));
  }

  void note(Parser& p, Where where) {
    NoteDecl decl{.name = std::string(p.identifier()), .where = where};
    for (const NoteDecl& n : t_.notes)
      if (n.name == decl.name)
        throw ExpressionError(fmt::format("duplicate note '{}': first at line {}", n.name, n.where.line));
    if (t_.notes.size() == kMaxNames) throw ExpressionError(fmt::format("more than {} notes", kMaxNames));
    p.expect("=");
    decl.expr = p.expression();
    p.expect_end();
    t_.head.push_back({HeadStep::Kind::kNote, static_cast<uint32_t>(t_.notes.size()), decl.expr,
                       params_read(decl.expr.root), where});
    t_.notes.push_back(std::move(decl));
  }

  void for_block(Parser& p, Cursor& cursor, Block& block, const Context& context, const Binding* scope) {
    const Where where = cursor.where();
    Statement s{.kind = Statement::Kind::kFor, .global_slot = !context.macro, .where = where};
    const auto name = p.identifier();
    if (!p.accept_word("in")) p.expect("in");
    s.expr[0] = p.expression();
    p.expect("..");
    s.expr[1] = p.expression();
    if (p.accept_word("step")) {
      s.expr[2] = p.expression();
    } else {
      t_.pool.push_back({Op::kConst, 0, 0, 0, 1});
      s.expr[2] = {static_cast<uint32_t>(t_.pool.size() - 1), "1"};
    }
    p.expect_end();
    Context inner = context;
    inner.file_scope = false;
    const Binding* inner_scope = bind_slot(name, where, context, scope);
    if (!context.macro) reads_.resize(t_.global_slots, kAllParams);
    s.slot = inner_scope->slot;
    s.branches.push_back({std::nullopt, where, {}});
    parse_block(cursor, s.branches[0].block, inner, inner_scope, {"for", where});
    block.push_back(std::move(s));
  }

  void if_block(Parser& p, Cursor& cursor, Block& block, const Context& context, const Binding* scope) {
    Statement s{.kind = Statement::Kind::kIf, .where = cursor.where()};
    Context inner = context;
    inner.file_scope = false;
    std::optional<Expr> condition = p.expression();
    p.expect_end();
    std::string_view word = "if";
    for (;;) {
      const Where where = cursor.where();
      s.branches.push_back({condition, where, {}});
      std::string_view rest;
      const Ended ended = parse_block(cursor, s.branches.back().block, inner, scope, {word, where}, &rest);
      if (ended == Ended::kEnd) break;
      condition.reset();
      word = "else";
      if (ended == Ended::kElif) {
        word = "elif";
        try {
          Parser q(rest, scope, t_.pool);
          condition = q.expression();
          q.expect_end();
        } catch (const ExpressionError& e) {
          fail(cursor.where(), e.what());
        }
      }
    }
    block.push_back(std::move(s));
  }

  void include(Parser& p, Where where, Block& block, const Context& context, const Binding*& scope) {
    const std::string path(p.string_literal());
    p.expect_end();
    if (definitions_only_[path]) return;
    for (std::optional<Where> at = where; at; at = t_.sources[at->source]->included_from)
      if (t_.sources[at->source]->path == path)
        throw ExpressionError(fmt::format("'{}' includes itself", path));
    auto text = read_source(path);
    if (!text) throw ExpressionError(fmt::format("no file '{}' below ptx/", path));
    Cursor inner = open(path, std::move(*text), where);
    Block body;
    parse_block(inner, body, context, scope, {}, nullptr, true);
    scope = included_scope_;
    // A file of macros and constants only gives no text: neither its comments nor its blank lines.
    const bool definitions = std::all_of(body.begin(), body.end(), [&](const Statement& s) {
      return s.kind == Statement::Kind::kLet || (s.kind == Statement::Kind::kText && is_comment(s));
    });
    if (definitions) {
      std::erase_if(body, [](const Statement& s) { return s.kind == Statement::Kind::kText; });
      // Inside a block its names end with the block, so a later include must define them again.
      definitions_only_[path] = context.file_scope;
    }
    std::move(body.begin(), body.end(), std::back_inserter(block));
  }

  bool is_comment(const Statement& s) const {
    if (s.text.count == 0) return true;
    const Segment& first = t_.segments[s.text.begin];
    const auto text = trim(first.text);
    return first.kind == Segment::Kind::kLiteral &&
           (text.starts_with("//") || (s.text.count == 1 && text.empty()));
  }

  void macro(Parser& p, Cursor& cursor, const Binding* scope) {
    const Where where = cursor.where();
    Macro m{.name = p.identifier(), .where = where};
    if (contains(kDirectives, m.name) || contains(kReserved, m.name))
      throw ExpressionError(fmt::format("'{}' is a reserved word", m.name));
    if (const auto it = macro_index_.find(m.name); it != macro_index_.end()) {
      const Where first = t_.macros[it->second].where;
      throw ExpressionError(fmt::format("duplicate macro '{}': first at {}:{}", m.name,
                                        t_.sources[first.source]->path, first.line));
    }
    Context inner{.file_scope = false, .macro = &m, .frame_base = scope};
    t_.bindings.push_back({"uid", Binding::Kind::kUid, 0, where, scope});
    const Binding* inner_scope = &t_.bindings.back();
    p.expect("(");
    if (!p.accept(")")) {
      do inner_scope = bind(p.identifier(), Binding::Kind::kArg, m.arity++, where, inner, inner_scope);
      while (p.accept(","));
      p.expect(")");
    }
    p.expect_end();
    parse_block(cursor, m.body, inner, inner_scope, {"macro", where});
    macro_index_[m.name] = static_cast<uint32_t>(t_.macros.size());
    t_.macros.push_back(std::move(m));
  }

  void call(std::string_view word, Parser& p, Where where, Block& block, const Binding* scope) {
    const auto it = macro_index_.find(word);
    if (it == macro_index_.end()) throw ExpressionError(fmt::format("unknown directive or macro '{}'", word));
    Statement s{.kind = Statement::Kind::kCall, .where = where, .slot = it->second, .scope = scope};
    p.expect("(");
    const auto text = p.rest();
    size_t begin = 0, pos = 0;
    std::string closers;
    bool quoted = false;
    for (;; ++pos) {
      if (pos == text.size()) throw ExpressionError(fmt::format("the call of '{}' is not closed", word));
      const char c = text[pos];
      if (c == '"') quoted = !quoted;
      if (quoted) continue;
      if (c == '(' || c == '[' || c == '{') {
        closers.push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
      } else if (c == ',' && closers.empty()) {
        s.args.push_back(segments_of(trim(text.substr(begin, pos - begin)), scope));
        begin = pos + 1;
      } else if (c == ')' || c == ']' || c == '}') {
        if (closers.empty() && c == ')') break;
        if (closers.empty() || closers.back() != c)
          throw ExpressionError(fmt::format("unbalanced '{}' in the call of '{}'", c, word));
        closers.pop_back();
      }
    }
    const auto last = trim(text.substr(begin, pos - begin));
    if (!s.args.empty() || !last.empty()) s.args.push_back(segments_of(last, scope));
    p.seek(p.position() + pos + 1);
    p.expect_end();
    const Macro& m = t_.macros[it->second];
    if (s.args.size() != m.arity)
      throw ExpressionError(
          fmt::format("macro '{}' takes {} arguments, not {}", word, m.arity, s.args.size()));
    block.push_back(std::move(s));
  }

  Statement text_statement(std::string_view line, Where where, const Binding* scope) {
    if (line.find("//%") != line.npos) throw ExpressionError("'//%' must be the first thing in its line");
    Statement s{.kind = Statement::Kind::kText, .where = where};
    s.text = segments_of(line, scope);
    return s;
  }

  SegmentRange segments_of(std::string_view text, const Binding* scope) {
    SegmentRange range{static_cast<uint32_t>(t_.segments.size()), 0};
    const auto literal = [&](std::string_view piece) {
      if (!piece.empty()) t_.segments.push_back({.kind = Segment::Kind::kLiteral, .text = piece});
    };
    for (;;) {
      size_t open = text.find("{{");
      if (open == text.npos) {
        if (text.find("}}") != text.npos) throw ExpressionError("'}}' without '{{'");
        literal(text);
        break;
      }
      // In "{{{" the first brace is PTX's: no expression starts with one.
      if (text.substr(open, 3) == "{{{") ++open;
      size_t close = open + 2;
      for (bool quoted = false; quoted || text.substr(close, 2) != "}}"; ++close) {
        if (close >= text.size()) throw ExpressionError("'{{' without '}}'");
        if (text[close] == '"') quoted = !quoted;
      }
      literal(text.substr(0, open));
      t_.segments.push_back(substitution(text.substr(open + 2, close - open - 2), scope));
      text.remove_prefix(close + 2);
    }
    range.count = static_cast<uint32_t>(t_.segments.size()) - range.begin;
    return range;
  }

  Segment substitution(std::string_view inside, const Binding* scope) {
    Parser p(inside, scope, t_.pool);
    const auto word = trim(inside);
    if (is_identifier(word)) {
      const Binding* b = find_binding(scope, word);
      if (b && b->kind == Binding::Kind::kArg) return {.kind = Segment::Kind::kArg, .arg = b->slot};
    }
    Segment s{.kind = Segment::Kind::kInteger};
    if (p.accept_word("regs")) {
      s.kind = Segment::Kind::kRegs;
      p.expect("(");
      if (p.peek() == '"') {
        s.text = p.string_literal();
      } else {
        const auto prefix = p.identifier();
        const Binding* b = find_binding(scope, prefix);
        if (!b || b->kind != Binding::Kind::kArg)
          throw ExpressionError(
              fmt::format("regs(): expected \"prefix\" or a macro argument, not '{}'", prefix));
        s.prefix_is_arg = true;
        s.arg = b->slot;
      }
      p.expect(",");
      s.first = p.expression();
      if (p.accept(",")) {
        s.second = p.expression();
      } else {
        s.second = s.first;
        t_.pool.push_back({Op::kConst, 0, 0, 0, 0});
        s.first = {static_cast<uint32_t>(t_.pool.size() - 1), "0"};
      }
      p.expect(")");
    } else if (p.accept_word("hex") || p.accept_word("f32")) {
      s.kind = trim(inside).starts_with("hex") ? Segment::Kind::kHex : Segment::Kind::kF32;
      p.expect("(");
      s.first = p.expression();
      p.expect(")");
    } else {
      s.first = p.expression();
    }
    p.expect_end();
    return s;
  }

  Template t_;
  bool kernel_seen_ = false;
  int nesting_ = 0;
  const Binding* included_scope_ = nullptr;
  std::vector<uint32_t> reads_;  // by kernel slot: how many leading params its value depends on
  std::unordered_map<std::string_view, uint32_t> macro_index_;
  std::unordered_map<std::string, bool> definitions_only_;
};

}  // namespace

std::string Template::include_trail(Where where) const {
  std::string trail;
  for (auto from = sources[where.source]->included_from; from; from = sources[from->source]->included_from)
    trail += fmt::format("\n  included from {}:{}", sources[from->source]->path, from->line);
  return trail;
}

void Template::fail(Where where, const std::string& message, const std::string& trail) const {
  throw TemplateError(sources[where.source]->path, static_cast<int>(where.line), message,
                      include_trail(where) + trail);
}

std::optional<std::string_view> directive_of(std::string_view line) {
  const size_t begin = line.find_first_not_of(" \t");
  if (begin == line.npos || line.substr(begin, 3) != "//%") return std::nullopt;
  return line.substr(begin + 3);
}

std::shared_ptr<const Template> parse_template_text(const std::string& path, std::string text) {
  return TemplateParser().run(path, std::move(text));
}

std::shared_ptr<const Template> parse_template(const std::string& path) {
  auto text = read_source(path);
  if (!text)
    throw TemplateError(path, 0, "no such file below ptx/ (PTXOPS_PTX_DIR reads them from disk)", "");
  return parse_template_text(path, std::move(*text));
}

}  // namespace ptxops::jit
