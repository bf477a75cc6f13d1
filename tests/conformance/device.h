// The device under test, through the driver API: the virtual one or a GPU (PTXOPS_DRIVER).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace ptxops::conformance {

inline constexpr uint8_t kPoison = 0xA5;

struct Shape {
  uint32_t grid = 1, block = 32;
  uint32_t cluster = 0;  // CTAs along x; 0: none
  uint32_t dynamic_shared_bytes = 0;
};

// What a kernel's run answered: `fault` is the driver's text, empty on success.
struct Outcome {
  std::string fault;
  std::vector<uint8_t> output;
};

// Loaded PTX text.
class Module {
 public:
  explicit Module(const std::string& ptx, const std::string& name);
  ~Module();

  // Why the driver refused the text; empty when it is loaded.
  const std::string& error() const { return error_; }

  // Uploads `input`, fills `output_bytes` with kPoison, runs `entry(.u64 in, .u64 out, .u32 n)` and
  // downloads. After a fault the device's context is made anew (on a GPU only a new process could): this
  // module is then unusable.
  Outcome run(const std::string& entry, const std::vector<uint8_t>& input, size_t output_bytes, uint32_t n,
              const Shape& shape);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
  std::string error_;
};

// A tiled tensor map of 32-bit unsigned elements without swizzle, encoded by the driver for a placeholder
// address: kernels put the real one in with tensormap.replace. Dimension 0 is contiguous; `stride` in bytes
// for dimensions 1 on.
struct MapShape {
  uint32_t rank = 2;
  uint64_t dim[5] = {1, 1, 1, 1, 1};
  uint64_t stride[4] = {0, 0, 0, 0};
  uint32_t box[5] = {1, 1, 1, 1, 1};
};
std::vector<uint32_t> encode_map(const MapShape& shape);  // 32 words

// Tests that provoke faults run on the virtual device only.
bool device_is_virtual();

// The module head for sm_90a; `version` "8.6".
std::string module_head(const char* version = "8.6");

}  // namespace ptxops::conformance
