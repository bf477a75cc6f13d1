#include <cstdio>
#include <cstdlib>

#include "tests/fuzz/target.h"

namespace ptxops::fuzz {

void check_failed(const char* file, int line, const char* expression, std::string_view detail) {
  std::fprintf(stderr, "%s:%d: FUZZ_CHECK(%s) failed: %.*s\n", file, line, expression,
               static_cast<int>(detail.size()), detail.data());
  std::abort();
}

}  // namespace ptxops::fuzz
