// The dispatcher: units of work that start when everything they depend on is finished. Streams and events are
// chains of them. Knows nothing about kernels: a unit runs a function that must lead to finish().
#pragma once

#include <functional>
#include <memory>
#include <vector>

namespace ptxops::virt {

class Work;
using WorkPtr = std::shared_ptr<Work>;

class Work : public std::enable_shared_from_this<Work> {
 public:
  enum class Place {
    inline_,  // run where the last dependency finished: must be short and must not block
    thread,   // run on a thread of the dispatcher's pool: copies, host functions, anything that may block
  };
  using Body = std::function<void(Work&)>;

  // Creates a unit that starts once `after` (null entries ignored) are finished and release() has been
  // called. `body` may be empty: the unit finishes at once. Otherwise it, or what it starts, calls finish()
  // exactly once. A body that throws has started nothing that would: its unit is finished, what waits for it
  // runs, and an inline body's exception comes out of the call that started it, release() or finish(). On a
  // thread of the pool nobody could catch it: the process ends.
  static WorkPtr create(Place place, Body body, const std::vector<WorkPtr>& after);
  // Separate from create() because an inline body may run within this call: hold no lock that bodies need.
  void release();

  // Marks the unit finished `seconds` of modelled time after it began, and starts what waited for it.
  void finish(double seconds);

  bool finished() const;
  void wait() const;  // blocks the calling thread

  // Modelled device time, seconds since the process began to use the device; end() only once finished.
  double begin() const;
  double end() const;

 private:
  Work() = default;
  void launch();
  void run();

  Place place_ = Place::inline_;
  Body body_;
  // Under the dispatcher's lock.
  int missing_ = 1;  // dependencies and the release
  bool finished_ = false;
  double begin_ = 0, end_ = 0;
  std::vector<WorkPtr> next_;
};

}  // namespace ptxops::virt
