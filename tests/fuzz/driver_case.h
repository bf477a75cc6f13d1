// One type for each function: a function that needs more than its arguments' types has a CASE.
#pragma once

#include "tests/fuzz/driver_arguments.h"

namespace ptxops::fuzz {

#define PTXOPS_FN(name, symbol, version, streams, client, params, args) \
  struct Is_##symbol {};
#define PTXOPS_NO(name, symbol, version, streams)
#include "driver/abi/functions.def"
#undef PTXOPS_FN
#undef PTXOPS_NO

template <class Tag, class Function>
void make_call(Tag, Function function, Pool& pool) {
  call_by_types(function, pool);
}
#define CASE(symbol) inline void make_call(Is_##symbol, [[maybe_unused]] Fn_##symbol function, Pool& pool)

}  // namespace ptxops::fuzz
