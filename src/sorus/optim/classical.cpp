// Rprop, which looks at signs only, and averaged gradient descent.
#include "sorus/optim/update.h"

namespace sorus::optim {

Rprop::Rprop(const std::vector<Group>& groups, const RpropOptions& o)
    : Optimizer(groups, {{"lr", o.lr},
                         {"eta_minus", o.eta_minus},
                         {"eta_plus", o.eta_plus},
                         {"step_size_min", o.step_size_min},
                         {"step_size_max", o.step_size_max},
                         {"maximize", o.maximize}}) {
  SORUS_CHECK(o.eta_minus < 1 && o.eta_plus > 1, ValueError, "Rprop: etas must be below and above 1, found {} and {}",
              o.eta_minus, o.eta_plus);
  add_groups(groups);
}
void Rprop::check_setting(const std::string& name, double value) const {
  Optimizer::check_setting(name, value);
  check_setting_of("Rprop", name, value);
}
std::vector<const char*> Rprop::state_names(const OwnGroup&) const { return {"prev", "step_size"}; }
Tensor Rprop::initial_state(const OwnGroup& g, std::string_view name, const Tensor& p) const {
  if (name == "step_size") return full(p.sizes(), g.setting("lr"), p.dtype());
  return Optimizer::initial_state(g, name, p);
}
TensorList Rprop::prepare(const OwnGroup&, const Tensor&) { return {}; }
void Rprop::update(const OwnGroup& g, Slot& s, const Tensor& grad, TensorSpan) {
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

ASGD::ASGD(const std::vector<Group>& groups, const ASGDOptions& o)
    : Optimizer(groups, {{"lr", o.lr},
                         {"lambd", o.lambd},
                         {"alpha", o.alpha},
                         {"t0", o.t0},
                         {"weight_decay", o.weight_decay},
                         {"maximize", o.maximize}}) {
  add_groups(groups);
}
std::vector<const char*> ASGD::state_names(const OwnGroup&) const { return {"eta", "mu", "ax"}; }
Tensor ASGD::initial_state(const OwnGroup& g, std::string_view name, const Tensor& p) const {
  if (name == "eta") return Tensor::scalar(g.setting("lr"), g.scalar_type);
  if (name == "mu") return Tensor::scalar(1.0, g.scalar_type);
  return Optimizer::initial_state(g, name, p);
}
/// The weight decay, and the rate and the share of the average that the next step will use.
TensorList ASGD::prepare(const OwnGroup& g, const Tensor& step) {
  Tensor n = to(step, DType::f64), one = ones(Shape{}, DType::f64);
  Tensor slower = pow(1.0 + g.setting("lambd") * g.lr * n, Tensor::weak_scalar(g.setting("alpha")));
  TensorList out{g.weight_decay, g.lr / slower, 1.0 / maximum(one, n - g.setting("t0"))};
  for (Tensor& t : out) t = to(t, g.scalar_type);
  return out;
}
void ASGD::update(const OwnGroup& g, Slot& s, const Tensor& grad, TensorSpan k) {
  Tensor p = s.parameter.detach(), d = decayed(grad, p, k[0]), eta = s.state[0], mu = s.state[1];
  Tensor now = p * (1.0 - g.setting("lambd") * eta) - eta * d;
  // With a share of 1 the average is the parameter itself, to the bit.
  Tensor average = where(eq(mu, Tensor::weak_scalar(1.0)), now, s.state[2] + (now - s.state[2]) * mu);
  write(p, now), write(s.state[2], average), write(s.state[0], k[1]), write(s.state[1], k[2]);
}

}  // namespace sorus::optim
