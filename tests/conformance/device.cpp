#include "tests/conformance/device.h"

#include <algorithm>
#include <cstring>

#include "driver/client/context.h"
#include "driver/client/launch.h"
#include "driver/client/memory.h"
#include "driver/client/module.h"
#include "driver/client/tensor_map.h"

namespace ptxops::conformance {
namespace {

std::unique_ptr<driver::Context>& context() {
  static auto instance = std::make_unique<driver::Context>(driver::Driver::get(), 0);
  return instance;
}

}  // namespace

struct Module::Impl {
  std::unique_ptr<driver::Library> library;
};

bool device_is_virtual() {
  return driver::Driver::get().is_virtual();
}

Module::Module(const std::string& ptx, const std::string& name) : impl_(std::make_unique<Impl>()) {
  try {
    driver::Context::Guard guard(*context());
    impl_->library = std::make_unique<driver::Library>(*context(), ptx, name);
  } catch (const driver::Error& error) {
    error_ = std::string(error.what()) + "\n" + error.log();
  }
}

Module::~Module() = default;

Outcome Module::run(const std::string& entry, const std::vector<uint8_t>& input, size_t output_bytes,
                    uint32_t n, const Shape& shape) {
  Outcome outcome;
  if (!impl_->library) {
    outcome.fault = error_.empty() ? "the module was lost to an earlier fault" : error_;
    return outcome;
  }
  try {
    driver::Context::Guard guard(*context());
    const driver::Kernel kernel(*impl_->library, entry);
    if (shape.dynamic_shared_bytes > 48 * 1024)
      kernel.set_max_dynamic_shared_bytes(static_cast<int>(shape.dynamic_shared_bytes));
    const driver::DeviceBuffer in(*context(), input.size()), out(*context(), output_bytes);
    if (!input.empty()) in.upload(input.data(), input.size());
    out.fill(kPoison);
    driver::LaunchShape launch_shape;
    launch_shape.grid = {shape.grid, 1, 1};
    launch_shape.block = {shape.block, 1, 1};
    if (shape.cluster) launch_shape.cluster = {shape.cluster, 1, 1};
    launch_shape.dynamic_shared_bytes = shape.dynamic_shared_bytes;
    driver::Launch launch(kernel, launch_shape);
    launch(nullptr, in.address(), out.address(), n);
    context()->synchronize();
    outcome.output.resize(output_bytes);
    out.download(outcome.output.data(), output_bytes);
  } catch (const driver::Error& error) {
    outcome.fault = std::string(error.what()) + "\n" + error.log();
    try {
      context()->synchronize();
    } catch (const driver::Error&) {
      impl_->library.reset();
      context().reset();
      context() = std::make_unique<driver::Context>(driver::Driver::get(), 0);
    }
  }
  return outcome;
}

std::vector<uint32_t> encode_map(const MapShape& shape) {
  static const auto& placeholder = *new driver::DeviceBuffer(*context(), 1 << 20);  // outlives every context
  driver::TiledTensor tensor;
  tensor.type = abi::CU_TENSOR_MAP_DATA_TYPE_UINT32;
  tensor.rank = shape.rank;
  tensor.address = placeholder.address();
  std::copy(shape.dim, shape.dim + 5, tensor.dim);
  std::copy(shape.stride, shape.stride + 4, tensor.stride);
  std::copy(shape.box, shape.box + 5, tensor.box);
  const abi::CUtensorMap map = driver::encode_tiled(driver::Driver::get(), tensor);
  static_assert(sizeof map == 128);
  std::vector<uint32_t> words(32);
  std::memcpy(words.data(), &map, sizeof map);
  return words;
}

std::string module_head(const char* version) {
  return std::string(".version ") + version + "\n.target sm_90a\n.address_size 64\n";
}

}  // namespace ptxops::conformance
