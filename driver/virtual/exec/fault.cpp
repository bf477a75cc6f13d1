#include <fmt/format.h>

#include "driver/virtual/exec/grid.h"

namespace ptxops::virt {

FaultKind kind_of(Diagnostic id) {
  using enum Diagnostic;
  switch (id) {
    case X1:
    case X6:
    case A2:
    case C6:
    case C7:
      return FaultKind::illegal_address;
    case X2:
      return FaultKind::misaligned;
    case M6:
    case W8:
      return FaultKind::never_written;
    case X3:
    case W7:
    case A1:
    case A6:
      return FaultKind::illegal_instruction;
    case X4:
    case B4:
      return FaultKind::deadlock;
    case X5:
      return FaultKind::timeout;
    case X7:
      return FaultKind::trap;
    case X9:
      return FaultKind::assertion;
    case X8:
      return FaultKind::unsupported;
    case W6:
    case B1:
    case B2:
    case B3:
    case B5:
    case B6:
    case B6P:
    case B7:
    case B7P:
    case B10:
    case C1:
    case C2:
    case C3:
    case C4:
    case C13:
    case C5:
    case C8:
      return FaultKind::barrier;
    default:
      return FaultKind::race;
  }
}

Fault::Fault(Finding f) : kind(kind_of(f.id)), id(f.id), finding(std::move(f)), text(to_text(finding)) {}

Site site_of(const Warp& w, const Op& op, int lane, std::string action, std::string_view proxy) {
  const Grid& grid = *w.cta->cluster->grid;
  Site s;
  s.cta = {w.cta->id.x, w.cta->id.y, w.cta->id.z};
  s.warp = static_cast<int>(w.id);
  s.lane = lane;
  grid.desc.program->show_line(s, op.line);
  s.action = std::move(action);
  s.proxy = proxy;
  if (lane >= 0) {
    const Dim3& block = grid.desc.block;
    const uint32_t thread = w.id * kLanes + static_cast<uint32_t>(lane);
    s.thread =
        fmt::format("({},{},{})", thread % block.x, thread / block.x % block.y, thread / block.x / block.y);
  }
  return s;
}

Step Warp::fault(const Op& op, int lane, Diagnostic id, const std::string& what) {
  Grid& grid = *cta->cluster->grid;
  Finding f;
  f.id = id;
  f.kernel = grid.kernel().name;
  f.what = what;
  f.sites[0] = site_of(*this, op, lane, "executes", "");
  f.site_count = 1;
  grid.record(Fault(std::move(f)));
  return Step::fault;
}

void Grid::report(Diagnostic id, std::string what) {
  Finding f;
  f.id = id;
  f.kernel = kernel().name;
  f.what = std::move(what);
  record(Fault(std::move(f)));
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
