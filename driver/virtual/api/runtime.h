// The state of the virtual driver in this process: devices, contexts, handles.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "driver/virtual/api/context.h"
#include "driver/virtual/api/handles.h"
#include "driver/virtual/api/module.h"
#include "driver/virtual/api/pool.h"
#include "driver/virtual/api/profile.h"
#include "driver/virtual/memory/memory.h"

namespace ptxops::virt {

struct Graph;
struct GraphNode;
struct GraphExec;

struct Device {
  int ordinal = 0;
  Profile profile;
  std::mutex mutex;                  // primary context
  std::shared_ptr<Context> primary;  // while retained
  int retained = 0;
  unsigned primary_flags = 0;
  std::shared_ptr<Pool> default_pool, pool;
};

// What the API knows of an allocation beyond Memory's record.
struct Owner {
  std::weak_ptr<Context> context;
  unsigned flags = 0;          // of cuMemHostAlloc / cuMemHostRegister / cuMemAllocManaged
  std::shared_ptr<Pool> pool;  // stream-ordered allocations
  uint64_t buffer_id = 0;
};

class Runtime {
 public:
  static Runtime& get();
  void initialise();  // cuInit; throws Refusal
  // Throws in a process that was forked after cuInit, as CUDA does: it has the memory but not the threads.
  void expect_not_forked() const;
  bool initialised() const { return initialised_.load(std::memory_order_acquire); }

  Memory& memory() { return *memory_; }
  int device_count() const { return static_cast<int>(devices_.size()); }
  Device& device(abi::CUdevice device);  // throws CUDA_ERROR_INVALID_DEVICE

  // Contexts.
  HandleTable<Context> contexts;
  std::shared_ptr<Context> context(abi::CUcontext handle);  // throws CUDA_ERROR_INVALID_CONTEXT
  // Waits for the context's work and releases all that belongs to it.
  void destroy(const std::shared_ptr<Context>& context);

  HandleTable<Stream> streams;
  HandleTable<Event> events;
  HandleTable<LoadedModule> modules;
  HandleTable<Function> functions;
  HandleTable<LoadedLibrary> libraries;
  HandleTable<LibraryKernel> kernels;
  HandleTable<Pool> pools;
  HandleTable<Graph> graphs;
  HandleTable<GraphNode> graph_nodes;
  HandleTable<GraphExec> graph_execs;

  std::mutex owners_mutex;
  std::map<uint64_t, Owner> owners;  // by base address

 private:
  Runtime() = default;
  std::mutex mutex_;
  std::atomic<bool> initialised_{false};
  bool forked_ = false;
  std::unique_ptr<Memory> memory_;
  std::vector<std::unique_ptr<Device>> devices_;
};

// The calling thread's contexts; back() is current. Entries may be null (cuCtxSetCurrent(NULL)) or destroyed.
std::vector<std::shared_ptr<Context>>& context_stack();

// The current context; throws CUDA_ERROR_INVALID_CONTEXT, CONTEXT_IS_DESTROYED or the context's own fault.
std::shared_ptr<Context> current_context();
// The same without looking at faults.
std::shared_ptr<Context> current_context_even_faulted();

// While one lives, stream handle 0 means the thread's own default stream: the _ptsz and _ptds entry points.
class PerThreadDefaultStream {
 public:
  PerThreadDefaultStream() : before_(active_) { active_ = true; }
  ~PerThreadDefaultStream() { active_ = before_; }
  static bool active() { return active_; }

 private:
  bool before_;
  static thread_local bool active_;
};

// A stream handle resolved: keeps its stream and context alive for the call.
struct StreamRef {
  std::shared_ptr<Context> context;
  std::shared_ptr<Stream> owned;
  Stream* stream = nullptr;
  Stream* operator->() const { return stream; }
};
// Default streams belong to the current context; others to their own. Throws INVALID_HANDLE or the context's
// fault.
StreamRef resolve_stream(abi::CUstream handle);

// Throws CUDA_ERROR_INVALID_VALUE naming the argument when it is null.
template <class T>
T* not_null(T* pointer, const char* name) {
  if (!pointer) refuse(abi::CUDA_ERROR_INVALID_VALUE, "{} must not be null", name);
  return pointer;
}

}  // namespace ptxops::virt
