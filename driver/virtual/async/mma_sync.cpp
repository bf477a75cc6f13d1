// mma.sync: one warp multiplies matrices that lie in its registers. Register r of A holds, for lanes
// 4i..4i+3, 16 contiguous bytes of row i + 8*(r&1), from byte 16*(r>>1); register r of B those of column i
// from byte 16*r; registers of C and D as wgmma's (see wgmma.cpp) with N = 8.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>

#include "driver/virtual/async/matrix_operand.h"
#include "driver/virtual/check/checker.h"
#include "driver/virtual/exec/access.h"
#include "driver/virtual/exec/decode.h"
#include "driver/virtual/exec/grid.h"
#include "driver/virtual/numerics/convert.h"
#include "driver/virtual/numerics/tensor_core.h"

namespace ptxops::virt {
namespace {

using numerics::AccType;
using numerics::MmaShape;
using numerics::MmaType;

constexpr uint32_t kN = 8, kMaxM = 16, kRow = numerics::kMmaRowBytes;

struct Mma {
  MmaShape shape;
  uint32_t a_count = 0, b_count = 0, d_count = 0;
  uint32_t a[8] = {}, b[4] = {}, c[4] = {}, d[4] = {};  // slots
  bool a_signed = false, b_signed = false;              // 4-bit types
  uint64_t cycles = 1, macs = 0;
};

bool whole_warp(Warp& w, const Op& op, uint32_t lanes) {
  if (lanes == kAllLanes) {
    order_lanes(w, lanes);
    return true;
  }
  w.fault(op, -1, Diagnostic::C3,
          fmt::format("mma.sync.aligned was executed by lanes {:#010x}: expected all 32 of the warp", lanes));
  return false;
}

void charge(Warp& w, const Mma& m) {
  w.clock = std::max(w.clock, w.cta->tensor[w.id & 3].reserve(w.clock, m.cycles));
  w.cta->cluster->grid->counters.mma_macs.fetch_add(m.macs, std::memory_order_relaxed);
}

// A, B, and C or D while they are computed. Rows beyond the instruction's K are zero.
struct Tile {
  alignas(64) std::byte a[kMaxM * kRow] = {};
  alignas(64) std::byte b[kN * kRow] = {};
  alignas(64) std::byte d[4][kSlot32];
};

// With B's rows in the order 0,2,4,6,1,3,5,7, a register of a 32-bit D is one piece of numerics::MmaD.
bool splits_pairs(const Mma& m) {
  return m.shape.d != AccType::f16;
}

void load(Warp& w, const Mma& m, Tile& t) {
  for (uint32_t r = 0; r < m.a_count; ++r)
    for (uint32_t i = 0; i < 8; ++i)
      std::memcpy(t.a + (i + 8 * (r & 1)) * kRow + 16 * (r >> 1), w.regs + m.a[r] + 16 * i, 16);
  for (uint32_t r = 0; r < m.b_count; ++r)
    for (uint32_t i = 0; i < 8; ++i) {
      const uint32_t row = splits_pairs(m) ? i / 2 + 4 * (i & 1) : i;
      std::memcpy(t.b + row * kRow + 16 * r, w.regs + m.b[r] + 16 * i, 16);
    }
  for (uint32_t r = 0; r < m.d_count; ++r) std::memcpy(t.d[r], w.regs + m.c[r], kSlot32);
}

void store(Warp& w, const Mma& m, const Tile& t) {
  for (uint32_t r = 0; r < m.d_count; ++r) std::memcpy(w.regs + m.d[r], t.d[r], kSlot32);
}

void multiply(const MmaShape& shape, const std::byte* a, const std::byte* b, Tile& t) {
  static constexpr uint32_t kPieces[] = {0, kSlot32, 2 * kSlot32, 3 * kSlot32};
  thread_local numerics::MmaB decoded;
  decoded.set(shape, b);
  numerics::mma(shape, a, decoded, {t.d[0], kPieces, kPieces});
}

Step mma(Warp& w, const Op& op, uint32_t lanes) {
  const Mma& m = *reinterpret_cast<const Mma*>(op.imm);
  if (!whole_warp(w, op, lanes)) return Step::fault;
  Tile t;
  load(w, m, t);
  multiply(m.shape, t.a, t.b, t);
  store(w, m, t);
  charge(w, m);
  return Step::next;
}

// Hopper has no FP8 path for mma.sync: both operands become f16, which is exact, and each 16 of K are one
// step. That the steps go up in K is an assumption: it shows only in how sums round.
void to_f16(MmaType type, const std::byte* rows, uint32_t count, uint32_t step, std::byte* out) {
  for (uint32_t i = 0; i < count; ++i)
    for (uint32_t k = 0; k < 16; ++k) {
      const auto bits = static_cast<uint8_t>(rows[i * kRow + 16 * step + k]);
      const uint16_t half = type == MmaType::e4m3
                                ? numerics::convert<numerics::Format::f16, numerics::Format::e4m3>(bits)
                                : numerics::convert<numerics::Format::f16, numerics::Format::e5m2>(bits);
      std::memcpy(out + i * kRow + 2 * k, &half, 2);
    }
}

Step mma_fp8(Warp& w, const Op& op, uint32_t lanes) {
  const Mma& m = *reinterpret_cast<const Mma*>(op.imm);
  if (!whole_warp(w, op, lanes)) return Step::fault;
  Tile t;
  load(w, m, t);
  MmaShape halves = m.shape;
  halves.a = halves.b = MmaType::f16;
  halves.k = numerics::mma_k(MmaType::f16);
  for (uint32_t step = 0; step < m.b_count; ++step) {
    alignas(64) std::byte a[kMaxM * kRow], b[kN * kRow];
    to_f16(m.shape.a, t.a, static_cast<uint32_t>(m.shape.m), step, a);
    to_f16(m.shape.b, t.b, kN, step, b);
    multiply(halves, a, b, t);
  }
  store(w, m, t);
  charge(w, m);
  return Step::next;
}

// 4-bit and 1-bit products, exactly: dot(row of A, row of B).
template <class Dot>
Step mma_exact(Warp& w, const Op& op, uint32_t lanes, Dot dot) {
  const Mma& m = *reinterpret_cast<const Mma*>(op.imm);
  if (!whole_warp(w, op, lanes)) return Step::fault;
  Tile t;
  load(w, m, t);
  for (uint32_t i = 0; i < static_cast<uint32_t>(m.shape.m); ++i)
    for (uint32_t j = 0; j < kN; ++j) {  // j: row of B as it lies there
      std::byte* at = t.d[i / 8 * 2 + j / 4] + i % 8 * 16 + j % 4 * 4;
      int32_t c;
      std::memcpy(&c, at, 4);
      int64_t sum = int64_t{c} + dot(m, t.a + i * kRow, t.b + j * kRow);
      if (m.shape.satfinite)
        sum = std::clamp<int64_t>(sum, std::numeric_limits<int32_t>::min(),
                                  std::numeric_limits<int32_t>::max());
      const auto result = static_cast<uint32_t>(sum);
      std::memcpy(at, &result, 4);
    }
  store(w, m, t);
  charge(w, m);
  return Step::next;
}

Step mma_int4(Warp& w, const Op& op, uint32_t lanes) {
  return mma_exact(w, op, lanes, [](const Mma& m, const std::byte* a, const std::byte* b) {
    const auto value = [](std::byte packed, uint32_t high, bool is_signed) {
      const int v = static_cast<int>(packed >> 4 * high & std::byte{15});
      return is_signed && v > 7 ? v - 16 : v;
    };
    int64_t sum = 0;
    for (uint32_t i = 0; i < kRow; ++i)
      for (uint32_t high = 0; high < 2; ++high)
        sum += value(a[i], high, m.a_signed) * value(b[i], high, m.b_signed);
    return sum;
  });
}

template <bool kXor>
Step mma_b1(Warp& w, const Op& op, uint32_t lanes) {
  return mma_exact(w, op, lanes, [](const Mma&, const std::byte* a, const std::byte* b) {
    int64_t sum = 0;
    for (uint32_t i = 0; i < kRow; ++i)
      sum += std::popcount(static_cast<uint8_t>(kXor ? a[i] ^ b[i] : a[i] & b[i]));
    return sum;
  });
}

// Lane 4g+t: element k = 4q+t of A's row g (register 2q) or g+8 (2q+1), of B's column g (register q), and
// columns 2t, 2t+1 of D's row g, then g+8. Products are added one by one, as K goes up.
Step mma_f64(Warp& w, const Op& op, uint32_t lanes) {
  const Mma& m = *reinterpret_cast<const Mma*>(op.imm);
  if (!whole_warp(w, op, lanes)) return Step::fault;
  double result[4][kLanes];
  const uint32_t rows = m.d_count / 2;  // of a lane
  for (uint32_t r = 0; r < m.d_count; ++r)
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      double sum = w.reg<double>(m.c[r])[lane];
      const uint32_t row = lane / 4, column = 2 * (lane % 4) + (r & 1);
      for (uint32_t q = 0; q < m.b_count; ++q)
        for (uint32_t t = 0; t < 4; ++t)
          sum = std::fma(w.reg<double>(m.a[q * rows + r / 2])[4 * row + t],
                         w.reg<double>(m.b[q])[4 * column + t], sum);
      result[r][lane] = sum;
    }
  for (uint32_t r = 0; r < m.d_count; ++r) std::memcpy(w.reg<double>(m.d[r]), result[r], kSlot64);
  charge(w, m);
  return Step::next;
}

MmaType mma_type(isa::Type t) {
  switch (t) {
    case isa::Type::bf16:
      return MmaType::bf16;
    case isa::Type::tf32:
      return MmaType::tf32;
    case isa::Type::e4m3:
      return MmaType::e4m3;
    case isa::Type::e5m2:
      return MmaType::e5m2;
    case isa::Type::s8:
      return MmaType::s8;
    case isa::Type::u8:
      return MmaType::u8;
    default:
      return MmaType::f16;
  }
}

// The number behind `letter` in "m16n8k32".
uint32_t extent(std::string_view shape, char letter) {
  uint32_t n = 0;
  const char* at = shape.data() + shape.find(letter) + 1;
  std::from_chars(at, shape.data() + shape.size(), n);
  return n;
}

// `slow`: tensor core cycles of a row of 32 bytes against 16-bit types.
void decode(Decoder& d, const isa::Instruction& in, Handler handler, uint64_t slow = 1) {
  const auto& o = in.operands;
  const std::string_view shape = in.choice("shape");
  const isa::Type d_type = in.type(0);
  Mma m;
  m.shape.m = static_cast<int>(extent(shape, 'm'));
  m.shape.n = kN;
  m.shape.a = mma_type(in.type(1));
  m.shape.b = mma_type(in.type(2));
  m.shape.k = numerics::mma_k(m.shape.a);
  m.shape.d = d_type == isa::Type::f16   ? AccType::f16
              : d_type == isa::Type::s32 ? AccType::s32
                                         : AccType::f32;
  m.shape.satfinite = in.has("satfinite");
  m.a_signed = in.type(1) == isa::Type::s4;
  m.b_signed = in.type(2) == isa::Type::s4;
  m.a_count = static_cast<uint32_t>(o[1].elements.size());
  m.b_count = static_cast<uint32_t>(o[2].elements.size());
  m.d_count = static_cast<uint32_t>(o[0].elements.size());
  m.macs = uint64_t{extent(shape, 'm')} * kN * extent(shape, 'k');
  m.cycles = std::max<uint64_t>(1, 2 * slow * m.b_count * extent(shape, 'm') / kMaxM);
  const bool f64 = d_type == isa::Type::f64;
  const isa::Type operand = f64 ? isa::Type::f64 : isa::Type::b32;
  const isa::Type result = f64 ? isa::Type::f64 : d_type == isa::Type::f16 ? isa::Type::f16x2 : d_type;
  for (uint32_t i = 0; i < m.a_count; ++i) m.a[i] = d.src(o[1].elements[i], operand);
  for (uint32_t i = 0; i < m.b_count; ++i) m.b[i] = d.src(o[2].elements[i], operand);
  for (uint32_t i = 0; i < m.d_count; ++i) m.c[i] = d.src(o[3].elements[i], result);
  for (uint32_t i = 0; i < m.d_count; ++i) m.d[i] = d.dst(o[0].elements[i], result);
  const Mma* kept = d.keep(m);
  d.emit(handler).imm = reinterpret_cast<uint64_t>(kept);
}

}  // namespace

void decode_mma_f16(Decoder& d, const isa::Instruction& in) {
  decode(d, in, mma);
}
void decode_mma_bf16(Decoder& d, const isa::Instruction& in) {
  decode(d, in, mma);
}
void decode_mma_tf32(Decoder& d, const isa::Instruction& in) {
  decode(d, in, mma);
}
void decode_mma_fp8(Decoder& d, const isa::Instruction& in) {
  decode(d, in, mma_fp8, 2);
}
void decode_mma_int8(Decoder& d, const isa::Instruction& in) {
  decode(d, in, mma);
}
void decode_mma_int4(Decoder& d, const isa::Instruction& in) {
  decode(d, in, mma_int4, 2);  // as two of 8 bits
}
void decode_mma_b1(Decoder& d, const isa::Instruction& in) {
  decode(d, in, in.has("xor") ? mma_b1<true> : mma_b1<false>);
}
void decode_mma_f64(Decoder& d, const isa::Instruction& in) {
  decode(d, in, mma_f64, 8);
}

}  // namespace ptxops::virt
