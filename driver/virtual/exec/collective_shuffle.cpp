// shfl.sync.
#include "driver/virtual/exec/collective-inl.h"
#include "driver/virtual/exec/decode.h"
#include "driver/virtual/isa/ir.h"

namespace ptxops::virt {
namespace {

enum class Shuffle : uint8_t { up, down, bfly, idx };

// What a lane reads from a source that did not take part: undefined by the architecture; ones show as NaN.
constexpr uint32_t kUndefined = 0xffffffffu;

// Where each lane reads, and whether that is in range (else it reads itself).
struct Sources {
  alignas(64) uint32_t from[kLanes];
  uint32_t in_range = 0;
};

// b: source lane, delta or xor mask; c: bits 0-4 clamp, 8-12 segment mask. Without branches, so that it
// vectorises.
template <Shuffle kMode>
void find_sources(const uint32_t* bs, const uint32_t* cs, Sources& s) {
  alignas(64) uint32_t bits[kLanes];
  for (uint32_t i = 0; i < kLanes; ++i) {
    const uint32_t segment = cs[i] >> 8 & 31, clamp = cs[i] & 31, b = bs[i] & 31;
    const int32_t limit = static_cast<int32_t>((i & segment) | (clamp & ~segment));
    const int32_t source = static_cast<int32_t>(kMode == Shuffle::up     ? i - b
                                                : kMode == Shuffle::down ? i + b
                                                : kMode == Shuffle::bfly ? i ^ b
                                                                         : (i & segment) | (b & ~segment));
    const bool ok = kMode == Shuffle::up ? source >= limit : source <= limit;
    bits[i] = ok ? 1u << i : 0;
    s.from[i] = ok ? static_cast<uint32_t>(source) & 31 : i;
  }
  s.in_range = 0;
  for (uint32_t i = 0; i < kLanes; ++i) s.in_range |= bits[i];
}

// Op::imm: the Sources of constant b and c, or 0.
template <Shuffle kMode>
struct ShuffleRule {
  struct Operands {
    alignas(64) uint32_t a[kLanes];
    alignas(64) uint32_t d[kLanes];
    alignas(64) uint32_t from[kLanes];
    uint32_t p = 0;
  };
  static void load(Warp& w, const Op& op, uint32_t lanes, Operands& o) {
    store_selected(o.a, w.reg<uint32_t>(op.a), lanes);
    Sources own;
    const Sources* sources = reinterpret_cast<const Sources*>(op.imm);
    if (!sources) {
      find_sources<kMode>(w.reg<uint32_t>(op.b), w.reg<uint32_t>(op.c), own);
      sources = &own;
    }
    store_selected(o.from, sources->from, lanes);
    store_predicate(o.p, sources->in_range, lanes);
  }
  static void compute(Operands& o, const Op&, uint32_t lanes) {
    if (lanes == kAllLanes) {
      for (uint32_t i = 0; i < kLanes; ++i) o.d[i] = o.a[o.from[i]];
      return;
    }
    for (uint32_t m = lanes; m; m &= m - 1) {
      const int i = std::countr_zero(m);
      o.d[i] = lanes >> o.from[i] & 1 ? o.a[o.from[i]] : kUndefined;
    }
  }
  static void store(std::byte* regs, const Op& op, uint32_t lanes, const Operands& o) {
    store_selected(reinterpret_cast<uint32_t*>(regs + op.d), o.d, lanes);
    if (op.e) store_predicate(*reinterpret_cast<uint32_t*>(regs + op.e), o.p, lanes);
  }
};

template <Shuffle kMode>
Sources constant_sources(uint32_t b, uint32_t c) {
  uint32_t bs[kLanes], cs[kLanes];
  std::fill(bs, bs + kLanes, b);
  std::fill(cs, cs + kLanes, c);
  Sources s;
  find_sources<kMode>(bs, cs, s);
  return s;
}
Sources constant_sources(std::string_view mode, uint32_t b, uint32_t c) {
  if (mode == "up") return constant_sources<Shuffle::up>(b, c);
  if (mode == "down") return constant_sources<Shuffle::down>(b, c);
  if (mode == "bfly") return constant_sources<Shuffle::bfly>(b, c);
  return constant_sources<Shuffle::idx>(b, c);
}

Handler handler_of(std::string_view mode) {
  if (mode == "up") return collective<ShuffleRule<Shuffle::up>>;
  if (mode == "down") return collective<ShuffleRule<Shuffle::down>>;
  if (mode == "bfly") return collective<ShuffleRule<Shuffle::bfly>>;
  return collective<ShuffleRule<Shuffle::idx>>;
}

}  // namespace

void decode_shfl_sync(Decoder& d, const isa::Instruction& in) {
  const isa::Operand& result = in.operands[0];
  const bool pair = result.kind == isa::OperandKind::pair;
  const uint32_t a = d.src(in.operands[1], isa::Type::b32), b = d.src(in.operands[2], isa::Type::b32);
  const uint32_t c = d.src(in.operands[3], isa::Type::b32), members = d.src(in.operands[4], isa::Type::b32);
  const uint32_t dst = d.dst(pair ? result.elements[0] : result, isa::Type::b32);
  const uint32_t p = pair && !result.elements[1].is_sink() ? d.dst_pred(result.elements[1]) : 0;
  const Sources* sources = nullptr;
  if (in.operands[2].is_imm() && in.operands[3].is_imm())
    sources = d.keep(constant_sources(in.choice("mode"),
                                      static_cast<uint32_t>(in.operands[2].immediate(isa::Type::b32)),
                                      static_cast<uint32_t>(in.operands[3].immediate(isa::Type::b32))));
  Op& op = d.emit(handler_of(in.choice("mode")));
  op.imm = reinterpret_cast<uint64_t>(sources);
  op.a = a;
  op.b = b;
  op.c = c;
  op.f = members;
  op.d = dst;
  op.e = p;
  op.cost = 2;
}

}  // namespace ptxops::virt
