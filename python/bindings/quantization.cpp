// sorus._core._quantization: a module recorded as a list of operators, from which sorus.quantization makes layers.
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <unordered_map>

#include "bind.h"
#include "sorus/graph/trace.h"

namespace sorus::python {
namespace {

nb::object wrap_attr(const Attr& a) {
  if (a.is_none()) return nb::none();
  if (a.is_scalar()) return wrap_scalar(a.scalar());
  if (a.is_ints()) return nb::cast(std::vector<int64_t>(a.ints().begin(), a.ints().end()));
  if (a.is_dtype()) return wrap_dtype(a.dtype());
  if (a.is_string()) return nb::cast(a.string());
  return nb::cast(a.reals());
}

// The operators of `f(x, ...)` for inputs of these shapes, in order. What depends on weights alone is computed:
// `constant`. `inputs` are (number of the node, which of its results), None for a tensor that is not given.
nb::tuple record(const nb::object& f, const std::vector<std::vector<int64_t>>& input_shapes) {
  Tracer tracer("quantize");
  tracer.set_keep([](const OpDef&) { return true; });
  GradMode off(false);
  {
    InterpreterScope scope(&tracer);
    nb::list inputs;
    for (const std::vector<int64_t>& shape : input_shapes)
      inputs.append(wrap(tracer.input({DType::f32, Shape(shape.begin(), shape.end())}, "input")));
    tracer.output(unwrap(f(*nb::tuple(inputs)), "the result of the model"));
  }
  TracedGraph traced = tracer.finish();
  SORUS_CHECK(traced.write_targets.empty(), ValueError,
              "quantize: the model writes to {} of its tensors when it runs; call model.eval() first",
              traced.write_targets.size());
  std::unordered_map<Value, Tensor> known;
  for (size_t i = 0; i < traced.captures.size(); ++i)
    known[{traced.graph.inputs()[static_cast<size_t>(traced.explicit_inputs) + i], 0}] = traced.captures[i].detach();
  std::unordered_map<const Node*, int> numbers;
  auto place = [&](const Value& v) { return nb::make_tuple(numbers.at(v.node), v.index); };
  nb::list nodes;
  for (const auto& node : traced.graph.nodes()) {
    numbers[node.get()] = static_cast<int>(nodes.size());
    nb::dict d;
    nb::list inputs;
    TensorList args;
    bool all_known = !node->is_input();
    for (const Value& v : node->inputs) {
      inputs.append(v ? nb::object(place(v)) : nb::none());
      auto it = v ? known.find(v) : known.end();
      all_known = all_known && (!v || it != known.end());
      args.push_back(it != known.end() ? it->second : Tensor());
    }
    if (node->is_constant()) {
      known[{node.get(), 0}] = Tensor::scalar(node->constant.scalar(), node->outputs[0].dtype);
    } else if (all_known) {
      TensorList results = call(*node->op, args, node->attrs);
      for (size_t i = 0; i < results.size(); ++i) known[{node.get(), static_cast<int>(i)}] = results[i];
    }
    nb::dict attrs;
    size_t at = 0;
    if (node->op)
      for (const Param& p : node->op->signature.params)
        if (!p.is_tensor()) attrs[p.name.c_str()] = wrap_attr(node->attrs[at++]);
    nb::list shapes;
    for (const TensorType& t : node->outputs) shapes.append(wrap_size(t.shape));
    d["op"] = node->op ? node->op->name() : std::string(node->is_input() ? "input" : "constant");
    d["inputs"] = inputs, d["attrs"] = attrs, d["shapes"] = shapes;
    auto value = known.find({node.get(), 0});
    d["constant"] = value != known.end() ? wrap(value->second) : nb::none();
    d["source"] = node->source.known() ? nb::object(nb::cast(node->source.to_string())) : nb::none();
    nodes.append(d);
  }
  return nb::make_tuple(nodes, place(traced.graph.outputs()[0]));
}

const Part part{27, [](nb::module_& root) {
                  nb::module_ m = root.def_submodule("_quantization");
                  m.def("record", &record);
                }};

}  // namespace
}  // namespace sorus::python
