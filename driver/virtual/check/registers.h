// Registers of wgmma: which are in flight, which were touched since the last wgmma.fence. Only registers that
// a wgmma of the function names, and copies of them, are tracked. Their accesses are checked once for each
// stretch of straight code, at its first access: nothing changes in between.
#pragma once

#include <cstdint>
#include <vector>

#include "driver/virtual/exec/op.h"

namespace ptxops::virt {

struct RegisterUse {
  enum class Kind : uint8_t { read, write, copy };
  Kind kind = Kind::read;
  uint32_t reg = 0, from = 0;  // tracked numbers; `from` is copied
  uint32_t line = 0;
};

// Op::imm points here.
struct RegisterUses {
  std::vector<RegisterUse> uses;
  uint32_t tracked = 0;  // registers of the function
};

Step check_registers(Warp& w, const Op& op, uint32_t lanes);

// The registers of one wgmma, by tracked number.
struct WgmmaRegisters {
  std::vector<uint32_t> d, a;
  uint32_t shape = 0;    // what must agree for accumulation without a fence
  uint32_t tracked = 0;  // registers of the function
};
bool issue_registers(Warp& w, const Op& op, const WgmmaRegisters& registers);
void fence_registers(Warp& w);

}  // namespace ptxops::virt
