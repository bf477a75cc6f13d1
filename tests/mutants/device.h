// Runs a text on the virtual device, in the shape in which faults show: every input and the poison of every
// output is written by the launch before, whose successor may start early; allocations have exactly their
// size.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "driver/client/launch.h"
#include "driver/client/memory.h"

namespace ptxops::mutants {

// The driver does not load the text.
struct Refused : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A loaded kernel. Makes the driver's context: only in a process of its own.
class Device {
 public:
  Device(const std::string& ptx, const std::string& entry);
  const driver::Context& context() const { return context_; }
  const driver::Kernel& kernel() const { return *kernel_; }

 private:
  friend class Memory;
  driver::Context context_;
  driver::Context::Guard current_;
  std::unique_ptr<driver::Library> library_, prime_library_;
  std::unique_ptr<driver::Kernel> kernel_, prime_;
};

class Memory {
 public:
  explicit Memory(const Device& device) : device_(device) {}

  // Read by the kernel; written by the launch before, or older than it.
  template <class T>
  uint64_t input(const std::vector<T>& values, bool older = false) {
    return place(values.data(), values.size() * sizeof(T), older);
  }
  // Written by the kernel; what is in it before, and 256 bytes on either side, come from the launch before.
  template <class T>
  uint64_t output(const std::vector<T>& before) {
    return place_output(before.data(), before.size() * sizeof(T));
  }
  // The launch before.
  void prime();
  // How the output at this address differs from `expected`; empty: it does not, and nothing beside it is
  // written.
  template <class T>
  std::string compare(const char* what, uint64_t address, const std::vector<T>& expected) const {
    std::vector<T> got(expected.size());
    if (std::string stray = download(address, got.data(), got.size() * sizeof(T)); !stray.empty())
      return what + stray;
    for (size_t i = 0; i < got.size(); ++i)
      if (std::memcmp(&got[i], &expected[i], sizeof(T)) != 0)
        return std::string(what) + " differs at element " + std::to_string(i);
    return {};
  }
  // The output itself; returns what was written beside it, or nothing.
  std::string download(uint64_t address, void* to, size_t bytes) const;

 private:
  static constexpr size_t kGuard = 256;
  struct Primed {
    driver::DeviceBuffer staging, target;
  };
  uint64_t place(const void* data, size_t bytes, bool older);
  uint64_t place_output(const void* data, size_t bytes);

  const Device& device_;
  std::vector<Primed> primed_;
  std::vector<driver::DeviceBuffer> older_;
  driver::DeviceBuffer table_;
};

}  // namespace ptxops::mutants
