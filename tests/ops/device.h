// RAII over the C ABI for tests: device memory with canaries, plans that are prepared.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "ops/include/ptxops.h"

namespace ptxops::test {

#define ASSERT_OK(call) ASSERT_EQ(call, PTXOPS_SUCCESS) << ptxopsGetLastError()
#define EXPECT_OK(call) EXPECT_EQ(call, PTXOPS_SUCCESS) << ptxopsGetLastError()

inline ptxopsContext_t context() {
  static ptxopsContext_t c = [] {
    ptxopsContext_t created = nullptr;
    EXPECT_OK(ptxopsContextCreate(&created, 0));
    return created;
  }();
  return c;
}

// Device memory with kCanary bytes of a known pattern on either side of the part that `address` names.
class DeviceMemory {
 public:
  static constexpr size_t kCanary = 1024;
  explicit DeviceMemory(size_t bytes, uint8_t fill = 0xff) : bytes_(bytes), pattern_(kCanary) {
    for (size_t i = 0; i < kCanary; ++i) pattern_[i] = static_cast<uint8_t>(0xc5 ^ i * 7);
    EXPECT_OK(ptxopsMemAlloc(context(), &base_, bytes + 2 * kCanary));
    EXPECT_OK(ptxopsMemset(context(), address(), fill, bytes, nullptr));
    EXPECT_OK(ptxopsMemcpyToDevice(context(), base_, pattern_.data(), kCanary, nullptr));
    EXPECT_OK(ptxopsMemcpyToDevice(context(), address() + bytes, pattern_.data(), kCanary, nullptr));
  }
  template <class T>
  explicit DeviceMemory(const std::vector<T>& host) : DeviceMemory(host.size() * sizeof(T)) {
    EXPECT_OK(ptxopsMemcpyToDevice(context(), address(), host.data(), host.size() * sizeof(T), nullptr));
  }
  ~DeviceMemory() {
    EXPECT_TRUE(canaries_intact());
    ptxopsMemFree(context(), base_);
  }
  DeviceMemory(const DeviceMemory&) = delete;

  ptxopsDevicePtr_t address() const { return base_ + kCanary; }
  template <class T>
  std::vector<T> read() const {
    std::vector<T> host(bytes_ / sizeof(T));
    EXPECT_OK(ptxopsMemcpyToHost(context(), host.data(), address(), host.size() * sizeof(T), nullptr));
    return host;
  }
  bool canaries_intact() const {
    std::vector<uint8_t> around(kCanary);
    bool intact = true;
    for (ptxopsDevicePtr_t at : {base_, address() + bytes_}) {
      EXPECT_OK(ptxopsMemcpyToHost(context(), around.data(), at, kCanary, nullptr));
      intact = intact && around == pattern_;
    }
    return intact;
  }

 private:
  size_t bytes_;
  std::vector<uint8_t> pattern_;
  ptxopsDevicePtr_t base_ = 0;
};

struct Plan {
  ~Plan() { ptxopsPlanDestroy(handle); }
  ptxopsPlan_t handle = nullptr;
};

}  // namespace ptxops::test
