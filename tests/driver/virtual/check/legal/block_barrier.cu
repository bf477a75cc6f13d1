// cuda::barrier in shared memory: arrive with a token and wait later, twice; two producers and consumers with a pair.
//! launch block 128
//! buffer in 128 random
//! buffer out 128 fresh
//! expect out[i] = in[(i + 1) % 128] + in[(i + 64) % 128]
#include <cuda/barrier>
#include <cstdint>

extern "C" __global__ void k(const uint32_t* in, uint32_t* out) {
  using Barrier = cuda::barrier<cuda::thread_scope_block>;
  __shared__ uint32_t tile[128];
#pragma nv_diag_suppress static_var_with_dynamic_init
  __shared__ Barrier barrier;
  if (threadIdx.x == 0) init(&barrier, blockDim.x);
  __syncthreads();
  tile[threadIdx.x] = in[threadIdx.x];
  auto token = barrier.arrive();
  uint32_t far = in[(threadIdx.x + 64) % 128];
  barrier.wait(std::move(token));
  const uint32_t near = tile[(threadIdx.x + 1) % 128];
  barrier.arrive_and_wait();
  tile[threadIdx.x] = near + far;
  barrier.arrive_and_wait();
  out[(threadIdx.x + 37) % 128] = tile[(threadIdx.x + 37) % 128];
}
