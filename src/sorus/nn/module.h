// Module: a part of a model. It owns parameters, buffers and other modules, in the order in which they were
// registered.
//
//   struct Mlp : nn::Module {
//     std::shared_ptr<nn::Linear> a = add("a", std::make_shared<nn::Linear>(784, 128));
//     std::shared_ptr<nn::Linear> b = add("b", std::make_shared<nn::Linear>(128, 10));
//     Tensor forward(const Tensor& x) override { return (*b)(relu((*a)(x))); }
//   };
//
// The names are those of PyTorch ("h.0.attn.c_proj.weight"), so that a state dictionary means the same in both.
// What a layer registers with the address of a member is that member: whoever replaces the parameter or the child by
// its name (Python's `layer.weight = ...`, functional_call) replaces what forward reads.
#pragma once

#include <functional>
#include <map>
#include <memory>

#include "sorus/tensor/tensor.h"

namespace sorus::nn {

using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

/// What load_state_dict with `strict` off left aside.
struct LoadResult {
  std::vector<std::string> missing, unexpected;
};

class Module {
 public:
  virtual ~Module() = default;
  Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  virtual Tensor forward(const Tensor& input);
  /// forward, with the hooks around it.
  Tensor operator()(const Tensor& input) { return call_ ? call_(input) : forward(input); }
  /// Replaces what operator() does; empty: forward. Hooks set in Python live there.
  void set_call(std::function<Tensor(const Tensor&)> call) { call_ = std::move(call); }
  /// The arguments that __repr__ shows: "in_features=3, out_features=4".
  virtual std::string extra_repr() const { return ""; }

  /// Registering a name again replaces what it meant.
  /// A tensor that is trained. An undefined one keeps its name free (a layer without bias).
  Tensor register_parameter(const std::string& name, const Tensor& t) {
    return register_tensor(name, t, true, nullptr);
  }
  void register_parameter(const std::string& name, Tensor& member, const Tensor& t) {
    register_tensor(name, t, true, &member);
  }
  /// Not trained; saved in the state dictionary if `persistent`.
  Tensor register_buffer(const std::string& name, const Tensor& t, bool persistent = true) {
    return register_tensor(name, t, false, nullptr, persistent);
  }
  void register_buffer(const std::string& name, Tensor& member, const Tensor& t, bool persistent = true) {
    register_tensor(name, t, false, &member, persistent);
  }
  void register_module(const std::string& name, std::shared_ptr<Module> child) {
    register_child(name, std::move(child));
  }
  template <class M>
  std::shared_ptr<M> add(const std::string& name, std::shared_ptr<M> child) {
    register_module(name, child);
    return child;
  }
  /// `member` is what forward calls, whatever it is replaced with: an M, else TypeError.
  template <class M, class Child>
  void add(const std::string& name, std::shared_ptr<M>& member, std::shared_ptr<Child> child) {
    register_child(name, std::move(child), [this, name, &member](const std::shared_ptr<Module>& m) {
      auto typed = std::dynamic_pointer_cast<M>(m);
      if (m && !typed) wrong_child(name, *m);
      member = std::move(typed);
    });
  }
  /// Takes a parameter, buffer or module away; KeyError if there is none of that name.
  void remove(const std::string& name);

  /// A parameter or buffer of this module itself.
  struct Slot {
    std::string name;
    bool is_parameter, persistent;
    Tensor own;
    Tensor* member;  // where it is kept, if not in `own`
    const Tensor& tensor() const { return member ? *member : own; }
  };
  const std::vector<Slot>& tensors() const { return tensors_; }
  /// Null if there is no parameter or buffer of that name.
  const Slot* find_tensor(const std::string& name) const;
  /// Puts another tensor in the place of a parameter or buffer; its kind stays.
  void set_tensor(const std::string& name, const Tensor& t);

  std::vector<std::pair<std::string, std::shared_ptr<Module>>> children() const;
  std::shared_ptr<Module> child(const std::string& name) const;  ///< KeyError if there is none.
  /// This module under "", then all below it, each once.
  std::vector<std::pair<std::string, const Module*>> named_modules() const;
  /// Each tensor once, under the first of its names (a tied head has two).
  NamedTensors named_parameters() const;
  NamedTensors named_buffers() const;
  TensorList parameters() const;
  int64_t num_parameters() const;

  /// All names, parameters and persistent buffers, without record of gradients.
  NamedTensors named_state() const;
  std::map<std::string, Tensor> state_dict() const;
  /// Copies into the tensors of this module. Names that are missing, unexpected, or of another shape are listed
  /// together in one Error, before anything is copied; `strict` false returns the first two instead.
  LoadResult load_state_dict(const std::map<std::string, Tensor>& state, bool strict = true);

  void train(bool on = true);
  void eval() { train(false); }
  bool is_training() const { return training_; }
  void set_training(bool on) { training_ = on; }  ///< of this module alone
  void zero_grad();
  /// Converts floating-point parameters, buffers and gradients; the tensors stay the same objects.
  void to(DType dtype);
  void requires_grad(bool wanted = true);
  /// Children first, then this module.
  void apply(const std::function<void(Module&)>& f);
  /// The name of the class, for messages.
  virtual std::string class_name() const;

 private:
  using Assign = std::function<void(const std::shared_ptr<Module>&)>;
  struct Child {
    std::string name;
    std::shared_ptr<Module> module;
    Assign assign;  // to the member that stands for it
  };
  using Visitor = std::function<void(const std::string& name, const Slot& slot)>;
  void visit(const std::string& prefix, const Visitor& f) const;
  Tensor register_tensor(const std::string& name, const Tensor& t, bool is_parameter, Tensor* member,
                         bool persistent = true);
  void register_child(const std::string& name, std::shared_ptr<Module> child, Assign assign = {});
  [[noreturn]] void wrong_child(const std::string& name, const Module& found) const;

  std::vector<Slot> tensors_;
  std::vector<Child> children_;
  std::function<Tensor(const Tensor&)> call_;
  bool training_ = true;
};

/// Makes `t` show the memory of `with`, in its type and shape; everybody who holds `t` sees it.
void set_data(const Tensor& t, const Tensor& with);

}  // namespace sorus::nn
