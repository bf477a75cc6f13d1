// Stream capture: cuStreamBeginCapture .. cuStreamUpdateCaptureDependencies.
#include <algorithm>
#include <cstring>

#include "driver/virtual/api/capture.h"
#include "driver/virtual/api/entry.h"

namespace ptxops::virt::api {
namespace {

void check_mode(CUstreamCaptureMode mode) {
  if (mode < CU_STREAM_CAPTURE_MODE_GLOBAL || mode > CU_STREAM_CAPTURE_MODE_RELAXED)
    refuse(CUDA_ERROR_INVALID_VALUE, "capture mode: expected 0..2, got {}", static_cast<int>(mode));
}

CUstreamCaptureStatus status_of(const StreamCapture* capturing) {
  return !capturing                            ? CU_STREAM_CAPTURE_STATUS_NONE
         : capturing->capture->invalid.empty() ? CU_STREAM_CAPTURE_STATUS_ACTIVE
                                               : CU_STREAM_CAPTURE_STATUS_INVALIDATED;
}

// The arrays are shown, not copied: they are valid until the next call on the stream.
CUresult capture_info(CUstream hStream, CUstreamCaptureStatus* status, cuuint64_t* id, CUgraph* graph,
                      const CUgraphNode** dependencies, const CUgraphEdgeData** edges, size_t* count) {
  not_null(status, "captureStatus_out");
  if (edges && !dependencies)
    refuse(CUDA_ERROR_INVALID_VALUE, "edgeData_out without dependencies_out: expected both, or neither");
  const StreamRef stream = resolve_stream(hStream);
  const auto lock = lock_graphs();
  const StreamCapture* capturing = capture_of(stream, "cuStreamGetCaptureInfo", false);
  *status = status_of(capturing);
  if (*status != CU_STREAM_CAPTURE_STATUS_ACTIVE) return CUDA_SUCCESS;
  const Frontier& f = capturing->frontier;
  const CUgraphEdgeData plain{};
  if (dependencies && !edges && std::any_of(f.edges.begin(), f.edges.end(), [&](const CUgraphEdgeData& e) {
        return std::memcmp(&e, &plain, sizeof e) != 0;
      }))
    refuse(CUDA_ERROR_LOSSY_QUERY, "the stream's dependencies have edge data: ask for edgeData_out too");
  if (id) *id = capturing->capture->id;
  if (graph) *graph = reinterpret_cast<CUgraph>(capturing->capture->graph.get());
  if (dependencies) *dependencies = f.nodes.data();
  if (edges) *edges = f.edges.data();
  if (count) *count = f.nodes.size();
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuStreamBeginCapture_v2(CUstream hStream, CUstreamCaptureMode mode) {
  check_mode(mode);
  begin_capture(resolve_stream(hStream), mode);
  return CUDA_SUCCESS;
}

CUresult cuStreamBeginCapture(CUstream hStream) {
  return api::cuStreamBeginCapture_v2(hStream, CU_STREAM_CAPTURE_MODE_GLOBAL);
}

CUresult cuStreamEndCapture(CUstream hStream, CUgraph* phGraph) {
  *not_null(phGraph, "phGraph") = nullptr;
  *phGraph = reinterpret_cast<CUgraph>(end_capture(resolve_stream(hStream)).get());
  return CUDA_SUCCESS;
}

CUresult cuStreamIsCapturing(CUstream hStream, CUstreamCaptureStatus* captureStatus) {
  not_null(captureStatus, "captureStatus");
  const StreamRef stream = resolve_stream(hStream);
  const auto lock = lock_graphs();
  *captureStatus = status_of(capture_of(stream, "cuStreamIsCapturing", false));
  return CUDA_SUCCESS;
}

CUresult cuStreamGetCaptureInfo(CUstream hStream, CUstreamCaptureStatus* captureStatus_out,
                                cuuint64_t* id_out) {
  return capture_info(hStream, captureStatus_out, id_out, nullptr, nullptr, nullptr, nullptr);
}

CUresult cuStreamGetCaptureInfo_v2(CUstream hStream, CUstreamCaptureStatus* captureStatus_out,
                                   cuuint64_t* id_out, CUgraph* graph_out,
                                   const CUgraphNode** dependencies_out, size_t* numDependencies_out) {
  return capture_info(hStream, captureStatus_out, id_out, graph_out, dependencies_out, nullptr,
                      numDependencies_out);
}

CUresult cuStreamGetCaptureInfo_v3(CUstream hStream, CUstreamCaptureStatus* captureStatus_out,
                                   cuuint64_t* id_out, CUgraph* graph_out,
                                   const CUgraphNode** dependencies_out, const CUgraphEdgeData** edgeData_out,
                                   size_t* numDependencies_out) {
  return capture_info(hStream, captureStatus_out, id_out, graph_out, dependencies_out, edgeData_out,
                      numDependencies_out);
}

CUresult cuStreamUpdateCaptureDependencies_v2(CUstream hStream, CUgraphNode* dependencies,
                                              const CUgraphEdgeData* dependencyData, size_t numDependencies,
                                              unsigned int flags) {
  if (flags > CU_STREAM_SET_CAPTURE_DEPENDENCIES)
    refuse(CUDA_ERROR_INVALID_VALUE, "flags: expected 0 (add) or 1 (set), got {}", flags);
  if (numDependencies > 0) not_null(dependencies, "dependencies");
  const StreamRef stream = resolve_stream(hStream);
  const auto lock = lock_graphs();
  StreamCapture* capturing = capture_of(stream, "cuStreamUpdateCaptureDependencies", true);
  if (!capturing) refuse(CUDA_ERROR_ILLEGAL_STATE, "the stream is not capturing");
  if (!capturing->capture->invalid.empty())
    refuse(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "the stream's capture {} was invalidated by {}",
           capturing->capture->id, capturing->capture->invalid);
  // The caller may pass the array that cuStreamGetCaptureInfo showed.
  Frontier next = flags == CU_STREAM_SET_CAPTURE_DEPENDENCIES ? Frontier{} : capturing->frontier;
  for (size_t i = 0; i < numDependencies; ++i) {
    if (resolve_node(dependencies[i])->graph != capturing->capture->graph.get())
      refuse(CUDA_ERROR_INVALID_VALUE, "dependencies[{}] is a node of another graph", i);
    next.add(dependencies[i], dependencyData ? dependencyData[i] : CUgraphEdgeData{});
  }
  capturing->frontier = std::move(next);
  return CUDA_SUCCESS;
}

CUresult cuStreamUpdateCaptureDependencies(CUstream hStream, CUgraphNode* dependencies,
                                           size_t numDependencies, unsigned int flags) {
  return api::cuStreamUpdateCaptureDependencies_v2(hStream, dependencies, nullptr, numDependencies, flags);
}

CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode* mode) {
  check_mode(*not_null(mode, "mode"));
  *mode = exchange_capture_mode(*mode);
  return CUDA_SUCCESS;
}

}  // namespace ptxops::virt::api
