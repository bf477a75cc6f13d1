#include "driver/virtual/api/operation.h"

namespace ptxops::virt {

using namespace abi;

namespace {

template <class... Functions>
struct Overloaded : Functions... {
  using Functions::operator()...;
};
template <class... Functions>
Overloaded(Functions...) -> Overloaded<Functions...>;  // clang 14 does not derive it of an aggregate

}  // namespace

CUgraphNodeType node_type(const Operation& operation) {
  return std::visit(Overloaded{[](const Nothing&) { return CU_GRAPH_NODE_TYPE_EMPTY; },
                               [](const KernelLaunch&) { return CU_GRAPH_NODE_TYPE_KERNEL; },
                               [](const Transfer&) { return CU_GRAPH_NODE_TYPE_MEMCPY; },
                               [](const Fill&) { return CU_GRAPH_NODE_TYPE_MEMSET; },
                               [](const HostCall&) { return CU_GRAPH_NODE_TYPE_HOST; },
                               [](const EventRecord&) { return CU_GRAPH_NODE_TYPE_EVENT_RECORD; },
                               [](const EventWait&) { return CU_GRAPH_NODE_TYPE_WAIT_EVENT; }},
                    operation);
}

Work::Place place_of(const Operation& operation) {
  return std::visit(Overloaded{[](const Transfer& t) { return place_of(t); },
                               [](const Fill& f) { return place_of(f.target); },
                               [](const HostCall&) { return Work::Place::thread; },
                               [](const auto&) { return Work::Place::inline_; }},
                    operation);
}

Work::Body body_of(Operation operation, std::shared_ptr<Context> context) {
  return std::visit(
      Overloaded{
          [&](KernelLaunch&& launch) -> Work::Body {
            return [launch = std::move(launch), context](Work& work) mutable {
              run(work, std::move(launch), context);
            };
          },
          [&](Transfer&& t) -> Work::Body { return [t, context](Work& work) { run(work, t, *context); }; },
          [&](Fill&& f) -> Work::Body { return [f, context](Work& work) { run(work, f, *context); }; },
          [](HostCall&& call) -> Work::Body {
            return [call](Work& work) {
              call.function(call.argument);
              work.finish(0);
            };
          },
          [](auto&&) -> Work::Body { return {}; }},
      std::move(operation));
}

}  // namespace ptxops::virt
