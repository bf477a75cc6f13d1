// Where ptxas and nvrtc may be. Neither is needed to build or to run the library.
#pragma once

#include <string>
#include <vector>

namespace ptxops::jit {

struct ToolPath {
  std::string path;                 // empty: not found
  std::vector<std::string> looked;  // every place tried, in order
  // "ptxas: not found; looked in …", or "ptxas: /usr/local/cuda/bin/ptxas".
  std::string status(const std::string& tool) const;
};

// ptxas, in this order: PTXOPS_PTXAS (then nothing else is tried; an unusable path means absent), PATH,
// $CUDA_HOME/bin, /usr/local/cuda/bin, and the pip wheels of $VIRTUAL_ENV
// (lib/python*/site-packages/nvidia/*/bin).
ToolPath find_ptxas_path();
// libnvrtc.so*, in this order: PTXOPS_NVRTC, $CUDA_HOME/lib64, /usr/local/cuda/lib64, the pip wheels of
// $VIRTUAL_ENV (nvidia/*/lib), LD_LIBRARY_PATH, and beside a CUDA toolkit whose ptxas or nvcc is on PATH.
ToolPath find_nvrtc_path();

}  // namespace ptxops::jit
