// Errors, initialisation, devices and primary contexts.
#include <cstdio>
#include <cstring>

#include "driver/virtual/api/entry.h"
#include "driver/virtual/api/runtime.h"

namespace ptxops::virt::api {
namespace {

Runtime& runtime() {
  return Runtime::get();
}

constexpr unsigned kContextFlags = CU_CTX_SCHED_MASK | CU_CTX_MAP_HOST | CU_CTX_COREDUMP_ENABLE |
                                   CU_CTX_USER_COREDUMP_ENABLE | CU_CTX_SYNC_MEMOPS |
                                   0x10;  // 0x10: once local-memory resize

}  // namespace

CUresult cuGetErrorString(CUresult error, const char** pStr) {
  *not_null(pStr, "pStr") = result_text(error);
  return *pStr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGetErrorName(CUresult error, const char** pStr) {
  *not_null(pStr, "pStr") = result_name(error);
  return *pStr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuInit(unsigned int Flags) {
  if (Flags != 0) refuse(CUDA_ERROR_INVALID_VALUE, "Flags: expected 0, got {}", Flags);
  runtime().initialise();
  return CUDA_SUCCESS;
}

CUresult cuDriverGetVersion(int* driverVersion) {
  *not_null(driverVersion, "driverVersion") = kCudaVersion;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  not_null(device, "device");
  runtime().device(ordinal);
  *device = ordinal;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int* count) {
  *not_null(count, "count") = runtime().device_count();
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char* name, int len, CUdevice dev) {
  not_null(name, "name");
  if (len < 1) refuse(CUDA_ERROR_INVALID_VALUE, "len: expected at least 1, got {}", len);
  std::snprintf(name, static_cast<size_t>(len), "%s", runtime().device(dev).profile.name.c_str());
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid_v2(CUuuid* uuid, CUdevice dev) {
  runtime().device(dev);
  std::memset(not_null(uuid, "uuid"), 0, sizeof *uuid);
  std::memcpy(uuid->bytes, "ptxops-virtual", 14);
  uuid->bytes[15] = static_cast<char>(dev);
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid(CUuuid* uuid, CUdevice dev) {
  return api::cuDeviceGetUuid_v2(uuid, dev);
}

CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice dev) {
  runtime().device(dev);
  *not_null(bytes, "bytes") = runtime().memory().total_bytes();
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int* pi, CUdevice_attribute attrib, CUdevice dev) {
  const Device& device = runtime().device(dev);
  int value = 0;
  if (!device_attribute(device.profile, device.ordinal, attrib, value))
    refuse(CUDA_ERROR_INVALID_VALUE, "unknown device attribute {}", static_cast<int>(attrib));
  *not_null(pi, "pi") = value;
  return CUDA_SUCCESS;
}

CUresult cuDeviceComputeCapability(int* major, int* minor, CUdevice dev) {
  runtime().device(dev);
  *not_null(major, "major") = 9;
  *not_null(minor, "minor") = 0;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetPCIBusId(char* pciBusId, int len, CUdevice dev) {
  runtime().device(dev);
  char text[16];
  const int n = std::snprintf(text, sizeof text, "0000:%02x:00.0", static_cast<unsigned>(dev + 1));
  if (len <= n) refuse(CUDA_ERROR_INVALID_VALUE, "len: expected at least {}, got {}", n + 1, len);
  std::memcpy(not_null(pciBusId, "pciBusId"), text, static_cast<size_t>(n) + 1);
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetByPCIBusId(CUdevice* dev, const char* pciBusId) {
  not_null(dev, "dev");
  unsigned domain = 0, bus = 0, slot = 0, function = 0;
  const char* text = not_null(pciBusId, "pciBusId");
  if (std::sscanf(text, "%x:%x:%x.%x", &domain, &bus, &slot, &function) < 3 &&
      (domain = 0, std::sscanf(text, "%x:%x.%x", &bus, &slot, &function) < 2))
    refuse(CUDA_ERROR_INVALID_VALUE, "pciBusId: expected domain:bus:device.function, got {}", text);
  if (domain != 0 || slot != 0 || bus < 1 || bus > static_cast<unsigned>(runtime().device_count()))
    refuse(CUDA_ERROR_INVALID_DEVICE, "no device at {}", text);
  *dev = static_cast<CUdevice>(bus) - 1;
  return CUDA_SUCCESS;
}

CUresult cuDeviceCanAccessPeer(int* canAccessPeer, CUdevice dev, CUdevice peerDev) {
  runtime().device(dev);
  runtime().device(peerDev);
  *not_null(canAccessPeer, "canAccessPeer") = dev != peerDev;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetP2PAttribute(int* value, CUdevice_P2PAttribute attrib, CUdevice srcDevice,
                                 CUdevice dstDevice) {
  runtime().device(srcDevice);
  runtime().device(dstDevice);
  if (srcDevice == dstDevice)
    refuse(CUDA_ERROR_INVALID_DEVICE, "source and destination are both device {}", srcDevice);
  switch (attrib) {
    case CU_DEVICE_P2P_ATTRIBUTE_PERFORMANCE_RANK:
    case CU_DEVICE_P2P_ATTRIBUTE_CUDA_ARRAY_ACCESS_SUPPORTED:
    case CU_DEVICE_P2P_ATTRIBUTE_ONLY_PARTIAL_NATIVE_ATOMIC_SUPPORTED:
      *not_null(value, "value") = 0;
      return CUDA_SUCCESS;
    case CU_DEVICE_P2P_ATTRIBUTE_ACCESS_SUPPORTED:
    case CU_DEVICE_P2P_ATTRIBUTE_NATIVE_ATOMIC_SUPPORTED:
      *not_null(value, "value") = 1;
      return CUDA_SUCCESS;
  }
  refuse(CUDA_ERROR_INVALID_VALUE, "unknown peer attribute {}", static_cast<int>(attrib));
}

CUresult cuDeviceGetExecAffinitySupport(int* pi, CUexecAffinityType type, CUdevice dev) {
  runtime().device(dev);
  if (type != CU_EXEC_AFFINITY_TYPE_SM_COUNT)
    refuse(CUDA_ERROR_INVALID_VALUE, "unknown affinity type {}", static_cast<int>(type));
  *not_null(pi, "pi") = 0;
  return CUDA_SUCCESS;
}

// ---- Primary contexts
// -------------------------------------------------------------------------------------------------

CUresult cuDevicePrimaryCtxRetain(CUcontext* pctx, CUdevice dev) {
  not_null(pctx, "pctx");
  Device& device = runtime().device(dev);
  std::lock_guard lock(device.mutex);
  if (!device.primary) {
    device.primary = std::make_shared<Context>(device, device.primary_flags, true, 3020u);
    runtime().contexts.add(device.primary);
  }
  ++device.retained;
  *pctx = reinterpret_cast<CUcontext>(device.primary.get());
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice dev) {
  Device& device = runtime().device(dev);
  std::shared_ptr<Context> last;
  {
    std::lock_guard lock(device.mutex);
    if (device.retained == 0)
      refuse(CUDA_ERROR_INVALID_CONTEXT, "the primary context of device {} is not retained", dev);
    if (--device.retained == 0) last = std::move(device.primary);
  }
  if (last) runtime().destroy(last);
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxReset_v2(CUdevice dev) {
  Device& device = runtime().device(dev);
  std::shared_ptr<Context> old;
  {
    std::lock_guard lock(device.mutex);
    old = std::move(device.primary);
    device.retained = 0;
    device.primary_flags = 0;
  }
  if (old) runtime().destroy(old);
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice dev, unsigned int flags) {
  if (flags & ~kContextFlags) refuse(CUDA_ERROR_INVALID_VALUE, "flags {:#x} has unknown bits", flags);
  Device& device = runtime().device(dev);
  std::lock_guard lock(device.mutex);
  device.primary_flags = flags;
  if (device.primary) device.primary->flags = flags;
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxGetState(CUdevice dev, unsigned int* flags, int* active) {
  Device& device = runtime().device(dev);
  std::lock_guard lock(device.mutex);
  *not_null(flags, "flags") = device.primary ? device.primary->flags.load() : device.primary_flags;
  *not_null(active, "active") = device.primary != nullptr;
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRelease(CUdevice dev) {
  return api::cuDevicePrimaryCtxRelease_v2(dev);
}
CUresult cuDevicePrimaryCtxReset(CUdevice dev) {
  return api::cuDevicePrimaryCtxReset_v2(dev);
}
CUresult cuDevicePrimaryCtxSetFlags(CUdevice dev, unsigned int flags) {
  return api::cuDevicePrimaryCtxSetFlags_v2(dev, flags);
}

}  // namespace ptxops::virt::api
