// Bump allocation for the IR: everything a Module points to, freed with it in one go.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

namespace ptxops::virt::isa {

class Arena {
 public:
  // Uninitialised space for `n` values of T, which must need no destructor.
  template <class T>
  T* allocate(size_t n) {
    static_assert(std::is_trivially_destructible_v<T> && alignof(T) <= kAlign);
    return static_cast<T*>(allocate_bytes(n * sizeof(T)));
  }

  template <class T>
  std::span<T> copy(std::span<const T> values) {
    T* p = allocate<T>(values.size());
    std::uninitialized_copy(values.begin(), values.end(), p);
    return {p, values.size()};
  }

  std::string_view copy(std::string_view text) {
    char* p = allocate<char>(text.size());
    if (!text.empty()) std::memcpy(p, text.data(), text.size());
    return {p, text.size()};
  }

 private:
  static constexpr size_t kAlign = 16, kChunk = 256 * 1024;

  void* allocate_bytes(size_t bytes) {
    bytes = (bytes + kAlign - 1) & ~(kAlign - 1);
    if (bytes > left_) {
      size_t size = bytes > kChunk ? bytes : kChunk;
      chunks_.push_back(std::unique_ptr<std::byte[]>(new std::byte[size]));
      next_ = chunks_.back().get();
      left_ = size;
    }
    void* p = next_;
    next_ += bytes;
    left_ -= bytes;
    return p;
  }

  std::vector<std::unique_ptr<std::byte[]>> chunks_;
  std::byte* next_ = nullptr;
  size_t left_ = 0;
};

}  // namespace ptxops::virt::isa
