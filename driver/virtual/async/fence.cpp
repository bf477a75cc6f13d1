// Fences. Clusters on different workers share global memory, so wide fences order the host's accesses too;
// inside a cluster everything runs on one thread in program order. What a fence publishes is the checker's
// business: it attaches to `fence` below.
#include <atomic>
#include <bit>

#include "driver/virtual/exec/access.h"
#include "driver/virtual/exec/decode.h"
#include "driver/virtual/exec/machine.h"
#include "driver/virtual/isa/ir.h"

namespace ptxops::virt {
namespace {

// Modelled cycles, uncalibrated: waiting for outstanding stores of the thread to reach the scope.
constexpr uint16_t kCtaCost = 5, kClusterCost = 30, kGpuCost = 250, kSysCost = 500, kProxyCost = 20;

enum class FenceKind : uint32_t { memory, mbarrier_init, proxy_alias, proxy_async, proxy_tensormap };

// Op::e = FenceKind, Op::f = 1 when other workers may observe (gpu and sys scope).
Step fence(Warp&, const Op& op, uint32_t) {
  if (op.f) std::atomic_thread_fence(std::memory_order_seq_cst);
  return Step::next;
}

// a = address slot of the 128-byte descriptor, which must exist.
Step acquire_tensormap(Warp& w, const Op& op, uint32_t lanes) {
  Access access;
  access.space = isa::Space::generic;
  access.kind = AccessKind::load;
  access.proxy = Proxy::tensormap;
  access.size = 128;
  access.alignment = 128;
  for (uint32_t m = lanes; m; m &= m - 1) {
    const int lane = std::countr_zero(m);
    if (!resolve(w, op, lane, w.reg<uint64_t>(op.a)[lane] + op.imm, access)) return Step::fault;
  }
  return fence(w, op, lanes);
}

uint16_t scope_cost(const isa::Instruction& in) {
  if (in.has("sys")) return kSysCost;
  if (in.has("gpu") || in.has("gl")) return kGpuCost;
  return in.has("cluster") ? kClusterCost : kCtaCost;
}

void decode(Decoder& d, FenceKind kind, uint16_t cost, bool wide) {
  Op& op = d.emit(fence);
  op.e = static_cast<uint32_t>(kind);
  op.f = wide;
  op.cost = cost;
}
void decode_scoped(Decoder& d, const isa::Instruction& in, FenceKind kind) {
  const uint16_t cost = scope_cost(in);
  decode(d, kind, cost, cost >= kGpuCost);
}

}  // namespace

void decode_membar(Decoder& d, const isa::Instruction& in) {
  decode_scoped(d, in, FenceKind::memory);
}
void decode_fence(Decoder& d, const isa::Instruction& in) {
  decode_scoped(d, in, FenceKind::memory);
}
void decode_fence_restrict(Decoder& d, const isa::Instruction& in) {
  decode_scoped(d, in, FenceKind::memory);
}
void decode_fence_mbarrier_init(Decoder& d, const isa::Instruction& in) {
  decode_scoped(d, in, FenceKind::mbarrier_init);
}
void decode_fence_proxy_alias(Decoder& d, const isa::Instruction&) {
  decode(d, FenceKind::proxy_alias, kProxyCost, true);
}
void decode_fence_proxy_async(Decoder& d, const isa::Instruction& in) {
  decode(d, FenceKind::proxy_async, kProxyCost,
         in.space() != isa::Space::shared && !in.has("shared::cluster"));
}
void decode_fence_proxy_async_generic(Decoder& d, const isa::Instruction& in) {
  decode_scoped(d, in, FenceKind::proxy_async);
}
void decode_fence_proxy_tensormap_release(Decoder& d, const isa::Instruction& in) {
  decode_scoped(d, in, FenceKind::proxy_tensormap);
}

void decode_fence_proxy_tensormap_acquire(Decoder& d, const isa::Instruction& in) {
  int64_t displacement = 0;
  const uint32_t address = d.address(in.operands[0], displacement);
  Op& op = d.emit(acquire_tensormap);
  op.a = address;
  op.imm = static_cast<uint64_t>(displacement);
  op.f = scope_cost(in) >= kGpuCost;
  op.cost = scope_cost(in);
}

}  // namespace ptxops::virt
