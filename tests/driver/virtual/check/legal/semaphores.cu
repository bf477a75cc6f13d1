// cuda::latch, cuda::counting_semaphore and cuda::atomic in shared memory; a ring between two warps with acquire and
// release on its head and tail.
//! launch block 64
//! buffer in 64 random
//! buffer out 64 fresh
//! expect out[i] = in[i ^ 32] + 1
#include <cuda/atomic>
#include <cuda/latch>
#include <cuda/semaphore>
#include <cstdint>

extern "C" __global__ void k(const uint32_t* in, uint32_t* out) {
  constexpr auto kBlock = cuda::thread_scope_block;
  using Latch = cuda::latch<kBlock>;
  using Semaphore = cuda::counting_semaphore<kBlock, 4>;
  __shared__ alignas(16) unsigned char latch_bytes[sizeof(Latch)], semaphore_bytes[sizeof(Semaphore)];
  Latch& ready = reinterpret_cast<Latch&>(latch_bytes);
  Semaphore& free = reinterpret_cast<Semaphore&>(semaphore_bytes);
#pragma nv_diag_suppress static_var_with_dynamic_init
  __shared__ cuda::atomic<uint32_t, kBlock> head;
  __shared__ uint32_t ring[4], back[32];
  const uint32_t lane = threadIdx.x % 32;
  if (threadIdx.x == 0) {
    new (&ready) Latch(64);
    new (&free) Semaphore(4);
    head.store(0, cuda::memory_order_relaxed);
  }
  __syncthreads();
  if (threadIdx.x >= 32) back[lane] = in[32 + lane] + 1;
  ready.arrive_and_wait();
  if (threadIdx.x < 32) {
    out[lane] = back[lane];
    if (lane == 0) {
      for (uint32_t i = 0; i < 32; ++i) {
        free.acquire();
        ring[i % 4] = in[i] + 1;
        head.store(i + 1, cuda::memory_order_release);
        head.notify_all();
      }
    }
  } else if (lane == 0) {
    for (uint32_t i = 0; i < 32; ++i) {
      head.wait(i, cuda::memory_order_acquire);
      while (head.load(cuda::memory_order_acquire) <= i) __nanosleep(10);
      out[32 + i] = ring[i % 4];
      free.release();
    }
  }
}
