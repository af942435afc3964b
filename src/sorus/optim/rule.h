// What an optimizer does with a parameter: the part that differs from one algorithm to the next. A rule has no state
// of its own; what it reads and writes lies in the groups of the Optimizer that follows it. Each algorithm is its
// settings with their defaults (optimizer.h) and one rule (the .cpp files beside it):
//
//   struct SignRule : Rule {
//     std::vector<const char*> state_names(const ParameterGroup&, const Tensor&) const override { return {}; }
//     void update(const ParameterGroup&, Slot& s, const Tensor& grad, TensorSpan k) const override {
//       write(s.parameter.detach(), s.parameter.detach() - k[0] * sign(grad));
//     }
//   };
//   template <>
//   const Rule& rule_of<SignOptions>() { static const SignRule rule; return rule; }
#pragma once

#include <map>
#include <string>
#include <vector>

#include "sorus/graph/call.h"

namespace sorus::optim {

/// "lr", "weight_decay", ... by PyTorch's names; pairs are split ("beta1", "beta2"), booleans are 0 and 1.
using Settings = std::map<std::string, double>;

struct Slot {
  Tensor parameter;
  TensorList state;
  size_t clock = 0;
  bool unshaped = false;  ///< it had no elements when its state was made: a layer that learns its size
};
/// Parameters that have taken the same number of steps share a counter, and what follows from it.
struct Clock {
  Tensor step;         // i64
  TensorList scalars;  // of the current step: what prepare() made
  const Interpreter* advanced_by = nullptr;
};
struct ParameterGroup {
  std::vector<Slot> slots;
  std::vector<Clock> clocks;
  Settings settings;
  Tensor lr, weight_decay;  // f64
  DType scalar_type = DType::f32;
  double setting(const char* name) const { return settings.at(name); }
};

class Rule {
 public:
  virtual ~Rule() = default;

  /// The state that a parameter of the group has, by PyTorch's names. ValueError for one that cannot be trained so.
  virtual std::vector<const char*> state_names(const ParameterGroup& group, const Tensor& parameter) const = 0;
  /// What the state of that name begins with: zeros like the parameter.
  virtual Tensor initial_state(const ParameterGroup& group, std::string_view name, const Tensor& parameter) const;
  virtual bool counts_steps(const ParameterGroup&) const { return true; }
  /// The 0-d tensors that updates of one step share: the learning rate and the weight decay. `step` is the number of
  /// this step, from 1.
  virtual TensorList prepare(const ParameterGroup& group, const Tensor& step) const;
  virtual void update(const ParameterGroup& group, Slot& slot, const Tensor& grad, TensorSpan scalars) const = 0;
  /// ValueError for a value that makes no sense; lr and weight_decay are known not to be negative.
  virtual void check_setting(const std::string&, double) const {}
  /// The same for settings that only make sense together; asked once, of the defaults.
  virtual void check_settings(const Settings&) const {}
};

}  // namespace sorus::optim
