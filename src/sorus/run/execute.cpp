#include "sorus/run/execute.h"

#include <array>

#include "sorus/graph/evaluate.h"

namespace sorus {

TensorList run_graph(const Graph& graph, TensorSpan inputs) {
  SORUS_CHECK(inputs.size() == graph.inputs().size(), ValueError, "graph {}: expected {} inputs, got {}",
              graph.name(), graph.inputs().size(), inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    const TensorType& t = graph.inputs()[i]->outputs[0];
    SORUS_CHECK(inputs[i].sizes() == t.shape && inputs[i].dtype() == t.dtype, ValueError,
                "graph {}: input {} is {}, expected {}", graph.name(), i, inputs[i].type().to_string(),
                t.to_string());
  }
  GradMode off(false);
  return evaluate(graph, inputs);
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
