// Reads values off a fuzzer's input; zeros once it is spent.
#pragma once

#include <algorithm>
#include <cstring>
#include <iterator>

#include "tests/fuzz/target.h"

namespace ptxops::fuzz {

class Feed {
 public:
  explicit Feed(Bytes bytes) : rest_(bytes) {}
  bool empty() const { return rest_.empty(); }
  template <class T>
  T take() {
    T value{};
    const size_t n = std::min(rest_.size(), sizeof value);
    // Not memcpy, for which a spent input may be nowhere.
    std::copy_n(rest_.data(), n, reinterpret_cast<uint8_t*>(&value));
    rest_ = rest_.subspan(n);
    return value;
  }
  uint8_t byte() { return take<uint8_t>(); }
  uint8_t below(uint8_t n) { return static_cast<uint8_t>(byte() % n); }
  // A value near a border of some type, or any.
  uint64_t number() {
    static constexpr uint64_t kBorders[] = {0,
                                            1,
                                            2,
                                            3,
                                            4,
                                            8,
                                            15,
                                            16,
                                            31,
                                            32,
                                            63,
                                            64,
                                            100,
                                            127,
                                            128,
                                            255,
                                            256,
                                            512,
                                            1023,
                                            1024,
                                            1025,
                                            4096,
                                            32764,
                                            49152,
                                            65535,
                                            65536,
                                            232448,
                                            1 << 20,
                                            1 << 30,
                                            INT32_MAX,
                                            UINT32_MAX,
                                            uint64_t{1} << 32,
                                            uint64_t{1} << 40,
                                            INT64_MAX,
                                            uint64_t{1} << 63,
                                            UINT64_MAX - 1,
                                            UINT64_MAX};
    const uint8_t choice = byte();
    if (choice < std::size(kBorders)) return kBorders[choice];
    if (choice < 2 * std::size(kBorders)) return 0 - kBorders[choice - std::size(kBorders)];
    return choice < 128 ? byte() : choice < 192 ? take<uint16_t>() : take<uint64_t>();
  }

 private:
  Bytes rest_;
};

}  // namespace ptxops::fuzz
