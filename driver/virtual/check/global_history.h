// The history of global memory, one for the process, and the order of grids. Callers hold lock() around
// everything.
#pragma once

#include <mutex>
#include <unordered_map>

#include "driver/virtual/check/clock.h"
#include "driver/virtual/check/history.h"

namespace ptxops::virt {

struct Allocation;

class GlobalHistory {
 public:
  static GlobalHistory& get();

  std::mutex& lock() { return mutex_; }
  History& history() { return history_; }
  // The cells of an allocation; word i covers bytes 4i of it.
  Cells cells(const Allocation& a);

  // Grids. A grid is before another when it had ended before the other began.
  void begin(uint32_t grid, uint32_t prerequisite);
  void end(uint32_t grid);
  bool before(uint32_t grid, uint32_t other) const;
  // griddepcontrol.launch_dependents was executed: a dependent may start before the grid has ended. `early`:
  // by a thread that had not waited for the grid's own prerequisite.
  void trigger(uint32_t grid, bool early) {
    grids_[grid].triggered = true;
    grids_[grid].triggered_early |= early;
  }
  void wait(uint32_t grid) { grids_[grid].waited = true; }
  // Is grid `earlier` complete for a thread of a grid with this prerequisite? `waited`: the thread has
  // executed griddepcontrol.wait.
  bool before_dependent(uint32_t earlier, uint32_t prerequisite, bool waited) const;
  bool has_triggered(uint32_t grid) const {
    const auto it = grids_.find(grid);
    return it != grids_.end() && it->second.triggered;
  }
  uint32_t new_cluster() { return ++clusters_; }

  // Strong writes publish clocks at their address.
  struct Publication {
    uint32_t cluster = 0;
    int cta = 0, device = 0;
    Scope scope = Scope::cta;
    std::shared_ptr<const Clock> clock;
  };
  struct Published {
    uint64_t version = 0;  // another after each change, at whatever address
    std::vector<Publication> all;
  };
  // To be changed.
  std::vector<Publication>& published(uint64_t address) {
    Published& p = published_[address];
    p.version = ++versions_;
    return p.all;
  }
  const Published* find_published(uint64_t address) const {
    const auto it = published_.find(address);
    return it == published_.end() ? nullptr : &it->second;
  }
  void forget_published(uint64_t address) { published_.erase(address); }

 private:
  struct Pages {
    uint32_t* words = nullptr;  // write cells, then read cells; pages of zeros until touched
    uint64_t bytes = 0;
    Pages() = default;
    Pages(const Pages&) = delete;
    Pages& operator=(const Pages&) = delete;
    ~Pages();
  };
  void forget();

  std::mutex mutex_;
  History history_;
  std::unordered_map<uint32_t, Pages> pages_;  // by the allocation's number
  uint32_t last_id_ = 0;
  Cells last_;
  struct Span {
    uint64_t began = 0, ended = 0;  // ended 0: it runs
    uint32_t prerequisite = 0;      // may have run beside it
    bool triggered = false, triggered_early = false, waited = false;
  };
  std::unordered_map<uint32_t, Span> grids_;
  uint32_t running_ = 0;
  uint64_t time_ = 0;
  uint32_t clusters_ = 0;
  std::unordered_map<uint64_t, Published> published_;
  uint64_t versions_ = 0;
};

}  // namespace ptxops::virt
