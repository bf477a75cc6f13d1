// Where a line of expanded PTX comes from, in words that survive edits elsewhere in the kernel:
//   "wgmma.wait_group.sync.aligned {{pending}}; < wgmma_wait(0) @ fp8_gemm_math:K_BLOCK"
// the template's line, the macro calls that led there, the file and the label before it.
#pragma once

#include <string>
#include <vector>

#include "driver/jit/expander.h"

namespace ptxops::mutants {

// Of line n: element n (0 is empty).
std::vector<std::string> origins(const jit::Expansion& expansion);

}  // namespace ptxops::mutants
