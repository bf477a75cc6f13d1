// cuGraph*.
#include <algorithm>
#include <cstring>

#include "driver/virtual/api/capture.h"
#include "driver/virtual/api/entry.h"
#include "driver/virtual/isa/ir.h"

namespace ptxops::virt::api {
namespace {

Runtime& runtime() {
  return Runtime::get();
}

// Dependencies as callers give them, each once. Under lock_graphs().
std::vector<GraphNode::Edge> edges_from(const Graph& graph, const CUgraphNode* nodes, size_t count) {
  std::vector<GraphNode::Edge> edges;
  for (size_t i = 0; i < count; ++i) {
    const auto node = resolve_node(not_null(nodes, "dependencies")[i]);
    if (node->graph != &graph)
      refuse(CUDA_ERROR_INVALID_VALUE, "dependencies[{}] is a node of another graph", i);
    for (const auto& e : edges)
      if (e.from == node.get())
        refuse(CUDA_ERROR_INVALID_VALUE, "dependencies[{}] is there a second time", i);
    edges.push_back({node.get(), {}});
  }
  return edges;
}

CUresult add(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies, size_t count,
             Operation operation, std::shared_ptr<Context> context) {
  not_null(out, "phGraphNode");
  const auto to = resolve_graph(graph);
  const auto lock = lock_graphs();
  *out = handle_of(
      &add_node(*to, std::move(operation), std::move(context), edges_from(*to, dependencies, count)));
  return CUDA_SUCCESS;
}

// The count, or as many elements as the caller has room for; the rest of the arrays becomes zero.
template <class T>
void give(const std::vector<T>& all, T* out, size_t room) {
  for (size_t i = 0; i < room; ++i) out[i] = i < all.size() ? all[i] : T{};
}

CUresult give_nodes(const std::vector<CUgraphNode>& all, CUgraphNode* nodes, size_t* count) {
  not_null(count, "the number of nodes");
  if (nodes) give(all, nodes, *count);
  *count = nodes ? std::min(*count, all.size()) : all.size();
  return CUDA_SUCCESS;
}

bool is_plain(const CUgraphEdgeData& data) {
  const CUgraphEdgeData zero{};
  return std::memcmp(&data, &zero, sizeof data) == 0;
}

// Calls without edge data must not lose any.
void refuse_lossy(const std::vector<CUgraphEdgeData>& edges, const CUgraphEdgeData* out) {
  if (!out && !std::all_of(edges.begin(), edges.end(), is_plain))
    refuse(CUDA_ERROR_LOSSY_QUERY, "an edge has edge data (programmatic launch): ask for that too");
}

CUresult give_edges(const std::vector<CUgraphNode>& nodes, const std::vector<CUgraphEdgeData>& edges,
                    CUgraphNode* out, CUgraphEdgeData* edges_out, size_t* count) {
  if (out) refuse_lossy(edges, edges_out);
  if (edges_out) give(edges, edges_out, *count);
  return give_nodes(nodes, out, count);
}

// ---- Parameters of nodes

std::shared_ptr<Function> function_of_params(const CUDA_KERNEL_NODE_PARAMS& p) {
  if (p.func) return resolve_function(p.func);
  const auto kernel = runtime().kernels.find(p.kern);
  if (!kernel)
    refuse(CUDA_ERROR_INVALID_VALUE, "func is null and kern {} is not a kernel", static_cast<void*>(p.kern));
  return function_of(*kernel, p.ctx ? runtime().context(p.ctx) : current_context());
}

CUDA_KERNEL_NODE_PARAMS widened(const CUDA_KERNEL_NODE_PARAMS_v1* p) {
  not_null(p, "nodeParams");
  CUDA_KERNEL_NODE_PARAMS wide{};
  std::memcpy(&wide, p, sizeof *p);
  return wide;
}

// `attributes`: what the parameters do not say, a node's cluster for one.
KernelLaunch launch_of(const CUDA_KERNEL_NODE_PARAMS& p, LaunchRequest attributes = {}) {
  attributes.grid = {p.gridDimX, p.gridDimY, p.gridDimZ};
  attributes.block = {p.blockDimX, p.blockDimY, p.blockDimZ};
  attributes.dynamic_shared = p.sharedMemBytes;
  return make_launch(function_of_params(p), attributes, p.kernelParams, p.extra);
}

Transfer copy_of(const CUDA_MEMCPY3D* p) {
  const Transfer t = transfer_of(p);
  if (is_empty(t))
    refuse(CUDA_ERROR_INVALID_VALUE, "copy of {}x{}x{}: no dimension may be 0", t.width, t.height, t.depth);
  check(t);
  return t;
}

Fill fill_of(const CUDA_MEMSET_NODE_PARAMS* p) {
  not_null(p, "memsetParams");
  if (p->elementSize != 1 && p->elementSize != 2 && p->elementSize != 4)
    refuse(CUDA_ERROR_INVALID_VALUE, "elementSize: expected 1, 2 or 4, got {}", p->elementSize);
  if (p->width == 0 || p->height == 0)
    refuse(CUDA_ERROR_INVALID_VALUE, "memset of {}x{} elements: no dimension may be 0", p->width, p->height);
  return make_fill(p->dst, p->pitch, p->value, p->elementSize, p->width, p->height);
}

HostCall host_call_of(const CUDA_HOST_NODE_PARAMS* p) {
  not_null(p, "nodeParams");
  not_null(reinterpret_cast<void*>(p->fn), "fn");
  return {p->fn, p->userData};
}

std::shared_ptr<Context> context_of_launch(const KernelLaunch& launch) {
  return context_of(*launch.function);
}

// A node of an executable graph gets new parameters.
template <class Make>
CUresult set_exec_node(CUgraphExec hExec, CUgraphNode hNode, const Make& make) {
  const auto exec = resolve_exec(hExec);
  const auto source = resolve_node(hNode);
  std::lock_guard lock(exec->mutex);
  const auto node = std::find_if(exec->nodes.begin(), exec->nodes.end(),
                                 [&](const GraphExec::Node& n) { return n.source == source->id; });
  if (node == exec->nodes.end())
    refuse(CUDA_ERROR_INVALID_VALUE, "hNode is not of the graph that was instantiated");
  std::shared_ptr<Context> context = node->context;
  Operation operation = make(*node, context);
  CUgraphExecUpdateResult result{};
  if (const std::string why = unchangeable(*node, operation, context.get(), result); !why.empty())
    refuse(CUDA_ERROR_INVALID_VALUE, "{}", why);
  node->operation = std::move(operation);
  return CUDA_SUCCESS;
}

CUresult set_exec_kernel(CUgraphExec hExec, CUgraphNode hNode, const CUDA_KERNEL_NODE_PARAMS& p) {
  return set_exec_node(hExec, hNode,
                       [&](const GraphExec::Node& node, std::shared_ptr<Context>& context) -> Operation {
                         const auto* before = std::get_if<KernelLaunch>(&node.operation);
                         KernelLaunch launch = launch_of(p, before ? before->request : LaunchRequest{});
                         context = context_of_launch(launch);
                         return launch;
                       });
}

// The values stay the node's: the pointers are valid until its parameters change.
CUDA_KERNEL_NODE_PARAMS kernel_params(CUgraphNode hNode) {
  const auto node = resolve_node(hNode);
  const auto lock = lock_graphs();
  auto* launch = std::get_if<KernelLaunch>(&node->operation);
  if (!launch)
    refuse(CUDA_ERROR_INVALID_VALUE, "node type: expected 0 (kernel), got {}",
           static_cast<int>(node_type(node->operation)));
  const isa::Function& ptx = *launch->function->kernel->code->function;
  node->values.clear();
  for (size_t i = 0; i < ptx.params.size(); ++i)
    node->values.push_back(launch->desc.params.data() + ptx.params[i]->offset);
  CUDA_KERNEL_NODE_PARAMS p{};
  p.func = reinterpret_cast<CUfunction>(launch->function.get());
  p.gridDimX = launch->desc.grid.x, p.gridDimY = launch->desc.grid.y, p.gridDimZ = launch->desc.grid.z;
  p.blockDimX = launch->desc.block.x, p.blockDimY = launch->desc.block.y, p.blockDimZ = launch->desc.block.z;
  p.sharedMemBytes = launch->desc.dynamic_smem;
  p.kernelParams = node->values.data();
  p.ctx = reinterpret_cast<CUcontext>(node->context.get());
  return p;
}

CUresult set_kernel_params(CUgraphNode hNode, const CUDA_KERNEL_NODE_PARAMS& p) {
  const auto node = resolve_node(hNode);
  const auto lock = lock_graphs();
  auto* before = std::get_if<KernelLaunch>(&node->operation);
  if (!before)
    refuse(CUDA_ERROR_INVALID_VALUE, "node type: expected 0 (kernel), got {}",
           static_cast<int>(node_type(node->operation)));
  KernelLaunch launch = launch_of(p, before->request);
  node->context = context_of_launch(launch);
  *before = std::move(launch);
  return CUDA_SUCCESS;
}

// ---- Instantiation

std::shared_ptr<GraphExec> make_exec(CUgraph graph, uint64_t flags, GraphNode*& culprit) {
  constexpr uint64_t kKnown = CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH |
                              CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD | CUDA_GRAPH_INSTANTIATE_FLAG_DEVICE_LAUNCH |
                              CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY;
  if (flags & ~kKnown) refuse(CUDA_ERROR_INVALID_VALUE, "flags {:#x} has unknown bits", flags);
  if (flags & CUDA_GRAPH_INSTANTIATE_FLAG_DEVICE_LAUNCH)
    refuse(CUDA_ERROR_NOT_SUPPORTED, "the virtual device launches graphs from the host only");
  const auto from = resolve_graph(graph);
  const auto lock = lock_graphs();
  if (from->capturing) refuse(CUDA_ERROR_INVALID_VALUE, "the graph is still being captured");
  return instantiate(*from, flags, culprit);
}

CUgraphExec publish(const std::shared_ptr<GraphExec>& exec) {
  runtime().graph_execs.add(exec);
  return reinterpret_cast<CUgraphExec>(exec.get());
}

CUresult update(CUgraphExec hExec, CUgraph hGraph, CUgraphExecUpdateResultInfo& info) {
  info = {CU_GRAPH_EXEC_UPDATE_ERROR, nullptr, nullptr};
  const auto exec = resolve_exec(hExec);
  const auto graph = resolve_graph(hGraph);
  const auto lock = lock_graphs();
  const UpdateVerdict v = virt::update(*exec, *graph);
  info = {v.result, handle_of(v.node), handle_of(v.from)};
  if (v.result != CU_GRAPH_EXEC_UPDATE_SUCCESS)
    refuse(CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE, "result {}: {}", static_cast<int>(v.result), v.why);
  return CUDA_SUCCESS;
}

}  // namespace

// ---- Graphs and their nodes
// ------------------------------------------------------------------------------------------------

CUresult cuGraphCreate(CUgraph* phGraph, unsigned int flags) {
  not_null(phGraph, "phGraph");
  if (flags != 0) refuse(CUDA_ERROR_INVALID_VALUE, "flags: expected 0, got {}", flags);
  const auto graph = std::make_shared<Graph>();
  runtime().graphs.add(graph);
  *phGraph = reinterpret_cast<CUgraph>(graph.get());
  return CUDA_SUCCESS;
}

CUresult cuGraphDestroy(CUgraph hGraph) {
  const auto graph = resolve_graph(hGraph);
  const auto lock = lock_graphs();
  if (graph->capturing) refuse(CUDA_ERROR_INVALID_VALUE, "the graph is being captured: end that first");
  destroy_graph(graph);
  return CUDA_SUCCESS;
}

CUresult cuGraphAddKernelNode_v2(CUgraphNode* phGraphNode, CUgraph hGraph, const CUgraphNode* dependencies,
                                 size_t numDependencies, const CUDA_KERNEL_NODE_PARAMS* nodeParams) {
  KernelLaunch launch = launch_of(*not_null(nodeParams, "nodeParams"));
  const auto context = context_of_launch(launch);
  return add(phGraphNode, hGraph, dependencies, numDependencies, std::move(launch), context);
}

CUresult cuGraphAddKernelNode(CUgraphNode* phGraphNode, CUgraph hGraph, const CUgraphNode* dependencies,
                              size_t numDependencies, const CUDA_KERNEL_NODE_PARAMS_v1* nodeParams) {
  const CUDA_KERNEL_NODE_PARAMS wide = widened(nodeParams);
  return api::cuGraphAddKernelNode_v2(phGraphNode, hGraph, dependencies, numDependencies, &wide);
}

CUresult cuGraphAddMemcpyNode(CUgraphNode* phGraphNode, CUgraph hGraph, const CUgraphNode* dependencies,
                              size_t numDependencies, const CUDA_MEMCPY3D* copyParams, CUcontext ctx) {
  return add(phGraphNode, hGraph, dependencies, numDependencies, copy_of(copyParams), runtime().context(ctx));
}

CUresult cuGraphAddMemsetNode(CUgraphNode* phGraphNode, CUgraph hGraph, const CUgraphNode* dependencies,
                              size_t numDependencies, const CUDA_MEMSET_NODE_PARAMS* memsetParams,
                              CUcontext ctx) {
  return add(phGraphNode, hGraph, dependencies, numDependencies, fill_of(memsetParams),
             runtime().context(ctx));
}

CUresult cuGraphAddHostNode(CUgraphNode* phGraphNode, CUgraph hGraph, const CUgraphNode* dependencies,
                            size_t numDependencies, const CUDA_HOST_NODE_PARAMS* nodeParams) {
  return add(phGraphNode, hGraph, dependencies, numDependencies, host_call_of(nodeParams), nullptr);
}

CUresult cuGraphAddEmptyNode(CUgraphNode* phGraphNode, CUgraph hGraph, const CUgraphNode* dependencies,
                             size_t numDependencies) {
  return add(phGraphNode, hGraph, dependencies, numDependencies, Nothing{}, nullptr);
}

CUresult cuGraphAddDependencies_v2(CUgraph hGraph, const CUgraphNode* from, const CUgraphNode* to,
                                   const CUgraphEdgeData* edgeData, size_t numDependencies) {
  const auto graph = resolve_graph(hGraph);
  const auto lock = lock_graphs();
  for (size_t i = 0; i < numDependencies; ++i) {
    const auto a = resolve_node(not_null(from, "from")[i]), b = resolve_node(not_null(to, "to")[i]);
    if (a->graph != graph.get() || b->graph != graph.get() || a == b)
      refuse(CUDA_ERROR_INVALID_VALUE, "edge {}: expected two different nodes of the graph", i);
    for (const auto& e : b->after)
      if (e.from == a.get()) refuse(CUDA_ERROR_INVALID_VALUE, "edge {} exists already", i);
    b->after.push_back({a.get(), edgeData ? edgeData[i] : CUgraphEdgeData{}});
  }
  return CUDA_SUCCESS;
}

CUresult cuGraphAddDependencies(CUgraph hGraph, const CUgraphNode* from, const CUgraphNode* to,
                                size_t numDependencies) {
  return api::cuGraphAddDependencies_v2(hGraph, from, to, nullptr, numDependencies);
}

// ---- Queries
// ---------------------------------------------------------------------------------------------------------------

CUresult cuGraphGetNodes(CUgraph hGraph, CUgraphNode* nodes, size_t* numNodes) {
  const auto graph = resolve_graph(hGraph);
  const auto lock = lock_graphs();
  std::vector<CUgraphNode> all;
  for (const auto& n : graph->nodes) all.push_back(handle_of(n.get()));
  return give_nodes(all, nodes, numNodes);
}

CUresult cuGraphGetRootNodes(CUgraph hGraph, CUgraphNode* rootNodes, size_t* numRootNodes) {
  const auto graph = resolve_graph(hGraph);
  const auto lock = lock_graphs();
  std::vector<CUgraphNode> roots;
  for (const auto& n : graph->nodes)
    if (n->after.empty()) roots.push_back(handle_of(n.get()));
  return give_nodes(roots, rootNodes, numRootNodes);
}

CUresult cuGraphGetEdges_v2(CUgraph hGraph, CUgraphNode* from, CUgraphNode* to, CUgraphEdgeData* edgeData,
                            size_t* numEdges) {
  not_null(numEdges, "numEdges");
  if (!from != !to || (edgeData && !from))
    refuse(CUDA_ERROR_INVALID_VALUE, "from and to: expected both or neither, and both with edgeData");
  const auto graph = resolve_graph(hGraph);
  const auto lock = lock_graphs();
  std::vector<CUgraphNode> starts, ends;
  std::vector<CUgraphEdgeData> data;
  for (const auto& n : graph->nodes)
    for (const GraphNode::Edge& e : n->after) {
      starts.push_back(handle_of(e.from));
      ends.push_back(handle_of(n.get()));
      data.push_back(e.data);
    }
  const size_t room = *numEdges;
  if (from) {
    refuse_lossy(data, edgeData);
    give(starts, from, room);
    give(ends, to, room);
    if (edgeData) give(data, edgeData, room);
  }
  *numEdges = from ? std::min(room, starts.size()) : starts.size();
  return CUDA_SUCCESS;
}

CUresult cuGraphGetEdges(CUgraph hGraph, CUgraphNode* from, CUgraphNode* to, size_t* numEdges) {
  return api::cuGraphGetEdges_v2(hGraph, from, to, nullptr, numEdges);
}

CUresult cuGraphNodeGetDependencies_v2(CUgraphNode hNode, CUgraphNode* dependencies,
                                       CUgraphEdgeData* edgeData, size_t* numDependencies) {
  not_null(numDependencies, "numDependencies");
  if (edgeData && !dependencies) refuse(CUDA_ERROR_INVALID_VALUE, "edgeData without dependencies");
  const auto node = resolve_node(hNode);
  const auto lock = lock_graphs();
  std::vector<CUgraphNode> from;
  std::vector<CUgraphEdgeData> data;
  for (const GraphNode::Edge& e : node->after) {
    from.push_back(handle_of(e.from));
    data.push_back(e.data);
  }
  return give_edges(from, data, dependencies, edgeData, numDependencies);
}

CUresult cuGraphNodeGetDependencies(CUgraphNode hNode, CUgraphNode* dependencies, size_t* numDependencies) {
  return api::cuGraphNodeGetDependencies_v2(hNode, dependencies, nullptr, numDependencies);
}

CUresult cuGraphNodeGetDependentNodes_v2(CUgraphNode hNode, CUgraphNode* dependentNodes,
                                         CUgraphEdgeData* edgeData, size_t* numDependentNodes) {
  not_null(numDependentNodes, "numDependentNodes");
  if (edgeData && !dependentNodes) refuse(CUDA_ERROR_INVALID_VALUE, "edgeData without dependentNodes");
  const auto node = resolve_node(hNode);
  const auto lock = lock_graphs();
  std::vector<CUgraphNode> to;
  std::vector<CUgraphEdgeData> data;
  for (const auto& n : node->graph->nodes)
    for (const GraphNode::Edge& e : n->after)
      if (e.from == node.get()) {
        to.push_back(handle_of(n.get()));
        data.push_back(e.data);
      }
  return give_edges(to, data, dependentNodes, edgeData, numDependentNodes);
}

CUresult cuGraphNodeGetDependentNodes(CUgraphNode hNode, CUgraphNode* dependentNodes,
                                      size_t* numDependentNodes) {
  return api::cuGraphNodeGetDependentNodes_v2(hNode, dependentNodes, nullptr, numDependentNodes);
}

CUresult cuGraphNodeGetType(CUgraphNode hNode, CUgraphNodeType* type) {
  not_null(type, "type");
  const auto node = resolve_node(hNode);
  const auto lock = lock_graphs();
  *type = node_type(node->operation);
  return CUDA_SUCCESS;
}

CUresult cuGraphKernelNodeGetParams_v2(CUgraphNode hNode, CUDA_KERNEL_NODE_PARAMS* nodeParams) {
  *not_null(nodeParams, "nodeParams") = kernel_params(hNode);
  return CUDA_SUCCESS;
}

CUresult cuGraphKernelNodeGetParams(CUgraphNode hNode, CUDA_KERNEL_NODE_PARAMS_v1* nodeParams) {
  const CUDA_KERNEL_NODE_PARAMS wide = kernel_params(hNode);
  std::memcpy(not_null(nodeParams, "nodeParams"), &wide, sizeof *nodeParams);
  return CUDA_SUCCESS;
}

CUresult cuGraphKernelNodeSetParams_v2(CUgraphNode hNode, const CUDA_KERNEL_NODE_PARAMS* nodeParams) {
  return set_kernel_params(hNode, *not_null(nodeParams, "nodeParams"));
}

CUresult cuGraphKernelNodeSetParams(CUgraphNode hNode, const CUDA_KERNEL_NODE_PARAMS_v1* nodeParams) {
  return set_kernel_params(hNode, widened(nodeParams));
}

// ---- Executable graphs
// -----------------------------------------------------------------------------------------------------

CUresult cuGraphInstantiateWithFlags(CUgraphExec* phGraphExec, CUgraph hGraph, unsigned long long flags) {
  not_null(phGraphExec, "phGraphExec");
  if (flags & CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD)
    refuse(CUDA_ERROR_INVALID_VALUE,
           "flags: CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD needs a stream, which only "
           "cuGraphInstantiateWithParams takes");
  GraphNode* culprit = nullptr;
  *phGraphExec = publish(make_exec(hGraph, flags, culprit));
  return CUDA_SUCCESS;
}

CUresult cuGraphInstantiate_v2(CUgraphExec* phGraphExec, CUgraph hGraph, CUgraphNode* phErrorNode,
                               char* logBuffer, size_t bufferSize) {
  not_null(phGraphExec, "phGraphExec");
  if (logBuffer && bufferSize > 0) logBuffer[0] = '\0';
  GraphNode* culprit = nullptr;
  try {
    *phGraphExec = publish(make_exec(hGraph, 0, culprit));
  } catch (const Refusal& r) {
    if (phErrorNode) *phErrorNode = handle_of(culprit);
    if (logBuffer && bufferSize > 0) {
      const size_t n = std::min(bufferSize - 1, r.text.size());
      std::memcpy(logBuffer, r.text.data(), n);
      logBuffer[n] = '\0';
    }
    throw;
  }
  if (phErrorNode) *phErrorNode = nullptr;
  return CUDA_SUCCESS;
}

CUresult cuGraphInstantiate(CUgraphExec* phGraphExec, CUgraph hGraph, CUgraphNode* phErrorNode,
                            char* logBuffer, size_t bufferSize) {
  return api::cuGraphInstantiate_v2(phGraphExec, hGraph, phErrorNode, logBuffer, bufferSize);
}

CUresult cuGraphInstantiateWithParams(CUgraphExec* phGraphExec, CUgraph hGraph,
                                      CUDA_GRAPH_INSTANTIATE_PARAMS* instantiateParams) {
  not_null(phGraphExec, "phGraphExec");
  CUDA_GRAPH_INSTANTIATE_PARAMS& p = *not_null(instantiateParams, "instantiateParams");
  p.hErrNode_out = nullptr;
  p.result_out = CUDA_GRAPH_INSTANTIATE_ERROR;
  GraphNode* culprit = nullptr;
  try {
    const auto exec = make_exec(hGraph, p.flags, culprit);
    if (p.flags & CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD)
      refuse_capturing(resolve_stream(p.hUploadStream), "the upload of a graph");
    *phGraphExec = publish(exec);
  } catch (const Refusal&) {
    if (culprit) p.result_out = CUDA_GRAPH_INSTANTIATE_INVALID_STRUCTURE;
    p.hErrNode_out = handle_of(culprit);
    throw;
  }
  p.result_out = CUDA_GRAPH_INSTANTIATE_SUCCESS;
  return CUDA_SUCCESS;
}

// The device holds a graph in host memory: there is nothing to upload.
CUresult cuGraphUpload(CUgraphExec hGraphExec, CUstream hStream) {
  resolve_exec(hGraphExec);
  refuse_capturing(resolve_stream(hStream), "cuGraphUpload");
  return CUDA_SUCCESS;
}

CUresult cuGraphLaunch(CUgraphExec hGraphExec, CUstream hStream) {
  const auto exec = resolve_exec(hGraphExec);
  const StreamRef stream = resolve_stream(hStream);
  refuse_capturing(stream, "cuGraphLaunch (a child graph)", CUDA_ERROR_NOT_SUPPORTED);
  launch(*exec, stream);
  return CUDA_SUCCESS;
}

CUresult cuGraphExecUpdate_v2(CUgraphExec hGraphExec, CUgraph hGraph,
                              CUgraphExecUpdateResultInfo* resultInfo) {
  return update(hGraphExec, hGraph, *not_null(resultInfo, "resultInfo"));
}

CUresult cuGraphExecUpdate(CUgraphExec hGraphExec, CUgraph hGraph, CUgraphNode* hErrorNode_out,
                           CUgraphExecUpdateResult* updateResult_out) {
  struct Out {
    CUgraphExecUpdateResultInfo info{};
    CUgraphNode* node;
    CUgraphExecUpdateResult* result;
    ~Out() {  // also when the update is refused
      if (node) *node = info.errorNode;
      if (result) *result = info.result;
    }
  } out{{}, hErrorNode_out, updateResult_out};
  return update(hGraphExec, hGraph, out.info);
}

CUresult cuGraphExecKernelNodeSetParams_v2(CUgraphExec hGraphExec, CUgraphNode hNode,
                                           const CUDA_KERNEL_NODE_PARAMS* nodeParams) {
  return set_exec_kernel(hGraphExec, hNode, *not_null(nodeParams, "nodeParams"));
}

CUresult cuGraphExecKernelNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode,
                                        const CUDA_KERNEL_NODE_PARAMS_v1* nodeParams) {
  return set_exec_kernel(hGraphExec, hNode, widened(nodeParams));
}

CUresult cuGraphExecMemcpyNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode,
                                        const CUDA_MEMCPY3D* copyParams, CUcontext ctx) {
  runtime().context(ctx);
  return set_exec_node(hGraphExec, hNode,
                       [&](const auto&, auto&) -> Operation { return copy_of(copyParams); });
}

CUresult cuGraphExecMemsetNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode,
                                        const CUDA_MEMSET_NODE_PARAMS* memsetParams, CUcontext ctx) {
  runtime().context(ctx);
  return set_exec_node(hGraphExec, hNode,
                       [&](const auto&, auto&) -> Operation { return fill_of(memsetParams); });
}

CUresult cuGraphExecHostNodeSetParams(CUgraphExec hGraphExec, CUgraphNode hNode,
                                      const CUDA_HOST_NODE_PARAMS* nodeParams) {
  return set_exec_node(hGraphExec, hNode,
                       [&](const auto&, auto&) -> Operation { return host_call_of(nodeParams); });
}

CUresult cuGraphExecGetFlags(CUgraphExec hGraphExec, cuuint64_t* flags) {
  // Uploading is not a property of the executable graph.
  *not_null(flags, "flags") =
      resolve_exec(hGraphExec)->flags & ~cuuint64_t{CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD};
  return CUDA_SUCCESS;
}

CUresult cuGraphExecDestroy(CUgraphExec hGraphExec) {
  if (!runtime().graph_execs.remove(hGraphExec))
    refuse(CUDA_ERROR_INVALID_VALUE, "{} is not an executable graph", static_cast<void*>(hGraphExec));
  return CUDA_SUCCESS;
}

}  // namespace ptxops::virt::api
