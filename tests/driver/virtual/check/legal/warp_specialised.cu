// Producer and consumer warps with two pairs of cuda::barrier, and named barriers from inline assembly beside them.
//! launch block 128
//! buffer in 512 random
//! buffer out 64 fresh
//! expect out[i] = sum(8, in[j * 64 + 63 - i] * (j + 1))
#include <cuda/barrier>
#include <cstdint>

extern "C" __global__ void k(const uint32_t* in, uint32_t* out) {
  using Barrier = cuda::barrier<cuda::thread_scope_block>;
#pragma nv_diag_suppress static_var_with_dynamic_init
  __shared__ Barrier full[2], empty[2];
  __shared__ uint32_t tile[2][64];
  if (threadIdx.x < 2) init(&full[threadIdx.x], 128), init(&empty[threadIdx.x], 128);
  __syncthreads();
  const uint32_t t = threadIdx.x % 64;
  if (threadIdx.x >= 64) {
    for (uint32_t i = 0; i < 8; ++i) {
      empty[i % 2].arrive_and_wait();
      tile[i % 2][t] = in[64 * i + t] * (i + 1);
      (void)full[i % 2].arrive();
    }
    asm volatile("bar.arrive 1, 128;" ::: "memory");
  } else {
    (void)empty[0].arrive();
    (void)empty[1].arrive();
    uint32_t sum = 0;
    for (uint32_t i = 0; i < 8; ++i) {
      full[i % 2].arrive_and_wait();
      sum += tile[i % 2][63 - t];
      if (i < 6) (void)empty[i % 2].arrive();
    }
    asm volatile("bar.sync 1, 128;" ::: "memory");
    tile[0][t] = sum;
    asm volatile("bar.sync 1, 64;" ::: "memory");
    out[63 - t] = tile[0][63 - t] * 1;
  }
}
