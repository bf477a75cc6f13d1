// Loading PTX: what is accepted, what is refused and why, functions and their attributes.
#include <cstring>

#include "tests/driver/virtual/api/virtual_driver.h"

namespace ptxops::virt::test {
namespace {

constexpr const char* kPtx = R"(.version 8.0
.target sm_90a
.address_size 64
.global .align 4 .u32 counter = 41;
.const .align 8 .b8 table[24] = {1, 2, 3};
.visible .entry first(.param .u64 p, .param .u32 n, .param .align 64 .b8 blob[128])
.maxntid 256, 1, 1
{
  .shared .align 16 .b8 tile[2048];
  st.shared.u32 [tile], 1;
  ret;
}
.visible .entry second()
.reqnctapercluster 2, 1, 1
.maxntid 128, 1, 1
{
  ret;
}
)";

class Modules : public ContextTest {
 protected:
  CUmodule load(const char* text) {
    CUmodule m = nullptr;
    EXPECT_CUDA(cuda().cuModuleLoadData(&m, text));
    return m;
  }
};

TEST_F(Modules, FunctionsAndGlobals) {
  const CUmodule m = load(kPtx);
  CUfunction first = nullptr, f = nullptr;
  ASSERT_CUDA(cuda().cuModuleGetFunction(&first, m, "first"));
  EXPECT_REFUSED(cuda().cuModuleGetFunction(&f, m, "third"), CUDA_ERROR_NOT_FOUND, "it has: first, second");
  unsigned count = 0;
  ASSERT_CUDA(cuda().cuModuleGetFunctionCount(&count, m));
  EXPECT_EQ(count, 2u);
  const char* name = nullptr;
  ASSERT_CUDA(cuda().cuFuncGetName(&name, first));
  EXPECT_STREQ(name, "first");
  CUmodule back = nullptr;
  ASSERT_CUDA(cuda().cuFuncGetModule(&back, first));
  EXPECT_EQ(back, m);

  CUdeviceptr p = 0;
  size_t bytes = 0;
  ASSERT_CUDA(cuda().cuModuleGetGlobal_v2(&p, &bytes, m, "counter"));
  EXPECT_EQ(bytes, 4u);
  uint32_t value = 0;
  ASSERT_CUDA(cuda().cuMemcpyDtoH_v2(&value, p, 4));
  EXPECT_EQ(value, 41u);
  ASSERT_CUDA(cuda().cuModuleGetGlobal_v2(&p, &bytes, m, "table"));
  uint8_t table[24];
  ASSERT_CUDA(cuda().cuMemcpyDtoH_v2(table, p, 24));
  EXPECT_EQ(table[1], 2);
  EXPECT_EQ(table[23], 0);
  EXPECT_REFUSED(cuda().cuModuleGetGlobal_v2(&p, &bytes, m, "nothing"), CUDA_ERROR_NOT_FOUND, "nothing");
  ASSERT_CUDA(cuda().cuModuleUnload(m));
  EXPECT_EQ(cuda().cuModuleUnload(m), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_EQ(cuda().cuFuncGetName(&name, first), CUDA_ERROR_INVALID_HANDLE) << "gone with its module";
}

TEST_F(Modules, ParameterLayout) {
  const CUmodule m = load(kPtx);
  CUfunction f = nullptr;
  ASSERT_CUDA(cuda().cuModuleGetFunction(&f, m, "first"));
  const size_t expected[][2] = {{0, 8}, {8, 4}, {64, 128}};
  for (size_t i = 0; i < 3; ++i) {
    size_t offset = 0, size = 0;
    ASSERT_CUDA(cuda().cuFuncGetParamInfo(f, i, &offset, &size));
    EXPECT_EQ(offset, expected[i][0]);
    EXPECT_EQ(size, expected[i][1]);
  }
  size_t offset = 0;
  EXPECT_REFUSED(cuda().cuFuncGetParamInfo(f, 3, &offset, nullptr), CUDA_ERROR_INVALID_VALUE,
                 "has 3 parameters");
}

TEST_F(Modules, FunctionAttributes) {
  const CUmodule m = load(kPtx);
  CUfunction f = nullptr, second = nullptr;
  ASSERT_CUDA(cuda().cuModuleGetFunction(&f, m, "first"));
  ASSERT_CUDA(cuda().cuModuleGetFunction(&second, m, "second"));
  auto get = [](CUfunction g, CUfunction_attribute a) {
    int value = -99;
    EXPECT_CUDA(cuda().cuFuncGetAttribute(&value, a, g));
    return value;
  };
  EXPECT_EQ(get(f, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK), 256);
  EXPECT_EQ(get(f, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES), 2048);
  EXPECT_EQ(get(f, CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES), 24);
  EXPECT_EQ(get(f, CU_FUNC_ATTRIBUTE_PTX_VERSION), 90);
  EXPECT_EQ(get(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES), 49152 - 2048);
  EXPECT_EQ(get(second, CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH), 2);
  EXPECT_GT(get(f, CU_FUNC_ATTRIBUTE_NUM_REGS), 0);
  ASSERT_CUDA(cuda().cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 232448 - 2048));
  EXPECT_EQ(get(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES), 232448 - 2048);
  EXPECT_REFUSED(cuda().cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 232448 - 2047),
                 CUDA_ERROR_INVALID_VALUE, "expected 0..230400");
  EXPECT_REFUSED(cuda().cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_NUM_REGS, 32), CUDA_ERROR_INVALID_VALUE,
                 "cannot be set");
  EXPECT_REFUSED(cuda().cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED, 2),
                 CUDA_ERROR_INVALID_VALUE, "expected 0 or 1");
  EXPECT_EQ(cuda().cuFuncSetAttribute(second, CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH, 4),
            CUDA_ERROR_NOT_PERMITTED);
}

TEST_F(Modules, ErrorLogsCiteTheLine) {
  char error[1024], info[1024];
  std::memset(error, 'x', sizeof error);
  CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES,
                            CU_JIT_INFO_LOG_BUFFER, CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES, CU_JIT_LOG_VERBOSE};
  void* values[] = {error, reinterpret_cast<void*>(sizeof error), info, reinterpret_cast<void*>(sizeof info),
                    reinterpret_cast<void*>(uintptr_t{1})};
  CUmodule m = nullptr;
  const char* bad =
      ".version 8.0\n.target sm_90a\n.address_size 64\n.visible .entry k()\n{\n  frobnicate.u32 a, b;\n  "
      "ret;\n}\n";
  EXPECT_REFUSED(cuda().cuModuleLoadDataEx(&m, bad, 5, options, values), CUDA_ERROR_INVALID_PTX, "line 6");
  EXPECT_NE(std::string(error).find("line 6"), std::string::npos) << error;
  EXPECT_NE(std::string(error).find("frobnicate"), std::string::npos) << error;
  EXPECT_EQ(reinterpret_cast<size_t>(values[1]), std::strlen(error)) << "the size is written back";

  // A short buffer is cut and terminated.
  char little[8];
  values[0] = little;
  values[1] = reinterpret_cast<void*>(sizeof little);
  values[3] = reinterpret_cast<void*>(sizeof info);
  EXPECT_EQ(cuda().cuModuleLoadDataEx(&m, bad, 5, options, values), CUDA_ERROR_INVALID_PTX);
  EXPECT_EQ(std::strlen(little), 7u);

  values[0] = error;
  values[1] = reinterpret_cast<void*>(sizeof error);
  values[3] = reinterpret_cast<void*>(sizeof info);
  ASSERT_CUDA(cuda().cuModuleLoadDataEx(&m, kPtx, 5, options, values));
  EXPECT_STREQ(error, "");
  EXPECT_NE(std::string(info).find("entry first"), std::string::npos) << info;
}

TEST_F(Modules, WhatIsNotPtxIsRefusedWithAReason) {
  CUmodule m = nullptr;
  const char elf[] =
      "\x7f"
      "ELF\x02\x01\x01";
  EXPECT_REFUSED(cuda().cuModuleLoadData(&m, elf), CUDA_ERROR_NO_BINARY_FOR_GPU, "is a cubin");
  const char fat[] = "\x50\xed\x55\xba\x01";
  EXPECT_REFUSED(cuda().cuModuleLoadData(&m, fat), CUDA_ERROR_NO_BINARY_FOR_GPU, "fat binary");
  EXPECT_REFUSED(cuda().cuModuleLoadData(&m, "hello"), CUDA_ERROR_INVALID_IMAGE, "neither PTX");
  EXPECT_REFUSED(cuda().cuModuleLoadData(&m, ""), CUDA_ERROR_INVALID_IMAGE, "neither PTX");
  EXPECT_REFUSED(cuda().cuModuleLoadData(&m, nullptr), CUDA_ERROR_INVALID_VALUE, "null");
  EXPECT_REFUSED(cuda().cuModuleLoad(&m, "/no/such/file.ptx"), CUDA_ERROR_FILE_NOT_FOUND,
                 "/no/such/file.ptx");
  CUjit_option lto = CU_JIT_LTO;
  void* one = reinterpret_cast<void*>(uintptr_t{1});
  EXPECT_REFUSED(cuda().cuModuleLoadDataEx(&m, kPtx, 1, &lto, &one), CUDA_ERROR_NOT_SUPPORTED,
                 "JIT option 20");
}

TEST_F(Modules, LibrariesBelongToNoContext) {
  CUlibrary library = nullptr;
  ASSERT_CUDA(cuda().cuLibraryLoadData(&library, kPtx, nullptr, nullptr, 0, nullptr, nullptr, 0));
  unsigned count = 0;
  ASSERT_CUDA(cuda().cuLibraryGetKernelCount(&count, library));
  EXPECT_EQ(count, 2u);
  CUkernel kernel = nullptr;
  ASSERT_CUDA(cuda().cuLibraryGetKernel(&kernel, library, "second"));
  CUfunction here = nullptr, there = nullptr;
  ASSERT_CUDA(cuda().cuKernelGetFunction(&here, kernel));
  CUcontext other = nullptr;
  ASSERT_CUDA(cuda().cuCtxCreate_v2(&other, 0, 0));
  ASSERT_CUDA(cuda().cuKernelGetFunction(&there, kernel));
  EXPECT_NE(here, there) << "a function for each context";
  CUdeviceptr a = 0, b = 0;
  size_t bytes = 0;
  ASSERT_CUDA(cuda().cuLibraryGetGlobal(&a, &bytes, library, "counter"));
  ASSERT_CUDA(cuda().cuCtxDestroy_v2(other));
  ASSERT_CUDA(cuda().cuLibraryGetGlobal(&b, &bytes, library, "counter"));
  EXPECT_NE(a, b);
  int width = 0;
  ASSERT_CUDA(cuda().cuFuncGetAttribute(&width, CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH,
                                        reinterpret_cast<CUfunction>(kernel)))
      << "a CUkernel serves as a CUfunction";
  EXPECT_EQ(width, 2);
  EXPECT_REFUSED(cuda().cuLibraryGetKernel(&kernel, library, "third"), CUDA_ERROR_NOT_FOUND, "third");
  ASSERT_CUDA(cuda().cuLibraryUnload(library));
  EXPECT_EQ(cuda().cuLibraryUnload(library), CUDA_ERROR_INVALID_HANDLE);
}

}  // namespace
}  // namespace ptxops::virt::test
