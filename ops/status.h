// Status and last-error text. Inside the library failures are exceptions; guarded() turns them into statuses
// at the C boundary.
#pragma once

#include <fmt/format.h>

#include <new>
#include <stdexcept>
#include <string>

#include "driver/client/error.h"
#include "driver/jit/build.h"
#include "driver/jit/template_error.h"
#include "ops/include/ptxops.h"

namespace ptxops::ops {

class StatusError : public std::runtime_error {
 public:
  StatusError(ptxopsStatus_t status, const std::string& text) : std::runtime_error(text), status_(status) {}
  ptxopsStatus_t status() const { return status_; }

 private:
  ptxopsStatus_t status_;
};

template <class... Args>
[[noreturn]] void fail(ptxopsStatus_t status, fmt::format_string<Args...> text, Args&&... args) {
  throw StatusError(status, fmt::format(text, std::forward<Args>(args)...));
}

// Remembers `text` for the calling thread and returns `status`.
ptxopsStatus_t remember(ptxopsStatus_t status, const char* text) noexcept;
// The status of the exception being handled; its text is remembered.
ptxopsStatus_t translate() noexcept;

template <class Body>
ptxopsStatus_t guarded(Body&& body) noexcept {
  try {
    body();
    return PTXOPS_SUCCESS;
  } catch (...) {
    return translate();
  }
}

}  // namespace ptxops::ops
