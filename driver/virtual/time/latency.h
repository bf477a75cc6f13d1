// Modelled latencies and rates of an H800, in cycles; 32-byte sectors. Values are published measurements
// where there are any; those marked (assumed) are not, and wait for calibration.
#pragma once

#include <cstdint>

namespace ptxops::virt::latency {

inline constexpr uint32_t kShared = 29;          // ld.shared
inline constexpr uint32_t kSharedRemote = 200;   // ld.shared::cluster of another CTA
inline constexpr uint32_t kClusterOneWay = 100;  // store or arrive to another CTA (assumed)
inline constexpr uint32_t kMatrixExtra = 4;      // ldmatrix over ld.shared (assumed)
inline constexpr uint32_t kConstant = 33;        // constant and parameter loads that miss nothing (assumed)
inline constexpr uint32_t kLocal = 33;           // local memory stays in L1
inline constexpr uint32_t kL2 = 265;             // hit in the near partition
inline constexpr uint32_t kL2Far = 150;          // more for the far partition
inline constexpr uint32_t kDram = 640;

inline constexpr uint32_t kTma = 105;           // TMA over a load of the same place, mbarrier wait included
inline constexpr uint32_t kTmaDescriptor = 60;  // tensor copies: fetching the descriptor
inline constexpr uint32_t kTmaDimension = 100;  // each dimension beyond the first
inline constexpr uint32_t kTmaBytesPerCycle = 64, kTmaCyclesPerRow = 2;

inline constexpr uint32_t kTensorDrain = 20;  // end of a wgmma to its registers being readable (assumed)
inline constexpr uint32_t kSharedBytesPerCycle = 128;

}  // namespace ptxops::virt::latency
