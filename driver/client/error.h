// The client's one exception. The C ABI above translates it into a status and a text.
#pragma once

#include <stdexcept>
#include <string>

#include "driver/abi/types.h"

namespace ptxops::driver {

class Error : public std::runtime_error {
 public:
  // what() is composed from all parts: "cuModuleLoadDataEx(gemm.ptx): CUDA_ERROR_INVALID_PTX: ...".
  Error(abi::CUresult code, std::string function, std::string text, std::string log = {});

  abi::CUresult code() const { return code_; }
  const std::string& function() const { return function_; }  // driver function, with what it was about
  const std::string& text() const { return text_; }          // the driver's own words, or ours
  const std::string& log() const { return log_; }            // JIT log or fault report; may be empty

 private:
  abi::CUresult code_;
  std::string function_, text_, log_;
};

// "CUDA_ERROR_INVALID_VALUE" for 1, from our own list (works with no driver loaded); "CUresult 12345" if
// unknown.
std::string result_name(abi::CUresult code);

}  // namespace ptxops::driver
