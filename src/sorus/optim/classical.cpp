// Rprop, which looks at signs only, and averaged gradient descent.
#include "sorus/optim/update.h"

namespace sorus::optim {
namespace {

struct RpropRule : Rule {
  void check_setting(const std::string& name, double value) const override { check_setting_of("Rprop", name, value); }
  void check_settings(const Settings& s) const override {
    const double minus = s.at("eta_minus"), plus = s.at("eta_plus");
    SORUS_CHECK(minus < 1 && plus > 1, ValueError, "Rprop: etas must be below and above 1, found {} and {}", minus,
                plus);
  }
  std::vector<const char*> state_names(const ParameterGroup&, const Tensor&) const override {
    return {"prev", "step_size"};
  }
  Tensor initial_state(const ParameterGroup& g, std::string_view name, const Tensor& p) const override {
    if (name == "step_size") return full(p.sizes(), g.setting("lr"), p.dtype());
    return Rule::initial_state(g, name, p);
  }
  TensorList prepare(const ParameterGroup&, const Tensor&) const override { return {}; }
  void update(const ParameterGroup& g, Slot& s, const Tensor& grad, TensorSpan) const override {
    Tensor p = s.parameter.detach(), turn = sign(grad * s.state[0]);
    auto scalar = [&](const char* name) { return Tensor::weak_scalar(g.setting(name)); };
    Tensor back = lt(turn, Tensor::weak_scalar(0.0)), on = gt(turn, Tensor::weak_scalar(0.0));
    Tensor factor = where(on, scalar("eta_plus"), where(back, scalar("eta_minus"), ones_like(grad)));
    Tensor size = minimum(maximum(s.state[1] * factor, full_like(grad, g.setting("step_size_min"))),
                          full_like(grad, g.setting("step_size_max")));
    Tensor followed = where(back, zeros_like(grad), grad);  // after a turn it stays where it is
    write(s.state[0], followed), write(s.state[1], size);
    write(p, p - sign(followed) * size);
  }
};

struct ASGDRule : Rule {
  std::vector<const char*> state_names(const ParameterGroup&, const Tensor&) const override {
    return {"eta", "mu", "ax"};
  }
  Tensor initial_state(const ParameterGroup& g, std::string_view name, const Tensor& p) const override {
    if (name == "eta") return Tensor::scalar(g.setting("lr"), g.scalar_type);
    if (name == "mu") return Tensor::scalar(1.0, g.scalar_type);
    return Rule::initial_state(g, name, p);
  }
  /// The weight decay, and the rate and the share of the average that the next step will use.
  TensorList prepare(const ParameterGroup& g, const Tensor& step) const override {
    Tensor n = to(step, DType::f64), one = ones(Shape{}, DType::f64);
    Tensor slower = pow(1.0 + g.setting("lambd") * g.lr * n, Tensor::weak_scalar(g.setting("alpha")));
    TensorList out{g.weight_decay, g.lr / slower, 1.0 / maximum(one, n - g.setting("t0"))};
    for (Tensor& t : out) t = to(t, g.scalar_type);
    return out;
  }
  void update(const ParameterGroup& g, Slot& s, const Tensor& grad, TensorSpan k) const override {
    Tensor p = s.parameter.detach(), d = decayed(grad, p, k[0]), eta = s.state[0], mu = s.state[1];
    Tensor now = p * (1.0 - g.setting("lambd") * eta) - eta * d;
    // With a share of 1 the average is the parameter itself, to the bit.
    Tensor average = where(eq(mu, Tensor::weak_scalar(1.0)), now, s.state[2] + (now - s.state[2]) * mu);
    write(p, now), write(s.state[2], average), write(s.state[0], k[1]), write(s.state[1], k[2]);
  }
};

}  // namespace

template <>
const Rule& rule_of<RpropOptions>() {
  return the<RpropRule>();
}

template <>
const Rule& rule_of<ASGDOptions>() {
  return the<ASGDRule>();
}

}  // namespace sorus::optim
