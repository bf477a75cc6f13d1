#include "driver/virtual/exec/alu_rounding.h"

#include <cfenv>

namespace ptxops::virt::alu {
namespace {

// The call is indirect, so no arithmetic moves across the changes of mode.
Step rounded(Warp& w, const Op& op, uint32_t lanes) {
  std::fesetround(static_cast<int>(op.f));
  const Step step = reinterpret_cast<Handler>(op.imm)(w, op, lanes);
  std::fesetround(FE_TONEAREST);
  return step;
}

}  // namespace

void set_rounding(Op& op, std::string_view token) {
  if (token.empty() || token == "rn") return;
  op.imm = reinterpret_cast<uint64_t>(op.fn);
  op.f = static_cast<uint32_t>(token == "rz" ? FE_TOWARDZERO : token == "rm" ? FE_DOWNWARD : FE_UPWARD);
  op.fn = rounded;
}

}  // namespace ptxops::virt::alu
