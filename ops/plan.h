// A plan: one op, one shape, one device, one choice of kernels.
#pragma once

#include <atomic>
#include <optional>
#include <string>

#include "driver/client/launch.h"
#include "ops/check.h"
#include "ops/context.h"

struct ptxopsPlan_st {
  explicit ptxopsPlan_st(ptxopsContext_st& c);
  virtual ~ptxopsPlan_st() = default;

  virtual void prepare() = 0;  // idempotent, thread-safe
  virtual size_t workspace_bytes() const { return 0; }
  virtual std::string explain() const = 0;
  virtual const char* op() const = 0;

  ptxopsContext_st& context;
  const uint64_t id;  // unique in the process: key of per-thread caches
};

namespace ptxops::ops {

// Downcast with the checks that every run starts with.
template <class P>
P& expect_plan(ptxopsPlan_t plan) {
  if (!plan) fail(PTXOPS_INVALID_ARGUMENT, "plan: expected a plan, got NULL");
  P* p = dynamic_cast<P*>(plan);
  if (!p) fail(PTXOPS_INVALID_ARGUMENT, "plan: expected a plan of {}, got one of {}", P::kOp, plan->op());
  return *p;
}

ptxopsContext_st& expect_context(ptxopsContext_t context);

// A kernel of a plan, ready to launch. prepare() may run in any thread; ready() is what a run tests.
class PreparedLaunch {
 public:
  void prepare(ptxopsContext_st& context, const std::string& path, const jit::Params& params,
               const driver::LaunchShape& shape);
  bool ready() const { return ready_.load(std::memory_order_acquire); }
  // A copy to run with: launches share nothing between threads.
  driver::Launch launch() const { return *launch_; }
  const LoadedKernel& kernel() const { return *kernel_; }

 private:
  std::optional<driver::Launch> launch_;
  const LoadedKernel* kernel_ = nullptr;
  std::atomic<bool> ready_{false};
};

// For the duration of a run: the plan's context is current.
class CurrentContext {
 public:
  explicit CurrentContext(const ptxopsContext_st& context);
  ~CurrentContext();
  CurrentContext(const CurrentContext&) = delete;

 private:
  const driver::Driver& driver_;
  bool pushed_ = false;
};

// Refuses pointers and streams of another device. Costs driver calls: runs remember what they have seen.
void check_device(const ptxopsContext_st& context, const char* name, ptxopsDevicePtr_t pointer);
void check_stream(const ptxopsContext_st& context, ptxopsStream_t stream);

// Throws unless the launch was queued.
void check_launch(const ptxopsContext_st& context, const char* kernel, abi::CUresult result);

// What this thread last ran a plan with, so that a repeated call skips checks and encoding.
template <class Key, class Value>
class RunCache {
 public:
  struct Entry {
    uint64_t plan = 0;
    Key key{};
    Value value{};
  };
  static Entry& slot(uint64_t plan) {
    thread_local Entry entries[16];
    return entries[plan % 16];
  }
};

}  // namespace ptxops::ops
