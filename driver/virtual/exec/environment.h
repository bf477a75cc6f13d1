// Numbers from environment variables.
#pragma once

#include <fmt/format.h>

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <type_traits>

namespace ptxops::virt {

// `otherwise` where the variable is unset or empty; throws std::runtime_error for anything but a number in
// range.
template <class T>
T number_from_environment(const char* variable, T low, T high, T otherwise) {
  const char* text = std::getenv(variable);
  if (!text || !*text) return otherwise;
  const char* end = text + std::strlen(text);
  T value{};
  const auto [stop, error] = std::from_chars(text, end, value);
  if (error != std::errc() || stop != end || !(value >= low && value <= high))
    throw std::runtime_error(fmt::format("{}: expected {} {}..{}, got \"{}\"", variable,
                                         std::is_integral_v<T> ? "an integer" : "a number", low, high, text));
  return value;
}

}  // namespace ptxops::virt
