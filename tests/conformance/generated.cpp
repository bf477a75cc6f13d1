#include "tests/conformance/generated.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>

#include "tests/conformance/device.h"
#include "tests/conformance/values.h"

namespace ptxops::conformance {
namespace {

using isa::Type;

constexpr uint32_t kThreads = 512, kBlock = 128;

int register_bits(Type t) {
  const int bits = isa::type_bits(t);
  return t == Type::pred ? 1 : bits < 16 ? 16 : bits;
}
std::string register_type(Type t) {
  return t == Type::pred ? "pred" : fmt::format("b{}", register_bits(t));
}
Type widened(Type t) {
  switch (t) {
    case Type::u16:
      return Type::u32;
    case Type::s16:
      return Type::s32;
    case Type::u32:
      return Type::u64;
    case Type::s32:
      return Type::s64;
    default:
      return Type::none;
  }
}

Type type_of(const isa::OperandSpec& spec, const Form& f) {
  switch (spec.type_from) {
    case isa::OperandSpec::TypeFrom::fixed:
      return spec.type;
    case isa::OperandSpec::TypeFrom::token:
      return f.type(spec.type_index);
    case isa::OperandSpec::TypeFrom::wide:
      return widened(f.type(0));
  }
  return Type::none;
}

std::string literal(Type t, uint64_t bits) {
  switch (t) {
    case Type::f32:
      return fmt::format("0f{:08x}", bits);
    case Type::f64:
      return fmt::format("0d{:016x}", bits);
    case Type::s16:
      return fmt::format("{}", static_cast<int16_t>(bits));
    case Type::s32:
      return fmt::format("{}", static_cast<int32_t>(bits));
    case Type::s64:
      return fmt::format("{}", static_cast<int64_t>(bits));
    default:
      return fmt::format("{}", bits);
  }
}
bool may_be_literal(const isa::OperandSpec& spec, Type t) {
  if (spec.dest || spec.reg_only || spec.kind != isa::OperandSpec::Kind::value || t == Type::pred)
    return false;
  if (t == Type::u16x2 || t == Type::s16x2) return false;
  return isa::is_integer(t) || isa::type_kind(t) == isa::TypeKind::bits || t == Type::f32 || t == Type::f64;
}
// A second, predicate result can be asked for, or must.
bool pair_allowed(const isa::OperandSpec& spec, const Form& f) {
  return spec.pair && !(f.row->root == "setp" && (f.type() == Type::f16 || f.type() == Type::bf16));
}
bool pair_required(const isa::OperandSpec& spec, const Form& f) {
  return spec.pair_required || f.row->id == isa::Id::lop3_bool;
}

// Values for an immediate-only operand.
std::vector<uint64_t> immediates(const isa::OperandSpec& spec) {
  if (!spec.allowed.empty()) return {spec.allowed.begin(), spec.allowed.end()};
  if (spec.min == 0 && spec.max == 255) return {0x00, 0xff, 0x96, 0xe8, 0xca, 0x1d, 0x80, 0x7e, 0x3c, 0xb2};
  return {static_cast<uint64_t>(spec.min), static_cast<uint64_t>(spec.max)};
}

struct Variant {
  bool pair = false;
  bool literal = false;
  bool negate = false;  // !p
};

void add_case(const Form& f, const Variant& v, std::vector<GeneratedCase>& out) {
  GeneratedCase c;
  c.what.form = f;
  std::vector<std::string> operands;
  int last_literal = -1;
  for (size_t i = 0; i < f.row->specs.size(); ++i)
    if (may_be_literal(f.row->specs[i], type_of(f.row->specs[i], f))) last_literal = static_cast<int>(i);
  if (v.literal && last_literal < 0) return;
  std::vector<uint64_t> choices{0};
  int choice_source = -1;
  Random random(seed() ^ std::hash<std::string>{}(f.opcode));
  for (size_t i = 0; i < f.row->specs.size(); ++i) {
    const isa::OperandSpec& spec = f.row->specs[i];
    if (!spec.condition.empty() && !f.has(spec.condition)) continue;
    const Type t = type_of(spec, f);
    if (spec.dest) {
      c.what.results.push_back(t);
      std::string text = "$d0";
      if (pair_required(spec, f) || (pair_allowed(spec, f) && v.pair)) {
        c.what.results.push_back(Type::pred);
        c.what.pair = true;
        text += "|$d1";
      }
      operands.push_back(text);
      continue;
    }
    const size_t source = c.what.sources.size();
    if (spec.kind == isa::OperandSpec::Kind::immediate) {
      choices = immediates(spec);
      choice_source = static_cast<int>(source);
      c.what.sources.push_back(Type::u32);
      c.is_immediate.push_back(true);
      c.negated.push_back(false);
      c.immediate.push_back(0);
      operands.push_back("#");
      continue;
    }
    c.what.sources.push_back(t);
    const bool as_literal = v.literal && static_cast<int>(i) == last_literal;
    c.is_immediate.push_back(as_literal);
    c.negated.push_back(spec.negatable && v.negate);
    if (as_literal) {
      const auto& e = edges(t);
      uint64_t value = random() & 1 ? e[random() % e.size()] : random_value(t, random);
      if (f.row->root == "bfe" || f.row->root == "bfi") value &= 0xff;  // positions and lengths
      c.immediate.push_back(value);
      operands.push_back(literal(t, c.immediate.back()));
    } else {
      c.immediate.push_back(0);
      operands.push_back(fmt::format("{}$a{}", c.negated.back() ? "!" : "", source));
    }
  }
  for (uint64_t value : choices) {
    GeneratedCase one = c;
    std::string text = f.opcode;
    for (size_t i = 0; i < operands.size(); ++i) {
      std::string operand = operands[i];
      if (operand == "#") operand = fmt::format("{}", value);
      text += (i ? ", " : " ") + operand;
    }
    if (choice_source >= 0) one.immediate[choice_source] = value;
    one.text = text + ";";
    out.push_back(std::move(one));
  }
}

bool has_spec(const isa::Row& row, bool isa::OperandSpec::*flag) {
  for (const auto& spec : row.specs)
    if (spec.*flag) return true;
  return false;
}

// add.cc and its kin: the carry flag is one more source and one more result.
void add_carry(GeneratedCase& c) {
  const Form& f = c.what.form;
  const std::string_view root = f.row->root;
  const bool reads = root == "addc" || root == "subc" || root == "madc";
  const bool writes = f.has("cc");
  const bool subtracts = root == "sub" || root == "subc";
  if (reads) {
    const size_t source = c.what.sources.size();
    c.what.sources.push_back(Type::pred);
    c.is_immediate.push_back(false);
    c.negated.push_back(false);
    c.immediate.push_back(0);
    // Carry (or borrow) in from a 0/1 value.
    c.setup =
        fmt::format("selp.u32 carry, 1, 0, $a{};\n    {} carry, {};\n", source,
                    subtracts ? "sub.cc.u32" : "add.cc.u32", subtracts ? "0, carry" : "carry, 0xffffffff");
  }
  if (writes) {
    const size_t result = c.what.results.size();
    c.what.results.push_back(Type::b32);
    // addc 0, 0 reads the carry; subc 0, 0 gives all ones for a borrow.
    c.readout = fmt::format("{} $d{}, 0, 0;\n", subtracts ? "subc.u32" : "addc.u32", result);
  }
}

std::string substitute(const std::string& text, const GeneratedCase& c, const char* d) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '$') {
      out += text[i];
      continue;
    }
    const char kind = text[++i], index = text[++i];
    out += kind == 'd' ? fmt::format("{}{}", d, index) : fmt::format("a{}", index);
  }
  (void)c;
  return out;
}

// Loads and stores go through 8-byte slots: slot k of thread i lies at (k * n + i) * 8.
std::string load(Type t, const std::string& reg, size_t slot) {
  std::string text =
      fmt::format("    mad.lo.u32 slot, count, {}, index;\n    mad.wide.u32 address, slot, 8, in;\n", slot);
  if (t == Type::pred)
    return text + fmt::format("    ld.global.b32 word, [address];\n    setp.ne.u32 {}, word, 0;\n", reg);
  return text + fmt::format("    ld.global.b{} {}, [address];\n", register_bits(t), reg);
}
std::string store(Type t, const std::string& reg, size_t slot) {
  std::string text =
      fmt::format("    mad.lo.u32 slot, count, {}, index;\n    mad.wide.u32 address, slot, 8, out;\n", slot);
  if (t == Type::pred)
    return text + fmt::format("    selp.u32 word, 1, 0, {};\n    st.global.b32 [address], word;\n", reg);
  return text + fmt::format("    st.global.b{} [address], {};\n", register_bits(t), reg);
}

bool same_nan(Type t, uint64_t bits) {
  const Format* f = format_of(t == Type::tf32 ? Type::f32 : t);
  return f && is_nan(*f, bits);
}

bool close(const Format& f, uint64_t got, Quad expected, double absolute, double relative) {
  const Quad value = decode(f, got);
  if (is_nan(value) || is_nan(expected)) return is_nan(value) && is_nan(expected);
  if (is_inf(expected) || is_inf(value)) return value == expected || got == encode(f, expected);
  const Quad error = value > expected ? value - expected : expected - value;
  const Quad size = expected < 0 ? -expected : expected;
  return error <= Quad(absolute) + Quad(relative) * size;
}

bool matches_element(const Format& f, const Expected::Element& e, uint64_t got) {
  if (e.kind == Expected::Kind::anything) return true;
  if (e.kind == Expected::Kind::nan) return is_nan(f, got);
  if (e.kind == Expected::Kind::close) return close(f, got, e.value, e.absolute, e.relative);
  return got == e.bits;
}

bool matches(Type t, const Expected& e, uint64_t got) {
  switch (e.kind) {
    case Expected::Kind::anything:
      return true;
    case Expected::Kind::nan:
      return same_nan(t, got);
    case Expected::Kind::bits:
      return got == e.bits || got == e.alternative;
    case Expected::Kind::close:
      return close(*format_of(t), got, e.value, e.absolute, e.relative);
    case Expected::Kind::halves: {
      const Format& f = t == Type::bf16x2 ? kBf16 : kF16;
      return matches_element(f, e.element[0], got & 0xffff) &&
             matches_element(f, e.element[1], got >> 16 & 0xffff);
    }
  }
  return false;
}

std::string show_near(Quad value, double absolute, double relative) {
  return fmt::format("{:.9g} +- ({:g} + {:g} relative)", static_cast<double>(value), absolute, relative);
}

std::string show_expected(Type t, const Expected& e) {
  switch (e.kind) {
    case Expected::Kind::anything:
      return "anything";
    case Expected::Kind::nan:
      return "NaN";
    case Expected::Kind::bits:
      return e.bits == e.alternative ? show(t, e.bits) : show(t, e.bits) + " or " + show(t, e.alternative);
    case Expected::Kind::close:
      return show_near(e.value, e.absolute, e.relative);
    case Expected::Kind::halves: {
      std::string text;
      for (int i = 1; i >= 0; --i) {
        const Expected::Element& h = e.element[i];
        text += i ? "{upper " : ", lower ";
        text += h.kind == Expected::Kind::nan     ? "NaN"
                : h.kind == Expected::Kind::close ? show_near(h.value, h.absolute, h.relative)
                                                  : fmt::format("0x{:04x}", h.bits);
      }
      return text + "}";
    }
  }
  return {};
}

uint64_t register_mask(Type t) {
  const int bits = t == Type::pred ? 32 : register_bits(t);
  return bits >= 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1;
}

void run_case(const isa::Row& row, const GeneratedCase& c, size_t index, Module& module, Oracle oracle) {
  const size_t sources = c.what.sources.size(), results = c.what.results.size(),
               slots = sources + 1 + results;
  Random random(seed() * 0x9e3779b97f4a7c15ull + index + std::hash<std::string>{}(c.text));
  std::vector<uint64_t> input(slots * kThreads), output(2 * results * kThreads);
  for (size_t s = 0; s < sources; ++s)
    for (uint32_t i = 0; i < kThreads; ++i) {
      const auto& e = edges(c.what.sources[s]);
      // Threads below 3/4: edges against edges in coprime strides; then random values.
      const uint64_t value = i < kThreads / 4                  ? e[random() % e.size()]
                             : i < kThreads / 2 && (i + s) % 2 ? e[random() % e.size()]
                                                               : random_value(c.what.sources[s], random);
      input[s * kThreads + i] = value;
    }
  // Equal operands now and then.
  if (sources >= 2 && c.what.sources[0] == c.what.sources[1])
    for (uint32_t i = 0; i < kThreads; i += 9) input[kThreads + i] = input[i];
  for (uint32_t i = 0; i < kThreads; ++i) input[sources * kThreads + i] = random() & 1;
  for (size_t r = 0; r < results; ++r)
    for (uint32_t i = 0; i < kThreads; ++i)
      input[(sources + 1 + r) * kThreads + i] =
          random() & (c.what.results[r] == Type::pred ? 1 : register_mask(c.what.results[r]));

  Shape shape;
  shape.grid = kThreads / kBlock;
  shape.block = kBlock;
  std::vector<uint8_t> bytes(input.size() * 8);
  std::memcpy(bytes.data(), input.data(), bytes.size());
  const Outcome outcome = module.run(fmt::format("k{}", index), bytes, output.size() * 8, kThreads, shape);
  if (!outcome.fault.empty()) {
    ADD_FAILURE() << c.text << "\n  row \"" << row.pattern << "\"\n  " << outcome.fault;
    return;
  }
  std::memcpy(output.data(), outcome.output.data(), outcome.output.size());

  int shown = 0;
  for (uint32_t i = 0; i < kThreads && shown < 3; ++i) {
    std::vector<uint64_t> values(sources);
    for (size_t s = 0; s < sources; ++s)
      values[s] = c.is_immediate[s] ? c.immediate[s] : input[s * kThreads + i] ^ uint64_t { c.negated[s] };
    std::vector<Expected> expected(results);
    oracle(c.what, values.data(), expected.data());
    for (size_t r = 0; r < results; ++r) {
      const Type t = c.what.results[r];
      const uint64_t mask = register_mask(t);
      const uint64_t got = output[r * kThreads + i] & mask;
      const uint64_t guarded = output[(results + r) * kThreads + i] & mask;
      const bool active = input[sources * kThreads + i] != 0;
      const uint64_t old = input[(sources + 1 + r) * kThreads + i];
      std::string problem;
      if (!matches(t, expected[r], got))
        problem = fmt::format("expected {}, got {}", show_expected(t, expected[r]), show(t, got));
      else if (active && guarded != got && !(expected[r].kind == Expected::Kind::nan && same_nan(t, guarded)))
        problem = fmt::format("under a true guard {}, without guard {}", show(t, guarded), show(t, got));
      else if (!active && guarded != old && (c.readout.empty() || r == 0))
        problem = fmt::format("under a false guard the register changed from {} to {}", show(t, old),
                              show(t, guarded));
      if (problem.empty()) continue;
      std::string arguments;
      for (size_t s = 0; s < sources; ++s)
        arguments += fmt::format("{}{}", s ? ", " : "", show(c.what.sources[s], values[s]));
      ADD_FAILURE() << c.text << "\n  row \"" << row.pattern << "\", result " << r << ", thread " << i
                    << ", seed " << seed() << "\n  operands " << arguments << "\n  " << problem;
      ++shown;
      break;
    }
  }
}

}  // namespace

std::vector<GeneratedCase> cases_of(const isa::Row& row) {
  std::vector<GeneratedCase> out;
  const std::vector<Form> forms = forms_of(row);
  const bool many = forms.size() > 64;
  for (size_t i = 0; i < forms.size(); ++i) {
    add_case(forms[i], {}, out);
    if (many && i % 11 != 5) continue;  // variants of long rows: a sample
    add_case(forms[i], {false, true, false}, out);
    if (has_spec(row, &isa::OperandSpec::pair)) add_case(forms[i], {true, false, false}, out);
    if (has_spec(row, &isa::OperandSpec::negatable)) add_case(forms[i], {false, false, true}, out);
  }
  if (row.chapter == "extended")
    for (GeneratedCase& c : out) add_carry(c);
  return out;
}

std::string kernel_text(const GeneratedCase& c, size_t index) {
  const size_t sources = c.what.sources.size(), results = c.what.results.size();
  std::string t =
      fmt::format(".visible .entry k{}(.param .u64 p_in, .param .u64 p_out, .param .u32 p_n)\n{{\n", index);
  t += "    .reg .u32 index, count, slot, word, tid, ctaid, ntid, carry;\n    .reg .u64 in, out, address;\n"
       "    .reg .pred guard, outside;\n";
  for (size_t s = 0; s < sources; ++s)
    t += fmt::format("    .reg .{} a{};\n", register_type(c.what.sources[s]), s);
  for (size_t r = 0; r < results; ++r)
    t += fmt::format("    .reg .{0} d{1}, g{1};\n", register_type(c.what.results[r]), r);
  t +=
      "    ld.param.u64 in, [p_in];\n    ld.param.u64 out, [p_out];\n    ld.param.u32 count, [p_n];\n"
      "    mov.u32 tid, %tid.x;\n    mov.u32 ctaid, %ctaid.x;\n    mov.u32 ntid, %ntid.x;\n"
      "    mad.lo.u32 index, ctaid, ntid, tid;\n    setp.ge.u32 outside, index, count;\n    @outside exit;\n";
  for (size_t s = 0; s < sources; ++s)
    if (!c.is_immediate[s]) t += load(c.what.sources[s], fmt::format("a{}", s), s);
  t += load(Type::pred, "guard", sources);
  for (size_t r = 0; r < results; ++r) t += load(c.what.results[r], fmt::format("g{}", r), sources + 1 + r);
  const auto emit = [&](const char* d, const char* guard) {
    if (!c.setup.empty()) t += "    " + substitute(c.setup, c, d);
    t += fmt::format("    {}{}\n", guard, substitute(c.text, c, d));
    if (!c.readout.empty()) t += "    " + substitute(c.readout, c, d);
  };
  emit("d", "");
  emit("g", "@guard ");
  for (size_t r = 0; r < results; ++r) t += store(c.what.results[r], fmt::format("d{}", r), r);
  for (size_t r = 0; r < results; ++r) t += store(c.what.results[r], fmt::format("g{}", r), results + r);
  return t + "    ret;\n}\n";
}

std::string module_text(const std::vector<GeneratedCase>& cases) {
  std::string text = module_head();
  for (size_t i = 0; i < cases.size(); ++i) text += kernel_text(cases[i], i);
  return text;
}

size_t run_cases(const isa::Row& row, const std::vector<GeneratedCase>& cases) {
  const auto it = oracles().find(row.id);
  if (it == oracles().end()) {
    ADD_FAILURE() << "row \"" << row.pattern << "\" has no oracle";
    return 0;
  }
  Module module(module_text(cases), std::string(row.pattern));
  if (!module.error().empty()) {
    ADD_FAILURE() << "row \"" << row.pattern << "\": " << module.error();
    return 0;
  }
  for (size_t i = 0; i < cases.size(); ++i) run_case(row, cases[i], i, module, it->second);
  return cases.size();
}

const Oracles& oracles() {
  static const Oracles all = [] {
    Oracles o;
    add_integer_oracles(o);
    add_float_oracles(o);
    add_approximation_oracles(o);
    add_half_oracles(o);
    add_compare_oracles(o);
    add_convert_oracles(o);
    return o;
  }();
  return all;
}

}  // namespace ptxops::conformance
