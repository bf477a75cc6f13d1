// The parser proper: one pass over the text, one object per parse(). Internal to this folder.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <vector>

#include "driver/virtual/isa/arena.h"
#include "driver/virtual/isa/ir.h"
#include "driver/virtual/isa/lexer.h"
#include "driver/virtual/isa/names.h"
#include "driver/virtual/isa/opcode.h"
#include "driver/virtual/isa/validate.h"

namespace ptxops::virt::isa {

// Thrown to abandon a statement, never past Parser::run().
struct StatementError {
  uint32_t line;
  std::string text;
};
struct TooManyErrors {};

// A compile-time constant: integer, or floating point with `is_float`.
struct Constant {
  bool is_float = false;
  bool is_unsigned = false;
  Type float_type = Type::f64;  // f32 for a lone 0f literal
  int64_t i = 0;
  double f = 0;
  uint64_t bits = 0;  // of a floating constant, in float_type
};

class Parser {
 public:
  Parser(std::string_view text, Module& module, std::vector<Diagnostic>& diagnostics);
  Result run();

 private:
  static constexpr size_t kMaxErrors = 20;
  // Beyond these a module is wrong, not large: time, memory and stack stay in proportion to the text.
  static constexpr uint32_t kMaxNesting = 200;              // brackets in expressions, operands, initialisers
  static constexpr size_t kMaxScopes = 250;                 // blocks within blocks
  static constexpr size_t kMaxRegisters = size_t{1} << 20;  // a function
  static constexpr uint64_t kMaxImageBytes = uint64_t{1} << 28;  // up to the last value of an initialiser
  static constexpr size_t kMaxDimensions = 16;                   // an array

  // parse.cpp: modules, functions, statements
  void module_item();
  void header();
  void target_directive();
  void function_item(Linkage linkage, bool is_entry);
  void function_head();
  void skip_function();
  void parameters(Function& f, std::vector<const Variable*>& list, bool is_entry);
  void function_directives(Function& f);
  void body(Function& f);
  void statement();
  void label(const Token& name);
  void instruction(int32_t guard, bool guard_negated);
  void open_scope();
  void close_scope();
  void alias();
  void loc();
  void file();
  void section();

  // parse_declarations.cpp
  bool is_declaration(std::string_view directive) const;
  void declaration(Linkage linkage);
  void registers();
  void variables(Space space, Linkage linkage);
  Variable variable_head(Space space);
  void variable_extent(Variable& v);
  void initializer(Variable& v);
  void initial_list(Variable& v, uint64_t first, uint64_t room, size_t level);
  void initial_value(Variable& v, uint64_t element);
  void table_directive(const Token& name);
  Prototype prototype(std::string_view name);
  void pragma();

  // parse_operands.cpp
  void operands_of_call(std::vector<Operand>& out);
  Operand operand();
  Operand operand_list();
  Operand vector_operand();
  Operand address_operand();
  Operand name_operand(const Token& t);
  Operand special_operand(const Token& t);
  Operand pair_operand(const Operand& first);
  static Operand immediate_operand(const Constant& c);
  const Name* lookup(std::string_view text, Name& storage) const;
  std::span<const Operand> keep(const std::vector<Operand>& v) {
    return arena_.copy(std::span<const Operand>(v));
  }

  // parse_expression.cpp
  Constant constant() { return constant_ternary(); }
  Constant constant_ternary();
  Constant constant_binary(int min_precedence);
  Constant constant_unary();
  Constant constant_number(const Token& t);
  int64_t integer(const char* what, int64_t min, int64_t max);

  // Helpers
  // One level of brackets while it lives.
  class Nesting {
   public:
    Nesting(Parser& parser, uint32_t line) : depth_(parser.nesting_) {
      if (++depth_ > kMaxNesting) {
        --depth_;
        parser.fail_at(line, "Brackets nest deeper than {}", kMaxNesting);
      }
    }
    ~Nesting() { --depth_; }
    Nesting(const Nesting&) = delete;

   private:
    uint32_t& depth_;
  };
  void add_registers(std::string_view prefix, Type type, uint32_t count, uint32_t vector, uint32_t line);
  [[noreturn]] void fail(uint32_t line, std::string text) { throw StatementError{line, std::move(text)}; }
  template <class... Args>
  [[noreturn]] void fail_at(uint32_t line, fmt::format_string<Args...> f, Args&&... args) {
    fail(line, fmt::format(f, std::forward<Args>(args)...));
  }
  void error(uint32_t line, std::string text);
  void recover();
  Token expect(char c, const char* where);
  bool accept(char c);
  bool accept(std::string_view directive);
  Token expect_name(const char* what);
  void declare(std::string_view name, Name value);

  Module& module_;
  std::vector<Diagnostic>& diagnostics_;
  Arena& arena_;
  Lexer lexer_;
  OpcodeMatcher matcher_;
  NameTable names_, ranges_;

  struct Scope {
    size_t names_mark, ranges_mark, pending_begin;
  };
  // A reference to a name that may be a label further down.
  struct Pending {
    Operand* operand;
    std::vector<uint32_t>* table;  // instead of operand: an entry of a branch table ...
    size_t position;               // ... and which
    Id user;                       // the instruction; bra for a branch table's entries
    std::string_view name;
    uint32_t line;
  };
  std::vector<Operand> operands_;     // of the instruction being parsed
  std::vector<uint64_t> dimensions_;  // of the variable being declared; 0 = []
  std::vector<Scope> scopes_;
  std::vector<Pending> pending_;
  std::vector<Pending> new_pending_;  // of the instruction being parsed; operand = nullptr, position = number
  Function* function_ = nullptr;
  std::deque<std::vector<uint32_t>> branch_labels_;  // stable while labels are pending
  uint32_t location_ = 0;
  uint32_t nesting_ = 0;
  bool version_seen_ = false, target_seen_ = false;
};

}  // namespace ptxops::virt::isa
