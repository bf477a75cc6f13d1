#include "tests/mutants/processes.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <stdexcept>
#include <system_error>
#include <vector>

namespace ptxops::mutants {
namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void fail(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

struct Running {
  size_t job;
  pid_t pid;
  int pipe;
  Clock::time_point deadline;
  std::string received = {};
};

// kind, size of the text in decimal, newline, text, finding
std::string encode(const Outcome& o) {
  return fmt::format("{}{}\n{}{}", static_cast<char>('a' + static_cast<char>(o.kind)), o.text.size(), o.text,
                     o.finding);
}
Outcome decode(const std::string& s, int status) {
  const size_t newline = s.find('\n');
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && newline != s.npos) {
    const size_t size = std::stoul(s.substr(1, newline - 1));
    return {static_cast<Outcome::Kind>(s[0] - 'a'), s.substr(newline + 1, size),
            s.substr(newline + 1 + size)};
  }
  const std::string how =
      WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : fmt::format("exit status {}", WEXITSTATUS(status));
  return {Outcome::Kind::crashed, how, {}};
}

[[noreturn]] void child(int pipe, size_t job, const std::function<Outcome(size_t)>& work) {
  const int null = open("/dev/null", O_RDWR);
  for (int fd = 0; fd < 3; ++fd) dup2(null, fd);
  const rlimit no_core{0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  std::string message;
  try {
    message = encode(work(job));
  } catch (const std::exception& e) {
    message = encode({Outcome::Kind::crashed, e.what(), {}});
  }
  for (size_t at = 0; at < message.size();) {
    const ssize_t n = write(pipe, message.data() + at, message.size() - at);
    if (n <= 0) _exit(1);
    at += static_cast<size_t>(n);
  }
  _exit(0);  // without destructors: the driver may be in any state
}

Running start(size_t job, const ProcessLimits& limits, const std::function<Outcome(size_t)>& work) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) fail("pipe2");
  const pid_t pid = fork();
  if (pid < 0) fail("fork");
  if (pid == 0) {
    close(ends[0]);
    child(ends[1], job, work);
  }
  close(ends[1]);
  const auto limit =
      std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(limits.seconds));
  return {job, pid, ends[0], Clock::now() + limit};
}

// Whether the process has ended.
bool receive(Running& r) {
  char buffer[65536];
  const ssize_t n = read(r.pipe, buffer, sizeof buffer);
  if (n > 0) r.received.append(buffer, static_cast<size_t>(n));
  return n <= 0;
}

}  // namespace

void run_processes(size_t count, const ProcessLimits& limits, const std::function<Outcome(size_t)>& job,
                   const std::function<void(size_t, const Outcome&)>& done) {
  std::vector<Running> running;
  size_t next = 0;
  while (next < count || !running.empty()) {
    while (next < count && running.size() < static_cast<size_t>(limits.at_once))
      running.push_back(start(next++, limits, job));
    std::vector<pollfd> fds;
    for (const Running& r : running) fds.push_back({r.pipe, POLLIN, 0});
    if (poll(fds.data(), fds.size(), 100) < 0 && errno != EINTR) fail("poll");
    for (size_t i = running.size(); i-- > 0;) {
      Running& r = running[i];
      const bool late = Clock::now() > r.deadline;
      if (late) kill(r.pid, SIGKILL);
      if (!late && (!fds[i].revents || !receive(r))) continue;
      int status = 0;
      if (waitpid(r.pid, &status, 0) < 0) fail("waitpid");
      close(r.pipe);
      const Outcome outcome =
          late ? Outcome{Outcome::Kind::timeout, fmt::format("no end after {} s", limits.seconds), {}}
               : decode(r.received, status);
      const size_t ended = r.job;
      running.erase(running.begin() + static_cast<long>(i));
      done(ended, outcome);
    }
  }
}

}  // namespace ptxops::mutants
