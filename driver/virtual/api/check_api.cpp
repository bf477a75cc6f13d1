// The checker's switches by call, beside the environment's.
#include <optional>
#include <string_view>

#include "driver/virtual/api/launch.h"

namespace ptxops::virt {
namespace {

thread_local std::optional<CheckLevel> t_level;
thread_local std::optional<uint64_t> t_seed;

}  // namespace

void apply_thread_checks(LaunchDesc& desc) {
  if (t_level) desc.check = *t_level;
  if (t_seed) desc.seed = *t_seed;
}

}  // namespace ptxops::virt

// Level ("off", "bounds", "full"; null: the environment's) and schedule seed of the launches that the calling
// thread makes from now on. CUDA_ERROR_INVALID_VALUE for another level.
extern "C" __attribute__((visibility("default"))) int ptxopsVirtualSetCheck(const char* level,
                                                                            unsigned long long seed) {
  using namespace ptxops::virt;
  if (!level) {
    t_level.reset();
    t_seed.reset();
    return ptxops::abi::CUDA_SUCCESS;
  }
  const std::string_view name = level;
  if (name != "off" && name != "bounds" && name != "full") {
    set_last_report(
        fmt::format("ptxopsVirtualSetCheck: level: expected off, bounds or full, got \"{}\"", name));
    return ptxops::abi::CUDA_ERROR_INVALID_VALUE;
  }
  t_level = name == "off" ? CheckLevel::off : name == "bounds" ? CheckLevel::bounds : CheckLevel::full;
  t_seed = seed;
  return ptxops::abi::CUDA_SUCCESS;
}
