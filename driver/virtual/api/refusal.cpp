#include "driver/virtual/api/refusal.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>

namespace ptxops::virt {
namespace {

// Leaked: other threads may still report while the process exits.
struct Shared {
  std::mutex mutex;
  std::string fault, finding;
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

void publish_fault(const std::string& text, const std::string& json) {
  std::lock_guard lock(shared().mutex);
  shared().fault = text;
  shared().finding = json;
  std::fprintf(stderr, "ptxops virtual device: %s\n", text.c_str());
  const char* path = std::getenv("PTXOPS_CHECK_JSON");
  if (!path || !*path) return;
  std::FILE* file = std::fopen(path, "a");
  if (!file || std::fprintf(file, "%s\n", json.c_str()) < 0)
    std::fprintf(stderr, "ptxops virtual device: PTXOPS_CHECK_JSON: cannot append to %s\n", path);
  if (file) std::fclose(file);
}

std::string last_finding() {
  std::lock_guard lock(shared().mutex);
  return shared().finding;
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

static size_t copy_out(const std::string& from, char* text, size_t size) {
  if (text && size > 0) {
    const size_t n = std::min(size - 1, from.size());
    std::memcpy(text, from.data(), n);
    text[n] = '\0';
  }
  return from.size();
}

extern "C" __attribute__((visibility("default"))) size_t ptxopsVirtualLastReport(char* text, size_t size) {
  return copy_out(ptxops::virt::last_report(), text, size);
}

extern "C" __attribute__((visibility("default"))) size_t ptxopsVirtualLastFinding(char* text, size_t size) {
  return copy_out(ptxops::virt::last_finding(), text, size);
}

extern "C" __attribute__((visibility("default"))) int ptxopsVirtualVersion() {
  return 1;
}
