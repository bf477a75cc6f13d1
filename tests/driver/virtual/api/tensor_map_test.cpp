// Tensor-map encoding: every documented refusal names its field, and what is accepted is stored.
#include <cstring>
#include <functional>
#include <memory>

#include "driver/virtual/memory/tensor_map.h"
#include "tests/driver/virtual/api/virtual_driver.h"

namespace ptxops::virt::test {
namespace {

struct Arguments {
  CUtensorMap map{};
  CUtensorMap* target = &map;
  CUtensorMapDataType type = CU_TENSOR_MAP_DATA_TYPE_UINT8;
  uint32_t rank = 3;
  uint64_t address = 0x2000'0000'1000;
  uint64_t dim[5] = {7168, 300, 4, 2, 1};
  uint64_t stride[4] = {7168, 7168 * 300, 7168 * 300 * 4, 16};
  uint32_t box[5] = {128, 64, 1, 1, 1};
  uint32_t element_stride[5] = {1, 1, 1, 1, 1};
  const uint64_t* dims = dim;
  const uint64_t* strides = stride;
  const uint32_t* boxes = box;
  const uint32_t* element_strides = element_stride;
  CUtensorMapInterleave interleave = CU_TENSOR_MAP_INTERLEAVE_NONE;
  CUtensorMapSwizzle swizzle = CU_TENSOR_MAP_SWIZZLE_128B;
  CUtensorMapL2promotion promotion = CU_TENSOR_MAP_L2_PROMOTION_L2_256B;
  CUtensorMapFloatOOBfill fill = CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE;

  // Not by assignment: the pointers are to the object's own members.
  void reset() {
    std::destroy_at(this);
    std::construct_at(this);
  }
  CUresult encode() {
    return cuda().cuTensorMapEncodeTiled(target, type, rank, reinterpret_cast<void*>(address), dims, strides,
                                         boxes, element_strides, interleave, swizzle, promotion, fill);
  }
  TensorMap fields() const {
    TensorMap t;
    std::memcpy(&t, &map, sizeof t);
    return t;
  }
};

TEST(TensorMapEncode, StoresEveryField) {
  Arguments a;
  a.type = CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
  a.box[0] = 64;
  a.fill = CU_TENSOR_MAP_FLOAT_OOB_FILL_NAN_REQUEST_ZERO_FMA;
  a.element_stride[1] = 2;
  ASSERT_CUDA(a.encode());
  const TensorMap t = a.fields();
  EXPECT_TRUE(is_intact(t));
  EXPECT_EQ(t.type, TensorMapType::kBF16);
  EXPECT_EQ(t.rank(), 3);
  EXPECT_EQ(t.global_address, a.address);
  EXPECT_EQ(t.dim(0), 7168u);
  EXPECT_EQ(t.dim(1), 300u);
  EXPECT_EQ(t.dim(2), 4u);
  EXPECT_EQ(t.dim(3), 1u) << "beyond the rank";
  EXPECT_EQ(t.global_stride[0], 7168u);
  EXPECT_EQ(t.global_stride[1], 7168u * 300);
  EXPECT_EQ(t.box_dim[0], 64u);
  EXPECT_EQ(t.box_dim[1], 64u);
  EXPECT_EQ(t.element_stride[1], 2u);
  EXPECT_EQ(t.swizzle, TensorMapSwizzle::k128B);
  EXPECT_EQ(t.fill, TensorMapFill::kNan);
  EXPECT_EQ(t.l2_promotion, 3);
}

// A template library clears bit 21 of the second word of maps of small tensors, which mends a fault of
// NVIDIA's driver: nothing may lie there.
TEST(TensorMapEncode, NothingDependsOnTheBitThatLibrariesClear) {
  Arguments a;
  for (a.address = 0x2000'0000'1000; a.address < 0x2000'0100'0000; a.address += 0x10'0000) {
    ASSERT_CUDA(a.encode());
    const TensorMap before = a.fields();
    uint64_t words[16];
    std::memcpy(words, &a.map, sizeof words);
    words[1] &= ~(uint64_t{1} << 21);
    std::memcpy(&a.map, words, sizeof words);
    const TensorMap after = a.fields();
    EXPECT_TRUE(is_intact(after)) << std::hex << a.address;
    EXPECT_EQ(std::memcmp(&before, &after, sizeof before), 0) << std::hex << a.address;
  }
}

TEST(TensorMapEncode, Limits) {
  Arguments a;
  a.dim[1] = uint64_t{1} << 32;
  ASSERT_CUDA(a.encode());
  EXPECT_EQ(a.fields().dim(1), uint64_t{1} << 32);
  a.reset();
  a.swizzle = CU_TENSOR_MAP_SWIZZLE_NONE;
  a.box[0] = 256;
  EXPECT_CUDA(a.encode()) << "without a swizzle the row may be long";
  a.reset();
  a.rank = 1;
  a.strides = nullptr;
  EXPECT_CUDA(a.encode()) << "rank 1 has no strides";
  a.reset();
  a.stride[0] = 0;
  EXPECT_CUDA(a.encode()) << "overlapping strides are legal";
  a.reset();
  a.stride[0] = (uint64_t{1} << 40) - 16;
  EXPECT_CUDA(a.encode());
  // A 64-byte aligned map is enough.
  alignas(128) char space[256];
  a.reset();
  a.target = reinterpret_cast<CUtensorMap*>(space + 64);
  EXPECT_CUDA(a.encode());
}

TEST(TensorMapEncode, RefusalsNameTheField) {
  struct Case {
    const char* text;
    std::function<void(Arguments&)> spoil;
    CUresult code = CUDA_ERROR_INVALID_VALUE;
  };
  const Case cases[] = {
      {"tensorMap must not be null", [](Arguments& a) { a.target = nullptr; }},
      {"tensorMap: expected an address aligned to 64",
       [](Arguments& a) { a.target = reinterpret_cast<CUtensorMap*>(reinterpret_cast<char*>(&a.map) + 32); }},
      {"tensorDataType", [](Arguments& a) { a.type = static_cast<CUtensorMapDataType>(-1); }},
      {"tensorDataType", [](Arguments& a) { a.type = static_cast<CUtensorMapDataType>(16); }},
      {"tensorDataType", [](Arguments& a) { a.type = CU_TENSOR_MAP_DATA_TYPE_16U4_ALIGN8B; },
       CUDA_ERROR_NOT_SUPPORTED},
      {"tensorRank: expected 1..5, got 0", [](Arguments& a) { a.rank = 0; }},
      {"tensorRank: expected 1..5, got 6", [](Arguments& a) { a.rank = 6; }},
      {"tensorRank: expected 3..5 with interleave",
       [](Arguments& a) { a.rank = 2, a.interleave = CU_TENSOR_MAP_INTERLEAVE_16B; }},
      {"globalAddress", [](Arguments& a) { a.address = 0; }},
      {"globalAddress: expected a non-null address aligned to 16", [](Arguments& a) { a.address += 8; }},
      {"globalAddress: expected a non-null address aligned to 32",
       [](Arguments& a) {
         a.address += 16, a.interleave = CU_TENSOR_MAP_INTERLEAVE_32B, a.swizzle = CU_TENSOR_MAP_SWIZZLE_32B;
       }},
      {"globalDim must not be null", [](Arguments& a) { a.dims = nullptr; }},
      {"globalStrides must not be null", [](Arguments& a) { a.strides = nullptr; }},
      {"boxDim must not be null", [](Arguments& a) { a.boxes = nullptr; }},
      {"elementStrides must not be null", [](Arguments& a) { a.element_strides = nullptr; }},
      {"globalDim[1]: expected 1..2^32, got 0", [](Arguments& a) { a.dim[1] = 0; }},
      {"globalDim[2]", [](Arguments& a) { a.dim[2] = (uint64_t{1} << 32) + 1; }},
      {"globalStrides[0]: expected a multiple of 16", [](Arguments& a) { a.stride[0] = 7160; }},
      {"globalStrides[1]", [](Arguments& a) { a.stride[1] = uint64_t{1} << 40; }},
      {"globalStrides[0]: expected a multiple of 32",
       [](Arguments& a) {
         a.stride[0] += 16, a.interleave = CU_TENSOR_MAP_INTERLEAVE_32B,
                            a.swizzle = CU_TENSOR_MAP_SWIZZLE_32B;
       }},
      {"boxDim[1]: expected 1..256, got 0", [](Arguments& a) { a.box[1] = 0; }},
      {"boxDim[1]: expected 1..256, got 257", [](Arguments& a) { a.box[1] = 257; }},
      {"expected a multiple of 16", [](Arguments& a) { a.box[0] = 120; }},
      {"a 128-byte swizzle allows at most 128", [](Arguments& a) { a.box[0] = 144; }},
      {"a 64-byte swizzle allows at most 64",
       [](Arguments& a) { a.swizzle = CU_TENSOR_MAP_SWIZZLE_64B, a.box[0] = 80; }},
      {"a 32-byte swizzle allows at most 32",
       [](Arguments& a) { a.swizzle = CU_TENSOR_MAP_SWIZZLE_32B, a.box[0] = 48; }},
      {"256 bytes; a 128-byte swizzle", [](Arguments& a) { a.type = CU_TENSOR_MAP_DATA_TYPE_FLOAT16; }},
      {"elementStrides[2]: expected 1..8, got 0", [](Arguments& a) { a.element_stride[2] = 0; }},
      {"elementStrides[2]: expected 1..8, got 9", [](Arguments& a) { a.element_stride[2] = 9; }},
      {"interleave: expected 0..2",
       [](Arguments& a) { a.interleave = static_cast<CUtensorMapInterleave>(3); }},
      {"swizzle: expected 1 (32 bytes) with a 32-byte interleave",
       [](Arguments& a) { a.interleave = CU_TENSOR_MAP_INTERLEAVE_32B; }},
      {"interleaved layouts", [](Arguments& a) { a.interleave = CU_TENSOR_MAP_INTERLEAVE_16B; },
       CUDA_ERROR_NOT_SUPPORTED},
      {"swizzle: expected 0..3", [](Arguments& a) { a.swizzle = static_cast<CUtensorMapSwizzle>(7); }},
      {"swizzle atoms", [](Arguments& a) { a.swizzle = CU_TENSOR_MAP_SWIZZLE_128B_ATOM_32B; },
       CUDA_ERROR_NOT_SUPPORTED},
      {"l2Promotion", [](Arguments& a) { a.promotion = static_cast<CUtensorMapL2promotion>(4); }},
      {"oobFill: expected 0 or 1", [](Arguments& a) { a.fill = static_cast<CUtensorMapFloatOOBfill>(2); }},
      {"NaN fill needs a floating-point type",
       [](Arguments& a) { a.fill = CU_TENSOR_MAP_FLOAT_OOB_FILL_NAN_REQUEST_ZERO_FMA; }},
  };
  for (const Case& c : cases) {
    Arguments a;
    c.spoil(a);
    const CUtensorMap before = a.map;
    EXPECT_REFUSED(a.encode(), c.code, c.text);
    EXPECT_EQ(std::memcmp(&before, &a.map, sizeof before), 0) << c.text << ": nothing may be written";
  }
}

TEST(TensorMapReplace, ChangesOnlyTheAddress) {
  Arguments a;
  ASSERT_CUDA(a.encode());
  TensorMap expected = a.fields();
  expected.global_address = 0x2000'0000'8000;
  seal(expected);
  ASSERT_CUDA(cuda().cuTensorMapReplaceAddress(&a.map, reinterpret_cast<void*>(0x2000'0000'8000)));
  EXPECT_EQ(std::memcmp(&a.map, &expected, sizeof expected), 0);
  EXPECT_REFUSED(cuda().cuTensorMapReplaceAddress(&a.map, reinterpret_cast<void*>(0x2000'0000'8008)),
                 CUDA_ERROR_INVALID_VALUE, "globalAddress");
  reinterpret_cast<char*>(&a.map)[40] ^= 1;
  EXPECT_REFUSED(cuda().cuTensorMapReplaceAddress(&a.map, reinterpret_cast<void*>(0x2000'0000'8000)),
                 CUDA_ERROR_INVALID_VALUE, "does not hold an encoded tensor map");
}

}  // namespace
}  // namespace ptxops::virt::test
