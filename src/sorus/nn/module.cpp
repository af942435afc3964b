#include "sorus/nn/module.h"

#include <cxxabi.h>

#include <algorithm>
#include <set>

#include "sorus/autodiff/tape.h"
#include "sorus/ops.h"
#include "sorus/tensor/copy.h"

namespace sorus::nn {
namespace {

void check_name(const std::string& name, const char* what) {
  SORUS_CHECK(!name.empty() && name.find('.') == std::string::npos, KeyError,
              "Module: '{}' cannot name a {} (empty, or with a dot)", name, what);
}

}  // namespace

void set_data(const Tensor& t, const Tensor& with) {
  TensorImpl& a = *t.impl();
  const TensorImpl& b = *with.impl();
  a.storage = b.storage, a.sizes = b.sizes, a.strides = b.strides, a.offset = b.offset, a.dtype = b.dtype;
  a.contiguous = b.contiguous, a.count = b.count;
}

std::string Module::class_name() const {
  int status = 0;
  std::unique_ptr<char, void (*)(void*)> name(abi::__cxa_demangle(typeid(*this).name(), nullptr, nullptr, &status),
                                              std::free);
  std::string full = status == 0 ? name.get() : "Module";
  return full.substr(full.rfind(':') + 1);
}

Tensor Module::forward(const Tensor&) { fail<NotImplementedError>("{}: forward is not defined", class_name()); }

Tensor Module::register_tensor(const std::string& name, const Tensor& t, bool is_parameter, Tensor* member,
                               bool persistent) {
  check_name(name, "tensor");
  if (is_parameter && t.defined() && !t.requires_grad() && is_leaf(t) && is_differentiable(t.dtype()))
    set_requires_grad(t, true);
  std::erase_if(children_, [&](const Child& c) { return c.name == name; });
  auto at = std::find_if(tensors_.begin(), tensors_.end(), [&](const Slot& s) { return s.name == name; });
  if (at != tensors_.end()) {
    // A parameter that becomes a buffer, or the other way round, comes last, as one that is taken away and set anew.
    if (at->is_parameter != is_parameter) at = std::rotate(at, at + 1, tensors_.end());
    at->is_parameter = is_parameter, at->persistent = persistent;
    if (member) at->member = member;
    (at->member ? *at->member : at->own) = t;
    return t;
  }
  if (member) *member = t;
  tensors_.push_back({name, is_parameter, persistent, member ? Tensor() : t, member});
  return t;
}

void Module::register_child(const std::string& name, std::shared_ptr<Module> child, Assign assign) {
  check_name(name, "module");
  std::erase_if(tensors_, [&](const Slot& s) { return s.name == name && !s.member; });
  for (Child& c : children_) {
    if (c.name != name) continue;
    if (assign) c.assign = std::move(assign);
    if (c.assign) c.assign(child);
    c.module = std::move(child);
    return;
  }
  if (assign) assign(child);
  children_.push_back({name, std::move(child), std::move(assign)});
}

void Module::wrong_child(const std::string& name, const Module& found) const {
  fail<TypeError>("{}: a {} cannot take the place of '{}', which this class calls in its own way", class_name(),
                  found.class_name(), name);
}

void Module::remove(const std::string& name) {
  for (auto it = tensors_.begin(); it != tensors_.end(); ++it)
    if (it->name == name) {
      if (it->member) *it->member = {};
      tensors_.erase(it);
      return;
    }
  for (auto it = children_.begin(); it != children_.end(); ++it)
    if (it->name == name) {
      if (it->assign) it->assign(nullptr);
      children_.erase(it);
      return;
    }
  fail<KeyError>("{}: there is no parameter, buffer or module '{}'", class_name(), name);
}

const Module::Slot* Module::find_tensor(const std::string& name) const {
  for (const Slot& s : tensors_)
    if (s.name == name) return &s;
  return nullptr;
}

void Module::set_tensor(const std::string& name, const Tensor& t) {
  for (Slot& s : tensors_) {
    if (s.name != name) continue;
    (s.member ? *s.member : s.own) = t;
    return;
  }
  fail<KeyError>("{}: there is no parameter or buffer '{}'", class_name(), name);
}

std::vector<std::pair<std::string, std::shared_ptr<Module>>> Module::children() const {
  std::vector<std::pair<std::string, std::shared_ptr<Module>>> out;
  for (const Child& c : children_) out.emplace_back(c.name, c.module);
  return out;
}

std::shared_ptr<Module> Module::child(const std::string& name) const {
  for (const Child& c : children_)
    if (c.name == name) return c.module;
  fail<KeyError>("{}: there is no module '{}'", class_name(), name);
}

std::vector<std::pair<std::string, const Module*>> Module::named_modules() const {
  std::vector<std::pair<std::string, const Module*>> out;
  std::set<const Module*> seen;
  std::function<void(const Module*, const std::string&)> walk = [&](const Module* m, const std::string& name) {
    if (!seen.insert(m).second) return;
    out.emplace_back(name, m);
    for (const Child& c : m->children_)
      if (c.module) walk(c.module.get(), name.empty() ? c.name : name + "." + c.name);
  };
  walk(this, "");
  return out;
}

void Module::visit(const std::string& prefix, const Visitor& f) const {
  for (const Slot& s : tensors_)
    if (s.tensor().defined()) f(prefix + s.name, s);
  for (const Child& c : children_)
    if (c.module) c.module->visit(prefix + c.name + ".", f);
}

NamedTensors Module::named_parameters() const {
  NamedTensors out;
  std::set<TensorImpl*> seen;
  visit("", [&](const std::string& name, const Slot& s) {
    if (s.is_parameter && seen.insert(s.tensor().impl()).second) out.emplace_back(name, s.tensor());
  });
  return out;
}

NamedTensors Module::named_buffers() const {
  NamedTensors out;
  std::set<TensorImpl*> seen;
  visit("", [&](const std::string& name, const Slot& s) {
    if (!s.is_parameter && seen.insert(s.tensor().impl()).second) out.emplace_back(name, s.tensor());
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

NamedTensors Module::named_state() const {
  NamedTensors out;
  visit("", [&](const std::string& name, const Slot& s) {
    if (s.is_parameter || s.persistent) out.emplace_back(name, s.tensor().detach());
  });
  return out;
}

std::map<std::string, Tensor> Module::state_dict() const {
  std::map<std::string, Tensor> out;
  for (auto& [name, t] : named_state()) out.emplace(name, t);
  return out;
}

LoadResult Module::load_state_dict(const std::map<std::string, Tensor>& state, bool strict) {
  NamedTensors own = named_state();
  std::set<std::string> names;
  LoadResult result;
  std::string wrong;
  for (auto& [name, t] : own) {
    names.insert(name);
    auto found = state.find(name);
    if (found == state.end())
      result.missing.push_back(name);
    else if (found->second.sizes() != t.sizes())
      wrong += fmt::format("\n\tsize mismatch for {}: the state has shape {}, this module {}.", name,
                           to_string(found->second.sizes()), to_string(t.sizes()));
  }
  for (auto& [name, t] : state)
    if (!names.contains(name)) result.unexpected.push_back(name);
  auto quoted = [](const std::vector<std::string>& v) { return fmt::format("\"{}\"", fmt::join(v, "\", \"")); };
  std::string message;
  if (strict && !result.unexpected.empty())
    message += fmt::format("\n\tUnexpected key(s) in state_dict: {}.", quoted(result.unexpected));
  if (strict && !result.missing.empty())
    message += fmt::format("\n\tMissing key(s) in state_dict: {}.", quoted(result.missing));
  message += wrong;
  if (!message.empty()) fail<Error>("Error(s) in loading state_dict for {}:{}", class_name(), message);
  for (auto& [name, t] : own)
    if (auto found = state.find(name); found != state.end()) {
      copy_elements(t, found->second.detach());
      t.storage()->bump_version();
    }
  return result;
}

void Module::train(bool on) {
  training_ = on;
  for (const Child& c : children_)
    if (c.module) c.module->train(on);
}

void Module::zero_grad() {
  for (const Tensor& t : parameters()) set_grad(t, {});
}

void Module::requires_grad(bool wanted) {
  for (const Tensor& t : parameters()) set_requires_grad(t, wanted);
}

void Module::to(DType dtype) {
  SORUS_CHECK(is_floating(dtype) || is_complex(dtype), TypeError,
              "Module.to: parameters can become floating point or complex, not {}", name(dtype));
  GradMode off(false);
  visit("", [&](const std::string&, const Slot& s) {
    const Tensor& t = s.tensor();
    if (!is_floating(t.dtype()) || t.dtype() == dtype) return;
    Tensor grad = grad_of(t);
    set_data(t, cast(t.detach(), dtype));
    if (grad.defined()) set_grad(t, cast(grad, dtype));
  });
}

void Module::apply(const std::function<void(Module&)>& f) {
  for (const Child& c : children_)
    if (c.module) c.module->apply(f);
  f(*this);
}

}  // namespace sorus::nn
