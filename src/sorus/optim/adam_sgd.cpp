// Adam, AdamW and SGD, whose updates are one operator each.
#include <array>

#include "sorus/optim/update.h"

namespace sorus::optim {
namespace {

/// The weight decay is added to the gradient or, decoupled, shrinks the parameter.
template <bool decoupled>
struct AdamRule : Rule {
  void check_setting(const std::string& name, double value) const override {
    const char* who = decoupled ? "AdamW" : "Adam";
    if (name == "beta1" || name == "beta2") check_setting_of(who, name, value, 1.0);
    SORUS_CHECK(name != "eps" || value >= 0, ValueError, "{}: eps must not be negative, found {}", who, value);
  }
  std::vector<const char*> state_names(const ParameterGroup& g, const Tensor&) const override {
    if (g.setting("amsgrad") != 0) return {"exp_avg", "exp_avg_sq", "max_exp_avg_sq"};
    return {"exp_avg", "exp_avg_sq"};
  }
  // In double precision, as PyTorch does with Python's numbers; what the updates read is of their type.
  TensorList prepare(const ParameterGroup& g, const Tensor& step) const override {
    Tensor n = to(step, DType::f64);
    Tensor step_size = g.lr / bias_correction(g.setting("beta1"), n);
    Tensor root = rsqrt(bias_correction(g.setting("beta2"), n));
    Tensor keep = decoupled ? 1.0 - g.lr * g.weight_decay : ones(Shape{}, DType::f64);
    Tensor l2 = decoupled ? zeros(Shape{}, DType::f64) : g.weight_decay;
    TensorList out{keep, l2, step_size, root};
    for (Tensor& t : out) t = to(t, g.scalar_type);
    return out;
  }
  void update(const ParameterGroup& g, Slot& s, const Tensor& grad, TensorSpan k) const override {
    static const OpDef &adam = find_op("adam"), &amsgrad = find_op("adam.amsgrad");
    Tensor p = s.parameter.detach(), &m = s.state[0], &v = s.state[1];
    Attrs attrs{1 - g.setting("beta1"), 1 - g.setting("beta2"), g.setting("eps")};
    if (g.setting("amsgrad") == 0)
      return call_into(adam, std::array{p, grad, m, v, k[0], k[1], k[2], k[3]}, attrs, std::array{p, m, v});
    Tensor& top = s.state[2];
    call_into(amsgrad, std::array{p, grad, m, v, top, k[0], k[1], k[2], k[3]}, attrs, std::array{p, m, v, top});
  }
};

struct SGDRule : Rule {
  void check_setting(const std::string& name, double value) const override {
    SORUS_CHECK(name != "momentum" || value >= 0, ValueError, "SGD: momentum must not be negative, found {}", value);
  }
  void check_settings(const Settings& s) const override {
    const double momentum = s.at("momentum"), dampening = s.at("dampening");
    SORUS_CHECK(s.at("nesterov") == 0 || (momentum > 0 && dampening == 0), ValueError,
                "SGD: nesterov needs a momentum and no dampening, found momentum {} and dampening {}", momentum,
                dampening);
  }
  std::vector<const char*> state_names(const ParameterGroup& g, const Tensor&) const override {
    if (g.setting("momentum") != 0) return {"momentum_buffer"};
    return {};
  }
  bool counts_steps(const ParameterGroup& g) const override { return g.setting("momentum") != 0; }
  TensorList prepare(const ParameterGroup& g, const Tensor& step) const override {
    TensorList out = Rule::prepare(g, step);
    double dampening = g.setting("dampening");
    if (g.setting("momentum") == 0) return out;
    // As PyTorch's: the first gradient enters the buffer undamped.
    Tensor taken = ones(Shape{}, g.scalar_type);
    if (dampening != 0) taken = to(1.0 - to(gt(step, Tensor::weak_scalar(1)), DType::f64) * dampening, g.scalar_type);
    out.push_back(taken);
    return out;
  }
  void update(const ParameterGroup& g, Slot& s, const Tensor& grad, TensorSpan k) const override {
    static const OpDef &sgd = find_op("sgd"), &with_momentum = find_op("sgd.momentum");
    Tensor p = s.parameter.detach();
    if (g.setting("momentum") == 0) return call_into(sgd, std::array{p, grad, k[0], k[1]}, {}, std::array{p});
    Tensor& buffer = s.state[0];
    call_into(with_momentum, std::array{p, grad, buffer, k[0], k[1], k[2]},
              {g.setting("momentum"), g.setting("nesterov") != 0}, std::array{p, buffer});
  }
};

}  // namespace

template <>
const Rule& rule_of<AdamOptions>() {
  return the<AdamRule<false>>();
}

template <>
const Rule& rule_of<AdamWOptions>() {
  return the<AdamRule<true>>();
}

template <>
const Rule& rule_of<SGDOptions>() {
  return the<SGDRule>();
}

}  // namespace sorus::optim
