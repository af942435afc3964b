// Optimizers: they change parameters by their gradients.
//
//   optim::AdamW optimizer({{.parameters = matrices, .weight_decay = 0.1}, {.parameters = rest}}, {.lr = 3e-4});
//   backward(loss);
//   nn::clip_grad_norm(model.parameters(), 1.0);
//   optimizer.step();
//   optimizer.zero_grad();
//
// A step calls registered operators and nothing else: one per parameter, one pass over memory, and a handful on 0-d
// tensors (the counter of steps, the bias corrections). The learning rate and the weight decay are tensors as well,
// so a step that was traced once goes on with whatever `set` writes into them; other settings are constants of a
// trace. State (moments, counters) is made when a parameter is added, never in the middle of a step.
#pragma once

#include <limits>
#include <map>
#include <memory>
#include <optional>

#include "sorus/optim/rule.h"

namespace sorus::optim {

using State = std::map<std::string, Tensor>;

/// Parameters with settings of their own; what is left out is the optimizer's.
struct Group {
  TensorList parameters;
  std::optional<double> weight_decay = {};
  std::optional<double> lr = {};
  Settings settings = {};
};

class Optimizer {
 public:
  Optimizer(const Rule& rule, const std::vector<Group>& groups, Settings defaults);
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// Parameters without a gradient are left alone, their counter of steps too. Where the 0-d truth value `skip` is
  /// given and true, nothing changes: that is how a recorded step leaves out gradients that overflowed.
  void step(const Tensor& skip = {});
  void zero_grad();

  void add_group(const Group& group);
  size_t num_groups() const { return groups_.size(); }
  TensorList parameters(size_t group) const;
  const Settings& defaults() const { return defaults_; }
  const Settings& settings(size_t group) const { return at(group).settings; }
  /// KeyError for a name that this optimizer does not have, ValueError for a value that makes no sense.
  void set(size_t group, const std::string& name, double value);
  /// Rises when a setting is written that a recorded step holds as a constant (all but lr and weight_decay).
  int64_t constants_version() const { return constants_version_; }

  double lr() const { return at(0).settings.at("lr"); }
  void set_lr(double lr);  ///< of all groups
  /// How many steps were taken.
  int64_t steps() const;

  /// "state.3.exp_avg": a moment of the fourth parameter; "state.3.step" its counter; "param_groups.0.lr": a setting.
  State state_dict() const;
  /// What `state_dict` gives before the first step.
  State initial_state_dict() const;
  /// Copies, settings included; names and shapes must be those of this optimizer.
  void load_state_dict(const State& state);

 private:
  const ParameterGroup& at(size_t group) const;
  void check_setting(const std::string& name, double value) const;
  void make_state(ParameterGroup& group);
  State state_of(bool initial) const;
  void split_clocks(ParameterGroup& group);

  const Rule& rule_;
  Settings defaults_;
  std::vector<ParameterGroup> groups_;
  int64_t constants_version_ = 0;
};

/// The rule of the algorithm that has these settings.
template <class Options>
const Rule& rule_of();

/// Options list their fields once, in `each`; whoever reads or fills them goes through it.
template <class Options>
Settings settings_of(const Options& options) {
  Settings settings;
  Options::each(options, [&](const char* name, auto value) { settings[name] = static_cast<double>(value); });
  return settings;
}

/// An optimizer that follows the rule of its options.
template <class Fields>
class Algorithm : public Optimizer {
 public:
  using Options = Fields;
  explicit Algorithm(const std::vector<Group>& groups, const Options& options = {})
      : Optimizer(rule_of<Options>(), groups, settings_of(options)) {}
};

struct AdamOptions {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
  bool amsgrad = false, maximize = false;

  template <class Self, class F>
  static void each(Self& o, F&& f) {
    f("lr", o.lr), f("beta1", o.beta1), f("beta2", o.beta2), f("eps", o.eps), f("weight_decay", o.weight_decay),
        f("amsgrad", o.amsgrad), f("maximize", o.maximize);
  }
};
/// Kingma, Ba 2015; the weight decay is added to the gradient.
using Adam = Algorithm<AdamOptions>;

struct AdamWOptions {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 1e-2;
  bool amsgrad = false, maximize = false;

  template <class Self, class F>
  static void each(Self& o, F&& f) {
    f("lr", o.lr), f("beta1", o.beta1), f("beta2", o.beta2), f("eps", o.eps), f("weight_decay", o.weight_decay),
        f("amsgrad", o.amsgrad), f("maximize", o.maximize);
  }
};
/// Loshchilov, Hutter 2019: the weight decay shrinks the parameter itself.
using AdamW = Algorithm<AdamWOptions>;

struct SGDOptions {
  double lr = 1e-3, momentum = 0, dampening = 0, weight_decay = 0;
  bool nesterov = false, maximize = false;

  template <class Self, class F>
  static void each(Self& o, F&& f) {
    f("lr", o.lr), f("momentum", o.momentum), f("dampening", o.dampening), f("weight_decay", o.weight_decay),
        f("nesterov", o.nesterov), f("maximize", o.maximize);
  }
};
using SGD = Algorithm<SGDOptions>;

struct RMSpropOptions {
  double lr = 1e-2, alpha = 0.99, eps = 1e-8, weight_decay = 0, momentum = 0;
  bool centered = false, maximize = false;

  template <class Self, class F>
  static void each(Self& o, F&& f) {
    f("lr", o.lr), f("alpha", o.alpha), f("eps", o.eps), f("weight_decay", o.weight_decay), f("momentum", o.momentum),
        f("centered", o.centered), f("maximize", o.maximize);
  }
};
/// Tieleman, Hinton 2012: gradients divided by the root of their running mean square.
using RMSprop = Algorithm<RMSpropOptions>;

struct AdagradOptions {
  double lr = 1e-2, lr_decay = 0, weight_decay = 0, initial_accumulator_value = 0, eps = 1e-10;
  bool maximize = false;

  template <class Self, class F>
  static void each(Self& o, F&& f) {
    f("lr", o.lr), f("lr_decay", o.lr_decay), f("weight_decay", o.weight_decay),
        f("initial_accumulator_value", o.initial_accumulator_value), f("eps", o.eps), f("maximize", o.maximize);
  }
};
/// Duchi, Hazan, Singer 2011: divided by the root of the sum of all squares.
using Adagrad = Algorithm<AdagradOptions>;

struct AdadeltaOptions {
  double lr = 1.0, rho = 0.9, eps = 1e-6, weight_decay = 0;
  bool maximize = false;

  template <class Self, class F>
  static void each(Self& o, F&& f) {
    f("lr", o.lr), f("rho", o.rho), f("eps", o.eps), f("weight_decay", o.weight_decay), f("maximize", o.maximize);
  }
};
/// Zeiler 2012: the size of a step follows from those before it.
using Adadelta = Algorithm<AdadeltaOptions>;

struct AdamaxOptions {
  double lr = 2e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
  bool maximize = false;

  template <class Self, class F>
  static void each(Self& o, F&& f) {
    f("lr", o.lr), f("beta1", o.beta1), f("beta2", o.beta2), f("eps", o.eps), f("weight_decay", o.weight_decay),
        f("maximize", o.maximize);
  }
};
/// Kingma, Ba 2015, section 7: Adam with a running maximum for the second moment.
using Adamax = Algorithm<AdamaxOptions>;

struct NAdamOptions {
  double lr = 2e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0, momentum_decay = 4e-3;
  bool decoupled_weight_decay = false, maximize = false;

  template <class Self, class F>
  static void each(Self& o, F&& f) {
    f("lr", o.lr), f("beta1", o.beta1), f("beta2", o.beta2), f("eps", o.eps), f("weight_decay", o.weight_decay),
        f("momentum_decay", o.momentum_decay), f("decoupled_weight_decay", o.decoupled_weight_decay),
        f("maximize", o.maximize);
  }
};
/// Dozat 2016: Adam with Nesterov's momentum.
using NAdam = Algorithm<NAdamOptions>;

struct RAdamOptions {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
  bool decoupled_weight_decay = false, maximize = false;

  template <class Self, class F>
  static void each(Self& o, F&& f) {
    f("lr", o.lr), f("beta1", o.beta1), f("beta2", o.beta2), f("eps", o.eps), f("weight_decay", o.weight_decay),
        f("decoupled_weight_decay", o.decoupled_weight_decay), f("maximize", o.maximize);
  }
};
/// Liu et al. 2020: Adam whose first steps, with few gradients seen, are not adaptive.
using RAdam = Algorithm<RAdamOptions>;

struct RpropOptions {
  double lr = 1e-2, eta_minus = 0.5, eta_plus = 1.2, step_size_min = 1e-6, step_size_max = 50;
  bool maximize = false;

  template <class Self, class F>
  static void each(Self& o, F&& f) {
    f("lr", o.lr), f("eta_minus", o.eta_minus), f("eta_plus", o.eta_plus), f("step_size_min", o.step_size_min),
        f("step_size_max", o.step_size_max), f("maximize", o.maximize);
  }
};
/// Riedmiller, Braun 1993: each element has a step of its own, which grows while the sign of its gradient stays.
using Rprop = Algorithm<RpropOptions>;

struct ASGDOptions {
  double lr = 1e-2, lambd = 1e-4, alpha = 0.75, t0 = 1e6, weight_decay = 0;
  bool maximize = false;

  template <class Self, class F>
  static void each(Self& o, F&& f) {
    f("lr", o.lr), f("lambd", o.lambd), f("alpha", o.alpha), f("t0", o.t0), f("weight_decay", o.weight_decay),
        f("maximize", o.maximize);
  }
};
/// Polyak, Juditsky 1992: descent with a falling rate; the average of the parameters since step t0 is its state `ax`.
using ASGD = Algorithm<ASGDOptions>;

struct AdafactorOptions {
  /// eps1 NaN: the machine epsilon of the parameter's type.
  double lr = 1e-2, beta2_decay = -0.8, eps1 = std::numeric_limits<double>::quiet_NaN(), eps2 = 1e-3, d = 1.0,
         weight_decay = 0;
  bool maximize = false;

  template <class Self, class F>
  static void each(Self& o, F&& f) {
    f("lr", o.lr), f("beta2_decay", o.beta2_decay), f("eps1", o.eps1), f("eps2", o.eps2), f("d", o.d),
        f("weight_decay", o.weight_decay), f("maximize", o.maximize);
  }
};
/// Shazeer, Stern 2018: the second moments of a matrix are a vector for its rows and one for its columns.
using Adafactor = Algorithm<AdafactorOptions>;

struct MuonOptions {
  /// adjust_lr_fn: 0 and 1, by the matrix's shape as its authors; 2, so that steps are as large as AdamW's.
  double lr = 1e-3, weight_decay = 0.1, momentum = 0.95, ns_a = 3.4445, ns_b = -4.775, ns_c = 2.0315, eps = 1e-7,
         ns_steps = 5, adjust_lr_fn = 0;
  bool nesterov = true, maximize = false;

  template <class Self, class F>
  static void each(Self& o, F&& f) {
    f("lr", o.lr), f("weight_decay", o.weight_decay), f("momentum", o.momentum), f("nesterov", o.nesterov),
        f("ns_a", o.ns_a), f("ns_b", o.ns_b), f("ns_c", o.ns_c), f("eps", o.eps), f("ns_steps", o.ns_steps),
        f("adjust_lr_fn", o.adjust_lr_fn), f("maximize", o.maximize);
  }
};
/// Jordan et al. 2024, for matrices: momentum whose steps are made orthogonal.
using Muon = Algorithm<MuonOptions>;

}  // namespace sorus::optim
