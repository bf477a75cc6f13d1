// The vector implementation behind mma().
#pragma once

#include "driver/virtual/numerics/tensor_core.h"

namespace ptxops::virt::numerics {

// Bytes of B decoded, 64-byte aligned; 0 if there is no vector code for the type here.
std::size_t simd_decoded_bytes(MmaType b, int n);
// `rows`: n rows, and zeros up to a multiple of 16.
void simd_decode(const MmaShape& shape, const std::byte* rows, std::byte* decoded);
// Computes a shape that mma() has checked, for which simd_decoded_bytes() is not 0.
void mma_simd(const MmaShape& shape, const std::byte* a, const std::byte* b_rows, const std::byte* decoded,
              const MmaD& d);

}  // namespace ptxops::virt::numerics
