#include "ops/status.h"

#include <cstring>

namespace ptxops::ops {
namespace {

thread_local std::string last_error;

}  // namespace

ptxopsStatus_t remember(ptxopsStatus_t status, const char* text) noexcept {
  try {
    last_error = text;
  } catch (...) {
    last_error.clear();
  }
  return status;
}

ptxopsStatus_t translate() noexcept {
  try {
    throw;
  } catch (const StatusError& e) {
    return remember(e.status(), e.what());
  } catch (const driver::Error& e) {
    const bool memory = e.code() == abi::CUDA_ERROR_OUT_OF_MEMORY;
    const bool none = e.code() == abi::CUDA_ERROR_NO_DEVICE || e.code() == abi::CUDA_ERROR_INVALID_DEVICE ||
                      e.code() == abi::CUDA_ERROR_FILE_NOT_FOUND;  // no driver library
    const bool image = e.code() == abi::CUDA_ERROR_INVALID_PTX || e.code() == abi::CUDA_ERROR_INVALID_IMAGE ||
                       e.code() == abi::CUDA_ERROR_NO_BINARY_FOR_GPU;
    return remember(memory  ? PTXOPS_OUT_OF_MEMORY
                    : none  ? PTXOPS_NO_DEVICE
                    : image ? PTXOPS_BUILD_FAILED
                            : PTXOPS_DRIVER_ERROR,
                    e.what());
  } catch (const jit::BuildError& e) {
    return remember(PTXOPS_BUILD_FAILED, e.what());
  } catch (const jit::TemplateError& e) {
    return remember(PTXOPS_BUILD_FAILED, e.what());
  } catch (const std::bad_alloc&) {
    return remember(PTXOPS_OUT_OF_MEMORY, "out of host memory");
  } catch (const std::exception& e) {
    return remember(PTXOPS_INTERNAL_ERROR, e.what());
  } catch (...) {
    return remember(PTXOPS_INTERNAL_ERROR, "unknown exception");
  }
}

}  // namespace ptxops::ops

extern "C" {

int ptxopsGetVersion(void) {
  return PTXOPS_VERSION_MAJOR * 10000 + PTXOPS_VERSION_MINOR * 100 + PTXOPS_VERSION_PATCH;
}

const char* ptxopsGetStatusName(ptxopsStatus_t status) {
  switch (status) {
#define PTXOPS_CASE(name, value, text) \
  case PTXOPS_##name:                  \
    return "PTXOPS_" #name;
    PTXOPS_STATUS_LIST(PTXOPS_CASE)
#undef PTXOPS_CASE
  }
  return "unknown status";
}

const char* ptxopsGetStatusText(ptxopsStatus_t status) {
  switch (status) {
#define PTXOPS_CASE(name, value, text) \
  case PTXOPS_##name:                  \
    return text;
    PTXOPS_STATUS_LIST(PTXOPS_CASE)
#undef PTXOPS_CASE
  }
  return "unknown status";
}

const char* ptxopsGetLastError(void) {
  return ptxops::ops::last_error.c_str();
}

}  // extern "C"
