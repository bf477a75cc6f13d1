// The seed of a test's random data: printed, and taken from PTXOPS_TEST_SEED to repeat a failure.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>

namespace ptxops::test {

inline std::uint64_t random_seed() {
  static const std::uint64_t seed = [] {
    const char* given = std::getenv("PTXOPS_TEST_SEED");
    const std::uint64_t s = given ? std::strtoull(given, nullptr, 0) : std::random_device{}();
    std::printf("PTXOPS_TEST_SEED=%llu\n", static_cast<unsigned long long>(s));
    return s;
  }();
  return seed;
}

// An independent stream for each `purpose`.
inline std::mt19937_64 random_engine(std::uint64_t purpose) {
  return std::mt19937_64(random_seed() * 0x9E3779B97F4A7C15u + purpose);
}

}  // namespace ptxops::test
