// A device's context, beside whatever else the process does with CUDA (torch, the runtime API): the primary
// context is retained, never created, and made current only inside a guard.
#pragma once

#include "driver/client/driver.h"

namespace ptxops::driver {

class Context {
 public:
  // Retains the primary context of device `ordinal`; released by the destructor. Throws Error.
  Context(const Driver& driver, int ordinal);
  ~Context();
  // Libraries, streams and buffers keep a pointer to it: it outlives them and stays where it is.
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  // Current for the calling thread while the guard lives; what was current before comes back after it.
  class Guard {
   public:
    explicit Guard(const Context& context);
    ~Guard();
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;

   private:
    const Driver& driver_;
  };

  // Waits for all work of the context; a fault of an earlier kernel is thrown here.
  void synchronize() const;

  const Driver& driver() const { return *driver_; }
  abi::CUcontext handle() const { return handle_; }
  int ordinal() const { return ordinal_; }

 private:
  const Driver* driver_;
  abi::CUcontext handle_ = nullptr;
  abi::CUdevice device_ = 0;
  int ordinal_ = 0;
};

}  // namespace ptxops::driver
