// Thread block clusters in CUDA C++: map_shared_rank, cluster.sync, remote atomics, split arrive and wait.
//! launch grid 4 block 64 cluster 2
//! buffer in 256 random
//! buffer out 256 fresh
//! buffer count 4 fresh
//! expect out[i] = in[i ^ 64] + in[i]
//! expect count[i] = sum(128, in[i / 2 * 128 + j] >> 1 & 1) * (i % 2) + sum(128, 1 - (in[i / 2 * 128 + j] >> 1 & 1)) * (1 - i % 2)
#include <cooperative_groups.h>
#include <cstdint>
namespace cg = cooperative_groups;

extern "C" __global__ void k(const uint32_t* in, uint32_t* out, uint32_t* count) {
  __shared__ uint32_t tile[64], bin;
  const auto cluster = cg::this_cluster();
  const uint32_t i = blockIdx.x * 64 + threadIdx.x, v = in[i];
  tile[threadIdx.x] = v;
  if (threadIdx.x == 0) bin = 0;
  cluster.sync();
  const uint32_t* other = cluster.map_shared_rank(tile, cluster.block_rank() ^ 1);
  out[i] = other[threadIdx.x] + v;
  atomicAdd(cluster.map_shared_rank(&bin, v >> 1 & 1), 1);
  auto token = cluster.barrier_arrive();
  cluster.barrier_wait(std::move(token));
  if (threadIdx.x == 0) count[blockIdx.x] = bin;
}
