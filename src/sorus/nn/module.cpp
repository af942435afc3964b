#include "sorus/nn/module.h"

#include <set>

#include "sorus/autodiff/tape.h"
#include "sorus/tensor/copy.h"

namespace sorus::nn {

Tensor Module::forward(const Tensor&) { fail<NotImplementedError>("Module: forward is not defined"); }

void Module::register_tensor(const std::string& name, const Tensor& t, bool is_parameter) {
  SORUS_CHECK(!name.empty() && name.find('.') == std::string::npos, KeyError,
              "Module: '{}' cannot name a tensor (empty, or with a dot)", name);
  for (Slot& s : tensors_) {
    if (s.name != name) continue;
    s = {name, t, is_parameter};
    return;
  }
  tensors_.push_back({name, t, is_parameter});
}

Tensor Module::register_parameter(const std::string& name, const Tensor& t) {
  if (t.defined()) set_requires_grad(t, true);
  register_tensor(name, t, true);
  return t;
}

Tensor Module::register_buffer(const std::string& name, const Tensor& t) {
  register_tensor(name, t, false);
  return t;
}

void Module::register_module(const std::string& name, std::shared_ptr<Module> child) {
  SORUS_CHECK(child != nullptr, ValueError, "Module: '{}' is not a module", name);
  SORUS_CHECK(!name.empty() && name.find('.') == std::string::npos, KeyError,
              "Module: '{}' cannot name a module (empty, or with a dot)", name);
  for (auto& [n, c] : children_) {
    if (n != name) continue;
    c = std::move(child);
    return;
  }
  children_.emplace_back(name, std::move(child));
}

void Module::visit(const std::string& prefix,
                   const std::function<void(const std::string&, const Tensor&, bool)>& f) const {
  for (const Slot& s : tensors_)
    if (s.tensor.defined()) f(prefix + s.name, s.tensor, s.is_parameter);
  for (auto& [name, child] : children_) child->visit(prefix + name + ".", f);
}

NamedTensors Module::named_parameters() const {
  NamedTensors out;
  std::set<TensorImpl*> seen;
  visit("", [&](const std::string& name, const Tensor& t, bool is_parameter) {
    if (is_parameter && seen.insert(t.impl()).second) out.emplace_back(name, t);
  });
  return out;
}

TensorList Module::parameters() const {
  TensorList out;
  for (auto& [name, t] : named_parameters()) out.push_back(t);
  return out;
}

int64_t Module::num_parameters() const {
  int64_t count = 0;
  for (const Tensor& t : parameters()) count += t.numel();
  return count;
}

std::map<std::string, Tensor> Module::state_dict() const {
  std::map<std::string, Tensor> out;
  visit("", [&](const std::string& name, const Tensor& t, bool) { out.emplace(name, t.detach()); });
  return out;
}

void Module::load_state_dict(const std::map<std::string, Tensor>& state, bool strict) {
  std::map<std::string, Tensor> own = state_dict();
  std::string missing, unexpected, wrong;
  for (auto& [name, t] : own) {
    auto found = state.find(name);
    if (found == state.end()) missing += "\n  missing: " + name + " " + t.type().to_string();
    else if (found->second.sizes() != t.sizes())
      wrong += fmt::format("\n  {}: expected shape {}, found {}", name, to_string(t.sizes()),
                           to_string(found->second.sizes()));
  }
  for (auto& [name, t] : state)
    if (!own.count(name)) unexpected += "\n  unexpected: " + name + " " + t.type().to_string();
  SORUS_CHECK(wrong.empty(), ValueError, "load_state_dict: the tensors do not fit this module:{}{}{}", wrong, missing,
              unexpected);
  SORUS_CHECK(!strict || (missing.empty() && unexpected.empty()), KeyError,
              "load_state_dict: the names do not fit this module:{}{}", missing, unexpected);
  for (auto& [name, t] : own)
    if (auto found = state.find(name); found != state.end()) copy_elements(t, found->second);
}

void Module::train(bool on) {
  training_ = on;
  for (auto& [name, child] : children_) child->train(on);
}

void Module::zero_grad() {
  for (const Tensor& t : parameters()) set_grad(t, {});
}

void Module::apply(const std::function<void(Module&)>& f) {
  for (auto& [name, child] : children_) child->apply(f);
  f(*this);
}

}  // namespace sorus::nn
