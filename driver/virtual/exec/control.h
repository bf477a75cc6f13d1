// Splits, meeting points and activations, shared by control.cpp, call.cpp and the scheduler.
#pragma once

#include "driver/virtual/exec/machine.h"
#include "driver/virtual/exec/program.h"

namespace ptxops::virt {

// Local memory a thread may use, as cuDeviceGetAttribute and CUDA's documentation have it.
inline constexpr uint32_t kLocalMax = 512 * 1024;

// The record under which the lanes that `op` separates run (op.c: see FunctionDecoder::patch_meet).
Reconvergence* separate(Warp& warp, const Op& op);

// A fresh activation of `code`; nullptr when local memory is exhausted. `call` and `caller` are null for a
// kernel.
Frame* enter_frame(Warp& warp, const Code& code, const Op* call, Frame* caller);
void leave_frame(Warp& warp, Frame& frame);
// All lanes of a call have returned: copies the results of `lanes` and lets them go on behind the call.
void return_from(Warp& warp, Frame& frame, uint32_t lanes, Reconvergence* parent);

// Register frames and other large buffers are recycled within a thread: fresh pages would cost more than the
// work.
std::byte* take_buffer(size_t bytes);
void give_buffer(std::byte* buffer, size_t bytes);

}  // namespace ptxops::virt
