// Arguments that agree with each other: modules, launches, parameters, boxes.
#pragma once

#include <algorithm>
#include <cstring>
#include <iterator>
#include <vector>

#include "tests/fuzz/driver_pool.h"

namespace ptxops::fuzz {

inline constexpr const char* kModules[] = {
    R"(.version 8.0
.target sm_90a
.address_size 64
.visible .global .align 8 .b8 table[64];
.visible .entry k(.param .u64 out, .param .u32 n) .maxntid 256 {
  .reg .b64 a; .reg .b32 n, t; .reg .pred p; .shared .b32 s[32];
  ld.param.u64 a, [out]; ld.param.u32 n, [n]; mov.u32 t, %tid.x;
  setp.lt.u32 p, t, n; @p st.global.b32 [a], t; ret;
}
.visible .entry fault() { .reg .b64 a; .reg .b32 r; mov.b64 a, 16; ld.global.b32 r, [a]; ret; }
.visible .entry spin(.param .align 16 .b8 bytes[512]) .reqntid 32 { .reg .b32 r; ld.param.b32 r, [bytes+256]; bar.sync 0; ret; }
)",
    ".version 8.0\n.target sm_90a\n.address_size 64\n.extern .shared .b8 s[];\n.visible .entry k() "
    ".reqnctapercluster 2 { .reg .b32 r; mov.u32 r, s; st.shared.b32 [s], r; barrier.cluster.arrive; "
    "barrier.cluster.wait; ret; }\n",
    ".version 8.0\n.target sm_90a\n.address_size 64\n",
    ".version 8.0\n.target sm_90a\n.entry k() { bogus; }\n",
    "",
    "\x7f"
    "ELF\x02\x01\x01",
    "\x50\xed\x55\xba\x01",
};

inline const void* image(Pool& pool) {
  return pool.null() ? nullptr : kModules[pool.feed.below(std::size(kModules))];
}

// Options with values that suit them, where the value is a pointer.
struct JitOptions {
  std::vector<CUjit_option> keys;
  std::vector<void*> values;
  explicit JitOptions(Pool& pool) {
    for (uint8_t n = pool.feed.below(6); n > 0; --n) {
      keys.push_back(static_cast<CUjit_option>(pool.feed.below(40)));
      values.push_back(reinterpret_cast<void*>(pool.feed.number()));
    }
    // One log of 64 bytes at most, whose size is told before, after or not at all.
    for (size_t i = 0; i < keys.size(); ++i) {
      const CUjit_option key = keys[i];
      if (key == CU_JIT_INFO_LOG_BUFFER || key == CU_JIT_ERROR_LOG_BUFFER)
        values[i] = pool.null() ? nullptr : pool.host(64);
      if (key == CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES || key == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES)
        values[i] = reinterpret_cast<void*>(uintptr_t{pool.feed.below(65)});
    }
  }
};

inline size_t host_bytes(Pool& pool, size_t available) {
  const size_t n = pool.size();
  // More than anybody has must be refused before it is touched.
  return n <= available || n >= uint64_t{1} << 40 ? n : n % available;
}

inline CUlaunchConfig launch_config(Pool& pool) {
  Feed& feed = pool.feed;
  CUlaunchConfig c{};
  const auto dimension = [&] {
    const uint8_t choice = feed.byte();
    return choice < 160 ? 1u : choice < 240 ? choice % 8u : static_cast<unsigned>(feed.number());
  };
  c.gridDimX = dimension(), c.gridDimY = dimension(), c.gridDimZ = dimension();
  // A long grid is legal, and takes its time.
  if (uint64_t{c.gridDimX} * c.gridDimY > 64 && c.gridDimX <= INT32_MAX) c.gridDimX %= 8, c.gridDimY %= 8;
  if (c.gridDimZ > 8 && c.gridDimZ <= 65535) c.gridDimZ %= 8;
  c.blockDimX = feed.below(2) ? 32 : dimension() * 32, c.blockDimY = dimension(), c.blockDimZ = dimension();
  c.sharedMemBytes = feed.below(4) ? feed.byte() : static_cast<unsigned>(feed.number());
  c.hStream = pool.handle<CUstream>();
  c.numAttrs = feed.below(4);
  c.attrs = static_cast<CUlaunchAttribute*>(pool.host(sizeof(CUlaunchAttribute) * c.numAttrs));
  for (unsigned i = 0; i < c.numAttrs; ++i) {
    c.attrs[i].id = static_cast<CUlaunchAttributeID>(feed.below(24));
    if (feed.below(2)) c.attrs[i].value.clusterDim = {1u + feed.below(4), 1u + feed.below(2), 1};
  }
  if (pool.null()) c.attrs = nullptr;
  return c;
}

// Room for the largest parameter of kModules at each place, and more places than any kernel has.
inline void** kernel_params(Pool& pool) {
  if (pool.feed.below(8) == 0) return nullptr;
  auto** params = static_cast<void**>(pool.host(sizeof(void*) * 4));
  for (int i = 0; i < 4; ++i) {
    params[i] = pool.host(512);
    const CUdeviceptr address = pool.device_address();
    std::memcpy(params[i], &address, sizeof address);
  }
  return params;
}

inline void** extra(Pool& pool) {
  if (pool.feed.below(4)) return nullptr;
  constexpr size_t kRoom = 1024;
  auto* size = static_cast<size_t*>(pool.host(sizeof(size_t)));
  *size = pool.feed.below(2) ? 12 : pool.feed.number() % (kRoom + 1);
  void* const list[] = {
      reinterpret_cast<void*>(kLaunchParamBufferPointer), pool.null() ? nullptr : pool.host(kRoom),
      reinterpret_cast<void*>(kLaunchParamBufferSize), pool.null() ? nullptr : size, nullptr};
  auto** copy = static_cast<void**>(pool.host(sizeof list));
  std::memcpy(copy, list, sizeof list);
  if (pool.feed.below(8) == 0) copy[0] = reinterpret_cast<void*>(pool.feed.number() | 4);  // an unknown key
  return copy;
}

// Boxes on host memory stay within the arena, by offset, pitch and extent; on device memory anything goes.
template <class Copy>
void fill_copy(Pool& pool, Copy& c) {
  Feed& feed = pool.feed;
  c.WidthInBytes = pool.size();
  c.Height = feed.below(2) ? feed.below(8) : feed.number();
  c.srcMemoryType = static_cast<CUmemorytype>(feed.below(6));
  c.dstMemoryType = static_cast<CUmemorytype>(feed.below(6));
  c.srcDevice = pool.device_address(), c.dstDevice = pool.device_address();
  c.srcPitch = pool.size(), c.dstPitch = pool.size();
  c.srcXInBytes = pool.size(), c.dstXInBytes = pool.size();
  c.srcY = feed.number(), c.dstY = feed.number();
  const auto tame = [&](auto type) { return type != CU_MEMORYTYPE_DEVICE; };
  if (tame(c.srcMemoryType) || tame(c.dstMemoryType)) {
    c.WidthInBytes %= 1024, c.Height %= 32;
    c.srcPitch %= 1025, c.dstPitch %= 1025, c.srcXInBytes %= 1024, c.dstXInBytes %= 1024;
    c.srcY %= 32, c.dstY %= 32;
    if (c.srcMemoryType == CU_MEMORYTYPE_UNIFIED) c.srcMemoryType = CU_MEMORYTYPE_DEVICE;
    if (c.dstMemoryType == CU_MEMORYTYPE_UNIFIED) c.dstMemoryType = CU_MEMORYTYPE_DEVICE;
  }
  c.srcHost = c.dstHost = Pool::arena();
}

inline CUDA_MEMCPY2D copy_2d(Pool& pool) {
  CUDA_MEMCPY2D c{};
  fill_copy(pool, c);
  return c;
}
inline CUDA_MEMCPY3D copy_3d(Pool& pool) {
  CUDA_MEMCPY3D c{};
  fill_copy(pool, c);
  c.Depth = pool.feed.number(), c.srcHeight = pool.feed.number(), c.dstHeight = pool.feed.number();
  c.srcZ = pool.feed.number(), c.dstZ = pool.feed.number();
  if (c.srcMemoryType != CU_MEMORYTYPE_DEVICE || c.dstMemoryType != CU_MEMORYTYPE_DEVICE) {
    c.Depth %= 4, c.srcZ %= 4, c.dstZ %= 4, c.srcHeight %= 64, c.dstHeight %= 64;
  }
  return c;
}

}  // namespace ptxops::fuzz
