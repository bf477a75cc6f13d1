// Code on the device: a Library (all devices, cubin or PTX) and the Kernels in it.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "driver/client/context.h"

namespace ptxops::driver {

// A loaded image. Movable; unloaded by the destructor. Kernels must not outlive it.
class Library {
 public:
  // Loads `image`, which is copied: a cubin, or PTX text (with or without a NUL). `name` is for error texts.
  // Throws Error with the JIT log when the driver refuses the image.
  Library(const Context& context, std::string_view image, std::string name);
  ~Library();
  Library(Library&& other) noexcept;
  Library& operator=(Library&&) = delete;
  Library(const Library&) = delete;

  // Address and size in bytes of a module variable in the context the library was loaded with.
  struct Global {
    abi::CUdeviceptr address = 0;
    size_t bytes = 0;
  };
  Global global(const std::string& variable) const;

  const Context& context() const { return *context_; }
  abi::CUlibrary handle() const { return handle_; }
  const std::string& name() const { return name_; }
  // What the driver's compiler had to say (registers, spills, warnings); empty for a cubin.
  std::string info_log() const;

 private:
  friend class Kernel;
  struct Logs;
  std::string error_log() const;

  const Context* context_;
  std::string name_;
  std::string image_;
  std::unique_ptr<Logs> logs_;  // the driver may write to them until the library is unloaded (lazy loading)
  abi::CUlibrary handle_ = nullptr;
};

// An entry function, loaded into its library's context. Copyable, valid as long as the library.
class Kernel {
 public:
  // Finds `entry` and forces it onto the device now, so that no launch has to load code. Throws Error.
  Kernel(const Library& library, const std::string& entry);

  int registers() const { return attribute(abi::CU_FUNC_ATTRIBUTE_NUM_REGS); }  // a thread
  int static_shared_bytes() const { return attribute(abi::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES); }
  int local_bytes() const { return attribute(abi::CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES); }  // a thread
  int max_threads() const { return attribute(abi::CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK); }
  int attribute(abi::CUfunction_attribute attribute) const;
  void set_attribute(abi::CUfunction_attribute attribute, int value) const;

  // Once before the first launch that needs it: more than 48 KiB of dynamic shared memory; clusters of 9 to
  // 16 CTAs.
  void set_max_dynamic_shared_bytes(int bytes) const;
  void allow_non_portable_cluster() const;

  // Blocks that fit on one SM at once.
  int max_blocks_per_sm(int threads, size_t dynamic_shared_bytes) const;

  const std::string& entry() const { return entry_; }
  const Context& context() const { return *context_; }
  abi::CUfunction handle() const { return handle_; }

 private:
  const Context* context_;
  std::string entry_;
  abi::CUfunction handle_ = nullptr;
};

}  // namespace ptxops::driver
