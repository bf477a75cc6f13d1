#include "driver/virtual/api/module.h"

#include <chrono>

#include "driver/virtual/api/runtime.h"
#include "driver/virtual/isa/ir.h"

namespace ptxops::virt {

using namespace abi;

std::shared_ptr<LoadedModule> load_module(const std::shared_ptr<Context>& context, const std::string& text,
                                          JitOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  auto fail = [&](CUresult code, const std::string& log) {
    options.write_error_log(log);
    throw Refusal{code, log};
  };
  isa::Module parsed;
  std::vector<isa::Diagnostic> diagnostics;
  if (isa::parse(text, parsed, diagnostics) != isa::Result::ok)
    fail(CUDA_ERROR_INVALID_PTX, isa::render(diagnostics));
  std::string log;
  std::shared_ptr<Program> program =
      Program::load(std::move(parsed), Runtime::get().memory(), context->device.ordinal, log);
  if (!program) fail(CUDA_ERROR_INVALID_PTX, log);

  auto module = std::make_shared<LoadedModule>();
  module->context = context;
  module->program = program;
  std::string info = log;
  for (const auto& kernel : program->kernels()) {
    auto function = std::make_shared<Function>();
    function->module = module;
    function->program = program;
    function->kernel = kernel.get();
    function->settings.max_dynamic_shared =
        static_cast<int>(kernel->static_smem < kSharedPerBlock ? kSharedPerBlock - kernel->static_smem : 0);
    module->functions.push_back(std::move(function));
    info += fmt::format(
        "virtual device: entry {}: {} registers assumed, {} bytes of shared memory, {} bytes of "
        "parameters\n",
        kernel->name, kernel->registers, kernel->static_smem, kernel->param_bytes);
  }
  options.write_error_log("");
  options.write_info_log(info);
  options.write_wall_time(
      std::chrono::duration<float, std::milli>(std::chrono::steady_clock::now() - start).count());
  return module;
}

std::shared_ptr<Function> function_of(LibraryKernel& kernel, const std::shared_ptr<Context>& context) {
  LoadedLibrary& library = *kernel.library;
  std::lock_guard lock(library.mutex);
  auto& module = library.modules[context.get()];
  if (!module) {
    JitOptions none(0, nullptr, nullptr);
    module = load_module(context, library.text, none);
    module->library = &library;
    Runtime& runtime = Runtime::get();
    runtime.modules.add(module);
    for (const auto& function : module->functions) runtime.functions.add(function);
  }
  return module->functions.at(kernel.index);
}

std::shared_ptr<Function> resolve_function(CUfunction handle) {
  Runtime& runtime = Runtime::get();
  if (auto function = runtime.functions.find(handle)) return function;
  if (auto kernel = runtime.kernels.find(handle)) return function_of(*kernel, current_context());
  refuse(CUDA_ERROR_INVALID_HANDLE, "{} is not a function", static_cast<void*>(handle));
}

int function_attribute(Function& f, CUfunction_attribute attribute) {
  const Kernel& k = *f.kernel;
  const isa::Function& ptx = *k.code->function;
  std::lock_guard lock(f.mutex);
  const int* required = f.settings.required_cluster;
  auto cluster = [&](int axis, uint32_t directive) {
    return k.reqnctapercluster.present() ? static_cast<int>(directive) : required[axis];
  };
  switch (attribute) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
      return static_cast<int>(k.max_threads);
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
      return static_cast<int>(k.static_smem);
    case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES: {
      uint64_t bytes = 0;
      for (const isa::Variable& v : f.program->module().variables)
        if (v.space == isa::Space::const_) bytes += v.size;
      return static_cast<int>(bytes);
    }
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
      return static_cast<int>(k.local_bytes);
    case CU_FUNC_ATTRIBUTE_NUM_REGS:
      return static_cast<int>(k.registers);
    case CU_FUNC_ATTRIBUTE_PTX_VERSION:
      return f.program->module().target;
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION:
      return 90;
    case CU_FUNC_ATTRIBUTE_CACHE_MODE_CA:
      return 0;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
      return f.settings.max_dynamic_shared;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
      return f.settings.carveout;
    case CU_FUNC_ATTRIBUTE_CLUSTER_SIZE_MUST_BE_SET:
      return ptx.explicitcluster ? 1 : 0;
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH:
      return cluster(0, k.reqnctapercluster.x);
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_HEIGHT:
      return cluster(1, k.reqnctapercluster.y);
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_DEPTH:
      return cluster(2, k.reqnctapercluster.z);
    case CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED:
      return f.settings.non_portable_cluster ? 1 : 0;
    case CU_FUNC_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
      return f.settings.scheduling_policy;
  }
  refuse(CUDA_ERROR_INVALID_VALUE, "unknown function attribute {}", static_cast<int>(attribute));
}

void set_function_attribute(Function& f, CUfunction_attribute attribute, int value) {
  const Kernel& k = *f.kernel;
  std::lock_guard lock(f.mutex);
  switch (attribute) {
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: {
      const int limit = static_cast<int>(kSharedPerBlockOptin) - static_cast<int>(k.static_smem);
      if (value < 0 || value > limit)
        refuse(CUDA_ERROR_INVALID_VALUE,
               "dynamic shared memory of kernel {}: expected 0..{} bytes ({} less {} static), got {}", k.name,
               limit, kSharedPerBlockOptin, k.static_smem, value);
      f.settings.max_dynamic_shared = value;
      return;
    }
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
      if (value < -1 || value > 100)
        refuse(CUDA_ERROR_INVALID_VALUE, "shared memory carveout: expected -1..100 percent, got {}", value);
      f.settings.carveout = value;
      return;
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH:
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_HEIGHT:
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_DEPTH:
      if (k.reqnctapercluster.present())
        refuse(CUDA_ERROR_NOT_PERMITTED, "kernel {} has its cluster size from .reqnctapercluster", k.name);
      if (value < 0 || value > static_cast<int>(kMaxCluster))
        refuse(CUDA_ERROR_INVALID_VALUE, "required cluster size: expected 0..{}, got {}", kMaxCluster, value);
      f.settings.required_cluster[attribute - CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH] = value;
      return;
    case CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED:
      if (value != 0 && value != 1)
        refuse(CUDA_ERROR_INVALID_VALUE, "non-portable cluster size allowed: expected 0 or 1, got {}", value);
      f.settings.non_portable_cluster = value == 1;
      return;
    case CU_FUNC_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
      if (value < CU_CLUSTER_SCHEDULING_POLICY_DEFAULT || value > CU_CLUSTER_SCHEDULING_POLICY_LOAD_BALANCING)
        refuse(CUDA_ERROR_INVALID_VALUE, "cluster scheduling policy: expected 0..2, got {}", value);
      f.settings.scheduling_policy = value;
      return;
    default:
      refuse(CUDA_ERROR_INVALID_VALUE, "function attribute {} cannot be set", static_cast<int>(attribute));
  }
}

}  // namespace ptxops::virt
