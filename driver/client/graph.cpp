#include "driver/client/graph.h"

#include <utility>

namespace ptxops::driver {

using namespace abi;

Graph::Graph(const Context& context, CUgraph captured) : context_(&context) {
  const Driver& d = context.driver();
  const Context::Guard guard(context);
  CUresult result = d.api().cuGraphGetNodes(captured, nullptr, &nodes_);
  const char* function = "cuGraphGetNodes";
  if (result == CUDA_SUCCESS) {
    result = d.api().cuGraphInstantiateWithFlags(&handle_, captured, 0);
    function = "cuGraphInstantiateWithFlags";
  }
  d.api().cuGraphDestroy(captured);  // the executable graph does not need it
  d.check(result, function);
}

Graph::Graph(Graph&& other) noexcept
    : context_(other.context_), handle_(std::exchange(other.handle_, nullptr)), nodes_(other.nodes_) {}

Graph::~Graph() {
  if (handle_) context_->driver().api().cuGraphExecDestroy(handle_);
}

void Graph::launch(CUstream stream) const {
  const Context::Guard guard(*context_);
  context_->driver().check(context_->driver().api().cuGraphLaunch(handle_, stream), "cuGraphLaunch");
}

Capture::Capture(const Context& context, CUstream stream, CUstreamCaptureMode mode)
    : context_(&context), stream_(stream) {
  context.driver().check(context.driver().api().cuStreamBeginCapture(stream, mode), "cuStreamBeginCapture");
}

Capture::~Capture() {
  if (ended_) return;
  CUgraph captured = nullptr;
  context_->driver().api().cuStreamEndCapture(stream_, &captured);
  if (captured) context_->driver().api().cuGraphDestroy(captured);
}

Graph Capture::end() {
  CUgraph captured = nullptr;
  ended_ = true;
  context_->driver().check(context_->driver().api().cuStreamEndCapture(stream_, &captured),
                           "cuStreamEndCapture");
  return Graph(*context_, captured);
}

}  // namespace ptxops::driver
