// Exports and cuGetProcAddress: every function of the list is there, and says so when it is not implemented.
#include <cstring>
#include <set>

#include "tests/driver/virtual/api/virtual_driver.h"

namespace ptxops::virt::test {
namespace {

struct Unimplemented {
  const char* name;
  const char* symbol;
  int version;
};
const Unimplemented kUnimplemented[] = {
#define PTXOPS_FN(name, symbol, version, streams, client, params, args)
#define PTXOPS_NO(name, symbol, version, streams) {#name, #symbol, version},
#include "driver/abi/functions.def"
#undef PTXOPS_FN
#undef PTXOPS_NO
};

TEST(Entry, EveryImplementedSymbolIsExported) {
#define PTXOPS_PLAIN(symbol)
#define PTXOPS_PTSZ(symbol) EXPECT_NE(dlsym(cuda().library, #symbol "_ptsz"), nullptr) << #symbol "_ptsz";
#define PTXOPS_PTDS(symbol) EXPECT_NE(dlsym(cuda().library, #symbol "_ptds"), nullptr) << #symbol "_ptds";
#define PTXOPS_FN(name, symbol, version, streams, client, params, args) \
  EXPECT_NE(cuda().symbol, nullptr) << #symbol;                         \
  PTXOPS_##streams(symbol)
#define PTXOPS_NO(name, symbol, version, streams)
#include "driver/abi/functions.def"
#undef PTXOPS_FN
#undef PTXOPS_NO
}

TEST(Entry, UnimplementedFunctionsAnswerNotSupportedAndSaySo) {
  testing::internal::CaptureStderr();
  for (const Unimplemented& u : kUnimplemented) {
    auto* f = reinterpret_cast<CUresult (*)()>(dlsym(cuda().library, u.symbol));
    ASSERT_NE(f, nullptr) << u.symbol;
    EXPECT_EQ(f(), CUDA_ERROR_NOT_SUPPORTED) << u.symbol;
    EXPECT_NE(cuda().report().find(u.symbol), std::string::npos) << cuda().report();
  }
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_NE(text.find("cuGraphClone is not implemented"), std::string::npos);
  testing::internal::CaptureStderr();
  reinterpret_cast<CUresult (*)()>(dlsym(cuda().library, "cuGraphClone"))();
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "") << "stderr says it once";
}

void* look_up(const char* name, int version, uint64_t flags = 0,
              CUdriverProcAddressQueryResult expected = CU_GET_PROC_ADDRESS_SUCCESS) {
  void* f = reinterpret_cast<void*>(1);
  auto status = static_cast<CUdriverProcAddressQueryResult>(99);
  EXPECT_CUDA(cuda().cuGetProcAddress_v2(name, &f, version, flags, &status));
  EXPECT_EQ(status, expected) << name << " " << version;
  return f;
}
void* symbol(const char* name) {
  return dlsym(cuda().library, name);
}

TEST(Entry, ProcAddressPicksTheVersionAsked) {
  EXPECT_EQ(look_up("cuMemAlloc", 3020), symbol("cuMemAlloc_v2"));
  EXPECT_EQ(look_up("cuMemAlloc", 12000), symbol("cuMemAlloc_v2"));
  EXPECT_EQ(look_up("cuMemAlloc", 2000), symbol("cuMemAlloc"));
  EXPECT_EQ(look_up("cuCtxCreate", 11000), symbol("cuCtxCreate_v2"));
  EXPECT_EQ(look_up("cuCtxCreate", 11040), symbol("cuCtxCreate_v3"));
  EXPECT_EQ(look_up("cuCtxCreate", 13000), symbol("cuCtxCreate_v4"));
  EXPECT_EQ(look_up("cuGetProcAddress", 11030), symbol("cuGetProcAddress"));
  EXPECT_EQ(look_up("cuGetProcAddress", 12000), symbol("cuGetProcAddress_v2"));
  EXPECT_EQ(look_up("cuStreamGetCaptureInfo", 12030), symbol("cuStreamGetCaptureInfo_v3"));
  EXPECT_EQ(look_up("cuGraphInstantiate", 11080), symbol("cuGraphInstantiate_v2"));
  EXPECT_EQ(look_up("cuGraphInstantiate", 12000), symbol("cuGraphInstantiateWithFlags"))
      << "as cuda.h of CUDA 12 declares it";
}

TEST(Entry, ProcAddressReportsWhyThereIsNone) {
  EXPECT_EQ(look_up("cuLaunchKernelEx", 11050, 0, CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT), nullptr);
  EXPECT_EQ(look_up("cuNoSuchFunction", 13000, 0, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND), nullptr);
  EXPECT_EQ(look_up("cuMemAlloc_v2", 13000, 0, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND), nullptr);
  void* f = nullptr;
  CUdriverProcAddressQueryResult status;
  EXPECT_REFUSED(cuda().cuGetProcAddress_v2("cuInit", &f, 13010, 0, &status), CUDA_ERROR_INVALID_VALUE,
                 "13000");
  EXPECT_REFUSED(cuda().cuGetProcAddress_v2("cuInit", &f, 12000, 3, &status), CUDA_ERROR_INVALID_VALUE,
                 "flags");
  EXPECT_REFUSED(cuda().cuGetProcAddress_v2(nullptr, &f, 12000, 0, &status), CUDA_ERROR_INVALID_VALUE,
                 "null");
  EXPECT_REFUSED(cuda().cuGetProcAddress("cuLaunchKernelEx", &f, 11050, 0), CUDA_ERROR_NOT_FOUND,
                 "cuLaunchKernelEx");
  EXPECT_CUDA(cuda().cuGetProcAddress("cuLaunchKernelEx", &f, 11060, 0));
  EXPECT_EQ(f, symbol("cuLaunchKernelEx"));
}

TEST(Entry, ProcAddressKnowsThePerThreadStreamVariants) {
  const auto per_thread = CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM;
  EXPECT_EQ(look_up("cuLaunchKernelEx", 12000, per_thread), symbol("cuLaunchKernelEx_ptsz"));
  EXPECT_EQ(look_up("cuMemcpyHtoD", 12000, per_thread), symbol("cuMemcpyHtoD_v2_ptds"));
  EXPECT_EQ(look_up("cuMemAlloc", 12000, per_thread), symbol("cuMemAlloc_v2")) << "knows no stream";
  EXPECT_EQ(look_up("cuMemcpyHtoD", 6000, per_thread), symbol("cuMemcpyHtoD_v2")) << "before CUDA 7";
  EXPECT_EQ(look_up("cuLaunchKernelEx", 12000, CU_GET_PROC_ADDRESS_LEGACY_STREAM),
            symbol("cuLaunchKernelEx"));
}

TEST(Entry, ErrorNamesAndTexts) {
  const char* text = nullptr;
  ASSERT_CUDA(cuda().cuGetErrorName(CUDA_ERROR_ILLEGAL_ADDRESS, &text));
  EXPECT_STREQ(text, "CUDA_ERROR_ILLEGAL_ADDRESS");
  ASSERT_CUDA(cuda().cuGetErrorString(CUDA_ERROR_OUT_OF_MEMORY, &text));
  EXPECT_GT(std::strlen(text), 0u);
  EXPECT_EQ(cuda().cuGetErrorName(static_cast<CUresult>(12345), &text), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(text, nullptr);
}

TEST(DISABLED_EntryChild, RefusesBeforeInit) {
  int count = 0, version = 0;
  EXPECT_EQ(raw_cuda().cuDeviceGetCount(&count), CUDA_ERROR_NOT_INITIALIZED);
  EXPECT_EQ(raw_cuda().cuDriverGetVersion(&version), CUDA_SUCCESS);
  EXPECT_EQ(version, 13000);
  EXPECT_EQ(raw_cuda().cuInit(1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(raw_cuda().cuInit(0), CUDA_SUCCESS);
  EXPECT_EQ(raw_cuda().cuDeviceGetCount(&count), CUDA_SUCCESS);
}
TEST(Entry, CallsBeforeInitAreRefused) {
  const ChildResult r = run_child("A=1", "*EntryChild.RefusesBeforeInit");
  EXPECT_EQ(r.status, 0) << r.output;
}

}  // namespace
}  // namespace ptxops::virt::test
