// An argument of a driver function from its type alone: enough for every function but those of
// driver_calls.cpp.
#pragma once

#include <type_traits>

#include "tests/fuzz/driver_pool.h"

namespace ptxops::fuzz {

template <class T>
inline constexpr bool is_handle =
    std::is_same_v<T, CUcontext> || std::is_same_v<T, CUmodule> || std::is_same_v<T, CUfunction> ||
    std::is_same_v<T, CUlibrary> || std::is_same_v<T, CUkernel> || std::is_same_v<T, CUevent> ||
    std::is_same_v<T, CUstream> || std::is_same_v<T, CUmemoryPool> || std::is_same_v<T, CUgraph> ||
    std::is_same_v<T, CUgraphNode> || std::is_same_v<T, CUgraphExec>;

inline const char* const kNames[] = {
    "",        "k",         "spin",       "bytes",          "fault",        "table",
    "nothing", "cuInit",    "cuMemAlloc", "cuLaunchKernel", "0000:01:00.0", "x",
    "/",       "/dev/null", "/nowhere"};

template <class T>
class Argument {
 public:
  explicit Argument(Pool& pool) {
    Feed& feed = pool.feed;
    if constexpr (is_handle<T>) {
      value_ = pool.handle<T>();
    } else if constexpr (std::is_same_v<T, CUdeviceptr>) {
      value_ = pool.device_address();
    } else if constexpr (std::is_same_v<T, size_t>) {
      value_ = pool.size();
    } else if constexpr (std::is_enum_v<T>) {
      value_ = static_cast<T>(feed.below(8) == 7 ? feed.take<int>() : feed.byte());
    } else if constexpr (std::is_integral_v<T>) {
      value_ = static_cast<T>(feed.below(2) ? feed.number() : feed.below(4));
    } else if constexpr (std::is_same_v<T, const char*>) {
      value_ = pool.null() ? nullptr : kNames[feed.below(std::size(kNames))];
    } else if constexpr (std::is_same_v<T, void*> || std::is_same_v<T, const void*>) {
      value_ = pool.null() ? nullptr : feed.below(2) ? pool.host(64) : Pool::arena() + 8 * feed.below(8);
    } else if constexpr (std::is_same_v<T, CUhostFn>) {
      if (!pool.null()) value_ = [](void*) {};
    } else if constexpr (std::is_same_v<T, CUstreamCallback>) {
      if (!pool.null()) value_ = [](CUstream, CUresult, void*) {};
    } else if constexpr (std::is_same_v<T, CUoccupancyB2DSize>) {
      if (!pool.null()) value_ = [](int threads) { return size_t{64} * static_cast<unsigned>(threads); };
    } else {
      static_assert(std::is_pointer_v<T>);
      using Object = std::remove_const_t<std::remove_pointer_t<T>>;
      static_assert(!std::is_void_v<Object> && !std::is_same_v<Object, char>,
                    "give this function a case of its own");
      value_ = pool.null() ? nullptr : pool.object<Object>();
    }
  }
  T get() const { return value_; }
  // After a call that succeeded: what it returned joins the pool.
  void harvest(Pool& pool) {
    if constexpr (std::is_pointer_v<T>) {
      using Object = std::remove_pointer_t<T>;
      if constexpr (is_handle<Object>) {
        if (value_) pool.of<Object>().push_back(*value_);
      } else if constexpr (std::is_same_v<Object, CUdeviceptr>) {
        if (value_) pool.add_address(*value_);
      } else if constexpr (std::is_same_v<T, void**>) {
        if (value_) pool.add_address(reinterpret_cast<CUdeviceptr>(*value_));
      }
    }
  }

 private:
  T value_{};
};

template <class... P>
void call_by_types(CUresult (*function)(P...), Pool& pool) {
  std::tuple<Argument<P>...> arguments{Argument<P>(pool)...};
  std::apply(
      [&](auto&... a) {
        if (function(a.get()...) == CUDA_SUCCESS) (a.harvest(pool), ...);
      },
      arguments);
}

}  // namespace ptxops::fuzz
