// The virtual driver loaded with dlopen, one member for each function it implements.
#pragma once

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "driver/abi/functions.h"

namespace ptxops::virt::test {

using namespace ptxops::abi;

struct Cuda {
#define PTXOPS_FN(name, symbol, version, streams, client, params, args) Fn_##symbol symbol = nullptr;
#define PTXOPS_NO(name, symbol, version, streams)
#include "driver/abi/functions.def"
#undef PTXOPS_FN
#undef PTXOPS_NO
  void* library = nullptr;
  Fn_ptxopsVirtualLastReport last_report = nullptr;

  // The whole text of the last failure.
  std::string report() const {
    std::string text(last_report(nullptr, 0) + 1, '\0');
    last_report(text.data(), text.size());
    text.pop_back();
    return text;
  }
};

// Loaded once, not initialised.
inline const Cuda& raw_cuda() {
  static const Cuda cuda = [] {
    Cuda c;
    c.library = dlopen(PTXOPS_VIRTUAL_DRIVER_FILE, RTLD_NOW | RTLD_LOCAL);
    if (!c.library) {
      std::fprintf(stderr, "%s\n", dlerror());
      std::abort();
    }
#define PTXOPS_FN(name, symbol, version, streams, client, params, args) \
  c.symbol = reinterpret_cast<Fn_##symbol>(dlsym(c.library, #symbol));
#define PTXOPS_NO(name, symbol, version, streams)
#include "driver/abi/functions.def"
#undef PTXOPS_FN
#undef PTXOPS_NO
    c.last_report = reinterpret_cast<Fn_ptxopsVirtualLastReport>(dlsym(c.library, kVirtualLastReportSymbol));
    return c;
  }();
  return cuda;
}

inline const Cuda& cuda() {
  static const bool initialised = raw_cuda().cuInit(0) == CUDA_SUCCESS;
  EXPECT_TRUE(initialised);
  return raw_cuda();
}

#define EXPECT_CUDA(call) EXPECT_EQ(call, CUDA_SUCCESS) << ::ptxops::virt::test::cuda().report()
#define ASSERT_CUDA(call) ASSERT_EQ(call, CUDA_SUCCESS) << ::ptxops::virt::test::cuda().report()
// The call is refused with this code and a report that contains the text.
#define EXPECT_REFUSED(call, code, text)                                           \
  do {                                                                             \
    EXPECT_EQ(call, code) << #call;                                                \
    EXPECT_NE(::ptxops::virt::test::cuda().report().find(text), std::string::npos) \
        << #call << " says: " << ::ptxops::virt::test::cuda().report();            \
  } while (false)

// A fresh context of device 0, current for the test; destroyed with it, so a fault in it harms no other test.
class ContextTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_CUDA(cuda().cuCtxCreate_v2(&context_, 0, 0)); }
  void TearDown() override { EXPECT_CUDA(cuda().cuCtxDestroy_v2(context_)); }
  CUcontext context_ = nullptr;
};

// Runs the tests of this program that match `filter` in a process of its own with the environment settings
// given as "NAME=value ..."; returns its exit status and output.
struct ChildResult {
  int status = -1;
  std::string output;
};
inline ChildResult run_child(const std::string& environment, const std::string& filter) {
  char self[4096] = {};
  if (readlink("/proc/self/exe", self, sizeof self - 1) < 0) return {};
  const std::string command = "env " + environment + " '" + self +
                              "' --gtest_also_run_disabled_tests --gtest_filter='" + filter + "' 2>&1";
  ChildResult r;
  FILE* pipe = popen(command.c_str(), "r");
  if (!pipe) return r;
  char buffer[4096];
  while (const size_t n = fread(buffer, 1, sizeof buffer, pipe)) r.output.append(buffer, n);
  r.status = pclose(pipe);
  return r;
}

}  // namespace ptxops::virt::test
