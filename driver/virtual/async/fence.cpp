// Fences. Clusters on different workers share global memory, so wide fences order the host's accesses too;
// inside a cluster everything runs on one thread in program order. What a fence publishes is the checker's
// business: it attaches to `fence` below.
#include <atomic>
#include <bit>

#include "driver/virtual/check/checker.h"
#include "driver/virtual/exec/access.h"
#include "driver/virtual/exec/decode.h"
#include "driver/virtual/exec/machine.h"
#include "driver/virtual/isa/ir.h"

namespace ptxops::virt {
namespace {

// Modelled cycles, uncalibrated: waiting for outstanding stores of the thread to reach the scope.
constexpr uint16_t kCtaCost = 5, kClusterCost = 30, kGpuCost = 250, kSysCost = 500, kProxyCost = 20;

enum class FenceKind : uint32_t {
  memory,
  acquire,  // one-sided
  release,
  mbarrier_init,
  proxy_alias,
  proxy_async,
  proxy_tensormap
};

constexpr uint32_t kShared = 1, kGlobal = 2;  // state spaces of a proxy fence

// Orders this worker's accesses to global memory with those of others. ThreadSanitizer knows no fences, so
// for it a word that all fences update, which orders at least as much.
void host_fence() {
#ifdef __SANITIZE_THREAD__
  static std::atomic<uint32_t> word{0};
  word.fetch_add(1, std::memory_order_seq_cst);
#else
  std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}

// Op::e = FenceKind, Op::f = 1 when other workers may observe (gpu and sys scope), Op::d = scope, Op::b =
// state spaces, Op::c = 1 for a release of tensor maps.
Step fence(Warp& w, const Op& op, uint32_t lanes) {
  if (op.f) host_fence();
  if (!w.order) return Step::next;
  Checker& checker = *w.order->checker;
  switch (static_cast<FenceKind>(op.e)) {
    case FenceKind::memory:
      checker.fence(w, lanes, static_cast<Scope>(op.d));
      break;
    case FenceKind::acquire:
      checker.fence(w, lanes, static_cast<Scope>(op.d), true, false);
      break;
    case FenceKind::release:
      checker.fence(w, lanes, static_cast<Scope>(op.d), false, true);
      break;
    case FenceKind::mbarrier_init:
      checker.fence_mbarrier_init(w, lanes);
      break;
    case FenceKind::proxy_async:
      checker.fence_proxy_async(w, lanes, op.b & kShared, op.b & kGlobal);
      break;
    case FenceKind::proxy_tensormap:  // with semantics and scope, it is a fence of the generic proxy too
      if (op.c) checker.release_tensor_map(w, lanes);
      checker.fence(w, lanes, static_cast<Scope>(op.d));
      break;
    case FenceKind::proxy_alias:
      break;
  }
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
    const uint64_t address = w.reg<uint64_t>(op.a)[lane] + op.imm;
    if (!resolve(w, op, lane, address, access)) return Step::fault;
    if (w.order) w.order->checker->acquire_tensor_map(w, lanes, address, static_cast<Scope>(op.d));
  }
  return fence(w, op, lanes);
}

uint16_t scope_cost(const isa::Instruction& in) {
  if (in.has("sys")) return kSysCost;
  if (in.has("gpu") || in.has("gl")) return kGpuCost;
  return in.has("cluster") ? kClusterCost : kCtaCost;
}

Scope scope_of(const isa::Instruction& in) {
  if (in.has("sys")) return Scope::sys;
  if (in.has("gpu") || in.has("gl")) return Scope::gpu;
  return in.has("cluster") ? Scope::cluster : Scope::cta;
}

void decode(Decoder& d, FenceKind kind, uint16_t cost, bool wide, uint32_t spaces = kShared | kGlobal) {
  Op& op = d.emit(fence);
  op.e = static_cast<uint32_t>(kind);
  op.f = wide;
  op.b = spaces;
  op.cost = cost;
}
Op& decode_scoped(Decoder& d, const isa::Instruction& in, FenceKind kind) {
  Op& op = d.emit(fence);
  op.e = static_cast<uint32_t>(kind);
  op.d = static_cast<uint32_t>(scope_of(in));
  op.b = kShared | kGlobal;
  op.cost = scope_cost(in);
  op.f = op.cost >= kGpuCost;
  return op;
}

FenceKind sided(const isa::Instruction& in) {
  return in.has("acquire") ? FenceKind::acquire : in.has("release") ? FenceKind::release : FenceKind::memory;
}

}  // namespace

void decode_membar(Decoder& d, const isa::Instruction& in) {
  decode_scoped(d, in, FenceKind::memory);
}
void decode_fence(Decoder& d, const isa::Instruction& in) {
  decode_scoped(d, in, sided(in));
}
void decode_fence_restrict(Decoder& d, const isa::Instruction& in) {
  decode_scoped(d, in, sided(in));
}
void decode_fence_mbarrier_init(Decoder& d, const isa::Instruction& in) {
  decode_scoped(d, in, FenceKind::mbarrier_init);
}
void decode_fence_proxy_alias(Decoder& d, const isa::Instruction&) {
  decode(d, FenceKind::proxy_alias, kProxyCost, true);
}
void decode_fence_proxy_async(Decoder& d, const isa::Instruction& in) {
  const bool shared = in.space() == isa::Space::shared || in.has("shared::cluster") || in.has("shared::cta");
  const bool global = in.has("global");
  decode(d, FenceKind::proxy_async, kProxyCost, !shared,
         shared   ? kShared
         : global ? kGlobal
                  : kShared | kGlobal);
}
void decode_fence_proxy_async_generic(Decoder& d, const isa::Instruction& in) {
  decode_scoped(d, in, FenceKind::proxy_async);
}
void decode_fence_proxy_tensormap_release(Decoder& d, const isa::Instruction& in) {
  decode_scoped(d, in, FenceKind::proxy_tensormap).c = 1;
}

void decode_fence_proxy_tensormap_acquire(Decoder& d, const isa::Instruction& in) {
  int64_t displacement = 0;
  const uint32_t address = d.address(in.operands[0], displacement);
  Op& op = d.emit(acquire_tensormap);
  op.a = address;
  op.imm = static_cast<uint64_t>(displacement);
  op.e = static_cast<uint32_t>(FenceKind::proxy_tensormap);
  op.d = static_cast<uint32_t>(scope_of(in));
  op.f = scope_cost(in) >= kGpuCost;
  op.cost = scope_cost(in);
}

}  // namespace ptxops::virt
