#include "driver/virtual/api/work.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>

namespace ptxops::virt {
namespace {

// One lock for all units: graphs are small and transitions are short. Leaked, because threads outlive main().
struct Dispatcher {
  std::mutex mutex;
  std::condition_variable finished;

  // Threads for bodies that may block, created when none is idle: a blocked one never holds up another.
  std::condition_variable posted;
  std::deque<WorkPtr> queue;
  int idle = 0;
};
Dispatcher& dispatcher() {
  static Dispatcher* d = new Dispatcher;
  return *d;
}

constexpr auto kIdleLife = std::chrono::seconds(5);

}  // namespace

WorkPtr Work::create(Place place, Body body, const std::vector<WorkPtr>& after) {
  WorkPtr work(new Work);
  work->place_ = place;
  work->body_ = std::move(body);
  std::lock_guard lock(dispatcher().mutex);
  for (const WorkPtr& w : after) {
    if (!w) continue;
    if (w->finished_) {
      work->begin_ = std::max(work->begin_, w->end_);
    } else {
      w->next_.push_back(work);
      ++work->missing_;
    }
  }
  return work;
}

void Work::release() {
  {
    std::lock_guard lock(dispatcher().mutex);
    if (--missing_ > 0) return;
  }
  launch();
}

void Work::launch() {
  if (place_ == Place::thread && body_) {
    Dispatcher& d = dispatcher();
    std::unique_lock lock(d.mutex);
    d.queue.push_back(shared_from_this());
    if (d.idle >= static_cast<int>(d.queue.size())) {
      d.posted.notify_one();
      return;
    }
    std::thread([&d] {
      std::unique_lock lock(d.mutex);
      while (true) {
        ++d.idle;
        const bool found = d.posted.wait_for(lock, kIdleLife, [&] { return !d.queue.empty(); });
        --d.idle;
        if (!found) return;
        WorkPtr work = std::move(d.queue.front());
        d.queue.pop_front();
        lock.unlock();
        work->run();
        work.reset();
        lock.lock();
      }
    }).detach();
    return;
  }
  // Inline bodies may finish at once and so start their successors: a list instead of recursion, since a
  // stream of markers can be long.
  thread_local std::deque<WorkPtr>* pending = nullptr;
  if (pending) {
    pending->push_back(shared_from_this());
    return;
  }
  std::deque<WorkPtr> list{shared_from_this()};
  pending = &list;
  std::exception_ptr error;
  while (!list.empty()) {
    const WorkPtr work = std::move(list.front());
    list.pop_front();
    try {
      work->run();
    } catch (...) {
      if (!error) error = std::current_exception();
    }
  }
  pending = nullptr;
  if (error) std::rethrow_exception(error);
}

// The body goes with its run: what it holds (its context, say) may hold this unit, as the last one of a
// stream.
void Work::run() {
  const Body body = std::move(body_);
  if (!body) {
    finish(0);
    return;
  }
  try {
    body(*this);
  } catch (...) {
    if (!finished()) finish(0);
    throw;
  }
}

void Work::finish(double seconds) {
  const WorkPtr self = shared_from_this();
  std::vector<WorkPtr> ready;
  {
    std::lock_guard lock(dispatcher().mutex);
    end_ = begin_ + seconds;
    finished_ = true;
    for (const WorkPtr& w : next_) {
      w->begin_ = std::max(w->begin_, end_);
      if (--w->missing_ == 0) ready.push_back(w);
    }
    next_.clear();
  }
  dispatcher().finished.notify_all();
  for (const WorkPtr& w : ready) w->launch();
}

bool Work::finished() const {
  std::lock_guard lock(dispatcher().mutex);
  return finished_;
}

void Work::wait() const {
  std::unique_lock lock(dispatcher().mutex);
  dispatcher().finished.wait(lock, [&] { return finished_; });
}

double Work::begin() const {
  std::lock_guard lock(dispatcher().mutex);
  return begin_;
}

double Work::end() const {
  std::lock_guard lock(dispatcher().mutex);
  return end_;
}

}  // namespace ptxops::virt
