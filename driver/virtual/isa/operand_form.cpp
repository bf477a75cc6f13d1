#include "driver/virtual/isa/operand_form.h"

#include <charconv>
#include <stdexcept>
#include <string>

namespace ptxops::virt::isa {
namespace {

[[noreturn]] void malformed(std::string_view form) {
  throw std::logic_error("malformed operand form '" + std::string(form) + "'");
}

bool consume(std::string_view& s, std::string_view prefix) {
  if (!s.starts_with(prefix)) return false;
  s.remove_prefix(prefix.size());
  return true;
}

int64_t to_int(std::string_view s, std::string_view form) {
  int64_t v = 0;
  auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), v);
  if (error != std::errc{} || end != s.data() + s.size()) malformed(form);
  return v;
}

void compile_immediate(std::string_view s, OperandSpec& spec, std::string_view form) {
  spec.kind = OperandSpec::Kind::immediate;
  if (s.empty()) {
    spec.min = 0;
  } else if (size_t dots = s.find(".."); dots != s.npos) {
    spec.min = to_int(s.substr(0, dots), form);
    spec.max = to_int(s.substr(dots + 2), form);
  } else {
    while (true) {
      size_t bar = s.find('|');
      spec.allowed.push_back(to_int(s.substr(0, bar), form));
      if (bar == s.npos) break;
      s.remove_prefix(bar + 1);
    }
  }
}

void compile_address(std::string_view inner, OperandSpec& spec, std::string_view form) {
  spec.kind = OperandSpec::Kind::address;
  if (inner == "s") {
    spec.space_from_token = true;
  } else if (inner == "tensor") {
    spec.kind = OperandSpec::Kind::tensor;
  } else if (inner == "shared_cluster") {
    spec.space = Space::shared_cluster;
  } else if (!inner.empty()) {
    spec.space = space_from_token(inner);
    if (spec.space == Space::generic) malformed(form);
  }
}

void compile_value(std::string_view s, OperandSpec& spec, std::string_view form) {
  using Kind = OperandSpec::Kind;
  spec.dest = consume(s, "=");
  spec.sink = consume(s, "_");
  spec.reg_only = consume(s, "%");
  spec.negatable = consume(s, "!");
  for (size_t colon; (colon = s.rfind(':')) != s.npos; s = s.substr(0, colon)) {
    std::string_view flag = s.substr(colon + 1);
    if (flag == "wider")
      spec.wider = true;
    else if (flag == "symbol")
      spec.symbol = true;
    else if (flag == "v")
      spec.length = OperandSpec::Length::by_vec;
    else if (flag == "num")
      spec.length = OperandSpec::Length::by_num;
    else if (flag.size() == 1 && flag[0] >= '1' && flag[0] <= '8')
      spec.length = OperandSpec::Length::fixed, spec.elements = static_cast<uint8_t>(flag[0] - '0');
    else
      malformed(form);
  }
  if (s.ends_with("|pred!")) {
    spec.pair_required = true;
    s.remove_suffix(6);
  } else if (s.ends_with("|pred")) {
    spec.pair = true;
    s.remove_suffix(5);
  }
  static constexpr std::pair<std::string_view, Kind> kWords[] = {{"label", Kind::label},
                                                                 {"branch_table", Kind::branch_table},
                                                                 {"barrier", Kind::barrier},
                                                                 {"threads", Kind::threads},
                                                                 {"u32_or_pred", Kind::size_or_pred},
                                                                 {"addr", Kind::pointer},
                                                                 {"mov", Kind::mov},
                                                                 {"call", Kind::call},
                                                                 {"wgmma", Kind::wgmma}};
  for (auto [word, kind] : kWords) {
    if (s == word) {
      spec.kind = kind;
      return;
    }
  }
  if (s == "wide") {
    spec.type_from = OperandSpec::TypeFrom::wide;
  } else if (s == "t" || (s.size() == 2 && s[0] == 't' && s[1] >= '0' && s[1] <= '3')) {
    spec.type_from = OperandSpec::TypeFrom::token;
    spec.type_index = s.size() == 2 ? static_cast<uint8_t>(s[1] - '0') : 0;
  } else {
    spec.type = type_from_token(s);
    if (spec.type == Type::none) malformed(form);
  }
}

}  // namespace

std::vector<OperandSpec> compile_form(std::string_view form) {
  std::vector<OperandSpec> specs;
  std::string_view rest = form;
  while (!rest.empty()) {
    size_t comma = rest.find(", ");
    std::string_view s = rest.substr(0, comma);
    rest = comma == rest.npos ? std::string_view{} : rest.substr(comma + 2);
    OperandSpec spec;
    if (size_t at = s.find('@'); at != s.npos) {
      spec.condition = s.substr(at + 1);
      s = s.substr(0, at);
    }
    if (s.ends_with('?')) {
      spec.optional = true;
      s.remove_suffix(1);
    }
    if (s.starts_with('#')) {
      compile_immediate(s.substr(1), spec, form);
    } else if (s.starts_with('[') && s.ends_with(']')) {
      compile_address(s.substr(1, s.size() - 2), spec, form);
    } else {
      compile_value(s, spec, form);
    }
    specs.push_back(std::move(spec));
  }
  return specs;
}

}  // namespace ptxops::virt::isa
