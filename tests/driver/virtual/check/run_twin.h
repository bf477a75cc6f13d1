// Runs one variant of a twin: on the engine itself; through the driver where the order of launches is the
// matter.
#pragma once

#include <set>
#include <string>

#include "tests/driver/virtual/check/expression.h"
#include "tests/driver/virtual/check/twin.h"

namespace ptxops::virt::testing {

struct Outcome {
  std::string code;          // of the finding; empty: silent
  std::set<uint32_t> lines;  // that it names
  std::string report;        // its text, or why the kernel could not be loaded or launched
  bool ran = false;
  Buffers before, after;  // the buffers' words, by name
};

// `ptx`: the expanded text. `purpose` selects the random data.
Outcome run_on_engine(const Twin& twin, const std::string& ptx);
Outcome run_on_driver(const Twin& twin, const std::string& ptx);
inline Outcome run_twin(const Twin& twin, const std::string& ptx) {
  return twin.launches.size() == 1 ? run_on_engine(twin, ptx) : run_on_driver(twin, ptx);
}

// What is wrong with the result, or empty.
std::string compare(const Twin& twin, const Outcome& outcome);

// Contents of the buffers before the launch; fresh ones are poison.
inline constexpr uint32_t kPoison = 0xdeadbeef;
Buffers initial_contents(const Twin& twin);
// The parameter block. `address` of each buffer and of each map in global memory, by name.
std::vector<std::byte> parameter_block(const Twin& twin, const std::map<std::string, uint64_t>& address);
// The map with the address of its buffer, sealed.
TensorMap map_at(const Twin::Parameter& map, uint64_t address);

}  // namespace ptxops::virt::testing
