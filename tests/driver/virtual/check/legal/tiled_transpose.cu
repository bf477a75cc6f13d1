// A transposition through a padded tile of shared memory, then a product of matrices by tiles, integers.
//! launch grid 2,2 block 16,16
//! buffer a 1024 random
//! buffer b 1024 random
//! buffer at 1024 fresh
//! buffer c 1024 fresh
//! expect at[i] = a[i % 32 * 32 + i / 32]
//! expect c[i] = sum(32, a[i / 32 * 32 + j] * b[j * 32 + i % 32])
#include <cstdint>

extern "C" __global__ void k(const uint32_t* a, const uint32_t* b, uint32_t* at, uint32_t* c) {
  __shared__ uint32_t tile[16][17], other[16][17];
  const uint32_t x = threadIdx.x, y = threadIdx.y, column = blockIdx.x * 16 + x, row = blockIdx.y * 16 + y;
  tile[y][x] = a[row * 32 + column];
  __syncthreads();
  at[(blockIdx.x * 16 + y) * 32 + blockIdx.y * 16 + x] = tile[x][y];
  uint32_t sum = 0;
  for (uint32_t k = 0; k < 32; k += 16) {
    __syncthreads();
    tile[y][x] = a[row * 32 + k + x];
    other[y][x] = b[(k + y) * 32 + column];
    __syncthreads();
    for (uint32_t j = 0; j < 16; ++j) sum += tile[y][j] * other[j][x];
  }
  c[row * 32 + column] = sum;
}
