#include "driver/client/module.h"

#include <fmt/core.h>

#include <cstring>
#include <utility>

namespace ptxops::driver {

using namespace abi;

struct Library::Logs {
  char error[16384] = {};
  char info[16384] = {};
};

Library::Library(const Context& context, std::string_view image, std::string name)
    : context_(&context), name_(std::move(name)), image_(image), logs_(std::make_unique<Logs>()) {
  const Driver& driver = context.driver();
  CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES,
                            CU_JIT_INFO_LOG_BUFFER, CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES, CU_JIT_LOG_VERBOSE};
  void* values[] = {logs_->error, reinterpret_cast<void*>(sizeof logs_->error), logs_->info,
                    reinterpret_cast<void*>(sizeof logs_->info), reinterpret_cast<void*>(uintptr_t{1})};
  const Context::Guard guard(context);
  // std::string ends in the NUL that PTX needs.
  const CUresult result = driver.api().cuLibraryLoadData(&handle_, image_.data(), options, values,
                                                         std::size(options), nullptr, nullptr, 0);
  if (result != CUDA_SUCCESS) driver.fail(result, fmt::format("cuLibraryLoadData({})", name_), error_log());
}

Library::Library(Library&& other) noexcept
    : context_(other.context_),
      name_(std::move(other.name_)),
      image_(std::move(other.image_)),
      logs_(std::move(other.logs_)),
      handle_(std::exchange(other.handle_, nullptr)) {}

Library::~Library() {
  if (handle_) context_->driver().api().cuLibraryUnload(handle_);
}

std::string Library::error_log() const {
  return std::string(logs_->error, strnlen(logs_->error, sizeof logs_->error));
}
std::string Library::info_log() const {
  return std::string(logs_->info, strnlen(logs_->info, sizeof logs_->info));
}

Library::Global Library::global(const std::string& variable) const {
  const Driver& driver = context_->driver();
  const Context::Guard guard(*context_);
  Global g;
  const CUresult result = driver.api().cuLibraryGetGlobal(&g.address, &g.bytes, handle_, variable.c_str());
  if (result != CUDA_SUCCESS)
    driver.fail(result, fmt::format("cuLibraryGetGlobal({}, {})", name_, variable), error_log());
  return g;
}

Kernel::Kernel(const Library& library, const std::string& entry)
    : context_(&library.context()), entry_(entry) {
  const Driver& driver = context_->driver();
  const Context::Guard guard(*context_);
  CUkernel kernel = nullptr;
  CUresult result = driver.api().cuLibraryGetKernel(&kernel, library.handle(), entry.c_str());
  const char* call = "cuLibraryGetKernel";
  if (result == CUDA_SUCCESS) {
    call = "cuKernelGetFunction";
    result = driver.api().cuKernelGetFunction(&handle_, kernel);
  }
  if (result == CUDA_SUCCESS && driver.api().cuFuncLoad) {
    call = "cuFuncLoad";
    result = driver.api().cuFuncLoad(handle_);
  }
  if (result != CUDA_SUCCESS)
    driver.fail(result, fmt::format("{}({}, {})", call, library.name(), entry), library.error_log());
}

int Kernel::attribute(CUfunction_attribute attribute) const {
  const Context::Guard guard(*context_);
  int value = 0;
  context_->driver().check(context_->driver().api().cuFuncGetAttribute(&value, attribute, handle_),
                           "cuFuncGetAttribute");
  return value;
}

void Kernel::set_attribute(CUfunction_attribute attribute, int value) const {
  const Context::Guard guard(*context_);
  const CUresult result = context_->driver().api().cuFuncSetAttribute(handle_, attribute, value);
  if (result != CUDA_SUCCESS)
    context_->driver().fail(result, fmt::format("cuFuncSetAttribute({}, attribute {}, {})", entry_,
                                                static_cast<int>(attribute), value));
}

void Kernel::set_max_dynamic_shared_bytes(int bytes) const {
  set_attribute(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, bytes);
}

void Kernel::allow_non_portable_cluster() const {
  set_attribute(CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED, 1);
}

int Kernel::max_blocks_per_sm(int threads, size_t dynamic_shared_bytes) const {
  const Context::Guard guard(*context_);
  int blocks = 0;
  context_->driver().check(context_->driver().api().cuOccupancyMaxActiveBlocksPerMultiprocessor(
                               &blocks, handle_, threads, dynamic_shared_bytes),
                           "cuOccupancyMaxActiveBlocksPerMultiprocessor");
  return blocks;
}

}  // namespace ptxops::driver
