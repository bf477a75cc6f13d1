// A kernel and its parameter values -> something the driver loads.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

#include "driver/jit/cache.h"
#include "driver/jit/expander.h"
#include "driver/jit/ptxas.h"

namespace ptxops::jit {

enum class Want {
  kCubin,  // assembled where ptxas is found, else PTX alone (Built::status says so)
  kPtx,    // no tool is looked for
};

struct BuildOptions {
  Want want = Want::kCubin;
  PtxasOptions ptxas;
  const Cache* cache = nullptr;  // nullptr: default_cache()
};

struct Built {
  std::string kernel;  // name of the .entry
  std::string ptx;
  std::string cubin;  // empty: load the PTX
  std::map<std::string, int64_t, std::less<>> notes;
  LineMap lines;
  std::string log;      // of ptxas, citing template lines
  ResourceUsage usage;  // all zero without cubin
  bool from_cache = false;
  std::string status;  // worth telling once: why there is no cubin, why the cache does not hold; else empty

  // What to load. PTX is followed by a NUL (std::string guarantees it), as module loading wants.
  std::string_view image() const { return cubin.empty() ? ptx : cubin; }
};

// ptxas refused the PTX; what() holds its log with template lines.
class BuildError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Throws TemplateError (text), BuildError (ptxas refused) or ToolError (ptxas broke). Thread-safe.
// Cubins go through the cache; PTX alone does not: expanding is faster than reading a file.
Built build(const std::string& path, const Params& params, const BuildOptions& options = {});

}  // namespace ptxops::jit
