#include "driver/client/tensor_map.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <span>

namespace ptxops::driver {

using namespace abi;

void encode_tiled(const Driver& driver, const TiledTensor& t, CUtensorMap& map) {
  const CUresult result = driver.api().cuTensorMapEncodeTiled(
      &map, t.type, t.rank, reinterpret_cast<void*>(t.address), t.dim, t.stride, t.box, t.element_stride,
      t.interleave, t.swizzle, t.l2_promotion, t.oob_fill);
  if (result != CUDA_SUCCESS) {
    const size_t rank = std::clamp<uint32_t>(t.rank, 1, 5);
    driver.fail(
        result,
        fmt::format("cuTensorMapEncodeTiled(type {}, rank {}, address {:#x}, dim [{}], stride [{}], box "
                    "[{}], element stride [{}], interleave {}, swizzle {}, l2 promotion {}, fill {})",
                    static_cast<int>(t.type), t.rank, t.address, fmt::join(std::span(t.dim, rank), ", "),
                    fmt::join(std::span(t.stride, rank - 1), ", "), fmt::join(std::span(t.box, rank), ", "),
                    fmt::join(std::span(t.element_stride, rank), ", "), static_cast<int>(t.interleave),
                    static_cast<int>(t.swizzle), static_cast<int>(t.l2_promotion),
                    static_cast<int>(t.oob_fill)));
  }
}

CUtensorMap encode_tiled(const Driver& driver, const TiledTensor& t) {
  // Not straight into the result: g++ 12 does not align the return slot of a temporary.
  CUtensorMap encoded;
  encode_tiled(driver, t, encoded);
  CUtensorMap map;
  std::memcpy(static_cast<void*>(&map), &encoded, sizeof map);
  return map;
}

}  // namespace ptxops::driver
