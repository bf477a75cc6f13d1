// The time model: from what clusters counted to modelled seconds. Uncalibrated; every number that comes from
// here is labelled "modelled" wherever it is shown.
#pragma once

#include <cstdint>

namespace ptxops::virt {

struct Cluster;
struct Grid;

inline constexpr const char* kTimeModelVersion = "1 (uncalibrated)";
inline constexpr double kClockHz = 1.755e9;  // mixed load on H800 SXM
inline constexpr double kDramBytesPerSecond = 0.93 * 3.35e12;
inline constexpr double kL2BytesPerSecond = 5.5e12;
inline constexpr double kLaunchSeconds = 2.5e-6;  // back-to-back kernels in a stream

// Cycles that a finished cluster occupied its SMs: its slowest warp, or the fullest issue port.
uint64_t cluster_cycles(const Cluster& cluster);

// The grid's clusters placed in order on the SM slots as they become free, bounded below by DRAM and L2
// traffic.
double modelled_seconds(const Grid& grid);

}  // namespace ptxops::virt
