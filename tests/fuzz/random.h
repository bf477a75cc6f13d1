// Choices of a mutator.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <random>

namespace ptxops::fuzz {

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  // 0 to n - 1; n > 0.
  size_t below(size_t n) { return engine_() % n; }
  bool one_in(size_t n) { return below(n) == 0; }
  uint64_t bits() { return engine_(); }
  template <class List>
  auto& pick(List& list) {
    return list[below(std::size(list))];
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace ptxops::fuzz
