#include "driver/virtual/async/async_state.h"

#include <algorithm>

#include "driver/virtual/check/checker.h"

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
        done_[lane] = std::max(done_[lane], groups[k]->number);
        written_[lane] = std::max(written_[lane], groups[k]->write_clock);
      }
    groups.erase(groups.begin(), groups.begin() + static_cast<ptrdiff_t>(covered));
    if (!read_only) w.clock = std::max(w.clock, written_[lane]);
  }
  if (w.order) judge(w, lanes, read_only);
}

void CopyGroups::judge(Warp& w, uint32_t lanes, bool read_only) {
  Checker& checker = *w.order->checker;
  if (bulk_) {
    for (uint32_t rest = lanes; rest; rest &= rest - 1) {
      const uint32_t lane = __builtin_ctz(rest);
      if (done_[lane]) checker.bulk_done(w, lane, done_[lane], read_only);
    }
    w.order->last_group_wait_stamp = checker.stamp();
    w.order->last_group_wait_read = read_only;
    return;
  }
  while (lanes) {  // lanes that have waited for the same operation, together
    const uint32_t number = done_[__builtin_ctz(lanes)];
    uint32_t same = 0;
    for (uint32_t rest = lanes; rest; rest &= rest - 1)
      if (done_[__builtin_ctz(rest)] == number) same |= rest & -rest;
    if (number) checker.cp_async_done(w, same, number);
    lanes &= ~same;
  }
}

void CopyGroups::wait_all(Warp& w, uint32_t lanes) {
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const uint32_t lane = __builtin_ctz(rest);
    auto& open = open_[lane];
    if (!open) continue;
    finish(w, *open, false);
    done_[lane] = std::max(done_[lane], open->number);
    open = nullptr;
  }
  wait(w, lanes, 0, false);
}

void CopyGroups::note(uint32_t lanes, uint64_t clock) {
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    uint64_t& last = last_clock_[__builtin_ctz(rest)];
    last = std::max(last, clock);
  }
}

}  // namespace ptxops::virt
