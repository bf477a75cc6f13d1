#include "driver/client/driver.h"

#include <fmt/core.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "driver/client/loader.h"

namespace ptxops::driver {
namespace {

using namespace abi;

constexpr const char* kCuda = "libcuda.so.1";

// Why this driver cannot run Hopper kernels, or empty.
std::string unfit(const Loaded& l) {
  int count = 0;
  if (const CUresult r = l.api.cuDeviceGetCount(&count); r != CUDA_SUCCESS)
    return fmt::format("cuDeviceGetCount returned {}", result_name(r));
  std::string seen;
  for (int i = 0; i < count; ++i) {
    CUdevice device = 0;
    int major = 0, minor = 0;
    if (l.api.cuDeviceGet(&device, i) != CUDA_SUCCESS ||
        l.api.cuDeviceGetAttribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device) !=
            CUDA_SUCCESS ||
        l.api.cuDeviceGetAttribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device) !=
            CUDA_SUCCESS)
      continue;
    if (major == 9 && minor == 0) return {};
    seen += fmt::format("{}{}.{}", seen.empty() ? "" : ", ", major, minor);
  }
  return count == 0 ? "it has no device" : "no device of compute capability 9.0, only " + seen;
}

// PTXOPS_DRIVER may be a library, or a misspelt word.
Loaded load_named(const std::string& choice) {
  try {
    return load_driver(choice);
  } catch (const Error& e) {
    if (e.code() != CUDA_ERROR_FILE_NOT_FOUND) throw;
    throw Error(e.code(), "PTXOPS_DRIVER=" + choice,
                fmt::format("expected auto, cuda, virtual or a library; {}: {}", e.function(), e.text()));
  }
}

std::string kind(const Loaded& l) {
  return l.virtual_version ? "virtual device" : "CUDA driver";
}

}  // namespace

Driver& Driver::get() {
  static std::mutex mutex;
  static Driver* instance = nullptr;
  std::lock_guard lock(mutex);
  if (!instance) {
    const char* choice = std::getenv("PTXOPS_DRIVER");
    instance = new Driver(choice && *choice ? choice : "auto");
    const char* quiet = std::getenv("PTXOPS_QUIET");
    if (!quiet || std::strcmp(quiet, "1") != 0)
      std::fprintf(stderr, "ptxops: %s\n", instance->explanation_.c_str());
  }
  return *instance;
}

Driver::Driver(const std::string& choice) {
  if (choice == "auto") {
    std::string why_not;
    try {
      const Loaded l = load_driver(kCuda);
      why_not = unfit(l);
      if (why_not.empty()) {
        adopt(l);
        explanation_ =
            fmt::format("using the {} {}: it has a device of compute capability 9.0", kind(l), path_);
        return;
      }
    } catch (const Error& e) {
      why_not = e.what();
    }
    const Loaded l = load_driver(find_virtual_driver());
    adopt(l);
    explanation_ = fmt::format("using the {} {}: {} cannot be used ({})", kind(l), path_, kCuda, why_not);
    return;
  }
  const Loaded l = choice == "cuda"      ? load_driver(kCuda)
                   : choice == "virtual" ? load_driver(find_virtual_driver())
                                         : load_named(choice);
  // A virtual driver on the library path under libcuda's name is what the user asked for only with auto or a
  // path.
  if (choice == "cuda" && l.virtual_version)
    throw Error(CUDA_ERROR_FILE_NOT_FOUND, "PTXOPS_DRIVER=cuda",
                fmt::format("{} is {}, the virtual device, not NVIDIA's driver", kCuda, l.path));
  adopt(l);
  explanation_ = fmt::format("using the {} {}: PTXOPS_DRIVER={}", kind(l), path_, choice);
}

Driver::~Driver() = default;

void Driver::adopt(const Loaded& loaded) {
  api_ = loaded.api;
  last_report_ = loaded.last_report;
  virtual_ = loaded.virtual_version != nullptr;
  version_ = loaded.version;
  path_ = loaded.path;
}

int Driver::device_count() const {
  int count = 0;
  check(api_.cuDeviceGetCount(&count), "cuDeviceGetCount");
  return count;
}

int Driver::attribute(CUdevice_attribute attribute, int ordinal) const {
  CUdevice device = 0;
  int value = 0;
  check(api_.cuDeviceGet(&device, ordinal), "cuDeviceGet");
  check(api_.cuDeviceGetAttribute(&value, attribute, device), "cuDeviceGetAttribute");
  return value;
}

DeviceInfo Driver::device(int ordinal) const {
  CUdevice device = 0;
  check(api_.cuDeviceGet(&device, ordinal), "cuDeviceGet");
  DeviceInfo info;
  info.ordinal = ordinal;
  char name[256] = {};
  check(api_.cuDeviceGetName(name, sizeof name, device), "cuDeviceGetName");
  info.name = name;
  check(api_.cuDeviceTotalMem(&info.memory_bytes, device), "cuDeviceTotalMem");
  info.major = attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, ordinal);
  info.minor = attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, ordinal);
  info.sm_count = attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, ordinal);
  info.clock_khz = attribute(CU_DEVICE_ATTRIBUTE_CLOCK_RATE, ordinal);
  info.smem_per_sm = attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, ordinal);
  info.smem_per_block_optin = attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, ordinal);
  info.l2_bytes = attribute(CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, ordinal);
  return info;
}

std::string Driver::last_report() const {
  return report_of(last_report_);
}

void Driver::fail(CUresult code, const std::string& function, const std::string& log) const {
  const char* text = nullptr;
  if (api_.cuGetErrorString(code, &text) != CUDA_SUCCESS) text = nullptr;
  throw Error(code, function, text ? text : "", log.empty() ? last_report() : log);
}

}  // namespace ptxops::driver
