#include "tests/mutants/source.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <set>
#include <stdexcept>

namespace ptxops::mutants {
namespace {

using Kind = Statement::Kind;
constexpr size_t kNone = ~size_t{0};

// `acc<64>` declares acc0 .. acc63.
bool declares(const std::string& declaration, const std::string& name) {
  const size_t bracket = declaration.find('<');
  if (bracket == declaration.npos) return declaration == name;
  const std::string prefix = declaration.substr(0, bracket);
  return name.starts_with(prefix) && name.size() > prefix.size() &&
         name.find_first_not_of("0123456789", prefix.size()) == name.npos;
}
bool declares_any(const std::vector<std::string>& declarations, const std::vector<std::string>& names) {
  return std::any_of(declarations.begin(), declarations.end(), [&](const std::string& d) {
    return std::any_of(names.begin(), names.end(), [&](const std::string& n) { return declares(d, n); });
  });
}

bool is_wait(const Statement& s) {
  return starts(s, "mbarrier.try_wait") || starts(s, "mbarrier.test_wait");
}
bool leaves(const Statement& s) {
  for (const char* opcode : {"bra", "brx", "ret", "exit", "call", "trap"})
    if (s.opcode == opcode || s.opcode.starts_with(std::string(opcode) + ".")) return true;
  return false;
}

// The registers that an instruction writes: those of its first operand, where that is a destination.
std::vector<std::string> written(const Statement& s) {
  static const char* const kNoDestination[] = {
      "st",           "stmatrix", "bar.",           "barrier.",   "fence",  "red",
      "cp.",          "prefetch", "griddepcontrol", "setmaxnreg", "membar", "wgmma.wait_group",
      "mbarrier.init"};
  if (s.operands.empty() || s.operands[0].starts_with('[')) return {};
  for (const char* prefix : kNoDestination)
    if (s.opcode.starts_with(prefix)) return {};
  return names_in(s.operands[0]);
}

bool meet(const std::vector<std::string>& a, const std::vector<std::string>& b) {
  return std::any_of(a.begin(), a.end(),
                     [&](const std::string& n) { return std::find(b.begin(), b.end(), n) != b.end(); });
}

}  // namespace

std::optional<int64_t> immediate(std::string_view operand) {
  int64_t value = 0;
  const bool hex = operand.starts_with("0x");
  const char* begin = operand.data() + (hex ? 2 : 0);
  const auto [end, error] = std::from_chars(begin, operand.data() + operand.size(), value, hex ? 16 : 10);
  if (error != std::errc() || end != operand.data() + operand.size()) return std::nullopt;
  return value;
}

std::string displaced(std::string_view address, int64_t by) {
  if (!address.starts_with('[') || !address.ends_with(']'))
    throw std::invalid_argument(fmt::format("expected an address, got {}", address));
  std::string_view inside = address.substr(1, address.size() - 2);
  const size_t plus = inside.rfind('+');
  if (plus != inside.npos)
    if (const auto offset = immediate(inside.substr(plus + 1))) {
      by += *offset;
      inside = inside.substr(0, plus);
    }
  return fmt::format("[{}+{}]", inside, by);
}

std::string spell(const Statement& s, std::string_view opcode, const std::vector<std::string>& operands) {
  return fmt::format("{}{}{}{}{};", s.guard, s.guard.empty() ? "" : " ", opcode, operands.empty() ? "" : " ",
                     fmt::join(operands, ", "));
}

bool has_word(const Statement& s, std::string_view word) {
  for (size_t at = s.opcode.find(word); at != s.opcode.npos; at = s.opcode.find(word, at + 1)) {
    const size_t end = at + word.size();
    if (at > 0 && s.opcode[at - 1] == '.' && (end == s.opcode.size() || s.opcode[end] == '.')) return true;
  }
  return false;
}

Source::Source(std::string_view ptx) : text(ptx), statements(parse_body(ptx)) {
  partner_.assign(statements.size(), kNone);
  std::vector<size_t> open;
  for (size_t i = 0; i < statements.size(); ++i) {
    if (statements[i].kind == Kind::open) open.push_back(i);
    if (statements[i].kind == Kind::close) {
      partner_[i] = open.back();
      partner_[open.back()] = i;
      open.pop_back();
    }
  }
  resolve();
  wait_of_.assign(statements.size(), kNone);
  for (size_t i = 0; i < statements.size(); ++i) {
    if (!is_wait(statements[i])) continue;
    const Unit u = unit_of(i);
    std::fill(wait_of_.begin() + static_cast<long>(u.first), wait_of_.begin() + static_cast<long>(u.last) + 1,
              i);
  }
}

Unit Source::unit_of(size_t i) const {
  if (!is_wait(statements[i]) || i == 0 || i + 1 >= statements.size()) return {i, i};
  const Statement &label = statements[i - 1], &back = statements[i + 1];
  if (label.kind != Kind::label || back.opcode != "bra" || back.operands != std::vector{label.opcode})
    return {i, i};
  Unit u{i - 1, i + 1};
  size_t first = u.first;
  while (first > 0 && statements[first - 1].kind == Kind::declaration) --first;
  if (first > 1 && statements[first - 1].kind == Kind::open && partner_[first - 1] == u.last + 1)
    u = {first - 1, u.last + 1};
  return u;
}

Mutant& Source::add(FaultClass fault, const std::string& op, Unit u) {
  mutants.push_back({fault, op, {}, statements[u.first].line, statements[u.last].last_line, 0, 1, 1, {}, {}});
  return mutants.back();
}

void Source::remove(FaultClass fault, const std::string& op, Unit u) {
  const size_t begin = statements[u.first].begin, end = statements[u.last].end;
  add(fault, op, u).edits = {{begin, end, blank(text.substr(begin, end - begin))}};
}

void Source::replace(FaultClass fault, const std::string& op, size_t i, const std::string& replacement,
                     const std::string& detail) {
  const Statement& s = statements[i];
  Mutant& m = add(fault, op, {i, i});
  m.edits = {{s.begin, s.end, replacement + blank(text.substr(s.begin, s.end - s.begin))}};
  m.detail = detail;
}

void Source::set_operand(FaultClass fault, const std::string& op, size_t i, size_t operand,
                         const std::string& replacement) {
  const Statement& s = statements[i];
  std::vector<std::string> operands = s.operands;
  operands.at(operand) = replacement;
  replace(fault, op, i, spell(s, s.opcode, operands),
          fmt::format("{} -> {}", s.operands[operand], replacement));
}

void Source::compute_operand(FaultClass fault, const std::string& op, size_t i, const std::string& name,
                             std::string_view type, std::string_view instruction, std::string_view last) {
  const Statement& s = statements[i];
  std::vector<std::string> operands = s.operands;
  for (std::string& operand : operands) {
    // whole names only
    for (size_t at = operand.find(name); at != operand.npos; at = operand.find(name, at + 1)) {
      const auto part_of_name = [&](size_t k) {
        return k < operand.size() &&
               (std::isalnum(static_cast<unsigned char>(operand[k])) || operand[k] == '_');
      };
      if ((at > 0 && part_of_name(at - 1)) || part_of_name(at + name.size())) continue;
      operand.replace(at, name.size(), "mutant_");
    }
  }
  replace(fault, op, i,
          fmt::format("{{ .reg .{} mutant_; {} mutant_, {}{}; {} }}", type, instruction, name, last,
                      spell(s, s.opcode, operands)),
          fmt::format("{} -> {}({}{})", name, instruction, name, last));
}

// A register is its name and the scope that declares it.
void Source::resolve() {
  std::map<size_t, std::vector<std::string>> declared;
  std::map<std::pair<size_t, std::string>, int> numbers;
  std::vector<size_t> open;
  const auto number = [&](const std::string& name) {
    size_t k = open.size();
    while (k > 0 && !declares_any(declared[open[k - 1]], {name})) --k;
    return numbers.try_emplace({k ? open[k - 1] : kNone, name}, static_cast<int>(numbers.size()))
        .first->second;
  };
  uses_.resize(statements.size());
  for (size_t i = 0; i < statements.size(); ++i) {
    const Statement& s = statements[i];
    if (s.kind == Kind::open) declared[i] = declared_in(i), open.push_back(i);
    if (s.kind == Kind::close) open.pop_back();
    if (s.kind != Kind::instruction) continue;
    for (const std::string& n : written(s)) uses_[i].written.push_back(number(n));
    for (const std::string& n : names_in(s.guard)) uses_[i].read.push_back(number(n));
    for (size_t o = uses_[i].written.empty() ? 0 : 1; o < s.operands.size(); ++o)
      for (const std::string& n : names_in(s.operands[o])) uses_[i].read.push_back(number(n));
  }
}

std::vector<int> Source::readers_of(size_t i) const {
  std::set<int> derived(uses_[i].written.begin(), uses_[i].written.end()), lines;
  for (size_t before = 0; before != derived.size();) {
    before = derived.size();
    for (size_t k = 0; k < statements.size(); ++k) {
      if (std::none_of(uses_[k].read.begin(), uses_[k].read.end(),
                       [&](int r) { return derived.contains(r); }))
        continue;
      lines.insert(statements[k].line);
      derived.insert(uses_[k].written.begin(), uses_[k].written.end());
    }
  }
  return {lines.begin(), lines.end()};
}

void Source::need_version_8_6() {
  const std::string_view directive = ".version ";
  const size_t at = text.find(directive) + directive.size();
  const size_t end = text.find('\n', at);
  if (text.substr(at, end - at) < "8.6") mutants.back().edits.push_back({at, end, "8.6"});
}

std::vector<std::string> Source::declared_in(size_t open) const {
  std::vector<std::string> names;
  for (size_t i = open + 1; i < partner_[open]; ++i) {
    if (statements[i].kind == Kind::open)
      i = partner_[i];
    else if (statements[i].kind == Kind::declaration)
      names.insert(names.end(), statements[i].operands.begin(), statements[i].operands.end());
  }
  return names;
}

// From the unit in direction `step` to the nearest statement that passes; nothing may be crossed that changes
// the meaning of the unit's names.
std::optional<size_t> Source::reach(Unit u, int step, const Test& target) const {
  std::vector<std::string> used;
  for (size_t i = u.first; i <= u.last; ++i) {
    const Statement& s = statements[i];
    if (s.kind != Kind::instruction) continue;
    for (const std::string& operand : s.operands)
      for (std::string& n : names_in(operand)) used.push_back(std::move(n));
    for (std::string& n : names_in(s.guard)) used.push_back(std::move(n));
  }
  for (size_t i = u.first; i <= u.last; ++i)  // its own names
    if (statements[i].kind == Kind::declaration)
      std::erase_if(used, [&](const std::string& n) { return declares_any(statements[i].operands, {n}); });

  int inside = 0;  // scopes entered on the way
  for (size_t i = step > 0 ? u.last + 1 : u.first - 1; i > 0 && i + 1 < statements.size();
       i += static_cast<size_t>(step)) {
    const Statement& s = statements[i];
    if (wait_of_[i] != kNone) {
      const Unit wait = unit_of(wait_of_[i]);
      if (!target(statements[wait_of_[i]])) return std::nullopt;
      return step > 0 ? wait.last : wait.first;
    }
    switch (s.kind) {
      case Kind::label:
        return std::nullopt;
      case Kind::declaration:
        if (declares_any(s.operands, used)) return std::nullopt;
        break;
      case Kind::open:
      case Kind::close: {
        const bool enters = (s.kind == Kind::open) == (step > 0);
        inside += enters ? 1 : -1;
        if (declares_any(declared_in(s.kind == Kind::open ? i : partner_[i]), used)) return std::nullopt;
        break;
      }
      case Kind::instruction:
        if (leaves(s) || meet(written(s), used)) return std::nullopt;
        if (target(s)) return i;
        break;
    }
  }
  return std::nullopt;
}

void Source::move(FaultClass fault, const std::string& op, Unit u, size_t target, bool up) {
  const size_t begin = statements[u.first].begin, end = statements[u.last].end;
  const std::string moved = flatten(text.substr(begin, end - begin));
  const Statement& t = statements[target];
  Mutant& m = add(fault, op, u);
  m.moved_to = up ? t.line : t.last_line;
  m.edits = {{begin, end, blank(text.substr(begin, end - begin))},
             up ? Edit{t.begin, t.begin, moved + " "} : Edit{t.end, t.end, " " + moved}};
  const std::string shown = t.kind == Kind::instruction ? t.opcode : "the wait loop";
  m.detail = fmt::format("{} {}", up ? "above" : "below", shown);
}

void Source::hoist(FaultClass fault, const std::string& op, Unit u, const Test& target) {
  if (const auto t = reach(u, -1, target)) move(fault, op, u, *t, true);
}
void Source::sink(FaultClass fault, const std::string& op, Unit u, const Test& target) {
  if (const auto t = reach(u, 1, target)) move(fault, op, u, *t, false);
}

std::vector<Mutant> all_mutants(std::string_view ptx) {
  Source source(ptx);
  mutate_synchronisation(source);
  mutate_values(source);
  std::stable_sort(source.mutants.begin(), source.mutants.end(),
                   [](const Mutant& a, const Mutant& b) { return a.line < b.line; });
  return std::move(source.mutants);
}

}  // namespace ptxops::mutants
