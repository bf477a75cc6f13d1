// Shuffles within the warp, shared memory between warps, one atomic a block.
//! launch grid 5 block 256
//! buffer in 1280 random
//! buffer sum 1 zero
//! buffer largest 5 fresh
//! value n 1200
//! expect sum[i] = sum(1200, in[j] & 0xffff)
//! expect largest[i] = 255
#include <cstdint>

extern "C" __global__ void k(const uint32_t* __restrict__ in, uint32_t* sum, uint32_t* largest, uint64_t n) {
  __shared__ uint32_t partial[8];
  const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  uint32_t v = i < n ? in[i] & 0xffff : 0;
  for (int d = 16; d; d /= 2) v += __shfl_xor_sync(0xffffffff, v, d);
  if (lane == 0) partial[warp] = v;
  __syncthreads();
  if (warp == 0) {
    v = lane < 8 ? partial[lane] : 0;
    for (int d = 4; d; d /= 2) v += __shfl_down_sync(0xffffffff, v, d);
    if (lane == 0) atomicAdd(sum, v);
  }
  // The same shared memory again, for the index of the last thread; redux and vote.
  __syncthreads();
  const uint32_t top = __reduce_max_sync(0xffffffff, threadIdx.x);
  if (lane == 0) partial[warp] = top;
  if (__syncthreads_or(threadIdx.x == 300)) partial[0] = 0;
  if (threadIdx.x < 8) {
    uint32_t best = partial[threadIdx.x];
    best = max(best, __shfl_xor_sync(0xff, best, 4));
    best = max(best, __shfl_xor_sync(0xff, best, 2));
    best = max(best, __shfl_xor_sync(0xff, best, 1));
    if (threadIdx.x == 0) largest[blockIdx.x] = best;
  }
}
