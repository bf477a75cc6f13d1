// Blocks pass a token along: cuda::atomic_ref with release and acquire, then the same with volatile and __threadfence.
//! launch grid 4 block 32
//! buffer in 128 random
//! buffer chain 160 zero
//! buffer flags 8 zero
//! buffer out 64 fresh
//! expect out[0..31] = sum(4, in[j * 32 + i])
//! expect out[32..63] = sum(4, in[j * 32 + i - 32])
#include <cuda/atomic>
#include <cstdint>

extern "C" __global__ void k(const uint32_t* in, uint32_t* chain, uint32_t* flags, uint32_t* out) {
  const uint32_t b = blockIdx.x, t = threadIdx.x;
  uint32_t v = in[b * 32 + t];
  if (b) {
    if (t == 0) {
      cuda::atomic_ref<uint32_t, cuda::thread_scope_device> flag(flags[b - 1]);
      while (flag.load(cuda::memory_order_acquire) == 0) __nanosleep(20);
    }
    __syncthreads();
    v += chain[b * 32 + t - 32];
  }
  chain[b * 32 + t] = v;
  __syncthreads();
  if (t == 0) cuda::atomic_ref<uint32_t, cuda::thread_scope_device>(flags[b]).store(1, cuda::memory_order_release);
  if (b == 3) out[t] = v;

  // Backwards, in the manner of 2010, on a fresh part: block 3 begins.
  volatile uint32_t* old_flags = flags + 4;
  v = in[b * 32 + t];
  if (b != 3) {
    if (t == 0) {
      while (old_flags[b + 1] == 0) {
      }
      __threadfence();
    }
    __syncthreads();
    v += chain[128 + t];
  }
  __syncthreads();
  chain[128 + t] = v;
  __threadfence();
  __syncthreads();
  if (t == 0) old_flags[b] = 1;
  if (b == 0) out[32 + t] = v;
}
