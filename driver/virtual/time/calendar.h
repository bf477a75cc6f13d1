// A resource of the time model: something that serves a bounded amount of work per cycle. Warps run in host
// order, not in modelled order, so a reservation may come for a time before earlier ones: the calendar finds
// the first room from the requested time on.
#pragma once

#include <cstdint>
#include <vector>

namespace ptxops::virt {

class Calendar {
 public:
  // Reserves `cycles` of service starting no earlier than `from`; returns the time at which it is done.
  uint64_t reserve(uint64_t from, uint64_t cycles) {
    uint64_t bucket = from / kBucket;
    uint64_t start_room = kBucket - from % kBucket;  // the first bucket may be entered part-way
    uint64_t end = from;
    for (bool first = true; cycles > 0; ++bucket, first = false) {
      if (bucket >= used_.size()) used_.resize(bucket + 64, 0);
      uint64_t room = kBucket - used_[bucket];
      if (first && room > start_room) room = start_room;
      if (room == 0) continue;
      const uint64_t take = room < cycles ? room : cycles;
      // Work in a bucket is packed from its start, but never before the requested time.
      const uint64_t begin = bucket * kBucket + used_[bucket];
      const uint64_t not_before = begin > from ? begin : from;
      used_[bucket] = static_cast<uint16_t>(used_[bucket] + take);
      end = not_before + take;
      cycles -= take;
    }
    return end;
  }
  void clear() { used_.clear(); }

 private:
  static constexpr uint64_t kBucket = 256;
  std::vector<uint16_t> used_;
};

}  // namespace ptxops::virt
