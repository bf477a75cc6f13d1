#include "driver/client/stream.h"

#include <utility>

namespace ptxops::driver {

using namespace abi;

namespace {
// Queries answer CUDA_ERROR_NOT_READY for "no"; anything else but success is an error.
bool finished(const Driver& driver, CUresult result, const char* function) {
  if (result == CUDA_ERROR_NOT_READY) return false;
  driver.check(result, function);
  return true;
}
}  // namespace

Stream::Stream(const Context& context, int priority) : context_(&context) {
  const Context::Guard guard(context);
  context.driver().check(
      context.driver().api().cuStreamCreateWithPriority(&handle_, CU_STREAM_NON_BLOCKING, priority),
      "cuStreamCreateWithPriority");
}

Stream::Stream(Stream&& other) noexcept
    : context_(other.context_), handle_(std::exchange(other.handle_, nullptr)) {}

Stream::~Stream() {
  if (handle_) context_->driver().api().cuStreamDestroy(handle_);
}

void Stream::synchronize() const {
  context_->driver().check(context_->driver().api().cuStreamSynchronize(handle_), "cuStreamSynchronize");
}

bool Stream::done() const {
  return finished(context_->driver(), context_->driver().api().cuStreamQuery(handle_), "cuStreamQuery");
}

void Stream::wait(const Event& event) const {
  context_->driver().check(
      context_->driver().api().cuStreamWaitEvent(handle_, event.handle(), CU_EVENT_WAIT_DEFAULT),
      "cuStreamWaitEvent");
}

Event::Event(const Context& context, bool timing) : context_(&context) {
  const Context::Guard guard(context);
  context.driver().check(
      context.driver().api().cuEventCreate(&handle_, timing ? CU_EVENT_DEFAULT : CU_EVENT_DISABLE_TIMING),
      "cuEventCreate");
}

Event::Event(Event&& other) noexcept
    : context_(other.context_), handle_(std::exchange(other.handle_, nullptr)) {}

Event::~Event() {
  if (handle_) context_->driver().api().cuEventDestroy(handle_);
}

void Event::record(CUstream stream) const {
  const Context::Guard guard(*context_);
  context_->driver().check(context_->driver().api().cuEventRecord(handle_, stream), "cuEventRecord");
}

void Event::synchronize() const {
  context_->driver().check(context_->driver().api().cuEventSynchronize(handle_), "cuEventSynchronize");
}

bool Event::done() const {
  return finished(context_->driver(), context_->driver().api().cuEventQuery(handle_), "cuEventQuery");
}

float Event::milliseconds_since(const Event& start) const {
  float ms = 0;
  context_->driver().check(context_->driver().api().cuEventElapsedTime(&ms, start.handle_, handle_),
                           "cuEventElapsedTime");
  return ms;
}

}  // namespace ptxops::driver
