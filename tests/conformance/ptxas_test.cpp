// Every generated kernel is PTX that the vendor's assembler takes: the spellings tried are those of the ISA.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/conformance/generated.h"

namespace ptxops::conformance {
namespace {

bool have_ptxas() {
  return std::system("ptxas --version > /dev/null 2>&1") == 0;
}

TEST(Ptxas, GeneratedKernelsAssemble) {
  if (!have_ptxas()) GTEST_SKIP() << "no ptxas on PATH";
  const auto folder =
      std::filesystem::temp_directory_path() / fmt::format("ptxops-conformance-{}", ::getpid());
  std::filesystem::create_directory(folder);
  for (const isa::Row& row : isa::rows()) {
    if (!row.supported() || oracles().count(row.id) == 0) continue;
    const auto file = folder / "row.ptx", log = folder / "row.log";
    std::ofstream(file) << module_text(cases_of(row));
    const std::string command =
        fmt::format("ptxas -arch=sm_90a -O0 -o /dev/null {} > {} 2>&1", file.string(), log.string());
    if (std::system(command.c_str()) == 0) continue;
    std::ostringstream text;
    text << std::ifstream(log).rdbuf();
    ADD_FAILURE() << "row \"" << row.pattern << "\":\n" << text.str().substr(0, 2000);
  }
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace ptxops::conformance
