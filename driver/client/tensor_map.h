// Tiled tensor maps: the descriptors of cp.async.bulk.tensor.
#pragma once

#include <cstdint>
#include <string>

#include "driver/client/driver.h"

namespace ptxops::driver {

// A tensor in global memory and the box that one copy moves. Dimension 0 is the contiguous one. Units:
// elements for dim, box and element_stride; bytes for stride (of dimensions 1 .. rank-1, so stride[0] belongs
// to dimension 1).
struct TiledTensor {
  abi::CUtensorMapDataType type = abi::CU_TENSOR_MAP_DATA_TYPE_UINT8;
  uint32_t rank = 2;  // 1..5
  abi::CUdeviceptr address = 0;
  uint64_t dim[5] = {1, 1, 1, 1, 1};
  uint64_t stride[4] = {0, 0, 0, 0};
  uint32_t box[5] = {1, 1, 1, 1, 1};
  uint32_t element_stride[5] = {1, 1, 1, 1, 1};
  abi::CUtensorMapInterleave interleave = abi::CU_TENSOR_MAP_INTERLEAVE_NONE;
  abi::CUtensorMapSwizzle swizzle = abi::CU_TENSOR_MAP_SWIZZLE_NONE;
  abi::CUtensorMapL2promotion l2_promotion = abi::CU_TENSOR_MAP_L2_PROMOTION_L2_256B;
  abi::CUtensorMapFloatOOBfill oob_fill = abi::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE;
};

// The encoded map: passed by value as a __grid_constant__ parameter. Needs no context. Throws Error, whose
// text lists every field, when the driver refuses the tensor.
void encode_tiled(const Driver& driver, const TiledTensor& tensor, abi::CUtensorMap& map);
// The same as a value.
abi::CUtensorMap encode_tiled(const Driver& driver, const TiledTensor& tensor);

}  // namespace ptxops::driver
