// Undefined values: what comes from memory or registers that nobody has written. They may be copied, in whole
// or bit by bit; a report comes where one decides an address, a branch, a barrier or a copy, or where
// something computed from one is stored to global memory, also on the way through shuffles, tensor cores and
// shared memory. How instructions pass them on: undefined_flow.cpp.
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
struct Cta;

// What the instructions of a function do with registers, by first op. Built when first needed.
struct Effects {
  enum class Kind : uint8_t {
    compute,    // all bits of a result depend on all reads
    halves,     // of packed types: each half on the same half of the reads
    low_up,     // sums and products: a bit depends on the bits at and below its own
    copy,       // mov, ld, st: bits move
    pack,       // mov between a register and a vector, cvt of two values to one pack
    select,     // selp
    logic,      // and, or, xor, not, lop3; of predicates too
    shift,      // shl, shr, shf, bfe, bfi
    permute,    // prmt
    convert,    // cvt reads the bits of its source's type
    compare,    // setp
    shuffle,    // shfl
    vote,       // vote
    reduce,     // redux, match: all lanes' reads
    product,    // wgmma
    transpose,  // movmatrix
    forget,     // results count as defined
  };
  struct Effect {
    Kind kind = Kind::compute;
    bool branches = false, stores = false, loads = false;
    bool updates = false;      // atom, red: stores what it computes from its reads
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

// The undefined bits of registers, by the address of their slot.
struct Undefined {
  struct Lanes {
    uint32_t copied = 0, computed = 0;
    uint32_t line = 0;           // where it came from
    std::vector<uint64_t> bits;  // by lane; empty: every bit of the lanes above
    uint32_t any() const { return copied | computed; }
    uint64_t mask(uint32_t lane) const {
      if (!(any() >> lane & 1)) return 0;
      return bits.empty() ? ~uint64_t{0} : bits[lane];
    }
    void set(uint32_t lane, uint64_t mask, bool is_computed, uint32_t from);
  };
  std::unordered_map<const std::byte*, Lanes> slots;
  bool active() const { return !slots.empty(); }
  const Lanes& at(const std::byte* slot) const {
    static const Lanes none;
    const auto it = slots.find(slot);
    return it == slots.end() ? none : it->second;
  }
  // `lanes` of the register become what `value` says.
  void assign(const std::byte* slot, uint32_t lanes, const Lanes& value);

  // Of the load in progress: lanes that met bytes never written. Of the store in progress, by element: what
  // of its value is undefined.
  uint32_t unwritten = 0;
  Lanes stored[8];
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
void undefined_store(Warp& w, const Op& op, uint32_t lanes, const LaneAccess& at, uint32_t size);
// The same of ldmatrix and stmatrix, whose lanes 8j..8j+7 have the addresses of the rows of matrix j.
Step undefined_matrix_load(Warp& w, const Op& op, const LaneAccess& at, uint32_t count, bool transposed);
void undefined_matrix_store(Warp& w, const Op& op, const LaneAccess& at, uint32_t count, bool transposed);
// The line that stored an undefined value at a byte of shared memory that counts as not written, or 0.
uint32_t undefined_store_line(Warp& w, const Cta& cta, uint32_t offset);
// A bulk copy of `lane` stores [first, first + bytes) of its CTA's shared memory to global memory: false
// after a finding, where something computed from an undefined value is among them.
bool undefined_bulk_store(Warp& w, const Op& op, int lane, uint32_t first, uint32_t bytes);

}  // namespace ptxops::virt
