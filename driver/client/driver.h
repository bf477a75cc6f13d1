// The loaded driver: NVIDIA's libcuda, or the virtual device. The only way from this project to a cu*
// function.
#pragma once

#include <string>

#include "driver/client/api.h"
#include "driver/client/error.h"

namespace ptxops::driver {

struct Loaded;

// What cuDeviceGetAttribute says about one device.
struct DeviceInfo {
  int ordinal = 0;
  std::string name;
  int major = 0, minor = 0;  // compute capability
  int sm_count = 0;
  int clock_khz = 0;
  int smem_per_sm = 0;           // bytes
  int smem_per_block_optin = 0;  // bytes
  int l2_bytes = 0;
  size_t memory_bytes = 0;
};

class Driver {
 public:
  // The process-wide driver, chosen by PTXOPS_DRIVER = auto (default) | cuda | virtual | PATH, see README.md.
  // Loaded on the first call, by one thread; one line on stderr says which was taken and why, unless
  // PTXOPS_QUIET=1. Throws Error when none can be loaded (a later call tries again). Never destroyed:
  // destructors of static objects may use it.
  static Driver& get();

  // `choice` as PTXOPS_DRIVER. Throws Error.
  explicit Driver(const std::string& choice);
  ~Driver();
  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;

  const Api& api() const { return api_; }
  bool is_virtual() const { return virtual_; }
  int version() const { return version_; }                         // 13000 = CUDA 13.0
  const std::string& path() const { return path_; }                // of the library in use
  const std::string& explanation() const { return explanation_; }  // which driver, and why: one line

  int device_count() const;
  DeviceInfo device(int ordinal) const;
  int attribute(abi::CUdevice_attribute attribute, int ordinal) const;

  // Throws Error with the driver's text (and the virtual device's fault report) unless `code` is
  // CUDA_SUCCESS.
  void check(abi::CUresult code, const char* function) const {
    if (code != abi::CUDA_SUCCESS) fail(code, function);
  }
  [[noreturn]] void fail(abi::CUresult code, const std::string& function, const std::string& log = {}) const;

  // The virtual device's last report (fault, refused launch, unsupported call); empty with libcuda.
  std::string last_report() const;

 private:
  void adopt(const Loaded& loaded);

  Api api_;
  abi::Fn_ptxopsVirtualLastReport last_report_ = nullptr;
  bool virtual_ = false;
  int version_ = 0;
  std::string path_, explanation_;
};

}  // namespace ptxops::driver
