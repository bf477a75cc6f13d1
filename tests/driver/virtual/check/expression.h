// The right-hand sides of `//! expect`: integers modulo 2^64, of which the buffer's word takes the low 32
// bits.
//
//   i, numbers, + - * / % & | ^ << >> < (0 or 1), parentheses
//   BUFFER[EXPRESSION]         a 32-bit word of the buffer's initial contents
//   sum(N, EXPRESSION)         over j = 0..N-1
//   mma(BUFFER, R [, B [, A]]) word R of the fragments of m64n8k32.s32.s8.s8: A (64 rows) at byte A (0),
//                              B (8 rows) at byte B (2048), both in core matrices of 8 rows x 16 bytes,
//                              two side by side (strides 128 and 256)
//   dot(A, ROW, B, COLUMN, K)  sum of K products of s8, rows of K bytes: A[ROW] and B[COLUMN]
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace ptxops::virt::testing {

using Buffers = std::map<std::string, std::vector<uint32_t>>;

// Throws std::runtime_error where it cannot be read.
uint32_t evaluate(const std::string& expression, const Buffers& buffers, uint64_t i);

}  // namespace ptxops::virt::testing
