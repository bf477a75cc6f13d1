// bar.warp.sync, vote, match, redux, elect, activemask.
#include "driver/virtual/exec/collective.h"

#include "driver/virtual/exec/collective-inl.h"
#include "driver/virtual/exec/decode.h"
#include "driver/virtual/isa/ir.h"

namespace ptxops::virt {

void release_rendezvous(Warp& w, size_t index, const Split* self) {
  Rendezvous finished = std::move(w.rendezvous[index]);
  w.rendezvous.erase(w.rendezvous.begin() + static_cast<ptrdiff_t>(index));
  for (const Rendezvous::Arrival& a : finished.arrivals) {
    if (a.split == self) continue;
    bool held = false;
    for (const Rendezvous& r : w.rendezvous)
      for (const Rendezvous::Arrival& other : r.arrivals) held |= other.split == a.split;
    if (!held) w.cta->cluster->wake(*a.split);
  }
}

void collectives_after_exit(Warp& w) {
  for (size_t i = 0; i < w.rendezvous.size();) {
    Rendezvous& r = w.rendezvous[i];
    if (r.members & w.live() & ~r.arrived) {
      ++i;
      continue;
    }
    r.finish(w, r);
    order_lanes(w, r.members);
    release_rendezvous(w, i, nullptr);
  }
}

namespace {

// ---- bar.warp.sync
// -----------------------------------------------------------------------------------------------
struct SyncRule {
  struct Operands {};
  static void load(Warp&, const Op&, uint32_t, Operands&) {}
  static void compute(Operands&, const Op&, uint32_t) {}
  static void store(std::byte*, const Op&, uint32_t, const Operands&) {}
};

// ---- vote
// --------------------------------------------------------------------------------------------------------
enum class Vote : uint8_t { all, any, uni, ballot };
template <Vote kMode>
struct VoteRule {
  struct Operands {
    uint32_t p = 0;
    uint32_t result = 0;
  };
  static void load(Warp& w, const Op& op, uint32_t lanes, Operands& o) { o.p |= w.pred(op.a) & lanes; }
  static void compute(Operands& o, const Op&, uint32_t lanes) {
    const uint32_t p = o.p & lanes;
    if (kMode == Vote::all) o.result = p == lanes ? kAllLanes : 0;
    if (kMode == Vote::any) o.result = p != 0 ? kAllLanes : 0;
    if (kMode == Vote::uni) o.result = p == lanes || p == 0 ? kAllLanes : 0;
    if (kMode == Vote::ballot) o.result = p;
  }
  static void store(std::byte* regs, const Op& op, uint32_t lanes, const Operands& o) {
    uint32_t* d = reinterpret_cast<uint32_t*>(regs + op.d);
    if (kMode != Vote::ballot)
      store_predicate(*d, o.result, lanes);
    else
      fill_selected(d, o.result, lanes);
  }
};

// ---- match
// -------------------------------------------------------------------------------------------------------
template <class T, bool kAll>
struct MatchRule {
  struct Operands {
    alignas(64) T value[kLanes];
    alignas(64) uint32_t d[kLanes];
    uint32_t p = 0;
  };
  static void load(Warp& w, const Op& op, uint32_t lanes, Operands& o) {
    const T* a = w.reg<T>(op.a);
    for (uint32_t m = lanes; m; m &= m - 1) o.value[std::countr_zero(m)] = a[std::countr_zero(m)];
  }
  static void compute(Operands& o, const Op&, uint32_t lanes) {
    for (uint32_t m = lanes; m; m &= m - 1) {
      const uint32_t i = static_cast<uint32_t>(std::countr_zero(m));
      uint32_t equal = 0;
      for (uint32_t n = lanes; n; n &= n - 1)
        if (o.value[std::countr_zero(n)] == o.value[i]) equal |= n & -n;
      o.d[i] = kAll && equal != lanes ? 0 : equal;
      if (kAll) o.p = equal == lanes ? kAllLanes : 0;
    }
  }
  static void store(std::byte* regs, const Op& op, uint32_t lanes, const Operands& o) {
    store_selected(reinterpret_cast<uint32_t*>(regs + op.d), o.d, lanes);
    if (kAll && op.e) store_predicate(*reinterpret_cast<uint32_t*>(regs + op.e), o.p, lanes);
  }
};

// ---- redux
// -------------------------------------------------------------------------------------------------------
enum class Redux : uint8_t { add, min_u, max_u, min_s, max_s, and_, or_, xor_ };
template <Redux kOp>
struct ReduxRule {
  struct Operands {
    alignas(64) uint32_t value[kLanes];
    uint32_t result = 0;
  };
  static void load(Warp& w, const Op& op, uint32_t lanes, Operands& o) {
    store_selected(o.value, w.reg<uint32_t>(op.a), lanes);
  }
  static uint32_t combine(uint32_t x, uint32_t y) {
    const int32_t sx = static_cast<int32_t>(x), sy = static_cast<int32_t>(y);
    switch (kOp) {
      case Redux::add:
        return x + y;
      case Redux::min_u:
        return std::min(x, y);
      case Redux::max_u:
        return std::max(x, y);
      case Redux::min_s:
        return static_cast<uint32_t>(std::min(sx, sy));
      case Redux::max_s:
        return static_cast<uint32_t>(std::max(sx, sy));
      case Redux::and_:
        return x & y;
      case Redux::or_:
        return x | y;
      case Redux::xor_:
        return x ^ y;
    }
    return 0;
  }
  static void compute(Operands& o, const Op&, uint32_t lanes) {
    if (lanes == kAllLanes) {  // halves folded onto each other: loops that vectorise
      for (uint32_t width = kLanes / 2; width; width /= 2)
        for (uint32_t i = 0; i < width; ++i) o.value[i] = combine(o.value[i], o.value[i + width]);
      o.result = o.value[0];
      return;
    }
    o.result = o.value[std::countr_zero(lanes)];
    for (uint32_t m = lanes & (lanes - 1); m; m &= m - 1)
      o.result = combine(o.result, o.value[std::countr_zero(m)]);
  }
  static void store(std::byte* regs, const Op& op, uint32_t lanes, const Operands& o) {
    uint32_t* d = reinterpret_cast<uint32_t*>(regs + op.d);
    fill_selected(d, o.result, lanes);
  }
};

// ---- elect
// ------------------------------------------------------------------------------------------------------- The
// leader is the lowest participant, always: kernels rely on a constant choice.
struct ElectRule {
  struct Operands {
    uint32_t leader = 0;
  };
  static void load(Warp&, const Op&, uint32_t, Operands&) {}
  static void compute(Operands& o, const Op&, uint32_t lanes) {
    o.leader = static_cast<uint32_t>(std::countr_zero(lanes));
  }
  static void store(std::byte* regs, const Op& op, uint32_t lanes, const Operands& o) {
    uint32_t* d = reinterpret_cast<uint32_t*>(regs + op.d);
    fill_selected(d, o.leader, lanes);
    store_predicate(*reinterpret_cast<uint32_t*>(regs + op.e), 1u << o.leader, lanes);
  }
};

Step active_mask(Warp& w, const Op& op, uint32_t lanes) {
  uint32_t* d = w.reg<uint32_t>(op.d);
  fill_selected(d, lanes, lanes);
  return Step::next;
}

uint32_t first_of_pair(Decoder& d, const isa::Operand& operand) {
  return d.dst(operand.kind == isa::OperandKind::pair ? operand.elements[0] : operand, isa::Type::b32);
}
// 0 when the instruction names no predicate.
uint32_t second_of_pair(Decoder& d, const isa::Operand& operand) {
  if (operand.kind != isa::OperandKind::pair || operand.elements[1].is_sink()) return 0;
  return d.dst_pred(operand.elements[1]);
}

}  // namespace

void decode_bar_warp_sync(Decoder& d, const isa::Instruction& in) {
  const uint32_t members = d.src(in.operands[0], isa::Type::b32);
  d.emit(collective<SyncRule>).f = members;
}

void decode_vote_sync_pred(Decoder& d, const isa::Instruction& in) {
  const uint32_t a = d.src_pred(in.operands[1]), members = d.src(in.operands[2], isa::Type::b32);
  const uint32_t p = d.dst_pred(in.operands[0]);
  Op& op = d.emit(in.has("all")   ? collective<VoteRule<Vote::all>>
                  : in.has("any") ? collective<VoteRule<Vote::any>>
                                  : collective<VoteRule<Vote::uni>>);
  op.a = a;
  op.f = members;
  op.d = p;
  op.cost = 2;
}

void decode_vote_sync_ballot(Decoder& d, const isa::Instruction& in) {
  const uint32_t a = d.src_pred(in.operands[1]), members = d.src(in.operands[2], isa::Type::b32);
  const uint32_t result = d.dst(in.operands[0], isa::Type::b32);
  Op& op = d.emit(collective<VoteRule<Vote::ballot>>);
  op.a = a;
  op.f = members;
  op.d = result;
  op.cost = 2;
}

static void decode_match(Decoder& d, const isa::Instruction& in, bool all) {
  const bool wide = isa::type_bits(in.type()) == 64;
  const uint32_t a = d.src(in.operands[1], in.type()), members = d.src(in.operands[2], isa::Type::b32);
  const uint32_t result = first_of_pair(d, in.operands[0]), p = second_of_pair(d, in.operands[0]);
  Op& op =
      d.emit(all ? (wide ? collective<MatchRule<uint64_t, true>> : collective<MatchRule<uint32_t, true>>)
                 : (wide ? collective<MatchRule<uint64_t, false>> : collective<MatchRule<uint32_t, false>>));
  op.a = a;
  op.f = members;
  op.d = result;
  op.e = p;
  op.cost = 8;
}
void decode_match_any_sync(Decoder& d, const isa::Instruction& in) {
  decode_match(d, in, false);
}
void decode_match_all_sync(Decoder& d, const isa::Instruction& in) {
  decode_match(d, in, true);
}

void decode_redux_sync(Decoder& d, const isa::Instruction& in) {
  const bool is_signed = in.type() == isa::Type::s32;
  const std::string_view name = in.choice("op");
  Handler handler = collective<ReduxRule<Redux::add>>;
  if (name == "min")
    handler = is_signed ? collective<ReduxRule<Redux::min_s>> : collective<ReduxRule<Redux::min_u>>;
  if (name == "max")
    handler = is_signed ? collective<ReduxRule<Redux::max_s>> : collective<ReduxRule<Redux::max_u>>;
  if (name == "and") handler = collective<ReduxRule<Redux::and_>>;
  if (name == "or") handler = collective<ReduxRule<Redux::or_>>;
  if (name == "xor") handler = collective<ReduxRule<Redux::xor_>>;
  const uint32_t a = d.src(in.operands[1], in.type()), members = d.src(in.operands[2], isa::Type::b32);
  const uint32_t result = d.dst(in.operands[0], in.type());
  Op& op = d.emit(handler);
  op.a = a;
  op.f = members;
  op.d = result;
  op.cost = 2;
}

void decode_elect_sync(Decoder& d, const isa::Instruction& in) {
  const uint32_t members = d.src(in.operands[1], isa::Type::b32);
  const uint32_t leader = first_of_pair(d, in.operands[0]);
  const uint32_t p = d.dst_pred(in.operands[0].elements[1]);
  Op& op = d.emit(collective<ElectRule>);
  op.f = members;
  op.d = leader;
  op.e = p;
}

void decode_activemask(Decoder& d, const isa::Instruction& in) {
  const uint32_t result = d.dst(in.operands[0], isa::Type::b32);
  d.emit(active_mask).d = result;
}

}  // namespace ptxops::virt
