// shfl.sync.
#include "driver/virtual/exec/collective-inl.h"
#include "driver/virtual/exec/decode.h"
#include "driver/virtual/isa/ir.h"

namespace ptxops::virt {
namespace {

enum class Shuffle : uint8_t { up, down, bfly, idx };

// What a lane reads from a source that did not take part: undefined by the architecture; ones show as NaN.
constexpr uint32_t kUndefined = 0xffffffffu;

template <Shuffle kMode>
struct ShuffleRule {
  struct Operands {
    alignas(64) uint32_t a[kLanes];  // value
    alignas(64) uint32_t b[kLanes];  // source lane, delta or xor mask
    alignas(64) uint32_t c[kLanes];  // bits 0-4 clamp, 8-12 segment mask
    alignas(64) uint32_t d[kLanes];
    uint32_t p = 0;
  };
  static void load(Warp& w, const Op& op, uint32_t lanes, Operands& o) {
    store_selected(o.a, w.reg<uint32_t>(op.a), lanes);
    store_selected(o.b, w.reg<uint32_t>(op.b), lanes);
    store_selected(o.c, w.reg<uint32_t>(op.c), lanes);
  }
  // Without branches, so that the loops vectorise. A lane whose source is out of range reads itself.
  static void compute(Operands& o, const Op&, uint32_t lanes) {
    alignas(64) uint32_t from[kLanes], in_range[kLanes];
    for (uint32_t i = 0; i < kLanes; ++i) {
      const uint32_t segment = o.c[i] >> 8 & 31, clamp = o.c[i] & 31, b = o.b[i] & 31;
      const int32_t limit = static_cast<int32_t>((i & segment) | (clamp & ~segment));
      const int32_t source = static_cast<int32_t>(kMode == Shuffle::up     ? i - b
                                                  : kMode == Shuffle::down ? i + b
                                                  : kMode == Shuffle::bfly ? i ^ b
                                                                           : (i & segment) | (b & ~segment));
      const bool ok = kMode == Shuffle::up ? source >= limit : source <= limit;
      in_range[i] = ok ? 1u << i : 0;
      from[i] = ok ? static_cast<uint32_t>(source) : i;
    }
    o.p = 0;
    for (uint32_t i = 0; i < kLanes; ++i) o.p |= in_range[i];
    for (uint32_t i = 0; i < kLanes; ++i) o.d[i] = o.a[from[i] & 31];
    if (lanes == kAllLanes) return;
    for (uint32_t i = 0; i < kLanes; ++i)
      if (!(lanes >> (from[i] & 31) & 1)) o.d[i] = kUndefined;
  }
  static void store(std::byte* regs, const Op& op, uint32_t lanes, const Operands& o) {
    store_selected(reinterpret_cast<uint32_t*>(regs + op.d), o.d, lanes);
    if (op.e) store_predicate(*reinterpret_cast<uint32_t*>(regs + op.e), o.p, lanes);
  }
};

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
  Op& op = d.emit(handler_of(in.choice("mode")));
  op.a = a;
  op.b = b;
  op.c = c;
  op.f = members;
  op.d = dst;
  op.e = p;
  op.cost = 2;
}

}  // namespace ptxops::virt
