// Contexts, streams and events of the virtual driver.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "driver/virtual/api/refusal.h"
#include "driver/virtual/api/work.h"
#include "driver/virtual/exec/machine.h"

namespace ptxops::virt {

struct Device;
class Context;
struct StreamCapture;
struct EventCapture;

// A FIFO of work. Kinds: legacy (waits for, and is waited for by, every blocking stream of its context),
// blocking and non-blocking. Owned by the handle table or its context; work in flight does not need it.
struct Stream {
  Context* context = nullptr;
  unsigned flags = 0;  // CUstream_flags
  int priority = 0;
  uint64_t id = 0;
  bool legacy = false;
  WorkPtr tail;  // under the context's mutex
  std::map<int, abi::CUstreamAttrValue> attributes;
  std::shared_ptr<StreamCapture> capture;  // under lock_graphs(); null: not capturing
  // Where the engine puts the number of the latest work's grid; null when that was no kernel. Under
  // lock_graphs().
  std::shared_ptr<std::atomic<uint64_t>> latest_grid;

  bool blocking() const { return !(flags & abi::CU_STREAM_NON_BLOCKING); }
};

struct Event {
  Context* context = nullptr;
  unsigned flags = 0;                      // CUevent_flags
  std::shared_ptr<EventCapture> captured;  // under lock_graphs(); null: last recorded outside any capture

  WorkPtr last_recorded();  // null: never recorded
  void set_recorded(WorkPtr work);

 private:
  std::mutex mutex_;
  WorkPtr recorded_;
};

class Context : public std::enable_shared_from_this<Context> {
 public:
  Context(Device& device, unsigned flags, bool primary, unsigned api_version);

  Device& device;
  const bool primary;
  const uint64_t id;
  const unsigned api_version;
  std::atomic<unsigned> flags;
  std::atomic<abi::CUfunc_cache> cache_config{abi::CU_FUNC_CACHE_PREFER_NONE};
  std::map<int, size_t> limits;  // by CUlimit; set once at creation, values under mutex

  // Appends work to a stream (see Work::start), after `also` as well. A faulted context runs nothing more:
  // `body` is skipped then, so bodies need not check.
  WorkPtr enqueue(Stream& stream, Work::Place place, Work::Body body, const std::vector<WorkPtr>& also = {});
  // The same for bodies that run in any case.
  WorkPtr enqueue_even_faulted(Stream& stream, Work::Place place, Work::Body body,
                               const std::vector<WorkPtr>& also = {});
  // Appends several units that the stream sees as one: `make` gets the unit that begins them, returns those
  // that end them, and may release them. Runs under the context's mutex.
  WorkPtr enqueue_whole(Stream& stream, const std::vector<WorkPtr>& also,
                        const std::function<std::vector<WorkPtr>(const WorkPtr& start)>& make);
  // The body as a faulted context runs it: not at all.
  Work::Body unless_faulted(Work::Body body);
  // A marker behind everything issued so far; and one that everything issued later waits for.
  WorkPtr join();
  void gate(const WorkPtr& work);
  // Something the stream still waits for; null when it is idle.
  WorkPtr tail(Stream& stream);
  // Wait for what has been issued so far, to everything or to one stream; they do not throw.
  void synchronize();
  void synchronize(Stream& stream);

  Stream& legacy_stream() { return *legacy_; }
  Stream& per_thread_stream();  // of the calling thread
  std::shared_ptr<Stream> create_stream(unsigned flags, int priority);
  void forget_stream(Stream& stream);  // its work goes on

  // The first fault makes the context unusable: every later call that needs it answers `code`.
  void set_fault(abi::CUresult code, const Fault& fault);
  abi::CUresult fault() const { return fault_.load(std::memory_order_acquire); }
  void check_fault() const;  // throws the Refusal

  std::mutex mutex;  // streams' tails, peers, limits
  std::set<Context*> peers;
  std::atomic<bool> destroyed{false};

 private:
  std::vector<WorkPtr> dependencies(Stream& stream);
  std::vector<WorkPtr> everything() const;

  std::unique_ptr<Stream> legacy_;
  std::map<std::thread::id, std::unique_ptr<Stream>> per_thread_;
  std::set<Stream*> streams_;     // all but the legacy one
  std::vector<WorkPtr> orphans_;  // tails of destroyed blocking and non-blocking streams
  std::atomic<abi::CUresult> fault_{abi::CUDA_SUCCESS};
  std::string fault_report_;  // under mutex
};

}  // namespace ptxops::virt
