// What the kernel tests share: the device, a kernel ready to launch, buffers with canaries.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "driver/client/launch.h"
#include "driver/client/memory.h"
#include "driver/client/tensor_map.h"
#include "driver/jit/build.h"
#include "tests/ptx/numbers.h"

namespace ptxops::test {

inline const driver::Context& context() {
  static const driver::Context device(driver::Driver::get(), 0);
  return device;
}

// One configuration, loaded. Cubin where the driver is NVIDIA's and ptxas is at hand, else PTX.
struct LoadedKernel {
  jit::Built built;
  driver::Library library;
  driver::Kernel kernel;

  LoadedKernel(const std::string& path, const jit::Params& params)
      : built(jit::build(path, params,
                         {.want = context().driver().is_virtual() ? jit::Want::kPtx : jit::Want::kCubin,
                          .ptxas = {},
                          .cache = nullptr})),
        library(context(), built.image(), path),
        kernel(library, built.kernel) {}
  uint32_t note(const char* name) const { return static_cast<uint32_t>(built.notes.at(name)); }
};

// Device copy of what a kernel only reads: an allocation of exactly this size, so that reading beyond it is a
// fault.
template <class T>
class Input {
 public:
  explicit Input(const std::vector<T>& values) : buffer_(context(), values.size() * sizeof(T)) {
    if (!values.empty()) buffer_.upload(values.data(), values.size() * sizeof(T));
  }
  uint64_t address() const { return buffer_.address(); }

 private:
  driver::DeviceBuffer buffer_;
};

// Device copy of host values between two canaries of 256 bytes.
template <class T>
class Guarded {
 public:
  explicit Guarded(const std::vector<T>& values)
      : size_(values.size()), buffer_(context(), values.size() * sizeof(T) + 2 * kCanary) {
    buffer_.fill(0xC5);
    if (size_) buffer_.upload(values.data(), size_ * sizeof(T), kCanary);
  }
  uint64_t address() const { return buffer_.address() + kCanary; }
  // Fails the test where a canary has changed.
  std::vector<T> download() const {
    std::vector<uint8_t> bytes(size_ * sizeof(T) + 2 * kCanary);
    buffer_.download(bytes.data(), bytes.size());
    for (size_t i = 0; i < kCanary; ++i) {
      EXPECT_EQ(bytes[i], 0xC5) << "written " << kCanary - i << " bytes before the buffer";
      EXPECT_EQ(bytes[bytes.size() - 1 - i], 0xC5) << "written " << kCanary - i << " bytes after the buffer";
    }
    std::vector<T> values(size_);
    if (size_) std::memcpy(values.data(), bytes.data() + kCanary, size_ * sizeof(T));
    return values;
  }

 private:
  static constexpr size_t kCanary = 256;
  size_t size_;
  driver::DeviceBuffer buffer_;
};

}  // namespace ptxops::test
