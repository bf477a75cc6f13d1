// Synchronisation deleted, misplaced, weakened, or aimed at something else.
#include <fmt/format.h>

#include <algorithm>

#include "tests/mutants/source.h"

namespace ptxops::mutants {
namespace {

using enum FaultClass;

bool wait_loop(const Statement& s) {
  return starts(s, "mbarrier.try_wait") || starts(s, "mbarrier.test_wait");
}
bool arrival(const Statement& s) {
  return starts(s, "mbarrier.arrive");
}
bool cta_barrier_of(const Statement& s) {
  return starts(s, "bar.sync") || starts(s, "bar.arrive") || starts(s, "bar.red") ||
         starts(s, "barrier.sync") || starts(s, "barrier.arrive") || starts(s, "barrier.red");
}
bool generic_write(const Statement& s) {
  return (starts(s, "st.") && !starts(s, "st.param") && !starts(s, "st.local") && !starts(s, "st.async")) ||
         starts(s, "stmatrix") || starts(s, "atom") || starts(s, "red.");
}
bool generic_read(const Statement& s) {
  return (starts(s, "ld.") && !starts(s, "ld.param") && !starts(s, "ld.local") && !starts(s, "ld.const")) ||
         starts(s, "ldmatrix");
}
bool bulk_copy(const Statement& s) {
  return (starts(s, "cp.async.bulk") || starts(s, "cp.reduce.async.bulk")) &&
         !starts(s, "cp.async.bulk.commit_group") && !starts(s, "cp.async.bulk.wait_group") &&
         !starts(s, "cp.async.bulk.prefetch");
}
bool bulk_store(const Statement& s) {
  return bulk_copy(s) && has_word(s, "bulk_group");
}
bool multiplies(const Statement& s) {
  return starts(s, "wgmma.mma_async");
}
bool access(const Statement& s) {
  return generic_write(s) || generic_read(s) || bulk_copy(s) || multiplies(s) || starts(s, "st.async");
}
bool group_wait(const Statement& s) {
  return starts(s, "cp.async.bulk.wait_group") || starts(s, "wgmma.wait_group");
}
bool global_access(const Statement& s) {
  return (generic_write(s) || generic_read(s)) ? has_word(s, "global") : bulk_copy(s);
}
Test either(Test a, Test b) {
  return [a = std::move(a), b = std::move(b)](const Statement& s) { return a(s) || b(s); };
}

// The opcode with `.from` replaced by `.to`; nothing where it is not there.
std::optional<std::string> with_word(const Statement& s, std::string_view from, std::string_view to) {
  if (!has_word(s, from)) return std::nullopt;
  std::string opcode = s.opcode;
  opcode.replace(opcode.find(fmt::format(".{}", from)), from.size() + 1,
                 to.empty() ? "" : fmt::format(".{}", to));
  return opcode;
}

class Operators {
 public:
  explicit Operators(Source& source) : source_(source) {}

  void all() {
    for (size_t i = 0; i < source_.statements.size(); ++i) {
      const Statement& s = source_.statements[i];
      if (s.kind != Statement::Kind::instruction) continue;
      if (wait_loop(s)) mbarrier_wait(i, s);
      if (arrival(s)) mbarrier_arrive(i, s);
      if (group_wait(s)) group(i, s);
      if (starts(s, "cp.async.bulk.commit_group")) {
        source_.remove(bulk_wait, "delete bulk commit_group", {i, i});
        source_.hoist(bulk_wait, "hoist bulk commit_group", {i, i}, bulk_store);
        source_.sink(bulk_wait, "sink bulk commit_group", {i, i}, group_wait);
      }
      if (starts(s, "wgmma.fence")) {
        source_.remove(wgmma, "delete wgmma.fence", {i, i});
        source_.sink(wgmma, "sink wgmma.fence", {i, i}, multiplies);
      }
      if (starts(s, "wgmma.commit_group")) {
        source_.remove(wgmma, "delete wgmma.commit_group", {i, i});
        source_.hoist(wgmma, "hoist wgmma.commit_group", {i, i}, multiplies);
        source_.sink(wgmma, "sink wgmma.commit_group", {i, i}, group_wait);
      }
      if (starts(s, "fence.proxy")) fence(i, s);
      if (starts(s, "fence.mbarrier_init")) {
        source_.remove(init_fence, "delete fence.mbarrier_init", {i, i});
        source_.hoist(init_fence, "hoist fence.mbarrier_init", {i, i},
                      [](const Statement& t) { return starts(t, "mbarrier.init"); });
      }
      if (cta_barrier_of(s)) barrier(i, s);
      if (starts(s, "bar.warp.sync")) {
        source_.remove(warp_sync, "delete bar.warp.sync", {i, i});
        source_.hoist(warp_sync, "hoist bar.warp.sync", {i, i}, access);
        source_.sink(warp_sync, "sink bar.warp.sync", {i, i}, either(access, arrival));
      }
      if (starts(s, "barrier.cluster")) cluster(i, s);
      if (starts(s, "griddepcontrol.wait")) {
        source_.remove(dependency, "delete griddepcontrol.wait", {i, i});
        source_.sink(dependency, "sink griddepcontrol.wait", {i, i}, global_access);
      }
      if (starts(s, "setmaxnreg")) {
        source_.remove(registers, "delete " + s.opcode.substr(0, s.opcode.find(".sync")), {i, i});
        if (const auto count = immediate(s.operands.at(0)))
          source_.set_operand(registers, "setmaxnreg + 8", i, 0, fmt::format("{}", *count + 8));
      }
      weaken(i, s);
    }
  }

 private:
  void mbarrier_wait(size_t i, const Statement& s) {
    const Unit u = source_.unit_of(i);
    source_.remove(wait, "delete mbarrier wait", u);
    source_.sink(wait, "sink mbarrier wait", u, either(access, arrival));
    if (has_word(s, "parity"))
      source_.compute_operand(parity, "flip wait parity", i, s.operands.at(2), "b32", "xor.b32", ", 1");
    neighbour(i, s, 1);
  }

  void mbarrier_arrive(size_t i, const Statement& s) {
    if (!has_word(s, "expect_tx")) {
      source_.remove(starved, "delete mbarrier arrive", {i, i});
      source_.hoist(early, "hoist mbarrier arrive", {i, i}, either(either(access, group_wait), wait_loop));
    } else {
      source_.remove(bytes, "delete arrive.expect_tx", {i, i});
      std::vector<std::string> plain(s.operands.begin(), s.operands.end() - 1);
      source_.replace(bytes, "arrive without expect_tx", i, spell(s, *with_word(s, "expect_tx", ""), plain),
                      {});
      const std::string amount = s.operands.back();
      for (const int by : {16, -16}) {
        const std::string op = fmt::format("expect_tx {} 16 bytes", by > 0 ? "+" : "-");
        if (const auto value = immediate(amount))
          source_.set_operand(bytes, op, i, s.operands.size() - 1, fmt::format("{}", *value + by));
        else
          source_.compute_operand(bytes, op, i, amount, "b32", "add.s32", fmt::format(", {}", by));
      }
      source_.hoist(early, "hoist arrive.expect_tx", {i, i}, either(access, wait_loop));
    }
    neighbour(i, s, 1);
  }

  // The mbarrier 8 bytes on, 8 bytes back.
  void neighbour(size_t i, const Statement& s, size_t operand) {
    for (const int by : {8, -8})
      source_.set_operand(wrong_mbarrier, fmt::format("mbarrier {} 8", by > 0 ? "+" : "-"), i, operand,
                          displaced(s.operands.at(operand), by));
  }

  void group(size_t i, const Statement& s) {
    const bool tensor = starts(s, "wgmma");
    const FaultClass fault = tensor ? wgmma : bulk_wait;
    const std::string name = tensor                ? "wgmma.wait_group"
                             : has_word(s, "read") ? "bulk wait_group.read"
                                                   : "bulk wait_group";
    source_.remove(fault, "delete " + name, {i, i});
    if (const auto pending = immediate(s.operands.at(0))) {
      source_.set_operand(fault, name + " + 1", i, 0, fmt::format("{}", *pending + 1));
      if (*pending > 0) source_.set_operand(fault, name + " - 1", i, 0, fmt::format("{}", *pending - 1));
    }
    if (!tensor) {
      if (!has_word(s, "read"))
        source_.replace(fault, "bulk wait_group made .read", i, spell(s, s.opcode + ".read", s.operands), {});
      source_.sink(fault, "sink " + name, {i, i}, either(cta_barrier_of, access));
      return;
    }
    source_.sink(fault, "sink wgmma.wait_group past an arrival", {i, i}, arrival);
    // The accumulators of the wgmma before it.
    size_t before = i;
    while (before > 0 && !multiplies(source_.statements[before])) --before;
    if (before == 0) return;
    const std::vector<std::string> results = names_in(source_.statements[before].operands.at(0));
    source_.sink(fault, "sink wgmma.wait_group past a use", {i, i}, [&](const Statement& t) {
      return std::any_of(t.operands.begin(), t.operands.end(), [&](const std::string& operand) {
        const std::vector<std::string> names = names_in(operand);
        return std::any_of(names.begin(), names.end(), [&](const std::string& n) {
          return std::find(results.begin(), results.end(), n) != results.end();
        });
      });
    });
  }

  void fence(size_t i, const Statement& s) {
    source_.remove(proxy_fence, "delete proxy fence", {i, i});
    source_.hoist(proxy_fence, "hoist proxy fence", {i, i}, generic_write);
    source_.sink(proxy_fence, "sink proxy fence", {i, i}, either(bulk_copy, multiplies));
    for (const auto& [from, to] :
         {std::pair{"shared::cta", "global"}, {"shared::cluster", "global"}, {"global", "shared::cta"}})
      if (starts(s, "fence.proxy.async"))
        if (const auto opcode = with_word(s, from, to))
          source_.replace(proxy_fence, "proxy fence of another space", i, spell(s, *opcode, s.operands),
                          *opcode);
  }

  void barrier(size_t i, const Statement& s) {
    source_.remove(cta_barrier, "delete CTA barrier", {i, i});
    source_.hoist(cta_barrier, "hoist CTA barrier", {i, i}, either(access, group_wait));
    source_.sink(cta_barrier, "sink CTA barrier", {i, i}, access);
    if (const auto index = immediate(s.operands.at(0)))
      source_.set_operand(barrier_operand, "CTA barrier index + 1", i, 0, fmt::format("{}", *index + 1));
    else
      source_.compute_operand(barrier_operand, "CTA barrier index + 1", i, s.operands[0], "b32", "add.u32",
                              ", 1");
    if (s.operands.size() < 2) return;
    if (const auto count = immediate(s.operands[1]))
      for (const int by : {32, -32})
        source_.set_operand(barrier_operand, fmt::format("CTA barrier count {} 32", by > 0 ? "+" : "-"), i, 1,
                            fmt::format("{}", *count + by));
  }

  void cluster(size_t i, const Statement& s) {
    const bool arrives = starts(s, "barrier.cluster.arrive");
    source_.remove(cluster_barrier, arrives ? "delete cluster arrive" : "delete cluster wait", {i, i});
    if (arrives && starts(source_.statements[i + 1], "barrier.cluster.wait"))
      source_.remove(cluster_barrier, "delete cluster barrier", {i, i + 1});
    if (arrives) source_.hoist(cluster_barrier, "hoist cluster arrive", {i, i}, access);
    if (!arrives) source_.sink(cluster_barrier, "sink cluster wait", {i, i}, either(access, arrival));
  }

  // Release and acquire become relaxed, a release store weak, a scope the next narrower one.
  void weaken(size_t i, const Statement& s) {
    if (starts(s, "fence.mbarrier_init") || starts(s, "barrier.cluster.wait")) return;
    const auto changed = [&](const std::string& op, const std::string& opcode) {
      source_.replace(order, op, i, spell(s, opcode, s.operands), opcode);
      source_.need_version_8_6();
    };
    for (const char* semantics : {"release", "acquire", "acq_rel"})
      if (const auto opcode = with_word(s, semantics, "relaxed"))
        if (!starts(s, "fence")) changed(fmt::format("{} made relaxed", semantics), *opcode);
    // An mbarrier operation without qualifiers has .release.cta or .acquire.cta.
    if ((arrival(s) || wait_loop(s)) && !has_word(s, "release") && !has_word(s, "acquire") &&
        !has_word(s, "relaxed")) {
      std::string opcode = s.opcode;
      const size_t at = std::min(opcode.find(".shared"), opcode.find(".b64"));
      opcode.insert(at, has_word(s, "shared::cluster") ? ".relaxed.cluster" : ".relaxed.cta");
      changed("default semantics made relaxed", opcode);
    }
    if (starts(s, "st.release"))
      for (const char* scope : {"sys", "gpu", "cluster", "cta"})
        if (has_word(s, scope)) {
          Statement strong = s;
          strong.opcode = *with_word(s, "release", "");
          source_.replace(order, "release store made weak", i,
                          spell(s, *with_word(strong, scope, ""), s.operands), {});
        }
    for (const auto& [wide, narrow] : {std::pair{"sys", "gpu"}, {"gpu", "cluster"}, {"cluster", "cta"}})
      if (!starts(s, "barrier.cluster"))
        if (const auto opcode = with_word(s, wide, narrow))
          changed(fmt::format("scope .{} made .{}", wide, narrow), *opcode);
  }

  Source& source_;
};

}  // namespace

void mutate_synchronisation(Source& source) {
  Operators(source).all();
}

}  // namespace ptxops::mutants
