// What the registry knows about an operator, as a dictionary: for the pages of documentation and for the curious.
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bind.h"
#include "sorus/derive/cost.h"
#include "sorus/derive/sharding.h"
#include "sorus/graph/op.h"
#include "sorus/graph/scalar.h"
#include "sorus/graph/trace.h"

namespace sorus::python {
namespace {

nb::list names_of(const std::vector<std::string>& names) {
  nb::list out;
  for (auto& n : names) out.append(nb::str(n.c_str()));
  return out;
}

nb::dict facts(const std::string& name) {
  const OpDef& op = find_op(name);
  nb::dict d;
  nb::list tensors;
  for (const Param& p : op.signature.params)
    if (p.is_tensor()) tensors.append(nb::str(p.name.c_str()));
  d["name"] = op.name();
  d["base"] = op.signature.base;
  d["signature"] = op.signature.to_string();
  d["tensors"] = tensors;
  d["outputs"] = names_of(op.signature.outputs);
  d["doc"] = op.doc;
  d["each"] = op.each_text;
  d["index"] = op.index_text;
  d["axes"] = op.axes_text;
  d["result"] = op.result_text;
  d["flops_per_element"] = op.each ? nb::cast(flops(*op.each)) : nb::none();
  d["view"] = op.is_view();
  d["body"] = static_cast<bool>(op.body);
  d["expand"] = static_cast<bool>(op.expand);
  d["kernel"] = static_cast<bool>(op.kernel);
  d["types_rule"] = static_cast<bool>(op.types);
  d["gradient_rule"] = static_cast<bool>(op.gradient);
  d["gradient_saves"] = names_of(op.gradient_saves);
  d["cost_rule"] = static_cast<bool>(op.cost);
  d["differentiable"] = op.differentiable;
  d["random"] = op.random;
  d["value_shaped"] = op.value_shaped;
  d["autocast"] = op.autocast == Autocast::lower ? "lower" : op.autocast == Autocast::full ? "full" : "none";
  return d;
}

// A plausible value for an attribute that has no default, so that an example of a call can be shown.
Attr some_value(const Param& p) {
  switch (p.type) {
    case ParamType::boolean:
      return Attr(true);
    case ParamType::real:
      return Attr(0.5);
    case ParamType::scalar:
      return Attr(Scalar(0.5));
    case ParamType::dtype:
      return Attr(DType::f32);
    case ParamType::ints:
      return Attr(Shape(static_cast<size_t>(std::max(p.list_size, 1)), 1));
    case ParamType::reals:
      return Attr(std::vector<double>{0.5});
    case ParamType::string:
      return Attr(std::string("ij,jk->ik"));
    default:
      return Attr(int64_t{1});
  }
}

// The smaller operators that a composite stands for, as the text of a graph.
std::string smaller_operators(const OpDef& op, const std::vector<const TensorType*>& types, const Attrs& attrs) {
  Tracer tracer(op.name());
  {
    InterpreterScope scope(&tracer);
    TensorList inputs;
    for (size_t i = 0; i < types.size(); ++i) {
      int at = op.signature.tensor_param_of_slot(static_cast<int>(i), static_cast<int>(types.size()));
      inputs.push_back(types[i] ? tracer.input(*types[i], op.signature.tensor_param(at).name) : Tensor());
    }
    Call call{op, inputs, attrs};
    for (const Tensor& t : op.body ? op.body(call) : op.expand(call)) tracer.output(t);
  }
  return tracer.finish().graph.to_string();
}

// Result types, sharding rule and cost of one call with inputs of these ranks (-1: an optional input that is not
// given), every dimension of size 4. Masks are int64 or, if that does not fit, bool. None if it is not a valid call.
nb::object example(const std::string& name, const std::vector<int>& ranks) {
  const OpDef& op = find_op(name);
  int count = static_cast<int>(ranks.size());
  for (int i = 0; i < count; ++i)
    if (ranks[static_cast<size_t>(i)] < 0 &&
        !op.signature.tensor_param(op.signature.tensor_param_of_slot(i, count)).optional)
      return nb::none();
  Attrs attrs;
  for (const Param& p : op.signature.params)
    if (!p.is_tensor()) attrs.push_back(p.has_default ? p.default_value : some_value(p));
  for (DType mask : {DType::i64, DType::boolean}) {
    std::vector<TensorType> types;
    std::vector<const TensorType*> inputs;
    for (size_t i = 0; i < ranks.size(); ++i) {
      int at = op.signature.tensor_param_of_slot(static_cast<int>(i), static_cast<int>(ranks.size()));
      DType t = op.signature.tensor_param(at).promotes ? DType::f32 : mask;
      types.push_back({t, Shape(static_cast<size_t>(std::max(ranks[i], 0)), 4)});
    }
    for (size_t i = 0; i < ranks.size(); ++i) inputs.push_back(ranks[i] < 0 ? nullptr : &types[i]);
    TypeCall call{op, inputs, attrs};
    try {
      nb::dict d;
      nb::list in, out;
      for (auto* t : inputs) in.append(nb::str(t ? t->to_string().c_str() : "none"));
      d["inputs"] = in;
      // A body may rely on what the rule of types has checked, so that comes first.
      if (!op.expand)
        for (auto& t : infer_types(call)) out.append(nb::str(t.to_string().c_str()));
      if (op.body || op.expand) d["graph"] = smaller_operators(op, inputs, attrs);
      if (!op.expand) {
        Cost c = cost_of(call);
        d["outputs"] = out;
        d["flops"] = c.flops;
        d["bytes"] = c.bytes;
        d["sharding"] = sharding_rule(call).to_string();
      }
      return d;
    } catch (const Error&) {
      continue;  // these types do not fit; a caller tries others
    }
  }
  return nb::none();
}

const Part part{30, [](nb::module_& root) {
                  nb::module_ m = root.def_submodule("_registry");
                  m.def("names", [] {
                    nb::list out;
                    for (const OpDef* op : all_ops()) out.append(nb::str(op->name().c_str()));
                    return out;
                  });
                  m.def("known", [](const std::string& name) { return find_op_or_null(name) != nullptr; });
                  m.def("facts", &facts, nb::arg("name"));
                  m.def("example", &example, nb::arg("name"), nb::arg("ranks"));
                }};

}  // namespace
}  // namespace sorus::python
