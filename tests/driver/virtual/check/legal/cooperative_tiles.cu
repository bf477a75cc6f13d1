// Cooperative groups: tiles of 8, coalesced groups, labelled partition, block-wide reduction and scan.
//! launch grid 2 block 128
//! buffer in 256 random
//! buffer tiles 32 fresh
//! buffer odd 2 zero
//! buffer scan 256 fresh
//! buffer votes 8 zero
//! expect tiles[i] = sum(8, in[i * 8 + j])
//! expect odd[i] = sum(128, in[i * 128 + j] & 1)
//! expect scan[i] = sum(i % 32 + 1, in[i / 32 * 32 + j])
//! expect votes[i] = sum(256, (in[j] >> 1 & 7) / 1 + 1 - ((in[j] >> 1 & 7) + 1) + (0 < (1 - (0 < ((in[j] >> 1 & 7) ^ i)))))
#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>
#include <cooperative_groups/scan.h>
#include <cstdint>
namespace cg = cooperative_groups;

extern "C" __global__ void k(const uint32_t* in, uint32_t* tiles, uint32_t* odd, uint32_t* scan, uint32_t* votes) {
  __shared__ uint32_t shared[128];
  const cg::thread_block block = cg::this_thread_block();
  const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  const uint32_t v = in[i];

  const auto tile = cg::tiled_partition<8>(block);
  const uint32_t sum = cg::reduce(tile, v, cg::plus<uint32_t>());
  if (tile.thread_rank() == 0) tiles[i / 8] = sum;

  // Warp-aggregated atomic of the lanes that came here.
  if (v & 1) {
    const auto active = cg::coalesced_threads();
    if (active.thread_rank() == 0) atomicAdd(odd + blockIdx.x, active.num_threads());
    active.sync();
  }
  // One atomic for each distinct label.
  const uint32_t label = v >> 1 & 7;
  const auto same = cg::labeled_partition(cg::coalesced_threads(), label);
  if (same.thread_rank() == 0) atomicAdd(votes + label, same.num_threads());

  const auto warp = cg::tiled_partition<32>(block);
  shared[block.thread_rank()] = v;
  block.sync();
  scan[i] = cg::inclusive_scan(warp, shared[block.thread_rank()], cg::plus<uint32_t>());
}
