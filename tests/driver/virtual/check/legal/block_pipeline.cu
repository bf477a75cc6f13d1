// cuda::pipeline with two stages of memcpy_async (cp.async), all threads producing and consuming.
//! launch block 64
//! buffer in 512 random
//! buffer out 64 fresh
//! expect out[i] = sum(8, in[j * 64 + (i ^ 1)])
#include <cooperative_groups.h>
#include <cuda/pipeline>
#include <cstdint>

extern "C" __global__ void k(const uint32_t* in, uint32_t* out) {
  namespace cg = cooperative_groups;
  const auto block = cg::this_thread_block();
  __shared__ __align__(16) uint32_t stage[2][64];
#pragma nv_diag_suppress static_var_with_dynamic_init
  __shared__ cuda::pipeline_shared_state<cuda::thread_scope_block, 2> state;
  auto pipeline = cuda::make_pipeline(block, &state);
  uint32_t sum = 0;
  int ahead = 0;
  for (int i = 0; i < 8; ++i) {
    for (; ahead < 8 && ahead < i + 2; ++ahead) {
      pipeline.producer_acquire();
      cuda::memcpy_async(block, stage[ahead % 2], in + 64 * ahead, cuda::aligned_size_t<16>(256), pipeline);
      pipeline.producer_commit();
    }
    pipeline.consumer_wait();
    sum += stage[i % 2][threadIdx.x ^ 1];
    pipeline.consumer_release();
  }
  out[threadIdx.x] = sum;
}
