// What the decoders of memory instructions share.
#pragma once

#include <algorithm>
#include <cstdint>

#include "driver/virtual/exec/access.h"
#include "driver/virtual/exec/decode.h"

namespace ptxops::virt {

// Register image of one lane of a T: 4, 8 or 16 bytes, zero-extended.
using u128 = unsigned __int128;
template <class T>
using LaneOf = std::conditional_t<(sizeof(T) <= 4), uint32_t, T>;

inline Order order_of(const isa::Instruction& in) {
  if (in.has("acq_rel")) return Order::acq_rel;
  if (in.has("acquire")) return Order::acquire;
  if (in.has("release")) return Order::release;
  if (in.has("relaxed") || in.has("volatile")) return Order::relaxed;
  return Order::weak;
}

// .volatile and .mmio are relaxed at system scope; atomics without scope have gpu scope.
inline Scope scope_of(const isa::Instruction& in) {
  if (in.has("sys") || in.has("volatile") || in.has("mmio")) return Scope::sys;
  if (in.has("cluster")) return Scope::cluster;
  return in.has("cta") ? Scope::cta : Scope::gpu;
}

// Op::f of loads, stores and atomics.
constexpr uint32_t kNonCoherent = 1u << 24;
inline uint32_t pack(Space space, Order order, Scope scope) {
  return static_cast<uint32_t>(space) | static_cast<uint32_t>(order) << 8 |
         static_cast<uint32_t>(scope) << 16;
}
inline Space space_of(const Op& op) {
  return static_cast<Space>(op.f & 0xFF);
}
inline Order order_of(const Op& op) {
  return static_cast<Order>(op.f >> 8 & 0xFF);
}
inline Scope scope_of(const Op& op) {
  return static_cast<Scope>(op.f >> 16 & 0xFF);
}
inline Access access_of(const Op& op, AccessKind kind, uint32_t bytes) {
  return {.space = space_of(op),
          .kind = kind,
          .size = bytes,
          .alignment = bytes,
          .order = order_of(op),
          .scope = scope_of(op),
          .non_coherent = (op.f & kNonCoherent) != 0};
}

// A 16-byte load that is one access on every x86-64 processor. It writes back what it read, so the page must
// be writable, which device memory is.
__attribute__((target("cx16"))) inline u128 load128(std::byte* p) {
  return __sync_val_compare_and_swap(reinterpret_cast<u128*>(p), u128{0}, u128{0});
}

// One access of memory that other host threads may be writing.
template <class T>
T load_atomic(std::byte* p, Order order) {
  if constexpr (sizeof(T) == 16) {
    return load128(p);
  } else {
    return __atomic_load_n(reinterpret_cast<T*>(p),
                           order == Order::acquire ? __ATOMIC_ACQUIRE : __ATOMIC_RELAXED);
  }
}

// Issue cycles of moving `bytes` a lane: the load/store unit takes a warp instruction every second cycle and
// moves 128 bytes a cycle.
inline uint16_t access_cost(uint32_t bytes) {
  return static_cast<uint16_t>(std::max(2u, bytes * kLanes / 128));
}

}  // namespace ptxops::virt
