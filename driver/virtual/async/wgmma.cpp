// wgmma.mma_async and its groups. Each warp of a warpgroup computes its own 16 rows when it executes the
// instruction: data effects are immediate, the time model keeps them in flight until wait_group.
#include <fmt/format.h>

#include <algorithm>
#include <bitset>
#include <cstring>

#include "driver/virtual/async/async_state.h"
#include "driver/virtual/async/matrix_operand.h"
#include "driver/virtual/check/checker.h"
#include "driver/virtual/check/registers.h"
#include "driver/virtual/check/undefined_copy.h"
#include "driver/virtual/exec/access.h"
#include "driver/virtual/exec/decode.h"
#include "driver/virtual/exec/grid.h"
#include "driver/virtual/exec/shadow.h"
#include "driver/virtual/numerics/tensor_core.h"
#include "driver/virtual/time/latency.h"

namespace ptxops::virt {
namespace {

using numerics::AccType;
using numerics::MmaShape;
using numerics::MmaType;

// Operands of one wgmma, beside its Op (Op::imm points here).
struct Wgmma {
  MmaShape shape;  // m = 16: one warp's part
  bool a_in_registers = false;
  bool transpose_a = false, transpose_b = false;  // MN-major
  uint32_t a_descriptor = 0, b_descriptor = 0;    // 64-bit slots
  uint32_t a[4] = {};
  uint32_t scale_d = 0;                      // predicate slot
  bool always_accumulate = false;            // where there is no predicate
  uint32_t d_in[128] = {}, d_out[128] = {};  // slots in the order of numerics::MmaD
  WgmmaRegisters registers;                  // for the checker
};

bool is_warpgroup_wide(Warp& w, const Op& op, uint32_t lanes) {
  if (lanes == kAllLanes && w.live() == kAllLanes && (w.id | 3) < w.cta->warps.size()) {
    order_lanes(w, lanes);
    return true;
  }
  if ((w.id | 3) >= w.cta->warps.size())
    w.fault(op, -1, Diagnostic::W6,
            fmt::format("wgmma by warp {} of a CTA of {} warps: a warpgroup is 4 contiguous warps", w.id,
                        w.cta->warps.size()));
  else
    w.fault(op, -1, Diagnostic::W6,
            fmt::format("wgmma executed by lanes {:#010x}: expected all 32 lanes of the warp", lanes));
  return false;
}

bool uniform_descriptor(Warp& w, const Op& op, uint32_t slot, const char* which, uint64_t& out) {
  const uint64_t* values = w.reg<uint64_t>(slot);
  out = values[0];
  for (uint32_t i = 1; i < kLanes; ++i)
    if (values[i] != out) {
      w.fault(op, static_cast<int>(i), Diagnostic::W6,
              fmt::format("matrix descriptor of {} differs between lanes of the warp: {:#018x} and {:#018x}",
                          which, out, values[i]));
      return false;
    }
  return true;
}

// The four warps of a warpgroup must execute the same wgmma with the same descriptors.
bool agrees_with_warpgroup(Warp& w, const Op& op, uint64_t a, uint64_t b, bool accumulate) {
  AsyncState& leader = async_state(*w.cta->warps[w.id & ~3u]);
  const uint64_t number = async_state(w).wgmma_count++;
  if (number == leader.wgmma_first + leader.wgmma_issued.size())
    leader.wgmma_issued.push_back({&op, a, b, 0, accumulate});
  auto& issued = leader.wgmma_issued[number - leader.wgmma_first];
  if (issued.op != &op || issued.a != a || issued.b != b || issued.accumulate != accumulate) {
    w.fault(op, -1, Diagnostic::W6,
            issued.op != &op ? fmt::format("warpgroup divergence: wgmma number {} is at line {} in another "
                                           "warp, at line {} in this one",
                                           number, issued.op->line, op.line)
                             : fmt::format("warpgroup divergence: descriptors {:#018x}, {:#018x}, scale-d "
                                           "{}, in another warp {:#018x}, "
                                           "{:#018x}, {}",
                                           a, b, accumulate, issued.a, issued.b, issued.accumulate));
    return false;
  }
  if (++issued.warps == 4) {
    leader.wgmma_issued.pop_front();
    ++leader.wgmma_first;
  }
  if (!leader.wgmma_waiters.empty()) w.cta->cluster->wake(leader.wgmma_waiters);
  return true;
}

// Rows [first, first + rows) of the operand described by `bits` as packed 32-byte rows. `tainted`: copies
// brought some of it from memory that nobody has written.
bool gather(Warp& w, const Op& op, const char* which, uint64_t bits, bool transposed, uint32_t first,
            uint32_t rows, bool split_pairs, std::byte* out, bool& tainted) {
  MatrixDescriptor d;
  const std::string why = d.set(bits);
  if (!why.empty()) {
    w.fault(op, -1, Diagnostic::W7, fmt::format("operand {}: {}", which, why));
    return false;
  }
  const Cta& cta = *w.cta;
  const uint8_t* shadow = cta.cluster->grid->desc.check == CheckLevel::full ? cta.smem_shadow.get() : nullptr;
  if (!transposed && !shadow &&
      gather_blocks(d, cta.smem, kSharedReserved, cta.smem_end, first, rows, split_pairs, out))
    return true;
  uint32_t bad = 0;
  const auto check = [&](uint32_t address) {
    if (address < kSharedReserved || address + 16 > cta.smem_end) {
      bad = address;
      return false;
    }
    if (shadow && shadow_first_clear(shadow, address, 16) != 16) {
      if (w.order && missing_by_copy(w, address, 16)) {
        tainted = true;
        return true;
      }
      bad = address;
      return false;
    }
    return true;
  };
  if (transposed ? gather_mn_major(d, cta.smem, first, rows, split_pairs, out, check)
                 : gather_k_major(d, cta.smem, first, rows, split_pairs, out, check))
    return true;
  if (bad < kSharedReserved || bad + 16 > cta.smem_end)
    w.fault(op, -1, Diagnostic::W7,
            fmt::format("operand {} of wgmma (descriptor {:#018x}) reads 16 bytes at shared address "
                        "{:#x}: shared memory is [{:#x}, {:#x})",
                        which, bits, bad, kSharedReserved, cta.smem_end));
  else {
    const uint32_t at = bad + static_cast<uint32_t>(shadow_first_clear(shadow, bad, 16));
    const uint32_t line = w.order ? undefined_store_line(w, cta, at) : 0;
    w.fault(
        op, -1, Diagnostic::W8,
        fmt::format("operand {} of wgmma (descriptor {:#018x}) reads never-written shared memory at {:#x}{}",
                    which, bits, at,
                    line ? fmt::format("; the store at line {} wrote an undefined value there", line) : ""));
  }
  return false;
}

// Register r of a fragment holds, for lane l, 4 bytes of matrix row l/4 + 8*(r odd or not): lanes 4i..4i+3
// are 16 contiguous bytes of row i.
//   A from registers: row + 8*(r&1), byte 16*(r>>1);
//   D of f16:         row + 8*(r&1), byte 16*(r>>1);
//   D of f32 and s32: row + 8*((r>>1)&1); its lane's columns are 8*(r>>2) + 2*(l%4) + (r&1), so the even
//   columns of a block of 8 lie in one register and the odd ones in the next. With B's rows taken in the
//   order 0,2,4,6,1,3,5,7, D's columns come out in that order, and a register is again 16 contiguous bytes:
//   byte 32*(r>>2) + 16*(r&1).
// So a register of D is a piece of numerics::MmaD; this is its index there.
uint32_t piece_of(uint32_t r, uint32_t registers, bool wide) {
  const uint32_t lower_rows = wide ? r >> 1 & 1 : r & 1;
  return lower_rows * (registers / 2) + (wide ? r >> 2 << 1 | (r & 1) : r >> 1);
}
void registers_to_rows(Warp& w, const uint32_t (&slots)[4], std::byte* rows) {
  for (uint32_t r = 0; r < 4; ++r) {
    const std::byte* reg = w.regs + slots[r];
    std::byte* to = rows + 8 * (r & 1) * kOperandRow + 16 * (r >> 1);
    for (uint32_t i = 0; i < 8; ++i) std::memcpy(to + i * kOperandRow, reg + 16 * i, 16);
  }
}

// The four warps of a warpgroup, and warpgroups that share a tile, multiply with the same B, but not one
// after the other: a warp runs on until it has to wait. So each worker keeps the latest tiles it decoded,
// and finds them by where they lay; MmaB::set compares their bytes.
class DecodedTiles {
 public:
  numerics::MmaB& at(const Cta* cta, uint64_t descriptor) {
    for (Tile& t : tiles_)
      if (t.descriptor == descriptor && t.cta == cta) return t.b;
    Tile& t = tiles_[next_++ % kTiles];
    t.cta = cta;
    t.descriptor = descriptor;
    return t.b;
  }

 private:
  static constexpr uint32_t kTiles = 16;  // four stages of four steps: what a warp runs ahead of the others
  struct Tile {
    const Cta* cta = nullptr;
    uint64_t descriptor = 0;
    numerics::MmaB b;
  };
  Tile tiles_[kTiles];
  uint32_t next_ = 0;
};
thread_local DecodedTiles decoded_tiles;

// The 16-byte pieces of rows [first, first + rows) of an operand.
uint32_t pieces_of(uint64_t bits, bool transposed, uint32_t first, uint32_t rows, uint32_t* out) {
  MatrixDescriptor d;
  if (!d.set(bits).empty()) return 0;  // gather() says why
  uint32_t count = 0;
  if (transposed) {
    for (uint32_t r = 0; r < rows; r += 8)
      for (uint32_t k = 0; k < 16; ++k)
        out[count++] = chunk_address(d, mn_major_offset(d, (first + r) * 2, k));
  } else {
    for (uint32_t r = 0; r < rows; ++r)
      for (uint32_t half = 0; half < kOperandRow; half += 16)
        out[count++] = chunk_address(d, k_major_offset(d, first + r, half));
  }
  return count;
}

// What the checker asks of a wgmma at its issue: its operands in shared memory.
bool judge(Warp& w, const Op& op, const Wgmma& g, uint64_t a_bits, uint64_t b_bits) {
  Checker& checker = *w.order->checker;
  ++w.order->wgmma_issued;
  w.order->wgmma_op = &op;
  if (!issue_registers(w, op, g.registers)) return false;
  uint32_t pieces[512];
  const auto inside = [&](uint32_t count) {  // what lies outside is gather()'s to report
    for (uint32_t i = 0; i < count; ++i)
      if (pieces[i] < kSharedReserved || pieces[i] + 16 > w.cta->smem_end) return false;
    return true;
  };
  if (!g.a_in_registers) {
    const uint32_t count = pieces_of(a_bits, g.transpose_a, 16 * (w.id & 3), 16, pieces);
    if (inside(count) && !checker.wgmma_operand(w, op, pieces, count)) return false;
  }
  const uint32_t count = pieces_of(b_bits, g.transpose_b, 0, static_cast<uint32_t>(g.shape.n), pieces);
  return !inside(count) || checker.wgmma_operand(w, op, pieces, count);
}

// Undefined rows of A make rows of D undefined, those of B its columns.
void taint(Warp& w, const Op& op, const Wgmma& g, const uint64_t* a_bits, const uint64_t* b_bits) {
  uint32_t pieces[512];
  const auto undefined_rows = [&](uint64_t bits, bool transposed, uint32_t first, uint32_t rows) {
    std::bitset<256> undefined;
    const uint32_t count = pieces_of(bits, transposed, first, rows, pieces);
    for (uint32_t i = 0; i < count; ++i)
      for (uint32_t b = 0; b < 16; ++b)
        if (shadow_first_clear(w.cta->smem_shadow.get(), pieces[i] + b, 1) == 0)
          undefined.set(transposed ? i / 16 * 8 + b / 2 : i / 2);
    return undefined;
  };
  std::bitset<256> rows, columns;
  if (a_bits) rows = undefined_rows(*a_bits, g.transpose_a, 16 * (w.id & 3), 16);
  if (b_bits) columns = undefined_rows(*b_bits, g.transpose_b, 0, static_cast<uint32_t>(g.shape.n));
  const bool wide = g.shape.d != AccType::f16;
  const uint32_t count = static_cast<uint32_t>(g.registers.d.size());
  Undefined& u = w.order->undefined;
  for (uint32_t r = 0; r < count; ++r) {
    const std::byte* slot = w.regs + g.d_out[piece_of(r, count, wide)];
    Undefined::Lanes value = u.at(slot);
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      const uint32_t row = lane / 4 + 8 * (wide ? r >> 1 & 1 : r & 1);
      const uint32_t column = 8 * (wide ? r >> 2 : r >> 1) + 2 * (lane % 4) + (wide ? r & 1 : 0);
      uint64_t mask = rows[row] ? ~uint64_t{0} : 0;
      if (columns[column]) mask |= wide ? ~uint64_t{0} : 0xFFFF;
      if (!wide && columns[column + 1]) mask |= 0xFFFF0000;
      value.set(lane, mask, true, op.line);
    }
    u.assign(slot, kAllLanes, value);
  }
}

Step mma_async(Warp& w, const Op& op, uint32_t lanes) {
  const Wgmma& g = *reinterpret_cast<const Wgmma*>(op.imm);
  if (!is_warpgroup_wide(w, op, lanes)) return Step::fault;
  MmaShape shape = g.shape;
  shape.accumulate = g.always_accumulate;
  if (g.scale_d) {
    const uint32_t scale = w.pred(g.scale_d);
    if (scale != 0 && scale != kAllLanes)
      return w.fault(op, __builtin_ctz(~scale), Diagnostic::W6,
                     fmt::format("scale-d differs between lanes of the warp: {:#010x}", scale));
    shape.accumulate = scale != 0;
  }
  uint64_t a_bits = 0, b_bits;
  if (!g.a_in_registers && !uniform_descriptor(w, op, g.a_descriptor, "A", a_bits)) return Step::fault;
  if (!uniform_descriptor(w, op, g.b_descriptor, "B", b_bits)) return Step::fault;
  if (!agrees_with_warpgroup(w, op, a_bits, b_bits, shape.accumulate)) return Step::fault;

  if (w.order && !judge(w, op, g, a_bits, b_bits)) return Step::fault;

  const bool wide = shape.d != AccType::f16;
  alignas(64) std::byte a[16 * kOperandRow];
  alignas(64) std::byte b[256 * kOperandRow];
  const uint32_t n = static_cast<uint32_t>(shape.n);
  bool a_tainted = false, b_tainted = false;
  if (g.a_in_registers)
    registers_to_rows(w, g.a, a);
  else if (!gather(w, op, "A", a_bits, g.transpose_a, 16 * (w.id & 3), 16, false, a, a_tainted))
    return Step::fault;
  if (!gather(w, op, "B", b_bits, g.transpose_b, 0, n, wide, b, b_tainted)) return Step::fault;
  numerics::MmaB& decoded = decoded_tiles.at(w.cta, b_bits);
  decoded.set(shape, b);
  numerics::mma(shape, a, decoded, {w.regs, g.d_in, g.d_out});

  const uint32_t smem_bytes = n * kOperandRow + (g.a_in_registers ? 0 : 64 * kOperandRow);
  const uint64_t cycles = std::max<uint64_t>({n / 2, smem_bytes / latency::kSharedBytesPerCycle, 1});
  AsyncState& state = async_state(w);
  state.wgmma_open = std::max(state.wgmma_open, w.cta->tensor[w.id & 3].reserve(w.clock, cycles));
  w.cta->cluster->grid->counters.mma_macs.fetch_add(uint64_t{16} * n * static_cast<uint32_t>(shape.k),
                                                    std::memory_order_relaxed);
  if (!a_tainted && !b_tainted) return Step::next;
  taint(w, op, g, a_tainted ? &a_bits : nullptr, b_tainted ? &b_bits : nullptr);
  w.pc = &op + 1;  // undefined values are followed from here on
  return Step::jump;
}

// Results are written when the instruction executes: only the checker needs to know.
Step fence(Warp& w, const Op& op, uint32_t lanes) {
  if (!is_warpgroup_wide(w, op, lanes)) return Step::fault;
  if (w.order) fence_registers(w);
  return Step::next;
}

Step commit_group(Warp& w, const Op& op, uint32_t lanes) {
  if (!is_warpgroup_wide(w, op, lanes)) return Step::fault;
  AsyncState& state = async_state(w);
  if (w.order) w.order->checker->wgmma_commit(w);
  state.wgmma_groups.push_back({state.wgmma_open, state.wgmma_count});
  state.wgmma_open = 0;
  return Step::next;
}

// A warp of w's warpgroup that has not issued `count` wgmmas.
const Warp* late_warp(const Warp& w, uint64_t count) {
  for (uint32_t i = w.id & ~3u; i <= (w.id | 3); ++i) {
    Warp& other = *w.cta->warps[i];
    if (other.live() && async_state(other).wgmma_count < count) return &other;
  }
  return nullptr;
}

std::string describe_wait(const Split& split) {
  const Warp* late = late_warp(*split.warp, split.wait_a);
  return fmt::format("wgmma.wait_group: warp {} of the warpgroup has issued {} wgmmas of {}",
                     late ? late->id : 0, late ? late->async->wgmma_count : 0, split.wait_a);
}

// A wgmma is one operation of four warps, and ends when all have issued it. CUTLASS builds on that: the
// arrival of one warp behind its wait releases the tiles that all four read.
Step wait_group(Warp& w, const Op& op, uint32_t lanes) {
  if (!is_warpgroup_wide(w, op, lanes)) return Step::fault;
  if (const auto& groups = async_state(w).wgmma_groups; groups.size() > op.imm) {
    const uint64_t count = groups[groups.size() - op.imm - 1].count;
    if (late_warp(w, count)) {
      w.wait_on(async_state(*w.cta->warps[w.id & ~3u]).wgmma_waiters, WaitKind::async, describe_wait, count);
      return Step::block;
    }
  }
  if (w.order) w.order->checker->wgmma_wait(w, static_cast<uint32_t>(op.imm));
  auto& groups = async_state(w).wgmma_groups;
  while (groups.size() > op.imm) {
    if (const uint64_t end = groups.front().end) w.clock = std::max(w.clock, end + latency::kTensorDrain);
    groups.pop_front();
  }
  return Step::next;
}

MmaType mma_type(Decoder& d, isa::Type type) {
  switch (type) {
    case isa::Type::f16:
      return MmaType::f16;
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
    case isa::Type::b1:
      return MmaType::b1;
    default:
      break;
  }
  d.refuse("wgmma does not exist for this operand type");
  __builtin_unreachable();  // g++ 12 forgets [[noreturn]] of virtual functions
}

// "m64n128k16" -> 128
uint32_t n_of(std::string_view shape) {
  uint32_t n = 0;
  for (size_t i = shape.find('n') + 1; i < shape.size() && shape[i] >= '0' && shape[i] <= '9'; ++i)
    n = n * 10 + static_cast<uint32_t>(shape[i] - '0');
  return n;
}

void decode_mma(Decoder& d, const isa::Instruction& in) {
  const auto& o = in.operands;
  const isa::Type d_type = in.type(0);
  Wgmma g;
  g.shape.m = 16;
  g.shape.n = static_cast<int>(n_of(in.choice("shape")));
  g.shape.a = mma_type(d, in.type(1));
  g.shape.b = mma_type(d, in.type(2));
  g.shape.k = numerics::mma_k(g.shape.a);
  g.shape.d = d_type == isa::Type::f16   ? AccType::f16
              : d_type == isa::Type::f32 ? AccType::f32
                                         : AccType::s32;
  g.shape.satfinite = in.has("satfinite");
  g.a_in_registers = o[1].is_vector();
  const uint32_t d_count = static_cast<uint32_t>(o[0].elements.size());
  const uint32_t expected = static_cast<uint32_t>(g.shape.n) / (g.shape.d == AccType::f16 ? 4 : 2);
  if (d_count != expected || (g.a_in_registers && o[1].elements.size() != 4))
    d.refuse(fmt::format("wgmma with N = {} needs {} registers for D (got {}) and 4 for A", g.shape.n,
                         expected, d_count));

  // d, a, b, scale-d, then for float types imm-scale-a, imm-scale-b, then for 16-bit types imm-trans-a (A in
  // shared memory only), imm-trans-b.
  std::vector<int32_t> immediates;
  for (size_t i = 4; i < o.size(); ++i)
    immediates.push_back(static_cast<int32_t>(o[i].immediate(isa::Type::s32)));
  if (immediates.size() >= 2) {
    g.shape.negate_a = immediates[0] == -1;
    g.shape.negate_b = immediates[1] == -1;
  }
  if (immediates.size() == 3) g.transpose_b = immediates[2] != 0;
  if (immediates.size() == 4) {
    g.transpose_a = immediates[2] != 0;
    g.transpose_b = immediates[3] != 0;
  }
  const isa::Type register_type = g.shape.d == AccType::f32   ? isa::Type::f32
                                  : g.shape.d == AccType::s32 ? isa::Type::s32
                                                              : isa::Type::b32;
  if (g.a_in_registers) {
    for (int i = 0; i < 4; ++i) g.a[i] = d.src(o[1].elements[i], isa::Type::b32);
  } else {
    g.a_descriptor = d.src(o[1], isa::Type::b64);
  }
  g.b_descriptor = d.src(o[2], isa::Type::b64);
  if (o.size() > 3 && !o[3].is_imm())
    g.scale_d = d.src_pred(o[3]);
  else
    g.always_accumulate = o.size() <= 3 || o[3].bits != 0;
  for (const isa::Operand& o0 : o[0].elements) g.registers.d.push_back(d.tracked(o0));
  if (g.a_in_registers)
    for (const isa::Operand& o1 : o[1].elements) g.registers.a.push_back(d.tracked(o1));
  g.registers.shape = static_cast<uint32_t>(g.shape.n);
  g.registers.tracked = d.tracked_count();
  const auto piece = [&](uint32_t i) { return piece_of(i, d_count, g.shape.d != AccType::f16); };
  for (uint32_t i = 0; i < d_count; ++i) g.d_in[piece(i)] = d.src(o[0].elements[i], register_type);
  for (uint32_t i = 0; i < d_count; ++i) g.d_out[piece(i)] = d.dst(o[0].elements[i], register_type);
  const Wgmma* kept = d.keep(g);
  d.emit(mma_async).imm = reinterpret_cast<uint64_t>(kept);
}

}  // namespace

void decode_wgmma_f16(Decoder& d, const isa::Instruction& in) {
  decode_mma(d, in);
}
void decode_wgmma_bf16(Decoder& d, const isa::Instruction& in) {
  decode_mma(d, in);
}
void decode_wgmma_tf32(Decoder& d, const isa::Instruction& in) {
  decode_mma(d, in);
}
void decode_wgmma_fp8(Decoder& d, const isa::Instruction& in) {
  decode_mma(d, in);
}
void decode_wgmma_int8(Decoder& d, const isa::Instruction& in) {
  decode_mma(d, in);
}
void decode_wgmma_b1(Decoder& d, const isa::Instruction& in) {
  decode_mma(d, in);
}
void decode_wgmma_fence(Decoder& d, const isa::Instruction&) {
  d.emit(fence);
}
void decode_wgmma_commit_group(Decoder& d, const isa::Instruction&) {
  d.emit(commit_group);
}
void decode_wgmma_wait_group(Decoder& d, const isa::Instruction& in) {
  d.emit(wait_group).imm = in.operands[0].immediate(isa::Type::u32);
}

}  // namespace ptxops::virt
