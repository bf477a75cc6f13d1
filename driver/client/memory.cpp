#include "driver/client/memory.h"

#include <fmt/core.h>

#include <utility>

namespace ptxops::driver {

using namespace abi;

DeviceBuffer::DeviceBuffer(const Context& context, size_t bytes) : context_(&context), bytes_(bytes) {
  if (bytes == 0) return;
  const Context::Guard guard(context);
  const CUresult result = context.driver().api().cuMemAlloc(&address_, bytes);
  if (result != CUDA_SUCCESS) context.driver().fail(result, fmt::format("cuMemAlloc({} bytes)", bytes));
}

DeviceBuffer DeviceBuffer::allocate_async(const Context& context, size_t bytes, CUstream stream) {
  DeviceBuffer buffer;
  buffer.context_ = &context;
  buffer.bytes_ = bytes;
  if (bytes == 0) return buffer;
  const Context::Guard guard(context);
  const CUresult result = context.driver().api().cuMemAllocAsync(&buffer.address_, bytes, stream);
  if (result != CUDA_SUCCESS) context.driver().fail(result, fmt::format("cuMemAllocAsync({} bytes)", bytes));
  return buffer;
}

void DeviceBuffer::free_async(CUstream stream) {
  if (!address_) return;
  const Context::Guard guard(*context_);
  context_->driver().check(context_->driver().api().cuMemFreeAsync(std::exchange(address_, 0), stream),
                           "cuMemFreeAsync");
  bytes_ = 0;
}

DeviceBuffer::~DeviceBuffer() {
  if (!address_) return;
  CUcontext ignored = nullptr;
  const Api& api = context_->driver().api();
  // A destructor cannot report; a faulted context frees everything itself.
  if (api.cuCtxPushCurrent(context_->handle()) != CUDA_SUCCESS) return;
  api.cuMemFree(address_);
  api.cuCtxPopCurrent(&ignored);
}

DeviceBuffer::DeviceBuffer(DeviceBuffer&& other) noexcept
    : context_(other.context_),
      address_(std::exchange(other.address_, 0)),
      bytes_(std::exchange(other.bytes_, 0)) {}

DeviceBuffer& DeviceBuffer::operator=(DeviceBuffer&& other) noexcept {
  std::swap(context_, other.context_);
  std::swap(address_, other.address_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

void DeviceBuffer::check_range(const char* what, size_t bytes, size_t offset) const {
  if (offset > bytes_ || bytes > bytes_ - offset)
    throw Error(
        CUDA_ERROR_INVALID_VALUE, what,
        fmt::format("bytes [{}, {}) lie outside the buffer of {} bytes", offset, offset + bytes, bytes_));
}

void DeviceBuffer::upload(const void* source, size_t bytes, size_t offset) const {
  check_range("DeviceBuffer::upload", bytes, offset);
  if (bytes == 0) return;
  const Context::Guard guard(*context_);
  context_->driver().check(context_->driver().api().cuMemcpyHtoD(address_ + offset, source, bytes),
                           "cuMemcpyHtoD");
}

void DeviceBuffer::download(void* destination, size_t bytes, size_t offset) const {
  check_range("DeviceBuffer::download", bytes, offset);
  if (bytes == 0) return;
  const Context::Guard guard(*context_);
  context_->driver().check(context_->driver().api().cuMemcpyDtoH(destination, address_ + offset, bytes),
                           "cuMemcpyDtoH");
}

void DeviceBuffer::upload(const void* source, size_t bytes, size_t offset, CUstream stream) const {
  check_range("DeviceBuffer::upload", bytes, offset);
  if (bytes == 0) return;
  const Context::Guard guard(*context_);
  context_->driver().check(
      context_->driver().api().cuMemcpyHtoDAsync(address_ + offset, source, bytes, stream),
      "cuMemcpyHtoDAsync");
}

void DeviceBuffer::download(void* destination, size_t bytes, size_t offset, CUstream stream) const {
  check_range("DeviceBuffer::download", bytes, offset);
  if (bytes == 0) return;
  const Context::Guard guard(*context_);
  context_->driver().check(
      context_->driver().api().cuMemcpyDtoHAsync(destination, address_ + offset, bytes, stream),
      "cuMemcpyDtoHAsync");
}

void DeviceBuffer::fill(uint8_t value) const {
  if (bytes_ == 0) return;
  const Context::Guard guard(*context_);
  context_->driver().check(context_->driver().api().cuMemsetD8(address_, value, bytes_), "cuMemsetD8");
}

void DeviceBuffer::fill(uint8_t value, CUstream stream) const {
  if (bytes_ == 0) return;
  const Context::Guard guard(*context_);
  context_->driver().check(context_->driver().api().cuMemsetD8Async(address_, value, bytes_, stream),
                           "cuMemsetD8Async");
}

PinnedBuffer::PinnedBuffer(const Context& context, size_t bytes) : context_(&context), bytes_(bytes) {
  const Context::Guard guard(context);
  const CUresult result = context.driver().api().cuMemAllocHost(&data_, bytes);
  if (result != CUDA_SUCCESS) context.driver().fail(result, fmt::format("cuMemAllocHost({} bytes)", bytes));
}

PinnedBuffer::PinnedBuffer(PinnedBuffer&& other) noexcept
    : context_(other.context_),
      data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)) {}

PinnedBuffer::~PinnedBuffer() {
  if (!data_) return;
  CUcontext ignored = nullptr;
  const Api& api = context_->driver().api();
  if (api.cuCtxPushCurrent(context_->handle()) != CUDA_SUCCESS) return;
  api.cuMemFreeHost(data_);
  api.cuCtxPopCurrent(&ignored);
}

}  // namespace ptxops::driver
