// Function pointer types of every implemented entry of functions.def, named after the exported symbol:
// Fn_cuMemAlloc_v2 is CUresult (*)(CUdeviceptr*, size_t).
#pragma once

#include "driver/abi/types.h"

namespace ptxops::abi {

#define PTXOPS_FN(name, symbol, version, streams, client, params, args) \
  using Fn_##symbol = CUresult(*) params;
#define PTXOPS_NO(name, symbol, version, streams)
#include "driver/abi/functions.def"
#undef PTXOPS_FN
#undef PTXOPS_NO

// The interface version both sides are written against, as cuDriverGetVersion reports it.
inline constexpr int kCudaVersion = 13000;

// Extensions that only the virtual driver exports; a client finds them with dlsym.
inline constexpr const char* kVirtualVersionSymbol = "ptxopsVirtualVersion";        // int()
inline constexpr const char* kVirtualLastReportSymbol = "ptxopsVirtualLastReport";  // size_t(char*, size_t)
using Fn_ptxopsVirtualVersion = int (*)();
// Copies the text of the last fault report, launch refusal or unsupported call of the process, NUL-terminated
// and cut to `size`; returns the full length without the NUL.
using Fn_ptxopsVirtualLastReport = size_t (*)(char* text, size_t size);
// The same for the last fault of a kernel, as one line of JSON (driver/virtual/check/diagnostic.h).
inline constexpr const char* kVirtualLastFindingSymbol = "ptxopsVirtualLastFinding";
// int(level, seed): "off", "bounds", "full" or null for the environment's; of the calling thread's later
// launches.
inline constexpr const char* kVirtualSetCheckSymbol = "ptxopsVirtualSetCheck";
using Fn_ptxopsVirtualSetCheck = int (*)(const char* level, unsigned long long seed);
using Fn_ptxopsVirtualLastFinding = size_t (*)(char* text, size_t size);

}  // namespace ptxops::abi
