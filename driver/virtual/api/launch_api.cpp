// Kernel launches and occupancy.
#include <algorithm>
#include <cstring>

#include "driver/virtual/api/entry.h"
#include "driver/virtual/api/launch.h"
#include "driver/virtual/isa/ir.h"

namespace ptxops::virt::api {
namespace {

CUresult code_of(FaultKind kind) {
  switch (kind) {
    case FaultKind::none:
      return CUDA_SUCCESS;
    case FaultKind::illegal_address:
      return CUDA_ERROR_ILLEGAL_ADDRESS;
    case FaultKind::misaligned:
      return CUDA_ERROR_MISALIGNED_ADDRESS;
    case FaultKind::illegal_instruction:
      return CUDA_ERROR_ILLEGAL_INSTRUCTION;
    case FaultKind::deadlock:
    case FaultKind::timeout:
      return CUDA_ERROR_LAUNCH_TIMEOUT;
    case FaultKind::unsupported:
      return CUDA_ERROR_NOT_SUPPORTED;
    case FaultKind::never_written:
    case FaultKind::barrier:
    case FaultKind::race:
    case FaultKind::trap:
      return CUDA_ERROR_LAUNCH_FAILED;
  }
  return CUDA_ERROR_UNKNOWN;
}

// The parameter block: from an array of pointers to the values, or one buffer given in `extra`.
std::vector<std::byte> parameter_block(const Kernel& k, void** values, void** extra) {
  const isa::Function& ptx = *k.code->function;
  std::vector<std::byte> block(k.param_bytes);
  if (values && extra) refuse(CUDA_ERROR_INVALID_VALUE, "kernelParams and extra must not both be given");
  if (extra) {
    const void* buffer = nullptr;
    size_t size = 0;
    bool sized = false;
    for (size_t i = 0; extra[i] != nullptr; i += 2) {
      const uintptr_t key = reinterpret_cast<uintptr_t>(extra[i]);
      if (key == kLaunchParamBufferPointer) {
        buffer = extra[i + 1];
      } else if (key == kLaunchParamBufferSize) {
        size = *static_cast<const size_t*>(not_null(extra[i + 1], "parameter buffer size"));
        sized = true;
      } else {
        refuse(CUDA_ERROR_INVALID_VALUE, "extra[{}]: expected 0 (end), 1 (buffer) or 2 (size), got {}", i,
               key);
      }
    }
    // A C struct of the parameters may be padded at its end.
    const size_t most = (block.size() + 127) / 128 * 128;
    if (!buffer || !sized || size < block.size() || size > most)
      refuse(CUDA_ERROR_INVALID_VALUE, "parameter buffer of kernel {}: expected {} bytes, got {}{}", k.name,
             block.size(), size, buffer ? "" : " and no pointer");
    std::memcpy(block.data(), buffer, block.size());
    return block;
  }
  if (!values && !ptx.params.empty())
    refuse(CUDA_ERROR_INVALID_VALUE, "kernel {} has {} parameters, none were given", k.name,
           ptx.params.size());
  for (size_t i = 0; i < ptx.params.size(); ++i) {
    if (!values[i])
      refuse(CUDA_ERROR_INVALID_VALUE, "kernelParams[{}] of kernel {} must not be null", i, k.name);
    std::memcpy(block.data() + ptx.offset_of_param(i), values[i], ptx.params[i]->size);
  }
  return block;
}

CUresult launch(const LaunchRequest& request, CUfunction handle, CUstream hStream, void** values,
                void** extra) {
  const StreamRef stream = resolve_stream(hStream);
  const auto function = resolve_function(handle);
  const auto module = function->module.lock();
  if (!module || module->context.lock() != stream.context)
    refuse(CUDA_ERROR_INVALID_HANDLE, "kernel {} and the stream belong to different contexts",
           function->kernel->name);
  LaunchDesc desc = check_launch(*function, request, stream.context->device);
  desc.params = parameter_block(*function->kernel, values, extra);
  // The engine's own conditions, should they ever be narrower than check_launch.
  if (const std::string why = Engine::refuse(desc); !why.empty()) refuse(CUDA_ERROR_INVALID_VALUE, "{}", why);
  stream.context->enqueue(
      *stream.stream, Work::Place::inline_,
      [desc = std::move(desc), context = stream.context, program = function->program](Work& work) mutable {
        // The callback keeps code and context alive until the grid has ended.
        Engine::get().submit(std::move(desc),
                             [self = work.shared_from_this(), context, program](const LaunchResult& r) {
                               if (r.fault.kind != FaultKind::none)
                                 context->set_fault(code_of(r.fault.kind), r.fault);
                               self->finish(r.modelled_seconds);
                             });
      });
  return CUDA_SUCCESS;
}

LaunchRequest request_of(unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                         unsigned shared) {
  LaunchRequest r;
  r.grid = {gx, gy, gz};
  r.block = {bx, by, bz};
  r.dynamic_shared = shared;
  return r;
}

}  // namespace

CUresult cuLaunchKernel(CUfunction f, unsigned int gridDimX, unsigned int gridDimY, unsigned int gridDimZ,
                        unsigned int blockDimX, unsigned int blockDimY, unsigned int blockDimZ,
                        unsigned int sharedMemBytes, CUstream hStream, void** kernelParams, void** extra) {
  return launch(request_of(gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ, sharedMemBytes), f,
                hStream, kernelParams, extra);
}

CUresult cuLaunchKernelEx(const CUlaunchConfig* config, CUfunction f, void** kernelParams, void** extra) {
  not_null(config, "config");
  return launch(decode_launch(*config), f, config->hStream, kernelParams, extra);
}

CUresult cuLaunchCooperativeKernel(CUfunction f, unsigned int gridDimX, unsigned int gridDimY,
                                   unsigned int gridDimZ, unsigned int blockDimX, unsigned int blockDimY,
                                   unsigned int blockDimZ, unsigned int sharedMemBytes, CUstream hStream,
                                   void** kernelParams) {
  LaunchRequest r = request_of(gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ, sharedMemBytes);
  r.cooperative = true;
  return launch(r, f, hStream, kernelParams, nullptr);
}

// ---- Occupancy
// ----------------------------------------------------------------------------------------------------------

namespace {

void check_occupancy_flags(unsigned flags) {
  if (flags & ~unsigned{CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE})
    refuse(CUDA_ERROR_INVALID_VALUE, "flags: expected 0 or 1, got {}", flags);
}

uint32_t blocks_per_sm(const Function& f, int block_size, size_t dynamic) {
  if (block_size < 1) refuse(CUDA_ERROR_INVALID_VALUE, "blockSize: expected at least 1, got {}", block_size);
  if (static_cast<uint32_t>(block_size) > f.kernel->max_threads || dynamic > kSharedPerBlockOptin) return 0;
  return Engine::ctas_per_sm(*f.kernel, static_cast<uint32_t>(block_size), static_cast<uint32_t>(dynamic));
}

}  // namespace

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* numBlocks, CUfunction func, int blockSize,
                                                              size_t dynamicSMemSize, unsigned int flags) {
  check_occupancy_flags(flags);
  *not_null(numBlocks, "numBlocks") =
      static_cast<int>(blocks_per_sm(*resolve_function(func), blockSize, dynamicSMemSize));
  return CUDA_SUCCESS;
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* numBlocks, CUfunction func, int blockSize,
                                                     size_t dynamicSMemSize) {
  return api::cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(numBlocks, func, blockSize,
                                                                   dynamicSMemSize, 0);
}

CUresult cuOccupancyMaxPotentialBlockSizeWithFlags(int* minGridSize, int* blockSize, CUfunction func,
                                                   CUoccupancyB2DSize blockSizeToDynamicSMemSize,
                                                   size_t dynamicSMemSize, int blockSizeLimit,
                                                   unsigned int flags) {
  check_occupancy_flags(flags);
  not_null(minGridSize, "minGridSize");
  not_null(blockSize, "blockSize");
  const auto function = resolve_function(func);
  const auto context = current_context();
  int limit = static_cast<int>(function->kernel->max_threads);
  if (blockSizeLimit > 0) limit = std::min(limit, blockSizeLimit);
  // The largest block among those that keep most threads resident.
  int best_threads = 0;
  *blockSize = *minGridSize = 0;
  for (int size = (limit + 31) / 32 * 32; size > 0; size -= 32) {
    const int threads = std::min(size, limit);
    const size_t shared = blockSizeToDynamicSMemSize ? blockSizeToDynamicSMemSize(threads) : dynamicSMemSize;
    const int blocks = static_cast<int>(blocks_per_sm(*function, threads, shared));
    if (blocks * threads > best_threads) {
      best_threads = blocks * threads;
      *blockSize = threads;
      *minGridSize = blocks * context->device.profile.sm_count;
    }
  }
  return CUDA_SUCCESS;
}

CUresult cuOccupancyMaxPotentialBlockSize(int* minGridSize, int* blockSize, CUfunction func,
                                          CUoccupancyB2DSize blockSizeToDynamicSMemSize,
                                          size_t dynamicSMemSize, int blockSizeLimit) {
  return api::cuOccupancyMaxPotentialBlockSizeWithFlags(
      minGridSize, blockSize, func, blockSizeToDynamicSMemSize, dynamicSMemSize, blockSizeLimit, 0);
}

CUresult cuOccupancyAvailableDynamicSMemPerBlock(size_t* dynamicSmemSize, CUfunction func, int numBlocks,
                                                 int blockSize) {
  not_null(dynamicSmemSize, "dynamicSmemSize");
  const auto function = resolve_function(func);
  if (numBlocks < 1 || blocks_per_sm(*function, blockSize, 0) < static_cast<uint32_t>(numBlocks))
    refuse(CUDA_ERROR_INVALID_VALUE, "{} blocks of {} threads of kernel {} do not fit on a multiprocessor",
           numBlocks, blockSize, function->kernel->name);
  // Halving over the rule that launches are judged by.
  size_t low = 0, high = kSharedPerBlockOptin;
  while (low < high) {
    const size_t middle = (low + high + 1) / 2;
    if (blocks_per_sm(*function, blockSize, middle) >= static_cast<uint32_t>(numBlocks))
      low = middle;
    else
      high = middle - 1;
  }
  *dynamicSmemSize = low;
  return CUDA_SUCCESS;
}

CUresult cuOccupancyMaxActiveClusters(int* numClusters, CUfunction func, const CUlaunchConfig* config) {
  not_null(numClusters, "numClusters");
  const auto function = resolve_function(func);
  const auto context = current_context();
  const LaunchDesc desc =
      check_launch(*function, decode_launch(*not_null(config, "config")), context->device);
  const uint32_t per_sm =
      Engine::ctas_per_sm(*function->kernel, static_cast<uint32_t>(desc.block.count()), desc.dynamic_smem);
  *numClusters = static_cast<int>(
      max_active_clusters(context->device.profile, static_cast<uint32_t>(desc.cluster.count()), per_sm));
  return CUDA_SUCCESS;
}

CUresult cuOccupancyMaxPotentialClusterSize(int* clusterSize, CUfunction func, const CUlaunchConfig* config) {
  not_null(clusterSize, "clusterSize");
  const auto function = resolve_function(func);
  const auto context = current_context();
  const LaunchRequest r = decode_launch(*not_null(config, "config"));
  const uint32_t per_sm = blocks_per_sm(*function, static_cast<int>(r.block.count()), r.dynamic_shared);
  bool non_portable;
  {
    std::lock_guard lock(function->mutex);
    non_portable = function->settings.non_portable_cluster;
  }
  int size = static_cast<int>(non_portable ? kMaxCluster : kMaxPortableCluster);
  while (size > 0 && max_active_clusters(context->device.profile, static_cast<uint32_t>(size), per_sm) == 0)
    size /= 2;
  *clusterSize = size;
  return CUDA_SUCCESS;
}

}  // namespace ptxops::virt::api
