// The algorithms: which state they keep, and how their operators are called.
#include <array>

#include "sorus/optim/update.h"

namespace sorus::optim {

Adam::Adam(const std::vector<Group>& groups, const AdamOptions& o, bool decoupled)
    : Optimizer(groups, {{"lr", o.lr},
                         {"beta1", o.beta1},
                         {"beta2", o.beta2},
                         {"eps", o.eps},
                         {"weight_decay", o.weight_decay},
                         {"amsgrad", o.amsgrad},
                         {"maximize", o.maximize}}),
      decoupled_(decoupled) {
  add_groups(groups);
}

void Adam::check_setting(const std::string& name, double value) const {
  Optimizer::check_setting(name, value);
  const char* who = decoupled_ ? "AdamW" : "Adam";
  if (name == "beta1" || name == "beta2") check_setting_of(who, name, value, 1.0);
  SORUS_CHECK(name != "eps" || value >= 0, ValueError, "{}: eps must not be negative, found {}", who, value);
}

std::vector<const char*> Adam::state_names(const OwnGroup& g) const {
  if (g.setting("amsgrad") != 0) return {"exp_avg", "exp_avg_sq", "max_exp_avg_sq"};
  return {"exp_avg", "exp_avg_sq"};
}

// In double precision, as PyTorch does with Python's numbers; what the updates read is of their type.
TensorList Adam::prepare(const OwnGroup& g, const Tensor& step) {
  Tensor n = to(step, DType::f64);
  Tensor step_size = g.lr / bias_correction(g.setting("beta1"), n);
  Tensor root = rsqrt(bias_correction(g.setting("beta2"), n));
  Tensor keep = decoupled_ ? 1.0 - g.lr * g.weight_decay : ones(Shape{}, DType::f64);
  Tensor l2 = decoupled_ ? zeros(Shape{}, DType::f64) : g.weight_decay;
  TensorList out{keep, l2, step_size, root};
  for (Tensor& t : out) t = to(t, g.scalar_type);
  return out;
}

void Adam::update(const OwnGroup& g, Slot& s, const Tensor& grad, TensorSpan k) {
  static const OpDef &adam = find_op("adam"), &amsgrad = find_op("adam.amsgrad");
  Tensor p = s.parameter.detach(), &m = s.state[0], &v = s.state[1];
  Attrs attrs{1 - g.setting("beta1"), 1 - g.setting("beta2"), g.setting("eps")};
  if (g.setting("amsgrad") == 0)
    return call_into(adam, std::array{p, grad, m, v, k[0], k[1], k[2], k[3]}, attrs, std::array{p, m, v});
  Tensor& top = s.state[2];
  call_into(amsgrad, std::array{p, grad, m, v, top, k[0], k[1], k[2], k[3]}, attrs, std::array{p, m, v, top});
}

SGD::SGD(const std::vector<Group>& groups, const SGDOptions& o)
    : Optimizer(groups, {{"lr", o.lr},
                         {"momentum", o.momentum},
                         {"dampening", o.dampening},
                         {"weight_decay", o.weight_decay},
                         {"nesterov", o.nesterov},
                         {"maximize", o.maximize}}) {
  SORUS_CHECK(!o.nesterov || (o.momentum > 0 && o.dampening == 0), ValueError,
              "SGD: nesterov needs a momentum and no dampening, found momentum {} and dampening {}", o.momentum,
              o.dampening);
  add_groups(groups);
}

void SGD::check_setting(const std::string& name, double value) const {
  Optimizer::check_setting(name, value);
  SORUS_CHECK(name != "momentum" || value >= 0, ValueError, "SGD: momentum must not be negative, found {}", value);
}

std::vector<const char*> SGD::state_names(const OwnGroup& g) const {
  if (g.setting("momentum") != 0) return {"momentum_buffer"};
  return {};
}
bool SGD::counts_steps(const OwnGroup& g) const { return g.setting("momentum") != 0; }

TensorList SGD::prepare(const OwnGroup& g, const Tensor& step) {
  TensorList out{to(g.lr, g.scalar_type), to(g.weight_decay, g.scalar_type)};
  double dampening = g.setting("dampening");
  if (g.setting("momentum") == 0) return out;
  // As PyTorch's: the first gradient enters the buffer undamped.
  Tensor taken = ones(Shape{}, g.scalar_type);
  if (dampening != 0) taken = to(1.0 - to(gt(step, Tensor::weak_scalar(1)), DType::f64) * dampening, g.scalar_type);
  out.push_back(taken);
  return out;
}

void SGD::update(const OwnGroup& g, Slot& s, const Tensor& grad, TensorSpan k) {
  static const OpDef &sgd = find_op("sgd"), &with_momentum = find_op("sgd.momentum");
  Tensor p = s.parameter.detach();
  if (g.setting("momentum") == 0) return call_into(sgd, std::array{p, grad, k[0], k[1]}, {}, std::array{p});
  Tensor& buffer = s.state[0];
  call_into(with_momentum, std::array{p, grad, buffer, k[0], k[1], k[2]},
            {g.setting("momentum"), g.setting("nesterov") != 0}, std::array{p, buffer});
}

}  // namespace sorus::optim
