// mbarrier objects: state, the transitions that every arrival or delivery goes through, and what each wait
// needs.
//
// The architecture keeps the layout of the 8 bytes opaque. Here they are an image of the state held beside
// the CTA (MbarrierInfo): each operation compares the two, so an ordinary store or a copy over a live object
// is noticed.
#pragma once

#include <cstdint>
#include <string>

#include "driver/virtual/exec/machine.h"

namespace ptxops::virt {

inline constexpr uint32_t kMbarrierCountMax = (1u << 20) - 1;  // pending and expected arrivals: 1 .. this
inline constexpr int32_t kMbarrierTxMax = (1 << 20) - 1;       // tx-count: -this .. this

// Modelled cycles, uncalibrated (no published Hopper numbers).
inline constexpr uint32_t kMbarrierArriveLatency = 20;   // arrival to its effect, own CTA
inline constexpr uint32_t kMbarrierRemoteLatency = 100;  // the same through the cluster network
inline constexpr uint32_t kMbarrierTestLatency = 39;     // test of a phase that completed before
inline constexpr uint32_t kMbarrierWakeLatency = 20;     // completion to the waiter running again

// ---- The object, pure
// -----------------------------------------------------------------------------------------
enum class MbarrierError : uint8_t { none, too_many_arrivals, tx_range, completes, drop_overflow };

// The 8 bytes: bits 0-19 pending, 20-39 expected, 40-60 tx-count (two's complement), 61-63 phase mod 8.
uint64_t mbarrier_image(const MbarrierState& state);
// What arrive returns: bits 0-19 pending, 20-63 phase, both before the arrival.
uint64_t mbarrier_token(const MbarrierState& state);
inline uint32_t mbarrier_token_pending(uint64_t token) {
  return static_cast<uint32_t>(token & kMbarrierCountMax);
}
inline uint64_t mbarrier_token_phase(uint64_t token) {
  return token >> 20;
}

// Transitions; on an error the state is unchanged. `completed`: the phase advanced. `no_complete` refuses
// that.
MbarrierError mbarrier_apply_arrive(MbarrierState& s, uint32_t count, bool drop, bool no_complete,
                                    bool& completed);
MbarrierError mbarrier_apply_tx(MbarrierState& s, int64_t bytes, bool& completed);

// Has the phase with this parity completed? The one before the current is the one asked about when parities
// differ.
inline bool mbarrier_parity_done(const MbarrierState& s, uint32_t parity) {
  return (s.phase & 1) != (parity & 1);
}

// ---- The object in a CTA
// ----------------------------------------------------------------------------------------- All of these
// record a fault through `issuer` and return false (nullptr) on misuse. `lane` -1: an asynchronous agent.
// `clock` is the modelled time at which the effect reaches the barrier; waiters of a completed phase are
// woken.

bool mbarrier_init(Warp& issuer, const Op& op, int lane, uint32_t offset, uint32_t count);
bool mbarrier_inval(Warp& issuer, const Op& op, int lane, uint32_t offset);

// The live object at `offset` of `target`'s shared memory, after checking alignment, range, life and image.
MbarrierInfo* mbarrier_at(Warp& issuer, const Op& op, int lane, Cta& target, uint32_t offset);

struct MbarrierArrival {
  uint32_t count = 1;
  bool drop = false;         // arrive_drop: also lowers the expected count of later phases
  bool no_complete = false;  // .noComplete
  bool relaxed = false;      // publishes nothing
  bool by_copies =
      false;  // cp.async.mbarrier.arrive: on behalf of the thread's cp.async up to number `copies`
  uint32_t copies = 0;
};
bool mbarrier_arrive(Warp& issuer, const Op& op, int lane, Cta& target, uint32_t offset,
                     const MbarrierArrival& arrival, uint64_t clock, uint64_t* token = nullptr);

// cp.async.mbarrier.arrive without .noinc: pending grows by one now and falls again when the copies have
// landed.
bool mbarrier_add_pending(Warp& issuer, const Op& op, int lane, Cta& target, uint32_t offset);

bool mbarrier_expect_tx(Warp& issuer, const Op& op, int lane, Cta& target, uint32_t offset, uint32_t bytes,
                        uint64_t clock);

// A copy that will signal this barrier was issued. Completing a phase while announced bytes are undelivered
// is a fault: the expect_tx is too small or comes after the completing arrival.
bool mbarrier_copy_issued(Warp& issuer, const Op& op, int lane, Cta& target, uint32_t offset, uint32_t bytes);

// A copy landed (or mbarrier.complete_tx with `announced` false): `bytes` fewer outstanding.
bool mbarrier_complete_tx(Warp& issuer, const Op& op, Cta& target, uint32_t offset, uint32_t bytes,
                          uint64_t clock, bool announced = false);

// "mbarrier 0x408 of CTA rank 0: phase 3, pending 1 of 2, tx +4096 bytes outstanding".
std::string mbarrier_text(const Cta& cta, uint32_t offset);

}  // namespace ptxops::virt
