// Shared-memory histogram with atomics, grid-stride loop, merged by global atomics; match_any leaders; early exits.
//! launch grid 3 block 96
//! buffer in 1000 random
//! buffer bins 16 zero
//! value n 1000
//! expect bins[i] = sum(1000, 1 - (0 < ((in[j] ^ i) & 15)))
#include <cstdint>

extern "C" __global__ void k(const uint32_t* in, uint32_t* bins, uint64_t n) {
  __shared__ uint32_t local[16];
  if (threadIdx.x < 16) local[threadIdx.x] = 0;
  __syncthreads();
  for (uint32_t i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
    const uint32_t bin = in[i] & 15, active = __activemask(), same = __match_any_sync(active, bin);
    if (__ffs(same) - 1 == threadIdx.x % 32) atomicAdd(&local[bin], __popc(same));
  }
  __syncthreads();
  if (threadIdx.x >= 16) return;
  atomicAdd(bins + threadIdx.x, local[threadIdx.x]);
}
