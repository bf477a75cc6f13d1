// Device memory and pinned host memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "driver/client/context.h"

namespace ptxops::driver {

// Owned device memory of one context; freed by the destructor. Addresses are at least 256-byte aligned. 0
// bytes is an empty buffer with address 0.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  DeviceBuffer(const Context& context, size_t bytes);
  ~DeviceBuffer();
  DeviceBuffer(DeviceBuffer&& other) noexcept;
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept;
  DeviceBuffer(const DeviceBuffer&) = delete;

  // Stream-ordered: usable by work issued to `stream` after this call; free_async() gives it back in stream
  // order.
  static DeviceBuffer allocate_async(const Context& context, size_t bytes, abi::CUstream stream);
  void free_async(abi::CUstream stream);

  // Copies between host memory and bytes [offset, offset + bytes) of the buffer. Without a stream they return
  // when done; with one they are queued, and the host memory must stay until the stream has passed them. A
  // range outside the buffer is an Error, nothing copied.
  void upload(const void* source, size_t bytes, size_t offset = 0) const;
  void download(void* destination, size_t bytes, size_t offset = 0) const;
  void upload(const void* source, size_t bytes, size_t offset, abi::CUstream stream) const;
  void download(void* destination, size_t bytes, size_t offset, abi::CUstream stream) const;
  // Every byte; queued with a stream.
  void fill(uint8_t value) const;
  void fill(uint8_t value, abi::CUstream stream) const;

  abi::CUdeviceptr address() const { return address_; }
  size_t bytes() const { return bytes_; }
  explicit operator bool() const { return address_ != 0; }

 private:
  void check_range(const char* what, size_t bytes, size_t offset) const;

  const Context* context_ = nullptr;
  abi::CUdeviceptr address_ = 0;
  size_t bytes_ = 0;
};

// Page-locked host memory that copies reach without staging, readable by kernels at the same address.
class PinnedBuffer {
 public:
  PinnedBuffer(const Context& context, size_t bytes);
  ~PinnedBuffer();
  PinnedBuffer(PinnedBuffer&& other) noexcept;
  PinnedBuffer& operator=(PinnedBuffer&&) = delete;
  PinnedBuffer(const PinnedBuffer&) = delete;

  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  const Context* context_;
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace ptxops::driver
