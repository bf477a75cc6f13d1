#include "driver/virtual/isa/opcode.h"

#include <fmt/format.h>

#include <algorithm>

namespace ptxops::virt::isa {
namespace {

using Tokens = std::vector<std::string_view>;

bool contains(const Slot& slot, std::string_view token) {
  return std::find(slot.tokens.begin(), slot.tokens.end(), token) != slot.tokens.end();
}

// Remembers how far any row got, to say what was expected there.
struct Furthest {
  size_t position = 0;
  Tokens expected;
  void note(size_t at, const Slot& slot) {
    if (at < position) return;
    if (at > position) expected.clear();
    position = at;
    for (std::string_view t : slot.tokens) {
      if (std::find(expected.begin(), expected.end(), t) == expected.end()) expected.push_back(t);
    }
  }
  void note_end(size_t at) {
    if (at > position) {
      expected.clear();
      position = at;
    }
  }
};

// Tokens in the order of the slots; `whole`: every token must be used.
bool match_ordered(const Row& row, const Tokens& tokens, size_t slot, size_t token, bool whole,
                   std::vector<std::string_view>& choices, Furthest& furthest) {
  if (slot == row.slots.size()) {
    if (token == tokens.size() || !whole) return true;
    furthest.note_end(token);
    return false;
  }
  const Slot& s = row.slots[slot];
  if (token < tokens.size() && contains(s, tokens[token])) {
    choices[slot] = tokens[token];
    if (match_ordered(row, tokens, slot + 1, token + 1, whole, choices, furthest)) return true;
    choices[slot] = {};
  } else {
    furthest.note(token, s);
  }
  return s.optional && match_ordered(row, tokens, slot + 1, token, whole, choices, furthest);
}

// ptxas takes most modifiers in any order (ld.global.relaxed.gpu, add.f32.ftz); types keep their order since
// slots take tokens from left to right.
bool match_unordered(const Row& row, const Tokens& tokens, std::vector<std::string_view>& choices) {
  std::vector<bool> used(tokens.size());
  size_t n_used = 0;
  for (size_t i = 0; i < row.slots.size(); ++i) {
    choices[i] = {};
    for (size_t j = 0; j < tokens.size(); ++j) {
      if (used[j] || !contains(row.slots[i], tokens[j])) continue;
      used[j] = true;
      ++n_used;
      choices[i] = tokens[j];
      break;
    }
    if (choices[i].empty() && !row.slots[i].optional) return false;
  }
  return n_used == tokens.size();
}

std::string list(const Tokens& tokens) {
  std::string s;
  size_t shown = std::min<size_t>(tokens.size(), 12);
  for (size_t i = 0; i < shown; ++i) s += fmt::format("{}.{}", i ? " " : "", tokens[i]);
  if (shown < tokens.size()) s += " ...";
  return s;
}

}  // namespace

std::string arch_name(Arch a) {
  return a == Arch::sm_90a ? "sm_90a" : fmt::format("sm_{}", static_cast<int>(a));
}
std::string version_name(int v) {
  return fmt::format("{}.{}", v / 10, v % 10);
}

bool OpcodeMatcher::available(const Row& row) const {
  int target = module_.target_a ? static_cast<int>(Arch::sm_90a) : module_.target;
  return row.min_ptx <= module_.version && static_cast<int>(row.arch) <= target;
}

std::string OpcodeMatcher::refusal(std::string_view text, const Row& row) const {
  if (!row.supported()) return fmt::format("unsupported instruction '{}': {}", text, row.why_not);
  if (row.min_ptx > module_.version) {
    return fmt::format("'{}' requires PTX ISA .version {} or later; the module says {}", text,
                       version_name(row.min_ptx), version_name(module_.version));
  }
  return fmt::format("'{}' requires .target {}{}; the module says sm_{}", text, arch_name(row.arch),
                     row.arch == Arch::sm_90a ? "" : " or higher", module_.target);
}

const MatchedOpcode& OpcodeMatcher::match(std::string_view text) {
  auto [it, is_new] = known_.try_emplace(text);
  if (is_new) {
    build(text, it->second);
    it->second.interned = arena_.copy(std::span<const Opcode>(&it->second.opcode, 1)).data();
  }
  return it->second;
}

void OpcodeMatcher::build(std::string_view text, MatchedOpcode& m) {
  m.opcode.text = text;
  Tokens tokens;
  std::string_view root = text.substr(0, text.find('.'));
  for (std::string_view rest = text.substr(root.size()); !rest.empty();) {
    rest.remove_prefix(1);
    size_t dot = rest.find('.');
    tokens.push_back(rest.substr(0, dot));
    rest = dot == rest.npos ? std::string_view{} : rest.substr(dot);
  }

  auto candidates = rows_of(root);
  if (candidates.empty()) {
    m.error = fmt::format("Not a name of any known instruction: '{}'", root);
    return;
  }
  Furthest furthest;
  const Row* refused = nullptr;
  std::vector<std::string_view> choices;
  // Exact order first; then any order; unsupported rows only describe the beginning of an opcode.
  enum Pass { ordered, unordered, unsupported };
  for (Pass pass : {ordered, unordered, unsupported}) {
    for (const Row* row : candidates) {
      if (row->supported() == (pass == unsupported)) continue;
      choices.assign(row->slots.size(), {});
      bool matched = pass == unordered
                         ? match_unordered(*row, tokens, choices)
                         : match_ordered(*row, tokens, 0, 0, pass == ordered, choices, furthest);
      if (!matched) continue;
      if (!row->supported() || !available(*row)) {
        if (!refused) refused = row;
        continue;
      }
      m.opcode.row = row;
      break;
    }
    if (m.opcode.row) break;
  }
  if (!m.opcode.row) {
    if (refused) {
      m.error = refusal(text, *refused);
    } else if (furthest.position < tokens.size()) {
      m.error =
          furthest.expected.empty()
              ? fmt::format("Unexpected modifier '.{}' at the end of '{}'", tokens[furthest.position], text)
              : fmt::format("Illegal modifier '.{}' in '{}'; expected here: {}", tokens[furthest.position],
                            text, list(furthest.expected));
    } else {
      m.error =
          fmt::format("Modifier missing at the end of '{}'; expected: {}", text, list(furthest.expected));
    }
    return;
  }

  // Modifiers newer than the rows that take them.
  for (std::string_view token : tokens) {
    bool cluster = token == "cluster" || token == "shared::cluster";
    if (!cluster && token != "shared::cta") continue;
    if (module_.version < 78) {
      m.error = fmt::format("Modifier '.{}' requires PTX ISA .version 7.8 or later; the module says {}",
                            token, version_name(module_.version));
    } else if (cluster && module_.target < 90) {
      m.error = fmt::format("Modifier '.{}' requires .target sm_90 or higher; the module says sm_{}", token,
                            module_.target);
    } else {
      continue;
    }
    m.opcode.row = nullptr;
    return;
  }

  const Row& row = *m.opcode.row;
  m.opcode.choices = arena_.copy(std::span<const std::string_view>(choices));
  std::vector<Type> types;
  for (std::string_view c : choices) {
    if (Type t = type_from_token(c); t != Type::none) types.push_back(t);
  }
  m.opcode.types = arena_.copy(std::span<const Type>(types));

  for (const OperandSpec& spec : row.specs) {
    if (!spec.condition.empty() && !m.opcode.has(spec.condition)) continue;
    ExpectedOperand e;
    e.spec = &spec;
    switch (spec.type_from) {
      case OperandSpec::TypeFrom::fixed:
        e.type = spec.type;
        break;
      case OperandSpec::TypeFrom::token:
        e.type = m.opcode.type(spec.type_index);
        break;
      case OperandSpec::TypeFrom::wide: {
        Type t = m.opcode.type();
        e.type = t == Type::u16   ? Type::u32
                 : t == Type::s16 ? Type::s32
                 : t == Type::u32 ? Type::u64
                                  : Type::s64;
        break;
      }
    }
    if (spec.length == OperandSpec::Length::by_vec) e.length = m.opcode.vector_length();
    if (spec.length == OperandSpec::Length::by_num) e.length = m.opcode.choice("num").back() - '0';
    if (spec.length == OperandSpec::Length::fixed) e.length = spec.elements;
    e.space = spec.space_from_token ? m.opcode.space() : spec.space;
    ++(spec.optional ? m.optional : m.required);
    m.expected.push_back(e);
  }
}

}  // namespace ptxops::virt::isa
