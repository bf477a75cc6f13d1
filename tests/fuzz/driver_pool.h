// What the calls of one input draw their arguments from: handles and addresses that live, that lived, and
// that never did. A host pointer is always one that a real driver could use, or null.
#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <vector>

#include "tests/fuzz/feed.h"
#include "tests/fuzz/virtual_driver.h"

namespace ptxops::fuzz {

class Pool {
 public:
  explicit Pool(Feed& feed) : feed(feed) {}
  Feed& feed;

  // Handles of one type.
  template <class Handle>
  std::vector<Handle>& of() {
    static_assert(std::is_pointer_v<Handle>);
    if constexpr (std::is_same_v<Handle, CUcontext>) return contexts_;
    if constexpr (std::is_same_v<Handle, CUmodule>) return modules_;
    if constexpr (std::is_same_v<Handle, CUfunction>) return functions_;
    if constexpr (std::is_same_v<Handle, CUlibrary>) return libraries_;
    if constexpr (std::is_same_v<Handle, CUkernel>) return kernels_;
    if constexpr (std::is_same_v<Handle, CUevent>) return events_;
    if constexpr (std::is_same_v<Handle, CUstream>) return streams_;
    if constexpr (std::is_same_v<Handle, CUmemoryPool>) return pools_;
    if constexpr (std::is_same_v<Handle, CUgraph>) return graphs_;
    if constexpr (std::is_same_v<Handle, CUgraphNode>) return nodes_;
    if constexpr (std::is_same_v<Handle, CUgraphExec>) return execs_;
  }

  template <class Handle>
  Handle handle() {
    const uint8_t choice = feed.byte();
    auto& known = of<Handle>();
    if (choice >= 32 && !known.empty()) return known[choice % known.size()];
    // Null, the default streams, small junk; a handle of another type; memory that is no handle.
    if (choice < 4) return reinterpret_cast<Handle>(uintptr_t{choice});
    if (choice < 8 && !contexts_.empty())
      return reinterpret_cast<Handle>(contexts_[choice % contexts_.size()]);
    if (choice < 10) return reinterpret_cast<Handle>(host(8));
    return choice < 12 ? reinterpret_cast<Handle>(feed.take<uintptr_t>()) : nullptr;
  }

  // Bytes: little, or so many that nobody has them. What lies between is possible, and slow.
  size_t size() {
    const uint64_t n = feed.number();
    return n > kMuch && n < uint64_t{1} << 40 ? n % kMuch : n;
  }

  CUdeviceptr device_address() {
    const uint8_t choice = feed.byte();
    if (choice < 2) return choice;
    if (choice < 4 || addresses_.empty()) return feed.take<uint64_t>();
    const CUdeviceptr base = addresses_[choice % addresses_.size()];
    return choice < 192 ? base : base + feed.number();
  }
  // One that a call returned, still valid or not; 0 while there is none.
  CUdeviceptr known_address() { return addresses_.empty() ? 0 : addresses_[feed.byte() % addresses_.size()]; }
  void add_address(CUdeviceptr address) { addresses_.push_back(address); }

  // A block of the input's own with `bytes` bytes, filled from the input: small ones on the heap, so that
  // AddressSanitizer sees a write past the end.
  void* host(size_t bytes) {
    auto& block = blocks_.emplace_back(std::make_unique<std::byte[]>(std::max<size_t>(bytes, 1)));
    for (size_t i = 0; i < bytes && i < 256 && !feed.empty(); ++i) block[i] = std::byte{feed.byte()};
    return block.get();
  }
  template <class T>
  T* object() {
    static_assert(alignof(T) <= 16 && std::is_trivially_copyable_v<T>);
    return static_cast<T*>(host(sizeof(T)));
  }
  bool null() { return feed.below(16) == 15; }

  // Host memory that lives as long as the process, so that it can be registered: `kArena` bytes from anywhere
  // in its first part.
  static constexpr size_t kArena = 1 << 20;
  static std::byte* arena() {
    alignas(4096) static std::byte bytes[4 * kArena];
    return bytes;
  }
  static constexpr uint64_t kMuch = 1 << 20;

 private:
  std::vector<CUcontext> contexts_;
  std::vector<CUmodule> modules_;
  std::vector<CUfunction> functions_;
  std::vector<CUlibrary> libraries_;
  std::vector<CUkernel> kernels_;
  std::vector<CUevent> events_;
  std::vector<CUstream> streams_;
  std::vector<CUmemoryPool> pools_;
  std::vector<CUgraph> graphs_;
  std::vector<CUgraphNode> nodes_;
  std::vector<CUgraphExec> execs_;
  std::vector<CUdeviceptr> addresses_;
  std::deque<std::unique_ptr<std::byte[]>> blocks_;
};

}  // namespace ptxops::fuzz
