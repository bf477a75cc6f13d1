#include "driver/virtual/check/history.h"

#include <algorithm>

namespace ptxops::virt {

void History::clear() {
  records_.assign(1, Record{});
  sets_.clear();
  bytes_.clear();
  free_bytes_.clear();
}

bool History::is_fine(uint32_t cell, bool exact, int lane, Touch& t) {
  if (cell >> 5 == t.fine_record_ || cell >> 5 == t.record) return true;
  bool any_lane = false;
  if (!t.ordered(records_[cell >> 5], cell & 31, lane, exact, any_lane)) {
    t.conflict = cell;
    t.conflict_lane = lane;
    return false;
  }
  if (any_lane && !t.tolerated) t.fine_record_ = cell >> 5;
  return true;
}

bool History::check_write(uint32_t cell, int lane, Touch& t) {
  return cell == 0 || is_fine(cell, true, lane, t);
}

bool History::check_reads(uint32_t cell, int lane, Touch& t) {
  if (cell == 0 || cell == t.fine_read_) return true;
  if (!(cell & kMany)) return is_fine(cell, true, lane, t);
  for (const uint32_t reader : sets_[cell & ~kMany])
    if (!is_fine(reader, false, lane, t)) return false;
  t.fine_read_ = cell;
  return true;
}

// The readers become those behind this access, which has read too. Older reads that are ordered before it
// need not be kept: whoever is ordered behind this access is ordered behind them. Among the readers are
// strong writes that another one has replaced without being ordered behind them; these a read must be ordered
// behind as well.
bool History::add_reader(uint32_t& readers, int lane, Touch& t) {
  const uint32_t own = cell(t.record, lane);
  if (readers == 0) {
    readers = own;
    return true;
  }
  const uint32_t key = readers & kMany ? readers : readers & ~31u;
  if (key == t.from_) {
    readers = t.to_ ? t.to_ : own;
    return true;
  }
  std::vector<uint32_t> keep;
  const auto consider = [&](uint32_t reader) {
    if (reader >> 5 == t.record) return true;
    bool any_lane = false;
    t.tolerated = false;
    const bool fine = t.ordered(records_[reader >> 5], reader & 31, lane, false, any_lane);
    if (fine && !t.tolerated) return true;
    if (!fine && records_[reader >> 5].kind != AccessKind::load) {
      t.conflict = reader;
      t.conflict_lane = lane;
      return false;
    }
    keep.push_back(reader);
    return true;
  };
  if (readers & kMany) {
    for (const uint32_t reader : sets_[readers & ~kMany])
      if (!consider(reader)) return false;
  } else if (!consider(readers)) {
    return false;
  }
  t.from_ = key;
  t.to_ = 0;
  if (!keep.empty()) {
    // Words that a whole grid reads: the latest readers will do, a set for each reader must not grow with the
    // grid.
    constexpr size_t kMostReaders = 128;
    if (keep.size() >= kMostReaders) keep.erase(keep.begin());
    keep.push_back(own);
    sets_.push_back(std::move(keep));
    t.to_ = kMany | static_cast<uint32_t>(sets_.size() - 1);
  }
  readers = t.to_ ? t.to_ : own;
  return true;
}

bool History::touch_cell(uint32_t& write, uint32_t& read, int lane, Touch& t) {
  t.tolerated = false;
  if (!check_write(write, lane, t)) return false;
  if (!t.writes) return add_reader(read, lane, t);
  const bool keeps = t.tolerated;
  if (!check_reads(read, lane, t)) {
    t.conflict_fresh = write == 0;
    return false;
  }
  if (keeps && write >> 5 != t.record) {
    constexpr size_t kMost = 8;  // replaced strong writes that are remembered
    std::vector<uint32_t> kept;
    if (read & kMany)
      for (const uint32_t r : sets_[read & ~kMany])
        if (records_[r >> 5].kind != AccessKind::load && kept.size() + 1 < kMost) kept.push_back(r);
    kept.push_back(write);
    sets_.push_back(std::move(kept));
    read = kMany | static_cast<uint32_t>(sets_.size() - 1);
  } else {
    read = 0;
  }
  write = cell(t.record, lane);
  return true;
}

bool History::touch_bytes(uint32_t& write, uint32_t& read, uint32_t first, uint32_t last, int lane,
                          Touch& t) {
  const bool whole = first == 0 && last == 4;
  if (!(write & kMany)) {
    if (whole) return touch_cell(write, read, lane, t);
    uint32_t index;
    if (free_bytes_.empty()) {
      index = static_cast<uint32_t>(bytes_.size());
      bytes_.emplace_back();
    } else {
      index = free_bytes_.back();
      free_bytes_.pop_back();
    }
    for (int i = 0; i < 4; ++i) bytes_[index].write[i] = write, bytes_[index].read[i] = read;
    write = kMany | index;
    read = 0;
  }
  const uint32_t index = write & ~kMany;
  for (uint32_t i = first; i < last; ++i)
    if (!touch_cell(bytes_[index].write[i], bytes_[index].read[i], lane, t)) return false;
  if (whole && t.writes) {
    write = cell(t.record, lane);
    read = 0;
    free_bytes_.push_back(index);
  }
  return true;
}

bool History::touch(const Cells& cells, uint64_t first, uint64_t bytes, int lane, Touch& t) {
  const uint64_t end = first + bytes;
  uint64_t at = first;
  while (at < end) {
    const uint64_t word = at / 4;
    const uint32_t low = at % 4, high = static_cast<uint32_t>(std::min<uint64_t>(4, low + (end - at)));
    uint32_t& write = cells.write[word];
    uint32_t& read = cells.read[word];
    const bool fine = low == 0 && high == 4 && !(write & kMany)
                          ? touch_cell(write, read, lane, t)
                          : touch_bytes(write, read, low, high, lane, t);
    if (!fine) {
      t.conflict_at = at;
      return false;
    }
    at += high - low;
  }
  return true;
}

bool History::touch_lanes(const Cells& cells, uint64_t first, uint32_t bytes, Touch& t) {
  const uint32_t words = bytes / 4;
  uint32_t* write = cells.write + first / 4;
  uint32_t* read = cells.read + first / 4;
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    const uint32_t own = cell(t.record, static_cast<int>(lane));
    for (uint32_t k = 0; k < words; ++k, ++write, ++read) {
      const uint32_t w = *write, r = *read;
      const bool fine = w == 0 || (!(w & kMany) && (w >> 5 == t.fine_record_ || w >> 5 == t.record));
      // What most words are: nobody, or only accesses that were found fine, before.
      if (fine && t.writes && !t.tolerated && (r == 0 || (!(r & kMany) && r >> 5 == t.fine_record_))) {
        *write = own;
        *read = 0;
      } else if (fine && !t.writes && (r == 0 || ((r & kMany ? r : r & ~31u) == t.from_ && t.to_ == 0))) {
        *read = own;
      } else if (const uint64_t at = first + (uint64_t{lane} * words + k) * 4;
                 !touch(cells, at, 4, static_cast<int>(lane), t)) {
        return false;
      }
    }
  }
  return true;
}

uint32_t History::written(const Cells& cells, uint64_t first, uint64_t bytes) const {
  for (uint64_t word = first / 4; word < (first + bytes + 3) / 4; ++word) {
    const uint32_t write = cells.write[word];
    if (!(write & kMany)) {
      if (write) return write;
      continue;
    }
    for (const uint32_t w : bytes_[write & ~kMany].write)
      if (w) return w;
  }
  return 0;
}

void History::compact(const std::vector<std::pair<Cells, uint64_t>>& ranges) {
  std::vector<uint32_t> record_to(records_.size(), 0), set_to(sets_.size(), ~0u);
  std::vector<Record> records(1);
  std::vector<std::vector<uint32_t>> sets;
  const auto move_record = [&](uint32_t c) {
    uint32_t& to = record_to[c >> 5];
    if (to == 0) {
      to = static_cast<uint32_t>(records.size());
      records.push_back(records_[c >> 5]);
    }
    return to << 5 | (c & 31);
  };
  const auto move_cell = [&](uint32_t& c) {
    if (c == 0) return;
    if (!(c & kMany)) {
      c = move_record(c);
      return;
    }
    uint32_t& to = set_to[c & ~kMany];
    if (to == ~0u) {
      to = static_cast<uint32_t>(sets.size());
      std::vector<uint32_t> members;
      for (const uint32_t reader : sets_[c & ~kMany]) members.push_back(move_record(reader));
      sets.push_back(std::move(members));
    }
    c = kMany | to;
  };
  for (const auto& [cells, words] : ranges)
    for (uint64_t i = 0; i < words; ++i) {
      if (cells.write[i] & kMany) {
        Bytes& b = bytes_[cells.write[i] & ~kMany];
        for (int k = 0; k < 4; ++k) move_cell(b.write[k]), move_cell(b.read[k]);
      } else {
        move_cell(cells.write[i]);
        move_cell(cells.read[i]);
      }
    }
  records_ = std::move(records);
  sets_ = std::move(sets);
}

}  // namespace ptxops::virt
