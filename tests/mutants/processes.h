// Runs jobs in processes of their own: one that crashes, hangs or spoils its driver costs nobody else
// anything.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

namespace ptxops::mutants {

struct Outcome {
  enum class Kind : char {
    right,    // the results are the oracle's
    wrong,    // they are not
    fault,    // the device stopped the kernel
    refused,  // the device does not load the text
    timeout,  // ended from outside
    crashed,  // the process died: a fault of the virtual device or of the harness
  };
  Kind kind = Kind::crashed;
  std::string text;     // the difference, the driver's words, the signal
  std::string finding;  // of a fault: the device's JSON
};

struct ProcessLimits {
  int at_once = 2;
  double seconds = 20;  // of wall time, for each
};

// For each i below count: job(i) in a forked process with its output discarded, then done(i, outcome) here.
// The calling process must have one thread, and no driver loaded.
void run_processes(size_t count, const ProcessLimits& limits, const std::function<Outcome(size_t)>& job,
                   const std::function<void(size_t, const Outcome&)>& done);

}  // namespace ptxops::mutants
