#include <fmt/format.h>

#include "driver/virtual/exec/grid.h"

namespace ptxops::virt {

const char* name(FaultKind kind) {
  switch (kind) {
    case FaultKind::none:
      return "none";
    case FaultKind::illegal_address:
      return "illegal address";
    case FaultKind::misaligned:
      return "misaligned address";
    case FaultKind::never_written:
      return "read of never-written memory";
    case FaultKind::illegal_instruction:
      return "illegal instruction";
    case FaultKind::barrier:
      return "barrier misuse";
    case FaultKind::deadlock:
      return "deadlock";
    case FaultKind::timeout:
      return "timeout";
    case FaultKind::trap:
      return "trap";
    case FaultKind::unsupported:
      return "unsupported";
  }
  return "unknown";
}

Step Warp::fault(const Op& op, int lane, FaultKind kind, const std::string& what) {
  Grid& grid = *cta->cluster->grid;
  const Dim3& block = grid.desc.block;
  std::string text = fmt::format("{}: {}\n  kernel {}, CTA ({},{},{}), warp {}", name(kind), what,
                                 grid.kernel().name, cta->id.x, cta->id.y, cta->id.z, id);
  if (lane >= 0) {
    const uint32_t thread = id * kLanes + static_cast<uint32_t>(lane);
    text += fmt::format(", lane {}, thread ({},{},{})", lane, thread % block.x, thread / block.x % block.y,
                        thread / block.x / block.y);
  }
  text += fmt::format("\n  line {}: {}", op.line, grid.desc.program->source_line(op.line));
  grid.record({kind, std::move(text)});
  return Step::fault;
}

void Grid::record(Fault fault) {
  std::lock_guard lock(fault_mutex_);
  if (fault_.kind == FaultKind::none) fault_ = std::move(fault);
  aborted.store(true, std::memory_order_release);
}

Fault Grid::take_fault() {
  std::lock_guard lock(fault_mutex_);
  return std::move(fault_);
}

}  // namespace ptxops::virt
