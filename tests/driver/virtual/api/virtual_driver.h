// The virtual driver in tests: checks of its calls, a context for a test, a process of its own.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "tests/support/virtual_driver.h"

namespace ptxops::virt::test {

using namespace ptxops::abi;

using Cuda = ptxops::test::VirtualDriver;

// Loaded once, not initialised.
inline const Cuda& raw_cuda() {
  static const Cuda cuda(PTXOPS_VIRTUAL_DRIVER_FILE);
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
