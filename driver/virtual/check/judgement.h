// One access in judgement: what it may follow, and the finding when it may not.
#pragma once

#include "driver/virtual/check/checker.h"

namespace ptxops::virt {

struct Judgement : Touch {
  Judgement(Checker& checker, Warp& w, const Op& op, const Record& own, bool shared)
      : checker(checker), w(w), op(op), own(own), shared(shared) {
    writes = own.kind != AccessKind::load;
  }

  bool ordered(const Record& r, uint32_t lane, int my_lane, bool exact, Holds& holds) override;

  // Records the finding of this touch's conflict, with `where` naming the place. Pedantic rules that are off
  // are no conflicts in the first place.
  bool report(const History& history, const std::string& where);

  enum class Why : uint8_t { unordered, no_fence, non_coherent, stale_map };

  Checker& checker;
  Warp& w;
  const Op& op;
  const Record& own;  // must outlive the judgement
  bool shared;
  bool one_lane = false;  // the whole access is by one lane
  // Of a weak st: its values, where they go, and whose they are.
  const StoredValues* stored = nullptr;
  const LaneAccess* at = nullptr;
  uint32_t lanes = 0;
  Why why = Why::unordered;

 private:
  bool compatible(const Record& r) const;
  bool repeats(const Record& r) const;
  Diagnostic diagnose(const Record& r, uint32_t lane) const;
};

// "reads 4 bytes of shared memory at 0x400 of CTA rank 0"
std::string action_of(const Record& r, const std::string& where);

}  // namespace ptxops::virt
