// Optimizers that adapt the rate of each element, beside Adam: RMSprop, Adagrad, Adadelta, Adamax. Their updates are
// a few operators each, which a compiled step fuses into one loop.
#include "sorus/optim/update.h"

namespace sorus::optim {
namespace {

struct RMSpropRule : Rule {
  void check_setting(const std::string& name, double value) const override {
    if (name == "alpha" || name == "eps" || name == "momentum") check_setting_of("RMSprop", name, value);
  }
  std::vector<const char*> state_names(const ParameterGroup& g, const Tensor&) const override {
    std::vector<const char*> names{"square_avg"};
    if (g.setting("momentum") != 0) names.push_back("momentum_buffer");
    if (g.setting("centered") != 0) names.push_back("grad_avg");
    return names;
  }
  void update(const ParameterGroup& g, Slot& s, const Tensor& grad, TensorSpan k) const override {
    Tensor p = s.parameter.detach(), d = decayed(grad, p, k[1]);
    double share = 1 - g.setting("alpha");
    Tensor squares = towards(s.state[0], d * d, share), spread = squares;
    write(s.state[0], squares);
    if (g.setting("centered") != 0) {
      Tensor mean = towards(s.state.back(), d, share);
      write(s.state.back(), mean);
      spread = squares - mean * mean;
    }
    Tensor step = d / (sqrt(spread) + g.setting("eps"));
    if (g.setting("momentum") != 0) {
      step = s.state[1] * g.setting("momentum") + step;
      write(s.state[1], step);
    }
    write(p, p - k[0] * step);
  }
};

struct AdagradRule : Rule {
  void check_setting(const std::string& name, double value) const override {
    if (name != "lr" && name != "weight_decay") check_setting_of("Adagrad", name, value);
  }
  std::vector<const char*> state_names(const ParameterGroup&, const Tensor&) const override { return {"sum"}; }
  TensorList prepare(const ParameterGroup& g, const Tensor& step) const override {
    Tensor slower = 1.0 + (to(step, DType::f64) - 1.0) * g.setting("lr_decay");
    return {to(g.lr / slower, g.scalar_type), to(g.weight_decay, g.scalar_type)};
  }
  // The sum starts at the initial value; the state holds what was added to it.
  void update(const ParameterGroup& g, Slot& s, const Tensor& grad, TensorSpan k) const override {
    Tensor p = s.parameter.detach(), d = decayed(grad, p, k[1]), sum = s.state[0] + d * d;
    write(s.state[0], sum);
    write(p, p - k[0] * (d / (sqrt(sum + g.setting("initial_accumulator_value")) + g.setting("eps"))));
  }
};

struct AdadeltaRule : Rule {
  void check_setting(const std::string& name, double value) const override {
    if (name == "rho" || name == "eps") check_setting_of("Adadelta", name, value);
  }
  std::vector<const char*> state_names(const ParameterGroup&, const Tensor&) const override {
    return {"square_avg", "acc_delta"};
  }
  void update(const ParameterGroup& g, Slot& s, const Tensor& grad, TensorSpan k) const override {
    Tensor p = s.parameter.detach(), d = decayed(grad, p, k[1]);
    double share = 1 - g.setting("rho"), eps = g.setting("eps");
    Tensor squares = towards(s.state[0], d * d, share);
    Tensor delta = sqrt(s.state[1] + eps) / sqrt(squares + eps) * d;
    write(s.state[0], squares);
    write(s.state[1], towards(s.state[1], delta * delta, share));
    write(p, p - k[0] * delta);
  }
};

struct AdamaxRule : Rule {
  void check_setting(const std::string& name, double value) const override {
    if (name == "beta1" || name == "beta2") check_setting_of("Adamax", name, value, 1.0);
    if (name == "eps") check_setting_of("Adamax", name, value);
  }
  std::vector<const char*> state_names(const ParameterGroup&, const Tensor&) const override {
    return {"exp_avg", "exp_inf"};
  }
  TensorList prepare(const ParameterGroup& g, const Tensor& step) const override {
    Tensor bias = bias_correction(g.setting("beta1"), to(step, DType::f64));
    return {to(g.lr / bias, g.scalar_type), to(g.weight_decay, g.scalar_type)};
  }
  void update(const ParameterGroup& g, Slot& s, const Tensor& grad, TensorSpan k) const override {
    Tensor p = s.parameter.detach(), d = decayed(grad, p, k[1]);
    Tensor mean = towards(s.state[0], d, 1 - g.setting("beta1"));
    Tensor top = maximum(s.state[1] * g.setting("beta2"), abs(d) + g.setting("eps"));
    write(s.state[0], mean);
    write(s.state[1], top);
    write(p, p - k[0] * (mean / top));
  }
};

}  // namespace

template <>
const Rule& rule_of<RMSpropOptions>() {
  return the<RMSpropRule>();
}

template <>
const Rule& rule_of<AdagradOptions>() {
  return the<AdagradRule>();
}

template <>
const Rule& rule_of<AdadeltaOptions>() {
  return the<AdadeltaRule>();
}

template <>
const Rule& rule_of<AdamaxOptions>() {
  return the<AdamaxRule>();
}

}  // namespace sorus::optim
