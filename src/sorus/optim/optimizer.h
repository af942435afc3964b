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

#include <map>
#include <memory>
#include <optional>

#include "sorus/graph/call.h"

namespace sorus::optim {

using State = std::map<std::string, Tensor>;
/// "lr", "weight_decay", ... by PyTorch's names; pairs are split ("beta1", "beta2"), booleans are 0 and 1.
using Settings = std::map<std::string, double>;

/// Parameters with settings of their own; what is left out is the optimizer's.
struct Group {
  TensorList parameters;
  std::optional<double> weight_decay = {};
  std::optional<double> lr = {};
  Settings settings = {};
};

class Optimizer {
 public:
  Optimizer(std::vector<Group> groups, Settings defaults);
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// Parameters without a gradient are left alone, their counter of steps too. Where the 0-d truth value `skip` is
  /// given and true, nothing changes: that is how a recorded step leaves out gradients that overflowed.
  virtual void step(const Tensor& skip = {});
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

 protected:
  struct Slot {
    Tensor parameter;
    TensorList state;
    size_t clock = 0;
  };
  /// Parameters that have taken the same number of steps share a counter, and what follows from it.
  struct Clock {
    Tensor step;         // i64
    TensorList scalars;  // of the current step: what prepare() made
    const Interpreter* advanced_by = nullptr;
  };
  struct OwnGroup {
    std::vector<Slot> slots;
    std::vector<Clock> clocks;
    Settings settings;
    Tensor lr, weight_decay;  // f64
    DType scalar_type = DType::f32;
    double setting(const char* name) const { return settings.at(name); }
  };

  virtual std::vector<const char*> state_names(const OwnGroup& group) const = 0;
  /// What the state of that name begins with: zeros like the parameter.
  virtual Tensor initial_state(const OwnGroup& group, std::string_view name, const Tensor& parameter) const;
  virtual bool counts_steps(const OwnGroup& group) const = 0;
  /// The 0-d tensors that updates of one step share; `step` is the number of this step, from 1.
  virtual TensorList prepare(const OwnGroup& group, const Tensor& step) = 0;
  virtual void update(const OwnGroup& group, Slot& slot, const Tensor& grad, TensorSpan scalars) = 0;
  virtual void check_setting(const std::string& name, double value) const;
  /// Called at the end of a constructor, when the virtual functions above are there.
  void add_groups(const std::vector<Group>& groups);

  std::vector<OwnGroup> groups_;

 private:
  const OwnGroup& at(size_t group) const;
  void make_state(OwnGroup& group);
  State state_of(bool initial) const;
  void split_clocks(OwnGroup& group);
  Settings defaults_;
  int64_t constants_version_ = 0;
};

struct AdamOptions {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
  bool amsgrad = false, maximize = false;
};
/// Kingma, Ba 2015; the weight decay is added to the gradient.
class Adam : public Optimizer {
 public:
  explicit Adam(const std::vector<Group>& groups, const AdamOptions& options = {}) : Adam(groups, options, false) {}

 protected:
  Adam(const std::vector<Group>& groups, const AdamOptions& options, bool decoupled);
  std::vector<const char*> state_names(const OwnGroup& group) const override;
  bool counts_steps(const OwnGroup&) const override { return true; }
  TensorList prepare(const OwnGroup& group, const Tensor& step) override;
  void update(const OwnGroup& group, Slot& slot, const Tensor& grad, TensorSpan scalars) override;
  void check_setting(const std::string& name, double value) const override;

 private:
  bool decoupled_;
};

struct AdamWOptions {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 1e-2;
  bool amsgrad = false, maximize = false;
};
/// Loshchilov, Hutter 2019: the weight decay shrinks the parameter itself.
class AdamW : public Adam {
 public:
  explicit AdamW(const std::vector<Group>& groups, const AdamWOptions& o = {})
      : Adam(groups, {o.lr, o.beta1, o.beta2, o.eps, o.weight_decay, o.amsgrad, o.maximize}, true) {}
};

struct SGDOptions {
  double lr = 1e-3, momentum = 0, dampening = 0, weight_decay = 0;
  bool nesterov = false, maximize = false;
};
class SGD : public Optimizer {
 public:
  explicit SGD(const std::vector<Group>& groups, const SGDOptions& options = {});

 protected:
  std::vector<const char*> state_names(const OwnGroup& group) const override;
  bool counts_steps(const OwnGroup& group) const override;
  TensorList prepare(const OwnGroup& group, const Tensor& step) override;
  void update(const OwnGroup& group, Slot& slot, const Tensor& grad, TensorSpan scalars) override;
  void check_setting(const std::string& name, double value) const override;
};

struct RMSpropOptions {
  double lr = 1e-2, alpha = 0.99, eps = 1e-8, weight_decay = 0, momentum = 0;
  bool centered = false, maximize = false;
};
/// Tieleman, Hinton 2012: gradients divided by the root of their running mean square.
class RMSprop : public Optimizer {
 public:
  explicit RMSprop(const std::vector<Group>& groups, const RMSpropOptions& options = {});

 protected:
  std::vector<const char*> state_names(const OwnGroup& group) const override;
  bool counts_steps(const OwnGroup&) const override { return true; }
  TensorList prepare(const OwnGroup& group, const Tensor& step) override;
  void update(const OwnGroup& group, Slot& slot, const Tensor& grad, TensorSpan scalars) override;
  void check_setting(const std::string& name, double value) const override;
};

struct AdagradOptions {
  double lr = 1e-2, lr_decay = 0, weight_decay = 0, initial_accumulator_value = 0, eps = 1e-10;
  bool maximize = false;
};
/// Duchi, Hazan, Singer 2011: divided by the root of the sum of all squares.
class Adagrad : public Optimizer {
 public:
  explicit Adagrad(const std::vector<Group>& groups, const AdagradOptions& options = {});

 protected:
  std::vector<const char*> state_names(const OwnGroup& group) const override;
  bool counts_steps(const OwnGroup&) const override { return true; }
  TensorList prepare(const OwnGroup& group, const Tensor& step) override;
  void update(const OwnGroup& group, Slot& slot, const Tensor& grad, TensorSpan scalars) override;
  void check_setting(const std::string& name, double value) const override;
};

struct AdadeltaOptions {
  double lr = 1.0, rho = 0.9, eps = 1e-6, weight_decay = 0;
  bool maximize = false;
};
/// Zeiler 2012: the size of a step follows from those before it.
class Adadelta : public Optimizer {
 public:
  explicit Adadelta(const std::vector<Group>& groups, const AdadeltaOptions& options = {});

 protected:
  std::vector<const char*> state_names(const OwnGroup& group) const override;
  bool counts_steps(const OwnGroup&) const override { return true; }
  TensorList prepare(const OwnGroup& group, const Tensor& step) override;
  void update(const OwnGroup& group, Slot& slot, const Tensor& grad, TensorSpan scalars) override;
  void check_setting(const std::string& name, double value) const override;
};

struct AdamaxOptions {
  double lr = 2e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
  bool maximize = false;
};
/// Kingma, Ba 2015, section 7: Adam with a running maximum for the second moment.
class Adamax : public Optimizer {
 public:
  explicit Adamax(const std::vector<Group>& groups, const AdamaxOptions& options = {});

 protected:
  std::vector<const char*> state_names(const OwnGroup& group) const override;
  bool counts_steps(const OwnGroup&) const override { return true; }
  TensorList prepare(const OwnGroup& group, const Tensor& step) override;
  void update(const OwnGroup& group, Slot& slot, const Tensor& grad, TensorSpan scalars) override;
  void check_setting(const std::string& name, double value) const override;
};

struct NAdamOptions {
  double lr = 2e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0, momentum_decay = 4e-3;
  bool decoupled_weight_decay = false, maximize = false;
};
/// Dozat 2016: Adam with Nesterov's momentum.
class NAdam : public Optimizer {
 public:
  explicit NAdam(const std::vector<Group>& groups, const NAdamOptions& options = {});

 protected:
  std::vector<const char*> state_names(const OwnGroup& group) const override;
  Tensor initial_state(const OwnGroup& group, std::string_view name, const Tensor& parameter) const override;
  bool counts_steps(const OwnGroup&) const override { return true; }
  TensorList prepare(const OwnGroup& group, const Tensor& step) override;
  void update(const OwnGroup& group, Slot& slot, const Tensor& grad, TensorSpan scalars) override;
  void check_setting(const std::string& name, double value) const override;
};

struct RAdamOptions {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
  bool decoupled_weight_decay = false, maximize = false;
};
/// Liu et al. 2020: Adam whose first steps, with few gradients seen, are not adaptive.
class RAdam : public Optimizer {
 public:
  explicit RAdam(const std::vector<Group>& groups, const RAdamOptions& options = {});

 protected:
  std::vector<const char*> state_names(const OwnGroup& group) const override;
  bool counts_steps(const OwnGroup&) const override { return true; }
  TensorList prepare(const OwnGroup& group, const Tensor& step) override;
  void update(const OwnGroup& group, Slot& slot, const Tensor& grad, TensorSpan scalars) override;
  void check_setting(const std::string& name, double value) const override;
};

struct RpropOptions {
  double lr = 1e-2, eta_minus = 0.5, eta_plus = 1.2, step_size_min = 1e-6, step_size_max = 50;
  bool maximize = false;
};
/// Riedmiller, Braun 1993: each element has a step of its own, which grows while the sign of its gradient stays.
class Rprop : public Optimizer {
 public:
  explicit Rprop(const std::vector<Group>& groups, const RpropOptions& options = {});

 protected:
  std::vector<const char*> state_names(const OwnGroup& group) const override;
  Tensor initial_state(const OwnGroup& group, std::string_view name, const Tensor& parameter) const override;
  bool counts_steps(const OwnGroup&) const override { return true; }
  TensorList prepare(const OwnGroup& group, const Tensor& step) override;
  void update(const OwnGroup& group, Slot& slot, const Tensor& grad, TensorSpan scalars) override;
  void check_setting(const std::string& name, double value) const override;
};

struct ASGDOptions {
  double lr = 1e-2, lambd = 1e-4, alpha = 0.75, t0 = 1e6, weight_decay = 0;
  bool maximize = false;
};
/// Polyak, Juditsky 1992: descent with a falling rate; the average of the parameters since step t0 is its state `ax`.
class ASGD : public Optimizer {
 public:
  explicit ASGD(const std::vector<Group>& groups, const ASGDOptions& options = {});

 protected:
  std::vector<const char*> state_names(const OwnGroup& group) const override;
  Tensor initial_state(const OwnGroup& group, std::string_view name, const Tensor& parameter) const override;
  bool counts_steps(const OwnGroup&) const override { return true; }
  TensorList prepare(const OwnGroup& group, const Tensor& step) override;
  void update(const OwnGroup& group, Slot& slot, const Tensor& grad, TensorSpan scalars) override;
};

}  // namespace sorus::optim
