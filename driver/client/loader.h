// Opens one driver library and resolves the client's entry points. Used by driver.cpp.
#pragma once

#include <string>

#include "driver/client/api.h"

namespace ptxops::driver {

struct Loaded {
  void* library = nullptr;  // dlopen handle; never closed (a driver does not survive being unloaded)
  std::string path;         // of the file that was mapped
  int version = 0;          // as cuDriverGetVersion
  Api api;
  abi::Fn_ptxopsVirtualVersion virtual_version = nullptr;  // null: not the virtual driver
  abi::Fn_ptxopsVirtualLastReport last_report = nullptr;
};

// Opens `name` (a path, or a soname to search for), resolves the table and calls cuInit. Throws Error.
Loaded load_driver(const std::string& name);

// The virtual device's last report; empty without one.
std::string report_of(abi::Fn_ptxopsVirtualLastReport last_report);

// Path of the virtual driver: PTXOPS_VIRTUAL_DRIVER, else beside this code: lib/virtual/libcuda.so.1 in the
// folder of the library or program that holds it, or a folder above. Throws Error naming the places that were
// tried.
std::string find_virtual_driver();

}  // namespace ptxops::driver
