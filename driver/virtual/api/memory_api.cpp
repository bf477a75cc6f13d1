// Allocation, host memory, pools and pointer attributes.
#include <cstring>

#include "driver/virtual/api/entry.h"
#include "driver/virtual/api/runtime.h"

namespace ptxops::virt::api {
namespace {

Runtime& runtime() {
  return Runtime::get();
}
Memory& memory() {
  return Runtime::get().memory();
}

// Allocates for the current context; throws CUDA_ERROR_OUT_OF_MEMORY.
const Allocation* allocate(const std::shared_ptr<Context>& context, int device, size_t bytes,
                           const char* kind, bool tracked, unsigned flags,
                           std::shared_ptr<Pool> pool = nullptr) {
  if (bytes == 0) refuse(CUDA_ERROR_INVALID_VALUE, "bytesize must not be 0");
  const Allocation* a = memory().allocate(device, bytes, kind, tracked);
  if (!a && device != kHostDevice) {
    // Frees issued to streams may still be under way.
    context->synchronize();
    a = memory().allocate(device, bytes, kind, tracked);
  }
  if (!a)
    refuse(CUDA_ERROR_OUT_OF_MEMORY, "{} bytes of {} memory: {} of {} bytes are in use", bytes, kind,
           memory().used_bytes(device), memory().total_bytes());
  std::lock_guard lock(runtime().owners_mutex);
  runtime().owners[a->base] = {context, flags, std::move(pool), a->id};
  return a;
}

// Takes the record of the allocation that begins at `base`; throws unless it is of one of the kinds.
Owner disown(uint64_t base, const char* what, std::initializer_list<const char*> kinds) {
  std::lock_guard lock(runtime().owners_mutex);
  auto it = runtime().owners.find(base);
  const Allocation* a = memory().find(base);
  bool right = it != runtime().owners.end() && a && a->base == base;
  if (right) {
    right = false;
    for (const char* kind : kinds) right |= std::strcmp(a->kind, kind) == 0;
  }
  if (!right)
    refuse(CUDA_ERROR_INVALID_VALUE, "{} does not begin an allocation of this kind: {}", what,
           memory().describe(base));
  Owner owner = it->second;
  runtime().owners.erase(it);
  return owner;
}

void uncharge(Pool& pool, uint64_t bytes) {
  std::lock_guard lock(pool.mutex);
  pool.used -= bytes;
}

constexpr const char* kDevice = "device";
constexpr const char* kManaged = "managed";
constexpr const char* kHost = "host";

std::shared_ptr<Pool> pool_of(CUmemoryPool handle) {
  auto pool = runtime().pools.find(handle);
  if (!pool) refuse(CUDA_ERROR_INVALID_VALUE, "{} is not a memory pool", static_cast<void*>(handle));
  return pool;
}

}  // namespace

// ---- Device memory
// ----------------------------------------------------------------------------------------------------

CUresult cuMemGetInfo_v2(size_t* free, size_t* total) {
  const auto context = current_context();
  *not_null(total, "total") = memory().total_bytes();
  *not_null(free, "free") = memory().total_bytes() - memory().used_bytes(context->device.ordinal);
  return CUDA_SUCCESS;
}

CUresult cuMemAlloc_v2(CUdeviceptr* dptr, size_t bytesize) {
  not_null(dptr, "dptr");
  const auto context = current_context();
  *dptr = allocate(context, context->device.ordinal, bytesize, kDevice, true, 0)->base;
  return CUDA_SUCCESS;
}

CUresult cuMemAllocPitch_v2(CUdeviceptr* dptr, size_t* pPitch, size_t WidthInBytes, size_t Height,
                            unsigned int ElementSizeBytes) {
  not_null(pPitch, "pPitch");
  if (ElementSizeBytes != 4 && ElementSizeBytes != 8 && ElementSizeBytes != 16)
    refuse(CUDA_ERROR_INVALID_VALUE, "ElementSizeBytes: expected 4, 8 or 16, got {}", ElementSizeBytes);
  if (WidthInBytes == 0 || Height == 0 || WidthInBytes > memory().total_bytes() ||
      Height > memory().total_bytes() / WidthInBytes)
    refuse(CUDA_ERROR_INVALID_VALUE, "{} bytes x {} rows cannot be allocated", WidthInBytes, Height);
  const size_t pitch = (WidthInBytes + 511) / 512 * 512;
  api::cuMemAlloc_v2(dptr, pitch * Height);
  *pPitch = pitch;
  return CUDA_SUCCESS;
}

CUresult cuMemAllocManaged(CUdeviceptr* dptr, size_t bytesize, unsigned int flags) {
  not_null(dptr, "dptr");
  if (flags != CU_MEM_ATTACH_GLOBAL && flags != CU_MEM_ATTACH_HOST)
    refuse(CUDA_ERROR_INVALID_VALUE, "flags: expected 1 (global) or 2 (host), got {}", flags);
  const auto context = current_context();
  // Not tracked: the host writes it unseen.
  *dptr = allocate(context, context->device.ordinal, bytesize, kManaged, false, flags)->base;
  return CUDA_SUCCESS;
}

CUresult cuMemFree_v2(CUdeviceptr dptr) {
  if (dptr == 0) return CUDA_SUCCESS;
  current_context();
  const Owner owner = disown(dptr, "dptr", {kDevice, kManaged});
  // Freeing waits for whatever may still use the memory.
  if (const auto context = owner.context.lock()) context->synchronize();
  const uint64_t bytes = memory().find(dptr)->size;
  memory().release(dptr);
  if (owner.pool) uncharge(*owner.pool, bytes);
  return CUDA_SUCCESS;
}

CUresult cuMemGetAddressRange_v2(CUdeviceptr* pbase, size_t* psize, CUdeviceptr dptr) {
  current_context();
  const Allocation* a = memory().find(dptr);
  if (!a) refuse(CUDA_ERROR_NOT_FOUND, "{}", memory().describe(dptr));
  if (pbase) *pbase = a->base;
  if (psize) *psize = a->size;
  return CUDA_SUCCESS;
}

// ---- Host memory
// --------------------------------------------------------------------------------------------------------

CUresult cuMemHostAlloc(void** pp, size_t bytesize, unsigned int Flags) {
  not_null(pp, "pp");
  if (Flags & ~(kMemHostAllocPortable | kMemHostAllocDeviceMap | kMemHostAllocWriteCombined))
    refuse(CUDA_ERROR_INVALID_VALUE, "Flags {:#x} has unknown bits", Flags);
  *pp =
      reinterpret_cast<void*>(allocate(current_context(), kHostDevice, bytesize, kHost, false, Flags)->base);
  return CUDA_SUCCESS;
}

CUresult cuMemAllocHost_v2(void** pp, size_t bytesize) {
  return api::cuMemHostAlloc(pp, bytesize, 0);
}

CUresult cuMemFreeHost(void* p) {
  if (!p) return CUDA_SUCCESS;
  current_context();
  const uint64_t base = reinterpret_cast<uint64_t>(p);
  const Owner owner = disown(base, "p", {kHost});
  if (const auto context = owner.context.lock()) context->synchronize();
  memory().release(base);
  return CUDA_SUCCESS;
}

CUresult cuMemHostRegister_v2(void* p, size_t bytesize, unsigned int Flags) {
  not_null(p, "p");
  if (bytesize == 0) refuse(CUDA_ERROR_INVALID_VALUE, "bytesize must not be 0");
  if (Flags & ~(kMemHostRegisterPortable | kMemHostRegisterDeviceMap))
    refuse(Flags & (kMemHostRegisterIoMemory | kMemHostRegisterReadOnly) ? CUDA_ERROR_NOT_SUPPORTED
                                                                         : CUDA_ERROR_INVALID_VALUE,
           "Flags {:#x}: only portable (1) and device-mapped (2) are supported", Flags);
  const auto context = current_context();
  const Allocation* a = memory().register_host(p, bytesize);
  if (!a)
    refuse(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, "the range overlaps known memory: {}",
           memory().describe(reinterpret_cast<uint64_t>(p)));
  std::lock_guard lock(runtime().owners_mutex);
  runtime().owners[a->base] = {context, Flags, nullptr, a->id};
  return CUDA_SUCCESS;
}

CUresult cuMemHostUnregister(void* p) {
  const auto context = current_context();
  const uint64_t base = reinterpret_cast<uint64_t>(not_null(p, "p"));
  context->synchronize();
  if (!memory().unregister_host(base))
    refuse(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, "no registration begins at {}", p);
  std::lock_guard lock(runtime().owners_mutex);
  runtime().owners.erase(base);
  return CUDA_SUCCESS;
}

CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr* pdptr, void* p, unsigned int Flags) {
  not_null(pdptr, "pdptr");
  if (Flags != 0) refuse(CUDA_ERROR_INVALID_VALUE, "Flags: expected 0, got {}", Flags);
  current_context();
  const uint64_t address = reinterpret_cast<uint64_t>(p);
  const Allocation* a = memory().find(address);
  if (!a || a->device != kHostDevice)
    refuse(CUDA_ERROR_INVALID_VALUE, "p is not pinned host memory: {}", memory().describe(address));
  *pdptr = address;
  return CUDA_SUCCESS;
}

CUresult cuMemHostGetFlags(unsigned int* pFlags, void* p) {
  not_null(pFlags, "pFlags");
  current_context();
  const Allocation* a = memory().find(reinterpret_cast<uint64_t>(p));
  std::lock_guard lock(runtime().owners_mutex);
  const auto it = a ? runtime().owners.find(a->base) : runtime().owners.end();
  if (!a || std::strcmp(a->kind, kHost) != 0 || it == runtime().owners.end())
    refuse(CUDA_ERROR_INVALID_VALUE, "p was not allocated by cuMemHostAlloc");
  *pFlags = it->second.flags | kMemHostAllocDeviceMap;
  return CUDA_SUCCESS;
}

// ---- Stream-ordered allocation and pools
// --------------------------------------------------------------------------------

namespace {

CUresult allocate_from(CUdeviceptr* dptr, size_t bytes, const std::shared_ptr<Pool>& pool, CUstream stream) {
  not_null(dptr, "dptr");
  const StreamRef ref = resolve_stream(stream);
  {
    std::lock_guard lock(pool->mutex);
    if (pool->max_bytes && bytes > pool->max_bytes - std::min(pool->used, pool->max_bytes))
      refuse(CUDA_ERROR_OUT_OF_MEMORY, "{} bytes from a pool of {} with {} in use", bytes, pool->max_bytes,
             pool->used);
    pool->used += bytes;
  }
  try {
    // The address is fresh, so it may be used at once, not only in stream order.
    *dptr = allocate(ref.context, pool->device, bytes, kDevice, true, 0, pool)->base;
  } catch (...) {
    uncharge(*pool, bytes);
    throw;
  }
  std::lock_guard lock(pool->mutex);
  pool->used_high = std::max(pool->used_high, pool->used);
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuMemAllocAsync(CUdeviceptr* dptr, size_t bytesize, CUstream hStream) {
  Device& device = resolve_stream(hStream).context->device;
  std::shared_ptr<Pool> pool;
  {
    std::lock_guard lock(device.mutex);
    pool = device.pool;
  }
  return allocate_from(dptr, bytesize, pool, hStream);
}

CUresult cuMemAllocFromPoolAsync(CUdeviceptr* dptr, size_t bytesize, CUmemoryPool pool, CUstream hStream) {
  return allocate_from(dptr, bytesize, pool_of(pool), hStream);
}

CUresult cuMemFreeAsync(CUdeviceptr dptr, CUstream hStream) {
  const StreamRef stream = resolve_stream(hStream);
  if (dptr == 0) return CUDA_SUCCESS;
  const Owner owner = disown(dptr, "dptr", {kDevice, kManaged});
  stream.context->enqueue_even_faulted(*stream.stream, Work::Place::inline_,
                                       [dptr, pool = owner.pool](Work& work) {
                                         if (const Allocation* a = memory().find(dptr)) {
                                           const uint64_t bytes = a->size;
                                           memory().release(dptr);
                                           if (pool) uncharge(*pool, bytes);
                                         }
                                         work.finish(0);
                                       });
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool* pool_out, CUdevice dev) {
  *not_null(pool_out, "pool_out") = reinterpret_cast<CUmemoryPool>(runtime().device(dev).default_pool.get());
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetMemPool(CUmemoryPool* pool, CUdevice dev) {
  Device& device = runtime().device(dev);
  std::lock_guard lock(device.mutex);
  *not_null(pool, "pool") = reinterpret_cast<CUmemoryPool>(device.pool.get());
  return CUDA_SUCCESS;
}

CUresult cuDeviceSetMemPool(CUdevice dev, CUmemoryPool handle) {
  Device& device = runtime().device(dev);
  auto pool = pool_of(handle);
  if (pool->device != dev)
    refuse(CUDA_ERROR_INVALID_VALUE, "the pool is of device {}, not {}", pool->device, dev);
  std::lock_guard lock(device.mutex);
  device.pool = std::move(pool);
  return CUDA_SUCCESS;
}

CUresult cuMemPoolCreate(CUmemoryPool* handle, const CUmemPoolProps* props) {
  not_null(handle, "pool");
  not_null(props, "poolProps");
  if (props->allocType != CU_MEM_ALLOCATION_TYPE_PINNED)
    refuse(CUDA_ERROR_INVALID_VALUE, "allocType: expected 1 (pinned), got {}",
           static_cast<int>(props->allocType));
  if (props->handleTypes != CU_MEM_HANDLE_TYPE_NONE)
    refuse(CUDA_ERROR_NOT_SUPPORTED, "shareable pools are not implemented by the virtual device");
  if (props->location.type != CU_MEM_LOCATION_TYPE_DEVICE)
    refuse(CUDA_ERROR_NOT_SUPPORTED, "only pools on a device are implemented");
  auto pool = std::make_shared<Pool>();
  pool->device = runtime().device(props->location.id).ordinal;
  pool->max_bytes = props->maxSize;
  runtime().pools.add(pool);
  *handle = reinterpret_cast<CUmemoryPool>(pool.get());
  return CUDA_SUCCESS;
}

CUresult cuMemPoolDestroy(CUmemoryPool handle) {
  const auto pool = pool_of(handle);
  if (pool->is_default) refuse(CUDA_ERROR_INVALID_VALUE, "a device's default pool cannot be destroyed");
  Device& device = runtime().device(pool->device);
  {
    std::lock_guard lock(device.mutex);
    if (device.pool == pool) device.pool = device.default_pool;
  }
  runtime().pools.remove(pool.get());
  return CUDA_SUCCESS;
}

CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t) {
  pool_of(pool);  // nothing is held back: freed memory has already returned to the device
  return CUDA_SUCCESS;
}

CUresult cuMemPoolSetAttribute(CUmemoryPool handle, CUmemPool_attribute attr, void* value) {
  const auto pool = pool_of(handle);
  not_null(value, "value");
  std::lock_guard lock(pool->mutex);
  switch (attr) {
    case CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES:
      pool->reuse_follow_events = *static_cast<int*>(value);
      break;
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC:
      pool->reuse_opportunistic = *static_cast<int*>(value);
      break;
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES:
      pool->reuse_internal = *static_cast<int*>(value);
      break;
    case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD:
      pool->release_threshold = *static_cast<cuuint64_t*>(value);
      break;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH:
    case CU_MEMPOOL_ATTR_USED_MEM_HIGH:
      if (*static_cast<cuuint64_t*>(value) != 0)
        refuse(CUDA_ERROR_INVALID_VALUE, "a high-water mark can only be reset to 0");
      pool->used_high = pool->used;
      break;
    default:
      refuse(CUDA_ERROR_INVALID_VALUE, "pool attribute {} cannot be set", static_cast<int>(attr));
  }
  return CUDA_SUCCESS;
}

CUresult cuMemPoolGetAttribute(CUmemoryPool handle, CUmemPool_attribute attr, void* value) {
  const auto pool = pool_of(handle);
  not_null(value, "value");
  std::lock_guard lock(pool->mutex);
  switch (attr) {
    case CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES:
      *static_cast<int*>(value) = pool->reuse_follow_events;
      break;
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC:
      *static_cast<int*>(value) = pool->reuse_opportunistic;
      break;
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES:
      *static_cast<int*>(value) = pool->reuse_internal;
      break;
    case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD:
      *static_cast<cuuint64_t*>(value) = pool->release_threshold;
      break;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT:
    case CU_MEMPOOL_ATTR_USED_MEM_CURRENT:
      *static_cast<cuuint64_t*>(value) = pool->used;
      break;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH:
    case CU_MEMPOOL_ATTR_USED_MEM_HIGH:
      *static_cast<cuuint64_t*>(value) = pool->used_high;
      break;
    default:
      refuse(CUDA_ERROR_INVALID_VALUE, "unknown pool attribute {}", static_cast<int>(attr));
  }
  return CUDA_SUCCESS;
}

CUresult cuMemPoolSetAccess(CUmemoryPool handle, const CUmemAccessDesc* map, size_t count) {
  const auto pool = pool_of(handle);
  std::lock_guard lock(pool->mutex);
  for (size_t i = 0; i < count; ++i) {
    const CUmemAccessDesc& d = not_null(map, "map")[i];
    if (d.location.type != CU_MEM_LOCATION_TYPE_DEVICE)
      refuse(CUDA_ERROR_INVALID_VALUE, "access {}: only devices can be given access", i);
    runtime().device(d.location.id);
    if (d.location.id == pool->device && d.flags != CU_MEM_ACCESS_FLAGS_PROT_READWRITE)
      refuse(CUDA_ERROR_INVALID_VALUE, "the pool's own device always has access");
    pool->access[d.location.id] = d.flags;
  }
  return CUDA_SUCCESS;
}

CUresult cuMemPoolGetAccess(CUmemAccess_flags* flags, CUmemoryPool memPool, CUmemLocation* location) {
  const auto pool = pool_of(memPool);
  if (not_null(location, "location")->type != CU_MEM_LOCATION_TYPE_DEVICE)
    refuse(CUDA_ERROR_INVALID_VALUE, "location type: expected 1 (device), got {}",
           static_cast<int>(location->type));
  runtime().device(location->id);
  std::lock_guard lock(pool->mutex);
  const auto it = pool->access.find(location->id);
  *not_null(flags, "flags") = location->id == pool->device ? CU_MEM_ACCESS_FLAGS_PROT_READWRITE
                              : it == pool->access.end()   ? CU_MEM_ACCESS_FLAGS_PROT_NONE
                                                           : it->second;
  return CUDA_SUCCESS;
}

// ---- Pointer attributes
// ---------------------------------------------------------------------------------------------------

namespace {

// Writes one attribute; false when the pointer is of no known memory.
bool pointer_attribute(void* data, CUpointer_attribute attribute, CUdeviceptr ptr) {
  const Allocation* a = memory().find(ptr);
  if (!a) return false;
  Owner owner;
  {
    std::lock_guard lock(runtime().owners_mutex);
    // Module variables belong to no owner: their context is not known to the API.
    if (auto it = runtime().owners.find(a->base); it != runtime().owners.end()) owner = it->second;
  }
  const bool managed = std::strcmp(a->kind, kManaged) == 0, host = a->device == kHostDevice;
  auto write = [&](auto value) {
    std::memcpy(data, &value, sizeof value);
    return true;
  };
  switch (attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT:
      return write(reinterpret_cast<CUcontext>(owner.context.lock().get()));
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
      return write(static_cast<unsigned>(host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE));
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
      return write(ptr);
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
      if (!host && !managed) refuse(CUDA_ERROR_INVALID_VALUE, "the host has no pointer to device memory");
      return write(reinterpret_cast<void*>(ptr));
    case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
      return write(int{0});
    case CU_POINTER_ATTRIBUTE_BUFFER_ID:
      return write(static_cast<unsigned long long>(a->id));
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
      return write(static_cast<unsigned char>(managed));
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL: {
      const auto context = owner.context.lock();
      return write(host ? (context ? context->device.ordinal : 0) : static_cast<int>(a->device));
    }
    case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
      return write(static_cast<unsigned char>(0));
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
      return write(static_cast<CUdeviceptr>(a->base));
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
      return write(static_cast<size_t>(a->size));
    case CU_POINTER_ATTRIBUTE_MAPPED:
      return write(static_cast<unsigned char>(1));
    case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
      return write(uint64_t{0});
    case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
      return write(static_cast<unsigned char>(0));
    case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS:
      return write(CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
    case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
      return write(reinterpret_cast<CUmemoryPool>(owner.pool.get()));
    case CU_POINTER_ATTRIBUTE_MAPPING_SIZE:
      return write(static_cast<size_t>(a->size));
    case CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR:
      return write(static_cast<CUdeviceptr>(a->base));
    case CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID:
      return write(static_cast<unsigned long long>(a->id));
    case CU_POINTER_ATTRIBUTE_IS_HW_DECOMPRESS_CAPABLE:
      return write(static_cast<unsigned char>(0));
    case CU_POINTER_ATTRIBUTE_P2P_TOKENS:
      refuse(CUDA_ERROR_NOT_SUPPORTED, "peer-to-peer tokens are not implemented");
  }
  refuse(CUDA_ERROR_INVALID_VALUE, "unknown pointer attribute {}", static_cast<int>(attribute));
}

}  // namespace

CUresult cuPointerGetAttribute(void* data, CUpointer_attribute attribute, CUdeviceptr ptr) {
  not_null(data, "data");
  if (!pointer_attribute(data, attribute, ptr))
    refuse(CUDA_ERROR_INVALID_VALUE, "not memory of this driver: {}", memory().describe(ptr));
  return CUDA_SUCCESS;
}

CUresult cuPointerGetAttributes(unsigned int numAttributes, CUpointer_attribute* attributes, void** data,
                                CUdeviceptr ptr) {
  not_null(attributes, "attributes");
  not_null(data, "data");
  for (unsigned i = 0; i < numAttributes; ++i) {
    const bool known = pointer_attribute(not_null(data[i], "data[i]"), attributes[i], ptr);
    // For an unknown pointer the values are zero (or -2 for the ordinal) and the call succeeds, as
    // documented.
    if (known) continue;
    switch (attributes[i]) {
      case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
        *static_cast<int*>(data[i]) = -2;
        break;
      case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
      case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
      case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS:
        *static_cast<unsigned*>(data[i]) = 0;
        break;
      case CU_POINTER_ATTRIBUTE_IS_MANAGED:
      case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
      case CU_POINTER_ATTRIBUTE_MAPPED:
      case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
      case CU_POINTER_ATTRIBUTE_IS_HW_DECOMPRESS_CAPABLE:
        *static_cast<unsigned char*>(data[i]) = 0;
        break;
      default:
        *static_cast<uint64_t*>(data[i]) = 0;
    }
  }
  return CUDA_SUCCESS;
}

CUresult cuPointerSetAttribute(const void* value, CUpointer_attribute attribute, CUdeviceptr ptr) {
  not_null(value, "value");
  if (attribute != CU_POINTER_ATTRIBUTE_SYNC_MEMOPS)
    refuse(CUDA_ERROR_INVALID_VALUE, "pointer attribute {} cannot be set", static_cast<int>(attribute));
  if (!memory().find(ptr))
    refuse(CUDA_ERROR_INVALID_VALUE, "not memory of this driver: {}", memory().describe(ptr));
  refuse(CUDA_ERROR_NOT_SUPPORTED,
         "CU_POINTER_ATTRIBUTE_SYNC_MEMOPS is not implemented by the virtual device");
}

}  // namespace ptxops::virt::api
