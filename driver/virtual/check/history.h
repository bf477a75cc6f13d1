// Who accessed each word of memory last: the last write, and the reads since that nothing has superseded.
//
// A word's cell holds the number of a Record, shared by all words that one instruction touched, so that tiles
// of many kilobytes cost a comparison and a store for each word. Several readers are a set, also shared: sets
// are extended by transitions that an access remembers (Touch), because neighbouring words have equal
// histories.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "driver/virtual/exec/access.h"

namespace ptxops::virt {

// What performs an access.
enum class Actor : uint8_t {
  generic,     // ld, st, atom, ldmatrix ...
  nc_load,     // ld.global.nc
  cp_async,    // writes of cp.async
  st_async,    // writes of st.async, red.async
  bulk_load,   // writes of bulk and tensor copies that complete on an mbarrier
  bulk_read,   // reads of their sources, completing on an mbarrier or in a bulk group
  bulk_store,  // writes of bulk and tensor copies that complete in a bulk group
  wgmma,       // operands in shared memory
  tensormap,   // reads of tensor maps by tensor copies
};
inline bool is_async_proxy(Actor a) {
  return a == Actor::bulk_load || a == Actor::bulk_read || a == Actor::bulk_store || a == Actor::wgmma;
}

struct Record {
  uint32_t agent = 0, sync = 0, sub = 0;  // whose access, and when (clock.h)
  uint32_t line = 0;
  const Op* op = nullptr;
  uint32_t cluster = 0, grid = 0;  // numbers
  uint32_t stamp = 0;              // of the cluster's events, when issued
  uint32_t size = 0;               // bytes a lane, or of the whole range
  uint32_t cta = 0;                // rank of the CTA that executes
  std::array<uint32_t, 3> cta_id{};
  uint16_t warp = 0;
  Actor actor = Actor::generic;
  AccessKind kind = AccessKind::load;
  bool strong = false;
  Scope scope = Scope::cta;
};

// The cells of a range of memory, a word each.
struct Cells {
  uint32_t* write = nullptr;
  uint32_t* read = nullptr;
};

class History;
struct Known;

// One access in progress: what it asks of older ones, and what it remembers between words.
struct Touch {
  // For which other lanes an answer holds: for none, for each lane that touches its own words again, for all.
  enum class Holds : uint8_t { here, same_lane, everywhere };
  // May `record` (by `lane`) come before this access (by `my_lane`)? `exact`: `lane` is the lane that touched
  // the very word.
  virtual bool ordered(const Record& record, uint32_t lane, int my_lane, bool exact, Holds& holds) = 0;
  virtual ~Touch() = default;

  uint32_t record = 0;  // number of this access's own record
  bool writes = false;
  uint32_t conflict = 0;        // the cell of the first record that may not come before
  uint64_t conflict_at = 0;     // and the byte
  int conflict_lane = 0;        // of this access
  bool conflict_fresh = false;  // nobody had written the word before
  // Set by ordered(): the record may come before only because both accesses are strong, or write the same.
  bool tolerated = false;

 private:
  friend class History;
  friend struct Known;
  uint32_t fine_read_ = 0;        // set found ordered
  uint32_t fine_[2] = {};         // records found ordered for all their lanes, the latest first
  uint32_t fine_own_ = 0;         // record found ordered for each lane's own words
  uint32_t from_ = ~0u, to_ = 0;  // transition of readers
};

class History {
 public:
  History() { clear(); }

  static constexpr uint32_t kMany = 0x80000000u;  // a set of readers, or a word whose bytes differ
  static uint32_t cell(uint32_t record, int lane) { return record << 5 | static_cast<uint32_t>(lane & 31); }

  uint32_t add(const Record& record) {
    records_.push_back(record);
    return static_cast<uint32_t>(records_.size() - 1);
  }
  const Record& of(uint32_t cell) const { return records_[cell >> 5]; }
  size_t size() const { return records_.size(); }
  size_t set_count() const { return sets_.size(); }

  // Records that lane `lane` touches bytes [first, first + bytes) of the range behind `cells`; false when an
  // older access is not ordered before it (touch.conflict).
  bool touch(const Cells& cells, uint64_t first, uint64_t bytes, int lane, Touch& touch);

  // The same by all lanes of a warp at once, each `bytes` (a power of two, at least 4) behind the one before,
  // from a multiple of 4.
  bool touch_lanes(const Cells& cells, uint64_t first, uint32_t bytes, Touch& touch);

  // The same by each of `lanes`, the last first, for `bytes` at its host address; cells count from `base`. Of
  // neighbouring lanes that touch the same, the last stands for all: the first is the one that signals alone,
  // as a rule. What is left of `lanes` behind a conflict has not been touched.
  bool touch_each(const Cells& cells, const std::byte* base, const std::byte* const* host, uint32_t& lanes,
                  uint32_t bytes, Touch& touch);

  // A record of a write in [first, first + bytes), or 0.
  uint32_t written(const Cells& cells, uint64_t first, uint64_t bytes) const;

  void clear();
  // Forgets records that no cell names any more. All cells of the history must be given.
  void compact(const std::vector<std::pair<Cells, uint64_t>>& ranges);  // cells, words

 private:
  struct Bytes {
    uint32_t write[4], read[4];
  };
  bool is_fine(uint32_t cell, bool exact, int lane, Touch& touch);
  bool check_write(uint32_t cell, int lane, Touch& touch);
  bool check_reads(uint32_t cell, int lane, Touch& touch);
  bool add_reader(uint32_t& readers, int lane, Touch& touch);
  bool touch_word(const Cells& cells, uint64_t at, uint32_t bytes, int lane, Touch& touch);
  template <bool kWrites>
  bool touch_run(const Cells& cells, uint64_t word, uint64_t count, uint32_t lane, uint32_t shift,
                 Touch& touch);
  template <bool kWrites>
  bool touch_scattered(const Cells& cells, const std::byte* base, const std::byte* const* host,
                       uint32_t& lanes, uint32_t bytes, Touch& touch);
  bool touch_cell(uint32_t& write, uint32_t& read, int lane, Touch& touch);
  bool touch_bytes(uint32_t& write, uint32_t& read, uint32_t first, uint32_t last, int lane, Touch& touch);

  std::vector<Record> records_;  // [0]: none
  std::vector<std::vector<uint32_t>> sets_;
  std::vector<Bytes> bytes_;
  std::vector<uint32_t> free_bytes_;
};

}  // namespace ptxops::virt
