#include "driver/virtual/api/capture.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

namespace ptxops::virt {

using namespace abi;

namespace {

// Captures that have begun and not ended. Under lock_graphs().
std::vector<std::shared_ptr<Capture>>& captures() {
  static auto* all = new std::vector<std::shared_ptr<Capture>>;
  return *all;
}

thread_local CUstreamCaptureMode t_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;

const char* name_of(CUstreamCaptureMode mode) {
  return mode == CU_STREAM_CAPTURE_MODE_GLOBAL         ? "global"
         : mode == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL ? "thread-local"
                                                       : "relaxed";
}

void invalidate(Capture& capture, const std::string& why) {
  if (capture.invalid.empty()) capture.invalid = why;
}

template <class... Args>
[[noreturn]] void refuse_and_invalidate(const std::vector<std::shared_ptr<Capture>>& broken, CUresult code,
                                        fmt::format_string<Args...> format, Args&&... args) {
  const std::string text = fmt::format(format, std::forward<Args>(args)...);
  for (const auto& capture : broken) invalidate(*capture, text);
  refuse(code, "{}; this invalidates the capture", text);
}

void expect_valid(const Capture& capture, const char* call) {
  if (!capture.invalid.empty())
    refuse(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "{}: the stream's capture {} was invalidated by {}", call,
           capture.id, capture.invalid);
}

std::vector<GraphNode::Edge> edges_of(const Frontier& frontier) {
  std::vector<GraphNode::Edge> edges;
  for (size_t i = 0; i < frontier.nodes.size(); ++i)
    edges.push_back({node_of(frontier.nodes[i]), frontier.edges[i]});
  return edges;
}

bool is_plain(const CUgraphEdgeData& data) {
  const CUgraphEdgeData zero{};
  return std::memcmp(&data, &zero, sizeof data) == 0;
}

void add_captured(StreamCapture& stream, Operation operation, std::shared_ptr<Context> context) {
  std::vector<GraphNode::Edge> after = edges_of(stream.frontier);
  if (const auto* l = std::get_if<KernelLaunch>(&operation); l && l->request.programmatic)
    for (GraphNode::Edge& e : after)
      if (is_plain(e.data) && std::holds_alternative<KernelLaunch>(e.from->operation)) {
        e.data.type = CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC;
        e.data.from_port = kGraphKernelNodePortProgrammatic;
      }
  const GraphNode& node =
      add_node(*stream.capture->graph, std::move(operation), std::move(context), std::move(after));
  stream.frontier = {};
  stream.frontier.add(handle_of(&node));
}

// Takes all streams out of capture.
void finish(const std::shared_ptr<Capture>& capture) {
  capture->ended = true;
  capture->graph->capturing = false;
  for (Stream* s : capture->streams) s->capture = nullptr;
  capture->streams.clear();
  std::erase(captures(), capture);
}

// A stream other than the first whose last nodes the first one does not wait for; null: all is joined.
const Stream* unjoined(const Capture& capture) {
  std::set<const GraphNode*> joined;
  std::vector<const GraphNode*> todo;
  for (CUgraphNode n : capture.origin->capture->frontier.nodes) todo.push_back(node_of(n));
  while (!todo.empty()) {
    const GraphNode* node = todo.back();
    todo.pop_back();
    if (!joined.insert(node).second) continue;
    for (const GraphNode::Edge& e : node->after) todo.push_back(e.from);
  }
  for (const Stream* s : capture.streams)
    for (CUgraphNode n : s->capture->frontier.nodes)
      if (!joined.contains(node_of(n))) return s;
  return nullptr;
}

}  // namespace

void Frontier::add(CUgraphNode node, const CUgraphEdgeData& edge) {
  for (size_t i = 0; i < nodes.size(); ++i)
    if (nodes[i] == node && std::memcmp(&edges[i], &edge, sizeof edge) == 0) return;
  nodes.push_back(node);
  edges.push_back(edge);
}

StreamCapture* capture_of(const StreamRef& stream, const char* call, bool invalidates) {
  if (!stream->legacy) return stream->capture.get();
  std::vector<std::shared_ptr<Capture>> broken;
  for (const auto& c : captures())
    if (std::any_of(c->streams.begin(), c->streams.end(),
                    [&](const Stream* s) { return s->context == stream.context.get() && s->blocking(); }))
      broken.push_back(c);
  if (broken.empty()) return nullptr;
  if (!invalidates) broken.clear();
  constexpr const char* kText =
      "{} on the legacy default stream, which waits for every blocking stream, while one of them captures";
  if (broken.empty()) refuse(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, kText, call);
  refuse_and_invalidate(broken, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, kText, call);
}

WorkPtr issue(const StreamRef& stream, Operation operation) {
  {
    const auto lock = lock_graphs();
    if (StreamCapture* capturing = capture_of(stream, "work", true)) {
      expect_valid(*capturing->capture, "work");
      add_captured(*capturing, std::move(operation), stream.context);
      return nullptr;
    }
    // A programmatic launch may, as far as its kernel can know, overlap the kernel before it.
    KernelLaunch* launch = std::get_if<KernelLaunch>(&operation);
    if (launch) {
      launch->desc.number = std::make_shared<std::atomic<uint64_t>>(0);
      if (launch->request.programmatic) launch->desc.prerequisite = stream.stream->latest_grid;
    }
    stream.stream->latest_grid = launch ? launch->desc.number : nullptr;
  }
  const Work::Place place = place_of(operation);
  return stream.context->enqueue(*stream.stream, place, body_of(std::move(operation), stream.context));
}

void wait_event(const StreamRef& stream, const std::shared_ptr<Event>& event, unsigned flags) {
  constexpr const char* kCall = "cuStreamWaitEvent";
  {
    const auto lock = lock_graphs();
    StreamCapture* capturing = capture_of(stream, kCall, true);
    if (capturing) expect_valid(*capturing->capture, kCall);
    if (flags & CU_EVENT_WAIT_EXTERNAL) {
      if (!capturing)
        refuse(CUDA_ERROR_INVALID_VALUE,
               "Flags: CU_EVENT_WAIT_EXTERNAL needs a capturing stream, this one does not capture");
      add_captured(*capturing, EventWait{event}, stream.context);
      return;
    }
    const auto captured = event->captured;
    if (captured && !captured->capture->ended) {
      const auto& theirs = captured->capture;
      expect_valid(*theirs, kCall);
      if (capturing && capturing->capture != theirs)
        refuse_and_invalidate({capturing->capture, theirs}, CUDA_ERROR_STREAM_CAPTURE_MERGE,
                              "{}: the event was recorded in capture {}, the stream is in capture {}", kCall,
                              theirs->id, capturing->capture->id);
      if (stream->legacy)
        refuse_and_invalidate({theirs}, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
                              "{}: the legacy default stream cannot join capture {}", kCall, theirs->id);
      if (!capturing) {
        stream->capture = std::make_shared<StreamCapture>(StreamCapture{theirs, {}});
        theirs->streams.push_back(stream.stream);
      }
      for (size_t i = 0; i < captured->frontier.nodes.size(); ++i)
        stream->capture->frontier.add(captured->frontier.nodes[i], captured->frontier.edges[i]);
      return;
    }
    if (captured && !capturing)
      refuse(CUDA_ERROR_CAPTURED_EVENT,
             "{}: the event was last recorded in capture {}, which has ended and never ran", kCall,
             captured->capture->id);
    if (capturing && (captured || event->last_recorded()))
      refuse_and_invalidate({capturing->capture}, CUDA_ERROR_STREAM_CAPTURE_ISOLATION,
                            "{}: the event was recorded outside capture {} of the stream", kCall,
                            capturing->capture->id);
    if (capturing) return;
  }
  // An event that was never recorded is complete.
  if (const WorkPtr recorded = event->last_recorded())
    stream.context->enqueue(*stream.stream, Work::Place::inline_, {}, {recorded});
}

void record_event(const StreamRef& stream, const std::shared_ptr<Event>& event, unsigned flags) {
  constexpr const char* kCall = "cuEventRecord";
  {
    const auto lock = lock_graphs();
    if (StreamCapture* capturing = capture_of(stream, kCall, true)) {
      expect_valid(*capturing->capture, kCall);
      if (flags & CU_EVENT_RECORD_EXTERNAL)
        add_captured(*capturing, EventRecord{event}, stream.context);
      else
        event->captured =
            std::make_shared<EventCapture>(EventCapture{capturing->capture, capturing->frontier});
      return;
    }
    if (flags & CU_EVENT_RECORD_EXTERNAL)
      refuse(CUDA_ERROR_INVALID_VALUE,
             "flags: CU_EVENT_RECORD_EXTERNAL needs a capturing stream, this one does not capture");
    event->captured = nullptr;
  }
  event->set_recorded(stream.context->enqueue(*stream.stream, Work::Place::inline_, {}));
}

void refuse_capturing(const StreamRef& stream, const char* call, CUresult code) {
  const auto lock = lock_graphs();
  StreamCapture* capturing = capture_of(stream, call, true);
  if (!capturing) return;
  expect_valid(*capturing->capture, call);
  if (code == CUDA_ERROR_NOT_SUPPORTED)
    refuse_and_invalidate({capturing->capture}, code, "{} cannot be captured by the virtual device", call);
  refuse_and_invalidate({capturing->capture}, code, "{} on a stream in capture {}", call,
                        capturing->capture->id);
}

void refuse_context_capturing(const Context& context, const char* call) {
  const auto lock = lock_graphs();
  std::vector<std::shared_ptr<Capture>> broken;
  for (const auto& c : captures())
    if (std::any_of(c->streams.begin(), c->streams.end(),
                    [&](const Stream* s) { return s->context == &context; }))
      broken.push_back(c);
  if (!broken.empty())
    refuse_and_invalidate(broken, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
                          "{} of a context while one of its streams is in capture {}", call, broken[0]->id);
}

void refuse_captured(const Event& event, const char* call) {
  const auto lock = lock_graphs();
  if (!event.captured) return;
  std::vector<std::shared_ptr<Capture>> broken;
  if (!event.captured->capture->ended) broken.push_back(event.captured->capture);
  constexpr const char* kText = "{} of an event last recorded in capture {}, which has not run";
  if (broken.empty()) refuse(CUDA_ERROR_CAPTURED_EVENT, kText, call, event.captured->capture->id);
  refuse_and_invalidate(broken, CUDA_ERROR_CAPTURED_EVENT, kText, call, event.captured->capture->id);
}

void refuse_unsafe(const char* call) {
  if (t_mode == CU_STREAM_CAPTURE_MODE_RELAXED) return;
  const auto lock = lock_graphs();
  std::vector<std::shared_ptr<Capture>> broken;
  for (const auto& c : captures()) {
    if (!c->invalid.empty()) continue;
    const bool own = c->thread == std::this_thread::get_id() && c->mode != CU_STREAM_CAPTURE_MODE_RELAXED;
    if (own || (c->mode == CU_STREAM_CAPTURE_MODE_GLOBAL && t_mode == CU_STREAM_CAPTURE_MODE_GLOBAL))
      broken.push_back(c);
  }
  if (!broken.empty())
    refuse_and_invalidate(broken, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
                          "{} in a thread of {} capture mode, unsafe during capture {} of {} mode", call,
                          name_of(t_mode), broken[0]->id, name_of(broken[0]->mode));
}

void begin_capture(const StreamRef& stream, CUstreamCaptureMode mode) {
  if (stream->legacy)
    refuse(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "the legacy default stream cannot be captured");
  static uint64_t next_id = 1;
  const auto lock = lock_graphs();
  if (stream->capture)
    refuse(CUDA_ERROR_ILLEGAL_STATE, "the stream is already in capture {}", stream->capture->capture->id);
  auto capture = std::make_shared<Capture>();
  capture->id = next_id++;
  capture->graph = std::make_shared<Graph>();
  capture->graph->capturing = true;
  capture->origin = stream.stream;
  capture->streams = {stream.stream};
  capture->mode = mode;
  capture->thread = std::this_thread::get_id();
  stream->capture = std::make_shared<StreamCapture>(StreamCapture{capture, {}});
  captures().push_back(capture);
  Runtime::get().graphs.add(capture->graph);
}

std::shared_ptr<Graph> end_capture(const StreamRef& stream) {
  const auto lock = lock_graphs();
  StreamCapture* capturing = capture_of(stream, "cuStreamEndCapture", true);
  if (!capturing) refuse(CUDA_ERROR_ILLEGAL_STATE, "the stream is not capturing");
  const auto capture = capturing->capture;
  if (capture->origin != stream.stream)
    refuse_and_invalidate({capture}, CUDA_ERROR_STREAM_CAPTURE_UNMATCHED,
                          "cuStreamEndCapture: capture {} began in another stream", capture->id);
  if (capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED && capture->thread != std::this_thread::get_id())
    refuse(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD,
           "capture {} of {} mode must end in the thread that began it", capture->id, name_of(capture->mode));
  const Stream* loose = capture->invalid.empty() ? unjoined(*capture) : nullptr;
  const uint64_t loose_id = loose ? loose->id : 0;
  finish(capture);
  if (capture->invalid.empty() && !loose) return capture->graph;
  destroy_graph(capture->graph);
  expect_valid(*capture, "cuStreamEndCapture");
  refuse(CUDA_ERROR_STREAM_CAPTURE_UNJOINED,
         "stream {} has work in capture {} that the first stream does not wait for", loose_id, capture->id);
}

CUstreamCaptureMode exchange_capture_mode(CUstreamCaptureMode mode) {
  return std::exchange(t_mode, mode);
}

void abandon_captures(const std::function<bool(const Stream&)>& gone) {
  const auto lock = lock_graphs();
  const auto all = captures();
  for (const auto& c : all) {
    if (gone(*c->origin)) {
      finish(c);
      destroy_graph(c->graph);
      continue;
    }
    std::erase_if(c->streams, [&](Stream* s) {
      if (!gone(*s)) return false;
      // Its work stays in the graph, where nothing can join it any more.
      invalidate(*c, "the end of a stream that belonged to it");
      s->capture = nullptr;
      return true;
    });
  }
}

}  // namespace ptxops::virt
