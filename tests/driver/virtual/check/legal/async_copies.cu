// The primitives: __pipeline_memcpy_async with groups, cg::memcpy_async, and a bulk copy by cuda::memcpy_async with a
// cuda::barrier that counts bytes.
//! launch block 64
//! buffer in 256 random
//! buffer out 64 fresh
//! expect out[i] = in[i ^ 3] + in[64 + (i ^ 5)] + in[128 + (i ^ 7)] + in[192 + (i ^ 9)]
#include <cooperative_groups.h>
#include <cooperative_groups/memcpy_async.h>
#include <cuda/barrier>
#include <cuda/ptx>
#include <cuda_pipeline.h>
#include <cstdint>
namespace cg = cooperative_groups;

extern "C" __global__ void k(const uint32_t* in, uint32_t* out) {
  __shared__ __align__(128) uint32_t tile[4][64];
#pragma nv_diag_suppress static_var_with_dynamic_init
  __shared__ cuda::barrier<cuda::thread_scope_block> barrier;
  const uint32_t t = threadIdx.x;
  const auto block = cg::this_thread_block();
  if (t == 0) {
    init(&barrier, 64);
    cuda::ptx::fence_proxy_async(cuda::ptx::space_shared);
  }
  __syncthreads();
  __pipeline_memcpy_async(&tile[0][t], in + t, 4);
  __pipeline_commit();
  if (t < 16) __pipeline_memcpy_async(&tile[1][4 * t], in + 64 + 4 * t, 16);
  __pipeline_commit();
  __pipeline_wait_prior(1);
  __syncthreads();
  uint32_t v = tile[0][t ^ 3];
  __pipeline_wait_prior(0);
  __syncthreads();
  v += tile[1][t ^ 5];

  cg::memcpy_async(block, tile[2], in + 128, 256);
  cg::wait(block);
  v += tile[2][t ^ 7];

  cuda::barrier<cuda::thread_scope_block>::arrival_token token;
  if (t == 0) {
    cuda::device::memcpy_async_tx(tile[3], in + 192, cuda::aligned_size_t<16>(256), barrier);
    token = cuda::device::barrier_arrive_tx(barrier, 1, 256);
  } else {
    token = barrier.arrive();
  }
  barrier.wait(std::move(token));
  v += tile[3][t ^ 9];
  out[t] = v;
}
