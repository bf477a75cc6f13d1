// Floating-point atomics in shared and global memory, vector loads and stores, 64-bit and 128-bit values, a struct of
// halves; exact because all numbers are small integers.
//! launch grid 2 block 64
//! buffer in 512 random
//! buffer sum 2 zero
//! buffer pairs 256 fresh
//! buffer largest 2 zero
//! expect sum[0] = 0
//! expect sum[1] = 0
//! expect pairs[i] = in[i * 2] & 15
//! expect largest[0] = 127
//! expect largest[1] = 0
#include <cstdint>

extern "C" __global__ void k(const uint4* in, float* sum, uint2* pairs, unsigned long long* largest) {
  __shared__ float local;
  __shared__ double wide;
  const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  if (threadIdx.x == 0) local = 0, wide = 0;
  __syncthreads();
  const uint4 v = in[i];
  pairs[i] = make_uint2(v.x & 15, v.z & 15);
  atomicAdd(&local, static_cast<float>(v.x & 15));
  atomicAdd(&wide, static_cast<double>(v.x & 15));
  atomicMax(largest, static_cast<unsigned long long>(i));
  __syncthreads();
  if (threadIdx.x == 0) {
    atomicAdd(sum, local);
    atomicAdd(sum, -static_cast<float>(wide));
    const float before = atomicExch(sum + 1, 0.0f);
    if (before != 0) sum[1] = before;
  }
}
