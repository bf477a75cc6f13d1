// Bulk copies from CUDA C++ through cuda::ptx: two stages, expect_tx by one thread, a bulk store of the result and a bulk
// reduction, as the CUDA programming guide shows them.
//! launch grid 2 block 64
//! buffer in 768 random
//! buffer out 768 fresh
//! buffer total 64 zero
//! expect out[i] = in[i] * 2 + 1
//! expect total[i] = sum(12, in[j * 64 + i]) * 2 + 12
#include <cuda/ptx>
#include <cstdint>
namespace ptx = cuda::ptx;

extern "C" __global__ void k(const uint32_t* in, uint32_t* out, uint32_t* total) {
  __shared__ alignas(128) uint32_t loaded[2][64];
  __shared__ alignas(128) uint32_t result[2][64];
  __shared__ alignas(8) unsigned long long full[2];
  const uint32_t t = threadIdx.x;
  in += blockIdx.x * 384, out += blockIdx.x * 384;
  const auto load = [&](int i) {
    ptx::mbarrier_arrive_expect_tx(ptx::sem_release, ptx::scope_cta, ptx::space_shared, &full[i % 2], 256);
    ptx::cp_async_bulk(ptx::space_cluster, ptx::space_global, loaded[i % 2], in + 64 * i, 256, &full[i % 2]);
  };
  if (t == 0) {
    ptx::mbarrier_init(&full[0], 1);
    ptx::mbarrier_init(&full[1], 1);
    ptx::fence_mbarrier_init(ptx::sem_release, ptx::scope_cluster);
    load(0);
  }
  __syncthreads();
  for (int i = 0; i < 6; ++i) {
    // Everybody has read the other stage before the barrier at the end of the last round.
    if (t == 0 && i + 1 < 6) load(i + 1);
    while (!ptx::mbarrier_try_wait_parity(&full[i % 2], i / 2 % 2)) {
    }
    if (t == 0) ptx::cp_async_bulk_wait_group_read(ptx::n32_t<1>());
    __syncthreads();
    result[i % 2][t] = loaded[i % 2][t] * 2 + 1;
    ptx::fence_proxy_async(ptx::space_shared);
    __syncthreads();
    if (t == 0) {
      ptx::cp_async_bulk(ptx::space_global, ptx::space_shared, out + 64 * i, result[i % 2], 256);
      ptx::cp_reduce_async_bulk(ptx::space_global, ptx::space_shared, ptx::op_add, total, result[i % 2], 256);
      ptx::cp_async_bulk_commit_group();
    }
  }
  if (t == 0) ptx::cp_async_bulk_wait_group(ptx::n32_t<0>());
}
