// The sample threadFenceReduction, once with __threadfence and atomicInc, once with cuda::atomic_ref.
//! launch grid 6 block 64
//! buffer in 384 random
//! buffer partial 12 fresh
//! buffer counters 2 zero
//! buffer out 2 fresh
//! expect out[0] = sum(384, in[j])
//! expect out[1] = sum(384, in[j]) * 2
//! expect partial[0..5] = sum(64, in[i * 64 + j])
//! expect partial[6..11] = sum(64, in[i * 64 - 384 + j]) * 2
#include <cuda/atomic>
#include <cstdint>

extern "C" __global__ void k(const uint32_t* in, volatile uint32_t* partial, uint32_t* counters, uint32_t* out) {
  __shared__ uint32_t tile[64];
  __shared__ bool last;
  const uint32_t t = threadIdx.x;
  tile[t] = in[blockIdx.x * 64 + t];
  __syncthreads();
  for (uint32_t half = 32; half; half /= 2) {
    if (t < half) tile[t] += tile[t + half];
    __syncthreads();
  }
  if (t == 0) {
    partial[blockIdx.x] = tile[0];
    __threadfence();
    last = atomicInc(counters, gridDim.x - 1) == gridDim.x - 1;
  }
  __syncthreads();
  if (last && t == 0) {
    uint32_t sum = 0;
    for (uint32_t b = 0; b < gridDim.x; ++b) sum += partial[b];
    out[0] = sum;
  }
  if (t == 0) {
    const_cast<uint32_t*>(partial)[6 + blockIdx.x] = 2 * tile[0];
    cuda::atomic_ref<uint32_t, cuda::thread_scope_device> counter(counters[1]);
    if (counter.fetch_add(1, cuda::memory_order_acq_rel) == gridDim.x - 1) {
      uint32_t sum = 0;
      for (uint32_t b = 0; b < gridDim.x; ++b) sum += const_cast<uint32_t*>(partial)[6 + b];
      out[1] = sum;
    }
  }
}
