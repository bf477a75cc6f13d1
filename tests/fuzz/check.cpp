#include <signal.h>
#include <sys/time.h>

#include <cstdio>
#include <cstdlib>

#include "tests/fuzz/target.h"

namespace ptxops::fuzz {

void check_failed(const char* file, int line, const char* expression, std::string_view detail) {
  std::fprintf(stderr, "%s:%d: FUZZ_CHECK(%s) failed: %.*s\n", file, line, expression,
               static_cast<int>(detail.size()), detail.data());
  std::abort();
}

namespace {

// An input takes milliseconds, the costliest that a limit lets through some seconds with sanitizers.
constexpr time_t kCpuSeconds = 20;

void set_timer(time_t seconds) {
  const itimerval timer{{0, 0}, {seconds, 0}};
  setitimer(ITIMER_PROF, &timer, nullptr);
}

}  // namespace

TimeLimit::TimeLimit() {
  static const bool handled = [] {
    struct sigaction action {};
    action.sa_handler = [](int) { std::abort(); };
    return sigaction(SIGPROF, &action, nullptr) == 0;
  }();
  FUZZ_CHECK(handled, "sigaction");
  set_timer(kCpuSeconds);
}
TimeLimit::~TimeLimit() {
  set_timer(0);
}

}  // namespace ptxops::fuzz
