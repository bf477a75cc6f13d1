// A directory of template files that stands in for ptx/ during one test, and short ways to expand.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "driver/jit/expander.h"
#include "driver/jit/process.h"

namespace ptxops::jit {

// Sets an environment variable for its life.
class ScopedEnv {
 public:
  ScopedEnv(const char* name, const std::string& value) : name_(name) {
    if (const char* old = std::getenv(name)) {
      old_ = old;
      had_ = true;
    }
    setenv(name, value.c_str(), 1);
  }
  ~ScopedEnv() { had_ ? setenv(name_, old_.c_str(), 1) : unsetenv(name_); }
  ScopedEnv(const ScopedEnv&) = delete;

 private:
  const char* name_;
  std::string old_;
  bool had_ = false;
};

class TemplateTest : public ::testing::Test {
 protected:
  void file(const std::string& path, const std::string& text) {
    const auto full = std::filesystem::path(root_.path()) / path;
    std::filesystem::create_directories(full.parent_path());
    write_file(full, text);
  }
  // Expands "k.ptx" whose text is "//% kernel k\n" and `body`: body's lines count from 2.
  std::string run(const std::string& body, const Params& params = {}) { return expansion(body, params).ptx; }
  Expansion expansion(const std::string& body, const Params& params = {}) {
    return expand(*parse_template_text("k.ptx", "//% kernel k\n" + body), params);
  }
  std::string error(const std::string& body, const Params& params = {}) {
    try {
      return "no error, but:\n" + run(body, params);
    } catch (const TemplateError& e) {
      return e.what();
    }
  }

  ScratchDirectory root_;
  ScopedEnv env_{"PTXOPS_PTX_DIR", root_.path()};
};

}  // namespace ptxops::jit
