// Operand forms: the second column of the instruction table, compiled. See README.md for the notation.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "driver/virtual/isa/types.h"

namespace ptxops::virt::isa {

struct OperandSpec {
  enum class Kind : uint8_t {
    value,         // register, immediate, and by flags vector, pair, sink, symbol
    immediate,     // integer constant from `allowed` or [min, max]
    address,       // [base + offset]
    tensor,        // [tensorMap, {coordinates}]
    label,         // of bra
    branch_table,  // of brx.idx
    barrier,       // named barrier: register or 0..15
    threads,       // register or a multiple of the warp size
    size_or_pred,  // cp.async: source size (u32) or ignore-src (pred)
    pointer,       // register of 32 or 64 bits (isspacep)
    mov,
    call,
    wgmma  // whole forms with rules of their own, see validate.cpp
  };
  // Which type the value has.
  enum class TypeFrom : uint8_t { fixed, token, wide };
  // How many elements it has.
  enum class Length : uint8_t { one, by_vec, by_num, fixed };

  Kind kind = Kind::value;
  TypeFrom type_from = TypeFrom::fixed;
  Length length = Length::one;
  uint8_t type_index = 0;                    // TypeFrom::token
  uint8_t elements = 1;                      // Length::fixed
  Type type = Type::none;                    // TypeFrom::fixed
  bool dest = false;                         // '=': written; register
  bool sink = false;                         // '=_': the result may be discarded with _
  bool pair = false;                         // d|p allowed
  bool pair_required = false;                // d|p and nothing else
  bool reg_only = false;                     // '%'
  bool negatable = false;                    // '!'
  bool wider = false;                        // ':wider': register may be wider than the type
  bool symbol = false;                       // ':symbol': address of a variable
  bool optional = false;                     // '?'
  bool space_from_token = false;             // [s]
  Space space = Space::generic;              // address: fixed space
  std::string_view condition;                // '@modifier': present exactly when the modifier is
  int64_t min = INT64_MIN, max = INT64_MAX;  // immediate
  std::vector<int64_t> allowed;              // immediate; empty = the range
};

// Throws std::logic_error on a malformed form: the table is ours, so that is a defect of the build.
std::vector<OperandSpec> compile_form(std::string_view form);

}  // namespace ptxops::virt::isa
