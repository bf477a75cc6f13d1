// cp.async.bulk.tensor, cp.reduce.async.bulk.tensor and their prefetch: tiled mode, 1 to 5 dimensions.
#include <fmt/format.h>

#include <cstring>

#include "driver/virtual/async/bulk.h"
#include "driver/virtual/async/tensor_box.h"
#include "driver/virtual/check/undefined_copy.h"
#include "driver/virtual/exec/atomic_ops.h"
#include "driver/virtual/exec/grid.h"
#include "driver/virtual/memory/memory.h"
#include "driver/virtual/time/latency.h"

namespace ptxops::virt {
namespace {

// Reads the tensor map at a generic address and lays out the box of this lane's coordinates.
bool open_box(Warp& w, const Op& op, int lane, TensorBox& box) {
  const auto& o = bulk_operands(op);
  const uint64_t address = w.reg<uint64_t>(o.global)[lane] + o.global_displacement;
  const std::byte* p = resolve(
      w, op, lane, address,
      {.space = Space::generic, .proxy = Proxy::tensormap, .size = sizeof(TensorMap), .alignment = 64});
  if (!p) return false;
  TensorMap map;
  std::memcpy(&map, p, sizeof map);
  if (!is_intact(map)) {
    w.fault(op, lane, Diagnostic::A1,
            fmt::format("the 128 bytes at {:#x} are no tensor map: expected magic {:#010x}, got {:#010x}",
                        address, kTensorMapMagic, map.magic));
    return false;
  }
  if (o.dimensions != map.rank()) {
    w.fault(op, lane, Diagnostic::A1,
            fmt::format("a tensor copy of {} dimensions by the map at {:#x}, which has {}", o.dimensions,
                        address, map.rank()));
    return false;
  }
  int32_t start[5];
  for (int d = 0; d < o.dimensions; ++d) start[d] = w.reg<int32_t>(o.coordinates[d])[lane];
  const std::string why = box.set(map, start, o.dimensions);
  if (why.empty()) return true;
  w.fault(op, lane, Diagnostic::X8, fmt::format("tensor copy by the map at {:#x}: {}", address, why));
  return false;
}

// Judges every global byte of the box. One look suffices where the whole span lies in one allocation and only
// bounds matter.
bool judge_global(Warp& w, const Op& op, int lane, const TensorBox& box, AccessKind kind) {
  const CheckLevel level = w.cta->cluster->grid->desc.check;
  if (level == CheckLevel::off) return true;
  uint64_t low = ~uint64_t{0}, high = 0;
  box.for_rows([&](const BoxRow& row) {
    if (!row.count) return;
    low = std::min(low, row.address);
    high = std::max(high, row.address + uint64_t{row.count} * box.element);
  });
  if (high == 0) return true;
  const Allocation* a = w.cta->cluster->grid->desc.memory->find(low);
  const bool one = a && a->live.load(std::memory_order_relaxed) && high <= a->end();
  if (one && kind == AccessKind::load && level != CheckLevel::full) return true;
  bool fine = true;
  box.for_rows([&](const BoxRow& row) {
    if (!row.count || !fine) return;
    const uint32_t bytes = row.count * box.element;
    if (one && kind == AccessKind::store)
      mark_written(*a, row.address, bytes);
    else
      fine = resolve(w, op, lane, row.address,
                     {.space = Space::global, .kind = kind, .proxy = Proxy::async, .size = bytes}) != nullptr;
  });
  return fine;
}

// The checker's part of a copy's global side: the map and every row.
bool order_global(Warp& w, const Op& op, int lane, const TensorBox& box, const Checker::Async& a,
                  const Checker::Async& map_read) {
  const auto& o = bulk_operands(op);
  const uint64_t map = w.reg<uint64_t>(o.global)[lane] + o.global_displacement;
  Checker& checker = *w.order->checker;
  bool fine = checker.tensor_map(w, op, map, map_read);
  box.for_rows([&](const BoxRow& row) {
    if (row.count && fine)
      fine = checker.global_range(w, op, a, row.address, uint64_t{row.count} * box.element);
  });
  return fine;
}

// Traffic of the box; returns the latency of its slowest part.
uint32_t charge(Grid& grid, const TensorBox& box) {
  uint64_t sectors = 0, fresh = 0, begin = 0, end = 0;
  const auto flush = [&] {
    if (end == begin) return;
    fresh += grid.touched.touch(begin, end - begin);
    sectors += TouchedSectors::sectors(begin, end - begin);
  };
  box.for_rows([&](const BoxRow& row) {
    if (!row.count) return;
    const uint64_t row_end = row.address + uint64_t{row.count} * box.element;
    if (row.address != end) {
      flush();
      begin = row.address;
    }
    end = row_end;
  });
  flush();
  return charge_sectors(grid, begin, sectors, fresh);
}

uint64_t engine_time(Warp& w, const TensorBox& box) {
  return reserve_engine(w, box.bytes(), box.rows) + latency::kTma + latency::kTmaDescriptor +
         static_cast<uint64_t>(latency::kTmaDimension) * (box.map.rank() - 1);
}

// Calls f(global, shared, bytes) for the bytes of the box that lie in the tensor, in pieces that the swizzle
// leaves together; `base`: the box's shared address.
template <class F>
void for_pieces(const TensorBox& box, uint32_t base, F f) {
  box.for_rows([&](const BoxRow& row) {
    const uint32_t begin = row.first * box.element, end = begin + row.count * box.element;
    for (uint32_t at = begin, next; at < end; at = next) {
      next = std::min(end, (at | 15) + 1);
      f(reinterpret_cast<std::byte*>(row.address + (at - begin)),
        swizzle(base + row.offset + at, box.map.swizzle), next - at);
    }
  });
}

Step load_one(Warp& w, const Op& op, int lane) {
  const auto& o = bulk_operands(op);
  TensorBox box;
  if (!open_box(w, op, lane, box) || !judge_global(w, op, lane, box, AccessKind::load)) return Step::fault;
  Destination to;
  if (!open_destination(w, op, lane, o, w.reg<uint64_t>(o.shared)[lane] + o.shared_displacement,
                        w.reg<uint64_t>(o.barrier)[lane] + o.barrier_displacement, box.bytes(), 128, to))
    return Step::fault;
  if (w.order && !order_global(w, op, lane, box, signals(w, lane, to), signals(w, lane, to)))
    return Step::fault;
  Cluster* cluster = w.cta->cluster;
  if (met_undefined(w))
    for_pieces(box, to.offset, [&](std::byte* from, uint32_t offset, uint32_t bytes) {
      for (uint32_t rest = to.ctas; rest; rest &= rest - 1)
        undefined_copy(w, op, from, cluster->ctas[__builtin_ctz(rest)]->smem + offset, bytes);
    });
  const uint64_t done = engine_time(w, box) + charge(*cluster->grid, box);
  cluster->async.push_back({[&w, &op, cluster, to, box, done] {
                              for (uint32_t rest = to.ctas; rest; rest &= rest - 1)
                                box.load(cluster->ctas[__builtin_ctz(rest)]->smem, to.offset);
                              complete(w, op, to, box.bytes(), done);
                            },
                            true});
  return Step::next;
}

// Reductions: the operation is the instruction's, the type the map's.
struct TensorReduce {
  BulkOperands operands;  // first, so that bulk_operands() finds it
  AtomicOp op{};
};

isa::Type reduce_type(TensorMapType type, AtomicOp op) {
  const bool bits = op == AtomicOp::and_ || op == AtomicOp::or_ || op == AtomicOp::xor_;
  using isa::Type;
  switch (type) {
    case TensorMapType::kU32:
      return bits ? Type::b32 : Type::u32;
    case TensorMapType::kS32:
      return bits ? Type::b32 : Type::s32;
    case TensorMapType::kU64:
      return bits ? Type::b64 : Type::u64;
    case TensorMapType::kS64:
      return bits ? Type::b64 : Type::s64;
    case TensorMapType::kF16:
      return Type::f16;
    case TensorMapType::kBF16:
      return Type::bf16;
    case TensorMapType::kF32:
    case TensorMapType::kF32Ftz:
      return Type::f32;
    case TensorMapType::kF64:
      return Type::f64;
    default:
      return Type::none;
  }
}

bool judge_undefined(Warp& w, const Op& op, int lane, const TensorBox& box, uint32_t base) {
  if (w.order->checker->undefined_stores(*w.cta).empty()) return true;
  bool fine = true;
  for_pieces(box, base, [&](std::byte*, uint32_t offset, uint32_t bytes) {
    fine = fine && undefined_bulk_store(w, op, lane, offset, bytes);
  });
  return fine;
}

Step store_one(Warp& w, const Op& op, int lane) {
  const auto& o = bulk_operands(op);
  TensorBox box;
  if (!open_box(w, op, lane, box)) return Step::fault;
  for (int d = 0; d < box.map.rank(); ++d)
    if (box.start[d] < 0)
      return w.fault(
          op, lane, Diagnostic::A1,
          fmt::format("tensor store with coordinate {} = {}: expected 0 or more", d, box.start[d]));
  const bool reduces = op.e != 0;
  atomics::ReduceFunction reduce = nullptr;
  if (reduces) {
    const AtomicOp kind = reinterpret_cast<const TensorReduce*>(op.imm)->op;
    // f32 in a map without _FTZ keeps subnormals.
    reduce = atomics::reduce_function(kind, reduce_type(box.map.type, kind),
                                      box.map.type == TensorMapType::kF32Ftz);
    if (!reduce)
      return w.fault(op, lane, Diagnostic::A1,
                     fmt::format("this tensor reduction does not exist for elements of type code {}",
                                 static_cast<int>(box.map.type)));
  }
  const std::byte* from =
      open_source(w, op, lane, w.reg<uint64_t>(o.shared)[lane] + o.shared_displacement, box.bytes(), 128);
  if (!from || !judge_global(w, op, lane, box, reduces ? AccessKind::atomic : AccessKind::store))
    return Step::fault;
  const uint32_t base = static_cast<uint32_t>(from - w.cta->smem);
  if (w.order) {
    const GroupedOrder g = open_group(w, op, lane, reduces ? AccessKind::atomic : AccessKind::store);
    if (!w.order->checker->shared_range(w, op, g.read, *w.cta, base, box.bytes()) ||
        !judge_undefined(w, op, lane, box, base) || !order_global(w, op, lane, box, g.write, g.read))
      return Step::fault;
  }
  if (met_undefined(w)) {
    bool fine = true;
    for_pieces(box, base, [&](std::byte* to, uint32_t offset, uint32_t bytes) {
      const std::byte* source = w.cta->smem + offset;
      fine = fine && (!reduce || undefined_reduction(w, op, lane, source, bytes));
      if (fine) undefined_copy(w, op, source, to, bytes);
    });
    if (!fine) return Step::fault;
  }
  const uint64_t read = engine_time(w, box), written = read + charge(*w.cta->cluster->grid, box);
  push_grouped(w, lane, read, written, [smem = w.cta->smem, base, box, reduce] {
    if (reduce)
      box.reduce(smem, base, reduce);
    else
      box.store(smem, base);
  });
  return Step::next;
}

Step prefetch_one(Warp& w, const Op& op, int lane) {
  TensorBox box;
  if (!open_box(w, op, lane, box)) return Step::fault;
  reserve_engine(w, box.bytes(), box.rows);
  charge(*w.cta->cluster->grid, box);
  return Step::next;
}

template <Step (*kOne)(Warp&, const Op&, int)>
Step each_lane(Warp& w, const Op& op, uint32_t lanes) {
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const Step step = kOne(w, op, __builtin_ctz(rest));
    if (step != Step::next) return step;
  }
  return Step::next;
}

// The lanes of `lanes` whose copy no lower lane asks for too.
uint32_t distinct_lanes(Warp& w, const BulkOperands& o, uint32_t lanes) {
  uint32_t distinct = 0;
  const auto same = [&](int a, int b) {
    const uint64_t *global = w.reg<uint64_t>(o.global), *shared = w.reg<uint64_t>(o.shared);
    if (global[a] != global[b] || shared[a] != shared[b]) return false;
    for (int k = 0; k < o.dimensions; ++k) {
      const uint32_t* c = w.reg<uint32_t>(o.coordinates[k]);
      if (c[a] != c[b]) return false;
    }
    return true;
  };
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const int lane = __builtin_ctz(rest);
    bool seen = false;
    for (uint32_t earlier = distinct; earlier && !seen; earlier &= earlier - 1)
      seen = same(__builtin_ctz(earlier), lane);
    if (!seen) distinct |= 1u << lane;
  }
  return distinct;
}

// The copy engine is asked once by a warp, not by its lanes: CUTLASS's epilogues store, and reduce, with all
// 32 lanes and the same operands, and mean one copy.
Step store_lanes(Warp& w, const Op& op, uint32_t lanes) {
  return each_lane<store_one>(w, op, distinct_lanes(w, bulk_operands(op), lanes));
}

// [tensorMap, {c0, ...}]
void decode_tensor(Decoder& d, const isa::Operand& operand, BulkOperands& o) {
  o.global = d.address(operand, o.global_displacement);
  o.dimensions = static_cast<int>(operand.elements.size());
  if (o.dimensions < 1 || o.dimensions > 5) d.refuse("tensor copies have 1 to 5 coordinates");
  for (int k = 0; k < o.dimensions; ++k) o.coordinates[k] = d.src(operand.elements[k], isa::Type::s32);
}

template <class Payload>
void emit(Decoder& d, Handler handler, const Payload& payload, bool reduces) {
  const auto* kept = d.keep(payload);
  Op& op = d.emit(handler);
  op.imm = reinterpret_cast<uint64_t>(kept);
  op.e = reduces;
  op.cost = 4;
}

}  // namespace

void decode_cp_async_bulk_tensor_g2s(Decoder& d, const isa::Instruction& in) {
  BulkOperands o;
  o.shared = d.address(in.operands[0], o.shared_displacement);
  decode_tensor(d, in.operands[1], o);
  o.barrier = d.address(in.operands[2], o.barrier_displacement);
  o.multicast = in.has("multicast::cluster");
  if (o.multicast) o.mask = d.src(in.operands[3], isa::Type::u16);
  emit(d, each_lane<load_one>, o, false);
}
void decode_cp_async_bulk_tensor_s2g(Decoder& d, const isa::Instruction& in) {
  BulkOperands o;
  decode_tensor(d, in.operands[0], o);
  o.shared = d.address(in.operands[1], o.shared_displacement);
  emit(d, store_lanes, o, false);
}
void decode_cp_reduce_async_bulk_tensor_s2g(Decoder& d, const isa::Instruction& in) {
  TensorReduce r;
  if (!atomic_op_from(in.choice("op"), r.op)) d.refuse("unknown reduction");
  decode_tensor(d, in.operands[0], r.operands);
  r.operands.shared = d.address(in.operands[1], r.operands.shared_displacement);
  emit(d, store_lanes, r, true);
}
void decode_cp_async_bulk_prefetch_tensor(Decoder& d, const isa::Instruction& in) {
  BulkOperands o;
  decode_tensor(d, in.operands[0], o);
  emit(d, each_lane<prefetch_one>, o, false);
}

}  // namespace ptxops::virt
