// CUDA C++ -> PTX or cubin through NVIDIA's nvrtc, loaded at run time. For on-device oracles and helper
// kernels (the .cu files of ptx/); no kernel of the library's own needs it.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace ptxops::jit {

struct NvrtcOptions {
  bool cubin = false;  // else PTX
  std::string arch = "90a";
  std::vector<std::string> flags = {"--std=c++17", "-lineinfo"};
  // Text that `#include "NAME"` finds: (NAME, text).
  std::vector<std::pair<std::string, std::string>> headers;
};

struct NvrtcResult {
  bool ok = false;
  std::string image;  // where ok: PTX text (without a final NUL) or cubin
  std::string log;
};

// One loaded libnvrtc; stays loaded for the life of the process. Safe from many threads.
class Nvrtc {
 public:
  struct Api;
  explicit Nvrtc(std::shared_ptr<const Api> api) : api_(std::move(api)) {}
  // "nvrtc 13.0 (libnvrtc.so.13.0.88)": what the tool is, wherever it lies.
  const std::string& identity() const;
  // The toolkit's headers are on the include path where they lie beside the library.
  // Throws ToolError (ptxas.h) where nvrtc itself fails, not where the source is wrong.
  NvrtcResult compile(const std::string& source, const std::string& name,
                      const NvrtcOptions& options = {}) const;

 private:
  std::shared_ptr<const Api> api_;
};

// `tool` is null where there is none; `status` then says where it was looked for, or why it cannot be used.
struct NvrtcSearch {
  std::shared_ptr<const Nvrtc> tool;
  std::string status;
};
NvrtcSearch find_nvrtc();

}  // namespace ptxops::jit
