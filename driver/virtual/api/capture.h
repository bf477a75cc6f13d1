// Stream capture: while a stream captures, what is issued to it becomes nodes of a graph instead of running.
// Here are the rules of it: which streams belong to a capture, what a node depends on, and which calls
// conflict.
#pragma once

#include <functional>
#include <string>
#include <thread>

#include "driver/virtual/api/graph.h"

namespace ptxops::virt {

// A capture sequence. Ends with cuStreamEndCapture, or with its first stream.
struct Capture {
  uint64_t id = 0;
  std::shared_ptr<Graph> graph;
  Stream* origin = nullptr;
  std::vector<Stream*> streams;  // the origin and those that joined
  abi::CUstreamCaptureMode mode = abi::CU_STREAM_CAPTURE_MODE_GLOBAL;
  std::thread::id thread;
  bool ended = false;
  std::string invalid;  // what invalidated it; empty: nothing did
};

// Nodes, with what the edges from them will be: parallel, since callers are shown the arrays.
struct Frontier {
  std::vector<abi::CUgraphNode> nodes;
  std::vector<abi::CUgraphEdgeData> edges;
  void add(abi::CUgraphNode node, const abi::CUgraphEdgeData& edge = {});
};
struct StreamCapture {
  std::shared_ptr<Capture> capture;
  Frontier frontier;  // what the stream's next node depends on
};
struct EventCapture {
  std::shared_ptr<Capture> capture;
  Frontier frontier;
};

// The way of work into a stream: runs it in stream order, or adds it to the graph (then null).
WorkPtr issue(const StreamRef& stream, Operation operation);
void wait_event(const StreamRef& stream, const std::shared_ptr<Event>& event, unsigned flags);
void record_event(const StreamRef& stream, const std::shared_ptr<Event>& event, unsigned flags);

// The refusals. Each throws when `call` conflicts with a capture, and invalidates that.
// Calls that wait for a stream, ask for its state, or that no graph can hold.
void refuse_capturing(const StreamRef& stream, const char* call,
                      abi::CUresult code = abi::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
// Calls on all of a context's work.
void refuse_context_capturing(const Context& context, const char* call);
// Waiting for, or asking about, an event that was last recorded in a capture.
void refuse_captured(const Event& event, const char* call);
// "Potentially unsafe" calls, which no stream sees, by the thread's capture mode.
void refuse_unsafe(const char* call);

void begin_capture(const StreamRef& stream, abi::CUstreamCaptureMode mode);
std::shared_ptr<Graph> end_capture(const StreamRef& stream);
// What the stream's capture is, after the test for uses of the legacy stream; null: not capturing. Under
// lock_graphs().
StreamCapture* capture_of(const StreamRef& stream, const char* call, bool invalidate);
// Returns the thread's mode until now.
abi::CUstreamCaptureMode exchange_capture_mode(abi::CUstreamCaptureMode mode);

// For streams that go away: a capture ends without a graph when its first stream does.
void abandon_captures(const std::function<bool(const Stream&)>& gone);

}  // namespace ptxops::virt
