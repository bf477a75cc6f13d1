// The virtual driver with a cuLaunchKernelEx that returns at once: what remains of a run is the host's own
// cost. A process asks for it by PTXOPS_DRIVER=PATH; the library under measurement is the one that users get.
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "driver/abi/functions.h"

namespace {

using namespace ptxops::abi;

template <class Function>
Function find(const char* symbol) {
  static void* const library = dlopen(PTXOPS_VIRTUAL_DRIVER_FILE, RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    std::fprintf(stderr, "launchless driver: %s\n", dlerror());
    std::abort();
  }
  return reinterpret_cast<Function>(dlsym(library, symbol));
}

CUresult launch_nothing(const CUlaunchConfig*, CUfunction, void**, void**) {
  return CUDA_SUCCESS;
}

}  // namespace

extern "C" {

#define VISIBLE __attribute__((visibility("default")))

VISIBLE CUresult cuGetProcAddress_v2(const char* name, void** entry, int version, cuuint64_t flags,
                                     CUdriverProcAddressQueryResult* status) {
  static const auto real = find<Fn_cuGetProcAddress_v2>("cuGetProcAddress_v2");
  const CUresult result = real(name, entry, version, flags, status);
  if (result == CUDA_SUCCESS && std::strcmp(name, "cuLaunchKernelEx") == 0)
    *entry = reinterpret_cast<void*>(&launch_nothing);
  return result;
}

VISIBLE int ptxopsVirtualVersion() {
  return find<Fn_ptxopsVirtualVersion>(kVirtualVersionSymbol)();
}

VISIBLE size_t ptxopsVirtualLastReport(char* text, size_t size) {
  return find<Fn_ptxopsVirtualLastReport>(kVirtualLastReportSymbol)(text, size);
}

}  // extern "C"
