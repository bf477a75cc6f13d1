// Undefined values: what comes from memory or registers that nobody has written. They may be copied; a report
// comes where one decides an address or a branch, or where something computed from one is stored to global
// memory.
//
// A warp without undefined values pays nothing. While it has some, the scheduler calls track() before each
// op.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "driver/virtual/exec/op.h"

namespace ptxops::virt {

struct Code;
struct Frame;
struct LaneAccess;

// What the instructions of a function do with registers, by first op. Built when first needed.
struct Effects {
  enum class Kind : uint8_t {
    compute,  // results are computed from all reads
    copy,     // mov, ld, st: bits move
    select,   // selp: the last read chooses between the first two
    forget,   // results count as defined: bit fields, collectives, tensor cores
  };
  struct Effect {
    Kind kind = Kind::compute;
    bool branches = false, stores = false, loads = false;
    bool decides = false;      // all reads do
    bool accumulates = false;  // reads what it writes, if the predicate `scale_d` (-1: none) holds
    int64_t scale_d = -1;
    std::vector<uint32_t> reads, addresses, writes;  // slots, in operand order
    int64_t guard = -1;                              // slot of its predicate
  };
  std::vector<uint32_t> of_op;  // by op: 1 + index of the effect of the instruction that begins there, or 0
  std::vector<Effect> effects;
  std::vector<uint32_t> unassigned;  // slots that may be read before they are written
};
const Effects& effects_of(const Code& code);

// The undefined lanes of registers, by the address of their slot.
struct Undefined {
  struct Lanes {
    uint32_t copied = 0, computed = 0;
    uint32_t any() const { return copied | computed; }
    uint32_t line = 0;  // where it came from
  };
  std::unordered_map<const std::byte*, Lanes> slots;
  bool active() const { return !slots.empty(); }

  // Of the load in progress: lanes that met bytes never written. Of the store in progress, by element: lanes
  // whose value is undefined.
  uint32_t unwritten = 0;
  uint32_t stored[8] = {};
  bool stores = false;
};

// The registers of a kernel's frame that it may read before writing them.
void begin_undefined(Warp& w, const Frame& frame);
// A frame ends: so do its registers.
void forget_undefined(Warp& w, const Frame& frame);
// Before `op` runs for `lanes`; false after a finding.
bool track(Warp& w, const Op& op, uint32_t lanes);
// Behind a load that met unwritten bytes: its results of `count` elements of `size` bytes become undefined.
Step undefined_load(Warp& w, const Op& op, uint32_t lanes, const LaneAccess& at, uint32_t size,
                    uint32_t count);
// Behind a store of undefined elements of `size` bytes: what it has written counts as not written.
void undefined_store(Warp& w, uint32_t lanes, const LaneAccess& at, uint32_t size);

}  // namespace ptxops::virt
