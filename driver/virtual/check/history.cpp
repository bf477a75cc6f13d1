#include "driver/virtual/check/history.h"

#include <algorithm>
#include <bit>

namespace ptxops::virt {

// What a touch remembers: a copy, which the compiler keeps in registers between words.
struct Known {
  explicit Known(const Touch& t)
      : record(t.record), first(t.fine_[0]), second(t.fine_[1]), own(t.fine_own_), from(t.from_), to(t.to_) {}

  // Is the record of the cell known to be ordered before this access by `lane`?
  bool fine(uint32_t cell, uint32_t lane) const {
    const uint32_t r = cell >> 5;
    return (r == 0) | (r == record) | (r == first) | (r == second) | (cell == (own << 5 | lane));
  }
  // Is it a word as most are: nobody's, or only of accesses that were found fine before?
  template <bool kWrites>
  bool plain(uint32_t write, uint32_t read, uint32_t lane) const {
    if constexpr (kWrites) return fine(write, lane) & fine(read, lane);
    return fine(write, lane) & ((read == 0) | ((read & History::kMany ? read : read & ~31u) == from));
  }
  // Touches such a word.
  template <bool kWrites>
  void touch(uint32_t& write, uint32_t& read, uint32_t lane) const {
    const uint32_t mine = record << 5 | lane;
    if constexpr (kWrites)
      write = mine, read = 0;
    else
      read = (read == 0) | (to == 0) ? mine : to;
  }

  uint32_t record, first, second, own, from, to;
};

void History::clear() {
  records_.assign(1, Record{});
  sets_.clear();
  bytes_.clear();
  free_bytes_.clear();
}

bool History::is_fine(uint32_t cell, bool exact, int lane, Touch& t) {
  if (Known(t).fine(cell, static_cast<uint32_t>(lane))) return true;
  auto holds = Touch::Holds::here;
  if (!t.ordered(records_[cell >> 5], cell & 31, lane, exact, holds)) {
    t.conflict = cell;
    t.conflict_lane = lane;
    return false;
  }
  if (t.tolerated) return true;
  if (holds == Touch::Holds::everywhere) {
    t.fine_[1] = t.fine_[0];
    t.fine_[0] = cell >> 5;
  } else if (holds == Touch::Holds::same_lane) {
    t.fine_own_ = cell >> 5;
  }
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
    auto holds = Touch::Holds::here;
    t.tolerated = false;
    const bool fine = t.ordered(records_[reader >> 5], reader & 31, lane, false, holds);
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

// Bytes of one word.
bool History::touch_word(const Cells& cells, uint64_t at, uint32_t bytes, int lane, Touch& t) {
  uint32_t& write = cells.write[at / 4];
  uint32_t& read = cells.read[at / 4];
  const uint32_t low = at % 4;
  if (bytes == 4 && !(write & kMany) ? touch_cell(write, read, lane, t)
                                     : touch_bytes(write, read, low, low + bytes, lane, t))
    return true;
  t.conflict_at = at;
  return false;
}

namespace {

constexpr uint32_t kBlock = 32;  // words

// Touches words [kFirst, kBlock), of which each 1 << shift belong to one lane, if all of them are plain.
template <bool kWrites, uint32_t kFirst>
bool touch_block(uint32_t* __restrict write, uint32_t* __restrict read, uint32_t lane, uint32_t shift,
                 const Known known) {
  uint32_t odd = 0;
  for (uint32_t i = kFirst; i < kBlock; ++i)
    odd |= known.plain<kWrites>(write[i], read[i], lane + (i >> shift)) ? 0u : 1u;
  if (odd) return false;
  for (uint32_t i = kFirst; i < kBlock; ++i) known.touch<kWrites>(write[i], read[i], lane + (i >> shift));
  return true;
}

constexpr uint32_t kOneLane = 31;  // a shift

}  // namespace

// `count` whole words from `word`, of which each 1 << shift belong to one lane, from `lane`.
template <bool kWrites>
bool History::touch_run(const Cells& cells, uint64_t word, uint64_t count, uint32_t lane, uint32_t shift,
                        Touch& t) {
  for (uint64_t begin = 0; begin < count; begin += kBlock) {
    uint32_t* const write = cells.write + word + begin;
    uint32_t* const read = cells.read + word + begin;
    const uint32_t of = lane + static_cast<uint32_t>(begin >> shift);
    const uint32_t size = static_cast<uint32_t>(std::min<uint64_t>(kBlock, count - begin));
    uint32_t i = 0;
    if (size == kBlock) {
      // The first word of all tells about the others.
      if (begin == 0) {
        if (!touch_word(cells, word * 4, 4, static_cast<int>(of), t)) return false;
        if (touch_block<kWrites, 1>(write, read, of, shift, Known(t))) continue;
        i = 1;
      } else if (touch_block<kWrites, 0>(write, read, of, shift, Known(t))) {
        continue;
      }
    }
    Known known(t);
    for (; i < size; ++i) {
      const uint32_t mine = of + (i >> shift);
      if (known.plain<kWrites>(write[i], read[i], mine)) {
        known.touch<kWrites>(write[i], read[i], mine);
        continue;
      }
      if (!touch_word(cells, (word + begin + i) * 4, 4, static_cast<int>(mine), t)) return false;
      known = Known(t);
    }
  }
  return true;
}

bool History::touch(const Cells& cells, uint64_t first, uint64_t bytes, int lane, Touch& t) {
  if ((first | bytes) % 4 == 0 && lane >= 0) {
    const auto run = t.writes ? &History::touch_run<true> : &History::touch_run<false>;
    return (this->*run)(cells, first / 4, bytes / 4, static_cast<uint32_t>(lane), kOneLane, t);
  }
  const uint64_t end = first + bytes;
  for (uint64_t at = first; at < end;) {
    const uint32_t part = static_cast<uint32_t>(std::min(4 - at % 4, end - at));
    if (!touch_word(cells, at, part, lane, t)) return false;
    at += part;
  }
  return true;
}

bool History::touch_lanes(const Cells& cells, uint64_t first, uint32_t bytes, Touch& t) {
  const uint32_t words = bytes / 4, shift = static_cast<uint32_t>(std::countr_zero(words));
  return t.writes ? touch_run<true>(cells, first / 4, words * kLanes, 0, shift, t)
                  : touch_run<false>(cells, first / 4, words * kLanes, 0, shift, t);
}

template <bool kWrites>
bool History::touch_scattered(const Cells& cells, const std::byte* base, const std::byte* const* host,
                              uint32_t& lanes, uint32_t bytes, Touch& t) {
  const auto last_of = [](uint32_t set) { return 31 - static_cast<uint32_t>(std::countl_zero(set)); };
  Known known(t);
  while (lanes) {
    const uint32_t lane = last_of(lanes);
    const std::byte* at = host[lane];
    do lanes &= ~(1u << last_of(lanes));
    while (lanes && host[last_of(lanes)] == at);
    const uint64_t first = static_cast<uint64_t>(at - base);
    for (uint64_t i = first; i < first + bytes; i += 4) {
      const bool whole = (first | bytes) % 4 == 0;
      uint32_t& write = cells.write[i / 4];
      uint32_t& read = cells.read[i / 4];
      if (whole && known.plain<kWrites>(write, read, lane)) {
        known.touch<kWrites>(write, read, lane);
        continue;
      }
      if (!(whole ? touch_word(cells, i, 4, static_cast<int>(lane), t)
                  : touch(cells, i, bytes, static_cast<int>(lane), t)))
        return false;
      known = Known(t);
      if (!whole) break;
    }
  }
  return true;
}

bool History::touch_each(const Cells& cells, const std::byte* base, const std::byte* const* host,
                         uint32_t& lanes, uint32_t bytes, Touch& t) {
  return t.writes ? touch_scattered<true>(cells, base, host, lanes, bytes, t)
                  : touch_scattered<false>(cells, base, host, lanes, bytes, t);
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
