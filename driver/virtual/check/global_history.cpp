#include "driver/virtual/check/global_history.h"

#include <sys/mman.h>

#include <new>

#include "driver/virtual/memory/memory.h"

namespace ptxops::virt {
namespace {

// So many records are kept between grids; more are forgotten when nothing runs. A running grid may exceed it.
constexpr size_t kRecords = size_t{1} << 20;
constexpr size_t kMostRecords = size_t{1} << 24;  // forgotten when a grid begins, even though others run

}  // namespace

GlobalHistory& GlobalHistory::get() {
  static GlobalHistory* g = new GlobalHistory;  // leaked: worker threads outlive main()
  return *g;
}

GlobalHistory::Pages::~Pages() {
  if (words) munmap(words, bytes);
}

Cells GlobalHistory::cells(const Allocation& a) {
  if (a.id == last_id_ && last_.write) return last_;
  Pages& p = pages_[a.id];
  const uint64_t count = (a.size + 3) / 4;
  if (!p.words) {
    p.bytes = count * 8;
    void* at =
        mmap(nullptr, p.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) throw std::bad_alloc();
    p.words = static_cast<uint32_t*>(at);
  }
  last_id_ = a.id;
  return last_ = {p.words, p.words + count};
}

void GlobalHistory::forget() {
  pages_.clear();
  last_ = {};
  last_id_ = 0;
  history_.clear();
  published_.clear();
}

void GlobalHistory::begin(uint32_t grid, uint32_t prerequisite) {
  // What ended long ago is before everything that begins now.
  if (running_ == 0 && (history_.size() > kRecords || history_.set_count() > kRecords / 16)) forget();
  if (running_ == 0 && grids_.size() > 1000)
    std::erase_if(grids_, [&](const auto& g) { return g.second.ended + 100 < time_; });
  if (history_.size() > kMostRecords) forget();
  ++running_;
  grids_[grid].began = ++time_;
  grids_[grid].prerequisite = prerequisite;
}

void GlobalHistory::end(uint32_t grid) {
  --running_;
  grids_[grid].ended = ++time_;
}

bool GlobalHistory::before(uint32_t grid, uint32_t other) const {
  const auto a = grids_.find(grid), b = grids_.find(other);
  if (a == grids_.end() || b == grids_.end()) return true;
  return a->second.ended != 0 && a->second.ended < b->second.began;
}

// Whoever waits knows the prerequisite complete; and what was complete for it, if it waited itself. Who does
// not wait knows what the prerequisite knew when it let its dependents start.
bool GlobalHistory::before_dependent(uint32_t earlier, uint32_t prerequisite, bool waited) const {
  bool complete = waited;
  for (uint32_t g = prerequisite; earlier != g;) {
    const auto span = grids_.find(g);
    if (span == grids_.end() || span->second.prerequisite == 0) return true;
    complete = span->second.waited && (complete || !span->second.triggered_early);
    g = span->second.prerequisite;
  }
  return complete;
}

}  // namespace ptxops::virt
