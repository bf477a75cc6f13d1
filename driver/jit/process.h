// Running a tool: no shell, one deadline.
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace ptxops::jit {

struct ProcessResult {
  int exit_code = -1;      // meaningful where !timed_out and signal == 0
  int signal = 0;          // that ended it
  bool timed_out = false;  // killed at the deadline
  std::string output;      // stdout and stderr, interleaved as written
};

// Runs argv[0] (a path) in `directory` with no standard input. Throws std::system_error where it cannot be
// started. Safe from many threads at once.
ProcessResult run_process(const std::vector<std::string>& argv, const std::string& directory,
                          std::chrono::milliseconds timeout);

// An empty directory of its own, removed with all it holds at the end of the object's life.
class ScratchDirectory {
 public:
  ScratchDirectory();  // below TMPDIR or /tmp; throws std::system_error
  ~ScratchDirectory();
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

void write_file(const std::string& path, std::string_view bytes);  // throws std::system_error
std::string read_file(const std::string& path);                    // throws std::system_error

}  // namespace ptxops::jit
