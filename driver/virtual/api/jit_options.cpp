// CUjit_option lists, and what a module image is.
#include <algorithm>
#include <cstring>

#include "driver/virtual/api/module.h"
#include "driver/virtual/api/refusal.h"

namespace ptxops::virt {

using namespace abi;

void JitOptions::Log::write(const std::string& text) {
  if (!buffer || size == 0) return;
  const size_t n = std::min(size - 1, text.size());
  std::memcpy(buffer, text.data(), n);
  buffer[n] = '\0';
  // The size option's value is replaced by what was written.
  if (written) *written = reinterpret_cast<void*>(n);
}

void JitOptions::write_error_log(const std::string& text) {
  error_.write(text);
}
void JitOptions::write_info_log(const std::string& text) {
  info_.write(text);
}
void JitOptions::write_wall_time(float milliseconds) {
  if (wall_time_) std::memcpy(wall_time_, &milliseconds, sizeof milliseconds);
}

JitOptions::JitOptions(unsigned count, CUjit_option* options, void** values) {
  if (count > 0 && (!options || !values))
    refuse(CUDA_ERROR_INVALID_VALUE, "{} JIT options, but a null list", count);
  for (unsigned i = 0; i < count; ++i) {
    const uintptr_t value = reinterpret_cast<uintptr_t>(values[i]);
    switch (options[i]) {
      case CU_JIT_INFO_LOG_BUFFER:
        info_.buffer = static_cast<char*>(values[i]);
        break;
      case CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES:
        info_.size = static_cast<unsigned>(value);
        info_.written = &values[i];
        break;
      case CU_JIT_ERROR_LOG_BUFFER:
        error_.buffer = static_cast<char*>(values[i]);
        break;
      case CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES:
        error_.size = static_cast<unsigned>(value);
        error_.written = &values[i];
        break;
      case CU_JIT_WALL_TIME:
        wall_time_ = &values[i];
        break;
      case CU_JIT_TARGET:
        if (value != CU_TARGET_COMPUTE_90 && value != CU_TARGET_COMPUTE_90A)
          refuse(CUDA_ERROR_INVALID_VALUE, "CU_JIT_TARGET: expected 90 or 90a, got {}", value);
        break;
      case CU_JIT_CACHE_MODE:
        break;
      // How code is generated, which does not change what it computes here.
      case CU_JIT_MAX_REGISTERS:
      case CU_JIT_THREADS_PER_BLOCK:
      case CU_JIT_OPTIMIZATION_LEVEL:
      case CU_JIT_TARGET_FROM_CUCONTEXT:
      case CU_JIT_FALLBACK_STRATEGY:
      case CU_JIT_GENERATE_DEBUG_INFO:
      case CU_JIT_LOG_VERBOSE:
      case CU_JIT_GENERATE_LINE_INFO:
      case CU_JIT_NEW_SM3X_OPT:
      case CU_JIT_FAST_COMPILE:
      case CU_JIT_OPTIMIZE_UNUSED_DEVICE_VARIABLES:
      case CU_JIT_POSITION_INDEPENDENT_CODE:
      case CU_JIT_MIN_CTA_PER_SM:
      case CU_JIT_MAX_THREADS_PER_BLOCK:
      case CU_JIT_OVERRIDE_DIRECTIVE_VALUES:
      case CU_JIT_SPLIT_COMPILE:
        break;
      // Host symbols, link-time optimisation, arithmetic switches: they would change results.
      case CU_JIT_GLOBAL_SYMBOL_NAMES:
      case CU_JIT_GLOBAL_SYMBOL_ADDRESSES:
      case CU_JIT_GLOBAL_SYMBOL_COUNT:
      case CU_JIT_LTO:
      case CU_JIT_FTZ:
      case CU_JIT_PREC_DIV:
      case CU_JIT_PREC_SQRT:
      case CU_JIT_FMA:
      case CU_JIT_REFERENCED_KERNEL_NAMES:
      case CU_JIT_REFERENCED_KERNEL_COUNT:
      case CU_JIT_REFERENCED_VARIABLE_NAMES:
      case CU_JIT_REFERENCED_VARIABLE_COUNT:
        refuse(CUDA_ERROR_NOT_SUPPORTED, "JIT option {} is not implemented by the virtual device",
               static_cast<int>(options[i]));
      default:
        refuse(CUDA_ERROR_INVALID_VALUE, "unknown JIT option {}", static_cast<int>(options[i]));
    }
  }
}

std::string ptx_of(const void* image) {
  if (!image) refuse(CUDA_ERROR_INVALID_VALUE, "the module image must not be null");
  const char* text = static_cast<const char*>(image);
  uint32_t magic = 0;
  // A PTX text is longer than four bytes; a shorter string ends before the comparison reads past it.
  for (size_t i = 0; i < sizeof magic && (i == 0 || text[i - 1]); ++i)
    reinterpret_cast<char*>(&magic)[i] = text[i];
  constexpr uint32_t kElf = 0x464C457F, kFatbin = 0xBA55ED50, kFatbinWrapper = 0x466243B1;
  if (magic == kElf)
    refuse(
        CUDA_ERROR_NO_BINARY_FOR_GPU,
        "the image is a cubin: machine code, which the virtual device cannot run; load the PTX text instead");
  if (magic == kFatbin || magic == kFatbinWrapper)
    refuse(CUDA_ERROR_NO_BINARY_FOR_GPU,
           "the image is a fat binary; the virtual device executes PTX text: load that instead");
  std::string ptx(text);
  if (ptx.find(".version") == std::string::npos)
    refuse(CUDA_ERROR_INVALID_IMAGE,
           "the image is neither PTX (no .version directive in {} bytes) nor a cubin", ptx.size());
  return ptx;
}

}  // namespace ptxops::virt
