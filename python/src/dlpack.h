// The DLPack C ABI (https://dmlc.github.io/dlpack, version 1.x), declared here because no system header knows
// the FP8 codes. Field order and widths are the ABI; names are the standard's.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ptxops::python::dlpack {

enum DLDeviceType : int32_t { kDLCPU = 1, kDLCUDA = 2, kDLCUDAHost = 3, kDLCUDAManaged = 13 };
enum DLDataTypeCode : uint8_t { kDLInt = 0, kDLUInt = 1, kDLFloat = 2, kDLBfloat = 4, kDLFloat8_e4m3fn = 10 };

struct DLDevice {
  int32_t device_type;
  int32_t device_id;
};

struct DLDataType {
  uint8_t code;
  uint8_t bits;
  uint16_t lanes;
};

struct DLTensor {
  void* data;
  DLDevice device;
  int32_t ndim;
  DLDataType dtype;
  int64_t* shape;
  int64_t* strides;  // in elements; NULL: row-major and dense
  uint64_t byte_offset;
};

// The capsule "dltensor" holds this; once consumed it is renamed "used_dltensor".
struct DLManagedTensor {
  DLTensor dl_tensor;
  void* manager_ctx;
  void (*deleter)(DLManagedTensor* self);
};

struct DLPackVersion {
  uint32_t major, minor;
};

// The capsule "dltensor_versioned" (since 1.0) holds this.
struct DLManagedTensorVersioned {
  DLPackVersion version;
  void* manager_ctx;
  void (*deleter)(DLManagedTensorVersioned* self);
  uint64_t flags;
  DLTensor dl_tensor;
};

inline constexpr uint64_t kFlagReadOnly = 1, kFlagIsCopied = 2;

static_assert(sizeof(DLDataType) == 4 && sizeof(DLDevice) == 8);
static_assert(offsetof(DLTensor, shape) == 24 && sizeof(DLTensor) == 48);
static_assert(sizeof(DLManagedTensor) == 64 && offsetof(DLManagedTensorVersioned, dl_tensor) == 32);

}  // namespace ptxops::python::dlpack
