// Kernel launches and occupancy.
#include <algorithm>

#include "driver/virtual/api/capture.h"
#include "driver/virtual/api/entry.h"

namespace ptxops::virt::api {
namespace {

CUresult launch(const LaunchRequest& request, CUfunction handle, CUstream hStream, void** values,
                void** extra) {
  const StreamRef stream = resolve_stream(hStream);
  const auto function = resolve_function(handle);
  if (context_of(*function) != stream.context)
    refuse(CUDA_ERROR_INVALID_HANDLE, "kernel {} and the stream belong to different contexts",
           function->kernel->name);
  issue(stream, make_launch(function, request, values, extra));
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
