#include "driver/virtual/async/async_state.h"

#include <algorithm>

namespace ptxops::virt {

CopyGroups::Members CopyGroups::join(uint32_t lanes) {
  Members members;
  std::shared_ptr<CopyGroup> fresh;  // one for all lanes that have none open
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    auto& open = open_[__builtin_ctz(rest)];
    if (!open) {
      if (!fresh) fresh = std::make_shared<CopyGroup>();
      open = fresh;
    }
    if (std::find(members.begin(), members.end(), open) == members.end()) members.push_back(open);
  }
  return members;
}

void CopyGroups::commit(uint32_t lanes) {
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const uint32_t i = __builtin_ctz(rest);
    committed_[i].push_back(std::move(open_[i]));  // null: an empty group
    open_[i] = nullptr;
  }
}

static void finish(Warp& w, const CopyGroup& group, bool read_only) {
  drain_until(*w.cta->cluster, [&] { return group.pending == 0; });
  w.clock = std::max(w.clock, read_only ? group.read_clock : group.write_clock);
}

void CopyGroups::wait(Warp& w, uint32_t lanes, uint32_t newest, bool read_only) {
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const uint32_t lane = __builtin_ctz(rest);
    auto& groups = committed_[lane];
    const size_t covered = groups.size() > newest ? groups.size() - newest : 0;
    for (size_t k = 0; k < covered; ++k)
      if (groups[k]) {
        finish(w, *groups[k], read_only);
        written_[lane] = std::max(written_[lane], groups[k]->write_clock);
      }
    groups.erase(groups.begin(), groups.begin() + static_cast<ptrdiff_t>(covered));
    if (!read_only) w.clock = std::max(w.clock, written_[lane]);
  }
}

void CopyGroups::wait_all(Warp& w, uint32_t lanes) {
  wait(w, lanes, 0, false);
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    auto& open = open_[__builtin_ctz(rest)];
    if (open) finish(w, *open, false);
    open = nullptr;
  }
}

void CopyGroups::note(uint32_t lanes, uint64_t clock) {
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    uint64_t& last = last_clock_[__builtin_ctz(rest)];
    last = std::max(last, clock);
  }
}

}  // namespace ptxops::virt
