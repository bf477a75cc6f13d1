#include "driver/virtual/check/undefined_flow.h"

#include <algorithm>
#include <bit>

#include "driver/virtual/check/checker.h"
#include "driver/virtual/exec/program.h"

namespace ptxops::virt {
namespace {

using Kind = Effects::Kind;
using Lanes = Undefined::Lanes;
using isa::Operand;
using isa::OperandKind;

uint64_t low_bits(uint32_t n) {
  return n >= 64 ? ~uint64_t{0} : (uint64_t{1} << n) - 1;
}

Operand immediate_zero() {
  Operand o;
  o.kind = OperandKind::immediate;
  return o;
}

// An operand that is read: its value and its undefined bits, by lane.
class Source {
 public:
  Source(const Warp& w, const Code& code, const Operand& o, isa::Type type) : operand_(o) {
    if (o.is_reg()) {
      const uint32_t slot = code.register_slot[o.index];
      bits_ = static_cast<uint32_t>(isa::type_bits(code.function->registers[o.index].type));
      host_ = w.regs + slot;
      undefined_ = &w.order->undefined.at(host_);
    } else if (o.is_imm()) {
      immediate_ = o.immediate(type);
    }
  }
  bool any(uint32_t lanes) const { return undefined_ && (undefined_->any() & lanes); }
  uint64_t mask(uint32_t lane) const { return undefined_ ? undefined_->mask(lane) & low_bits(bits_) : 0; }
  bool computed(uint32_t lane) const { return undefined_ && (undefined_->computed >> lane & 1); }
  uint32_t line() const { return undefined_ ? undefined_->line : 0; }
  // Bits whose value is not to be had here: of special registers, addresses and wide registers.
  uint64_t unknown() const {
    return operand_.is_imm() || (operand_.is_reg() && bits_ <= 64) ? 0 : ~uint64_t{0};
  }
  uint64_t value(uint32_t lane) const {
    if (!host_) return immediate_;
    if (bits_ == 1) return *reinterpret_cast<const uint32_t*>(host_) >> lane & 1;
    return bits_ == 64 ? reinterpret_cast<const uint64_t*>(host_)[lane]
                       : reinterpret_cast<const uint32_t*>(host_)[lane];
  }
  // Of a predicate, as it is written: !p.
  bool holds(uint32_t lane) const { return (value(lane) & 1) != operand_.negated; }
  uint32_t width() const { return bits_; }

 private:
  const Operand& operand_;
  const Lanes* undefined_ = nullptr;
  const std::byte* host_ = nullptr;
  uint32_t bits_ = 64;
  uint64_t immediate_ = 0;
};

class Flow {
 public:
  Flow(const Warp& w, const Code& code, const isa::Instruction& in, const Effects::Effect& e, uint32_t lanes)
      : w_(w), code_(code), in_(in), e_(e), lanes_(lanes) {}

  UndefinedResults run() {
    switch (e_.kind) {
      case Kind::forget:
        break;
      case Kind::compute:
        if (any_read(lanes_)) each([&](uint32_t lane, Lanes& r) { whole(lane, lane, r); });
        break;
      case Kind::halves:
      case Kind::low_up:
        arithmetic();
        break;
      case Kind::copy:
        copy();
        break;
      case Kind::pack:
        pack();
        break;
      case Kind::select:
        select();
        break;
      case Kind::logic:
        logic();
        break;
      case Kind::shift:
        shift();
        break;
      case Kind::permute:
        permute();
        break;
      case Kind::convert:
        convert();
        break;
      case Kind::compare:
        compare();
        break;
      case Kind::shuffle:
        shuffle();
        break;
      case Kind::vote:
        vote();
        break;
      case Kind::reduce:
        if (any_read(lanes_))
          each([&](uint32_t lane, Lanes& r) {
            for (uint32_t rest = lanes_; rest; rest &= rest - 1)
              whole(static_cast<uint32_t>(std::countr_zero(rest)), lane, r);
          });
        break;
      case Kind::product:
        in_.row().root == "mma" ? fragments() : product();
        break;
      case Kind::transpose:
        transpose();
        break;
    }
    return std::move(out_);
  }

 private:
  Source source(size_t i, isa::Type type = isa::Type::b64) const {
    return {w_, code_, in_.operands[i], type};
  }
  const Lanes& read(size_t k) const { return w_.order->undefined.at(w_.regs + e_.reads[k]); }
  bool any_read(uint32_t lanes) const {
    return std::any_of(e_.reads.begin(), e_.reads.end(), [&](uint32_t slot) {
      return (w_.order->undefined.at(w_.regs + slot).any() & lanes) != 0;
    });
  }
  bool tainted(std::initializer_list<const Source*> sources) const {
    return std::any_of(sources.begin(), sources.end(), [&](const Source* s) { return s->any(lanes_); });
  }
  // The same for every result.
  template <class F>
  void each(F f) {
    Lanes r;
    for (uint32_t rest = lanes_; rest; rest &= rest - 1) f(static_cast<uint32_t>(std::countr_zero(rest)), r);
    if (r.any())
      for (const uint32_t slot : e_.writes) out_.push_back({slot, r});
  }
  // All of a result in `to`, if any bit of the reads in `from` is undefined.
  void whole(uint32_t from, uint32_t to, Lanes& r) const {
    for (size_t k = 0; k < e_.reads.size(); ++k)
      if (const Lanes& v = read(k); v.mask(from)) r.set(to, ~uint64_t{0}, true, v.line);
  }
  // Bits that move keep what they are.
  static void moved(Lanes& r, uint32_t lane, uint64_t mask, const Source& from) {
    if (mask) r.set(lane, mask, from.computed(lane), from.line());
  }

  void arithmetic() {
    if (!any_read(lanes_)) return;
    each([&](uint32_t lane, Lanes& r) {
      uint64_t mask = 0;
      uint32_t line = 0;
      for (size_t k = 0; k < e_.reads.size(); ++k)
        if (const Lanes& v = read(k); v.mask(lane)) mask |= v.mask(lane), line = v.line;
      if (!mask) return;
      if (e_.kind == Kind::low_up)
        mask = ~uint64_t{0} << std::countr_zero(mask);
      else
        mask = (mask & 0xFFFF ? 0xFFFF : 0) | (mask & 0xFFFF0000 ? 0xFFFF0000 : 0);
      r.set(lane, mask, true, line);
    });
  }

  void copy() {
    if (e_.loads || in_.operands.size() != 2) return;
    const Source a = source(1);
    if (!a.any(lanes_)) return;
    each([&](uint32_t lane, Lanes& r) { moved(r, lane, a.mask(lane), a); });
  }

  // mov {a, b}, x; mov x, {a, b}; cvt of two values: the first is the upper half.
  void pack() {
    if (in_.row().root == "cvt") {
      const Source high = source(1), low = source(2);
      if (!tainted({&high, &low})) return;
      const uint32_t half = static_cast<uint32_t>(isa::type_bits(in_.type())) / 2;
      each([&](uint32_t lane, Lanes& r) {
        if (high.mask(lane)) r.set(lane, low_bits(half) << half, true, high.line());
        if (low.mask(lane)) r.set(lane, low_bits(half), true, low.line());
      });
      return;
    }
    const Operand &to = in_.operands[0], &from = in_.operands[1];
    const uint32_t bits = static_cast<uint32_t>(isa::type_bits(in_.type()));
    if (bits > 64) return;
    if (from.is_vector()) {
      const uint32_t part = bits / static_cast<uint32_t>(from.elements.size());
      each([&](uint32_t lane, Lanes& r) {
        for (size_t i = 0; i < from.elements.size(); ++i) {
          const Source a(w_, code_, from.elements[i], isa::Type::b64);
          moved(r, lane, (a.mask(lane) & low_bits(part)) << part * i, a);
        }
      });
      return;
    }
    const Source a = source(1);
    if (!a.any(lanes_)) return;
    const uint32_t part = bits / static_cast<uint32_t>(to.elements.size());
    for (size_t i = 0; i < to.elements.size(); ++i) {
      if (!to.elements[i].is_reg()) continue;
      Lanes r;
      for (uint32_t rest = lanes_; rest; rest &= rest - 1) {
        const uint32_t lane = static_cast<uint32_t>(std::countr_zero(rest));
        moved(r, lane, a.mask(lane) >> part * i & low_bits(part), a);
      }
      if (r.any()) out_.push_back({code_.register_slot[to.elements[i].index], std::move(r)});
    }
  }

  void select() {
    const Source a = source(1), b = source(2), p = source(3);
    if (!tainted({&a, &b, &p})) return;
    each([&](uint32_t lane, Lanes& r) {
      const Source& chosen = p.holds(lane) ? a : b;
      if (p.mask(lane))
        r.set(lane, ~uint64_t{0}, true, p.line());
      else
        moved(r, lane, chosen.mask(lane), chosen);
    });
  }

  // Bit by bit: a result is undefined where the undefined bits of the sources could make it 0 or 1.
  void logic() {
    const std::string_view root = in_.row().root;
    const bool predicates = in_.type() == isa::Type::pred;
    const bool three = root == "lop3", one = root == "not";
    const size_t first = 1;
    const Operand zero = immediate_zero();
    const Source a = source(first), b = one ? Source(w_, code_, zero, isa::Type::b64) : source(first + 1);
    const Source c = three ? source(first + 2) : Source(w_, code_, zero, isa::Type::b64);
    if (three && in_.operands.size() > 5) return compute_all();  // lop3.and|or: with a predicate
    if (!tainted({&a, &b, &c})) return;
    const uint32_t table = three           ? static_cast<uint32_t>(in_.operands[first + 3].bits) & 0xFF
                           : root == "and" ? 0xC0
                           : root == "or"  ? 0xFC
                           : root == "xor" ? 0x3C
                                           : 0x0F;
    each([&](uint32_t lane, Lanes& r) {
      const Source* sources[3] = {&a, &b, &c};
      uint64_t can[3][2], undefined = 0;
      for (int i = 0; i < 3; ++i) {
        const Source& s = *sources[i];
        const uint64_t value = predicates ? (s.width() == 1 ? s.holds(lane) : s.value(lane)) : s.value(lane);
        const uint64_t open = s.mask(lane) | s.unknown();
        can[i][0] = ~value | open, can[i][1] = value | open;
        undefined |= s.mask(lane);
      }
      if (!undefined) return;
      uint64_t result[2] = {0, 0};
      for (uint32_t k = 0; k < 8; ++k)
        result[table >> k & 1] |= can[0][k >> 2 & 1] & can[1][k >> 1 & 1] & can[2][k & 1];
      undefined &= result[0] & result[1];
      if (predicates) undefined &= 1;
      if (!undefined) return;
      bool computed = false;
      uint32_t line = 0;
      for (const Source* s : sources)
        if (s->mask(lane)) computed |= s->computed(lane), line = s->line();
      r.set(lane, undefined, computed, line);
    });
  }

  void compute_all() {
    if (any_read(lanes_)) each([&](uint32_t lane, Lanes& r) { whole(lane, lane, r); });
  }

  void shift() {
    const std::string_view root = in_.row().root;
    const uint32_t width = static_cast<uint32_t>(isa::type_bits(in_.type()));
    const size_t values = root == "shf" || root == "bfi" ? 2 : 1;
    const Source a = source(1, in_.type());
    const Source b = values == 2 ? source(2, in_.type()) : a;
    const Source n = source(1 + values);
    const bool field = root == "bfe" || root == "bfi";
    const Source length = field ? source(2 + values) : n;
    if (!tainted({&a, &b, &n, &length})) return;
    if (n.any(lanes_) || length.any(lanes_) || n.unknown() || length.unknown()) return compute_all();
    each([&](uint32_t lane, Lanes& r) {
      const uint64_t ma = a.mask(lane) & low_bits(width), mb = b.mask(lane) & low_bits(width);
      uint32_t by = static_cast<uint32_t>(n.value(lane));
      const uint32_t len = static_cast<uint32_t>(length.value(lane)) & 0xFF;
      uint64_t from_a = 0, from_b = 0;
      const auto top = [&](uint64_t mask, uint32_t bit) { return mask >> std::min(bit, width - 1) & 1; };
      if (root == "shl") {
        from_a = by < width ? ma << by & low_bits(width) : 0;
      } else if (root == "shr") {
        from_a = by < width ? ma >> by : 0;
        if (isa::is_signed(in_.type()) && top(ma, width - 1))
          from_a |= low_bits(width) & ~low_bits(by < width ? width - 1 - by : 0);
      } else if (root == "shf") {  // the upper or the lower half of {b, a}
        by = in_.has("wrap") ? by & 31 : std::min(by, 32u);
        const auto part = [&](uint64_t both) {
          return (in_.has("l") ? both << by >> 32 : both >> by) & 0xFFFFFFFF;
        };
        from_a = part(ma), from_b = part(mb << 32);
      } else if (root == "bfe") {
        by &= 0xFF;
        from_a = by < width ? ma >> by & low_bits(len) : 0;
        const uint32_t sign = by + len - 1;
        if (isa::is_signed(in_.type()) && len > 0 && top(ma, sign))
          from_a |= low_bits(width) & ~low_bits(len);
      } else {  // bfi: a into b
        by &= 0xFF;
        const uint64_t hole = by < width ? low_bits(len) << by & low_bits(width) : 0;
        from_a = by < width ? ma << by & hole : 0;
        from_b = mb & ~hole;
      }
      moved(r, lane, from_a, a);
      moved(r, lane, from_b, b);
    });
  }

  void permute() {
    const Source a = source(1, isa::Type::b32), b = source(2, isa::Type::b32), s = source(3, isa::Type::b32);
    if (!tainted({&a, &b, &s})) return;
    if (s.any(lanes_) || s.unknown() || !in_.choice("mode").empty()) return compute_all();
    each([&](uint32_t lane, Lanes& r) {
      const uint64_t both = (a.mask(lane) & 0xFFFFFFFF) | b.mask(lane) << 32;
      const uint32_t selector = static_cast<uint32_t>(s.value(lane));
      for (uint32_t i = 0; i < 4; ++i) {
        const uint32_t which = selector >> 4 * i & 15;
        uint64_t byte = both >> 8 * (which & 7) & 0xFF;
        if (which & 8) byte = byte & 0x80 ? 0xFF : 0;
        moved(r, lane, byte << 8 * i, which & 4 ? b : a);
      }
    });
  }

  void convert() {
    const Source a = source(1);
    if (!a.any(lanes_)) return;
    const isa::Type to = in_.type(0), from = in_.type(1);
    const uint64_t read = low_bits(static_cast<uint32_t>(isa::type_bits(from)));
    const bool widens = isa::is_integer(to) && isa::is_integer(from) && !in_.has("sat");
    each([&](uint32_t lane, Lanes& r) {
      const uint64_t mask = a.mask(lane) & read;
      if (!mask) return;
      if (!widens) {
        r.set(lane, ~uint64_t{0}, true, a.line());
        return;
      }
      uint64_t all = mask;
      if (isa::is_signed(from) && (mask & (read ^ read >> 1))) all |= ~read;
      moved(r, lane, all & low_bits(static_cast<uint32_t>(isa::type_bits(to))), a);
    });
  }

  void compare() {
    const isa::Type type = in_.type();
    const Source a = source(1, type), b = source(2, type);
    const bool combined = in_.operands.size() > 3;
    const Operand zero = immediate_zero();
    const Source c = combined ? source(3) : Source(w_, code_, zero, isa::Type::b64);
    if (!tainted({&a, &b, &c})) return;
    const std::string_view how = in_.choice("cmp"), with = in_.choice("bool");
    const bool equality = (how == "eq" || how == "ne") && !isa::is_float(type);
    const uint64_t read = low_bits(static_cast<uint32_t>(isa::type_bits(type)));
    const bool both = in_.operands[0].kind == OperandKind::pair;
    each([&](uint32_t lane, Lanes& r) {
      const uint64_t open = (a.mask(lane) | b.mask(lane)) & read;
      bool undefined = open != 0;
      uint32_t line = a.mask(lane) ? a.line() : b.line();
      // Bits that are there differ: so do the values.
      if (equality && !a.unknown() && !b.unknown() && ((a.value(lane) ^ b.value(lane)) & read & ~open))
        undefined = false;
      if (combined && c.mask(lane)) {
        undefined = true, line = c.line();
      } else if (combined && undefined && !both) {
        if ((with == "and" && !c.holds(lane)) || (with == "or" && c.holds(lane))) undefined = false;
      }
      if (undefined) r.set(lane, ~uint64_t{0}, true, line);
    });
  }

  // What comes from a lane that does not execute this with the others now, is not known: it counts as
  // defined.
  void shuffle() {
    const Source a = source(1, isa::Type::b32), b = source(2, isa::Type::b32), c = source(3, isa::Type::b32);
    if (!tainted({&a, &b, &c})) return;
    if (b.any(lanes_) || c.any(lanes_) || b.unknown() || c.unknown()) return compute_all();
    const std::string_view mode = in_.choice("mode");
    const Operand& d = in_.operands[0];
    const Operand& result = d.kind == OperandKind::pair ? d.elements[0] : d;
    if (!result.is_reg()) return;
    Lanes r;
    for (uint32_t rest = lanes_; rest; rest &= rest - 1) {
      const uint32_t i = static_cast<uint32_t>(std::countr_zero(rest));
      const uint32_t cs = static_cast<uint32_t>(c.value(i)), by = static_cast<uint32_t>(b.value(i)) & 31;
      const uint32_t segment = cs >> 8 & 31, clamp = cs & 31;
      const int limit = static_cast<int>((i & segment) | (clamp & ~segment));
      const int from = static_cast<int>(mode == "up"     ? i - by
                                        : mode == "down" ? i + by
                                        : mode == "bfly" ? i ^ by
                                                         : (i & segment) | (by & ~segment));
      const bool inside = mode == "up" ? from >= limit : from <= limit;
      const uint32_t lane = inside ? static_cast<uint32_t>(from) & 31 : i;
      if ((lanes_ >> lane & 1) && a.mask(lane)) r.set(i, a.mask(lane), a.computed(lane), a.line());
    }
    if (r.any()) out_.push_back({code_.register_slot[result.index], std::move(r)});
  }

  void vote() {
    const Source p = source(1);
    if (!p.any(lanes_)) return;
    uint32_t open = 0, holds = 0;
    for (uint32_t rest = lanes_; rest; rest &= rest - 1) {
      const uint32_t lane = static_cast<uint32_t>(std::countr_zero(rest));
      if (p.mask(lane))
        open |= 1u << lane;
      else if (p.holds(lane))
        holds |= 1u << lane;
    }
    const bool any = holds != 0, none = (lanes_ & ~open & ~holds) != 0;
    const std::string_view mode = in_.has("ballot") ? "ballot" : in_.choice("mode");
    if ((mode == "any" && any) || (mode == "all" && none) || (mode == "uni" && any && none)) return;
    each([&](uint32_t lane, Lanes& r) {
      r.set(lane, mode == "ballot" ? open : ~uint64_t{0}, true, p.line());
    });
  }

  // Row l / 4 (+ 8) of A decides the same row of D: the registers of A and of 16-bit D alternate between the
  // two rows, those of 32-bit D by twos.
  void product() {
    const Operand& d = in_.operands[0];
    const bool accumulates =
        e_.accumulates && (e_.scale_d < 0 || *reinterpret_cast<const uint32_t*>(w_.regs + e_.scale_d));
    uint32_t rows[2] = {0, 0}, line = 0;  // lanes of rows l / 4 and l / 4 + 8
    if (in_.operands[1].is_vector())
      for (uint32_t i = 0; i < in_.operands[1].elements.size(); ++i) {
        const Source a(w_, code_, in_.operands[1].elements[i], isa::Type::b32);
        for (uint32_t lane = 0; lane < kLanes; ++lane)
          if (a.mask(lane)) rows[i & 1] |= 0xFu << (lane & ~3u), line = a.line();
      }
    const bool narrow = in_.type() == isa::Type::f16;
    for (uint32_t i = 0; i < d.elements.size(); ++i) {
      const uint32_t slot = code_.register_slot[d.elements[i].index];
      const Lanes& old = w_.order->undefined.at(w_.regs + slot);
      Lanes r;
      r.computed = rows[narrow ? i & 1 : i >> 1 & 1] | (accumulates ? old.any() : 0);
      r.line = accumulates && old.any() ? old.line : line;
      if (r.any()) out_.push_back({slot, std::move(r)});
    }
  }

  // mma.sync of 16 x 8 (or 8 x 8): registers of A alternate between rows l / 4 and l / 4 + 8, all of B hold
  // column l / 4; D and C as wgmma's D.
  void fragments() {
    if (!any_read(lanes_)) return;
    uint32_t rows[2] = {0, 0}, columns = 0, line = 0;  // lanes of rows; columns
    const auto visit = [&](const Operand& o, auto&& f) {
      const std::span<const Operand> elements =
          o.is_vector() ? std::span<const Operand>(o.elements) : std::span(&o, 1);
      for (uint32_t i = 0; i < elements.size(); ++i) {
        const Source s(w_, code_, elements[i], isa::Type::b32);
        for (uint32_t lane = 0; lane < kLanes; ++lane)
          if (s.mask(lane)) f(i, lane), line = s.line();
      }
    };
    visit(in_.operands[1], [&](uint32_t i, uint32_t lane) { rows[i & 1] |= 0xFu << (lane & ~3u); });
    visit(in_.operands[2], [&](uint32_t, uint32_t lane) { columns |= 1u << lane / 4; });
    const Operand &d = in_.operands[0], &c = in_.operands[3];
    const bool narrow = d.is_vector() && d.elements.size() == 2 && in_.type() == isa::Type::f16;
    const size_t count = d.is_vector() ? d.elements.size() : 1;
    for (uint32_t i = 0; i < count; ++i) {
      const Operand &to = d.is_vector() ? d.elements[i] : d, &from = c.is_vector() ? c.elements[i] : c;
      if (!to.is_reg()) continue;
      const Source addend(w_, code_, from, isa::Type::b32);
      Lanes r;
      for (uint32_t lane = 0; lane < kLanes; ++lane) {
        const uint32_t column = 2 * (lane % 4) + (narrow ? 0 : i & 1);
        const bool undefined = (rows[narrow ? i & 1 : i >> 1 & 1] >> lane & 1) || addend.mask(lane) ||
                               (columns >> column & (narrow ? 3 : 1));
        if (undefined) r.set(lane, ~uint64_t{0}, true, addend.mask(lane) ? addend.line() : line);
      }
      if (r.any()) out_.push_back({code_.register_slot[to.index], std::move(r)});
    }
  }

  // movmatrix: lane l holds row l / 4, columns 2 * (l % 4) and the next.
  void transpose() {
    const Source a = source(1, isa::Type::b32);
    if (!a.any(lanes_)) return;
    each([&](uint32_t lane, Lanes& r) {
      for (uint32_t half = 0; half < 2; ++half) {
        const uint32_t row = lane / 4, column = 2 * (lane % 4) + half;  // from row `column`, column `row`
        const uint32_t from = 4 * column + row / 2;
        if (const uint64_t mask = a.mask(from) >> 16 * (row & 1) & 0xFFFF)
          r.set(lane, mask << 16 * half, a.computed(from), a.line());
      }
    });
  }

  const Warp& w_;
  const Code& code_;
  const isa::Instruction& in_;
  const Effects::Effect& e_;
  const uint32_t lanes_;
  UndefinedResults out_;
};

}  // namespace

UndefinedResults undefined_results(const Warp& w, const Code& code, const isa::Instruction& in,
                                   const Effects::Effect& effect, uint32_t lanes) {
  return Flow(w, code, in, effect, lanes).run();
}

}  // namespace ptxops::virt
