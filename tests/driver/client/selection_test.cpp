// Which driver the client takes, and what it says about it. Each case is a process of its own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "driver/client/driver.h"

namespace ptxops::driver {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string run_child(const std::string& environment) {
  char self[4096] = {};
  if (readlink("/proc/self/exe", self, sizeof self - 1) < 0) return "";
  const std::string command =
      "env " + environment + " '" + self +
      "' --gtest_also_run_disabled_tests --gtest_filter='*SelectionChild.Report' 2>&1";
  FILE* pipe = popen(command.c_str(), "r");
  std::string output;
  char buffer[4096];
  while (const size_t n = pipe ? fread(buffer, 1, sizeof buffer, pipe) : 0) output.append(buffer, n);
  if (pipe) pclose(pipe);
  return output;
}

TEST(DISABLED_SelectionChild, Report) {
  try {
    const Driver& d = Driver::get();
    Driver::get();  // says nothing a second time
    std::printf("virtual=%d version=%d path=%s devices=%d name=%s\n", d.is_virtual(), d.version(),
                d.path().c_str(), d.device_count(), d.device(0).name.c_str());
  } catch (const Error& e) {
    std::printf("error=%s\n", e.what());
  }
}

size_t count(const std::string& text, const std::string& what) {
  size_t n = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

TEST(Selection, VirtualByName) {
  const std::string out = run_child("PTXOPS_DRIVER=virtual PTXOPS_QUIET=0");
  EXPECT_THAT(out, HasSubstr("virtual=1 version=13000"));
  EXPECT_THAT(out, HasSubstr("name=ptxops virtual H800 SXM"));
  EXPECT_EQ(count(out, "ptxops: using the virtual device"), 1u) << out;
  EXPECT_THAT(out, HasSubstr("PTXOPS_DRIVER=virtual"));
}

TEST(Selection, FoundBesideTheProgram) {
  const std::string out = run_child("-u PTXOPS_VIRTUAL_DRIVER PTXOPS_DRIVER=virtual");
  EXPECT_THAT(out, HasSubstr("virtual=1"));
  EXPECT_THAT(out, HasSubstr("lib/virtual/libcuda.so.1"));
}

TEST(Selection, QuietSaysNothing) {
  EXPECT_THAT(run_child("PTXOPS_DRIVER=virtual PTXOPS_QUIET=1"), Not(HasSubstr("ptxops: using")));
}

TEST(Selection, AutoTakesHopperOrExplainsWhyNot) {
  const std::string out = run_child("PTXOPS_DRIVER=auto");
  EXPECT_THAT(out, ::testing::AnyOf(HasSubstr("libcuda.so.1 cannot be used ("),
                                    HasSubstr("it has a device of compute capability 9.0")));
}

TEST(Selection, CudaNeverMeansTheVirtualDriver) {
  // The virtual library's folder on the search path must not be taken for NVIDIA's driver.
  const char* file = std::getenv("PTXOPS_VIRTUAL_DRIVER");
  if (!file) GTEST_SKIP() << "PTXOPS_VIRTUAL_DRIVER is not set";
  const std::string folder = std::string(file).substr(0, std::string(file).rfind('/'));
  const std::string out = run_child("PTXOPS_DRIVER=cuda LD_LIBRARY_PATH=" + folder);
  EXPECT_THAT(out, HasSubstr("the virtual device, not NVIDIA's driver"));
}

TEST(Selection, PathsAndTheirErrors) {
  EXPECT_THAT(run_child("PTXOPS_DRIVER=/no/such/driver.so"), HasSubstr("dlopen(/no/such/driver.so)"));
  EXPECT_THAT(
      run_child("PTXOPS_DRIVER=Virtual"),
      HasSubstr("error=PTXOPS_DRIVER=Virtual: CUDA_ERROR_FILE_NOT_FOUND: expected auto, cuda, virtual or"));
  EXPECT_THAT(run_child("PTXOPS_DRIVER=virtual PTXOPS_VIRTUAL_SMS=many"),
              HasSubstr("PTXOPS_VIRTUAL_SMS: expected an integer 1..144, got \"many\""));
  EXPECT_THAT(run_child("PTXOPS_DRIVER=libm.so.6"), HasSubstr("exports no cuGetProcAddress"));
  EXPECT_THAT(run_child("PTXOPS_DRIVER=virtual PTXOPS_VIRTUAL_DRIVER=/no/such.so"),
              HasSubstr("no file /no/such.so"));
  if (const char* file = std::getenv("PTXOPS_VIRTUAL_DRIVER")) {
    EXPECT_THAT(run_child(std::string("PTXOPS_DRIVER=") + file), HasSubstr("virtual=1"));
  }
}

}  // namespace
}  // namespace ptxops::driver
