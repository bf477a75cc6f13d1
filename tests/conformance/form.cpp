#include "tests/conformance/form.h"

#include <algorithm>

namespace ptxops::conformance {

bool Form::has(std::string_view token) const {
  return std::find(choices.begin(), choices.end(), token) != choices.end();
}

std::string_view Form::choice(std::string_view slot_name) const {
  for (size_t i = 0; i < choices.size(); ++i)
    if (row->slots[i].name == slot_name) return choices[i];
  return {};
}

namespace {

void extend(const isa::Row& row, Form& form, std::vector<Form>& out) {
  const size_t i = form.choices.size();
  if (i == row.slots.size()) {
    Form done = form;
    done.opcode = row.root;
    for (std::string_view choice : done.choices) {
      if (choice.empty()) continue;
      done.opcode += '.';
      done.opcode += choice;
      // b1024 and the like are literals of one opcode, not types.
      const isa::Type type = isa::type_from_token(choice);
      if (type != isa::Type::none) done.types.push_back(type);
    }
    if (is_legal(done)) out.push_back(std::move(done));
    return;
  }
  if (row.slots[i].optional) {
    form.choices.push_back({});
    extend(row, form, out);
    form.choices.pop_back();
  }
  for (std::string_view token : row.slots[i].tokens) {
    form.choices.push_back(token);
    extend(row, form, out);
    form.choices.pop_back();
  }
}

bool legal_comparison(std::string_view cmp, isa::Type type) {
  if (isa::is_float(type)) return cmp != "lo" && cmp != "ls" && cmp != "hi" && cmp != "hs";
  if (cmp == "eq" || cmp == "ne") return true;
  const bool order = cmp == "lt" || cmp == "le" || cmp == "gt" || cmp == "ge";
  const bool unsigned_order = cmp == "lo" || cmp == "ls" || cmp == "hi" || cmp == "hs";
  if (isa::type_kind(type) == isa::TypeKind::bits) return false;
  return order || (unsigned_order && !isa::is_signed(type));
}

// Does the destination fail to hold some value of the source?
bool can_saturate(isa::Type from, isa::Type to) {
  const bool from_signed = isa::is_signed(from), to_signed = isa::is_signed(to);
  if (from_signed && !to_signed) return true;
  return isa::type_bits(from) - from_signed > isa::type_bits(to) - to_signed;
}

}  // namespace

bool is_legal(const Form& f) {
  using isa::Type;
  const std::string_view root = f.row->root;
  const auto any_type = [&](Type t) { return std::find(f.types.begin(), f.types.end(), t) != f.types.end(); };
  if (root == "set" || root == "setp") {
    const Type compared = f.types.back();
    if (!legal_comparison(f.choice("cmp"), compared)) return false;
    const bool half = compared == Type::f16 || compared == Type::f16x2;
    if (f.has("ftz") && compared != Type::f32 && !half) return false;
  }
  // An L2 policy goes with global memory; order and scope of mbarrier operations come together.
  const bool shared = f.has("shared") || f.has("shared::cta") || f.has("shared::cluster");
  if ((root == "atom" || root == "red") && f.has("L2::cache_hint") && shared) return false;
  if (root == "mbarrier" && f.choice("sem").empty() != f.choice("scope").empty()) return false;
  if (root == "slct" && f.has("ftz") && f.types.back() != Type::f32) return false;
  if (root == "set" && f.type(0) == Type::f16 && f.types.back() == Type::bf16) return false;
  if (root == "set" && f.type(0) == Type::bf16 && f.types.back() == Type::f16 && f.has("ftz")) return false;
  if (root == "cvt" && f.has("ftz") && !any_type(Type::f32)) return false;
  if (root == "cvt" && any_type(Type::bf16)) {
    if (f.has("sat") && !isa::is_float(f.type(0))) return false;
    for (Type t : f.types)
      if (!isa::is_float(t) && isa::type_bits(t) == 8) return false;
  }
  if (f.row->id == isa::Id::cvt_int && f.has("sat") && !can_saturate(f.type(1), f.type(0))) return false;
  return true;
}

std::vector<Form> forms_of(const isa::Row& row) {
  std::vector<Form> out;
  Form form;
  form.row = &row;
  extend(row, form, out);
  return out;
}

std::string test_name(const isa::Row& row) {
  std::string name(row.root);
  name += '.';
  name += row.pattern.substr(std::min(row.pattern.size(), row.pattern.find_first_of(".[") + 1));
  std::string clean;
  for (char c : name)
    clean += (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ? c : '_';
  while (clean.find("__") != clean.npos) clean.erase(clean.find("__"), 1);
  while (clean.ends_with('_')) clean.pop_back();
  return clean;
}

}  // namespace ptxops::conformance
