// ldmatrix, stmatrix, movmatrix: 8x8 matrices of 16-bit elements between shared memory and registers. Lane l
// holds row l/4, elements 2*(l%4) and the next: lanes 4i..4i+3 are the 16 bytes of row i.
#include <fmt/format.h>

#include <cstring>

#include "driver/virtual/async/matrix_operand.h"
#include "driver/virtual/check/checker.h"
#include "driver/virtual/exec/access.h"
#include "driver/virtual/exec/decode.h"
#include "driver/virtual/time/latency.h"

namespace ptxops::virt {
namespace {

bool whole_warp(Warp& w, const Op& op, uint32_t lanes) {
  if (lanes == kAllLanes) {
    order_lanes(w, lanes);
    return true;
  }
  w.fault(op, -1, Diagnostic::C3,
          fmt::format(
              "an .aligned matrix instruction was executed by lanes {:#010x}: expected all 32 of the warp",
              lanes));
  return false;
}

uint32_t slot(const Op& op, uint32_t matrix) {
  const uint32_t slots[4] = {op.d, op.b, op.c, op.e};
  return slots[matrix];
}

// Op: a row addresses (matrix j: lanes 8j..8j+7), imm displacement, d/b/c/e registers, f count and space.
bool locate(Warp& w, const Op& op, AccessKind kind, LaneAccess& at) {
  const uint32_t count = op.f & 0xFF, rows = count == 4 ? kAllLanes : (1u << 8 * count) - 1;
  const Access access{.space = static_cast<Space>(op.f >> 8), .kind = kind, .size = 16, .alignment = 16};
  if (!resolve_lanes(w, op, rows, w.reg<uint64_t>(op.a), static_cast<int64_t>(op.imm), access, at))
    return false;
  const uint32_t latency = charge_lanes(w, rows, at);
  if (kind == AccessKind::load)
    w.load_ready = std::max(w.load_ready, w.clock + latency + latency::kMatrixExtra);
  else
    ++w.cta->cluster->progress;
  return true;
}

void transpose(const std::byte* const* rows, std::byte* columns) {
  std::byte* out[8];
  for (uint32_t i = 0; i < 8; ++i) out[i] = columns + 16 * i;
  transpose_8x8(rows, out);
}

template <bool kTranspose>
Step ldmatrix(Warp& w, const Op& op, uint32_t lanes) {
  LaneAccess at;
  if (!whole_warp(w, op, lanes) || !locate(w, op, AccessKind::load, at)) return Step::fault;
  for (uint32_t j = 0; j < (op.f & 0xFF); ++j) {
    std::byte* d = w.regs + slot(op, j);
    if (kTranspose)
      transpose(at.host + 8 * j, d);
    else
      for (uint32_t i = 0; i < 8; ++i) std::memcpy(d + 16 * i, at.host[8 * j + i], 16);
  }
  if (w.order && w.order->undefined.unwritten) [[unlikely]]
    return undefined_matrix_load(w, op, at, op.f & 0xFF, kTranspose);
  return Step::next;
}

template <bool kTranspose>
Step stmatrix(Warp& w, const Op& op, uint32_t lanes) {
  LaneAccess at;
  if (!whole_warp(w, op, lanes) || !locate(w, op, AccessKind::store, at)) return Step::fault;
  for (uint32_t j = 0; j < (op.f & 0xFF); ++j) {
    const std::byte* s = w.regs + slot(op, j);
    const std::byte* rows[8];
    for (uint32_t i = 0; i < 8; ++i) rows[i] = s + 16 * i;
    if (kTranspose)
      transpose_8x8(rows, at.host + 8 * j);
    else
      for (uint32_t i = 0; i < 8; ++i) std::memcpy(at.host[8 * j + i], rows[i], 16);
  }
  if (w.order && w.order->undefined.stores) [[unlikely]]
    undefined_matrix_store(w, op, at, op.f & 0xFF, kTranspose);
  return Step::next;
}

Step movmatrix(Warp& w, const Op& op, uint32_t lanes) {
  if (!whole_warp(w, op, lanes)) return Step::fault;
  const std::byte* rows[8];
  for (uint32_t i = 0; i < 8; ++i) rows[i] = w.regs + op.a + 16 * i;
  transpose(rows, w.regs + op.d);  // reads everything before it writes
  return Step::next;
}

uint32_t count_of(const isa::Instruction& in) {
  return in.has("x4") ? 4 : in.has("x2") ? 2 : 1;
}

void decode_memory(Decoder& d, const isa::Instruction& in, bool load) {
  const uint32_t count = count_of(in);
  const isa::Operand& registers = in.operands[load ? 0 : 1];
  const std::span<const isa::Operand> elements =
      registers.is_vector() ? registers.elements : std::span(&registers, 1);
  int64_t displacement;
  const uint32_t address = d.address(in.operands[load ? 1 : 0], displacement);
  uint32_t slots[4] = {};
  for (uint32_t j = 0; j < count; ++j)
    slots[j] = load ? d.dst(elements[j], isa::Type::b32) : d.src(elements[j], isa::Type::b32);
  const bool trans = in.has("trans");
  Op& op =
      d.emit(load ? (trans ? ldmatrix<true> : ldmatrix<false>) : (trans ? stmatrix<true> : stmatrix<false>));
  op.a = address;
  op.imm = static_cast<uint64_t>(displacement);
  op.d = slots[0], op.b = slots[1], op.c = slots[2], op.e = slots[3];
  op.f = count | static_cast<uint32_t>(in.space()) << 8;
  op.cost = 2;
}

}  // namespace

void decode_ldmatrix(Decoder& d, const isa::Instruction& in) {
  decode_memory(d, in, true);
}
void decode_stmatrix(Decoder& d, const isa::Instruction& in) {
  decode_memory(d, in, false);
}
void decode_movmatrix(Decoder& d, const isa::Instruction& in) {
  const uint32_t a = d.src(in.operands[1], isa::Type::b32), slot = d.dst(in.operands[0], isa::Type::b32);
  Op& op = d.emit(movmatrix);
  op.a = a;
  op.d = slot;
  op.cost = 4;
}

}  // namespace ptxops::virt
