#include "driver/client/launch.h"

#include <fmt/core.h>

#include <cstring>

namespace ptxops::driver {

using namespace abi;

Launch::Launch(const Kernel& kernel, const LaunchShape& shape)
    : kernel_(&kernel),
      launch_(kernel.context().driver().api().cuLaunchKernelEx),
      function_(kernel.handle()) {
  set_grid(shape.grid);
  config_.blockDimX = shape.block.x;
  config_.blockDimY = shape.block.y;
  config_.blockDimZ = shape.block.z;
  config_.sharedMemBytes = shape.dynamic_shared_bytes;
  config_.attrs = attributes_;
  auto add = [&](CUlaunchAttributeID id) -> CUlaunchAttributeValue& {
    CUlaunchAttribute& a = attributes_[config_.numAttrs++];
    a.id = id;
    return a.value;
  };
  if (shape.cluster.x != 0)
    add(CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION).clusterDim = {shape.cluster.x, shape.cluster.y,
                                                             shape.cluster.z};
  if (shape.programmatic)
    add(CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION).programmaticStreamSerializationAllowed = 1;
  if (shape.cooperative) add(CU_LAUNCH_ATTRIBUTE_COOPERATIVE).cooperative = 1;
}

Launch::Launch(const Launch& other) {
  *this = other;
}

Launch& Launch::operator=(const Launch& other) {
  kernel_ = other.kernel_;
  launch_ = other.launch_;
  function_ = other.function_;
  config_ = other.config_;
  std::memcpy(attributes_, other.attributes_, sizeof attributes_);
  config_.attrs = attributes_;
  return *this;
}

int Launch::max_active_clusters() const {
  const Context& context = kernel_->context();
  const Context::Guard guard(context);
  int clusters = 0;
  context.driver().check(context.driver().api().cuOccupancyMaxActiveClusters(&clusters, function_, &config_),
                         "cuOccupancyMaxActiveClusters");
  return clusters;
}

void Launch::fail(CUresult result) const {
  std::string cluster;
  for (unsigned i = 0; i < config_.numAttrs; ++i)
    if (attributes_[i].id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION) {
      const auto& d = attributes_[i].value.clusterDim;
      cluster = fmt::format(", cluster {}x{}x{}", d.x, d.y, d.z);
    }
  kernel_->context().driver().fail(
      result,
      fmt::format("cuLaunchKernelEx({}, grid {}x{}x{}, block {}x{}x{}{}, {} bytes of dynamic shared memory)",
                  kernel_->entry(), config_.gridDimX, config_.gridDimY, config_.gridDimZ, config_.blockDimX,
                  config_.blockDimY, config_.blockDimZ, cluster, config_.sharedMemBytes));
}

}  // namespace ptxops::driver
