#include "driver/client/context.h"

namespace ptxops::driver {

using namespace abi;

Context::Context(const Driver& driver, int ordinal) : driver_(&driver), ordinal_(ordinal) {
  driver.check(driver.api().cuDeviceGet(&device_, ordinal), "cuDeviceGet");
  driver.check(driver.api().cuDevicePrimaryCtxRetain(&handle_, device_), "cuDevicePrimaryCtxRetain");
}

Context::~Context() {
  // At process exit the driver may already be gone (CUDA_ERROR_DEINITIALIZED): nothing is left to release
  // then.
  if (handle_) driver_->api().cuDevicePrimaryCtxRelease(device_);
}

Context::Guard::Guard(const Context& context) : driver_(context.driver()) {
  driver_.check(driver_.api().cuCtxPushCurrent(context.handle()), "cuCtxPushCurrent");
}

Context::Guard::~Guard() {
  CUcontext popped = nullptr;
  driver_.api().cuCtxPopCurrent(&popped);
}

void Context::synchronize() const {
  const Guard guard(*this);
  driver_->check(driver_->api().cuCtxSynchronize(), "cuCtxSynchronize");
}

}  // namespace ptxops::driver
