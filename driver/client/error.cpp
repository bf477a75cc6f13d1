#include "driver/client/error.h"

#include <fmt/core.h>

namespace ptxops::driver {
namespace {

std::string compose(abi::CUresult code, const std::string& function, const std::string& text,
                    const std::string& log) {
  std::string all = fmt::format("{}: {}", function, result_name(code));
  if (!text.empty()) all += ": " + text;
  if (!log.empty()) all += "\n" + log;
  return all;
}

}  // namespace

Error::Error(abi::CUresult code, std::string function, std::string text, std::string log)
    : std::runtime_error(compose(code, function, text, log)),
      code_(code),
      function_(std::move(function)),
      text_(std::move(text)),
      log_(std::move(log)) {}

std::string result_name(abi::CUresult code) {
  switch (static_cast<int>(code)) {
#define PTXOPS_RESULT(name, value, text) \
  case value:                            \
    return #name;
#include "driver/abi/results.def"
#undef PTXOPS_RESULT
  }
  return fmt::format("CUresult {}", static_cast<int>(code));
}

}  // namespace ptxops::driver
