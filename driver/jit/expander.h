// The PTX text layer: kernel template + parameter values -> PTX text. Syntax: README.md beside this file.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "driver/jit/line_map.h"
#include "driver/jit/template_error.h"

namespace ptxops::jit {

struct Template;  // parsed, immutable, shareable between threads: template.h

using Params = std::map<std::string, int64_t, std::less<>>;

struct Expansion {
  std::string kernel;  // name of the .entry
  std::string ptx;
  LineMap lines;
  std::map<std::string, int64_t, std::less<>> notes;
};

// `path` is a file of ptx/ ("gemm/fp8_gemm.ptx"). Every declared parameter must be given a value of its
// domain, and nothing else. Throws TemplateError. Parsing and expanding keep no state between calls.
std::shared_ptr<const Template> parse_template(const std::string& path);
std::shared_ptr<const Template> parse_template_text(const std::string& path, std::string text);
Expansion expand(const Template& t, const Params& params);
Expansion expand(const std::string& path, const Params& params);

}  // namespace ptxops::jit
