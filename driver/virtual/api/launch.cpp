#include "driver/virtual/api/launch.h"

#include <algorithm>
#include <cstring>

#include "driver/virtual/isa/ir.h"

namespace ptxops::virt {

using namespace abi;

namespace {

std::string text(const Dim3& d) {
  return fmt::format("{}x{}x{}", d.x, d.y, d.z);
}

void check_block(const Kernel& k, const Dim3& block) {
  if (block.x == 0 || block.y == 0 || block.z == 0)
    refuse(CUDA_ERROR_INVALID_VALUE, "block {}: no dimension may be 0", text(block));
  if (block.x > 1024 || block.y > 1024 || block.z > 64)
    refuse(CUDA_ERROR_INVALID_VALUE, "block {}: the limits are 1024x1024x64", text(block));
  if (block.count() > kMaxThreadsPerBlock)
    refuse(CUDA_ERROR_INVALID_VALUE, "block {}: expected at most {} threads, got {}", text(block),
           kMaxThreadsPerBlock, block.count());
  if (k.reqntid.present() && (block.x != k.reqntid.x || block.y != k.reqntid.y || block.z != k.reqntid.z))
    refuse(CUDA_ERROR_INVALID_VALUE, "block {}: kernel {} requires {}x{}x{} (.reqntid)", text(block), k.name,
           k.reqntid.x, k.reqntid.y, k.reqntid.z);
  if (block.count() > k.max_threads)
    refuse(CUDA_ERROR_INVALID_VALUE, "block {}: kernel {} allows at most {} threads (.maxntid), got {}",
           text(block), k.name, k.max_threads, block.count());
}

void check_shared(const Kernel& k, const FunctionSettings& settings, uint32_t dynamic) {
  if (uint64_t{k.static_smem} + dynamic > kSharedPerBlockOptin)
    refuse(CUDA_ERROR_INVALID_VALUE, "shared memory of kernel {}: {} static and {} dynamic bytes exceed {}",
           k.name, k.static_smem, dynamic, kSharedPerBlockOptin);
  if (dynamic > static_cast<uint32_t>(settings.max_dynamic_shared))
    refuse(CUDA_ERROR_INVALID_VALUE,
           "dynamic shared memory of kernel {}: {} bytes asked, {} allowed; raise "
           "CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES first",
           k.name, dynamic, settings.max_dynamic_shared);
}

// The cluster of a launch: the directive, the attribute, or the function's required size.
Dim3 decide_cluster(const Kernel& k, const FunctionSettings& settings, const LaunchRequest& request,
                    bool& is_explicit) {
  const isa::Function& ptx = *k.code->function;
  Dim3 asked = request.cluster;
  if (asked.x == 0 && settings.required_cluster[0] > 0)
    asked = {static_cast<uint32_t>(settings.required_cluster[0]),
             std::max<uint32_t>(1, static_cast<uint32_t>(settings.required_cluster[1])),
             std::max<uint32_t>(1, static_cast<uint32_t>(settings.required_cluster[2]))};
  is_explicit = asked.x != 0 || k.reqnctapercluster.present();
  if (k.reqnctapercluster.present()) {
    const Dim3 required{k.reqnctapercluster.x, k.reqnctapercluster.y, k.reqnctapercluster.z};
    if (asked.x != 0 && (asked.x != required.x || asked.y != required.y || asked.z != required.z))
      refuse(CUDA_ERROR_INVALID_CLUSTER_SIZE, "cluster {}: kernel {} requires {} (.reqnctapercluster)",
             text(asked), k.name, text(required));
    asked = required;
  }
  if (!is_explicit) {
    if (ptx.explicitcluster)
      refuse(CUDA_ERROR_INVALID_CLUSTER_SIZE,
             "kernel {} must be launched with a cluster size (.explicitcluster)", k.name);
    return {1, 1, 1};
  }
  if (asked.y == 0 || asked.z == 0)
    refuse(CUDA_ERROR_INVALID_CLUSTER_SIZE, "cluster {}: no dimension may be 0", text(asked));
  const uint64_t size = asked.count();
  const uint32_t limit = settings.non_portable_cluster ? kMaxCluster : kMaxPortableCluster;
  if (size > limit)
    refuse(CUDA_ERROR_INVALID_CLUSTER_SIZE, "cluster {} of {} blocks: expected at most {}{}", text(asked),
           size, limit,
           settings.non_portable_cluster ? ""
                                         : " (16 with CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED)");
  if (ptx.maxclusterrank && size > ptx.maxclusterrank)
    refuse(CUDA_ERROR_INVALID_CLUSTER_SIZE,
           "cluster {} of {} blocks: kernel {} allows at most {} (.maxclusterrank)", text(asked), size,
           k.name, ptx.maxclusterrank);
  if (request.grid.x % asked.x || request.grid.y % asked.y || request.grid.z % asked.z)
    refuse(CUDA_ERROR_INVALID_CLUSTER_SIZE, "grid {} is not a multiple of cluster {}", text(request.grid),
           text(asked));
  return asked;
}

CUresult code_of(FaultKind kind) {
  switch (kind) {
    case FaultKind::none:
      return CUDA_SUCCESS;
    case FaultKind::illegal_address:
      return CUDA_ERROR_ILLEGAL_ADDRESS;
    case FaultKind::misaligned:
      return CUDA_ERROR_MISALIGNED_ADDRESS;
    case FaultKind::illegal_instruction:
      return CUDA_ERROR_ILLEGAL_INSTRUCTION;
    case FaultKind::deadlock:
    case FaultKind::timeout:
      return CUDA_ERROR_LAUNCH_TIMEOUT;
    case FaultKind::assertion:
      return CUDA_ERROR_ASSERT;
    case FaultKind::unsupported:
      return CUDA_ERROR_NOT_SUPPORTED;
    case FaultKind::never_written:
    case FaultKind::barrier:
    case FaultKind::race:
    case FaultKind::trap:
      return CUDA_ERROR_LAUNCH_FAILED;
  }
  return CUDA_ERROR_UNKNOWN;
}

// The parameter block: from an array of pointers to the values, or one buffer given in `extra`.
std::vector<std::byte> parameter_block(const Kernel& k, void** values, void** extra) {
  const isa::Function& ptx = *k.code->function;
  std::vector<std::byte> block(k.param_bytes);
  if (values && extra) refuse(CUDA_ERROR_INVALID_VALUE, "kernelParams and extra must not both be given");
  if (extra) {
    const void* buffer = nullptr;
    size_t size = 0;
    bool sized = false;
    for (size_t i = 0; extra[i] != nullptr; i += 2) {
      const uintptr_t key = reinterpret_cast<uintptr_t>(extra[i]);
      if (key == kLaunchParamBufferPointer) {
        buffer = extra[i + 1];
      } else if (key == kLaunchParamBufferSize) {
        size = *static_cast<const size_t*>(not_null(extra[i + 1], "parameter buffer size"));
        sized = true;
      } else {
        refuse(CUDA_ERROR_INVALID_VALUE, "extra[{}]: expected 0 (end), 1 (buffer) or 2 (size), got {}", i,
               key);
      }
    }
    // A C struct of the parameters may be padded at its end.
    const size_t most = (block.size() + 127) / 128 * 128;
    if (!buffer || !sized || size < block.size() || size > most)
      refuse(CUDA_ERROR_INVALID_VALUE, "parameter buffer of kernel {}: expected {} bytes, got {}{}", k.name,
             block.size(), size, buffer ? "" : " and no pointer");
    // Not memcpy: without parameters, neither need be anywhere.
    std::copy_n(static_cast<const std::byte*>(buffer), block.size(), block.data());
    return block;
  }
  if (!values && !ptx.params.empty())
    refuse(CUDA_ERROR_INVALID_VALUE, "kernel {} has {} parameters, none were given", k.name,
           ptx.params.size());
  for (size_t i = 0; i < ptx.params.size(); ++i) {
    if (!values[i])
      refuse(CUDA_ERROR_INVALID_VALUE, "kernelParams[{}] of kernel {} must not be null", i, k.name);
    std::memcpy(block.data() + ptx.params[i]->offset, values[i], ptx.params[i]->size);
  }
  return block;
}

}  // namespace

LaunchRequest decode_launch(const CUlaunchConfig& c) {
  LaunchRequest r;
  r.grid = {c.gridDimX, c.gridDimY, c.gridDimZ};
  r.block = {c.blockDimX, c.blockDimY, c.blockDimZ};
  r.dynamic_shared = c.sharedMemBytes;
  if (c.numAttrs > 0) not_null(c.attrs, "attrs");
  for (unsigned i = 0; i < c.numAttrs; ++i) {
    const CUlaunchAttributeValue& v = c.attrs[i].value;
    switch (c.attrs[i].id) {
      case CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION:
        r.cluster = {v.clusterDim.x, v.clusterDim.y, v.clusterDim.z};
        if (r.cluster.count() == 0)
          refuse(CUDA_ERROR_INVALID_CLUSTER_SIZE, "cluster {}: no dimension may be 0", text(r.cluster));
        break;
      case CU_LAUNCH_ATTRIBUTE_COOPERATIVE:
        r.cooperative = v.cooperative != 0;
        break;
      // The next kernel may start early but need not: here it starts when the previous one has ended, so that
      // griddepcontrol.wait never waits.
      case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION:
        r.programmatic = v.programmaticStreamSerializationAllowed != 0;
        break;
      // Hints on caches, clusters' placement and order, which no result depends on.
      case CU_LAUNCH_ATTRIBUTE_IGNORE:
      case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW:
      case CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY:
      case CU_LAUNCH_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
      case CU_LAUNCH_ATTRIBUTE_PRIORITY:
      case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP:
      case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN:
      case CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
      case CU_LAUNCH_ATTRIBUTE_NVLINK_UTIL_CENTRIC_SCHEDULING:
        break;
      case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_EVENT:
      case CU_LAUNCH_ATTRIBUTE_LAUNCH_COMPLETION_EVENT:
      case CU_LAUNCH_ATTRIBUTE_DEVICE_UPDATABLE_KERNEL_NODE:
      case CU_LAUNCH_ATTRIBUTE_PREFERRED_CLUSTER_DIMENSION:
        refuse(CUDA_ERROR_NOT_SUPPORTED, "launch attribute {} is not implemented by the virtual device",
               static_cast<int>(c.attrs[i].id));
      default:
        refuse(CUDA_ERROR_INVALID_VALUE, "unknown launch attribute {}", static_cast<int>(c.attrs[i].id));
    }
  }
  return r;
}

LaunchDesc check_launch(Function& function, const LaunchRequest& request, const Device& device) {
  const Kernel& k = *function.kernel;
  FunctionSettings settings;
  {
    std::lock_guard lock(function.mutex);
    settings = function.settings;
  }
  const Dim3& grid = request.grid;
  if (grid.x == 0 || grid.y == 0 || grid.z == 0)
    refuse(CUDA_ERROR_INVALID_VALUE, "grid {}: no dimension may be 0", text(grid));
  if (grid.x > 2147483647u || grid.y > 65535 || grid.z > 65535)
    refuse(CUDA_ERROR_INVALID_VALUE, "grid {}: the limits are 2147483647x65535x65535", text(grid));
  check_block(k, request.block);
  check_shared(k, settings, request.dynamic_shared);

  LaunchDesc desc;
  desc.program = function.program.get();
  desc.kernel = &k;
  desc.memory = &Runtime::get().memory();
  desc.device = device.ordinal;
  desc.sm_count = static_cast<uint32_t>(device.profile.sm_count);
  desc.grid = grid;
  desc.block = request.block;
  desc.cluster = decide_cluster(k, settings, request, desc.explicit_cluster);
  desc.dynamic_smem = request.dynamic_shared;
  apply_thread_checks(desc);

  const uint32_t threads = static_cast<uint32_t>(request.block.count());
  const uint32_t per_sm = Engine::ctas_per_sm(k, threads, request.dynamic_shared);
  if (per_sm == 0)
    refuse(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
           "kernel {}: {} threads with {} registers each and {} bytes of shared memory do not fit on a "
           "multiprocessor "
           "({} registers, {} bytes)",
           k.name, threads, k.registers, k.static_smem + request.dynamic_shared, kRegistersPerSm,
           kSharedPerSm);
  const uint32_t cluster_size = static_cast<uint32_t>(desc.cluster.count());
  const uint32_t clusters = max_active_clusters(device.profile, cluster_size, per_sm);
  if (clusters == 0)
    refuse(CUDA_ERROR_INVALID_CLUSTER_SIZE, "no cluster of {} blocks of kernel {} fits on the device",
           cluster_size, k.name);
  desc.cooperative = request.cooperative;
  if (request.cooperative && grid.count() > uint64_t{clusters} * cluster_size)
    refuse(CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE,
           "cooperative grid {} of {} blocks: at most {} are resident at once", text(grid), grid.count(),
           uint64_t{clusters} * cluster_size);
  return desc;
}

std::shared_ptr<Context> context_of(const Function& function) {
  const auto module = function.module.lock();
  const auto context = module ? module->context.lock() : nullptr;
  if (!context)
    refuse(CUDA_ERROR_INVALID_HANDLE, "kernel {}: its module or context is gone", function.kernel->name);
  return context;
}

KernelLaunch make_launch(const std::shared_ptr<Function>& function, const LaunchRequest& request,
                         void** values, void** extra) {
  KernelLaunch l{function, request, check_launch(*function, request, context_of(*function)->device)};
  l.desc.params = parameter_block(*function->kernel, values, extra);
  // The engine's own conditions, should they ever be narrower than check_launch.
  if (const std::string why = Engine::refuse(l.desc); !why.empty())
    refuse(CUDA_ERROR_INVALID_VALUE, "{}", why);
  return l;
}

void run(Work& work, KernelLaunch&& launch, const std::shared_ptr<Context>& context) {
  // The callback keeps code and context alive until the grid has ended, and lets go of the code before
  // anybody can know.
  auto program = launch.function->program;
  launch.function = nullptr;
  Engine::get().submit(std::move(launch.desc), [self = work.shared_from_this(), context,
                                                program = std::move(program)](const LaunchResult& r) mutable {
    if (r.fault.kind != FaultKind::none) context->set_fault(code_of(r.fault.kind), r.fault);
    program = nullptr;
    self->finish(r.modelled_seconds);
  });
}

uint32_t max_active_clusters(const Profile& profile, uint32_t ctas_per_cluster, uint32_t ctas_per_sm) {
  uint32_t clusters = 0;
  for (int sms : profile.gpc_sms) clusters += static_cast<uint32_t>(sms) * ctas_per_sm / ctas_per_cluster;
  return clusters;
}

}  // namespace ptxops::virt
