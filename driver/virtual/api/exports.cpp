// The exported symbols, all generated from driver/abi/functions.def: implemented functions wrapped with the
// rules that hold for every call (initialisation, errors, default stream), the others answering
// CUDA_ERROR_NOT_SUPPORTED; and cuGetProcAddress over the same list.
#include <cstdio>
#include <cstring>
#include <mutex>
#include <new>
#include <set>
#include <string>
#include <string_view>

#include "driver/virtual/api/entry.h"
#include "driver/virtual/api/refusal.h"
#include "driver/virtual/api/runtime.h"

namespace ptxops::virt {
namespace {

using namespace abi;

// Allowed before cuInit.
constexpr bool works_uninitialised(std::string_view function) {
  return function == "cuInit" || function == "cuDriverGetVersion" || function == "cuGetErrorName" ||
         function == "cuGetErrorString" || function.substr(0, 16) == "cuGetProcAddress";
}

template <class F>
CUresult guarded(const char* function, bool needs_init, F&& call) noexcept {
  CUresult result = CUDA_ERROR_UNKNOWN;
  std::string text;
  try {
    if (needs_init && !Runtime::get().initialised())
      refuse(CUDA_ERROR_NOT_INITIALIZED, "call cuInit(0) first");
    if (needs_init) Runtime::get().expect_not_forked();
    result = call();
    if (result == CUDA_SUCCESS || result == CUDA_ERROR_NOT_READY) return result;
  } catch (const Refusal& r) {
    result = r.code;
    text = r.text;
  } catch (const std::bad_alloc&) {
    result = CUDA_ERROR_OUT_OF_MEMORY;
    text = "the host is out of memory";
  } catch (const std::exception& e) {
    text = e.what();
  }
  const char* name = result_name(result);
  set_last_report(fmt::format("{}: {}: {}", function, name ? name : "unknown result",
                              text.empty() ? result_text(result) : text));
  return result;
}

CUresult unsupported(const char* function) noexcept {
  static std::mutex* mutex = new std::mutex;
  static std::set<std::string>* told = new std::set<std::string>;
  const std::string text = fmt::format("{} is not implemented by the virtual device", function);
  set_last_report(text);
  std::lock_guard lock(*mutex);
  if (told->insert(function).second) std::fprintf(stderr, "ptxops virtual device: %s\n", text.c_str());
  return CUDA_ERROR_NOT_SUPPORTED;
}

}  // namespace
}  // namespace ptxops::virt

#define PTXOPS_EXPORT extern "C" __attribute__((visibility("default")))
using namespace ptxops::abi;

#define PTXOPS_DEFINE(symbol, exported, params, args, scope)                             \
  PTXOPS_EXPORT CUresult exported params {                                               \
    return ptxops::virt::guarded(#exported, !ptxops::virt::works_uninitialised(#symbol), \
                                 [&] { scope return ptxops::virt::api::symbol args; });  \
  }
#define PTXOPS_PLAIN(symbol, params, args)
#define PTXOPS_PTSZ(symbol, params, args) \
  PTXOPS_DEFINE(symbol, symbol##_ptsz, params, args, const ptxops::virt::PerThreadDefaultStream own_stream;)
#define PTXOPS_PTDS(symbol, params, args) \
  PTXOPS_DEFINE(symbol, symbol##_ptds, params, args, const ptxops::virt::PerThreadDefaultStream own_stream;)
#define PTXOPS_FN(name, symbol, version, streams, client, params, args) \
  PTXOPS_DEFINE(symbol, symbol, params, args, )                         \
  PTXOPS_##streams(symbol, params, args)
// Callers pass arguments that are never read: harmless in the C calling convention, where the caller cleans
// up.
#define PTXOPS_NO_PLAIN(symbol)
#define PTXOPS_NO_PTSZ(symbol)                         \
  PTXOPS_EXPORT CUresult symbol##_ptsz() {             \
    return ptxops::virt::unsupported(#symbol "_ptsz"); \
  }
#define PTXOPS_NO_PTDS(symbol)                         \
  PTXOPS_EXPORT CUresult symbol##_ptds() {             \
    return ptxops::virt::unsupported(#symbol "_ptds"); \
  }
#define PTXOPS_NO(name, symbol, version, streams) \
  PTXOPS_EXPORT CUresult symbol() {               \
    return ptxops::virt::unsupported(#symbol);    \
  }                                               \
  PTXOPS_NO_##streams(symbol)
#include "driver/abi/functions.def"
#undef PTXOPS_FN
#undef PTXOPS_NO
#undef PTXOPS_PLAIN
#undef PTXOPS_PTSZ
#undef PTXOPS_PTDS

namespace ptxops::virt {
namespace {

struct Entry {
  const char* name;
  int version;
  void* plain;
  void* per_thread;  // null: the function knows no default stream
};

#define PTXOPS_PLAIN(symbol) nullptr
#define PTXOPS_PTSZ(symbol) reinterpret_cast<void*>(&::symbol##_ptsz)
#define PTXOPS_PTDS(symbol) reinterpret_cast<void*>(&::symbol##_ptds)
const Entry kEntries[] = {
#define PTXOPS_FN(name, symbol, version, streams, client, params, args) \
  {#name, version, reinterpret_cast<void*>(&::symbol), PTXOPS_##streams(symbol)},
#define PTXOPS_NO(name, symbol, version, streams) \
  {#name, version, reinterpret_cast<void*>(&::symbol), PTXOPS_##streams(symbol)},
#include "driver/abi/functions.def"
#undef PTXOPS_FN
#undef PTXOPS_NO
    // From CUDA 12 on this name means the function that takes flags.
    {"cuGraphInstantiate", 12000, reinterpret_cast<void*>(&::cuGraphInstantiateWithFlags), nullptr},
};

// Versions from which the default stream can be the thread's own.
constexpr int kPerThreadSince = 7000;

CUdriverProcAddressQueryResult look_up(const char* name, int version, bool per_thread, void** entry) {
  const Entry* best = nullptr;
  bool known = false;
  for (const Entry& e : kEntries) {
    if (std::strcmp(e.name, name) != 0) continue;
    known = true;
    if (e.version <= version && (!best || e.version > best->version)) best = &e;
  }
  *entry = !best ? nullptr : per_thread && best->per_thread ? best->per_thread : best->plain;
  return best    ? CU_GET_PROC_ADDRESS_SUCCESS
         : known ? CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT
                 : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
}

}  // namespace

namespace api {

CUresult cuGetProcAddress_v2(const char* symbol, void** pfn, int cudaVersion, cuuint64_t flags,
                             CUdriverProcAddressQueryResult* symbolStatus) {
  if (!symbol || !*symbol || !pfn) refuse(CUDA_ERROR_INVALID_VALUE, "symbol and pfn must not be null");
  if (cudaVersion > kCudaVersion)
    refuse(CUDA_ERROR_INVALID_VALUE, "cudaVersion: expected at most {} (this driver's), got {}", kCudaVersion,
           cudaVersion);
  if (flags & ~cuuint64_t{3} || flags == 3)
    refuse(CUDA_ERROR_INVALID_VALUE, "flags: expected 0, 1 (legacy stream) or 2 (per-thread stream), got {}",
           flags);
  const bool per_thread =
      flags == CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM && cudaVersion >= kPerThreadSince;
  const auto status = look_up(symbol, cudaVersion, per_thread, pfn);
  if (symbolStatus) *symbolStatus = status;
  if (status != CU_GET_PROC_ADDRESS_SUCCESS && !symbolStatus)
    refuse(CUDA_ERROR_NOT_FOUND, "{} in CUDA {}", symbol, cudaVersion);
  return CUDA_SUCCESS;
}

CUresult cuGetProcAddress(const char* symbol, void** pfn, int cudaVersion, cuuint64_t flags) {
  return cuGetProcAddress_v2(symbol, pfn, cudaVersion, flags, nullptr);
}

}  // namespace api
}  // namespace ptxops::virt
