// A decoded instruction. Functions are decoded once per module into a dense array of these; every operand is
// a byte offset into the warp's current register frame, so a handler never looks at PTX again.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ptxops::virt {

struct Warp;
struct Op;

// What the warp does after a handler returns.
enum class Step : uint32_t {
  next,   // continue with the following op
  jump,   // Warp::pc was set by the handler
  block,  // not ready: the split sleeps (a wake list was registered) and re-executes this op when woken
  sleep,  // the op is done, but the split sleeps until woken and then continues with the following op
  yield,  // runnable, but let others run first; re-executes this op
  leave,  // the current split ended or merged into a reconvergence record: pick another
  fault,  // a Fault was recorded on the grid
};

// `lanes` is the set of active lanes whose guard holds; never zero unless the op has kRunsWithoutLanes.
using Handler = Step (*)(Warp& warp, const Op& op, uint32_t lanes);

enum OpFlag : uint16_t {
  kWaitLoad = 1,          // time model: first reader of a pending load's result
  kRunsWithoutLanes = 2,  // control flow that must see an empty guard too (guarded branch, reconvergence)
};

struct alignas(64) Op {
  Handler fn = nullptr;
  uint32_t guard = 0;       // offset of the predicate slot; 0 is the slot that is always all ones
  uint32_t guard_flip = 0;  // ~0 for @!p
  uint32_t d = 0, a = 0, b = 0, c = 0;
  uint32_t e = 0, f = 0;  // further operands or small immediates, as the handler defines
  uint64_t imm = 0;       // displacement, or a pointer to a payload owned by the Program
  uint32_t line = 0;      // line of the PTX text
  uint16_t cost = 1;      // time model: issue cycles
  uint16_t flags = 0;
};
static_assert(sizeof(Op) == 64);

// Register frame layout. A register of up to 32 bits holds 32 lanes of 4 bytes, zero-extended; 64 bits: 8
// bytes a lane; 128 bits: 16 bytes a lane. A predicate register is one 32-bit lane mask. Slots are 64-byte
// aligned, but for predicates.
inline constexpr uint32_t kLanes = 32;
inline constexpr uint32_t kSlot32 = 4 * kLanes, kSlot64 = 8 * kLanes, kSlot128 = 16 * kLanes;
inline constexpr uint32_t kAllLanes = 0xffffffffu;

}  // namespace ptxops::virt
