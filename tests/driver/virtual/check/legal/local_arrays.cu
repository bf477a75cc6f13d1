// Dynamic indexing of local memory, recursion, structures with padding, half-filled arrays, bit fields, unions.
//! launch block 32
//! buffer in 32 random
//! buffer out 32 fresh
//! expect out[i] = (in[i] & 7) * 3 + 21 + (in[i] >> 8 & 0xff) + 55 + (in[i] >> 16)
#include <cstdint>

struct Padded {
  uint8_t small;
  uint32_t large;
  uint8_t last;
};
__device__ __noinline__ Padded make(uint32_t v) {
  Padded p;
  p.small = v >> 8;
  p.large = v >> 16;
  p.last = 1;
  return p;
}
__device__ __noinline__ uint32_t fibonacci(uint32_t n) {
  return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}
extern "C" __global__ void k(const uint32_t* in, uint32_t* out) {
  const uint32_t v = in[threadIdx.x];
  uint32_t table[8];
  for (uint32_t i = 0; i < 8; ++i) table[i ^ (v & 3)] = 3 * (i ^ (v & 3));
  uint32_t half[16];
  for (uint32_t i = 0; i < 8; ++i) half[2 * i] = i;
  uint32_t sum = 0;
  for (uint32_t i = 0; i < 7; ++i) sum += half[2 * (i % 8)];
  Padded copies[4];
  copies[v & 3] = make(v);
  const Padded p = copies[v & 3];
  out[threadIdx.x] = table[v & 7] + sum + p.small + fibonacci(10) * p.last + p.large;
}
