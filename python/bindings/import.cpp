// Model files of other frameworks: what sorus.load_model and `sorus import` are made of.
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bind.h"
#include "sorus/derive/cost.h"
#include "sorus/import/load.h"

namespace sorus::python {
namespace {

using importer::ImportedModel, importer::Port;

nb::list described(const std::vector<Port>& ports) {
  nb::list out;
  for (const Port& p : ports) {
    nb::dict d;
    d["name"] = p.name;
    d["dtype"] = p.type.dtype;
    d["shape"] = std::vector<int64_t>(p.type.shape.begin(), p.type.shape.end());
    d["scale"] = p.quantization.scale;
    d["zero_point"] = std::vector<int64_t>(p.quantization.zero_point.begin(), p.quantization.zero_point.end());
    out.append(d);
  }
  return out;
}

// Multiply-accumulates: half of the operations of nodes that sum products.
double macs_of(const Graph& graph) {
  double total = 0;
  for (const auto& node : graph.nodes()) {
    if (!node->op) continue;
    auto types = node->input_types();
    bool weights = false;
    for (size_t i = 1; i < node->inputs.size(); ++i)
      weights |= node->inputs[i] && node->inputs[i].type().shape.size() >= 2;
    if (weights && !node->op->each && !node->op->is_view())
      total += cost_of(TypeCall{*node->op, types, node->attrs}).flops / 2;
  }
  return total;
}

const Part import_part{
    25, [](nb::module_& root) {
      nb::module_ m = root.def_submodule("_import");
      nb::class_<ImportedModel>(m, "ImportedModel")
          .def_ro("format", &ImportedModel::format)
          .def_ro("operators", &ImportedModel::operators)
          .def_prop_ro("inputs", [](const ImportedModel& model) { return described(model.inputs); })
          .def_prop_ro("outputs", [](const ImportedModel& model) { return described(model.outputs); })
          .def_prop_ro("macs", [](const ImportedModel& model) { return macs_of(model.traced.graph); })
          .def_prop_ro("weights",
                       [](const ImportedModel& model) {
                         std::vector<std::pair<std::string, Tensor>> out;
                         const auto& inputs = model.traced.graph.inputs();
                         for (size_t i = 0; i < model.traced.captures.size(); ++i)
                           out.emplace_back(inputs[model.inputs.size() + i]->label, model.traced.captures[i]);
                         return out;
                       })
          .def_prop_ro("states",
                       [](const ImportedModel& model) {
                         std::vector<std::string> out;
                         for (int i : model.traced.write_targets)
                           out.push_back(model.traced.graph.inputs()[static_cast<size_t>(i)]->label);
                         return out;
                       })
          .def("graph", [](const ImportedModel& model) { return model.traced.graph.to_string(true); })
          .def("run", [](const ImportedModel& model, const std::vector<Tensor>& inputs,
                         const std::vector<Tensor>& weights) { return importer::run_model(model, inputs, weights); });
      m.def("import_model", &importer::import_model, nb::arg("path"), nb::call_guard<nb::gil_scoped_release>());
    }};

}  // namespace
}  // namespace sorus::python
