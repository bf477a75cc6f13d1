// Declarations of every driver function the virtual device implements, generated from the one list. The
// definitions are in *_api.cpp; exports.cpp wraps each into the exported symbol of the same name.
#pragma once

#include "driver/abi/functions.h"

namespace ptxops::virt::api {

using namespace ptxops::abi;

#define PTXOPS_FN(name, symbol, version, streams, client, params, args) CUresult symbol params;
#define PTXOPS_NO(name, symbol, version, streams)
#include "driver/abi/functions.def"
#undef PTXOPS_FN
#undef PTXOPS_NO

}  // namespace ptxops::virt::api
