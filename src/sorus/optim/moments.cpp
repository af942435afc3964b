// Variants of Adam's two moments: NAdam and RAdam.
#include <cmath>

#include "sorus/optim/update.h"

namespace sorus::optim {
namespace {

void check_moments(const char* who, const std::string& name, double value) {
  if (name == "beta1" || name == "beta2") check_setting_of(who, name, value, 1.0);
  if (name == "eps" || name == "momentum_decay") check_setting_of(who, name, value);
}

template <class Options>
Settings moment_settings(const Options& o) {
  return {{"lr", o.lr},
          {"beta1", o.beta1},
          {"beta2", o.beta2},
          {"eps", o.eps},
          {"weight_decay", o.weight_decay},
          {"decoupled_weight_decay", o.decoupled_weight_decay},
          {"maximize", o.maximize}};
}
Settings with(Settings settings, const char* name, double value) {
  settings[name] = value;
  return settings;
}

/// The parameter and the gradient after weight decay: of the parameter itself where it is decoupled.
std::pair<Tensor, Tensor> after_decay(bool decoupled, const Tensor& p, const Tensor& grad, const Tensor& keep,
                                      const Tensor& weight_decay) {
  if (decoupled) return {p * keep, grad};
  return {p, decayed(grad, p, weight_decay)};
}

}  // namespace

NAdam::NAdam(const std::vector<Group>& groups, const NAdamOptions& o)
    : Optimizer(groups, with(moment_settings(o), "momentum_decay", o.momentum_decay)) {
  add_groups(groups);
}
void NAdam::check_setting(const std::string& name, double value) const {
  Optimizer::check_setting(name, value);
  check_moments("NAdam", name, value);
}
std::vector<const char*> NAdam::state_names(const OwnGroup&) const { return {"mu_product", "exp_avg", "exp_avg_sq"}; }
Tensor NAdam::initial_state(const OwnGroup& g, std::string_view name, const Tensor& parameter) const {
  if (name == "mu_product") return Tensor::scalar(1.0, g.scalar_type);
  return Optimizer::initial_state(g, name, parameter);
}
TensorList NAdam::prepare(const OwnGroup& g, const Tensor& step) {
  Tensor n = to(step, DType::f64);
  auto momentum = [&](const Tensor& at) {
    return g.setting("beta1") * (1.0 - 0.5 * pow(Tensor::weak_scalar(0.96), at * g.setting("momentum_decay")));
  };
  TensorList out{g.lr,        g.weight_decay,   1.0 - g.lr * g.weight_decay, bias_correction(g.setting("beta2"), n),
                 momentum(n), momentum(n + 1.0)};
  for (Tensor& t : out) t = to(t, g.scalar_type);
  return out;
}
void NAdam::update(const OwnGroup& g, Slot& s, const Tensor& grad, TensorSpan k) {
  const Tensor &lr = k[0], &mu = k[4], &next = k[5], target = s.parameter.detach();
  auto [p, d] = after_decay(g.setting("decoupled_weight_decay") != 0, target, grad, k[2], k[1]);
  Tensor product = s.state[0] * mu, mean = towards(s.state[1], d, 1 - g.setting("beta1"));
  Tensor squares = s.state[2] * g.setting("beta2") + (1 - g.setting("beta2")) * d * d;
  write(s.state[0], product), write(s.state[1], mean), write(s.state[2], squares);
  Tensor root = sqrt(squares / k[3]) + g.setting("eps");
  Tensor by_grad = lr * (1.0 - mu) / (1.0 - product), by_mean = lr * next / (1.0 - product * next);
  write(target, p - by_grad * (d / root) - by_mean * (mean / root));
}

RAdam::RAdam(const std::vector<Group>& groups, const RAdamOptions& o) : Optimizer(groups, moment_settings(o)) {
  add_groups(groups);
}
void RAdam::check_setting(const std::string& name, double value) const {
  Optimizer::check_setting(name, value);
  check_moments("RAdam", name, value);
}
std::vector<const char*> RAdam::state_names(const OwnGroup&) const { return {"exp_avg", "exp_avg_sq"}; }
// The variance of the adaptive rate is known from rho > 5 on, where `rectified` corrects for it; before, the mean
// alone is followed.
TensorList RAdam::prepare(const OwnGroup& g, const Tensor& step) {
  const double most = 2 / (1 - g.setting("beta2")) - 1;
  Tensor n = to(step, DType::f64), second = bias_correction(g.setting("beta2"), n);
  Tensor rho = most - 2.0 * n * (1.0 - second) / second, known = gt(rho, Tensor::weak_scalar(5.0));
  Tensor safe = maximum(rho, Tensor::scalar(5.0, DType::f64));
  Tensor rectified = sqrt((safe - 4.0) * (safe - 2.0) * most / ((most - 4) * (most - 2) * safe));
  Tensor rate = g.lr / bias_correction(g.setting("beta1"), n), none = zeros(Shape{}, DType::f64);
  TensorList out{g.weight_decay, 1.0 - g.lr * g.weight_decay, where(known, rate * rectified * sqrt(second), none),
                 where(known, none, rate)};
  for (Tensor& t : out) t = to(t, g.scalar_type);
  return out;
}
void RAdam::update(const OwnGroup& g, Slot& s, const Tensor& grad, TensorSpan k) {
  const Tensor target = s.parameter.detach();
  auto [p, d] = after_decay(g.setting("decoupled_weight_decay") != 0, target, grad, k[1], k[0]);
  Tensor mean = towards(s.state[0], d, 1 - g.setting("beta1"));
  Tensor squares = s.state[1] * g.setting("beta2") + (1 - g.setting("beta2")) * d * d;
  write(s.state[0], mean), write(s.state[1], squares);
  write(target, p - mean * (k[2] / (sqrt(squares) + g.setting("eps")) + k[3]));
}

}  // namespace sorus::optim
