// The vector implementation behind mma().
#pragma once

#include "driver/virtual/numerics/tensor_core.h"

namespace ptxops::virt::numerics {

// Computes a shape that mma() has checked; false, with d untouched, if there is no vector code for it here.
bool mma_simd(const MmaShape& shape, const std::byte* a, const std::byte* b, std::byte* d);

}  // namespace ptxops::virt::numerics
