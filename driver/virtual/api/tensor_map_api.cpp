// cuTensorMapEncodeTiled with every documented refusal, and cuTensorMapReplaceAddress.
#include <cstring>

#include "driver/virtual/api/entry.h"
#include "driver/virtual/api/runtime.h"
#include "driver/virtual/memory/tensor_map.h"

namespace ptxops::virt::api {
namespace {

template <class... Args>
[[noreturn]] void invalid(fmt::format_string<Args...> format, Args&&... args) {
  refuse(CUDA_ERROR_INVALID_VALUE, format, std::forward<Args>(args)...);
}

void check_map_pointer(const void* map) {
  const uint64_t address = reinterpret_cast<uint64_t>(not_null(map, "tensorMap"));
  if (address % kTensorMapAlignment != 0)
    invalid("tensorMap: expected an address aligned to {} bytes, got {:#x}", kTensorMapAlignment, address);
}

uint64_t base_alignment(TensorMapInterleave interleave) {
  return interleave == TensorMapInterleave::k32B ? 32 : 16;
}

void check_base(uint64_t address, TensorMapInterleave interleave) {
  if (address == 0 || address % base_alignment(interleave) != 0)
    invalid("globalAddress: expected a non-null address aligned to {} bytes, got {:#x}",
            base_alignment(interleave), address);
}

}  // namespace

CUresult cuTensorMapEncodeTiled(CUtensorMap* tensorMap, CUtensorMapDataType tensorDataType,
                                cuuint32_t tensorRank, void* globalAddress, const cuuint64_t* globalDim,
                                const cuuint64_t* globalStrides, const cuuint32_t* boxDim,
                                const cuuint32_t* elementStrides, CUtensorMapInterleave interleave,
                                CUtensorMapSwizzle swizzle, CUtensorMapL2promotion l2Promotion,
                                CUtensorMapFloatOOBfill oobFill) {
  check_map_pointer(tensorMap);
  if (tensorDataType >= CU_TENSOR_MAP_DATA_TYPE_16U4_ALIGN8B &&
      tensorDataType <= CU_TENSOR_MAP_DATA_TYPE_16U6_ALIGN16B)
    refuse(CUDA_ERROR_NOT_SUPPORTED, "tensorDataType {}: sub-byte types need compute capability 10.0",
           static_cast<int>(tensorDataType));
  if (tensorDataType < CU_TENSOR_MAP_DATA_TYPE_UINT8 || tensorDataType > CU_TENSOR_MAP_DATA_TYPE_TFLOAT32_FTZ)
    invalid("tensorDataType: expected 0..12, got {}", static_cast<int>(tensorDataType));
  if (interleave < CU_TENSOR_MAP_INTERLEAVE_NONE || interleave > CU_TENSOR_MAP_INTERLEAVE_32B)
    invalid("interleave: expected 0..2, got {}", static_cast<int>(interleave));
  if (swizzle > CU_TENSOR_MAP_SWIZZLE_128B && swizzle <= CU_TENSOR_MAP_SWIZZLE_128B_ATOM_64B)
    refuse(CUDA_ERROR_NOT_SUPPORTED, "swizzle {}: swizzle atoms need compute capability 10.0",
           static_cast<int>(swizzle));
  if (swizzle < CU_TENSOR_MAP_SWIZZLE_NONE || swizzle > CU_TENSOR_MAP_SWIZZLE_128B)
    invalid("swizzle: expected 0..3, got {}", static_cast<int>(swizzle));
  if (l2Promotion < CU_TENSOR_MAP_L2_PROMOTION_NONE || l2Promotion > CU_TENSOR_MAP_L2_PROMOTION_L2_256B)
    invalid("l2Promotion: expected 0..3, got {}", static_cast<int>(l2Promotion));
  if (oobFill != CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE &&
      oobFill != CU_TENSOR_MAP_FLOAT_OOB_FILL_NAN_REQUEST_ZERO_FMA)
    invalid("oobFill: expected 0 or 1, got {}", static_cast<int>(oobFill));
  if (tensorRank < 1 || tensorRank > 5) invalid("tensorRank: expected 1..5, got {}", tensorRank);
  if (interleave != CU_TENSOR_MAP_INTERLEAVE_NONE && tensorRank < 3)
    invalid("tensorRank: expected 3..5 with interleave, got {}", tensorRank);

  TensorMap map{};
  map.type = static_cast<TensorMapType>(tensorDataType);
  map.interleave = static_cast<TensorMapInterleave>(interleave);
  map.swizzle = static_cast<TensorMapSwizzle>(swizzle);
  map.l2_promotion = static_cast<uint8_t>(l2Promotion);
  map.fill = static_cast<TensorMapFill>(oobFill);
  map.rank_minus_1 = static_cast<uint8_t>(tensorRank - 1);
  const uint64_t element = element_bytes(map.type);

  map.global_address = reinterpret_cast<uint64_t>(globalAddress);
  check_base(map.global_address, map.interleave);

  not_null(globalDim, "globalDim");
  not_null(boxDim, "boxDim");
  not_null(elementStrides, "elementStrides");
  if (tensorRank > 1) not_null(globalStrides, "globalStrides");
  const uint64_t stride_unit = base_alignment(map.interleave);
  for (uint32_t d = 0; d < 5; ++d) {
    map.global_dim[d] = map.box_dim[d] = map.element_stride[d] = 1;
    if (d >= tensorRank) continue;
    if (globalDim[d] < 1 || globalDim[d] > uint64_t{1} << 32)
      invalid("globalDim[{}]: expected 1..2^32, got {}", d, globalDim[d]);
    if (boxDim[d] < 1 || boxDim[d] > 256) invalid("boxDim[{}]: expected 1..256, got {}", d, boxDim[d]);
    if (elementStrides[d] < 1 || elementStrides[d] > 8)
      invalid("elementStrides[{}]: expected 1..8, got {}", d, elementStrides[d]);
    map.global_dim[d] = static_cast<uint32_t>(globalDim[d]);  // 2^32 is stored as 0
    map.box_dim[d] = boxDim[d];
    map.element_stride[d] = elementStrides[d];
    if (d + 1 < tensorRank) {
      const uint64_t stride = globalStrides[d];
      if (stride % stride_unit != 0 || stride >= uint64_t{1} << 40)
        invalid("globalStrides[{}]: expected a multiple of {} below 2^40, got {}", d, stride_unit, stride);
      map.global_stride[d] = stride;
    }
  }

  const uint64_t row = boxDim[0] * element;
  if (interleave == CU_TENSOR_MAP_INTERLEAVE_NONE) {
    if (row % 16 != 0)
      invalid("boxDim[0]: {} elements of {} bytes are {} bytes; expected a multiple of 16", boxDim[0],
              element, row);
    const uint64_t span = swizzle == CU_TENSOR_MAP_SWIZZLE_NONE ? 0 : uint64_t{16} << swizzle;
    if (span != 0 && row > span)
      invalid("boxDim[0]: {} elements of {} bytes are {} bytes; a {}-byte swizzle allows at most {}",
              boxDim[0], element, row, span, span);
  }
  if (interleave == CU_TENSOR_MAP_INTERLEAVE_32B && swizzle != CU_TENSOR_MAP_SWIZZLE_32B)
    invalid("swizzle: expected 1 (32 bytes) with a 32-byte interleave, got {}", static_cast<int>(swizzle));
  if (map.fill == TensorMapFill::kNan && !is_float(map.type))
    invalid("oobFill: NaN fill needs a floating-point type, got type {}", static_cast<int>(tensorDataType));
  if (interleave != CU_TENSOR_MAP_INTERLEAVE_NONE)
    refuse(CUDA_ERROR_NOT_SUPPORTED, "interleaved layouts are not implemented by the virtual device");

  seal(map);
  std::memcpy(tensorMap, &map, sizeof map);
  return CUDA_SUCCESS;
}

CUresult cuTensorMapReplaceAddress(CUtensorMap* tensorMap, void* globalAddress) {
  check_map_pointer(tensorMap);
  TensorMap map;
  std::memcpy(&map, tensorMap, sizeof map);
  if (!is_intact(map)) invalid("tensorMap does not hold an encoded tensor map");
  map.global_address = reinterpret_cast<uint64_t>(globalAddress);
  check_base(map.global_address, map.interleave);
  seal(map);
  std::memcpy(tensorMap, &map, sizeof map);
  return CUDA_SUCCESS;
}

}  // namespace ptxops::virt::api
