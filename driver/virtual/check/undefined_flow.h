// How an instruction passes undefined bits on.
#pragma once

#include <utility>
#include <vector>

#include "driver/virtual/check/undefined.h"

namespace ptxops::virt {

namespace isa {
struct Instruction;
}

// By slot: what of the results of `in` will be undefined, when `lanes` execute it now. Results that are not
// named become defined.
using UndefinedResults = std::vector<std::pair<uint32_t, Undefined::Lanes>>;
UndefinedResults undefined_results(const Warp& w, const Code& code, const isa::Instruction& in,
                                   const Effects::Effect& effect, uint32_t lanes);

}  // namespace ptxops::virt
