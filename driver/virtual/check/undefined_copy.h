// Undefined bytes in what the engines do: copies between memories, and products of tiles in shared memory.
#pragma once

#include <cstdint>

namespace ptxops::virt {

struct Op;
struct Warp;

// Did the sources that this instruction resolved hold bytes that count as not written? Asks once.
bool met_undefined(Warp& w);
// What counts as not written in [from, from + bytes) does so where a copy puts it.
void undefined_copy(Warp& w, const Op& op, const std::byte* from, std::byte* to, uint32_t bytes);
// A reduction adds [from, from + bytes) to memory: false after a finding, where a byte counts as not written.
bool undefined_reduction(Warp& w, const Op& op, int lane, const std::byte* from, uint32_t bytes);
// Behind the store of a register's value for one lane: its undefined bytes count as not written.
void undefined_register_store(Warp& w, const Op& op, const std::byte* slot, int lane, std::byte* to,
                              uint32_t bytes);
// Is every missing byte in [offset, offset + bytes) of the warp's shared memory one that a copy brought?
bool missing_by_copy(Warp& w, uint32_t offset, uint32_t bytes);

}  // namespace ptxops::virt
