// How driver functions fail: they throw a Refusal, the exported wrapper turns it into the CUresult and keeps
// the text for ptxopsVirtualLastReport().
#pragma once

#include <fmt/format.h>

#include <string>
#include <utility>

#include "driver/abi/functions.h"

namespace ptxops::virt {

struct Refusal {
  abi::CUresult code;
  std::string text;
};

// refuse(CUDA_ERROR_INVALID_VALUE, "block x: expected 1..1024, got {}", n)
template <class... Args>
[[noreturn]] void refuse(abi::CUresult code, fmt::format_string<Args...> format, Args&&... args) {
  throw Refusal{code, fmt::format(format, std::forward<Args>(args)...)};
}

// Remembers the text of the calling thread's last failed call.
void set_last_report(std::string text);
// Remembers a fault for every thread, prints it to stderr and appends its JSON to the file that
// PTXOPS_CHECK_JSON names. Called once for each fault.
void publish_fault(const std::string& text, const std::string& json);
// The calling thread's last failure, else the process's last fault.
std::string last_report();
// The process's last fault as JSON; empty when there was none.
std::string last_finding();

// "CUDA_ERROR_INVALID_VALUE" and our text for it; nullptr for codes that do not exist.
const char* result_name(abi::CUresult code);
const char* result_text(abi::CUresult code);

}  // namespace ptxops::virt
