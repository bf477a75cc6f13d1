#include "driver/jit/process.h"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <system_error>

namespace ptxops::jit {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

ProcessResult shell(const std::string& script, milliseconds timeout = milliseconds(20'000)) {
  return run_process({"/bin/sh", "-c", script}, "/", timeout);
}

TEST(Process, OutputAndStatus) {
  const ProcessResult r = shell("echo out; echo err >&2; exit 3");
  EXPECT_EQ(r.exit_code, 3);
  EXPECT_EQ(r.output, "out\nerr\n");
  EXPECT_FALSE(r.timed_out);
  EXPECT_EQ(r.signal, 0);
}

TEST(Process, MuchOutputAndNoInput) {
  const ProcessResult r = shell("cat; head -c 3000000 /dev/zero");
  EXPECT_EQ(r.output.size(), 3'000'000u);
  EXPECT_EQ(r.exit_code, 0);
}

TEST(Process, Directory) {
  const ScratchDirectory scratch;
  EXPECT_EQ(run_process({"/bin/sh", "-c", "pwd -P"}, scratch.path(), milliseconds(20'000)).output,
            std::filesystem::canonical(scratch.path()).string() + "\n");
}

TEST(Process, Signal) {
  EXPECT_EQ(shell("kill -9 $$").signal, 9);
}

TEST(Process, TimeoutEndsItAndItsChildren) {
  const auto start = steady_clock::now();
  EXPECT_TRUE(shell("sleep 30 & sleep 30", milliseconds(150)).timed_out);
  // Output closed, process still there.
  EXPECT_TRUE(shell("exec >&- 2>&-; sleep 30", milliseconds(150)).timed_out);
  EXPECT_LT(steady_clock::now() - start, milliseconds(10'000));
}

TEST(Process, NoSuchProgram) {
  EXPECT_THROW(run_process({"/no/such/program"}, "/", milliseconds(1000)), std::system_error);
}

TEST(Scratch, IsRemovedWithItsContents) {
  std::string path;
  {
    const ScratchDirectory scratch;
    path = scratch.path();
    write_file(path + "/a", "text");
    EXPECT_EQ(read_file(path + "/a"), "text");
  }
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_THROW(read_file(path + "/a"), std::system_error);
  EXPECT_THROW(write_file(path + "/a", ""), std::system_error);
}

}  // namespace
}  // namespace ptxops::jit
