// A plan: one op, one shape, one device, one choice of kernels.
#pragma once

#include <atomic>
#include <cstring>
#include <optional>
#include <string>

#include "driver/client/launch.h"
#include "ops/check.h"
#include "ops/context.h"

struct ptxopsPlan_st {
  explicit ptxopsPlan_st(ptxopsContext_st& c);
  virtual ~ptxopsPlan_st();

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

// What this thread last ran a plan with: `make` checks the call and returns what it needs beside its
// arguments. A repeated call, equal to the bit, skips that. `Call` is a struct of the arguments, zeroed
// before they were set.
template <class Value, class Call, class Make>
Value& remember_run(uint64_t plan, const Call& call, const Make& make) {
  struct Entry {
    uint64_t plan = 0;
    Call call{};
    Value value{};
  };
  thread_local Entry entries[16];
  Entry& last = entries[plan % 16];
  if (last.plan != plan || std::memcmp(&last.call, &call, sizeof call) != 0) {
    last.plan = 0;
    make(last.value);
    std::memcpy(static_cast<void*>(&last.call), &call, sizeof call);
    last.plan = plan;
  }
  return last.value;
}

// The arguments of a run with a workspace. The padding counts: it is zero.
template <class Args>
struct WorkspaceCall {
  WorkspaceCall(const Args& a, ptxopsDevicePtr_t w, size_t n, ptxopsStream_t s) {
    std::memset(static_cast<void*>(this), 0, sizeof *this);
    args = a, workspace = w, bytes = n, stream = s;
  }
  WorkspaceCall() = default;
  Args args;
  ptxopsDevicePtr_t workspace;
  size_t bytes;
  ptxopsStream_t stream;
};
void check_workspace(const ptxopsContext_st& context, ptxopsDevicePtr_t workspace, size_t bytes,
                     size_t needed);

inline uint32_t u32(int64_t value) {
  return static_cast<uint32_t>(value);
}

// The body of ptxopsXPlanCreate.
template <class Plan, class Complete>
ptxopsStatus_t create_plan(ptxopsContext_t context, ptxopsPlan_t* plan, const Complete& complete_desc) {
  return guarded([&] {
    if (!plan) fail(PTXOPS_INVALID_ARGUMENT, "plan: expected a pointer to write to, got NULL");
    *plan = nullptr;
    ptxopsContext_st& c = expect_context(context);
    *plan = new Plan(c, complete_desc());
  });
}

}  // namespace ptxops::ops
