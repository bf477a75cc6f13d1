// What a stream or a graph can be told to do, as values: a stream runs one once, a graph again and again.
#pragma once

#include <memory>
#include <variant>

#include "driver/virtual/api/launch.h"
#include "driver/virtual/api/transfer.h"

namespace ptxops::virt {

struct Nothing {};
struct HostCall {
  abi::CUhostFn function = nullptr;
  void* argument = nullptr;
};
// The nodes of CU_EVENT_RECORD_EXTERNAL and CU_EVENT_WAIT_EXTERNAL: only graphs have them.
struct EventRecord {
  std::shared_ptr<Event> event;
};
struct EventWait {
  std::shared_ptr<Event> event;
};

using Operation = std::variant<Nothing, KernelLaunch, Transfer, Fill, HostCall, EventRecord, EventWait>;

abi::CUgraphNodeType node_type(const Operation& operation);
Work::Place place_of(const Operation& operation);
// Empty: the unit finishes at once.
Work::Body body_of(Operation operation, std::shared_ptr<Context> context);

}  // namespace ptxops::virt
