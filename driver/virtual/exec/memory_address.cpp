// Addresses and hints: cvta, isspacep, mapa, getctarank, prefetch, createpolicy, applypriority, discard.
#include <fmt/format.h>

#include <cstring>
#include <string_view>

#include "driver/virtual/exec/grid.h"
#include "driver/virtual/exec/memory_payload.h"
#include "driver/virtual/memory/memory.h"
#include "driver/virtual/memory/tensor_map.h"

namespace ptxops::virt {
namespace {

using isa::Type;

template <class F>
void each(uint32_t lanes, F f) {
  for (uint32_t rest = lanes; rest; rest &= rest - 1) f(static_cast<uint32_t>(__builtin_ctz(rest)));
}

// ---- cvta, isspacep: d, a; imm is what is added
// -----------------------------------------------------------------

Step add_window(Warp& w, const Op& op, uint32_t lanes) {
  uint64_t* d = w.reg<uint64_t>(op.d);
  const uint64_t* a = w.reg<uint64_t>(op.a);
  each(lanes, [&](uint32_t i) { d[i] = a[i] + op.imm; });
  return Step::next;
}

uint64_t window_of_space(std::string_view space) {
  if (space == "shared" || space == "shared::cta" || space == "shared::cluster") return kSharedWindow;
  return space == "local" ? kLocalWindow : 0;
}

void decode_window(Decoder& d, const isa::Instruction& in, bool to_generic) {
  if (in.type() != Type::u64) d.refuse("cvta needs 64-bit addresses (.u64)");
  const uint64_t window = window_of_space(in.choice("space"));
  const uint32_t a = d.src(in.operands[1], Type::u64), slot = d.dst(in.operands[0], Type::u64);
  Op& op = d.emit(add_window);
  op.d = slot;
  op.a = a;
  op.imm = to_generic ? window : 0 - window;
}

enum Question : uint32_t { kConst, kGlobal, kLocal, kSharedCta, kSharedCluster, kParam };

bool lies_in(Warp& w, uint64_t address, uint32_t question) {
  const uint64_t window = address & kWindowMask;
  const Grid& grid = *w.cta->cluster->grid;
  const uint32_t rank_bits = static_cast<uint32_t>(address & ~kWindowMask) >> kClusterRankShift;
  switch (question) {
    case kLocal:
      return window == kLocalWindow;
    case kSharedCta:
      return window == kSharedWindow && (rank_bits == 0 || rank_bits == w.cta->rank + 1);
    case kSharedCluster:
      return window == kSharedWindow && rank_bits <= w.cta->cluster->cta_count();
    case kParam:
      return address - grid.params < grid.desc.params.size();
    case kConst: {
      const Allocation* a = window ? nullptr : grid.desc.memory->find(address);
      return a && std::string_view(a->kind) == "constant";
    }
    default:
      return window == 0;
  }
}

Step isspacep(Warp& w, const Op& op, uint32_t lanes) {
  const uint64_t* a = w.reg<uint64_t>(op.a);
  uint32_t yes = 0;
  each(lanes, [&](uint32_t i) { yes |= static_cast<uint32_t>(lies_in(w, a[i], op.e)) << i; });
  uint32_t& d = w.pred(op.d);
  d = (d & ~lanes) | yes;
  return Step::next;
}

// ---- mapa, getctarank: d, a, b rank; kGeneric addresses carry the shared window
// ---------------------------------

template <class T, bool kGeneric>
bool shared_offset(Warp& w, const Op& op, uint32_t lane, T address, uint32_t& offset) {
  const uint64_t window = kGeneric ? kSharedWindow : 0;
  if (((address ^ window) & kWindowMask) != 0 || (uint64_t{address} - window) >> 32 != 0) {
    w.fault(op, static_cast<int>(lane), Diagnostic::X1,
            fmt::format("address {:#x} does not lie in shared memory", address));
    return false;
  }
  offset = static_cast<uint32_t>(address - window);
  return true;
}

template <class T, bool kGeneric>
Step mapa(Warp& w, const Op& op, uint32_t lanes) {
  const uint32_t count = w.cta->cluster->cta_count();
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const uint32_t i = __builtin_ctz(rest);
    const uint32_t rank = w.reg<uint32_t>(op.b)[i];
    uint32_t offset;
    if (!shared_offset<T, kGeneric>(w, op, i, w.reg<T>(op.a)[i], offset)) return Step::fault;
    if (rank >= count)
      return w.fault(op, static_cast<int>(i), Diagnostic::C7,
                     fmt::format("mapa to CTA rank {} of a cluster of {}", rank, count));
    offset = (offset & ((1u << kClusterRankShift) - 1)) | (rank + 1) << kClusterRankShift;
    w.reg<T>(op.d)[i] = static_cast<T>(kGeneric ? kSharedWindow + offset : offset);
  }
  return Step::next;
}

template <class T, bool kGeneric>
Step getctarank(Warp& w, const Op& op, uint32_t lanes) {
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const uint32_t i = __builtin_ctz(rest);
    uint32_t offset;
    if (!shared_offset<T, kGeneric>(w, op, i, w.reg<T>(op.a)[i], offset)) return Step::fault;
    const uint32_t rank_bits = offset >> kClusterRankShift;
    if (rank_bits > w.cta->cluster->cta_count())
      return w.fault(op, static_cast<int>(i), Diagnostic::X1,
                     fmt::format("getctarank of {:#x}, which names CTA rank {} of a cluster of {}", offset,
                                 rank_bits - 1, w.cta->cluster->cta_count()));
    w.reg<uint32_t>(op.d)[i] = rank_bits ? rank_bits - 1 : w.cta->rank;
  }
  return Step::next;
}

template <template <class, bool> class F>
Handler pick(bool wide, bool generic) {
  if (wide) return generic ? F<uint64_t, true>::fn : F<uint64_t, false>::fn;
  return generic ? nullptr : F<uint32_t, false>::fn;
}
template <class T, bool G>
struct Mapa {
  static constexpr Handler fn = mapa<T, G>;
};
template <class T, bool G>
struct Rank {
  static constexpr Handler fn = getctarank<T, G>;
};

// ---- Hints
// ------------------------------------------------------------------------------------------------------

// prefetch: an address outside every allocation is as wrong as a load from it. The data comes to L2.
Step prefetch(Warp& w, const Op& op, uint32_t lanes) {
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const int i = __builtin_ctz(rest);
    const uint64_t address = w.reg<uint64_t>(op.a)[i] + op.imm;
    const uint64_t window = address & kWindowMask;
    if (space_of(op) == Space::local || window == kLocalWindow || window == kSharedWindow) continue;
    const Allocation* a = w.cta->cluster->grid->desc.memory->find(address);
    if (!a)
      return w.fault(op, i, Diagnostic::X1,
                     fmt::format("prefetch of {:#x}: {}", address,
                                 w.cta->cluster->grid->desc.memory->describe(address)));
    charge_global(*w.cta->cluster->grid, address, 1);
  }
  return Step::next;
}

Step prefetch_tensormap(Warp& w, const Op& op, uint32_t lanes) {
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const int i = __builtin_ctz(rest);
    const Access access{
        .space = space_of(op), .proxy = Proxy::tensormap, .size = sizeof(TensorMap), .alignment = 64};
    const uint64_t address = w.reg<uint64_t>(op.a)[i] + op.imm;
    const std::byte* p = resolve(w, op, i, address, access);
    if (!p) return Step::fault;
    TensorMap map;
    std::memcpy(&map, p, sizeof map);
    if (!is_intact(map))
      return w.fault(op, i, Diagnostic::X3, fmt::format("no tensor map at {:#x}", address));
  }
  return Step::next;
}

// discard and applypriority act on one aligned 128-byte line.
Step discard(Warp& w, const Op& op, uint32_t lanes) {
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const int i = __builtin_ctz(rest);
    // The line's contents become undefined: overwriting them shows code that relies on them.
    const Access access{.space = space_of(op), .kind = AccessKind::store, .size = 128, .alignment = 128};
    std::byte* p = resolve(w, op, i, w.reg<uint64_t>(op.a)[i] + op.imm, access);
    if (!p) return Step::fault;
    std::memset(p, kFreshByte, 128);
  }
  ++w.cta->cluster->progress;
  return Step::next;
}
Step applypriority(Warp& w, const Op& op, uint32_t lanes) {
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const int i = __builtin_ctz(rest);
    const uint64_t address = w.reg<uint64_t>(op.a)[i] + op.imm;
    const Allocation* a = w.cta->cluster->grid->desc.memory->find(address);
    if (!a || address % 128)
      return w.fault(op, i, a ? Diagnostic::X2 : Diagnostic::X1,
                     fmt::format("applypriority of 128 bytes at {:#x}: {}", address,
                                 a ? "expected a multiple of 128"
                                   : w.cta->cluster->grid->desc.memory->describe(address)));
  }
  return Step::next;
}

Step nothing(Warp&, const Op&, uint32_t) {
  return Step::next;
}

// A cache policy is opaque; nothing reads its bits, but equal requests must give equal policies.
Step policy(Warp& w, const Op& op, uint32_t lanes) {
  each(lanes, [&](uint32_t i) { w.reg<uint64_t>(op.d)[i] = op.imm; });
  return Step::next;
}

void decode_hint(Decoder& d, const isa::Instruction& in, Handler handler) {
  int64_t displacement;
  const uint32_t address = d.address(in.operands[0], displacement);
  Op& op = d.emit(handler);
  op.a = address;
  op.imm = static_cast<uint64_t>(displacement);
  op.f = pack(in.space(), Order::weak, Scope::cta);
  op.cost = 2;
}

void decode_policy(Decoder& d, const isa::Instruction& in) {
  uint64_t hash = 0xCBF29CE484222325;
  for (const char c : in.opcode->text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001B3;
  const uint32_t slot = d.dst(in.operands[0], Type::b64);
  Op& op = d.emit(policy);
  op.d = slot;
  op.imm = hash;
}

}  // namespace

void decode_cvta(Decoder& d, const isa::Instruction& in) {
  decode_window(d, in, true);
}
void decode_cvta_to(Decoder& d, const isa::Instruction& in) {
  decode_window(d, in, false);
}

void decode_isspacep(Decoder& d, const isa::Instruction& in) {
  const std::string_view space = in.choice("space");
  const uint32_t question = space == "const"              ? kConst
                            : space == "global"           ? kGlobal
                            : space == "local"            ? kLocal
                            : space == "shared::cluster"  ? kSharedCluster
                            : space.starts_with("shared") ? kSharedCta
                                                          : kParam;
  const uint32_t a = d.src(in.operands[1], Type::u64), slot = d.dst_pred(in.operands[0]);
  Op& op = d.emit(isspacep);
  op.d = slot;
  op.a = a;
  op.e = question;
}

void decode_mapa(Decoder& d, const isa::Instruction& in) {
  const Handler handler = pick<Mapa>(in.type() == Type::u64, in.choice("space").empty());
  if (!handler) d.refuse("mapa of a generic address needs .u64");
  const uint32_t a = d.src(in.operands[1], in.type()), b = d.src(in.operands[2], Type::u32);
  const uint32_t slot = d.dst(in.operands[0], in.type());
  Op& op = d.emit(handler);
  op.d = slot;
  op.a = a;
  op.b = b;
  op.cost = 2;
}
void decode_getctarank(Decoder& d, const isa::Instruction& in) {
  const Handler handler = pick<Rank>(in.type() == Type::u64, in.choice("space").empty());
  if (!handler) d.refuse("getctarank of a generic address needs .u64");
  const uint32_t a = d.src(in.operands[1], in.type()), slot = d.dst(in.operands[0], Type::u32);
  Op& op = d.emit(handler);
  op.d = slot;
  op.a = a;
  op.cost = 2;
}

void decode_prefetch(Decoder& d, const isa::Instruction& in) {
  decode_hint(d, in, prefetch);
}
void decode_prefetch_tensormap(Decoder& d, const isa::Instruction& in) {
  decode_hint(d, in, prefetch_tensormap);
}
void decode_prefetchu(Decoder& d, const isa::Instruction& in) {
  decode_hint(d, in, nothing);
}
void decode_applypriority(Decoder& d, const isa::Instruction& in) {
  decode_hint(d, in, applypriority);
}
void decode_discard(Decoder& d, const isa::Instruction& in) {
  decode_hint(d, in, discard);
}

void decode_createpolicy_fractional(Decoder& d, const isa::Instruction& in) {
  decode_policy(d, in);
}
void decode_createpolicy_range(Decoder& d, const isa::Instruction& in) {
  decode_policy(d, in);
}
void decode_createpolicy_cvt(Decoder& d, const isa::Instruction& in) {
  decode_policy(d, in);
}

}  // namespace ptxops::virt
