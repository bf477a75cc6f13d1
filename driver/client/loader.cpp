#include "driver/client/loader.h"

#include <dlfcn.h>
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <cstdlib>
#include <filesystem>
#include <vector>

#include "driver/client/error.h"

namespace ptxops::driver {
namespace {

using namespace abi;
namespace fs = std::filesystem;

// cuGetProcAddress of either version; the first has no status and reports a missing symbol by its result.
struct Resolver {
  const std::string& library;
  Fn_cuGetProcAddress_v2 v2 = nullptr;
  Fn_cuGetProcAddress v1 = nullptr;

  Resolver(void* handle, const std::string& name) : library(name) {
    v2 = reinterpret_cast<Fn_cuGetProcAddress_v2>(dlsym(handle, "cuGetProcAddress_v2"));
    v1 = reinterpret_cast<Fn_cuGetProcAddress>(dlsym(handle, "cuGetProcAddress"));
    if (!v2 && !v1)
      throw Error(CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND, library,
                  "exports no cuGetProcAddress: CUDA 11.3 or later is needed");
  }

  // The entry whose signature appeared in CUDA `version`, or null with the reason in `why`. Asking for
  // exactly that version pins the signature however new the driver is.
  void* operator()(const char* name, int version, std::string& why) const {
    void* entry = nullptr;
    CUdriverProcAddressQueryResult status = CU_GET_PROC_ADDRESS_SUCCESS;
    const CUresult result = v2 ? v2(name, &entry, version, CU_GET_PROC_ADDRESS_DEFAULT, &status)
                               : v1(name, &entry, version, CU_GET_PROC_ADDRESS_DEFAULT);
    if (result == CUDA_SUCCESS && status == CU_GET_PROC_ADDRESS_SUCCESS && entry) return entry;
    why = fmt::format("cuGetProcAddress(\"{}\", {}) returned {}, status {}, {}", name, version,
                      result_name(result), static_cast<int>(status), entry ? "an address" : "no address");
    return nullptr;
  }
};

Api resolve(const Resolver& find) {
  Api api;
  std::string why;
#define PTXOPS_CLIENT_REQUIRED(name, symbol, version)                  \
  api.name = reinterpret_cast<Fn_##symbol>(find(#name, version, why)); \
  if (!api.name) throw Error(CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND, find.library, why);
#define PTXOPS_CLIENT_OPTIONAL(name, symbol, version) \
  api.name = reinterpret_cast<Fn_##symbol>(find(#name, version, why));
#define PTXOPS_CLIENT_UNUSED(name, symbol, version)
#define PTXOPS_FN(name, symbol, version, streams, client, params, args) \
  PTXOPS_CLIENT_##client(name, symbol, version)
#define PTXOPS_NO(name, symbol, version, streams)
#include "driver/abi/functions.def"
#undef PTXOPS_FN
#undef PTXOPS_NO
#undef PTXOPS_CLIENT_REQUIRED
#undef PTXOPS_CLIENT_OPTIONAL
#undef PTXOPS_CLIENT_UNUSED
  return api;
}

std::string file_of(const void* address) {
  Dl_info info;
  return dladdr(address, &info) && info.dli_fname ? info.dli_fname : std::string{};
}

}  // namespace

std::string report_of(Fn_ptxopsVirtualLastReport last_report) {
  if (!last_report) return {};
  std::string text(last_report(nullptr, 0) + 1, '\0');
  const size_t length = last_report(text.data(), text.size());
  text.resize(length < text.size() ? length : text.size() - 1);
  return text;
}

Loaded load_driver(const std::string& name) {
  Loaded l;
  l.library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!l.library) {
    const char* text = dlerror();
    throw Error(CUDA_ERROR_FILE_NOT_FOUND, "dlopen(" + name + ")", text ? text : "no reason given");
  }
  const Resolver find(l.library, name);
  l.api = resolve(find);
  l.path = file_of(reinterpret_cast<const void*>(l.api.cuInit));
  if (l.path.empty()) l.path = name;
  l.virtual_version = reinterpret_cast<Fn_ptxopsVirtualVersion>(dlsym(l.library, kVirtualVersionSymbol));
  l.last_report = reinterpret_cast<Fn_ptxopsVirtualLastReport>(dlsym(l.library, kVirtualLastReportSymbol));
  if (const CUresult r = l.api.cuInit(0); r != CUDA_SUCCESS) {
    const char* text = nullptr;
    l.api.cuGetErrorString(r, &text);
    throw Error(r, "cuInit of " + l.path, text ? text : "", report_of(l.last_report));
  }
  if (const CUresult r = l.api.cuDriverGetVersion(&l.version); r != CUDA_SUCCESS)
    throw Error(r, "cuDriverGetVersion of " + l.path, "");
  return l;
}

std::string find_virtual_driver() {
  if (const char* path = std::getenv("PTXOPS_VIRTUAL_DRIVER"); path && *path) {
    std::error_code ignored;
    if (!fs::exists(path, ignored))
      throw Error(CUDA_ERROR_FILE_NOT_FOUND, "PTXOPS_VIRTUAL_DRIVER", fmt::format("no file {}", path));
    return path;
  }
  std::vector<std::string> tried;
  std::error_code error;
  const fs::path places[] = {
      fs::weakly_canonical(file_of(reinterpret_cast<const void*>(&find_virtual_driver)), error),
      fs::read_symlink("/proc/self/exe", error)};
  for (const fs::path& place : places) {
    // The build tree and an installed prefix both have lib/virtual/ at or above the folder of the binary.
    fs::path folder = place.parent_path();
    for (int up = 0; up < 4 && !folder.empty(); ++up, folder = folder.parent_path())
      for (const char* tail : {"lib/virtual/libcuda.so.1", "virtual/libcuda.so.1"}) {
        const fs::path candidate = folder / tail;
        if (fs::exists(candidate, error)) return candidate;
        tried.push_back(candidate);
      }
  }
  throw Error(
      CUDA_ERROR_FILE_NOT_FOUND, "virtual driver",
      fmt::format("not found; set PTXOPS_VIRTUAL_DRIVER to its path. Tried: {}", fmt::join(tried, ", ")));
}

}  // namespace ptxops::driver
