// Graphs and stream capture: arrays that have as many elements as the call says, parameters of nodes.
#pragma once

#include "tests/fuzz/driver_case.h"
#include "tests/fuzz/driver_inputs.h"

namespace ptxops::fuzz {

// `count` of them, or null.
inline CUgraphNode* some_nodes(Pool& pool, size_t count) {
  if (pool.null()) return nullptr;
  auto* nodes = static_cast<CUgraphNode*>(pool.host(count * sizeof(CUgraphNode)));
  for (size_t i = 0; i < count; ++i) nodes[i] = pool.handle<CUgraphNode>();
  return nodes;
}
template <class T>
T* some(Pool& pool, size_t count) {
  return pool.feed.below(4) == 0 ? nullptr : static_cast<T*>(pool.host(count * sizeof(T)));
}

// ---- Nodes

template <class Params>
Params kernel_node(Pool& pool) {
  const CUlaunchConfig c = launch_config(pool);
  Params p{};
  p.func = pool.feed.below(8) ? pool.handle<CUfunction>() : nullptr;
  p.gridDimX = c.gridDimX, p.gridDimY = c.gridDimY, p.gridDimZ = c.gridDimZ;
  p.blockDimX = c.blockDimX, p.blockDimY = c.blockDimY, p.blockDimZ = c.blockDimZ;
  p.sharedMemBytes = c.sharedMemBytes;
  p.kernelParams = kernel_params(pool);
  p.extra = extra(pool);
  if constexpr (std::is_same_v<Params, CUDA_KERNEL_NODE_PARAMS>) {
    p.kern = pool.handle<CUkernel>();
    p.ctx = pool.handle<CUcontext>();
  }
  return p;
}
inline CUDA_MEMSET_NODE_PARAMS memset_node(Pool& pool) {
  CUDA_MEMSET_NODE_PARAMS p{};
  p.dst = pool.device_address();
  p.pitch = pool.size();
  p.value = static_cast<unsigned>(pool.feed.number());
  p.elementSize = pool.feed.below(6);
  p.width = pool.size();
  p.height = pool.feed.below(2) ? 1 : pool.size();
  return p;
}
inline CUDA_HOST_NODE_PARAMS host_node(Pool& pool) {
  CUDA_HOST_NODE_PARAMS p{};
  if (!pool.null()) p.fn = [](void*) {};
  return p;
}

template <class Function, class... Rest>
void add_node(Function function, Pool& pool, Rest... rest) {
  CUgraphNode node = nullptr;
  const auto graph = pool.handle<CUgraph>();
  const size_t count = pool.feed.below(2) ? 0 : pool.feed.below(5);
  CUgraphNode* const after = some_nodes(pool, count);
  if (function(pool.null() ? nullptr : &node, graph, after, count, rest...) == CUDA_SUCCESS)
    pool.of<CUgraphNode>().push_back(node);
}
// Parameters that live as long as the input: `p`, or null.
template <class T>
const T* kept(Pool& pool, const T& p) {
  if (pool.null()) return nullptr;
  T* copy = pool.object<T>();
  *copy = p;
  return copy;
}
CASE(cuGraphAddKernelNode) {
  add_node(function, pool, kept(pool, kernel_node<CUDA_KERNEL_NODE_PARAMS_v1>(pool)));
}
CASE(cuGraphAddKernelNode_v2) {
  add_node(function, pool, kept(pool, kernel_node<CUDA_KERNEL_NODE_PARAMS>(pool)));
}
CASE(cuGraphAddMemcpyNode) {
  const auto context = pool.handle<CUcontext>();
  add_node(function, pool, kept(pool, copy_3d(pool)), context);
}
CASE(cuGraphAddMemsetNode) {
  const auto context = pool.handle<CUcontext>();
  add_node(function, pool, kept(pool, memset_node(pool)), context);
}
CASE(cuGraphAddHostNode) {
  add_node(function, pool, kept(pool, host_node(pool)));
}
CASE(cuGraphAddEmptyNode) {
  add_node(function, pool);
}

CASE(cuGraphKernelNodeSetParams) {
  const auto node = pool.handle<CUgraphNode>();
  function(node, kept(pool, kernel_node<CUDA_KERNEL_NODE_PARAMS_v1>(pool)));
}
CASE(cuGraphKernelNodeSetParams_v2) {
  const auto node = pool.handle<CUgraphNode>();
  function(node, kept(pool, kernel_node<CUDA_KERNEL_NODE_PARAMS>(pool)));
}

template <class Function, class... Rest>
void set_exec_node(Function function, Pool& pool, Rest... rest) {
  const auto exec = pool.handle<CUgraphExec>();
  const auto node = pool.handle<CUgraphNode>();
  function(exec, node, rest...);
}
CASE(cuGraphExecKernelNodeSetParams) {
  set_exec_node(function, pool, kept(pool, kernel_node<CUDA_KERNEL_NODE_PARAMS_v1>(pool)));
}
CASE(cuGraphExecKernelNodeSetParams_v2) {
  set_exec_node(function, pool, kept(pool, kernel_node<CUDA_KERNEL_NODE_PARAMS>(pool)));
}
CASE(cuGraphExecMemcpyNodeSetParams) {
  const auto context = pool.handle<CUcontext>();
  set_exec_node(function, pool, kept(pool, copy_3d(pool)), context);
}
CASE(cuGraphExecMemsetNodeSetParams) {
  const auto context = pool.handle<CUcontext>();
  set_exec_node(function, pool, kept(pool, memset_node(pool)), context);
}
CASE(cuGraphExecHostNodeSetParams) {
  set_exec_node(function, pool, kept(pool, host_node(pool)));
}

// ---- Edges and queries

CASE(cuGraphAddDependencies) {
  const size_t count = pool.feed.below(4);
  const auto graph = pool.handle<CUgraph>();
  CUgraphNode* const from = some_nodes(pool, count);
  function(graph, from, some_nodes(pool, count), count);
}
CASE(cuGraphAddDependencies_v2) {
  const size_t count = pool.feed.below(4);
  const auto graph = pool.handle<CUgraph>();
  CUgraphNode* const from = some_nodes(pool, count);
  CUgraphNode* const to = some_nodes(pool, count);
  function(graph, from, to, some<CUgraphEdgeData>(pool, count), count);
}

// What a query has written joins the pool: no more than it was given room for.
template <class Owner, class Call>
void query(Pool& pool, const Call& call) {
  const size_t room = pool.feed.below(8);
  auto* nodes = some<CUgraphNode>(pool, room);
  size_t count = room;
  const bool ok = call(pool.handle<Owner>(), nodes, room, pool.null() ? nullptr : &count) == CUDA_SUCCESS;
  if (!ok || !nodes) return;
  FUZZ_CHECK(count <= room, "more elements than there is room for");
  for (size_t i = 0; i < count; ++i) pool.of<CUgraphNode>().push_back(nodes[i]);
}
CASE(cuGraphGetNodes) {
  query<CUgraph>(pool,
                 [&](auto of, CUgraphNode* n, size_t, size_t* count) { return function(of, n, count); });
}
CASE(cuGraphGetRootNodes) {
  query<CUgraph>(pool,
                 [&](auto of, CUgraphNode* n, size_t, size_t* count) { return function(of, n, count); });
}
CASE(cuGraphGetEdges) {
  query<CUgraph>(pool, [&](auto of, CUgraphNode* n, size_t room, size_t* count) {
    return function(of, n, some<CUgraphNode>(pool, room), count);
  });
}
CASE(cuGraphGetEdges_v2) {
  query<CUgraph>(pool, [&](auto of, CUgraphNode* n, size_t room, size_t* count) {
    auto* to = some<CUgraphNode>(pool, room);
    return function(of, n, to, some<CUgraphEdgeData>(pool, room), count);
  });
}
CASE(cuGraphNodeGetDependencies) {
  query<CUgraphNode>(pool,
                     [&](auto of, CUgraphNode* n, size_t, size_t* count) { return function(of, n, count); });
}
CASE(cuGraphNodeGetDependentNodes) {
  make_call(Is_cuGraphNodeGetDependencies{}, function, pool);
}
CASE(cuGraphNodeGetDependencies_v2) {
  query<CUgraphNode>(pool, [&](auto of, CUgraphNode* n, size_t room, size_t* count) {
    return function(of, n, some<CUgraphEdgeData>(pool, room), count);
  });
}
CASE(cuGraphNodeGetDependentNodes_v2) {
  make_call(Is_cuGraphNodeGetDependencies_v2{}, function, pool);
}

// ---- Executable graphs

CASE(cuGraphInstantiate) {
  CUgraphExec exec = nullptr;
  CUgraphNode culprit = nullptr;
  const auto graph = pool.handle<CUgraph>();
  const size_t room = pool.feed.below(64);
  char* const log = static_cast<char*>(pool.null() ? nullptr : pool.host(room));
  if (function(pool.null() ? nullptr : &exec, graph, pool.null() ? nullptr : &culprit, log, room) ==
      CUDA_SUCCESS)
    pool.of<CUgraphExec>().push_back(exec);
}
CASE(cuGraphInstantiate_v2) {
  make_call(Is_cuGraphInstantiate{}, function, pool);
}
CASE(cuGraphInstantiateWithFlags) {
  CUgraphExec exec = nullptr;
  const auto graph = pool.handle<CUgraph>();
  const uint64_t flags = pool.feed.below(2) ? 0 : pool.feed.number();
  if (function(pool.null() ? nullptr : &exec, graph, flags) == CUDA_SUCCESS)
    pool.of<CUgraphExec>().push_back(exec);
}
CASE(cuGraphInstantiateWithParams) {
  CUDA_GRAPH_INSTANTIATE_PARAMS p{};
  p.flags = pool.feed.below(16);
  p.hUploadStream = pool.handle<CUstream>();
  CUgraphExec exec = nullptr;
  const auto graph = pool.handle<CUgraph>();
  if (function(pool.null() ? nullptr : &exec, graph, pool.null() ? nullptr : &p) == CUDA_SUCCESS)
    pool.of<CUgraphExec>().push_back(exec);
}

// ---- Capture

CASE(cuStreamBeginCapture_v2) {
  const auto stream = pool.handle<CUstream>();
  function(stream, static_cast<CUstreamCaptureMode>(pool.feed.below(5) % 4));
}
CASE(cuThreadExchangeStreamCaptureMode) {
  auto mode = static_cast<CUstreamCaptureMode>(pool.feed.below(4));
  function(pool.null() ? nullptr : &mode);
}

template <class Function, class... Rest>
void capture_info(Function function, Pool& pool, Rest... rest) {
  CUstreamCaptureStatus status;
  cuuint64_t id;
  CUgraph graph = nullptr;
  const CUgraphNode* nodes = nullptr;
  size_t count = 0;
  const auto stream = pool.handle<CUstream>();
  const bool wants_graph = !pool.null(), wants_nodes = !pool.null(), wants_count = !pool.null();
  if (function(stream, pool.null() ? nullptr : &status, pool.null() ? nullptr : &id,
               wants_graph ? &graph : nullptr, wants_nodes ? &nodes : nullptr, rest...,
               wants_count ? &count : nullptr) != CUDA_SUCCESS)
    return;
  // The graph is the capture's: to look at and to add nodes to.
  if (wants_graph && graph) pool.of<CUgraph>().push_back(graph);
  for (size_t i = 0; nodes && i < count; ++i) pool.of<CUgraphNode>().push_back(nodes[i]);
}
CASE(cuStreamGetCaptureInfo_v2) {
  capture_info(function, pool);
}
CASE(cuStreamGetCaptureInfo_v3) {
  const CUgraphEdgeData* edges = nullptr;
  capture_info(function, pool, pool.null() ? nullptr : &edges);
}
CASE(cuStreamUpdateCaptureDependencies) {
  const auto stream = pool.handle<CUstream>();
  const size_t count = pool.feed.below(4);
  CUgraphNode* const nodes = some_nodes(pool, count);
  function(stream, nodes, count, pool.feed.below(3));
}
CASE(cuStreamUpdateCaptureDependencies_v2) {
  const auto stream = pool.handle<CUstream>();
  const size_t count = pool.feed.below(4);
  CUgraphNode* const nodes = some_nodes(pool, count);
  const auto* edges = some<CUgraphEdgeData>(pool, count);
  function(stream, nodes, edges, count, pool.feed.below(3));
}

}  // namespace ptxops::fuzz
