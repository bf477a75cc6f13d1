// The virtual driver as a program sees it, loaded with dlopen: one member for each function it implements.
#pragma once

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>

#include "driver/abi/functions.h"
#include "tests/fuzz/target.h"

namespace ptxops::fuzz {

using namespace ptxops::abi;

struct Driver {
#define PTXOPS_FN(name, symbol, version, streams, client, params, args) Fn_##symbol symbol = nullptr;
#define PTXOPS_NO(name, symbol, version, streams)
#include "driver/abi/functions.def"
#undef PTXOPS_FN
#undef PTXOPS_NO
  void* library = nullptr;
  Fn_ptxopsVirtualLastReport last_report = nullptr;
};

// Loaded and initialised once, with two small devices.
inline const Driver& driver() {
  static const Driver loaded = [] {
    setenv("PTXOPS_VIRTUAL_DEVICES", "2", 1);
    setenv("PTXOPS_VIRTUAL_SMS", "8", 1);
    Driver d;
    d.library = dlopen(PTXOPS_VIRTUAL_DRIVER_FILE, RTLD_NOW | RTLD_LOCAL);
    if (!d.library) {
      std::fprintf(stderr, "%s\n", dlerror());
      std::abort();
    }
#define PTXOPS_FN(name, symbol, version, streams, client, params, args) \
  d.symbol = reinterpret_cast<Fn_##symbol>(dlsym(d.library, #symbol));
#define PTXOPS_NO(name, symbol, version, streams)
#include "driver/abi/functions.def"
#undef PTXOPS_FN
#undef PTXOPS_NO
    d.last_report = reinterpret_cast<Fn_ptxopsVirtualLastReport>(dlsym(d.library, kVirtualLastReportSymbol));
    FUZZ_CHECK(d.cuInit(0) == CUDA_SUCCESS, "cuInit");
    return d;
  }();
  return loaded;
}

}  // namespace ptxops::fuzz
