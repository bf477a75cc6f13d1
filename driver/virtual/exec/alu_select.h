// One list of SIMD targets for all ALU files: AVX-512, AVX2 and the baseline. Include before
// foreach_target.h.
#pragma once

#include <hwy/detect_targets.h>

#undef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
