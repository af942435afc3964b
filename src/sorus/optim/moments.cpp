// Variants of Adam's two moments: NAdam and RAdam.
#include <cmath>

#include "sorus/optim/update.h"

namespace sorus::optim {
namespace {

void check_moments(const char* who, const std::string& name, double value) {
  if (name == "beta1" || name == "beta2") check_setting_of(who, name, value, 1.0);
  if (name == "eps" || name == "momentum_decay") check_setting_of(who, name, value);
}

/// The parameter and the gradient after weight decay: of the parameter itself where it is decoupled.
std::pair<Tensor, Tensor> after_decay(bool decoupled, const Tensor& p, const Tensor& grad, const Tensor& keep,
                                      const Tensor& weight_decay) {
  if (decoupled) return {p * keep, grad};
  return {p, decayed(grad, p, weight_decay)};
}

struct NAdamRule : Rule {
  void check_setting(const std::string& name, double value) const override { check_moments("NAdam", name, value); }
  std::vector<const char*> state_names(const ParameterGroup&, const Tensor&) const override {
    return {"mu_product", "exp_avg", "exp_avg_sq"};
  }
  Tensor initial_state(const ParameterGroup& g, std::string_view name, const Tensor& parameter) const override {
    if (name == "mu_product") return Tensor::scalar(1.0, g.scalar_type);
    return Rule::initial_state(g, name, parameter);
  }
  TensorList prepare(const ParameterGroup& g, const Tensor& step) const override {
    Tensor n = to(step, DType::f64);
    auto momentum = [&](const Tensor& at) {
      return g.setting("beta1") * (1.0 - 0.5 * pow(Tensor::weak_scalar(0.96), at * g.setting("momentum_decay")));
    };
    TensorList out{g.lr,        g.weight_decay,   1.0 - g.lr * g.weight_decay, bias_correction(g.setting("beta2"), n),
                   momentum(n), momentum(n + 1.0)};
    for (Tensor& t : out) t = to(t, g.scalar_type);
    return out;
  }
  void update(const ParameterGroup& g, Slot& s, const Tensor& grad, TensorSpan k) const override {
    const Tensor &lr = k[0], &mu = k[4], &next = k[5], target = s.parameter.detach();
    auto [p, d] = after_decay(g.setting("decoupled_weight_decay") != 0, target, grad, k[2], k[1]);
    Tensor product = s.state[0] * mu, mean = towards(s.state[1], d, 1 - g.setting("beta1"));
    Tensor squares = s.state[2] * g.setting("beta2") + (1 - g.setting("beta2")) * d * d;
    write(s.state[0], product), write(s.state[1], mean), write(s.state[2], squares);
    Tensor root = sqrt(squares / k[3]) + g.setting("eps");
    Tensor by_grad = lr * (1.0 - mu) / (1.0 - product), by_mean = lr * next / (1.0 - product * next);
    write(target, p - by_grad * (d / root) - by_mean * (mean / root));
  }
};

struct RAdamRule : Rule {
  void check_setting(const std::string& name, double value) const override { check_moments("RAdam", name, value); }
  std::vector<const char*> state_names(const ParameterGroup&, const Tensor&) const override {
    return {"exp_avg", "exp_avg_sq"};
  }
  // The variance of the adaptive rate is known from rho > 5 on, where `rectified` corrects for it; before, the mean
  // alone is followed.
  TensorList prepare(const ParameterGroup& g, const Tensor& step) const override {
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
  void update(const ParameterGroup& g, Slot& s, const Tensor& grad, TensorSpan k) const override {
    const Tensor target = s.parameter.detach();
    auto [p, d] = after_decay(g.setting("decoupled_weight_decay") != 0, target, grad, k[1], k[0]);
    Tensor mean = towards(s.state[0], d, 1 - g.setting("beta1"));
    Tensor squares = s.state[1] * g.setting("beta2") + (1 - g.setting("beta2")) * d * d;
    write(s.state[0], mean), write(s.state[1], squares);
    write(target, p - mean * (k[2] / (sqrt(squares) + g.setting("eps")) + k[3]));
  }
};

}  // namespace

template <>
const Rule& rule_of<NAdamOptions>() {
  return the<NAdamRule>();
}

template <>
const Rule& rule_of<RAdamOptions>() {
  return the<RAdamRule>();
}

}  // namespace sorus::optim
