// The virtual driver as a program sees it, loaded with dlopen: one member for each function it implements.
#pragma once

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "driver/abi/functions.h"

namespace ptxops::test {

struct VirtualDriver {
#define PTXOPS_FN(name, symbol, version, streams, client, params, args) abi::Fn_##symbol symbol = nullptr;
#define PTXOPS_NO(name, symbol, version, streams)
#include "driver/abi/functions.def"
#undef PTXOPS_FN
#undef PTXOPS_NO
  void* library = nullptr;
  abi::Fn_ptxopsVirtualLastReport last_report = nullptr;

  // The process ends where there is none: nothing can be tested.
  explicit VirtualDriver(const char* file) : library(dlopen(file, RTLD_NOW | RTLD_LOCAL)) {
    if (!library) {
      std::fprintf(stderr, "%s\n", dlerror());
      std::abort();
    }
#define PTXOPS_FN(name, symbol, version, streams, client, params, args) \
  symbol = reinterpret_cast<abi::Fn_##symbol>(dlsym(library, #symbol));
#define PTXOPS_NO(name, symbol, version, streams)
#include "driver/abi/functions.def"
#undef PTXOPS_FN
#undef PTXOPS_NO
    last_report =
        reinterpret_cast<abi::Fn_ptxopsVirtualLastReport>(dlsym(library, abi::kVirtualLastReportSymbol));
  }

  // The whole text of the last failure.
  std::string report() const {
    std::string text(last_report(nullptr, 0) + 1, '\0');
    last_report(text.data(), text.size());
    text.pop_back();
    return text;
  }
};

}  // namespace ptxops::test
