// Memory pools of stream-ordered allocation: limits and statistics. Memory itself goes back to the device at
// once.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>

#include "driver/abi/types.h"

namespace ptxops::virt {

struct Pool {
  int device = 0;
  uint64_t max_bytes = 0;  // 0: the device's memory
  bool is_default = false;
  std::mutex mutex;
  uint64_t used = 0, used_high = 0;
  uint64_t release_threshold = 0;
  int reuse_follow_events = 1, reuse_opportunistic = 1, reuse_internal = 1;
  std::map<int, abi::CUmemAccess_flags> access;  // of other devices
};

}  // namespace ptxops::virt
