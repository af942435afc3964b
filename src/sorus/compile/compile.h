// compile(): an ordinary function, recorded once for each signature and from then on run as one CompiledGraph.
//
//   CompiledFunction step = compile([&](TensorSpan in) -> TensorList {
//     optimizer.zero_grad();
//     Tensor loss = model.loss(in[0], in[1]);
//     backward(loss);
//     optimizer.step();
//     return {loss};
//   });
//   for (...) loss = step({ids, targets})[0];
//
// What the function reads and writes beside its arguments belongs to the recording: parameters, buffers, the state of
// optimizers and generators are captured and updated in place, and the gradients it leaves in `.grad` (or clears
// there) are left there by every run: at once, or, where a step has no need of them in memory, when somebody looks
// (defer.h). A result through which gradients could flow on carries them: the recording then
// has a second graph for its gradient, and what that reads is saved by the first.
#pragma once

#include <functional>
#include <memory>

#include "sorus/run/compiled.h"

namespace sorus {

/// Runs a recorded graph in another way than as one CompiledGraph: by several devices.
class Executor {
 public:
  virtual ~Executor() = default;
  virtual TensorList run(TensorSpan inputs) = 0;
};
/// `parameters`: tensors outside of the function that require gradients.
using MakeExecutor = std::function<std::shared_ptr<Executor>(TracedGraph traced, TensorSpan parameters)>;

using TensorFunction = std::function<TensorList(TensorSpan)>;

/// One recording, valid for arguments of the same types.
class Recording {
 public:
  /// With an executor gradients do not leave the recording: `.grad` is cleared by every run, and results must not
  /// carry gradients on (Error).
  Recording(const TensorFunction& f, TensorSpan inputs, const std::string& name, const MakeExecutor& make = {});
  ~Recording();
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

  /// Types of the arguments, and the state outside that the recording relied on: the gradient mode, autocast, which
  /// tensors require gradients, whether there was a gradient to add to.
  bool fits(TensorSpan inputs) const;
  TensorList run(TensorSpan inputs);

  /// Error if an executor runs it.
  const CompiledGraph& forward() const;
  Executor* executor() const;
  /// Null if no result carries gradients.
  const CompiledGraph* backward() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

class CompiledFunction {
 public:
  explicit CompiledFunction(TensorFunction f, std::string name = "function")
      : f_(std::move(f)), name_(std::move(name)) {}
  TensorList operator()(TensorSpan inputs);
  TensorList operator()(std::initializer_list<Tensor> inputs) {
    return (*this)(TensorSpan(inputs.begin(), inputs.size()));
  }
  /// The newest is last; more than one when types or the state outside changed.
  const std::vector<std::shared_ptr<Recording>>& recordings() const { return recordings_; }

 private:
  TensorFunction f_;
  std::string name_;
  std::vector<std::shared_ptr<Recording>> recordings_;
};

inline CompiledFunction compile(TensorFunction f, std::string name = "function") {
  return CompiledFunction(std::move(f), std::move(name));
}

}  // namespace sorus
