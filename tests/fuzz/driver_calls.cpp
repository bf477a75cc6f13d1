// Sequences of driver calls with hostile arguments. Every function of the list takes part; most arguments
// come from their types alone (driver_arguments.h), the functions below need arguments that agree with each
// other.
#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <string_view>

#include "tests/fuzz/driver_arguments.h"

namespace ptxops::fuzz {
namespace {

constexpr const char* kModules[] = {
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

const void* image(Pool& pool) {
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

size_t host_bytes(Pool& pool, size_t available) {
  const size_t n = pool.size();
  // More than anybody has must be refused before it is touched.
  return n <= available || n >= uint64_t{1} << 40 ? n : n % available;
}

CUlaunchConfig launch_config(Pool& pool) {
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
void** kernel_params(Pool& pool) {
  if (pool.feed.below(8) == 0) return nullptr;
  auto** params = static_cast<void**>(pool.host(sizeof(void*) * 4));
  for (int i = 0; i < 4; ++i) {
    params[i] = pool.host(512);
    const CUdeviceptr address = pool.device_address();
    std::memcpy(params[i], &address, sizeof address);
  }
  return params;
}

void** extra(Pool& pool) {
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

CUDA_MEMCPY2D copy_2d(Pool& pool) {
  CUDA_MEMCPY2D c{};
  fill_copy(pool, c);
  return c;
}
CUDA_MEMCPY3D copy_3d(Pool& pool) {
  CUDA_MEMCPY3D c{};
  fill_copy(pool, c);
  c.Depth = pool.feed.number(), c.srcHeight = pool.feed.number(), c.dstHeight = pool.feed.number();
  c.srcZ = pool.feed.number(), c.dstZ = pool.feed.number();
  if (c.srcMemoryType != CU_MEMORYTYPE_DEVICE || c.dstMemoryType != CU_MEMORYTYPE_DEVICE) {
    c.Depth %= 4, c.srcZ %= 4, c.dstZ %= 4, c.srcHeight %= 64, c.dstHeight %= 64;
  }
  return c;
}

// ---- One type for each function, and the functions that need more than their types

#define PTXOPS_FN(name, symbol, version, streams, client, params, args) \
  struct Is_##symbol {};
#define PTXOPS_NO(name, symbol, version, streams)
#include "driver/abi/functions.def"
#undef PTXOPS_FN
#undef PTXOPS_NO

template <class Tag, class Function>
void make_call(Tag, Function function, Pool& pool) {
  call_by_types(function, pool);
}
#define CASE(symbol) void make_call(Is_##symbol, [[maybe_unused]] Fn_##symbol function, Pool& pool)

template <class Function>
void name_of(Function function, Pool& pool) {
  const int room = pool.feed.below(64), device = pool.feed.below(4);
  function(pool.null() ? nullptr : static_cast<char*>(pool.host(static_cast<size_t>(room))),
           pool.feed.below(8) ? room : -room, device);
}
CASE(cuDeviceGetName) {
  name_of(function, pool);
}
CASE(cuDeviceGetPCIBusId) {
  name_of(function, pool);
}

CASE(cuModuleLoadData) {
  CUmodule module;
  if (function(&module, image(pool)) == CUDA_SUCCESS) pool.of<CUmodule>().push_back(module);
}
CASE(cuModuleLoadFatBinary) {
  make_call(Is_cuModuleLoadData{}, function, pool);
}
CASE(cuModuleLoadDataEx) {
  CUmodule module;
  JitOptions options(pool);
  if (function(&module, image(pool), static_cast<unsigned>(options.keys.size()),
               pool.null() ? nullptr : options.keys.data(),
               pool.null() ? nullptr : options.values.data()) == CUDA_SUCCESS)
    pool.of<CUmodule>().push_back(module);
}
CASE(cuLibraryLoadData) {
  CUlibrary library;
  JitOptions options(pool);
  CUlibraryOption keys[] = {static_cast<CUlibraryOption>(pool.feed.below(3))};
  void* values[] = {nullptr};
  if (function(&library, image(pool), options.keys.data(), options.values.data(),
               static_cast<unsigned>(options.keys.size()), pool.null() ? nullptr : keys,
               pool.null() ? nullptr : values, pool.feed.below(2)) == CUDA_SUCCESS)
    pool.of<CUlibrary>().push_back(library);
}
CASE(cuLibraryLoadFromFile) {
  CUlibrary library;
  JitOptions options(pool);
  if (function(&library, pool.null() ? nullptr : kNames[pool.feed.below(std::size(kNames))],
               options.keys.data(), options.values.data(), static_cast<unsigned>(options.keys.size()),
               nullptr, nullptr, 0) == CUDA_SUCCESS)
    pool.of<CUlibrary>().push_back(library);
}
template <class Handle, class Function, class Owner>
void enumerate_into(Function function, Pool& pool, Owner owner) {
  const unsigned room = pool.feed.below(8);
  auto* handles = static_cast<Handle*>(pool.host(sizeof(Handle) * room));
  std::fill(handles, handles + room, nullptr);
  if (function(pool.null() ? nullptr : handles, room, owner) == CUDA_SUCCESS)
    pool.of<Handle>().insert(pool.of<Handle>().end(), handles, handles + room);
}
CASE(cuModuleEnumerateFunctions) {
  enumerate_into<CUfunction>(function, pool, pool.handle<CUmodule>());
}
CASE(cuLibraryEnumerateKernels) {
  enumerate_into<CUkernel>(function, pool, pool.handle<CUlibrary>());
}

CASE(cuOccupancyMaxPotentialClusterSize) {
  int result;
  const CUlaunchConfig c = launch_config(pool);
  function(pool.null() ? nullptr : &result, pool.handle<CUfunction>(), pool.null() ? nullptr : &c);
}
CASE(cuOccupancyMaxActiveClusters) {
  make_call(Is_cuOccupancyMaxPotentialClusterSize{}, function, pool);
}

CASE(cuLaunchKernelEx) {
  const CUlaunchConfig c = launch_config(pool);
  const auto f = pool.handle<CUfunction>();
  function(pool.null() ? nullptr : &c, f, kernel_params(pool), extra(pool));
}
CASE(cuLaunchKernel) {
  const CUlaunchConfig c = launch_config(pool);
  const auto f = pool.handle<CUfunction>();
  function(f, c.gridDimX, c.gridDimY, c.gridDimZ, c.blockDimX, c.blockDimY, c.blockDimZ, c.sharedMemBytes,
           c.hStream, kernel_params(pool), extra(pool));
}
CASE(cuLaunchCooperativeKernel) {
  const CUlaunchConfig c = launch_config(pool);
  const auto f = pool.handle<CUfunction>();
  function(f, c.gridDimX, c.gridDimY, c.gridDimZ, c.blockDimX, c.blockDimY, c.blockDimZ, c.sharedMemBytes,
           c.hStream, kernel_params(pool));
}

// Pointers that are looked up, not followed.
void* looked_up(Pool& pool) {
  return pool.feed.below(4) ? reinterpret_cast<void*>(pool.device_address())
                            : Pool::arena() + pool.feed.take<uint16_t>();
}
CASE(cuMemFreeHost) {
  function(looked_up(pool));
}
CASE(cuMemHostUnregister) {
  function(looked_up(pool));
}
CASE(cuMemHostGetDevicePointer_v2) {
  CUdeviceptr address;
  void* p = looked_up(pool);
  if (function(pool.null() ? nullptr : &address, p, pool.feed.below(4) == 3) == CUDA_SUCCESS)
    pool.add_address(reinterpret_cast<CUdeviceptr>(p));
}
CASE(cuMemHostGetFlags) {
  unsigned flags;
  function(pool.null() ? nullptr : &flags, looked_up(pool));
}
CASE(cuMemHostRegister_v2) {
  std::byte* const p = pool.null() ? nullptr : Pool::arena() + pool.feed.take<uint16_t>();
  const size_t n = p ? host_bytes(pool, Pool::kArena / 2) : pool.size();
  // What wraps around the address space is nobody's; what merely passes the arena's end is a lie about
  // memory.
  const bool lie = n > Pool::kArena / 2 && reinterpret_cast<uint64_t>(p) + n >= reinterpret_cast<uint64_t>(p);
  if (function(p, lie ? 0 : n, pool.feed.below(16)) == CUDA_SUCCESS)
    pool.add_address(reinterpret_cast<CUdeviceptr>(p));
}
CASE(cuMemAllocHost_v2) {
  void* p;
  if (function(pool.null() ? nullptr : &p, pool.size()) == CUDA_SUCCESS)
    pool.add_address(reinterpret_cast<CUdeviceptr>(p));
}
CASE(cuMemHostAlloc) {
  void* p;
  const size_t n = pool.size();
  if (function(pool.null() ? nullptr : &p, n, pool.feed.below(16)) == CUDA_SUCCESS)
    pool.add_address(reinterpret_cast<CUdeviceptr>(p));
}
CASE(cuMemAllocPitch_v2) {
  CUdeviceptr address;
  size_t pitch;
  const size_t width = pool.size();
  size_t height = pool.feed.number();
  if (width > 0 && width < Pool::kMuch && height < uint64_t{1} << 24) height %= 64;
  if (function(pool.null() ? nullptr : &address, pool.null() ? nullptr : &pitch, width, height,
               pool.feed.below(2) ? 4 : pool.feed.byte()) == CUDA_SUCCESS)
    pool.add_address(address);
}

// Unified copies take whatever is no device memory for host memory: addresses of the pool, or the arena.
template <class Function, class... Rest>
void unified_copy(Function function, Pool& pool, Rest... rest) {
  const auto side = [&] {
    const CUdeviceptr p = pool.known_address();
    // Numbers that some call returned, such as the id of a stream, are small.
    return p >> 40 ? p : reinterpret_cast<CUdeviceptr>(Pool::arena());
  };
  const CUdeviceptr to = side(), from = side();
  // Between two host addresses only what wraps around the address space can be refused.
  const size_t n = host_bytes(pool, Pool::kArena);
  function(to, from, n > Pool::kArena && n <= UINT64_MAX - std::max(to, from) ? n % Pool::kArena : n,
           rest...);
}
CASE(cuMemcpy) {
  unified_copy(function, pool);
}
CASE(cuMemcpyAsync) {
  unified_copy(function, pool, pool.handle<CUstream>());
}
CASE(cuMemcpyHtoD_v2) {
  const CUdeviceptr to = pool.device_address();
  function(to, pool.null() ? nullptr : Pool::arena(), host_bytes(pool, Pool::kArena));
}
CASE(cuMemcpyDtoH_v2) {
  const CUdeviceptr from = pool.device_address();
  function(pool.null() ? nullptr : Pool::arena(), from, host_bytes(pool, Pool::kArena));
}
CASE(cuMemcpyHtoDAsync_v2) {
  const CUdeviceptr to = pool.device_address();
  const size_t n = host_bytes(pool, Pool::kArena);
  function(to, pool.null() ? nullptr : Pool::arena(), n, pool.handle<CUstream>());
}
CASE(cuMemcpyDtoHAsync_v2) {
  const CUdeviceptr from = pool.device_address();
  const size_t n = host_bytes(pool, Pool::kArena);
  function(pool.null() ? nullptr : Pool::arena(), from, n, pool.handle<CUstream>());
}
template <class Function, class Copy, class... Rest>
void box_copy(Function function, Pool& pool, const Copy& copy, Rest... rest) {
  function(pool.null() ? nullptr : &copy, rest...);
}
CASE(cuMemcpy2D_v2) {
  box_copy(function, pool, copy_2d(pool));
}
CASE(cuMemcpy2DUnaligned_v2) {
  box_copy(function, pool, copy_2d(pool));
}
CASE(cuMemcpy2DAsync_v2) {
  box_copy(function, pool, copy_2d(pool), pool.handle<CUstream>());
}
CASE(cuMemcpy3D_v2) {
  box_copy(function, pool, copy_3d(pool));
}
CASE(cuMemcpy3DAsync_v2) {
  box_copy(function, pool, copy_3d(pool), pool.handle<CUstream>());
}

CASE(cuMemPoolSetAccess) {
  CUmemAccessDesc list[4];
  for (auto& d : list)
    d = {{static_cast<CUmemLocationType>(pool.feed.below(3)), pool.feed.below(4)},
         static_cast<CUmemAccess_flags>(pool.feed.below(5))};
  const auto handle = pool.handle<CUmemoryPool>();
  function(handle, pool.null() ? nullptr : list, pool.feed.below(5));
}
CASE(cuPointerGetAttributes) {
  CUpointer_attribute keys[8];
  void* values[8];
  for (int i = 0; i < 8; ++i) {
    keys[i] = static_cast<CUpointer_attribute>(pool.feed.below(32));
    values[i] = pool.null() ? nullptr : pool.host(64);
  }
  const CUdeviceptr p = pool.device_address();
  function(pool.feed.below(9), pool.null() ? nullptr : keys, pool.null() ? nullptr : values, p);
}

// The function's address joins no pool.
CASE(cuGetProcAddress_v2) {
  void* found;
  CUdriverProcAddressQueryResult status;
  const char* const name = pool.null() ? nullptr : kNames[pool.feed.below(std::size(kNames))];
  const int version = pool.feed.below(2) ? 12000 : static_cast<int>(pool.feed.number());
  const cuuint64_t flags = pool.feed.number();
  function(name, pool.null() ? nullptr : &found, version, flags, pool.null() ? nullptr : &status);
  driver().cuGetProcAddress(name, pool.null() ? nullptr : &found, version, flags);
}
CASE(cuGetProcAddress) {
  make_call(Is_cuGetProcAddress_v2{}, driver().cuGetProcAddress_v2, pool);
}

CASE(cuCtxCreate_v3) {
  CUcontext context;
  CUexecAffinityParam list[2] = {};
  list[0].type = static_cast<CUexecAffinityType>(pool.feed.below(3));
  list[0].param.smCount.val = static_cast<unsigned>(pool.feed.number());
  const int n = pool.feed.below(3);
  const auto flags = static_cast<unsigned>(pool.feed.number());
  if (function(pool.null() ? nullptr : &context, pool.null() ? nullptr : list, n,
               pool.feed.below(2) ? 0 : flags, pool.feed.below(3)) == CUDA_SUCCESS)
    pool.of<CUcontext>().push_back(context);
}
CASE(cuCtxCreate_v4) {
  CUcontext context;
  CUctxCreateParams params{};
  CUexecAffinityParam affinity{};
  CUctxCigParam cig{};
  if (pool.feed.below(2)) params.execAffinityParams = &affinity, params.numExecAffinityParams = 1;
  if (pool.feed.below(2)) params.cigParams = &cig;
  if (function(pool.null() ? nullptr : &context, pool.null() ? nullptr : &params, 0, pool.feed.below(3)) ==
      CUDA_SUCCESS)
    pool.of<CUcontext>().push_back(context);
}

// Only waits that are refused, for their flags or their address: others may wait for ever, as they should.
template <class Function>
void wait_value(Function function, Pool& pool) {
  const auto stream = pool.handle<CUstream>();
  const CUdeviceptr address = pool.device_address();
  const bool bad_flags = pool.feed.below(2);
  function(stream, bad_flags ? address : address | 1, 0, bad_flags ? 4u + pool.feed.below(250) : 0u);
}
CASE(cuStreamWaitValue32_v2) {
  wait_value(function, pool);
}
CASE(cuStreamWaitValue64_v2) {
  wait_value(function, pool);
}

CASE(cuTensorMapEncodeTiled) {
  struct alignas(128) {
    std::byte bytes[256];
  } map;
  Feed& feed = pool.feed;
  cuuint64_t dims[5], strides[4];
  cuuint32_t box[5], steps[5];
  for (int d = 0; d < 5; ++d) {
    dims[d] = feed.number(), box[d] = static_cast<cuuint32_t>(feed.number());
    steps[d] = feed.below(10);
    if (d < 4) strides[d] = feed.number();
  }
  void* const address = reinterpret_cast<void*>(pool.device_address());
  function(
      pool.null() ? nullptr : reinterpret_cast<CUtensorMap*>(map.bytes + feed.below(2) * feed.below(128)),
      static_cast<CUtensorMapDataType>(feed.below(20)), feed.below(8), address, pool.null() ? nullptr : dims,
      pool.null() ? nullptr : strides, pool.null() ? nullptr : box, pool.null() ? nullptr : steps,
      static_cast<CUtensorMapInterleave>(feed.below(5)), static_cast<CUtensorMapSwizzle>(feed.below(8)),
      static_cast<CUtensorMapL2promotion>(feed.below(6)),
      static_cast<CUtensorMapFloatOOBfill>(feed.below(4)));
}
CASE(cuTensorMapReplaceAddress) {
  alignas(128) std::byte map[256] = {};
  void* const address = reinterpret_cast<void*>(pool.device_address());
  function(pool.null() ? nullptr : reinterpret_cast<CUtensorMap*>(map + pool.feed.below(128)), address);
}
#undef CASE

struct Call {
  const char* name;
  void (*make)(Pool&);
  uint16_t key() const {
    uint32_t h = 2166136261u;
    for (const char* c = name; *c; ++c) h = (h ^ static_cast<uint8_t>(*c)) * 16777619u;
    return static_cast<uint16_t>(h ^ h >> 16);
  }
};
// Graphs and stream capture take structures that point to others; no arguments are made for them yet.
constexpr bool is_fuzzed(std::string_view name) {
  return !name.starts_with("cuGraph") && name.find("Captur") == name.npos;
}
template <bool kFuzzed, class Tag, class Function>
void make_call_if(Tag tag, Function function, Pool& pool) {
  if constexpr (kFuzzed) make_call(tag, function, pool);
}
constexpr Call kCalls[] = {
#define PTXOPS_FN(name, symbol, version, streams, client, params, args) \
  {#symbol, [](Pool& pool) { make_call_if<is_fuzzed(#symbol)>(Is_##symbol{}, driver().symbol, pool); }},
#define PTXOPS_NO(name, symbol, version, streams)
#include "driver/abi/functions.def"
#undef PTXOPS_FN
#undef PTXOPS_NO
};

// By keys of the names, so that an input means the same calls when the list has grown.
const Call& call_for(uint16_t key) {
  static const std::map<uint16_t, const Call*> by_key = [] {
    std::map<uint16_t, const Call*> all;
    for (const Call& c : kCalls)
      for (uint16_t k = c.key(); !all.emplace(k, &c).second; ++k) {
      }
    return all;
  }();
  const auto it = by_key.lower_bound(key);
  return *(it == by_key.end() ? by_key.begin() : it)->second;
}

// What an input made is taken down, so that the next one starts as the first did.
void clear(Pool& pool) {
  const Driver& cuda = driver();
  for (CUcontext current; cuda.cuCtxPopCurrent_v2(&current) == CUDA_SUCCESS;) {
  }
  for (CUcontext c : pool.of<CUcontext>()) cuda.cuCtxDestroy_v2(c);
  for (CUlibrary l : pool.of<CUlibrary>()) cuda.cuLibraryUnload(l);
  for (CUmemoryPool p : pool.of<CUmemoryPool>()) cuda.cuMemPoolDestroy(p);
  for (int device = 0; device < 2; ++device) {
    while (cuda.cuDevicePrimaryCtxRelease_v2(device) == CUDA_SUCCESS) {
    }
    cuda.cuDevicePrimaryCtxSetFlags_v2(device, 0);
  }
}

void check_nothing_left() {
  const Driver& cuda = driver();
  for (int device = 0; device < 2; ++device) {
    CUcontext context;
    size_t free = 0, total = 1;
    FUZZ_CHECK(cuda.cuCtxCreate_v2(&context, 0, device) == CUDA_SUCCESS, "no context after the calls");
    FUZZ_CHECK(cuda.cuMemGetInfo_v2(&free, &total) == CUDA_SUCCESS && free == total,
               "device memory in use after the last context: " + std::to_string(total - free));
    FUZZ_CHECK(cuda.cuCtxDestroy_v2(context) == CUDA_SUCCESS, "cuCtxDestroy");
  }
}

void call(Bytes input) {
  Feed feed(input);
  Pool pool(feed);
  static const bool trace = std::getenv("PTXOPS_FUZZ_TRACE") != nullptr;
  // Most inputs begin with a context and a module: without them, every call is refused at its door.
  if (feed.below(8)) {
    CUcontext context;
    if (driver().cuCtxCreate_v2(&context, 0, 0) == CUDA_SUCCESS) pool.of<CUcontext>().push_back(context);
    CUmodule module;
    if (driver().cuModuleLoadData(&module, kModules[0]) == CUDA_SUCCESS) {
      pool.of<CUmodule>().push_back(module);
      for (const char* name : {"k", "fault", "spin"}) {
        CUfunction f;
        driver().cuModuleGetFunction(&f, module, name);
        pool.of<CUfunction>().push_back(f);
      }
    }
    CUdeviceptr memory;
    if (driver().cuMemAlloc_v2(&memory, 65536) == CUDA_SUCCESS) pool.add_address(memory);
  }
  while (!feed.empty()) {
    const Call& c = call_for(feed.take<uint16_t>());
    if (trace) std::fprintf(stderr, "%s\n", c.name);
    c.make(pool);
  }
  clear(pool);
  check_nothing_left();
}

const Registration registration("driver_calls", call, false);

}  // namespace
}  // namespace ptxops::fuzz
