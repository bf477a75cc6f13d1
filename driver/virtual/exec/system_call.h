// Functions that CUDA's device runtime supplies, which a module declares and does not define: vprintf and
// __assertfail.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "driver/virtual/exec/op.h"

namespace ptxops::virt::isa {
struct Function;
}

namespace ptxops::virt {

struct Warp;
struct Frame;

// Where an argument or result of a call lives: a register slot of the frame, or local memory of the
// activation.
struct Place {
  bool local = false;
  uint32_t offset = 0;
  uint64_t bytes = 0;  // 0: a result that nobody wants
};
std::byte* host_of(Warp& warp, const Frame& frame, const Place& place, uint32_t lane, uint64_t bytes);

// What Op::imm of such a call points to.
struct SystemCall {
  std::vector<Place> arguments;
  Place result;
};

// nullptr: there is no function of this name and signature.
Handler system_function(const isa::Function& function);

// Writes what kernels have printed so far to stdout. Called when a grid ends.
void flush_device_output();

}  // namespace ptxops::virt
