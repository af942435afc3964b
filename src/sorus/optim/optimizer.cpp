#include "sorus/optim/optimizer.h"

#include <array>
#include <cmath>
#include <numbers>

#include "sorus/autodiff/tape.h"
#include "sorus/ops.h"
#include "sorus/tensor/copy.h"

namespace sorus::optim {
namespace {

Tensor number(double v) { return Tensor::scalar(v, DType::f32); }

}  // namespace

Optimizer::Optimizer(std::vector<Group> groups, double lr) : lr_(lr) {
  SORUS_CHECK(lr >= 0, ValueError, "optimizer: the learning rate must not be negative, found {}", lr);
  for (Group& g : groups) {
    for (const Tensor& p : g.parameters) {
      for (const Slot& s : slots_)
        SORUS_CHECK(!s.parameter.is(p), ValueError, "optimizer: a parameter {} is given twice", p.type().to_string());
      slots_.push_back({p, g.weight_decay, {}});
    }
  }
  SORUS_CHECK(!slots_.empty(), ValueError, "optimizer: there are no parameters");
}

void Optimizer::make_state() {
  for (Slot& s : slots_)
    for (size_t i = 0; i < state_names().size(); ++i) s.state.push_back(zeros_like(s.parameter.detach()));
}

void Optimizer::step() {
  GradMode off(false);
  ++steps_;
  begin_step();
  Tensor rate = number(lr_);
  for (Slot& s : slots_)
    if (Tensor g = grad_of(s.parameter); g.defined()) update(s, g, rate);
}

void Optimizer::zero_grad() {
  for (Slot& s : slots_) set_grad(s.parameter, {});
}

State Optimizer::state_dict() const {
  State out{{"steps", Tensor::of(std::vector<int64_t>{steps_}, Shape{1})}};
  std::vector<const char*> names = state_names();
  for (size_t i = 0; i < slots_.size(); ++i)
    for (size_t k = 0; k < names.size(); ++k) out.emplace(fmt::format("{}.{}", names[k], i), slots_[i].state[k]);
  return out;
}

void Optimizer::load_state_dict(const State& state) {
  State own = state_dict();
  SORUS_CHECK(state.size() == own.size(), ValueError, "optimizer: expected a state of {} tensors, found {}", own.size(),
              state.size());
  for (auto& [name, t] : own) {
    auto found = state.find(name);
    SORUS_CHECK(found != state.end(), KeyError, "optimizer: the state lacks '{}'", name);
    SORUS_CHECK(found->second.type() == t.type(), ValueError, "optimizer: {}: expected {}, found {}", name,
                t.type().to_string(), found->second.type().to_string());
  }
  for (auto& [name, t] : own) copy_elements(t, state.at(name));
  steps_ = own.at("steps").data<int64_t>()[0];
}

AdamW::AdamW(std::vector<Group> groups, AdamWOptions options)
    : Optimizer(std::move(groups), options.lr), options_(options) {
  make_state();
}

void AdamW::begin_step() {
  double n = static_cast<double>(steps_);
  correction1_ = number(1 - std::pow(options_.beta1, n));
  correction2_ = number(1 - std::pow(options_.beta2, n));
}

void AdamW::update(Slot& s, const Tensor& grad, const Tensor& lr) {
  static const OpDef& adamw = find_op("adamw");
  Tensor p = s.parameter.detach();
  call_into(adamw, std::array{p, grad, s.state[0], s.state[1], lr, correction1_, correction2_},
            {options_.beta1, options_.beta2, options_.eps, s.weight_decay}, std::array{p, s.state[0], s.state[1]});
}

SGD::SGD(std::vector<Group> groups, SGDOptions options) : Optimizer(std::move(groups), options.lr), options_(options) {
  make_state();
}

void SGD::update(Slot& s, const Tensor& grad, const Tensor& lr) {
  static const OpDef& sgd = find_op("sgd");
  Tensor p = s.parameter.detach();
  // As PyTorch's: the first gradient enters the buffer undamped.
  double dampening = steps_ == 1 ? 0 : options_.dampening;
  call_into(sgd, std::array{p, grad, s.state[0], lr},
            {options_.momentum, dampening, s.weight_decay, options_.nesterov}, std::array{p, s.state[0]});
}

double clip_grad_norm(TensorSpan parameters, double max_norm) {
  GradMode off(false);
  double total = 0;
  for (const Tensor& p : parameters)
    if (Tensor g = grad_of(p); g.defined()) total += sum(square(to(g, DType::f32))).item().to_double();
  double norm = std::sqrt(total), factor = max_norm / (norm + 1e-6);
  if (factor < 1)
    for (const Tensor& p : parameters)
      if (Tensor g = grad_of(p); g.defined()) set_grad(p, g * factor);
  return norm;
}

double warmup_cosine(int64_t step, int64_t warmup, int64_t total, double peak, double floor) {
  if (step < warmup) return peak * static_cast<double>(step + 1) / static_cast<double>(warmup);
  double done = total > warmup ? std::min(1.0, static_cast<double>(step - warmup) / static_cast<double>(total - warmup)) : 1.0;
  return peak * (floor + (1 - floor) * 0.5 * (1 + std::cos(std::numbers::pi * done)));
}

}  // namespace sorus::optim
