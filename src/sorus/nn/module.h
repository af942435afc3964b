// Module: a part of a model. It owns parameters, buffers and other modules, in the order in which they were registered.
//
//   struct Mlp : nn::Module {
//     std::shared_ptr<nn::Linear> a = add("a", std::make_shared<nn::Linear>(784, 128));
//     std::shared_ptr<nn::Linear> b = add("b", std::make_shared<nn::Linear>(128, 10));
//     Tensor forward(const Tensor& x) override { return b->forward(relu(a->forward(x))); }
//   };
//
// The names are those of PyTorch ("h.0.attn.c_proj.weight"), so that a state dictionary means the same in both.
#pragma once

#include <functional>
#include <map>
#include <memory>

#include "sorus/tensor/tensor.h"

namespace sorus::nn {

using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

class Module {
 public:
  virtual ~Module() = default;
  Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  virtual Tensor forward(const Tensor& input);
  Tensor operator()(const Tensor& input) { return forward(input); }

  /// Registering a name again replaces what it meant.
  /// A tensor that is trained. An undefined one keeps its name free (a layer without bias).
  Tensor register_parameter(const std::string& name, const Tensor& t);
  Tensor register_buffer(const std::string& name, const Tensor& t);
  void register_module(const std::string& name, std::shared_ptr<Module> child);
  template <class M>
  std::shared_ptr<M> add(const std::string& name, std::shared_ptr<M> child) {
    register_module(name, child);
    return child;
  }

  /// Each tensor once, under the first of its names (a tied head has two).
  NamedTensors named_parameters() const;
  TensorList parameters() const;
  const std::vector<std::pair<std::string, std::shared_ptr<Module>>>& children() const { return children_; }
  int64_t num_parameters() const;

  /// All names, parameters and buffers, without record of gradients.
  std::map<std::string, Tensor> state_dict() const;
  /// Copies into the tensors of this module. Names that are missing, unexpected, or of another shape are listed
  /// together in one KeyError or ValueError, before anything is copied; `strict` false skips the first two.
  void load_state_dict(const std::map<std::string, Tensor>& state, bool strict = true);

  void train(bool on = true);
  void eval() { train(false); }
  bool is_training() const { return training_; }
  void zero_grad();
  /// Children first, then this module.
  void apply(const std::function<void(Module&)>& f);

 private:
  void visit(const std::string& prefix, const std::function<void(const std::string&, const Tensor&, bool)>& f) const;
  struct Slot {
    std::string name;
    Tensor tensor;
    bool is_parameter;
  };
  void register_tensor(const std::string& name, const Tensor& t, bool is_parameter);

  std::vector<Slot> tensors_;
  std::vector<std::pair<std::string, std::shared_ptr<Module>>> children_;
  bool training_ = true;
};

}  // namespace sorus::nn
