// What the virtual device claims to be.
#pragma once

#include <string>
#include <vector>

#include "driver/abi/types.h"

namespace ptxops::virt {

struct Profile {
  std::string id;    // "h800-sxm"
  std::string name;  // cuDeviceGetName
  int sm_count = 0;
  std::vector<int> gpc_sms;  // SMs by processing cluster: a thread-block cluster lies within one
  int clock_khz = 0;
  int memory_clock_khz = 0;
  int fp64_ratio = 0;  // FP32 over FP64 throughput
};

// PTXOPS_VIRTUAL_PROFILE (default h800-sxm) with PTXOPS_VIRTUAL_SMS in place of its SM count. Throws
// std::runtime_error naming the variable, what it accepts and what it holds.
Profile profile_from_environment();
// PTXOPS_VIRTUAL_DEVICES, default 1.
int device_count_from_environment();

// cuDeviceGetAttribute; false when the attribute does not exist. Hardware limits are the H800's; capabilities
// of the driver are those this driver has.
bool device_attribute(const Profile& profile, int ordinal, abi::CUdevice_attribute attribute, int& value);

// Limits of compute capability 9.0 that launches are judged by.
inline constexpr uint32_t kMaxThreadsPerBlock = 1024;
inline constexpr uint32_t kRegistersPerSm = 65536;
inline constexpr uint32_t kSharedPerSm = 233472;
inline constexpr uint32_t kSharedPerBlock = 49152;  // without opting in
inline constexpr uint32_t kSharedPerBlockOptin = 232448;
inline constexpr uint32_t kSharedReservedPerBlock = 1024;
inline constexpr uint32_t kMaxPortableCluster = 8;
inline constexpr uint32_t kMaxCluster = 16;

}  // namespace ptxops::virt
