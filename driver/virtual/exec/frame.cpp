// Fresh register frames: a poison pattern, then constants and special registers.
#include <cstdlib>
#include <cstring>
#include <new>
#include <unordered_map>

#include "driver/virtual/exec/control.h"
#include "driver/virtual/exec/grid.h"

namespace ptxops::virt {
namespace {

// A NaN in f32, an implausible integer, the same in every run: registers that were never written.
constexpr uint32_t kPoison = 0x7fc0dead;

template <class T>
void fill(std::byte* slot, T value) {
  T* out = reinterpret_cast<T*>(slot);
  for (uint32_t i = 0; i < kLanes; ++i) out[i] = value;
}

uint64_t uniform_special(const Warp& w, isa::Special s) {
  using isa::Special;
  const Cta& cta = *w.cta;
  const Cluster& cluster = *cta.cluster;
  const Grid& grid = *cluster.grid;
  const LaunchDesc& d = grid.desc;
  const Dim3& c = d.cluster;
  switch (s) {
    case Special::ntid_x:
      return d.block.x;
    case Special::ntid_y:
      return d.block.y;
    case Special::ntid_z:
      return d.block.z;
    case Special::ctaid_x:
      return cta.id.x;
    case Special::ctaid_y:
      return cta.id.y;
    case Special::ctaid_z:
      return cta.id.z;
    case Special::nctaid_x:
      return d.grid.x;
    case Special::nctaid_y:
      return d.grid.y;
    case Special::nctaid_z:
      return d.grid.z;
    case Special::clusterid_x:
      return cluster.id.x;
    case Special::clusterid_y:
      return cluster.id.y;
    case Special::clusterid_z:
      return cluster.id.z;
    case Special::nclusterid_x:
      return d.grid.x / c.x;
    case Special::nclusterid_y:
      return d.grid.y / c.y;
    case Special::nclusterid_z:
      return d.grid.z / c.z;
    case Special::cluster_ctaid_x:
      return cta.id.x % c.x;
    case Special::cluster_ctaid_y:
      return cta.id.y % c.y;
    case Special::cluster_ctaid_z:
      return cta.id.z % c.z;
    case Special::cluster_nctaid_x:
      return c.x;
    case Special::cluster_nctaid_y:
      return c.y;
    case Special::cluster_nctaid_z:
      return c.z;
    case Special::cluster_ctarank:
      return cta.rank;
    case Special::cluster_nctarank:
      return cluster.cta_count();
    case Special::is_explicit_cluster:
      return d.explicit_cluster ? kAllLanes : 0;
    case Special::warpid:
      return w.id;
    case Special::nwarpid:
      return 64;
    case Special::smid:
      return cta.sm;
    case Special::nsmid:
      return d.sm_count;
    case Special::gridid:
      return grid.id;
    case Special::total_smem_size:
    case Special::aggr_smem_size:
      return kSharedReserved + grid.smem_bytes;
    case Special::dynamic_smem_size:
      return d.dynamic_smem;
    case Special::reserved_smem_offset_begin:
      return 0;
    case Special::reserved_smem_offset_end:
    case Special::reserved_smem_offset_cap:
      return kSharedReserved;
    case Special::warp_sz:
      return kLanes;
    case Special::envreg1:
      return grid.workspace >> 32;
    case Special::envreg2:
      return grid.workspace & 0xffffffffu;
    default:
      return 0;  // fourth components, performance monitors, other environment registers
  }
}

void fill_special(const Warp& w, std::byte* slot, isa::Special s) {
  using isa::Special;
  uint32_t* out = reinterpret_cast<uint32_t*>(slot);
  const Dim3& block = w.cta->cluster->grid->desc.block;
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    const uint32_t thread = w.id * kLanes + lane;
    switch (s) {
      case Special::tid_x:
        out[lane] = thread % block.x;
        continue;
      case Special::tid_y:
        out[lane] = thread / block.x % block.y;
        continue;
      case Special::tid_z:
        out[lane] = thread / block.x / block.y;
        continue;
      case Special::laneid:
        out[lane] = lane;
        continue;
      case Special::lanemask_eq:
        out[lane] = 1u << lane;
        continue;
      case Special::lanemask_lt:
        out[lane] = (1u << lane) - 1;
        continue;
      case Special::lanemask_le:
        out[lane] = (2u << lane) - 1;
        continue;
      case Special::lanemask_ge:
        out[lane] = ~((1u << lane) - 1);
        continue;
      case Special::lanemask_gt:
        out[lane] = ~((2u << lane) - 1);
        continue;
      default:
        break;
    }
    if (isa::special_type(s) == isa::Type::pred) {
      *out = static_cast<uint32_t>(uniform_special(w, s));
      return;
    }
    if (isa::type_bits(isa::special_type(s)) == 64)
      fill(slot, uniform_special(w, s));
    else
      fill(slot, static_cast<uint32_t>(uniform_special(w, s)));
    return;
  }
}

constexpr size_t kBufferAlignment = 1024;  // shared memory's widest swizzle atom

using Pool = std::unordered_map<size_t, std::vector<std::byte*>>;
struct PoolOwner {
  Pool pool;
  ~PoolOwner() {
    for (auto& [bytes, buffers] : pool)
      for (std::byte* b : buffers) std::free(b);
  }
};
Pool& pool() {
  thread_local PoolOwner owner;
  return owner.pool;
}

}  // namespace

std::byte* take_buffer(size_t bytes) {
  std::vector<std::byte*>& free_buffers = pool()[bytes];
  if (!free_buffers.empty()) {
    std::byte* b = free_buffers.back();
    free_buffers.pop_back();
    return b;
  }
  void* b = std::aligned_alloc(kBufferAlignment,
                               (bytes + kBufferAlignment - 1) / kBufferAlignment * kBufferAlignment);
  if (!b) throw std::bad_alloc();
  return static_cast<std::byte*>(b);
}

void give_buffer(std::byte* buffer, size_t bytes) {
  std::vector<std::byte*>& free_buffers = pool()[bytes];
  if (free_buffers.size() < 64)
    free_buffers.push_back(buffer);
  else
    std::free(buffer);
}

void Code::fill_frame(const Warp& w, std::byte* regs, uint32_t local_base) const {
  uint32_t* words = reinterpret_cast<uint32_t*>(regs);
  for (uint32_t i = 0; i < frame_bytes / 4; ++i) words[i] = kPoison;
  const Grid& grid = *w.cta->cluster->grid;
  for (const ConstantSlot& c : constants) {
    uint64_t value = c.value;
    switch (c.base) {
      case ConstantSlot::Base::none:
        break;
      case ConstantSlot::Base::local:
        value += local_base;
        break;
      case ConstantSlot::Base::params:
        value += grid.params;
        break;
      case ConstantSlot::Base::shared: {
        const auto it = grid.kernel().shared_offset.find(c.variable);
        // A function reached only through a pointer may name variables that the kernel did not reserve.
        value = it == grid.kernel().shared_offset.end() ? 0 : value + it->second;
        break;
      }
    }
    switch (c.bytes) {
      case 1:
        std::memcpy(regs + c.offset, &value, 4);
        break;  // a predicate
      case 4:
        fill(regs + c.offset, static_cast<uint32_t>(value));
        break;
      default:
        fill(regs + c.offset, value);
        break;
    }
  }
  std::memset(regs + kCarrySlot, 0, 4);
  for (const SpecialSlot& s : specials) fill_special(w, regs + s.offset, s.special);
}

}  // namespace ptxops::virt
