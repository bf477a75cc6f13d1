// The executor's side of the instruction table: which decode function serves which row.
#pragma once

#include "driver/virtual/exec/decode.h"
#include "driver/virtual/isa/table.h"

namespace ptxops::virt {

class FunctionDecoder;

// nullptr: no chapter defines the row's decode function.
DecodeFunction decode_function(isa::Id id);

// Pseudo-instructions (control.cpp): the meeting point of separated lanes, and the end of a function's text.
void emit_join(FunctionDecoder& decoder, uint32_t line);
void emit_end(FunctionDecoder& decoder, uint32_t line);

}  // namespace ptxops::virt
