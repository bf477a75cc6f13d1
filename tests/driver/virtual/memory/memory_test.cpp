// The address space against a plain model: a std::map of what was allocated, driven at random.
#include "driver/virtual/memory/memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>
#include <map>
#include <random>
#include <thread>
#include <vector>

#include "driver/virtual/memory/tensor_map.h"
#include "tests/support/sanitizers.h"

namespace ptxops::virt {
namespace {

using ::testing::HasSubstr;

uint8_t* bytes(uint64_t address) {
  return reinterpret_cast<uint8_t*>(address);
}

// 0 under ThreadSanitizer, whose shadow of what is touched is most of it.
uint64_t resident_kib() {
  if (ptxops::test::kThreadSanitizer) return 0;
  uint64_t size = 0, resident = 0;
  FILE* f = std::fopen("/proc/self/statm", "r");
  if (!f || std::fscanf(f, "%lu %lu", &size, &resident) != 2) ADD_FAILURE() << "cannot read /proc/self/statm";
  if (f) std::fclose(f);
  return resident * 4;
}

TEST(Memory, FreshBytesAreOnesAndUnwritten) {
  Memory memory(1);
  for (uint64_t size : {1ull, 511ull, 512ull, 32752ull, 32753ull, 65536ull, 100'000'000ull}) {
    const Allocation* a = memory.allocate(0, size);
    ASSERT_NE(a, nullptr) << size;
    EXPECT_EQ(a->base % kAllocationAlignment, 0u);
    for (uint64_t i : {uint64_t{0}, size / 2, size - 1})
      EXPECT_EQ(bytes(a->base)[i], kFreshByte) << size << " " << i;
    EXPECT_EQ(first_unwritten(*a, a->base, size), 0u);
    EXPECT_EQ(memory.find(a->base), a);
    EXPECT_EQ(memory.find(a->base + size - 1), a);
    EXPECT_NE(memory.find(a->base + size), a) << "one past the end of " << size;
    EXPECT_EQ(memory.find(a->base - 1), nullptr);
  }
}

TEST(Memory, RandomAllocationsMatchAModel) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937_64 rng(seed);
  Memory memory(2);
  std::map<uint64_t, uint64_t> model;
  uint64_t used[2] = {};
  for (int step = 0; step < 4000; ++step) {
    if (model.empty() || rng() % 5 < 3) {
      const int device = static_cast<int>(rng() % 2);
      const uint64_t size = 1 + (rng() >> (44 + rng() % 20));
      const Allocation* a = memory.allocate(device, size);
      ASSERT_NE(a, nullptr);
      auto next = model.lower_bound(a->base);
      if (next != model.end()) {
        ASSERT_GT(next->first, a->base + size);
      }
      if (next != model.begin()) {
        ASSERT_LT(std::prev(next)->first + std::prev(next)->second, a->base);
      }
      for (uint64_t i = 0; i < size; i += 1 + rng() % 3000) ASSERT_EQ(bytes(a->base)[i], kFreshByte);
      ASSERT_EQ(first_unwritten(*a, a->base, size), 0u);
      std::memset(bytes(a->base), static_cast<int>(step), std::min<uint64_t>(size, 70000));
      mark_written(*a, a->base, size);
      ASSERT_EQ(first_unwritten(*a, a->base, size), size);
      model[a->base] = size;
      used[device] += (size + 511) / 512 * 512;
    } else {
      auto it = model.begin();
      std::advance(it, rng() % model.size());
      const Allocation* a = memory.find(it->first + rng() % it->second);
      ASSERT_NE(a, nullptr);
      ASSERT_EQ(a->base, it->first);
      used[a->device] -= (it->second + 511) / 512 * 512;
      ASSERT_TRUE(memory.release(it->first));
      ASSERT_FALSE(memory.release(it->first)) << "double free";
      ASSERT_EQ(memory.find(it->first), nullptr);
      ASSERT_THAT(memory.describe(it->first), HasSubstr("has been freed"));
      model.erase(it);
    }
  }
  EXPECT_EQ(memory.used_bytes(0), used[0]);
  EXPECT_EQ(memory.used_bytes(1), used[1]);
  memory.release_all(0);
  memory.release_all(1);
  EXPECT_EQ(memory.used_bytes(0) + memory.used_bytes(1), 0u);
  for (const auto& [base, size] : model) EXPECT_EQ(memory.find(base), nullptr);
}

TEST(Memory, ShadowBitsAreExact) {
  Memory memory(1);
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 rng(seed);
  const uint64_t size = 5000;
  const Allocation* a = memory.allocate(0, size);
  std::vector<bool> model(size);
  for (int step = 0; step < 3000; ++step) {
    const uint64_t at = rng() % size, n = 1 + rng() % std::min<uint64_t>(size - at, 200);
    if (step % 16 == 0) {
      mark_written(*a, a->base + at, n);
      std::fill_n(model.begin() + at, n, true);
    }
    uint64_t expected = 0;
    while (expected < n && model[at + expected]) ++expected;
    ASSERT_EQ(first_unwritten(*a, a->base + at, n), expected) << at << " " << n;
    for (uint32_t width : {1u, 2u, 4u, 8u, 16u}) {
      const uint64_t p = at / width * width;
      if (p + width > size) continue;
      const bool all = std::all_of(model.begin() + p, model.begin() + p + width, [](bool b) { return b; });
      ASSERT_EQ(all_written(*a, a->base + p, width), all) << p << " " << width;
    }
  }
}

TEST(Memory, DescribesNeighbours) {
  Memory memory(1);
  const Allocation* a = memory.allocate(0, 1000, "global");
  EXPECT_THAT(memory.describe(a->base + 10),
              HasSubstr("byte 10 of allocation #1 (global memory of device 0, 1000 bytes"));
  EXPECT_THAT(memory.describe(a->base + 1004), HasSubstr("4 bytes past the end of allocation #1"));
  EXPECT_THAT(memory.describe(a->base - 8), HasSubstr("8 bytes before allocation #1"));
  EXPECT_THAT(memory.describe(0x10), HasSubstr("near no allocation"));
}

TEST(Memory, ReusedAddressesForgetTheirPast) {
  Memory memory(1);
  const Allocation* old = memory.allocate(0, 100000);
  const uint64_t at = old->base;
  memory.release(at);
  // Passes through the whole arena, so that small allocations come to lie inside the old range.
  for (int i = 0; i < 2; ++i) {
    const Allocation* big = memory.allocate(0, uint64_t{79} << 30);
    ASSERT_NE(big, nullptr);
    memory.release(big->base);
  }
  const Allocation* small = memory.allocate(0, 1000);
  ASSERT_NE(small, nullptr);
  ASSERT_LE(at, small->base);
  ASSERT_LT(small->base, at + 100000) << "the test needs a reused address";
  EXPECT_THAT(memory.describe(small->base + 1003), HasSubstr("3 bytes past the end of allocation #4"));
}

TEST(Memory, ExhaustionIsRefused) {
  Memory memory(1);
  EXPECT_EQ(memory.allocate(0, 0), nullptr);
  EXPECT_EQ(memory.allocate(1, 16), nullptr) << "no such device";
  EXPECT_EQ(memory.allocate(0, kDeviceBytes + 1), nullptr);
  const Allocation* a = memory.allocate(0, kDeviceBytes - (1 << 20));
  ASSERT_NE(a, nullptr);
  EXPECT_EQ(memory.allocate(0, 2 << 20), nullptr);
  EXPECT_TRUE(memory.release(a->base));
  EXPECT_NE(memory.allocate(0, 2 << 20), nullptr);
}

TEST(Memory, LargeAllocationsCostNothingUntilWritten) {
  Memory memory(1);
  const uint64_t before = resident_kib();
  const Allocation* a = memory.allocate(0, uint64_t{64} << 30);
  ASSERT_NE(a, nullptr);
  EXPECT_EQ(bytes(a->base)[(uint64_t{63} << 30) + 5], kFreshByte);
  bytes(a->base)[uint64_t{62} << 30] = 1;
  EXPECT_EQ(bytes(a->base)[(uint64_t{62} << 30) + 1], kFreshByte);
  EXPECT_LT(resident_kib() - before, 20u << 10);
}

TEST(Memory, RegisteredHostMemoryIsFound) {
  Memory memory(1);
  std::vector<uint8_t> block(10000);
  const Allocation* a = memory.register_host(block.data(), block.size());
  ASSERT_NE(a, nullptr);
  EXPECT_EQ(a->device, kHostDevice);
  EXPECT_EQ(a->shadow, nullptr);
  EXPECT_EQ(memory.find(reinterpret_cast<uint64_t>(block.data()) + 9999), a);
  EXPECT_EQ(memory.find(reinterpret_cast<uint64_t>(block.data()) + 10000), nullptr);
  EXPECT_EQ(memory.register_host(block.data() + 500, 10), nullptr) << "overlap";
  EXPECT_FALSE(memory.release(a->base)) << "not ours to free";
  EXPECT_TRUE(memory.unregister_host(a->base));
  EXPECT_FALSE(memory.unregister_host(a->base));
  EXPECT_EQ(memory.find(reinterpret_cast<uint64_t>(block.data())), nullptr);
}

// What a program registers and unregisters again, for hours, leaves nothing behind.
TEST(Memory, RegistrationsLeaveNothingBehind) {
  constexpr size_t kRanges = 2000, kBytes = 64;
  Memory memory(1);
  std::vector<uint8_t> block(2 * kRanges * kBytes);
  const auto at = [&](size_t i) { return block.data() + 2 * i * kBytes; };
  for (size_t i = 0; i < kRanges; ++i) ASSERT_NE(memory.register_host(at(i), kBytes), nullptr);
  std::atomic<bool> stop{false};
  std::thread reader([&] {
    for (size_t i = 0; !stop.load(); ++i) {
      const Allocation* a = memory.find(reinterpret_cast<uint64_t>(at(2 * i % kRanges)) + kBytes - 1);
      if (!a || a->base != reinterpret_cast<uint64_t>(at(2 * i % kRanges))) ADD_FAILURE();
    }
  });
  const uint64_t before = resident_kib();
  for (size_t i = 0; i < 20'000; ++i) {  // the odd ones, which nobody looks up
    ASSERT_TRUE(memory.unregister_host(reinterpret_cast<uint64_t>(at((2 * i + 1) % kRanges))));
    ASSERT_NE(memory.register_host(at((2 * i + 1) % kRanges), kBytes), nullptr);
  }
  // A list of all ranges for each change would be 600 MiB; the freed ranges that reports know take some.
  EXPECT_LT(resident_kib() - before, 40u << 10);
  stop = true;
  reader.join();
}

TEST(Memory, LookupsRaceWithAllocation) {
  Memory memory(1);
  const Allocation* fixed = memory.allocate(0, 100000);
  std::atomic<bool> stop{false};
  std::thread reader([&] {
    uint64_t i = 0;
    while (!stop.load()) {
      if (memory.find(fixed->base + i++ % 100000) != fixed) ADD_FAILURE();
      const Allocation* other = memory.find(fixed->base + 0x40000 + i % 0x100000);
      if (other && other->size == 0) ADD_FAILURE();
    }
  });
  for (int i = 0; i < 2000; ++i) {
    const Allocation* a = memory.allocate(0, 1 + i * 37 % 90000);
    memory.release(a->base);
  }
  stop.store(true);
  reader.join();
}

TEST(TensorMap, ChecksumSeesEveryBit) {
  TensorMap map{};
  map.global_address = 0x2000'0001'0000;
  map.global_dim[0] = 7;
  map.rank_minus_1 = 1;
  seal(map);
  EXPECT_TRUE(is_intact(map));
  for (size_t bit = 0; bit < 1024; ++bit) {
    TensorMap bad = map;
    reinterpret_cast<uint8_t*>(&bad)[bit / 8] ^= 1 << bit % 8;
    EXPECT_FALSE(is_intact(bad)) << bit;
  }
}

}  // namespace
}  // namespace ptxops::virt
