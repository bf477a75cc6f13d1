// Helpers of the front end's tests.
#pragma once

#include <fstream>
#include <string>
#include <vector>

#include "driver/virtual/isa/ir.h"

namespace ptxops::virt::isa::testing {

inline std::string header(const std::string& version = "9.0", const std::string& target = "sm_90a") {
  return ".version " + version + "\n.target " + target + "\n.address_size 64\n";
}

// One statement among registers of every type: r b32, d b64, h b16, f f32, fd f64, q b128, p pred, u s us ud
// sd integers, fh fx half. The statement stands in line `kStatementLine`.
constexpr int kStatementLine = 9;
inline std::string entry(const std::string& name, const std::string& statement) {
  return ".visible .entry " + name +
         "(.param .u64 q0, .param .align 64 .b8 tm[128]) {\n"
         ".reg .b32 r<260>; .reg .b64 d<20>; .reg .pred p<8>; .reg .f32 f<260>; .reg .b16 h<10>; .reg .f64 "
         "fd<8>; "
         ".reg .b128 q<4>; .reg .u32 u<4>; .reg .s32 s<4>; .reg .f16 fh<4>; .reg .f16x2 fx<4>;\n"
         ".reg .u16 us<4>; .reg .u64 ud<4>; .reg .s64 sd<4>;\n" +
         statement + "\nL: ret;\n}\n";
}
inline std::string with_entry(const std::string& statement, const std::string& prologue = header()) {
  return prologue + ".extern .shared .align 128 .b8 sm[];\n.global .align 16 .b8 gv[64];\n" +
         entry("k", statement);
}

struct Parsed {
  Module module;
  std::vector<Diagnostic> diagnostics;
  bool ok;
  explicit Parsed(const std::string& text) { ok = parse(text, module, diagnostics) == Result::ok; }
  std::string log() const { return render(diagnostics); }
};

inline std::vector<std::string> case_lines(const std::string& path) {
  std::vector<std::string> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.empty() && !line.starts_with("//")) lines.push_back(line);
  }
  return lines;
}

}  // namespace ptxops::virt::isa::testing
