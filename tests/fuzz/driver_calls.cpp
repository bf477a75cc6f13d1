// Sequences of driver calls with hostile arguments. Every function of the list takes part; most arguments
// come from their types alone (driver_arguments.h), the functions below need arguments that agree with each
// other; graphs and capture are in driver_graphs.h.
#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <string_view>

#include "tests/fuzz/driver_case.h"
#include "tests/fuzz/driver_graphs.h"
#include "tests/fuzz/driver_inputs.h"

namespace ptxops::fuzz {
namespace {

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

struct Call {
  const char* name;
  void (*make)(Pool&);
  uint16_t key() const {
    uint32_t h = 2166136261u;
    for (const char* c = name; *c; ++c) h = (h ^ static_cast<uint8_t>(*c)) * 16777619u;
    return static_cast<uint16_t>(h ^ h >> 16);
  }
};
constexpr Call kCalls[] = {
#define PTXOPS_FN(name, symbol, version, streams, client, params, args) \
  {#symbol, [](Pool& pool) { make_call(Is_##symbol{}, driver().symbol, pool); }},
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
  for (CUgraphExec e : pool.of<CUgraphExec>()) cuda.cuGraphExecDestroy(e);
  for (CUgraph g : pool.of<CUgraph>()) cuda.cuGraphDestroy(g);
  CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
  FUZZ_CHECK(cuda.cuThreadExchangeStreamCaptureMode(&mode) == CUDA_SUCCESS, "mode of capture");
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
