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
  // Source lane of `lane`, and whether it lies in range (else the lane reads itself).
  static bool source(uint32_t lane, uint32_t b, uint32_t c, uint32_t& from) {
    const uint32_t segment = c >> 8 & 31, clamp = c & 31;
    const uint32_t max_lane = (lane & segment) | (clamp & ~segment);
    const uint32_t min_lane = lane & segment;
    b &= 31;
    bool in_range = false;
    switch (kMode) {
      case Shuffle::up:
        from = lane - b;
        in_range = static_cast<int32_t>(from) >= static_cast<int32_t>(max_lane);
        break;
      case Shuffle::down:
        from = lane + b;
        in_range = from <= max_lane;
        break;
      case Shuffle::bfly:
        from = lane ^ b;
        in_range = from <= max_lane;
        break;
      case Shuffle::idx:
        from = min_lane | (b & ~segment);
        in_range = from <= max_lane;
        break;
    }
    if (!in_range) from = lane;
    return in_range;
  }
  static void compute(Operands& o, const Op&, uint32_t lanes) {
    o.p = 0;
    for (uint32_t i = 0; i < kLanes; ++i) {
      if (!(lanes >> i & 1)) continue;
      uint32_t from;
      o.p |= uint32_t{source(i, o.b[i], o.c[i], from)} << i;
      o.d[i] = lanes >> from & 1 ? o.a[from] : kUndefined;
    }
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
