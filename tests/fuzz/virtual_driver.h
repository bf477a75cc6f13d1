// The virtual driver, loaded and initialised once, with two small devices.
#pragma once

#include <cstdlib>

#include "tests/fuzz/target.h"
#include "tests/support/virtual_driver.h"

namespace ptxops::fuzz {

using namespace ptxops::abi;
using Driver = test::VirtualDriver;

inline const Driver& driver() {
  static const Driver loaded = [] {
    setenv("PTXOPS_VIRTUAL_DEVICES", "2", 1);
    setenv("PTXOPS_VIRTUAL_SMS", "8", 1);
    Driver d(PTXOPS_VIRTUAL_DRIVER_FILE);
    FUZZ_CHECK(d.cuInit(0) == CUDA_SUCCESS, d.report());
    return d;
  }();
  return loaded;
}

}  // namespace ptxops::fuzz
