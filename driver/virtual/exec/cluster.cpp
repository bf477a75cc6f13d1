// Building and taking down a cluster: CTAs with poisoned shared memory, warps with fresh frames.
#include <algorithm>
#include <cstring>

#include "driver/virtual/check/checker.h"
#include "driver/virtual/exec/control.h"
#include "driver/virtual/exec/grid.h"

namespace ptxops::virt {
namespace {

constexpr uint8_t kFreshShared = 0xFF;  // NaN in every float format, as in fresh device memory

size_t shared_bytes(const Cta& cta) {
  return cta.smem_end + kSharedReserved;
}

std::unique_ptr<Warp> make_warp(Cta& cta, const Grid& grid, uint32_t id) {
  auto warp = std::make_unique<Warp>();
  Warp& w = *warp;
  const uint64_t threads = grid.desc.block.count();
  const uint64_t left = threads - uint64_t{id} * kLanes;
  w.id = id;
  w.cta = &cta;
  w.present = left >= kLanes ? kAllLanes : (1u << left) - 1;
  w.max_registers = grid.kernel().registers;
  Frame* frame = enter_frame(w, *grid.kernel().code, nullptr, nullptr);
  w.new_split(frame->code->ops.data(), w.present, frame, nullptr);
  return warp;
}

}  // namespace

Warp::~Warp() {
  for (const auto& frame : frames) give_buffer(frame->regs, frame->code->frame_bytes);
}

Cta::~Cta() {
  if (smem) give_buffer(smem, shared_bytes(*this));
}

std::unique_ptr<Cluster> make_cluster(Grid& grid, uint64_t index) {
  const LaunchDesc& d = grid.desc;
  auto cluster = std::make_unique<Cluster>();
  cluster->grid = &grid;
  cluster->index = index;
  const Dim3 count{d.grid.x / d.cluster.x, d.grid.y / d.cluster.y, d.grid.z / d.cluster.z};
  cluster->id = {static_cast<uint32_t>(index % count.x), static_cast<uint32_t>(index / count.x % count.y),
                 static_cast<uint32_t>(index / count.x / count.y)};
  const uint32_t ctas = static_cast<uint32_t>(d.cluster.count());
  const uint32_t threads = static_cast<uint32_t>(d.block.count());
  for (uint32_t rank = 0; rank < ctas; ++rank) {
    auto cta = std::make_unique<Cta>();
    cta->cluster = cluster.get();
    cta->rank = rank;
    cta->id = {cluster->id.x * d.cluster.x + rank % d.cluster.x,
               cluster->id.y * d.cluster.y + rank / d.cluster.x % d.cluster.y,
               cluster->id.z * d.cluster.z + rank / d.cluster.x / d.cluster.y};
    cta->sm = static_cast<uint32_t>((index * ctas + rank) % d.sm_count);
    cta->smem_end = kSharedReserved + grid.smem_bytes;
    cta->smem = take_buffer(shared_bytes(*cta));
    std::memset(cta->smem, kFreshShared, shared_bytes(*cta));
    cta->smem_shadow = std::make_unique<uint8_t[]>(shared_bytes(*cta) / 8 + 8);
    for (uint32_t w = 0; w * kLanes < threads; ++w) cta->warps.push_back(nullptr);
    cluster->ctas.push_back(std::move(cta));
  }
  for (auto& cta : cluster->ctas)
    for (uint32_t w = 0; w < cta->warps.size(); ++w) {
      cta->warps[w] = make_warp(*cta, grid, w);
      cta->warps[w]->queued = true;
      cluster->ready.push_back(cta->warps[w].get());
      ++cluster->warps_live;
    }
  if (d.seed) cluster->random = d.seed * 0x9e3779b97f4a7c15ull + index + 1;
  if (d.check == CheckLevel::full) cluster->checker = std::make_shared<Checker>(*cluster);
  return cluster;
}

}  // namespace ptxops::virt
