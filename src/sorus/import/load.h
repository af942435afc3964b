// load_model(): a model file as a module that runs and, where it is made of floats, trains.
//
//   auto model = sorus::load_model("mobilenet.tflite");
//   TensorList scores = model->run({image});
//
// Its weights are the parameters (floats) and buffers (integers, and states that last from run to run) of the module,
// under their names in the file, with `_` for dots. Every node of the graph is an ordinary call, so gradients,
// sorus.compile and profiles work as for any module. The first dimension of float inputs may have another size than
// the file says.
#pragma once

#include "sorus/import/model.h"
#include "sorus/nn/module.h"

namespace sorus {

class ImportedModule : public nn::Module {
 public:
  explicit ImportedModule(importer::ImportedModel model);

  /// One input, first output. Models with several of either: `run`.
  Tensor forward(const Tensor& input) override;
  /// All outputs, for all inputs in order. ValueError or TypeError that names the input which does not fit.
  TensorList run(TensorSpan inputs);
  TensorList run(std::initializer_list<Tensor> inputs) { return run(TensorSpan(inputs.begin(), inputs.size())); }

  const importer::ImportedModel& model() const { return model_; }
  const Graph& graph() const { return model_.traced.graph; }
  std::string class_name() const override { return "ImportedModule"; }
  std::string extra_repr() const override;

 private:
  importer::ImportedModel model_;
  std::vector<std::string> weight_names_;
};

/// FileError for a file that is damaged or of no known format; NotImplementedError that lists all operators which
/// cannot be converted.
std::shared_ptr<ImportedModule> load_model(const std::filesystem::path& path);

namespace importer {

/// What `ImportedModule::run` does: calls the nodes in order. `weights` stand for `traced.captures`; states among
/// them are updated.
TensorList run_model(const ImportedModel& model, TensorSpan inputs, TensorSpan weights);

}  // namespace importer
}  // namespace sorus
