#include "sorus/run/execute.h"

#include <array>

namespace sorus {

TensorList run_graph(const Graph& graph, TensorSpan inputs) {
  SORUS_CHECK(inputs.size() == graph.inputs().size(), ValueError, "graph {}: expected {} inputs, got {}",
              graph.name(), graph.inputs().size(), inputs.size());
  GradMode off(false);
  std::unordered_map<Value, Tensor> values;
  std::unordered_map<const Node*, int> last_use;
  int at = 0;
  for (const auto& node : graph.nodes()) {
    ++at;
    for (const Value& v : node->inputs)
      if (v) last_use[v.node] = at;
  }
  for (const Value& v : graph.outputs()) last_use[v.node] = at + 1;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const TensorType& t = graph.inputs()[i]->outputs[0];
    SORUS_CHECK(inputs[i].sizes() == t.shape && inputs[i].dtype() == t.dtype, ValueError,
                "graph {}: input {} is {}, expected {}", graph.name(), i, inputs[i].type().to_string(),
                t.to_string());
    values[{graph.inputs()[i], 0}] = inputs[i];
  }
  at = 0;
  for (const auto& node : graph.nodes()) {
    ++at;
    if (node->is_input()) continue;
    if (node->is_constant()) {
      const TensorType& t = node->outputs[0];
      values[{node.get(), 0}] =
          t.weak ? Tensor::weak_scalar(node->constant.scalar()) : Tensor::scalar(node->constant.scalar(), t.dtype);
      continue;
    }
    TensorList args;
    for (const Value& v : node->inputs) args.push_back(v ? values.at(v) : Tensor());
    SourceScope source(node->source);
    TensorList out = call(*node->op, args, node->attrs);
    for (size_t i = 0; i < out.size(); ++i) values[{node.get(), static_cast<int>(i)}] = out[i];
    args.clear();
    for (const Value& v : node->inputs)
      if (v && last_use[v.node] == at)
        for (size_t i = 0; i < v.node->outputs.size(); ++i) values.erase({v.node, static_cast<int>(i)});
  }
  TensorList results;
  for (const Value& v : graph.outputs()) results.push_back(values.at(v));
  return results;
}

TracedGraph trace(const std::function<TensorList(TensorSpan)>& f, TensorSpan inputs, std::string name) {
  Tracer tracer(std::move(name));
  TensorList stand_ins;
  for (const Tensor& t : inputs) stand_ins.push_back(tracer.input(t.type()));
  InterpreterScope scope(&tracer);
  for (const Tensor& t : f(stand_ins)) tracer.output(t);
  return tracer.finish();
}

TensorList run_traced(const TracedGraph& traced, TensorSpan inputs) {
  TensorList all(inputs.begin(), inputs.end());
  all.insert(all.end(), traced.captures.begin(), traced.captures.end());
  TensorList out = run_graph(traced.graph, all);
  static const OpDef& copy = find_op("copy");
  GradMode off(false);
  auto first_write = out.begin() + traced.explicit_outputs;
  for (size_t i = 0; i < traced.write_targets.size(); ++i) {
    Tensor target = all[static_cast<size_t>(traced.write_targets[i])].detach();
    call_into(copy, std::array{target, first_write[static_cast<ptrdiff_t>(i)]}, {}, std::array{target});
  }
  out.resize(static_cast<size_t>(traced.explicit_outputs));
  return out;
}

}  // namespace sorus
