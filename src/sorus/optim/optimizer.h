// Optimizers: they change parameters by their gradients.
//
//   optim::AdamW optimizer({{.parameters = matrices, .weight_decay = 0.1}, {.parameters = rest}}, {.lr = 3e-4});
//   backward(loss);
//   optim::clip_grad_norm(model.parameters(), 1.0);
//   optimizer.step();
//   optimizer.zero_grad();
//
// A step is one operator (`adamw`, `sgd`), one pass over memory. The learning rate is a tensor, so that a compiled step
// does not depend on its value. The state (moments, number of steps) is what a checkpoint needs to go on to the bit.
#pragma once

#include <map>

#include "sorus/tensor/tensor.h"

namespace sorus::optim {

using State = std::map<std::string, Tensor>;

/// Parameters that share a weight decay.
struct Group {
  TensorList parameters;
  double weight_decay = 0;
};

class Optimizer {
 public:
  Optimizer(std::vector<Group> groups, double lr);
  virtual ~Optimizer() = default;
  void step();
  void zero_grad();
  double lr() const { return lr_; }
  void set_lr(double lr) { lr_ = lr; }
  int64_t steps() const { return steps_; }

  /// "exp_avg.3" is a moment of the fourth parameter; "steps" the number of steps.
  State state_dict() const;
  /// Copies; names and shapes must be those of this optimizer.
  void load_state_dict(const State& state);

 protected:
  struct Slot {
    Tensor parameter;
    double weight_decay;
    std::vector<Tensor> state;
  };
  virtual std::vector<const char*> state_names() const = 0;
  virtual void update(Slot& slot, const Tensor& grad, const Tensor& lr) = 0;
  virtual void begin_step() {}
  void make_state();
  std::vector<Slot> slots_;
  double lr_;
  int64_t steps_ = 0;
};

struct AdamWOptions {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
};
class AdamW : public Optimizer {
 public:
  explicit AdamW(std::vector<Group> groups, AdamWOptions options = {});

 protected:
  std::vector<const char*> state_names() const override { return {"exp_avg", "exp_avg_sq"}; }
  void begin_step() override;
  void update(Slot& slot, const Tensor& grad, const Tensor& lr) override;

 private:
  AdamWOptions options_;
  Tensor correction1_, correction2_;
};

struct SGDOptions {
  double lr = 1e-3, momentum = 0, dampening = 0;
  bool nesterov = false;
};
class SGD : public Optimizer {
 public:
  explicit SGD(std::vector<Group> groups, SGDOptions options = {});

 protected:
  std::vector<const char*> state_names() const override { return {"momentum_buffer"}; }
  void update(Slot& slot, const Tensor& grad, const Tensor& lr) override;

 private:
  SGDOptions options_;
};

/// Scales all gradients together so that their norm is at most `max_norm`; returns the norm before.
double clip_grad_norm(TensorSpan parameters, double max_norm);

/// Rises linearly for `warmup` steps, then falls by half a cosine from `peak` to `peak * floor` at step `total`.
double warmup_cosine(int64_t step, int64_t warmup, int64_t total, double peak, double floor = 0.1);

}  // namespace sorus::optim
