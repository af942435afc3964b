#include "sorus/graph/copy.h"

namespace sorus {
namespace {

Value value_of(const Node& node, size_t index) { return {const_cast<Node*>(&node), static_cast<int>(index)}; }

}  // namespace

ValueMap copy_inputs(const Graph& from, Graph& to) {
  ValueMap map;
  for (Node* in : from.inputs()) map[{in, 0}] = to.add_input(in->outputs[0], in->label);
  return map;
}

std::vector<Value> mapped_inputs(const Node& node, const ValueMap& map) {
  std::vector<Value> inputs;
  for (const Value& v : node.inputs) inputs.push_back(v ? map.at(v) : Value{});
  return inputs;
}

void map_results(const Node& node, Node* made, ValueMap& map) {
  for (size_t i = 0; i < node.outputs.size(); ++i) map[value_of(node, i)] = {made, static_cast<int>(i)};
}

void copy_node(const Node& node, Graph& to, ValueMap& map) {
  if (!node.is_constant())
    return map_results(node, to.add(*node.op, mapped_inputs(node, map), node.attrs, node.source), map);
  const TensorType& t = node.outputs[0];
  map[value_of(node, 0)] = to.add_constant(node.constant.scalar(), t.dtype, t.weak);
}

void copy_outputs(const Graph& from, Graph& to, const ValueMap& map) {
  std::vector<Value> outputs;
  for (const Value& v : from.outputs()) outputs.push_back(map.at(v));
  to.set_outputs(std::move(outputs));
}

}  // namespace sorus
