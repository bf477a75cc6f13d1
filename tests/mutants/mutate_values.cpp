// Counts, addresses, coordinates, descriptors and initial values that are wrong.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "tests/mutants/source.h"

namespace ptxops::mutants {
namespace {

using enum FaultClass;

std::string sign(int64_t by) {
  return fmt::format("{} {}", by > 0 ? "+" : "-", by > 0 ? by : -by);
}

class Operators {
 public:
  explicit Operators(Source& source) : source_(source) {}

  void all() {
    std::set<std::string> known;  // registers that have been written
    for (size_t i = 0; i < source_.statements.size(); ++i) {
      const Statement& s = source_.statements[i];
      if (s.kind == Statement::Kind::declaration)
        for (const std::string& name : s.operands) known.erase(name);  // a new register of that name
      if (s.kind != Statement::Kind::instruction) continue;
      if (starts(s, "mbarrier.init")) init(i, s);
      if (starts(s, "cp.async.bulk.tensor") || starts(s, "cp.reduce.async.bulk.tensor")) tensor_copy(i, s);
      addresses(i, s);
      if (starts(s, "mov.b64")) descriptor_high(i, s);
      if (starts(s, "or.b32")) descriptor_low(i, s);
      if (starts(s, "setp.eq")) ring_wrap(i, s);
      if (starts(s, "and.b32")) ring_mask(i, s);
      if (s.operands.empty() || s.operands[0].starts_with('[')) continue;
      // The first write of a register, a constant.
      if (starts(s, "mov.") && s.guard.empty() && s.operands.size() == 2 && !known.contains(s.operands[0]) &&
          (immediate(s.operands[1]) || s.operands[1].starts_with("0f"))) {
        source_.remove(dropped_init, "drop initial value", {i, i});
        source_.mutants.back().readers = source_.readers_of(i);
      }
      for (std::string& name : names_in(s.operands[0])) known.insert(std::move(name));
    }
  }

 private:
  void init(size_t i, const Statement& s) {
    source_.remove(dropped_init, "drop mbarrier.init", {i, i});
    const auto count = immediate(s.operands.at(1));
    if (!count) return;
    source_.set_operand(starved, "mbarrier.init count + 1", i, 1, fmt::format("{}", *count + 1));
    if (*count > 1)
      source_.set_operand(early, "mbarrier.init count - 1", i, 1, fmt::format("{}", *count - 1));
  }

  void tensor_copy(size_t i, const Statement& s) {
    for (const std::string& operand : s.operands) {
      const size_t brace = operand.find('{');
      if (brace == operand.npos) continue;
      const std::vector<std::string> coordinates = names_in(std::string_view(operand).substr(brace));
      for (size_t c = 0; c < coordinates.size(); ++c)
        source_.compute_operand(tma_coordinate, fmt::format("tensor coordinate {} + 1", c), i, coordinates[c],
                                "b32", "add.s32", ", 1");
    }
    if (!has_word(s, "multicast::cluster")) return;
    // destination, map and coordinates, mbarrier, mask
    for (const int bit : {0, 1})
      source_.compute_operand(multicast, fmt::format("multicast mask bit {} flipped", bit), i,
                              s.operands.at(3), "b16", "xor.b16", fmt::format(", {}", 1 << bit));
  }

  // Data in shared memory: loads, stores, and the shared side of bulk copies.
  void addresses(size_t i, const Statement& s) {
    const bool bulk =
        starts(s, "cp.async.bulk.") && !starts(s, "cp.async.bulk.commit") && !starts(s, "cp.async.bulk.wait");
    const bool plain =
        (starts(s, "ld.shared") || starts(s, "st.shared") || starts(s, "ldmatrix") || starts(s, "stmatrix"));
    if (!bulk && !plain) return;
    size_t operand = 0;
    if (plain) {
      while (operand < s.operands.size() && !s.operands[operand].starts_with('[')) ++operand;
    } else if (has_word(s, "bulk_group")) {  // a store: [map or destination], [source]
      operand = 1;
    }
    if (operand >= s.operands.size()) return;
    for (const int64_t by : {16, -16, 1024, -1024})
      source_.set_operand(smem_offset, fmt::format("shared address {}", sign(by)), i, operand,
                          displaced(s.operands[operand], by));
  }

  // {low, HIGH} of a wgmma's descriptor: stride in bits 0..13, swizzle in bits 30 and 31.
  void descriptor_high(size_t i, const Statement& s) {
    if (s.operands.size() != 2 || !s.operands[1].starts_with('{') || !feeds_wgmma(i, s.operands[0])) return;
    const size_t comma = s.operands[1].find(',');
    std::string high = s.operands[1].substr(comma + 1, s.operands[1].size() - comma - 2);
    high.erase(0, high.find_first_not_of(' '));
    const auto value = immediate(high);
    if (!value) return;
    const auto set = [&](const std::string& op, int64_t changed) {
      source_.set_operand(descriptor, op, i, 1,
                          fmt::format("{}, {}}}", s.operands[1].substr(0, comma), changed));
    };
    const int64_t stride = *value & 0x3FFF, rest = *value & ~int64_t{0x3FFF};
    set("descriptor stride * 2", rest | (stride * 2 & 0x3FFF));
    set("descriptor stride / 2", rest | stride / 2);
    for (const int64_t mode : {0, 1, 2, 3})
      if (mode != (*value >> 30 & 3))
        set(fmt::format("descriptor swizzle mode {}", mode), (*value & ~(int64_t{3} << 30)) | mode << 30);
  }
  bool feeds_wgmma(size_t i, const std::string& name) const {
    for (size_t k = i + 1; k < std::min(i + 8, source_.statements.size()); ++k)
      if (starts(source_.statements[k], "wgmma.mma_async"))
        return std::find(source_.statements[k].operands.begin(), source_.statements[k].operands.end(),
                         name) != source_.statements[k].operands.end();
    return false;
  }

  // low | leading offset: `shr address, 4` before it.
  void descriptor_low(size_t i, const Statement& s) {
    if (i == 0 || s.operands.size() != 3 || !starts(source_.statements[i - 1], "shr.u32")) return;
    const Statement& shift = source_.statements[i - 1];
    if (shift.operands.size() != 3 || shift.operands[0] != s.operands[1] || shift.operands[2] != "4") return;
    if (const auto flags = immediate(s.operands[2]); flags && (*flags & 0xFFFF) == 0)
      source_.set_operand(descriptor, "descriptor leading offset * 2", i, 2, fmt::format("{}", *flags * 2));
  }

  // setp.eq wrap, stage, N; @wrap mov stage, 0
  void ring_wrap(size_t i, const Statement& s) {
    if (s.operands.size() != 3 || i + 1 >= source_.statements.size()) return;
    const auto length = immediate(s.operands[2]);
    const Statement& reset = source_.statements[i + 1];
    if (!length || *length < 2 || !starts(reset, "mov.") || reset.guard != "@" + s.operands[0] ||
        reset.operands != std::vector<std::string>{s.operands[1], "0"})
      return;
    for (const int by : {-1, 1})
      source_.set_operand(ring, fmt::format("ring length {}", sign(by)), i, 2,
                          fmt::format("{}", *length + by));
  }

  // add slot, slot, 1; and slot, slot, N - 1
  void ring_mask(size_t i, const Statement& s) {
    if (i == 0 || s.operands.size() != 3) return;
    const Statement& step = source_.statements[i - 1];
    const auto mask = immediate(s.operands[2]);
    if (!mask || *mask < 1 || (*mask & (*mask + 1)) != 0 || !starts(step, "add.") ||
        step.operands.size() != 3 || step.operands[2] != "1" || step.operands[0] != s.operands[0] ||
        s.operands[0] != s.operands[1])
      return;
    source_.set_operand(ring, "ring length / 2", i, 2, fmt::format("{}", *mask / 2));
    source_.set_operand(ring, "ring length * 2", i, 2, fmt::format("{}", *mask * 2 + 1));
  }

  Source& source_;
};

}  // namespace

void mutate_values(Source& source) {
  Operators(source).all();
}

}  // namespace ptxops::mutants
