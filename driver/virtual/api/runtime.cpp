#include "driver/virtual/api/runtime.h"

#include <pthread.h>

#include "driver/virtual/api/capture.h"
#include "driver/virtual/check/diagnostic.h"
#include "driver/virtual/exec/access.h"
#include "driver/virtual/exec/engine.h"

namespace ptxops::virt {

using namespace abi;

thread_local bool PerThreadDefaultStream::active_ = false;

// Leaked: other threads may still call the driver while the process exits.
Runtime& Runtime::get() {
  static Runtime* runtime = new Runtime;
  return *runtime;
}

void Runtime::initialise() {
  expect_not_forked();
  std::lock_guard lock(mutex_);
  if (initialised()) return;
  if (pthread_atfork(nullptr, nullptr, [] { get().forked_ = get().initialised(); }) != 0)
    refuse(CUDA_ERROR_OUT_OF_MEMORY, "pthread_atfork: no memory for a handler");
  try {
    const Profile profile = profile_from_environment();
    const int count = device_count_from_environment();
    // Each throws where its variable is malformed: now, not when a kernel's finding first asks.
    check_level(), schedule_seed(), reported(Diagnostic::M1), Engine::check_environment();
    memory_ = std::make_unique<Memory>(count);
    for (int i = 0; i < count; ++i) {
      auto device = std::make_unique<Device>();
      device->ordinal = i;
      device->profile = profile;
      device->default_pool = std::make_shared<Pool>();
      device->default_pool->device = i;
      device->default_pool->is_default = true;
      device->pool = device->default_pool;
      pools.add(device->default_pool);
      devices_.push_back(std::move(device));
    }
  } catch (const std::exception& e) {
    devices_.clear();
    refuse(CUDA_ERROR_INVALID_VALUE, "{}", e.what());
  }
  initialised_.store(true, std::memory_order_release);
}

void Runtime::expect_not_forked() const {
  if (forked_)
    refuse(CUDA_ERROR_NOT_INITIALIZED,
           "expected a process that called cuInit itself, got one forked from it: spawn it, or fork before "
           "cuInit");
}

Device& Runtime::device(CUdevice device) {
  if (device < 0 || device >= device_count())
    refuse(CUDA_ERROR_INVALID_DEVICE, "device: expected 0..{}, got {}", device_count() - 1, device);
  return *devices_[device];
}

std::shared_ptr<Context> Runtime::context(CUcontext handle) {
  auto context = contexts.find(handle);
  if (!context) refuse(CUDA_ERROR_INVALID_CONTEXT, "{} is not a context", static_cast<void*>(handle));
  return context;
}

void Runtime::destroy(const std::shared_ptr<Context>& context) {
  context->synchronize();
  context->destroyed.store(true);
  abandon_captures([&](const Stream& s) { return s.context == context.get(); });
  contexts.remove(context.get());
  streams.remove_if([&](const Stream& s) { return s.context == context.get(); });
  events.remove_if([&](const Event& e) { return e.context == context.get(); });
  for (const auto& module :
       modules.remove_if([&](const LoadedModule& m) { return m.context.lock() == context; })) {
    for (const auto& function : module->functions) functions.remove(function.get());
    if (module->library) {
      std::lock_guard lock(module->library->mutex);
      module->library->modules.erase(context.get());
    }
  }
  std::lock_guard lock(owners_mutex);
  for (auto it = owners.begin(); it != owners.end();)
    if (it->second.context.lock() == context) {
      if (const Allocation* a = memory_->find(it->first); a && it->second.pool) {
        std::lock_guard pool_lock(it->second.pool->mutex);
        it->second.pool->used -= a->size;
      }
      if (!memory_->release(it->first)) memory_->unregister_host(it->first);
      it = owners.erase(it);
    } else {
      ++it;
    }
}

std::vector<std::shared_ptr<Context>>& context_stack() {
  thread_local std::vector<std::shared_ptr<Context>> stack;
  return stack;
}

std::shared_ptr<Context> current_context_even_faulted() {
  auto& stack = context_stack();
  if (stack.empty() || !stack.back())
    refuse(CUDA_ERROR_INVALID_CONTEXT, "no context is current in this thread");
  if (stack.back()->destroyed)
    refuse(CUDA_ERROR_CONTEXT_IS_DESTROYED, "the current context has been destroyed");
  return stack.back();
}

std::shared_ptr<Context> current_context() {
  auto context = current_context_even_faulted();
  context->check_fault();
  return context;
}

StreamRef resolve_stream(CUstream handle) {
  StreamRef ref;
  const bool own = handle == per_thread_stream() || (!handle && PerThreadDefaultStream::active());
  if (!handle || own || handle == legacy_stream()) {
    ref.context = current_context();
    ref.stream = own ? &ref.context->per_thread_stream() : &ref.context->legacy_stream();
    return ref;
  }
  ref.owned = Runtime::get().streams.find(handle);
  if (!ref.owned) refuse(CUDA_ERROR_INVALID_HANDLE, "{} is not a stream", static_cast<void*>(handle));
  ref.stream = ref.owned.get();
  ref.context = ref.stream->context->shared_from_this();
  ref.context->check_fault();
  return ref;
}

}  // namespace ptxops::virt
