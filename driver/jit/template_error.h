// The one exception of the PTX text layer.
#pragma once

#include <stdexcept>
#include <string>

namespace ptxops::jit {

// what() reads "file:line: message", then one line for each macro call and include that led there.
class TemplateError : public std::runtime_error {
 public:
  TemplateError(std::string file, int line, std::string message, const std::string& trail)
      : std::runtime_error(file + ":" + std::to_string(line) + ": " + message + trail),
        file_(std::move(file)),
        line_(line),
        message_(std::move(message)) {}
  const std::string& file() const { return file_; }
  int line() const { return line_; }
  const std::string& message() const { return message_; }

 private:
  std::string file_;
  int line_;
  std::string message_;
};

}  // namespace ptxops::jit
