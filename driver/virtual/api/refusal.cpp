#include "driver/virtual/api/refusal.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <mutex>

namespace ptxops::virt {
namespace {

// Leaked: other threads may still report while the process exits.
struct Shared {
  std::mutex mutex;
  std::string fault;
};
Shared& shared() {
  static Shared* s = new Shared;
  return *s;
}
thread_local std::string t_report;

}  // namespace

void set_last_report(std::string text) {
  t_report = std::move(text);
}

void publish_fault(const std::string& text) {
  {
    std::lock_guard lock(shared().mutex);
    shared().fault = text;
  }
  std::fprintf(stderr, "ptxops virtual device: %s\n", text.c_str());
}

std::string last_report() {
  if (!t_report.empty()) return t_report;
  std::lock_guard lock(shared().mutex);
  return shared().fault;
}

const char* result_name(abi::CUresult code) {
  switch (static_cast<int>(code)) {
#define PTXOPS_RESULT(name, value, text) \
  case value:                            \
    return #name;
#include "driver/abi/results.def"
#undef PTXOPS_RESULT
  }
  return nullptr;
}

const char* result_text(abi::CUresult code) {
  switch (static_cast<int>(code)) {
#define PTXOPS_RESULT(name, value, text) \
  case value:                            \
    return text;
#include "driver/abi/results.def"
#undef PTXOPS_RESULT
  }
  return nullptr;
}

}  // namespace ptxops::virt

extern "C" __attribute__((visibility("default"))) size_t ptxopsVirtualLastReport(char* text, size_t size) {
  const std::string report = ptxops::virt::last_report();
  if (text && size > 0) {
    const size_t n = std::min(size - 1, report.size());
    std::memcpy(text, report.data(), n);
    text[n] = '\0';
  }
  return report.size();
}

extern "C" __attribute__((visibility("default"))) int ptxopsVirtualVersion() {
  return 1;
}
