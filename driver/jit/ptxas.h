// PTX -> cubin through NVIDIA's ptxas, run as a process.
#pragma once

#include <chrono>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace ptxops::jit {

class Cache;

struct PtxasOptions {
  // Everything but input and output. -v is always added: the report is read from it.
  std::vector<std::string> flags = {"-arch=sm_90a", "-lineinfo"};
  std::chrono::milliseconds timeout{120'000};
};

// What `ptxas -v` says. Over several functions: maxima, but spills are summed.
struct ResourceUsage {
  int registers = 0;
  int spill_store_bytes = 0;
  int spill_load_bytes = 0;
  int stack_bytes = 0;
  int smem_bytes = 0;  // static
  int barriers = 0;
  // Log lines with a (C7…) code, a warning, or the words "performance" or "advisory".
  std::vector<std::string> advisories;
  bool clean() const { return !spill_store_bytes && !spill_load_bytes && advisories.empty(); }
};
ResourceUsage parse_ptxas_log(std::string_view log);

struct Assembly {
  bool ok = false;      // ptxas accepted the text
  std::string cubin;    // where ok
  std::string log;      // line numbers are the PTX text's
  ResourceUsage usage;  // where ok
  double milliseconds = 0;
};

// ptxas itself failed: cannot start, timed out, was killed.
class ToolError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class Ptxas {
 public:
  explicit Ptxas(std::string path) : path_(std::move(path)) {}
  const std::string& path() const { return path_; }
  // Text of `ptxas --version`: what the tool is, wherever it lies. Asked once for a file (path, size, time),
  // then read from `cache`. Throws ToolError.
  std::string identity(const Cache& cache) const;
  // `name` appears in messages and line tables. Throws ToolError. Safe from many threads.
  Assembly assemble(std::string_view ptx, const std::string& name, const PtxasOptions& options = {}) const;

 private:
  std::string path_;
};

// `status` says where ptxas is, or every place where it is not.
struct PtxasSearch {
  std::optional<Ptxas> tool;
  std::string status;
};
PtxasSearch find_ptxas();

}  // namespace ptxops::jit
