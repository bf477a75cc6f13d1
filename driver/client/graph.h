// CUDA graphs: work captured from streams once, launched as a whole again and again.
#pragma once

#include "driver/client/context.h"

namespace ptxops::driver {

// An executable graph. Launches of one graph wait for each other.
class Graph {
 public:
  Graph(Graph&& other) noexcept;
  ~Graph();  // what was launched goes on
  Graph& operator=(Graph&&) = delete;
  Graph(const Graph&) = delete;

  void launch(abi::CUstream stream) const;
  size_t nodes() const { return nodes_; }  // kernels, copies, fills, host functions

 private:
  friend class Capture;
  Graph(const Context& context, abi::CUgraph captured);
  const Context* context_;
  abi::CUgraphExec handle_ = nullptr;
  size_t nodes_ = 0;
};

// While it lives, what is queued to the stream, and to streams that wait for its events, is captured instead
// of run.
class Capture {
 public:
  // A stream of its own, not a default stream. `mode`: which calls are refused meanwhile, in which threads.
  Capture(const Context& context, abi::CUstream stream,
          abi::CUstreamCaptureMode mode = abi::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
  ~Capture();  // without end(): nothing of it remains
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  // Throws when the capture was invalidated, or streams have not been joined.
  Graph end();

 private:
  const Context* context_;
  abi::CUstream stream_;
  bool ended_ = false;
};

}  // namespace ptxops::driver
