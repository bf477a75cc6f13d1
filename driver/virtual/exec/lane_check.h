// The vectorised part of resolve_lanes(): one pass over the addresses of a warp.
#pragma once

#include <cstdint>

#include "driver/virtual/exec/access.h"

namespace ptxops::virt {

// An address a = base[lane] + displacement passes when a - low <= limit (unsigned) and (a & alignment_mask)
// == 0.
struct LaneCheck {
  uint64_t displacement = 0;
  uint64_t alignment_mask = 0;
  uint64_t low = 0, limit = ~uint64_t{0};
  uint64_t to_host = 0;  // host address = a + to_host
};

// Fills out.host (all 32 entries, inactive ones with garbage), contiguous, low and span; true when every lane
// of `lanes` passes.
bool check_lanes(const uint64_t* base, uint32_t lanes, uint32_t size, const LaneCheck& check,
                 LaneAccess& out);

}  // namespace ptxops::virt
