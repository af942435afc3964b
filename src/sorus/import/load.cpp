#include "sorus/import/load.h"

#include <algorithm>
#include <array>

#include "sorus/graph/evaluate.h"

namespace sorus {
namespace importer {
namespace {

void check_input(const Port& port, const Tensor& t) {
  SORUS_CHECK(t.defined(), TypeError, "input '{}' is missing", port.name);
  SORUS_CHECK(t.dtype() == port.type.dtype, TypeError, "input '{}' is {}, expected {}", port.name,
              t.type().to_string(), port.type.to_string());
  bool fits = t.sizes().size() == port.type.shape.size();
  for (size_t d = 1; fits && d < t.sizes().size(); ++d) fits = t.sizes()[d] == port.type.shape[d];
  SORUS_CHECK(fits, ValueError, "input '{}' is {}, expected {}{}", port.name, t.type().to_string(),
              port.type.to_string(), port.type.shape.empty() ? "" : " (the first dimension may differ)");
}

}  // namespace

TensorList run_model(const ImportedModel& model, TensorSpan inputs, TensorSpan weights) {
  const TracedGraph& traced = model.traced;
  const Graph& graph = traced.graph;
  SORUS_CHECK(inputs.size() == model.inputs.size(), TypeError, "the model takes {} inputs, got {}",
              model.inputs.size(), inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) check_input(model.inputs[i], inputs[i]);
  SORUS_CHECK(inputs.size() + weights.size() == graph.inputs().size(), ValueError, "the model has {} weights, got {}",
              graph.inputs().size() - inputs.size(), weights.size());
  TensorList all(inputs.begin(), inputs.end());
  all.insert(all.end(), weights.begin(), weights.end());
  TensorList results = evaluate(graph, all);
  static const OpDef& copy = find_op("copy");
  for (size_t i = 0; i < traced.write_targets.size(); ++i) {
    GradMode off(false);
    const Tensor& state = weights[static_cast<size_t>(traced.write_targets[i]) - inputs.size()];
    const Tensor& fresh = results[static_cast<size_t>(traced.explicit_outputs) + i];
    call_into(copy, std::array{state, fresh}, {}, std::array{state});
  }
  results.resize(static_cast<size_t>(traced.explicit_outputs));
  return results;
}

}  // namespace importer

ImportedModule::ImportedModule(importer::ImportedModel model) : model_(std::move(model)) {
  const auto& inputs = graph().inputs();
  int repeats = 1;
  for (size_t i = 0; i < model_.traced.captures.size(); ++i) {
    const Tensor& t = model_.traced.captures[i];
    std::string name = inputs[model_.inputs.size() + i]->label;
    std::ranges::replace(name, '.', '_');  // a dot stands between modules
    if (name.empty()) name = "weight";
    for (std::string base = name; find_tensor(name);) name = fmt::format("{}_{}", base, ++repeats);
    // A state is no weight: nobody trains it.
    bool state = std::ranges::count(model_.traced.write_targets, static_cast<int>(model_.inputs.size() + i)) > 0;
    if (is_differentiable(t.dtype()) && !state)
      register_parameter(name, t);
    else
      register_buffer(name, t);
    weight_names_.push_back(name);
  }
}

TensorList ImportedModule::run(TensorSpan inputs) {
  TensorList weights;
  for (const std::string& name : weight_names_) weights.push_back(find_tensor(name)->tensor());
  return importer::run_model(model_, inputs, weights);
}

Tensor ImportedModule::forward(const Tensor& input) { return run({input})[0]; }

std::string ImportedModule::extra_repr() const {
  auto text = [](const std::vector<importer::Port>& ports) {
    std::string out;
    for (const auto& p : ports) out += fmt::format("{}{}: {}", out.empty() ? "" : ", ", p.name, p.type.to_string());
    return out;
  };
  return fmt::format("{}, ({}) -> ({})", model_.format, text(model_.inputs), text(model_.outputs));
}

std::shared_ptr<ImportedModule> load_model(const std::filesystem::path& path) {
  return std::make_shared<ImportedModule>(importer::import_model(path));
}

}  // namespace sorus
