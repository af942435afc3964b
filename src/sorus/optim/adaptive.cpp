// Optimizers that adapt the rate of each element, beside Adam: RMSprop, Adagrad, Adadelta, Adamax. Their updates are
// a few operators each, which a compiled step fuses into one loop.
#include "sorus/optim/update.h"

namespace sorus::optim {

RMSprop::RMSprop(const std::vector<Group>& groups, const RMSpropOptions& o)
    : Optimizer(groups, {{"lr", o.lr},
                         {"alpha", o.alpha},
                         {"eps", o.eps},
                         {"weight_decay", o.weight_decay},
                         {"momentum", o.momentum},
                         {"centered", o.centered},
                         {"maximize", o.maximize}}) {
  add_groups(groups);
}
void RMSprop::check_setting(const std::string& name, double value) const {
  Optimizer::check_setting(name, value);
  if (name == "alpha" || name == "eps" || name == "momentum") check_setting_of("RMSprop", name, value);
}
std::vector<const char*> RMSprop::state_names(const OwnGroup& g) const {
  std::vector<const char*> names{"square_avg"};
  if (g.setting("momentum") != 0) names.push_back("momentum_buffer");
  if (g.setting("centered") != 0) names.push_back("grad_avg");
  return names;
}
TensorList RMSprop::prepare(const OwnGroup& g, const Tensor&) {
  return {to(g.lr, g.scalar_type), to(g.weight_decay, g.scalar_type)};
}
void RMSprop::update(const OwnGroup& g, Slot& s, const Tensor& grad, TensorSpan k) {
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

Adagrad::Adagrad(const std::vector<Group>& groups, const AdagradOptions& o)
    : Optimizer(groups, {{"lr", o.lr},
                         {"lr_decay", o.lr_decay},
                         {"weight_decay", o.weight_decay},
                         {"initial_accumulator_value", o.initial_accumulator_value},
                         {"eps", o.eps},
                         {"maximize", o.maximize}}) {
  add_groups(groups);
}
void Adagrad::check_setting(const std::string& name, double value) const {
  Optimizer::check_setting(name, value);
  if (name != "lr" && name != "weight_decay") check_setting_of("Adagrad", name, value);
}
std::vector<const char*> Adagrad::state_names(const OwnGroup&) const { return {"sum"}; }
TensorList Adagrad::prepare(const OwnGroup& g, const Tensor& step) {
  Tensor slower = 1.0 + (to(step, DType::f64) - 1.0) * g.setting("lr_decay");
  return {to(g.lr / slower, g.scalar_type), to(g.weight_decay, g.scalar_type)};
}
// The sum starts at the initial value; the state holds what was added to it.
void Adagrad::update(const OwnGroup& g, Slot& s, const Tensor& grad, TensorSpan k) {
  Tensor p = s.parameter.detach(), d = decayed(grad, p, k[1]), sum = s.state[0] + d * d;
  write(s.state[0], sum);
  write(p, p - k[0] * (d / (sqrt(sum + g.setting("initial_accumulator_value")) + g.setting("eps"))));
}

Adadelta::Adadelta(const std::vector<Group>& groups, const AdadeltaOptions& o)
    : Optimizer(groups, {{"lr", o.lr},
                         {"rho", o.rho},
                         {"eps", o.eps},
                         {"weight_decay", o.weight_decay},
                         {"maximize", o.maximize}}) {
  add_groups(groups);
}
void Adadelta::check_setting(const std::string& name, double value) const {
  Optimizer::check_setting(name, value);
  if (name == "rho" || name == "eps") check_setting_of("Adadelta", name, value);
}
std::vector<const char*> Adadelta::state_names(const OwnGroup&) const { return {"square_avg", "acc_delta"}; }
TensorList Adadelta::prepare(const OwnGroup& g, const Tensor&) {
  return {to(g.lr, g.scalar_type), to(g.weight_decay, g.scalar_type)};
}
void Adadelta::update(const OwnGroup& g, Slot& s, const Tensor& grad, TensorSpan k) {
  Tensor p = s.parameter.detach(), d = decayed(grad, p, k[1]);
  double share = 1 - g.setting("rho"), eps = g.setting("eps");
  Tensor squares = towards(s.state[0], d * d, share);
  Tensor delta = sqrt(s.state[1] + eps) / sqrt(squares + eps) * d;
  write(s.state[0], squares);
  write(s.state[1], towards(s.state[1], delta * delta, share));
  write(p, p - k[0] * delta);
}

Adamax::Adamax(const std::vector<Group>& groups, const AdamaxOptions& o)
    : Optimizer(groups, {{"lr", o.lr},
                         {"beta1", o.beta1},
                         {"beta2", o.beta2},
                         {"eps", o.eps},
                         {"weight_decay", o.weight_decay},
                         {"maximize", o.maximize}}) {
  add_groups(groups);
}
void Adamax::check_setting(const std::string& name, double value) const {
  Optimizer::check_setting(name, value);
  if (name == "beta1" || name == "beta2") check_setting_of("Adamax", name, value, 1.0);
  if (name == "eps") check_setting_of("Adamax", name, value);
}
std::vector<const char*> Adamax::state_names(const OwnGroup&) const { return {"exp_avg", "exp_inf"}; }
TensorList Adamax::prepare(const OwnGroup& g, const Tensor& step) {
  Tensor bias = bias_correction(g.setting("beta1"), to(step, DType::f64));
  return {to(g.lr / bias, g.scalar_type), to(g.weight_decay, g.scalar_type)};
}
void Adamax::update(const OwnGroup& g, Slot& s, const Tensor& grad, TensorSpan k) {
  Tensor p = s.parameter.detach(), d = decayed(grad, p, k[1]);
  Tensor mean = towards(s.state[0], d, 1 - g.setting("beta1"));
  Tensor top = maximum(s.state[1] * g.setting("beta2"), abs(d) + g.setting("eps"));
  write(s.state[0], mean);
  write(s.state[1], top);
  write(p, p - k[0] * (mean / top));
}

}  // namespace sorus::optim
