#include "driver/virtual/api/graph.h"

#include <algorithm>
#include <map>

namespace ptxops::virt {

using namespace abi;

namespace {

Runtime& runtime() {
  return Runtime::get();
}

void check_alive(const Context& context) {
  if (context.destroyed) refuse(CUDA_ERROR_CONTEXT_IS_DESTROYED, "a node's context has been destroyed");
  context.check_fault();
}

}  // namespace

std::unique_lock<std::mutex> lock_graphs() {
  static std::mutex* mutex = new std::mutex;  // leaked, as the runtime is
  return std::unique_lock(*mutex);
}

std::shared_ptr<Graph> resolve_graph(CUgraph handle) {
  auto graph = runtime().graphs.find(handle);
  if (!graph) refuse(CUDA_ERROR_INVALID_VALUE, "{} is not a graph", static_cast<void*>(handle));
  return graph;
}

std::shared_ptr<GraphNode> resolve_node(CUgraphNode handle) {
  auto node = runtime().graph_nodes.find(handle);
  if (!node) refuse(CUDA_ERROR_INVALID_VALUE, "{} is not a graph's node", static_cast<void*>(handle));
  return node;
}

std::shared_ptr<GraphExec> resolve_exec(CUgraphExec handle) {
  auto exec = runtime().graph_execs.find(handle);
  if (!exec) refuse(CUDA_ERROR_INVALID_VALUE, "{} is not an executable graph", static_cast<void*>(handle));
  return exec;
}

GraphNode& add_node(Graph& graph, Operation operation, std::shared_ptr<Context> context,
                    std::vector<GraphNode::Edge> after) {
  static uint64_t next_id = 1;
  auto node = std::make_shared<GraphNode>();
  node->graph = &graph;
  node->id = next_id++;
  node->operation = std::move(operation);
  node->context = std::move(context);
  node->after = std::move(after);
  runtime().graph_nodes.add(node);
  graph.nodes.push_back(node);
  return *node;
}

std::shared_ptr<GraphExec> instantiate(const Graph& graph, uint64_t flags, GraphNode*& culprit) {
  auto exec = std::make_shared<GraphExec>();
  exec->flags = flags;
  const size_t count = graph.nodes.size();
  std::map<const GraphNode*, size_t> index;
  for (size_t i = 0; i < count; ++i) index[graph.nodes[i].get()] = i;
  exec->nodes.resize(count);
  for (size_t i = 0; i < count; ++i) {
    const GraphNode& from = *graph.nodes[i];
    GraphExec::Node& to = exec->nodes[i];
    to.source = from.id;
    to.operation = from.operation;
    to.context = from.context;
    for (const GraphNode::Edge& e : from.after) {
      to.after.push_back(index.at(e.from));
      exec->nodes[index.at(e.from)].awaited = true;
    }
  }
  // Edges mostly go from earlier to later nodes, so that one pass finds the order.
  std::vector<bool> placed(count);
  for (bool progress = true; exec->order.size() < count && progress;) {
    progress = false;
    for (size_t i = 0; i < count; ++i) {
      const auto& after = exec->nodes[i].after;
      if (placed[i] || !std::all_of(after.begin(), after.end(), [&](size_t j) { return placed[j]; }))
        continue;
      placed[i] = progress = true;
      exec->order.push_back(i);
    }
  }
  if (exec->order.size() < count) {
    culprit =
        graph.nodes[static_cast<size_t>(std::find(placed.begin(), placed.end(), false) - placed.begin())]
            .get();
    refuse(CUDA_ERROR_INVALID_VALUE, "the graph has a cycle: {} of its {} nodes can never start",
           count - exec->order.size(), count);
  }
  return exec;
}

std::string unchangeable(const GraphExec::Node& before, const Operation& after, const Context* context,
                         CUgraphExecUpdateResult& result) {
  if (before.operation.index() != after.index()) {
    result = CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED;
    return fmt::format("node type: expected {}, got {}", static_cast<int>(node_type(before.operation)),
                       static_cast<int>(node_type(after)));
  }
  if (const auto* was = std::get_if<KernelLaunch>(&before.operation)) {
    const auto& now = std::get<KernelLaunch>(after);
    if (before.context.get() != context) {
      result = CU_GRAPH_EXEC_UPDATE_ERROR_UNSUPPORTED_FUNCTION_CHANGE;
      return fmt::format("kernel {} belongs to another context than {}", now.function->kernel->name,
                         was->function->kernel->name);
    }
    if (was->request.cooperative != now.request.cooperative) {
      result = CU_GRAPH_EXEC_UPDATE_ERROR_ATTRIBUTES_CHANGED;
      return fmt::format("cooperative launch: expected {}, got {}", was->request.cooperative,
                         now.request.cooperative);
    }
  } else if (const auto* copy = std::get_if<Transfer>(&before.operation)) {
    const auto& now = std::get<Transfer>(after);
    if (copy->to.on_device != now.to.on_device || copy->from.on_device != now.from.on_device) {
      result = CU_GRAPH_EXEC_UPDATE_ERROR_PARAMETERS_CHANGED;
      return "a copy's operands changed between host and device memory";
    }
  } else if (const auto* fill = std::get_if<Fill>(&before.operation)) {
    const Transfer &was_at = fill->target, &now_at = std::get<Fill>(after).target;
    if ((was_at.height > 1 || now_at.height > 1) &&
        (was_at.width != now_at.width || was_at.height != now_at.height)) {
      result = CU_GRAPH_EXEC_UPDATE_ERROR_PARAMETERS_CHANGED;
      return fmt::format("2D memset: expected {} rows of {} bytes, got {} of {}", was_at.height, was_at.width,
                         now_at.height, now_at.width);
    }
  }
  return {};
}

UpdateVerdict update(GraphExec& exec, const Graph& graph) {
  std::lock_guard lock(exec.mutex);
  UpdateVerdict v;
  const auto changed = [&](GraphNode* node, GraphNode* from, std::string why) {
    v.result = CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
    v.node = node, v.from = from, v.why = std::move(why);
    return v;
  };
  if (exec.nodes.size() != graph.nodes.size())
    return changed(nullptr, nullptr,
                   fmt::format("nodes: expected {}, got {}", exec.nodes.size(), graph.nodes.size()));
  std::map<const GraphNode*, size_t> index;
  for (size_t i = 0; i < graph.nodes.size(); ++i) index[graph.nodes[i].get()] = i;
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    GraphNode& node = *graph.nodes[i];
    const GraphExec::Node& before = exec.nodes[i];
    if (node.after.size() != before.after.size())
      return changed(&node, nullptr,
                     fmt::format("dependencies of node {}: expected {}, got {}", i, before.after.size(),
                                 node.after.size()));
    for (size_t j = 0; j < node.after.size(); ++j)
      if (index.at(node.after[j].from) != before.after[j])
        return changed(&node, node.after[j].from,
                       fmt::format("dependency {} of node {}: expected node {}, got {}", j, i,
                                   before.after[j], index.at(node.after[j].from)));
    v.why = unchangeable(before, node.operation, node.context.get(), v.result);
    if (!v.why.empty()) {
      v.node = &node;
      return v;
    }
  }
  for (size_t i = 0; i < graph.nodes.size(); ++i) exec.nodes[i].operation = graph.nodes[i]->operation;
  return v;
}

void launch(GraphExec& exec, const StreamRef& stream) {
  {
    const auto graphs = lock_graphs();
    std::lock_guard lock(exec.mutex);
    for (const GraphExec::Node& node : exec.nodes)
      if (const auto* record = std::get_if<EventRecord>(&node.operation)) record->event->captured = nullptr;
  }
  std::lock_guard lock(exec.mutex);
  for (const GraphExec::Node& node : exec.nodes)
    if (node.context) check_alive(*node.context);
  exec.launched = stream.context->enqueue_whole(*stream.stream, {exec.launched}, [&](const WorkPtr& start) {
    std::vector<WorkPtr> works(exec.nodes.size()), last;
    for (const size_t i : exec.order) {
      const GraphExec::Node& node = exec.nodes[i];
      std::vector<WorkPtr> after;
      for (const size_t j : node.after) after.push_back(works[j]);
      if (after.empty()) after.push_back(start);
      if (const auto* wait = std::get_if<EventWait>(&node.operation))
        after.push_back(wait->event->last_recorded());
      const auto& context = node.context ? node.context : stream.context;
      works[i] = Work::create(place_of(node.operation),
                              context->unless_faulted(body_of(node.operation, context)), after);
      if (const auto* record = std::get_if<EventRecord>(&node.operation))
        record->event->set_recorded(works[i]);
      if (!node.awaited) last.push_back(works[i]);
    }
    for (const WorkPtr& w : works) w->release();  // none starts yet: `start` has not been released
    return last;
  });
}

void destroy_graph(const std::shared_ptr<Graph>& graph) {
  runtime().graphs.remove(graph.get());
  for (const auto& node : graph->nodes) runtime().graph_nodes.remove(node.get());
}

}  // namespace ptxops::virt
