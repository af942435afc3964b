#include "sorus/graph/evaluate.h"

#include <unordered_map>

namespace sorus {
namespace {

Tensor eager_constant(const Node& node) {
  const TensorType& t = node.outputs[0];
  return t.weak ? Tensor::weak_scalar(node.constant.scalar()) : Tensor::scalar(node.constant.scalar(), t.dtype);
}

}  // namespace

TensorList evaluate(const Graph& graph, TensorSpan inputs, const std::function<Tensor(const Node&)>& constant) {
  SORUS_CHECK(inputs.size() == graph.inputs().size(), ValueError, "graph {}: expected {} inputs, got {}",
              graph.name(), graph.inputs().size(), inputs.size());
  std::unordered_map<Value, Tensor> values;
  for (size_t i = 0; i < inputs.size(); ++i) values[{graph.inputs()[i], 0}] = inputs[i];
  std::unordered_map<const Node*, const Node*> last_use;
  for (const auto& node : graph.nodes())
    for (const Value& v : node->inputs)
      if (v) last_use[v.node] = node.get();
  for (const Value& v : graph.outputs()) last_use.erase(v.node);
  for (const auto& node : graph.nodes()) {
    if (node->is_input()) continue;
    if (node->is_constant()) {
      values[{node.get(), 0}] = constant ? constant(*node) : eager_constant(*node);
      continue;
    }
    TensorList args;
    for (const Value& v : node->inputs) args.push_back(v ? values.at(v) : Tensor());
    SourceScope source(node->source);
    TensorList out = call(*node->op, args, node->attrs);
    for (size_t i = 0; i < out.size(); ++i) values[{node.get(), static_cast<int>(i)}] = out[i];
    for (const Value& v : node->inputs) {
      auto last = v ? last_use.find(v.node) : last_use.end();
      if (last == last_use.end() || last->second != node.get()) continue;
      for (size_t i = 0; i < v.node->outputs.size(); ++i) values.erase({v.node, static_cast<int>(i)});
    }
  }
  TensorList results;
  for (const Value& v : graph.outputs()) results.push_back(values.at(v));
  return results;
}

}  // namespace sorus
