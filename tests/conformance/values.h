// Inputs: edge values of a type, then random bits and random magnitudes.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "driver/virtual/isa/types.h"

namespace ptxops::conformance {

using virt::isa::Type;

using Random = std::mt19937_64;

// Seed of this run: PTXOPS_SEED, else fixed. Print it with every failure.
uint64_t seed();

// Bit patterns worth trying for `type`, zero-extended to 64 bits.
const std::vector<uint64_t>& edges(Type type);

// A random value: half the time any bits, half the time a float of moderate size or a small integer.
uint64_t random_value(Type type, Random& random);

// "0x3f800000 (1)".
std::string show(Type type, uint64_t bits);

}  // namespace ptxops::conformance
