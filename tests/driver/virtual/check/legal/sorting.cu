// A bitonic sort, __syncwarp instead of __syncthreads where partners share a warp; a work list through shared
// atomics, processed while it grows; a reduction whose last warp goes on with volatile and __syncwarp.
//! launch block 128
//! buffer in 128 random
//! buffer sorted 128 fresh
//! buffer work 1 fresh
//! buffer total 1 fresh
//! expect sorted[i] = i * 7
//! expect work[i] = 255
//! expect total[i] = sum(128, in[j])
#include <cstdint>

extern "C" __global__ void k(const uint32_t* in, uint32_t* sorted, uint32_t* work, uint32_t* total) {
  __shared__ uint32_t keys[128], queue[256], head, tail, done;
  const uint32_t t = threadIdx.x;
  keys[t] = (t * 37 % 128) * 7;
  if (t == 0) queue[0] = 1, head = 0, tail = 1, done = 0;
  __syncthreads();
  for (uint32_t size = 2; size <= 128; size *= 2)
    for (uint32_t distance = size / 2; distance; distance /= 2) {
      const uint32_t other = t ^ distance;
      if (other > t) {
        const uint32_t a = keys[t], b = keys[other];
        if ((a > b) == ((t & size) == 0)) keys[t] = b, keys[other] = a;
      }
      // The pairs of this step and of the next one, at half the distance or, behind a stage, at `size`, lie in one warp.
      if (distance < 32 && (distance > 1 || size < 32))
        __syncwarp();
      else
        __syncthreads();
    }
  sorted[t] = keys[t];

  // Node n has children 2n and 2n+1, below 256: each generation is one round.
  for (uint32_t round = 0; round < 8; ++round) {
    const uint32_t first = head, last = tail;
    __syncthreads();
    if (t == 0) head = last;
    for (uint32_t i = first + t; i < last; i += 128) {
      const uint32_t node = queue[i];
      if (2 * node < 256) {
        const uint32_t at = atomicAdd(&tail, 2);
        queue[at] = 2 * node, queue[at + 1] = 2 * node + 1;
      }
      atomicAdd(&done, 1);
    }
    __syncthreads();
  }
  if (t == 0) work[0] = done;

  __syncthreads();
  volatile uint32_t* sums = queue;
  sums[t] = in[t];
  __syncthreads();
  if (t < 64) sums[t] += sums[t + 64];
  __syncthreads();
  if (t < 32) {
    uint32_t v = sums[t] + sums[t + 32];
    __syncwarp();
    for (uint32_t d = 16; d; d /= 2) {
      sums[t] = v;
      __syncwarp();
      v += sums[t ^ d];
      __syncwarp();
    }
    if (t == 0) total[0] = v;
  }
}
