// Graphs: operations and what they wait for; and executable graphs, which a stream launches as a whole.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "driver/virtual/api/operation.h"

namespace ptxops::virt {

struct Graph;

struct GraphNode {
  struct Edge {
    GraphNode* from = nullptr;
    abi::CUgraphEdgeData data{};
  };
  Graph* graph = nullptr;
  uint64_t id = 0;  // unique in the process
  Operation operation;
  std::shared_ptr<Context> context;  // null for operations of no context
  std::vector<Edge> after;
  std::vector<void*> values;  // what cuGraphKernelNodeGetParams points to
};

struct Graph {
  std::vector<std::shared_ptr<GraphNode>> nodes;  // in the order of their making
  bool capturing = false;
};

struct GraphExec {
  struct Node {
    uint64_t source = 0;  // id of the graph's node
    Operation operation;
    std::shared_ptr<Context> context;
    std::vector<size_t> after;
    bool awaited = false;  // some node waits for it
  };
  std::mutex mutex;           // taken after lock_graphs(), where both are
  std::vector<Node> nodes;    // in the graph's order
  std::vector<size_t> order;  // one in which each comes after what it waits for
  uint64_t flags = 0;
  WorkPtr launched;  // the last launch: the next one waits for it
};

// Held while graphs, captures or the capture state of streams and events are read or changed. Never taken
// with a context's mutex held.
std::unique_lock<std::mutex> lock_graphs();

// Handles. Throw CUDA_ERROR_INVALID_VALUE.
std::shared_ptr<Graph> resolve_graph(abi::CUgraph handle);
std::shared_ptr<GraphNode> resolve_node(abi::CUgraphNode handle);
std::shared_ptr<GraphExec> resolve_exec(abi::CUgraphExec handle);
inline abi::CUgraphNode handle_of(const GraphNode* node) {
  return reinterpret_cast<abi::CUgraphNode>(const_cast<GraphNode*>(node));
}
inline GraphNode* node_of(abi::CUgraphNode handle) {  // of a handle known to be valid
  return reinterpret_cast<GraphNode*>(handle);
}

// Under lock_graphs().
GraphNode& add_node(Graph& graph, Operation operation, std::shared_ptr<Context> context,
                    std::vector<GraphNode::Edge> after);
// Throws CUDA_ERROR_INVALID_VALUE for a cycle; `culprit` is then one of its nodes.
std::shared_ptr<GraphExec> instantiate(const Graph& graph, uint64_t flags, GraphNode*& culprit);

struct UpdateVerdict {
  abi::CUgraphExecUpdateResult result = abi::CU_GRAPH_EXEC_UPDATE_SUCCESS;
  GraphNode *node = nullptr, *from = nullptr;
  std::string why;
};
// Takes over the parameters of a graph of the same shape, nodes paired in the order of their making; changes
// nothing unless all can be taken. Under lock_graphs().
UpdateVerdict update(GraphExec& exec, const Graph& graph);
// What keeps a node of an executable graph from becoming `after`; empty: nothing.
std::string unchangeable(const GraphExec::Node& before, const Operation& after, const Context* context,
                         abi::CUgraphExecUpdateResult& result);

void launch(GraphExec& exec, const StreamRef& stream);

// Forgets the graph and its nodes' handles.
void destroy_graph(const std::shared_ptr<Graph>& graph);

}  // namespace ptxops::virt
