// Streams and events.
#pragma once

#include "driver/client/context.h"

namespace ptxops::driver {

class Event;

// A non-blocking stream (it does not wait for the legacy default stream). Destroyed without waiting for its
// work.
class Stream {
 public:
  explicit Stream(const Context& context, int priority = 0);
  ~Stream();
  Stream(Stream&& other) noexcept;
  Stream& operator=(Stream&&) = delete;
  Stream(const Stream&) = delete;

  void synchronize() const;  // throws the fault of an earlier kernel
  bool done() const;         // all work finished; throws as synchronize()
  void wait(const Event& event) const;

  const Context& context() const { return *context_; }
  abi::CUstream handle() const { return handle_; }

 private:
  const Context* context_;
  abi::CUstream handle_ = nullptr;
};

class Event {
 public:
  // `timing` false: cheaper, no elapsed time.
  explicit Event(const Context& context, bool timing = true);
  ~Event();
  Event(Event&& other) noexcept;
  Event& operator=(Event&&) = delete;
  Event(const Event&) = delete;

  void record(abi::CUstream stream) const;
  void synchronize() const;
  bool done() const;
  // Time from `start` to this event, both recorded and finished. On the virtual device: modelled, not
  // measured.
  float milliseconds_since(const Event& start) const;

  abi::CUevent handle() const { return handle_; }

 private:
  const Context* context_;
  abi::CUevent handle_ = nullptr;
};

}  // namespace ptxops::driver
