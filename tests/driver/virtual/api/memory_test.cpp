// Allocation, copies, fills and pointer attributes, against a host model of the same bytes.
#include <sched.h>

#include <atomic>
#include <cstring>
#include <random>

#include "tests/driver/virtual/api/virtual_driver.h"

namespace ptxops::virt::test {
namespace {

class Memory : public ContextTest {
 protected:
  CUdeviceptr allocate(size_t bytes) {
    CUdeviceptr p = 0;
    EXPECT_CUDA(cuda().cuMemAlloc_v2(&p, bytes));
    return p;
  }
  std::vector<uint8_t> random_bytes(size_t n) {
    std::vector<uint8_t> v(n);
    for (auto& b : v) b = static_cast<uint8_t>(rng_());
    return v;
  }
  std::vector<uint8_t> download(CUdeviceptr p, size_t n) {
    std::vector<uint8_t> v(n, 0x5A);
    EXPECT_CUDA(cuda().cuMemcpyDtoH_v2(v.data(), p, n));
    return v;
  }
  const uint32_t seed_ = std::random_device{}();
  std::mt19937 rng_{seed_};
  ::testing::ScopedTrace trace_{__FILE__, __LINE__, "seed " + std::to_string(seed_)};
};

TEST_F(Memory, CopiesRoundTrip) {
  const CUdeviceptr a = allocate(100003), b = allocate(100003);
  const auto data = random_bytes(100003);
  EXPECT_CUDA(cuda().cuMemcpyHtoD_v2(a, data.data(), data.size()));
  EXPECT_CUDA(cuda().cuMemcpyDtoD_v2(b, a, data.size()));
  EXPECT_EQ(download(b, data.size()), data);
  const auto part = random_bytes(777);
  EXPECT_CUDA(cuda().cuMemcpy(b + 1000, reinterpret_cast<CUdeviceptr>(part.data()), part.size()));
  auto expected = data;
  std::copy(part.begin(), part.end(), expected.begin() + 1000);
  EXPECT_EQ(download(b, data.size()), expected);
}

TEST_F(Memory, CopiesBetweenHostAddressesThatWrapAroundAreRefused) {
  std::vector<uint8_t> a = random_bytes(64), b = a;
  const auto to = reinterpret_cast<CUdeviceptr>(a.data()), from = reinterpret_cast<CUdeviceptr>(b.data());
  for (const CUdeviceptr bytes : {CUdeviceptr{SIZE_MAX}, CUdeviceptr{SIZE_MAX - 63}, 0 - std::min(to, from)})
    EXPECT_EQ(cuda().cuMemcpy(to, from, bytes), CUDA_ERROR_INVALID_VALUE) << bytes;
  EXPECT_EQ(a, b);
}

TEST_F(Memory, FreshMemoryIsNaNAndStaysNeverWrittenWhenCopied) {
  const CUdeviceptr a = allocate(64), b = allocate(64);
  EXPECT_EQ(download(a, 64), std::vector<uint8_t>(64, 0xFF));
  EXPECT_CUDA(cuda().cuMemsetD8_v2(a, 7, 16));
  EXPECT_CUDA(cuda().cuMemcpyDtoD_v2(b, a, 64));
  std::vector<uint8_t> expected(64, 0xFF);
  std::fill_n(expected.begin(), 16, 7);
  EXPECT_EQ(download(b, 64), expected);
}

TEST_F(Memory, FillsOfEveryWidthInOneAndTwoDimensions) {
  const CUdeviceptr p = allocate(4096);
  std::vector<uint8_t> expected(4096, 0xFF);
  EXPECT_CUDA(cuda().cuMemsetD8_v2(p + 3, 0x11, 10));
  std::fill_n(expected.begin() + 3, 10, 0x11);
  EXPECT_CUDA(cuda().cuMemsetD16_v2(p + 100, 0x2233, 5));
  for (int i = 0; i < 5; ++i) expected[100 + 2 * i] = 0x33, expected[101 + 2 * i] = 0x22;
  EXPECT_CUDA(cuda().cuMemsetD2D32_v2(p + 1024, 256, 0x44556677, 3, 4));
  for (int y = 0; y < 4; ++y)
    for (int x = 0; x < 3; ++x) {
      const uint8_t word[] = {0x77, 0x66, 0x55, 0x44};
      std::copy(word, word + 4, expected.begin() + 1024 + y * 256 + x * 4);
    }
  EXPECT_EQ(download(p, 4096), expected);
  EXPECT_REFUSED(cuda().cuMemsetD32_v2(p + 2, 1, 1), CUDA_ERROR_INVALID_VALUE, "multiples of 4");
}

TEST_F(Memory, TwoDimensionalCopyMatchesAModel) {
  CUdeviceptr p = 0;
  size_t pitch = 0;
  ASSERT_CUDA(cuda().cuMemAllocPitch_v2(&p, &pitch, 300, 20, 4));
  EXPECT_GE(pitch, 300u);
  EXPECT_EQ(pitch % 512, 0u);
  const auto host = random_bytes(310 * 25);
  CUDA_MEMCPY2D c{};
  c.srcMemoryType = CU_MEMORYTYPE_HOST;
  c.srcHost = host.data();
  c.srcPitch = 310;
  c.srcXInBytes = 5;
  c.srcY = 2;
  c.dstMemoryType = CU_MEMORYTYPE_DEVICE;
  c.dstDevice = p;
  c.dstPitch = pitch;
  c.dstXInBytes = 7;
  c.dstY = 3;
  c.WidthInBytes = 290;
  c.Height = 17;
  ASSERT_CUDA(cuda().cuMemcpy2D_v2(&c));
  const auto got = download(p, pitch * 20);
  for (size_t y = 0; y < 20; ++y)
    for (size_t x = 0; x < 300; ++x) {
      const bool inside = y >= 3 && y < 20 && x >= 7 && x < 297;
      ASSERT_EQ(got[y * pitch + x], inside ? host[(y - 3 + 2) * 310 + x - 7 + 5] : 0xFF) << x << " " << y;
    }
  c.srcMemoryType = CU_MEMORYTYPE_ARRAY;
  EXPECT_REFUSED(cuda().cuMemcpy2D_v2(&c), CUDA_ERROR_NOT_SUPPORTED, "array");
  c.srcMemoryType = CU_MEMORYTYPE_HOST;
  c.dstPitch = 100;
  EXPECT_REFUSED(cuda().cuMemcpy2D_v2(&c), CUDA_ERROR_INVALID_VALUE, "pitch");
}

TEST_F(Memory, RangesOutsideAllocationsAreRefusedWithTheirPlace) {
  const CUdeviceptr p = allocate(1000);
  std::vector<uint8_t> host(2000);
  EXPECT_REFUSED(cuda().cuMemcpyHtoD_v2(p, host.data(), 1001), CUDA_ERROR_INVALID_VALUE, "1 past the end");
  EXPECT_REFUSED(cuda().cuMemcpyDtoH_v2(host.data(), p + 1000, 1), CUDA_ERROR_INVALID_VALUE,
                 "0 bytes past the end");
  EXPECT_REFUSED(cuda().cuMemcpyDtoD_v2(p, 0x1000, 4), CUDA_ERROR_INVALID_VALUE,
                 "source is not device memory");
  EXPECT_REFUSED(cuda().cuMemsetD8_v2(p + 999, 0, 2), CUDA_ERROR_INVALID_VALUE, "past the end");
  EXPECT_REFUSED(cuda().cuMemcpyHtoD_v2(p, nullptr, 4), CUDA_ERROR_INVALID_VALUE, "source must not be null");
  EXPECT_CUDA(cuda().cuMemFree_v2(p));
  EXPECT_REFUSED(cuda().cuMemsetD8_v2(p, 0, 1), CUDA_ERROR_INVALID_VALUE, "has been freed");
  EXPECT_REFUSED(cuda().cuMemFree_v2(p), CUDA_ERROR_INVALID_VALUE, "has been freed");
  EXPECT_REFUSED(cuda().cuMemFree_v2(allocate(64) + 8), CUDA_ERROR_INVALID_VALUE,
                 "does not begin an allocation");
  EXPECT_CUDA(cuda().cuMemFree_v2(0));
}

TEST_F(Memory, AccountingAndExhaustion) {
  size_t free_before = 0, free_after = 0, total = 0;
  ASSERT_CUDA(cuda().cuMemGetInfo_v2(&free_before, &total));
  const CUdeviceptr p = allocate(size_t{60} << 30);
  ASSERT_CUDA(cuda().cuMemGetInfo_v2(&free_after, &total));
  EXPECT_EQ(free_before - free_after, size_t{60} << 30);
  EXPECT_EQ(total, size_t{80} << 30);
  CUdeviceptr q = 0;
  EXPECT_REFUSED(cuda().cuMemAlloc_v2(&q, size_t{30} << 30), CUDA_ERROR_OUT_OF_MEMORY, "bytes are in use");
  EXPECT_REFUSED(cuda().cuMemAlloc_v2(&q, 0), CUDA_ERROR_INVALID_VALUE, "bytesize");
  EXPECT_CUDA(cuda().cuMemFree_v2(p));
}

TEST_F(Memory, AddressRangeAndPointerAttributes) {
  const CUdeviceptr p = allocate(5000);
  CUdeviceptr base = 0;
  size_t size = 0;
  ASSERT_CUDA(cuda().cuMemGetAddressRange_v2(&base, &size, p + 4999));
  EXPECT_EQ(base, p);
  EXPECT_EQ(size, 5000u);
  unsigned type = 0;
  ASSERT_CUDA(cuda().cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, p));
  EXPECT_EQ(type, unsigned{CU_MEMORYTYPE_DEVICE});
  CUcontext context = nullptr;
  ASSERT_CUDA(cuda().cuPointerGetAttribute(&context, CU_POINTER_ATTRIBUTE_CONTEXT, p + 17));
  EXPECT_EQ(context, context_);
  int local = 0;
  EXPECT_REFUSED(cuda().cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
                                              reinterpret_cast<CUdeviceptr>(&local)),
                 CUDA_ERROR_INVALID_VALUE, "not memory of this driver");
  CUpointer_attribute which[] = {CU_POINTER_ATTRIBUTE_MEMORY_TYPE, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL};
  int ordinal = 9;
  void* data[] = {&type, &ordinal};
  ASSERT_CUDA(cuda().cuPointerGetAttributes(2, which, data, reinterpret_cast<CUdeviceptr>(&local)));
  EXPECT_EQ(type, 0u);
  EXPECT_EQ(ordinal, -2);
}

TEST_F(Memory, PinnedAndRegisteredHostMemory) {
  void* pinned = nullptr;
  ASSERT_CUDA(cuda().cuMemAllocHost_v2(&pinned, 3000));
  std::memset(pinned, 3, 3000);
  CUdeviceptr device = 0;
  ASSERT_CUDA(cuda().cuMemHostGetDevicePointer_v2(&device, pinned, 0));
  unsigned type = 0;
  ASSERT_CUDA(cuda().cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, device));
  EXPECT_EQ(type, unsigned{CU_MEMORYTYPE_HOST});
  EXPECT_REFUSED(cuda().cuMemFree_v2(device), CUDA_ERROR_INVALID_VALUE, "of this kind");
  EXPECT_CUDA(cuda().cuMemFreeHost(pinned));
  EXPECT_EQ(cuda().cuMemFreeHost(pinned), CUDA_ERROR_INVALID_VALUE);

  std::vector<uint8_t> mine(10000);
  ASSERT_CUDA(cuda().cuMemHostRegister_v2(mine.data(), mine.size(), 0));
  EXPECT_EQ(cuda().cuMemHostRegister_v2(mine.data() + 100, 10, 0), CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
  EXPECT_CUDA(cuda().cuMemHostUnregister(mine.data()));
  EXPECT_EQ(cuda().cuMemHostUnregister(mine.data()), CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
}

TEST_F(Memory, StreamOrderedAllocationAndPools) {
  CUmemoryPool pool = nullptr;
  ASSERT_CUDA(cuda().cuDeviceGetDefaultMemPool(&pool, 0));
  cuuint64_t before = 0, used = 0;
  ASSERT_CUDA(cuda().cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &before));
  CUdeviceptr p = 0;
  ASSERT_CUDA(cuda().cuMemAllocAsync(&p, 5000, nullptr));
  ASSERT_CUDA(cuda().cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &used));
  EXPECT_EQ(used - before, 5000u);
  ASSERT_CUDA(cuda().cuMemsetD8Async(p, 9, 5000, nullptr));
  std::vector<uint8_t> host(5000);
  ASSERT_CUDA(cuda().cuMemcpyDtoHAsync_v2(host.data(), p, 5000, nullptr));
  ASSERT_CUDA(cuda().cuMemFreeAsync(p, nullptr));
  ASSERT_CUDA(cuda().cuStreamSynchronize(nullptr));
  EXPECT_EQ(host, std::vector<uint8_t>(5000, 9));
  ASSERT_CUDA(cuda().cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &used));
  EXPECT_EQ(used, before);

  CUmemPoolProps props{};
  props.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
  props.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0};
  props.maxSize = 1000;
  ASSERT_CUDA(cuda().cuMemPoolCreate(&pool, &props));
  EXPECT_REFUSED(cuda().cuMemAllocFromPoolAsync(&p, 1001, pool, nullptr), CUDA_ERROR_OUT_OF_MEMORY,
                 "pool of 1000");
  EXPECT_CUDA(cuda().cuMemAllocFromPoolAsync(&p, 1000, pool, nullptr));
  EXPECT_CUDA(cuda().cuMemFreeAsync(p, nullptr));
  EXPECT_CUDA(cuda().cuCtxSynchronize());
  EXPECT_CUDA(cuda().cuMemPoolDestroy(pool));
  EXPECT_EQ(cuda().cuMemPoolDestroy(pool), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(Memory, UseAfterStreamOrderedFreeFaultsTheContext) {
  CUdeviceptr p = 0;
  ASSERT_CUDA(cuda().cuMemAllocAsync(&p, 256, nullptr));
  // Queue the free behind a blocked host function, the memset behind the free.
  struct Gate {
    std::atomic<bool> open{false};
  } gate;
  ASSERT_CUDA(cuda().cuLaunchHostFunc(
      nullptr,
      [](void* g) {
        while (!static_cast<Gate*>(g)->open) sched_yield();
      },
      &gate));
  ASSERT_CUDA(cuda().cuMemFreeAsync(p, nullptr));
  EXPECT_CUDA(cuda().cuMemsetD8Async(p, 1, 256, nullptr));
  gate.open = true;
  EXPECT_REFUSED(cuda().cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS,
                 "freed before the stream reached the call");
  CUdeviceptr q = 0;
  EXPECT_EQ(cuda().cuMemAlloc_v2(&q, 16), CUDA_ERROR_ILLEGAL_ADDRESS) << "the fault is sticky";
}

TEST_F(Memory, ContextDestructionFreesItsMemory) {
  size_t before = 0, after = 0, total = 0;
  ASSERT_CUDA(cuda().cuMemGetInfo_v2(&before, &total));
  CUcontext other = nullptr;
  ASSERT_CUDA(cuda().cuCtxCreate_v2(&other, 0, 0));
  allocate(1 << 20);
  ASSERT_CUDA(cuda().cuCtxDestroy_v2(other));
  ASSERT_CUDA(cuda().cuMemGetInfo_v2(&after, &total));
  EXPECT_EQ(before, after);
}

}  // namespace
}  // namespace ptxops::virt::test
