#include "driver/virtual/exec/lane_check.h"

#include <algorithm>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "driver/virtual/exec/lane_check.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4)
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace ptxops::virt {
namespace HWY_NAMESPACE {

// Plain loops: the compiler vectorises them for the target of this pass.
bool check(const uint64_t* HWY_RESTRICT base, uint32_t lanes, uint32_t size, const LaneCheck& c,
           LaneAccess& out) {
  alignas(64) uint64_t address[kLanes];
  uint64_t bad = 0, scatter = 0, low = ~uint64_t{0}, high = 0;
  const uint64_t first = base[0] + c.displacement;
  for (uint32_t i = 0; i < kLanes; ++i) {
    const uint64_t a = base[i] + c.displacement;
    address[i] = a + c.to_host;
    const uint64_t fails = (a - c.low > c.limit ? ~uint64_t{0} : uint64_t{0}) | (a & c.alignment_mask);
    const uint64_t active = uint64_t{0} - (lanes >> i & 1);
    bad |= fails & active;
    low = std::min(low, address[i] | ~active);
    high = std::max(high, address[i] & active);
    scatter |= (a - first) ^ (uint64_t{i} * size);
  }
  std::memcpy(out.host, address, sizeof address);
  out.contiguous = scatter == 0 && lanes == kAllLanes;
  out.low = reinterpret_cast<const std::byte*>(low);
  out.span = high - low + size;
  return bad == 0;
}

}  // namespace HWY_NAMESPACE
}  // namespace ptxops::virt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ptxops::virt {
HWY_EXPORT(check);

bool check_lanes(const uint64_t* base, uint32_t lanes, uint32_t size, const LaneCheck& c, LaneAccess& out) {
  static const auto best = &HWY_DYNAMIC_DISPATCH(check);
  return best(base, lanes, size, c, out);
}
}  // namespace ptxops::virt
#endif
