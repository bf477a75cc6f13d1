// What the kernel tests share: the device, a kernel ready to launch, buffers with canaries, e4m3 and bf16 on
// the host.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "driver/client/launch.h"
#include "driver/client/memory.h"
#include "driver/client/tensor_map.h"
#include "driver/jit/build.h"

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
    std::memcpy(values.data(), bytes.data() + kCanary, size_ * sizeof(T));
    return values;
  }

 private:
  static constexpr size_t kCanary = 256;
  size_t size_;
  driver::DeviceBuffer buffer_;
};

// Deterministic 64-bit generator (splitmix64).
struct Random {
  uint64_t state;
  uint64_t next() {
    uint64_t z = (state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  int64_t between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(next() % static_cast<uint64_t>(high - low + 1));
  }
  double unit() { return static_cast<double>(next() >> 11) * 0x1p-53; }  // [0, 1)
};

inline uint16_t bf16(float x) {  // nearest even; finite x
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  return static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}
inline float from_bf16(uint16_t x) {
  return std::bit_cast<float>(static_cast<uint32_t>(x) << 16);
}

inline double from_e4m3(uint8_t x) {  // finite x
  const int exponent = x >> 3 & 15, mantissa = x & 7;
  const double magnitude = exponent ? std::ldexp(8 + mantissa, exponent - 10) : std::ldexp(mantissa, -9);
  return x & 0x80 ? -magnitude : magnitude;
}
// Nearest even, saturating at 448; finite x.
inline uint8_t e4m3(double x) {
  const uint8_t sign = std::signbit(x) ? 0x80 : 0;
  const double magnitude = std::fabs(x);
  if (magnitude >= 448) return sign | 0x7E;
  int exponent = -6;
  if (magnitude >= 0x1p-6) exponent = std::ilogb(magnitude);
  // magnitude in units of the last place, rounded to nearest even by rint; a carry moves into the exponent
  const int units = static_cast<int>(std::rint(std::ldexp(magnitude, 3 - exponent)));
  return sign | static_cast<uint8_t>(((exponent + 7) << 3) + units - 8);
}

}  // namespace ptxops::test
