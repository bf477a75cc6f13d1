#include "driver/virtual/api/context.h"

namespace ptxops::virt {

using namespace abi;

WorkPtr Event::last_recorded() {
  std::lock_guard lock(mutex_);
  return recorded_;
}

void Event::set_recorded(WorkPtr work) {
  std::lock_guard lock(mutex_);
  recorded_ = std::move(work);
}

namespace {

uint64_t next_id() {
  static std::atomic<uint64_t> id{1};
  return id++;
}

}  // namespace

Context::Context(Device& device, unsigned flags, bool primary, unsigned api_version)
    : device(device), primary(primary), id(next_id()), api_version(api_version), flags(flags) {
  limits = {{CU_LIMIT_STACK_SIZE, 1024},
            {CU_LIMIT_PRINTF_FIFO_SIZE, 1 << 20},
            {CU_LIMIT_MALLOC_HEAP_SIZE, 8 << 20},
            {CU_LIMIT_DEV_RUNTIME_SYNC_DEPTH, 2},
            {CU_LIMIT_DEV_RUNTIME_PENDING_LAUNCH_COUNT, 2048},
            {CU_LIMIT_MAX_L2_FETCH_GRANULARITY, 64},
            {CU_LIMIT_PERSISTING_L2_CACHE_SIZE, 0}};
  legacy_ = std::make_unique<Stream>();
  legacy_->context = this;
  legacy_->legacy = true;
  legacy_->id = next_id();
}

std::vector<WorkPtr> Context::dependencies(Stream& stream) {
  std::vector<WorkPtr> after{stream.tail};
  if (stream.legacy) {
    for (Stream* s : streams_)
      if (s->blocking()) after.push_back(s->tail);
    after.insert(after.end(), orphans_.begin(), orphans_.end());
  } else if (stream.blocking()) {
    after.push_back(legacy_->tail);
  }
  return after;
}

Work::Body Context::unless_faulted(Work::Body body) {
  if (!body) return body;
  return [self = shared_from_this(), body = std::move(body)](Work& work) mutable {
    if (self->fault() != CUDA_SUCCESS) {
      body = nullptr;  // before anybody can know: a launch lets go of its module, as one that runs does
      work.finish(0);
    } else {
      body(work);
    }
  };
}

WorkPtr Context::enqueue(Stream& stream, Work::Place place, Work::Body body,
                         const std::vector<WorkPtr>& also) {
  return enqueue_even_faulted(stream, place, unless_faulted(std::move(body)), also);
}

WorkPtr Context::enqueue_even_faulted(Stream& stream, Work::Place place, Work::Body body,
                                      const std::vector<WorkPtr>& also) {
  WorkPtr work;
  {
    std::lock_guard lock(mutex);
    std::erase_if(orphans_, [](const WorkPtr& w) { return w->finished(); });
    std::vector<WorkPtr> after = dependencies(stream);
    after.insert(after.end(), also.begin(), also.end());
    work = Work::create(place, std::move(body), after);
    stream.tail = work;
  }
  work->release();
  return work;
}

WorkPtr Context::enqueue_whole(Stream& stream, const std::vector<WorkPtr>& also,
                               const std::function<std::vector<WorkPtr>(const WorkPtr&)>& make) {
  WorkPtr start, end;
  {
    std::lock_guard lock(mutex);
    std::vector<WorkPtr> after = dependencies(stream);
    after.insert(after.end(), also.begin(), also.end());
    start = Work::create(Work::Place::inline_, {}, after);
    std::vector<WorkPtr> last = make(start);
    last.push_back(start);
    stream.tail = end = Work::create(Work::Place::inline_, {}, last);
  }
  end->release();
  start->release();
  return end;
}

std::vector<WorkPtr> Context::everything() const {
  std::vector<WorkPtr> all = orphans_;
  all.push_back(legacy_->tail);
  for (Stream* s : streams_) all.push_back(s->tail);
  return all;
}

WorkPtr Context::join() {
  WorkPtr work;
  {
    std::lock_guard lock(mutex);
    work = Work::create(Work::Place::inline_, {}, everything());
  }
  work->release();
  return work;
}

void Context::gate(const WorkPtr& work) {
  std::vector<WorkPtr> markers;
  {
    std::lock_guard lock(mutex);
    auto hold = [&](Stream& s) {
      markers.push_back(s.tail = Work::create(Work::Place::inline_, {}, {s.tail, work}));
    };
    hold(*legacy_);
    for (Stream* s : streams_) hold(*s);
  }
  for (const WorkPtr& w : markers) w->release();
}

WorkPtr Context::tail(Stream& stream) {
  std::lock_guard lock(mutex);
  // The legacy stream is idle when all that it synchronises with is.
  for (const WorkPtr& w : dependencies(stream))
    if (w && !w->finished()) return w;
  return nullptr;
}

void Context::synchronize() {
  std::vector<WorkPtr> all;
  {
    std::lock_guard lock(mutex);
    all = everything();
  }
  for (const WorkPtr& w : all)
    if (w) w->wait();
}

void Context::synchronize(Stream& stream) {
  std::vector<WorkPtr> all;
  {
    std::lock_guard lock(mutex);
    all = dependencies(stream);
  }
  for (const WorkPtr& w : all)
    if (w) w->wait();
}

std::shared_ptr<Stream> Context::create_stream(unsigned stream_flags, int priority) {
  auto stream = std::make_shared<Stream>();
  stream->context = this;
  stream->flags = stream_flags;
  stream->priority = priority;
  stream->id = next_id();
  std::lock_guard lock(mutex);
  streams_.insert(stream.get());
  return stream;
}

Stream& Context::per_thread_stream() {
  std::lock_guard lock(mutex);
  auto& stream = per_thread_[std::this_thread::get_id()];
  if (!stream) {
    stream = std::make_unique<Stream>();
    stream->context = this;
    stream->id = next_id();
    streams_.insert(stream.get());
  }
  return *stream;
}

void Context::forget_stream(Stream& stream) {
  std::lock_guard lock(mutex);
  if (streams_.erase(&stream) && stream.tail) orphans_.push_back(stream.tail);
}

void Context::set_fault(CUresult code, const Fault& f) {
  {
    std::lock_guard lock(mutex);
    if (fault() != CUDA_SUCCESS) return;
    fault_report_ = f.text;
    fault_.store(code, std::memory_order_release);
  }
  publish_fault(f.text, to_json(f.finding));
}

void Context::check_fault() const {
  const CUresult code = fault();
  if (code == CUDA_SUCCESS) return;
  std::string report;
  {
    std::lock_guard lock(const_cast<std::mutex&>(mutex));
    report = fault_report_;
  }
  throw Refusal{code, report};
}

}  // namespace ptxops::virt
