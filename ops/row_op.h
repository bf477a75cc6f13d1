// What the ops that launch one kernel over rows have in common.
#pragma once

#include "ops/plan.h"

namespace ptxops::ops {

class RowOpPlan : public ptxopsPlan_st {
 public:
  RowOpPlan(ptxopsContext_st& context, std::string path, jit::Params params, driver::Dim3 grid,
            uint32_t threads)
      : ptxopsPlan_st(context), path_(std::move(path)), params_(std::move(params)) {
    shape_.grid = grid;
    shape_.block.x = threads;
    shape_.programmatic = true;
  }

  void prepare() override { launch_.prepare(context, path_, params_, shape_); }
  std::string explain() const override {
    std::string text = fmt::format("{}: {}, grid ({},{},{}) of {} threads", op(), path_, shape_.grid.x,
                                   shape_.grid.y, shape_.grid.z, shape_.block.x);
    for (const auto& [name, value] : params_) text += fmt::format(", {} = {}", name, value);
    return text + "\n";
  }

 protected:
  bool empty() const { return shape_.grid.x == 0 || shape_.grid.y == 0; }

  // The start of every run: prepared? then, unless this thread's last call was the same, the checks.
  template <class Args, class Check>
  void check_once(const Args& args, ptxopsStream_t stream, const Check& check) const {
    if (!launch_.ready())
      fail(PTXOPS_NOT_PREPARED, "plan: expected a prepared plan; call ptxopsPlanPrepare first");
    struct Call {
      Args args;
      ptxopsStream_t stream;
    };
    struct Nothing {};
    Call call;
    std::memset(static_cast<void*>(&call), 0, sizeof call);
    call.args = args, call.stream = stream;
    remember_run<Nothing>(id, call, [&](Nothing&) {
      const CurrentContext current(context);
      check();
      check_stream(context, stream);
    });
  }
  void check_tensor(const char* name, ptxopsDevicePtr_t p, uint64_t alignment = 16) const {
    check_pointer(name, p, alignment);
    check_device(context, name, p);
  }
  void check_optional(const char* name, ptxopsDevicePtr_t p, uint64_t alignment) const {
    if (p) check_tensor(name, p, alignment);
  }

  // Parameters in the kernel's order; their types must be the kernel's.
  template <class... Values>
  void launch(ptxopsStream_t stream, const Values&... values) const {
    if (empty()) return;
    const CurrentContext current(context);
    void* parameters[] = {const_cast<void*>(static_cast<const void*>(&values))...};
    check_launch(context, op(),
                 launch_.launch().try_run(reinterpret_cast<abi::CUstream>(stream), parameters));
  }

 private:
  std::string path_;
  jit::Params params_;
  driver::LaunchShape shape_;
  PreparedLaunch launch_;
};

// The body of ptxopsXRun.
template <class Plan, class Args>
ptxopsStatus_t run_plan(ptxopsPlan_t plan, const Args* args, const Args& defaults, ptxopsStream_t stream) {
  return guarded([&] { expect_plan<Plan>(plan).run(read_struct("args", args, defaults), stream); });
}

}  // namespace ptxops::ops
