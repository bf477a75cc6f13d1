// The client's table of driver entry points, generated from driver/abi/functions.def. Members carry the
// public names without version suffix; OPTIONAL ones are null where the loaded driver is older than the
// function.
#pragma once

#include "driver/abi/functions.h"

namespace ptxops::driver {

struct Api {
#define PTXOPS_CLIENT_REQUIRED(name, symbol) abi::Fn_##symbol name = nullptr;
#define PTXOPS_CLIENT_OPTIONAL(name, symbol) abi::Fn_##symbol name = nullptr;
#define PTXOPS_CLIENT_UNUSED(name, symbol)
#define PTXOPS_FN(name, symbol, version, streams, client, params, args) PTXOPS_CLIENT_##client(name, symbol)
#define PTXOPS_NO(name, symbol, version, streams)
#include "driver/abi/functions.def"
#undef PTXOPS_FN
#undef PTXOPS_NO
#undef PTXOPS_CLIENT_REQUIRED
#undef PTXOPS_CLIENT_OPTIONAL
#undef PTXOPS_CLIENT_UNUSED
};

}  // namespace ptxops::driver
