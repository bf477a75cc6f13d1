// cuMemcpy* and cuMemset*.
#include "driver/virtual/api/entry.h"
#include "driver/virtual/api/transfer.h"

namespace ptxops::virt::api {
namespace {

Transfer linear(uint64_t to, bool to_device, uint64_t from, bool from_device, size_t bytes) {
  Transfer t;
  t.to = {to, to_device, 0, 0};
  t.from = {from, from_device, 0, 0};
  t.width = bytes;
  return t;
}

uint64_t address_of(const void* p) {
  return reinterpret_cast<uint64_t>(p);
}

// Unpinned host memory is copied before the call returns, as the real driver stages it.
bool must_wait(const Transfer& t, bool synchronous) {
  auto unpinned = [&](const Box& b) { return !b.on_device && !is_known_memory(b.address, t.width); };
  return synchronous ? !t.to.on_device || !t.from.on_device : unpinned(t.to) || unpinned(t.from);
}

CUresult issue(const Transfer& t, CUstream stream, bool synchronous) {
  copy(resolve_stream(stream), t, must_wait(t, synchronous));
  return CUDA_SUCCESS;
}

// With unified addressing, a pointer is device memory where an allocation of ours holds it, or held it until
// it was freed; else host memory.
bool is_device_address(uint64_t address) {
  const Memory& memory = Runtime::get().memory();
  return memory.owns(address) || memory.find(address);
}
Transfer unified(CUdeviceptr dst, CUdeviceptr src, size_t bytes) {
  return linear(dst, is_device_address(dst), src, is_device_address(src), bytes);
}

Box side(const char* what, CUmemorytype type, const void* host, CUdeviceptr device, uint64_t pitch,
         uint64_t slice, uint64_t offset) {
  switch (type) {
    case CU_MEMORYTYPE_HOST:
      // Null stays null, to be refused as such.
      return {host ? address_of(host) + offset : 0, false, pitch, slice};
    case CU_MEMORYTYPE_DEVICE:
      return {device + offset, true, pitch, slice};
    case CU_MEMORYTYPE_UNIFIED:
      return {device + offset, is_device_address(device + offset), pitch, slice};
    case CU_MEMORYTYPE_ARRAY:
      refuse(CUDA_ERROR_NOT_SUPPORTED, "{} is a CUDA array: arrays are not implemented by the virtual device",
             what);
  }
  refuse(CUDA_ERROR_INVALID_VALUE, "{} memory type: expected 1..4, got {}", what, static_cast<int>(type));
}

Transfer box_of(const CUDA_MEMCPY2D* p) {
  not_null(p, "pCopy");
  Transfer t;
  t.width = p->WidthInBytes;
  t.height = p->Height;
  t.to = side("destination", p->dstMemoryType, p->dstHost, p->dstDevice, p->dstPitch, 0,
              p->dstY * p->dstPitch + p->dstXInBytes);
  t.from = side("source", p->srcMemoryType, p->srcHost, p->srcDevice, p->srcPitch, 0,
                p->srcY * p->srcPitch + p->srcXInBytes);
  return t;
}

Transfer box_of(const CUDA_MEMCPY3D* p) {
  not_null(p, "pCopy");
  Transfer t;
  t.width = p->WidthInBytes;
  t.height = p->Height;
  t.depth = p->Depth;
  const uint64_t to_slice = p->dstPitch * p->dstHeight, from_slice = p->srcPitch * p->srcHeight;
  t.to = side("destination", p->dstMemoryType, p->dstHost, p->dstDevice, p->dstPitch, to_slice,
              p->dstZ * to_slice + p->dstY * p->dstPitch + p->dstXInBytes);
  t.from = side("source", p->srcMemoryType, p->srcHost, p->srcDevice, p->srcPitch, from_slice,
                p->srcZ * from_slice + p->srcY * p->srcPitch + p->srcXInBytes);
  return t;
}

CUresult set(CUdeviceptr address, size_t pitch, uint32_t value, uint32_t bytes, size_t width, size_t height,
             CUstream stream) {
  fill(resolve_stream(stream), address, pitch, value, bytes, width, height);
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuMemcpy(CUdeviceptr dst, CUdeviceptr src, size_t ByteCount) {
  return issue(unified(dst, src, ByteCount), nullptr, true);
}
CUresult cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, size_t ByteCount, CUstream hStream) {
  return issue(unified(dst, src, ByteCount), hStream, false);
}
CUresult cuMemcpyHtoD_v2(CUdeviceptr dstDevice, const void* srcHost, size_t ByteCount) {
  return issue(linear(dstDevice, true, address_of(srcHost), false, ByteCount), nullptr, true);
}
CUresult cuMemcpyDtoH_v2(void* dstHost, CUdeviceptr srcDevice, size_t ByteCount) {
  return issue(linear(address_of(dstHost), false, srcDevice, true, ByteCount), nullptr, true);
}
CUresult cuMemcpyDtoD_v2(CUdeviceptr dstDevice, CUdeviceptr srcDevice, size_t ByteCount) {
  return issue(linear(dstDevice, true, srcDevice, true, ByteCount), nullptr, true);
}
CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr dstDevice, const void* srcHost, size_t ByteCount,
                              CUstream hStream) {
  return issue(linear(dstDevice, true, address_of(srcHost), false, ByteCount), hStream, false);
}
CUresult cuMemcpyDtoHAsync_v2(void* dstHost, CUdeviceptr srcDevice, size_t ByteCount, CUstream hStream) {
  return issue(linear(address_of(dstHost), false, srcDevice, true, ByteCount), hStream, false);
}
CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr dstDevice, CUdeviceptr srcDevice, size_t ByteCount,
                              CUstream hStream) {
  return issue(linear(dstDevice, true, srcDevice, true, ByteCount), hStream, false);
}

CUresult cuMemcpyPeerAsync(CUdeviceptr dstDevice, CUcontext dstContext, CUdeviceptr srcDevice,
                           CUcontext srcContext, size_t ByteCount, CUstream hStream) {
  Runtime::get().context(dstContext);
  Runtime::get().context(srcContext);
  return issue(linear(dstDevice, true, srcDevice, true, ByteCount), hStream, false);
}
CUresult cuMemcpyPeer(CUdeviceptr dstDevice, CUcontext dstContext, CUdeviceptr srcDevice,
                      CUcontext srcContext, size_t ByteCount) {
  return api::cuMemcpyPeerAsync(dstDevice, dstContext, srcDevice, srcContext, ByteCount, nullptr);
}

CUresult cuMemcpy2D_v2(const CUDA_MEMCPY2D* pCopy) {
  return issue(box_of(pCopy), nullptr, true);
}
CUresult cuMemcpy2DUnaligned_v2(const CUDA_MEMCPY2D* pCopy) {
  return issue(box_of(pCopy), nullptr, true);
}
CUresult cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D* pCopy, CUstream hStream) {
  return issue(box_of(pCopy), hStream, false);
}
CUresult cuMemcpy3D_v2(const CUDA_MEMCPY3D* pCopy) {
  return issue(box_of(pCopy), nullptr, true);
}
CUresult cuMemcpy3DAsync_v2(const CUDA_MEMCPY3D* pCopy, CUstream hStream) {
  return issue(box_of(pCopy), hStream, false);
}

CUresult cuMemsetD8_v2(CUdeviceptr dstDevice, unsigned char uc, size_t N) {
  return set(dstDevice, 0, uc, 1, N, 1, nullptr);
}
CUresult cuMemsetD16_v2(CUdeviceptr dstDevice, unsigned short us, size_t N) {
  return set(dstDevice, 0, us, 2, N, 1, nullptr);
}
CUresult cuMemsetD32_v2(CUdeviceptr dstDevice, unsigned int ui, size_t N) {
  return set(dstDevice, 0, ui, 4, N, 1, nullptr);
}
CUresult cuMemsetD8Async(CUdeviceptr dstDevice, unsigned char uc, size_t N, CUstream hStream) {
  return set(dstDevice, 0, uc, 1, N, 1, hStream);
}
CUresult cuMemsetD16Async(CUdeviceptr dstDevice, unsigned short us, size_t N, CUstream hStream) {
  return set(dstDevice, 0, us, 2, N, 1, hStream);
}
CUresult cuMemsetD32Async(CUdeviceptr dstDevice, unsigned int ui, size_t N, CUstream hStream) {
  return set(dstDevice, 0, ui, 4, N, 1, hStream);
}
CUresult cuMemsetD2D8_v2(CUdeviceptr dstDevice, size_t dstPitch, unsigned char uc, size_t Width,
                         size_t Height) {
  return set(dstDevice, dstPitch, uc, 1, Width, Height, nullptr);
}
CUresult cuMemsetD2D16_v2(CUdeviceptr dstDevice, size_t dstPitch, unsigned short us, size_t Width,
                          size_t Height) {
  return set(dstDevice, dstPitch, us, 2, Width, Height, nullptr);
}
CUresult cuMemsetD2D32_v2(CUdeviceptr dstDevice, size_t dstPitch, unsigned int ui, size_t Width,
                          size_t Height) {
  return set(dstDevice, dstPitch, ui, 4, Width, Height, nullptr);
}
CUresult cuMemsetD2D8Async(CUdeviceptr dstDevice, size_t dstPitch, unsigned char uc, size_t Width,
                           size_t Height, CUstream hStream) {
  return set(dstDevice, dstPitch, uc, 1, Width, Height, hStream);
}
CUresult cuMemsetD2D16Async(CUdeviceptr dstDevice, size_t dstPitch, unsigned short us, size_t Width,
                            size_t Height, CUstream hStream) {
  return set(dstDevice, dstPitch, us, 2, Width, Height, hStream);
}
CUresult cuMemsetD2D32Async(CUdeviceptr dstDevice, size_t dstPitch, unsigned int ui, size_t Width,
                            size_t Height, CUstream hStream) {
  return set(dstDevice, dstPitch, ui, 4, Width, Height, hStream);
}

}  // namespace ptxops::virt::api
