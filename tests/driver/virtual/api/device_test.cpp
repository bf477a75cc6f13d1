// Devices and their attributes.
#include <cstring>

#include "tests/driver/virtual/api/virtual_driver.h"

namespace ptxops::virt::test {
namespace {

int attribute(CUdevice_attribute a, CUdevice device = 0) {
  int value = -12345;
  EXPECT_CUDA(cuda().cuDeviceGetAttribute(&value, a, device));
  return value;
}

// Where the checks of "what is this device" agree with the published data of an H800 SXM.
TEST(Device, IsAnH800) {
  EXPECT_EQ(attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR), 9);
  EXPECT_EQ(attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR), 0);
  EXPECT_EQ(attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT), 132);
  EXPECT_EQ(attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN), 227 * 1024);
  EXPECT_EQ(attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR), 228 * 1024);
  EXPECT_EQ(attribute(CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR), 65536);
  EXPECT_EQ(attribute(CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE), 50 << 20);
  EXPECT_EQ(attribute(CU_DEVICE_ATTRIBUTE_TENSOR_MAP_ACCESS_SUPPORTED), 1);
  EXPECT_EQ(attribute(CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH), 1);
  size_t bytes = 0;
  EXPECT_CUDA(cuda().cuDeviceTotalMem_v2(&bytes, 0));
  EXPECT_EQ(bytes, size_t{80} << 30);
  char name[64];
  EXPECT_CUDA(cuda().cuDeviceGetName(name, sizeof name, 0));
  EXPECT_STREQ(name, "ptxops virtual H800 SXM");
}

TEST(Device, EveryListedAttributeIsAnswered) {
#define PTXOPS_ENUM(type) \
  {                       \
    [[maybe_unused]] const char* group = #type;
#define PTXOPS_VALUE(name, value)                                                  \
  if (!std::strcmp(group, "CUdevice_attribute")) {                                 \
    EXPECT_NE(attribute(static_cast<CUdevice_attribute>(value)), -12345) << #name; \
  }
#define PTXOPS_END(type) }
#include "driver/abi/enums.def"
#undef PTXOPS_ENUM
#undef PTXOPS_VALUE
#undef PTXOPS_END
  int value = 0;
  EXPECT_REFUSED(cuda().cuDeviceGetAttribute(&value, static_cast<CUdevice_attribute>(100000), 0),
                 CUDA_ERROR_INVALID_VALUE, "100000");
}

TEST(Device, BadArguments) {
  CUdevice device = 0;
  size_t bytes = 0;
  char text[4];
  EXPECT_REFUSED(cuda().cuDeviceGet(&device, 1), CUDA_ERROR_INVALID_DEVICE, "expected 0..0, got 1");
  EXPECT_REFUSED(cuda().cuDeviceGet(&device, -1), CUDA_ERROR_INVALID_DEVICE, "got -1");
  EXPECT_REFUSED(cuda().cuDeviceTotalMem_v2(&bytes, 7), CUDA_ERROR_INVALID_DEVICE, "got 7");
  EXPECT_REFUSED(cuda().cuDeviceGetCount(nullptr), CUDA_ERROR_INVALID_VALUE, "count");
  EXPECT_REFUSED(cuda().cuDeviceGetPCIBusId(text, sizeof text, 0), CUDA_ERROR_INVALID_VALUE, "len");
}

TEST(Device, BusIdRoundTrip) {
  char text[32];
  ASSERT_CUDA(cuda().cuDeviceGetPCIBusId(text, sizeof text, 0));
  CUdevice device = 5;
  ASSERT_CUDA(cuda().cuDeviceGetByPCIBusId(&device, text));
  EXPECT_EQ(device, 0);
  EXPECT_REFUSED(cuda().cuDeviceGetByPCIBusId(&device, "0000:77:00.0"), CUDA_ERROR_INVALID_DEVICE, "0000:77");
  EXPECT_REFUSED(cuda().cuDeviceGetByPCIBusId(&device, "nonsense"), CUDA_ERROR_INVALID_VALUE, "nonsense");
}

TEST(DISABLED_DeviceChild, PcieWithThreeDevices) {
  int count = 0;
  ASSERT_CUDA(cuda().cuDeviceGetCount(&count));
  EXPECT_EQ(count, 3);
  EXPECT_EQ(attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 2), 114);
  EXPECT_EQ(attribute(CU_DEVICE_ATTRIBUTE_CLOCK_RATE, 2), 1755000);
  int can = 0;
  ASSERT_CUDA(cuda().cuDeviceCanAccessPeer(&can, 0, 2));
  EXPECT_EQ(can, 1);
  ASSERT_CUDA(cuda().cuDeviceCanAccessPeer(&can, 1, 1));
  EXPECT_EQ(can, 0);
  CUuuid a, b;
  ASSERT_CUDA(cuda().cuDeviceGetUuid_v2(&a, 0));
  ASSERT_CUDA(cuda().cuDeviceGetUuid_v2(&b, 1));
  EXPECT_NE(std::memcmp(&a, &b, sizeof a), 0);

  // Peer access and a copy between devices.
  CUcontext c0, c1;
  ASSERT_CUDA(cuda().cuDevicePrimaryCtxRetain(&c0, 0));
  ASSERT_CUDA(cuda().cuDevicePrimaryCtxRetain(&c1, 1));
  CUdeviceptr p0, p1;
  ASSERT_CUDA(cuda().cuCtxSetCurrent(c0));
  ASSERT_CUDA(cuda().cuMemAlloc_v2(&p0, 4096));
  ASSERT_CUDA(cuda().cuMemsetD32_v2(p0, 0xABCD1234, 1024));
  EXPECT_CUDA(cuda().cuCtxEnablePeerAccess(c1, 0));
  EXPECT_EQ(cuda().cuCtxEnablePeerAccess(c1, 0), CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED);
  EXPECT_EQ(cuda().cuCtxEnablePeerAccess(c0, 0), CUDA_ERROR_INVALID_CONTEXT);
  ASSERT_CUDA(cuda().cuCtxSetCurrent(c1));
  ASSERT_CUDA(cuda().cuMemAlloc_v2(&p1, 4096));
  EXPECT_EQ(cuda().cuCtxDisablePeerAccess(c0), CUDA_ERROR_PEER_ACCESS_NOT_ENABLED);
  ASSERT_CUDA(cuda().cuMemcpyPeer(p1, c1, p0, c0, 4096));
  std::vector<uint32_t> words(1024);
  ASSERT_CUDA(cuda().cuMemcpyDtoH_v2(words.data(), p1, 4096));
  for (uint32_t w : words) ASSERT_EQ(w, 0xABCD1234u);
  int ordinal = -1;
  ASSERT_CUDA(cuda().cuPointerGetAttribute(&ordinal, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, p1 + 5));
  EXPECT_EQ(ordinal, 1);
}
TEST(Device, ProfileAndCountFromTheEnvironment) {
  const ChildResult r =
      run_child("PTXOPS_VIRTUAL_PROFILE=h800-pcie PTXOPS_VIRTUAL_DEVICES=3", "*PcieWithThreeDevices");
  EXPECT_EQ(r.status, 0) << r.output;
}

TEST(DISABLED_DeviceChild, TwentySms) {
  EXPECT_EQ(attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT), 20);
}
TEST(Device, SmCountFromTheEnvironment) {
  const ChildResult r = run_child("PTXOPS_VIRTUAL_SMS=20", "*TwentySms");
  EXPECT_EQ(r.status, 0) << r.output;
}

TEST(DISABLED_DeviceChild, BadEnvironment) {
  EXPECT_EQ(raw_cuda().cuInit(0), CUDA_ERROR_INVALID_VALUE);
  std::printf("%s\n", raw_cuda().report().c_str());
}
TEST(Device, BadEnvironmentIsNamed) {
  ChildResult r = run_child("PTXOPS_VIRTUAL_PROFILE=rtx4090", "*BadEnvironment");
  EXPECT_EQ(r.status, 0) << r.output;
  EXPECT_NE(r.output.find("PTXOPS_VIRTUAL_PROFILE: expected one of h800-sxm"), std::string::npos) << r.output;
  r = run_child("PTXOPS_VIRTUAL_DEVICES=many", "*BadEnvironment");
  EXPECT_NE(r.output.find("PTXOPS_VIRTUAL_DEVICES: expected an integer 1..32, got \"many\""),
            std::string::npos)
      << r.output;
  r = run_child("PTXOPS_VIRTUAL_THREADS=lots", "*BadEnvironment");
  EXPECT_NE(r.output.find("PTXOPS_VIRTUAL_THREADS: expected an integer 1..256, got \"lots\""),
            std::string::npos)
      << r.output;
  r = run_child("PTXOPS_VIRTUAL_SPIN_LIMIT=30s", "*BadEnvironment");
  EXPECT_NE(r.output.find("PTXOPS_VIRTUAL_SPIN_LIMIT: expected a number 0..1000000000, got \"30s\""),
            std::string::npos)
      << r.output;
}

}  // namespace
}  // namespace ptxops::virt::test
