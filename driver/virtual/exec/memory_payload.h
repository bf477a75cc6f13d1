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

// Memory order of a strong access; `weak` ones are plain copies.
enum class Order : uint8_t { weak, relaxed, acquire, release };

inline Order order_of(const isa::Instruction& in) {
  if (in.has("acquire")) return Order::acquire;
  if (in.has("release")) return Order::release;
  if (in.has("relaxed") || in.has("volatile")) return Order::relaxed;
  return Order::weak;
}

// Op::f of loads, stores and atomics.
inline uint32_t pack(Space space, Order order) {
  return static_cast<uint32_t>(space) | static_cast<uint32_t>(order) << 8;
}
inline Space space_of(const Op& op) {
  return static_cast<Space>(op.f & 0xFF);
}
inline Order order_of(const Op& op) {
  return static_cast<Order>(op.f >> 8 & 0xFF);
}

// Issue cycles of moving `bytes` a lane: the load/store unit takes a warp instruction every second cycle and
// moves 128 bytes a cycle.
inline uint16_t access_cost(uint32_t bytes) {
  return static_cast<uint16_t>(std::max(2u, bytes * kLanes / 128));
}

}  // namespace ptxops::virt
