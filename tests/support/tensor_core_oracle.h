// Tensor-core oracle: the published rule (align to the largest exponent, truncate, sum, round once), one
// element at a time in plain double arithmetic in which every step is exact. Shares no code with the virtual
// device.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ptxops::test {

struct DotSpec {
  std::string a = "f16", b = "f16", d = "f32";  // PTX type names; d: f32, f16 or s32
  bool negate_a = false, negate_b = false;
  bool satfinite = false;  // s32 only
};

// One output. a, b: K element bit patterns, zero-extended (b1: one bit each); c and the result: bits of type
// d. use_c false leaves c out altogether.
std::uint32_t tensor_core_dot(const DotSpec& spec, const std::vector<std::uint32_t>& a,
                              const std::vector<std::uint32_t>& b, std::uint32_t c, bool use_c);

// Value of an element's bit pattern (tf32: the low 13 bits are dropped), exact.
double element_value(const std::string& type, std::uint32_t bits);

}  // namespace ptxops::test
