#include "driver/virtual/isa/table.h"

#include <charconv>
#include <deque>
#include <stdexcept>
#include <string>
#include <unordered_map>

#include "driver/virtual/isa/operand_form.h"

namespace ptxops::virt::isa {
namespace {

struct RawRow {
  Id id;
  std::string_view name, pattern, form;
  Scope scope;
  uint16_t min_ptx;
  Arch arch;
  std::string_view why_not, chapter;
};

std::vector<RawRow> raw_rows() {
  using enum Scope;
  using enum Arch;
  std::vector<RawRow> rows;
  std::string_view chapter;
#define CHAPTER(name) chapter = name;
#define INSTRUCTION(id, pattern, form, scope, min_ptx, arch) \
  rows.push_back({Id::id, #id, pattern, form, scope, min_ptx, arch, {}, chapter});
#define ALSO(id, pattern, form, scope, min_ptx, arch) INSTRUCTION(id, pattern, form, scope, min_ptx, arch)
#define UNSUPPORTED(pattern, why) \
  rows.push_back({Id::unsupported, {}, pattern, {}, thread, 10, sm_50, why, chapter});
#include "driver/virtual/isa/table/instructions.def"
#undef INSTRUCTION
#undef ALSO
#undef UNSUPPORTED
  return rows;
}

constexpr std::pair<std::string_view, std::string_view> kSets[] = {
#define SET(name, alternatives) {#name, alternatives},
#include "driver/virtual/isa/table/sets.def"
#undef SET
};

[[noreturn]] void malformed(std::string_view pattern) {
  throw std::logic_error("malformed instruction pattern '" + std::string(pattern) + "'");
}

// Expanded range tokens ("m64n8k32" ...) need storage of their own.
std::deque<std::string>& token_storage() {
  static std::deque<std::string> storage;
  return storage;
}

int to_int(std::string_view s, std::string_view pattern) {
  int v = 0;
  auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), v);
  if (error != std::errc{} || end != s.data() + s.size()) malformed(pattern);
  return v;
}

// One alternative; `prefix{a..b step c}suffix` stands for a token of each number.
void expand(std::string_view text, std::string_view pattern, std::vector<std::string_view>& tokens) {
  size_t open = text.find('{');
  if (open == text.npos) {
    tokens.push_back(text);
    return;
  }
  size_t close = text.find('}', open);
  std::string_view range = text.substr(open + 1, close - open - 1);
  size_t dots = range.find(".."), step = range.find(" step ");
  if (close == text.npos || dots == range.npos || step == range.npos) malformed(pattern);
  int first = to_int(range.substr(0, dots), pattern);
  int last = to_int(range.substr(dots + 2, step - dots - 2), pattern);
  int stride = to_int(range.substr(step + 6), pattern);
  for (int n = first; n <= last; n += stride) {
    tokens.push_back(token_storage().emplace_back(std::string(text.substr(0, open)) + std::to_string(n) +
                                                  std::string(text.substr(close + 1))));
  }
}

// Position of the '}' that closes the '{' at s[0].
size_t closing(std::string_view s, std::string_view pattern) {
  int depth = 0;
  for (size_t i = 0; i < s.size(); ++i) {
    if (s[i] == '{') ++depth;
    if (s[i] == '}' && --depth == 0) return i;
  }
  malformed(pattern);
}

void split_alternatives(std::string_view s, std::string_view pattern, std::vector<std::string_view>& tokens) {
  while (true) {
    size_t bar = s.find('|');
    expand(s.substr(0, bar), pattern, tokens);
    if (bar == s.npos) return;
    s.remove_prefix(bar + 1);
  }
}

// Reads one atom (after its dot) from the front of `s`.
Slot take_atom(std::string_view& s, std::string_view pattern) {
  Slot slot;
  if (s.starts_with('<')) {
    size_t end = s.find('>');
    if (end == s.npos) malformed(pattern);
    slot.name = s.substr(1, end - 1);
    for (auto [name, alternatives] : kSets) {
      if (name == slot.name) split_alternatives(alternatives, pattern, slot.tokens);
    }
    if (slot.tokens.empty()) malformed(pattern);
    s.remove_prefix(end + 1);
  } else if (s.starts_with('{')) {
    size_t end = closing(s, pattern);
    std::string_view body = s.substr(1, end - 1);
    // "name:" ends in one colon; "shared::cta" is no name.
    size_t colon = body.find(':');
    if (colon != body.npos && body.substr(colon, 2) != "::" && colon < body.find('|')) {
      slot.name = body.substr(0, colon);
      body.remove_prefix(colon + 1);
    }
    split_alternatives(body, pattern, slot.tokens);
    s.remove_prefix(end + 1);
  } else {
    size_t end = 0;
    while (end < s.size() && s[end] != '.' && s[end] != '[' && s[end] != ']') ++end;
    if (end == 0) malformed(pattern);
    slot.tokens.push_back(s.substr(0, end));
    s.remove_prefix(end);
  }
  return slot;
}

std::vector<Slot> compile_slots(std::string_view s, std::string_view pattern) {
  std::vector<Slot> slots;
  while (!s.empty()) {
    bool optional = s.starts_with('[');
    if (optional) s.remove_prefix(1);
    if (!s.starts_with('.')) malformed(pattern);
    s.remove_prefix(1);
    Slot slot = take_atom(s, pattern);
    slot.optional = optional;
    if (optional) {
      if (!s.starts_with(']')) malformed(pattern);
      s.remove_prefix(1);
    }
    slots.push_back(std::move(slot));
  }
  return slots;
}

struct Table {
  std::vector<Row> rows;
  std::unordered_map<std::string_view, std::vector<const Row*>> by_root;

  Table() {
    for (const RawRow& raw : raw_rows()) {
      std::string_view rest = raw.pattern;
      std::vector<std::string_view> roots;
      if (rest.starts_with('{')) {
        size_t end = closing(rest, raw.pattern);
        split_alternatives(rest.substr(1, end - 1), raw.pattern, roots);
        rest.remove_prefix(end + 1);
      } else {
        size_t end = rest.find_first_of(".[");
        roots.push_back(rest.substr(0, end));
        rest = end == rest.npos ? std::string_view{} : rest.substr(end);
      }
      for (std::string_view root : roots) {
        Row row;
        row.id = raw.id;
        row.name = raw.name;
        row.pattern = raw.pattern;
        row.form = raw.form;
        row.root = root;
        row.scope = raw.scope;
        row.min_ptx = raw.min_ptx;
        row.arch = raw.arch;
        row.why_not = raw.why_not;
        row.chapter = raw.chapter;
        row.slots = compile_slots(rest, raw.pattern);
        row.specs = compile_form(raw.form);
        rows.push_back(std::move(row));
      }
    }
    for (const Row& row : rows) by_root[row.root].push_back(&row);
  }
};

const Table& table() {
  static const Table instance;
  return instance;
}

constexpr std::string_view kIdNames[] = {
    "unsupported",
#define INSTRUCTION(id, pattern, form, scope, min_ptx, arch) #id,
#define ALSO(id, pattern, form, scope, min_ptx, arch)
#define UNSUPPORTED(pattern, why)
#include "driver/virtual/isa/table/instructions.def"
#undef INSTRUCTION
#undef ALSO
#undef UNSUPPORTED
};

}  // namespace

std::string_view id_name(Id id) {
  return kIdNames[static_cast<size_t>(id)];
}

std::string_view scope_name(Scope s) {
  switch (s) {
    case Scope::thread:
      return "thread";
    case Scope::warp:
      return "warp";
    case Scope::warpgroup:
      return "warpgroup";
    case Scope::cta:
      return "cta";
    case Scope::cluster:
      return "cluster";
    case Scope::async:
      return "async";
  }
  return "?";
}

std::span<const Row> rows() {
  return table().rows;
}

std::span<const Row* const> rows_of(std::string_view root) {
  auto it = table().by_root.find(root);
  if (it == table().by_root.end()) return {};
  return it->second;
}

}  // namespace ptxops::virt::isa
