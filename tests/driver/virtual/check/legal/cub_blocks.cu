// CUB in one block: reduction, scan, radix sort and exchange share one union of temporary storage.
//! launch block 128
//! buffer in 256 random
//! buffer total 1 fresh
//! buffer scan 256 fresh
//! buffer sorted 256 fresh
//! buffer warps 4 fresh
//! expect total[i] = sum(256, in[j] & 0xffff)
//! expect scan[i] = sum(i + 1, in[j] & 0xffff) - (in[i] & 0xffff)
//! expect sorted[i] = i
//! expect warps[i] = sum(64, in[i * 64 + j] & 0xffff)
#include <cub/block/block_exchange.cuh>
#include <cub/block/block_radix_sort.cuh>
#include <cub/block/block_reduce.cuh>
#include <cub/block/block_scan.cuh>
#include <cub/warp/warp_reduce.cuh>
#include <cstdint>

extern "C" __global__ void k(const uint32_t* in, uint32_t* total, uint32_t* scan, uint32_t* sorted, uint32_t* warps) {
  using Reduce = cub::BlockReduce<uint32_t, 128>;
  using Scan = cub::BlockScan<uint32_t, 128>;
  using Sort = cub::BlockRadixSort<uint32_t, 128, 2, uint32_t>;
  using Exchange = cub::BlockExchange<uint32_t, 128, 2>;
  using Warp = cub::WarpReduce<uint32_t>;
  __shared__ union {
    typename Reduce::TempStorage reduce;
    typename Scan::TempStorage scan;
    typename Sort::TempStorage sort;
    typename Exchange::TempStorage exchange;
    typename Warp::TempStorage warp[4];
  } storage;
  const uint32_t t = threadIdx.x;
  uint32_t v[2] = {in[2 * t] & 0xffff, in[2 * t + 1] & 0xffff};
  uint32_t sums[2], keys[2] = {(2 * t) * 89 % 256, (2 * t + 1) * 89 % 256}, values[2];
  const uint32_t sum = Reduce(storage.reduce).Sum(v[0] + v[1]);
  if (t == 0) total[0] = sum;
  __syncthreads();
  Scan(storage.scan).ExclusiveSum(v, sums);
  __syncthreads();
  Exchange(storage.exchange).BlockedToStriped(sums, sums);
  scan[t] = sums[0], scan[128 + t] = sums[1];
  __syncthreads();
  for (int i = 0; i < 2; ++i) values[i] = keys[i];
  Sort(storage.sort).Sort(keys, values);
  sorted[2 * t] = values[0], sorted[2 * t + 1] = values[1];
  __syncthreads();
  const uint32_t mine = Warp(storage.warp[t / 32]).Sum(v[0] + v[1]);
  if (t % 32 == 0) warps[t / 32] = mine;
}
